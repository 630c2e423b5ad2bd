//! Events that the local side reports on an association that the peer requested: an SCP reports the
//! result of an action on the association of the request (PS3.4 J.3.3).
//!
//! Any thread adds reports; the thread of the association sends them and receives the responses.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fastdimse_core::field::Kind;

use crate::failure::Failure;
use crate::messages::ReceivedMessage;
use crate::outstanding::{MatchedResponse, Outstanding, Requests};
use crate::transport::connection::Connection;
use crate::transport::waker::Waker;

/// Why events of a report have no response: a code for programs, and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReported {
    /// The code, as [`Failure::code`].
    pub code: &'static str,
    /// The text.
    pub text: String,
}

impl NotReported {
    /// The code of events for which the association is not open.
    pub const CLOSED: &'static str = "closed";

    /// A peer that responds to no report must not fill the memory with them.
    fn too_many() -> Self {
        let text = "too many reports wait on the association: the peer responds too slowly";
        Self { code: "too-many", text: text.to_owned() }
    }

    /// The thread of the association belongs to the parent process.
    fn of_parent() -> Self {
        let text = "the association belongs to the process that forked this one";
        Self { code: Self::CLOSED, text: text.to_owned() }
    }
}

impl From<&Failure> for NotReported {
    fn from(failure: &Failure) -> Self {
        Self { code: failure.code(), text: failure.to_string() }
    }
}

/// The maximum number of reports that wait on an association.
const MAX_WAITING: usize = 10_000;
/// The maximum number of bytes of the reports that wait on an association. One report may be longer.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// The result of a report.
#[derive(Debug)]
pub struct Reported {
    /// The responses, in the order in which they arrived.
    pub responses: Vec<MatchedResponse>,
    /// The number of events that were sent.
    pub sent: usize,
    /// Why the other events have no response.
    pub failure: Option<NotReported>,
}

/// Called with the result of a report, in any thread.
pub type Done = Box<dyn FnOnce(Reported) + Send>;

/// Encoded events to report.
pub struct Report {
    bytes: Vec<u8>,
    offsets: Vec<i64>,
    message_ids: Vec<u16>,
    done: Option<Done>,
    sent: usize,
    responses: Vec<MatchedResponse>,
}

impl fmt::Debug for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Report").field("events", &self.message_ids.len()).finish_non_exhaustive()
    }
}

impl Report {
    /// The requests in `bytes`, with the offset of each and the end of the last one.
    pub fn new(bytes: Vec<u8>, offsets: Vec<i64>, message_ids: Vec<u16>, done: Done) -> Self {
        let (sent, responses) = (0, Vec::new());
        Self { bytes, offsets, message_ids, done: Some(done), sent, responses }
    }

    fn end(&mut self, failure: Option<NotReported>) {
        if let Some(done) = self.done.take() {
            let responses = mem::take(&mut self.responses);
            done(Reported { responses, sent: self.sent, failure });
        }
    }
}

impl Drop for Report {
    /// However the association ends, the result is known.
    fn drop(&mut self) {
        let failure = NotReported::from(&Failure::Internal);
        self.end(Some(failure));
    }
}

/// The reports of an association that are not sent yet.
#[derive(Debug)]
pub struct Reports {
    state: Mutex<State>,
    waker: Option<Waker>,
    /// The process of the thread that sends them.
    process: u32,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Report>,
    /// The bytes of these reports.
    bytes: usize,
    ended: Option<NotReported>,
}

impl State {
    /// Why a report cannot wait.
    fn refusal(&self, report: &Report) -> Option<NotReported> {
        let bytes = self.bytes + report.bytes.len();
        let is_full = self.waiting.len() >= MAX_WAITING || bytes > MAX_WAITING_BYTES;
        let is_full = is_full && !self.waiting.is_empty();
        self.ended.clone().or_else(|| is_full.then(NotReported::too_many))
    }
}

impl Reports {
    /// The reports of an association, which are sent while its thread waits for data.
    ///
    /// # Errors
    ///
    /// If the system has no more file descriptors.
    pub fn new() -> io::Result<Self> {
        let (state, waker) = (Mutex::default(), Some(Waker::new()?));
        Ok(Self { state, waker, process: std::process::id() })
    }

    /// An association on which nothing can be reported, for this reason.
    pub fn closed(why: &str) -> Self {
        let ended = NotReported { code: NotReported::CLOSED, text: why.to_owned() };
        let state = State { ended: Some(ended), ..State::default() };
        Self { state: Mutex::new(state), waker: None, process: std::process::id() }
    }

    /// Wakes the thread of the association, if it can report.
    pub fn waker(&self) -> Option<&Waker> {
        self.waker.as_ref()
    }

    /// Whether reports are accepted.
    pub fn is_open(&self) -> bool {
        self.is_of_this_process() && self.lock().ended.is_none()
    }

    fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// Adds a report. If the association has ended, or too many reports wait, that is its result.
    pub fn push(&self, mut report: Report) {
        // Before the lock, which a thread of the parent process may have held.
        if !self.is_of_this_process() {
            return report.end(Some(NotReported::of_parent()));
        }
        let mut state = self.lock();
        if let Some(refusal) = state.refusal(&report) {
            // The callback may add another report.
            drop(state);
            return report.end(Some(refusal));
        }
        state.bytes += report.bytes.len();
        state.waiting.push_back(report);
        drop(state);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    fn next(&self) -> Option<Report> {
        let mut state = self.lock();
        let report = state.waiting.pop_front()?;
        state.bytes -= report.bytes.len();
        Some(report)
    }

    /// Ends all waiting reports, and those that are added later.
    fn end(&self, failure: &NotReported) {
        let mut state = self.lock();
        state.ended.get_or_insert_with(|| failure.clone());
        let waiting = mem::take(&mut state.waiting);
        state.bytes = 0;
        drop(state);
        for mut report in waiting {
            report.end(Some(failure.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the reports of an association, one after another.
#[derive(Debug)]
pub struct Reporting {
    current: Option<Report>,
    outstanding: Outstanding,
}

impl Reporting {
    /// At most `window` events are outstanding.
    pub fn new(window: u16) -> Self {
        Self { current: None, outstanding: Outstanding::new(window) }
    }

    /// Sends as many events as the window allows.
    ///
    /// # Errors
    ///
    /// If the association fails.
    pub fn send(&mut self, connection: &mut Connection, reports: &Reports) -> Result<(), Failure> {
        loop {
            let Some(report) = &mut self.current else {
                match reports.next() {
                    None => return Ok(()),
                    Some(report) => self.current = Some(report),
                }
                continue;
            };
            let requests = Requests {
                bytes: &report.bytes,
                offsets: &report.offsets,
                message_ids: &report.message_ids,
                first: 0,
            };
            let end =
                self.outstanding.register(&requests, Kind::Request, report.sent, Instant::now());
            if end > report.sent {
                connection.write(requests.pdus(report.sent, end))?;
                report.sent = end;
            }
            if !self.end_if_complete() {
                return Ok(());
            }
        }
    }

    /// Ends the current report if all its events have responses; returns whether it did.
    fn end_if_complete(&mut self) -> bool {
        let complete = |report: &mut Report| report.responses.len() == report.message_ids.len();
        match self.current.take_if(complete) {
            Some(mut report) => {
                report.end(None);
                true
            }
            None => false,
        }
    }

    /// Matches a response; returns a description of a message that is not a response to an outstanding
    /// event.
    ///
    /// # Errors
    ///
    /// If the response is too long.
    pub fn respond(&mut self, arrived: &ReceivedMessage<'_>) -> Result<Option<Box<str>>, Failure> {
        match self.outstanding.respond(arrived, Instant::now(), SystemTime::now()) {
            Ok(response) => {
                if let Some(report) = &mut self.current {
                    report.responses.push(response);
                }
                self.end_if_complete();
                Ok(None)
            }
            Err(Ok(text)) => Ok(Some(text)),
            Err(Err(failure)) => Err(failure),
        }
    }

    /// Fails if a response is outstanding for too long.
    ///
    /// # Errors
    ///
    /// If there was no response within `timeout`.
    pub fn check_timeout(&self, timeout: Duration) -> Result<(), Failure> {
        self.outstanding.check_timeout(Instant::now(), timeout)
    }

    /// Ends all reports, since the association has ended.
    pub fn end(&mut self, reports: &Reports, failure: &NotReported) {
        self.outstanding.clear();
        // First the queue: a callback must not find the association open.
        reports.end(failure);
        if let Some(mut report) = self.current.take() {
            report.end(Some(failure.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    fn report(done: impl FnOnce(Reported) + Send + 'static) -> Report {
        Report::new(vec![0; 10], vec![0, 10], vec![1], Box::new(done))
    }

    #[test]
    fn waiting_reports_are_limited() {
        let (results, received) = channel();
        let reports = Reports::new().unwrap();
        let add = |bytes: usize| {
            let results = results.clone();
            let done = move |result: Reported| results.send(result.failure.unwrap().code).unwrap();
            reports.push(Report::new(vec![0; bytes], vec![0, 0], vec![1], Box::new(done)));
        };
        // A long report waits if it is the only one.
        add(MAX_WAITING_BYTES + 1);
        add(1);
        assert_eq!(received.try_iter().collect::<Vec<_>>(), ["too-many"]);
        drop(reports.next());
        assert_eq!(received.try_iter().count(), 1);
        (0..MAX_WAITING).for_each(|_| add(1));
        assert_eq!(received.try_iter().count(), 0);
        add(1);
        assert_eq!(received.try_iter().collect::<Vec<_>>(), ["too-many"]);
    }

    #[test]
    fn every_report_has_a_result() {
        let (results, received) = channel();
        let reports = Arc::new(Reports::new().unwrap());
        for _ in 0..3 {
            let results = results.clone();
            reports.push(report(move |result| results.send(result.failure).unwrap()));
        }
        drop(reports.next());
        let internal = NotReported::from(&Failure::Internal);
        assert_eq!(received.try_recv().unwrap(), Some(internal));
        assert!(reports.is_open());
        let released = NotReported::from(&Failure::Released);
        Reporting::new(1).end(&reports, &released);
        assert!(!reports.is_open());
        // The callback of a report may add another one.
        let (shared, last) = (reports.clone(), results.clone());
        reports.push(report(move |_| {
            shared.push(report(move |result| last.send(result.failure).unwrap()));
        }));
        assert_eq!(received.try_iter().collect::<Vec<_>>(), vec![Some(released); 3]);
        let closed = Reports::closed("no");
        closed.push(report(move |result| results.send(result.failure).unwrap()));
        assert_eq!(received.try_recv().unwrap().unwrap().text, "no");
    }
}
