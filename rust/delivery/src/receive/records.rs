//! Records of the associations of a listener, for a log, and exact counters of them.
//!
//! The records wait in a queue of bounded size, so a slow reader delays no association. Records
//! that do not fit are counted. The counters are exact in any case.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fastdimse_core::standard::status::describe;

use crate::association::acceptance::Accepted;
use crate::failure::Failure;

/// The maximum number of waiting records.
const MAX_RECORDS: usize = 10_000;

/// The maximum number of records of one association about single messages. A peer can send any
/// number of invalid messages.
const MAX_MESSAGE_RECORDS: u64 = 1000;

/// A problem of an association.
#[derive(Debug)]
pub struct Report {
    /// The number of the association, from 1.
    pub number: u64,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// The description of the problem.
    pub text: String,
}

/// The kept reports, and the number of the others.
#[derive(Debug, Default)]
pub struct Reports {
    /// The first reports, up to a thousand.
    pub kept: Vec<Report>,
    /// The number of later ones.
    pub omitted: u64,
}

impl Reports {
    fn add(&mut self, report: Report) {
        const MOST: usize = 1000;
        match self.kept.len() < MOST {
            true => self.kept.push(report),
            false => self.omitted += 1,
        }
    }
}

/// The calling and called AE titles of an association request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Titles {
    /// The calling AE title.
    pub calling: String,
    /// The called AE title.
    pub called: String,
}

impl Display for Titles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "calling AE title {:?}, called AE title {:?}", self.calling, self.called)
    }
}

/// A record of a listener.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it happened.
    pub time: SystemTime,
    /// The number of the association, from 1, and the address of the peer.
    pub association: Option<(u64, SocketAddr)>,
    /// The AE titles, if an association request was received.
    pub titles: Option<Titles>,
    /// What happened.
    pub content: Content,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Content {
    /// An association was accepted.
    Accepted {
        /// The number of accepted SOP classes.
        accepted: usize,
        /// The number of proposed SOP classes.
        proposed: usize,
    },
    /// An association was rejected.
    Rejected {
        /// A stable short name of the reason.
        code: &'static str,
        /// The reason.
        reason: Box<str>,
    },
    /// A connection ended without an association request.
    Failed {
        /// A stable short name of the reason.
        code: &'static str,
        /// The reason.
        reason: Box<str>,
    },
    /// An accepted association ended.
    Ended {
        /// How it ended.
        how: End,
        /// The failure, unless the association was released or the listener was closed.
        reason: Option<Box<str>>,
        /// What was received on it.
        totals: Totals,
        /// The time since the association was accepted.
        duration: Duration,
    },
    /// A request was refused: it was not given to the sink.
    Refused {
        /// The Message ID.
        message_id: u16,
        /// The Status of the response.
        status: u16,
        /// The complete text.
        text: Box<str>,
    },
    /// A message was ignored.
    Ignored {
        /// The complete text.
        text: Box<str>,
    },
    /// No connection can be accepted, for example because the process has no file descriptor left.
    AcceptFailed {
        /// The reason.
        reason: Box<str>,
    },
}

/// How an accepted association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The peer released it.
    Released,
    /// The peer aborted it.
    Aborted,
    /// The connection was closed or failed.
    Lost,
    /// The peer sent or accepted no data in time.
    TimedOut,
    /// The peer violated the standard or a limit.
    Fault,
    /// The listener was closed.
    Stopped,
}

impl End {
    /// A stable short name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Aborted => "aborted",
            Self::Lost => "lost",
            Self::TimedOut => "timeout",
            Self::Fault => "fault",
            Self::Stopped => "stopped",
        }
    }

    fn from_failure(failure: &Failure) -> Self {
        match failure {
            Failure::Aborted(_) => Self::Aborted,
            Failure::Connect(_) | Failure::Closed(_) | Failure::Io(_) => Self::Lost,
            Failure::ReadTimeout(_) | Failure::WriteTimeout(_) => Self::TimedOut,
            Failure::Interrupted => Self::Stopped,
            _ => Self::Fault,
        }
    }
}

/// What was received on an association.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events, including refused ones.
    pub events: u64,
    /// Refused requests.
    pub refused: u64,
    /// Ignored messages.
    pub ignored: u64,
    /// Bytes of P-DATA-TF PDUs.
    pub bytes: u64,
}

impl Record {
    /// Whether it is a problem.
    pub fn is_problem(&self) -> bool {
        !matches!(
            self.content,
            Content::Accepted { .. } | Content::Ended { how: End::Released | End::Stopped, .. }
        )
    }

    fn titles(&self) -> impl Display + '_ {
        struct Suffix<'a>(Option<&'a Titles>);
        impl Display for Suffix<'_> {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                self.0.map_or(Ok(()), |titles| write!(f, "; {titles}"))
            }
        }
        Suffix(self.titles.as_ref())
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some((number, peer)) = self.association {
            write!(f, "association {number} of {peer}: ")?;
        }
        match &self.content {
            Content::Accepted { accepted, proposed } => {
                write!(f, "accepted {accepted} of {proposed} SOP classes{}", self.titles())
            }
            Content::Rejected { reason, .. } => write!(f, "rejected: {reason}{}", self.titles()),
            Content::Failed { reason, .. } => write!(f, "{reason}"),
            Content::Ended { how, reason, totals, duration } => {
                match (how, reason) {
                    (End::Stopped, _) => write!(f, "ended by the listener")?,
                    (_, Some(reason)) => write!(f, "{reason}")?,
                    (_, None) => write!(f, "released by the peer")?,
                }
                let Totals { events, refused, ignored, bytes } = totals;
                let seconds = duration.as_secs_f64();
                write!(f, "; {events} events and {bytes} bytes in {seconds:.3} s")?;
                for (count, what) in [(refused, "refused requests"), (ignored, "ignored messages")]
                {
                    if *count > 0 {
                        write!(f, ", {count} {what}")?;
                    }
                }
                write!(f, "{}", self.titles())
            }
            Content::Refused { text, .. } | Content::Ignored { text } => f.write_str(text),
            Content::AcceptFailed { reason } => {
                write!(f, "no connection can be accepted: {reason}")
            }
        }
    }
}

/// Exact counters of a listener.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Accepted associations.
    pub accepted: u64,
    /// Rejected associations, by the code of the reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Connections that ended without an association request, by the code of the failure.
    pub failed: BTreeMap<&'static str, u64>,
    /// Ended associations.
    pub ended: BTreeMap<End, u64>,
    /// Events by the Status of their responses.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes of P-DATA-TF PDUs.
    pub bytes: u64,
    /// Ignored messages.
    pub ignored: u64,
    /// When the last event was received.
    pub last_event: Option<SystemTime>,
    /// Records that did not fit into the queue, or exceeded the maximum of their association.
    pub omitted: u64,
}

/// Records that wait for the log, counters, and failures.
#[derive(Debug, Default)]
pub struct Records {
    state: Mutex<State>,
    /// Notified when records are added, processed, or closed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Record>,
    /// The number of omitted records that was returned last.
    reported: u64,
    /// Whether returned records are not yet processed.
    processing: bool,
    closed: bool,
    counters: Counters,
    failures: Reports,
}

/// Records that [`Records::wait`] returns.
#[derive(Debug)]
pub struct NextRecords {
    /// The records.
    pub records: VecDeque<Record>,
    /// The number of records that were omitted since the last call.
    pub omitted: u64,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.reported == self.counters.omitted
    }
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record, and counts it.
    pub fn add(&self, record: Record) {
        let mut state = self.lock();
        let counters = &mut state.counters;
        match &record.content {
            Content::Accepted { .. } => counters.accepted += 1,
            Content::Rejected { code, .. } => *counters.rejected.entry(code).or_default() += 1,
            Content::Failed { code, .. } => *counters.failed.entry(code).or_default() += 1,
            Content::Ended { how, .. } => *counters.ended.entry(*how).or_default() += 1,
            Content::Refused { .. } | Content::Ignored { .. } | Content::AcceptFailed { .. } => {}
        }
        match state.waiting.len() < MAX_RECORDS {
            true => state.waiting.push_back(record),
            false => state.counters.omitted += 1,
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for records. Returns `None` when the queue is closed and empty. The caller reports with
    /// [`Records::processed`] when it has processed them.
    pub fn wait(&self) -> Option<NextRecords> {
        let idle = |state: &mut State| state.is_idle() && !state.closed;
        let state = self.changed.wait_while(self.lock(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.is_idle() {
            return None;
        }
        let records = std::mem::take(&mut state.waiting);
        let omitted = state.counters.omitted - state.reported;
        state.reported = state.counters.omitted;
        state.processing = true;
        Some(NextRecords { records, omitted })
    }

    /// The records of the last [`Records::wait`] are processed.
    pub fn processed(&self) {
        self.lock().processing = false;
        self.changed.notify_all();
    }

    /// No more records are added: [`Records::wait`] returns the waiting ones, and then `None`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits at most `timeout` until all records are processed. Returns whether they are.
    pub fn wait_processed(&self, timeout: Duration) -> bool {
        let busy = |state: &mut State| state.processing || !state.is_idle();
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, busy);
        !busy(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    /// Returns and clears the failures.
    pub fn take_failures(&self) -> Reports {
        std::mem::take(&mut self.lock().failures)
    }

    /// Records that no connection can be accepted.
    pub fn accept_failed(&self, reason: &dyn Display) {
        let content = Content::AcceptFailed { reason: reason.to_string().into() };
        self.add(Record { time: SystemTime::now(), association: None, titles: None, content });
    }
}

/// The records of one association. It is used by the thread of the association.
#[derive(Debug)]
pub struct AssociationLog {
    records: Arc<Records>,
    number: u64,
    peer: SocketAddr,
    /// The AE titles of an accepted association, and when it was accepted.
    accepted: OnceCell<(Titles, Instant)>,
    /// Whether a rejection or the end is recorded.
    has_ended: Cell<bool>,
    totals: Cell<Totals>,
    /// Counts that are not yet in the counters of the listener.
    pending: RefCell<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    statuses: BTreeMap<u16, u64>,
    bytes: u64,
}

impl AssociationLog {
    /// The log of an association.
    pub fn new(records: Arc<Records>, number: u64, peer: SocketAddr) -> Self {
        Self {
            records,
            number,
            peer,
            accepted: OnceCell::new(),
            has_ended: Cell::new(false),
            totals: Cell::default(),
            pending: RefCell::default(),
        }
    }

    /// The association was accepted; the peer had proposed this number of SOP classes.
    pub fn accepted(&self, accepted: &Accepted, proposed: usize) {
        let Accepted { calling, called, contexts, .. } = accepted;
        let titles = Titles { calling: calling.clone(), called: called.clone() };
        let _ = self.accepted.set((titles, Instant::now()));
        let mut classes: Vec<_> = contexts.values().map(|one| &one.abstract_syntax).collect();
        classes.sort_unstable();
        classes.dedup();
        self.add(Content::Accepted { accepted: classes.len(), proposed });
    }

    /// The association was rejected.
    pub fn rejected(&self, titles: Option<Titles>, code: &'static str, reason: &str) {
        self.has_ended.set(true);
        let content = Content::Rejected { code, reason: reason.into() };
        self.add_with(titles, content);
    }

    /// A request was refused; `text` includes the Status.
    pub fn refused(&self, what: &str, message_id: u16, status: u16, reason: &dyn Display) {
        let text = format!(
            "an {what} was refused with Status {}: Message ID {message_id}, {reason}",
            describe(status)
        );
        self.fail(&text);
        self.count(|totals| totals.refused += 1);
        self.add_message(|| Content::Refused { message_id, status, text: text.into() });
    }

    /// A request without a handler was refused. This is the peer's choice of service, not a failure.
    pub fn unsupported(&self, message_id: u16, status: u16, name: &str) {
        let text =
            format!("{name} was refused with Status {}: Message ID {message_id}", describe(status));
        self.count(|totals| totals.refused += 1);
        self.add_message(|| Content::Refused { message_id, status, text: text.into() });
    }

    /// A message was ignored.
    pub fn ignored(&self, text: String) {
        self.fail(&text);
        self.count(|totals| totals.ignored += 1);
        self.records.lock().counters.ignored += 1;
        self.add_message(|| Content::Ignored { text: text.into() });
    }

    /// Bytes of P-DATA-TF PDUs were received.
    pub fn received(&self, bytes: usize) {
        self.count(|totals| totals.bytes += bytes as u64);
        self.pending.borrow_mut().bytes += bytes as u64;
    }

    /// The response to an event is ready.
    pub fn responded(&self, status: u16) {
        self.count(|totals| totals.events += 1);
        *self.pending.borrow_mut().statuses.entry(status).or_default() += 1;
    }

    /// Adds the counts to those of the listener, before the responses are written.
    pub fn flush(&self) {
        let Pending { statuses, bytes } = self.pending.take();
        if bytes == 0 && statuses.is_empty() {
            return;
        }
        let mut state = self.records.lock();
        let counters = &mut state.counters;
        counters.bytes += bytes;
        if !statuses.is_empty() {
            counters.last_event = Some(SystemTime::now());
        }
        for (status, count) in statuses {
            *counters.statuses.entry(status).or_default() += count;
        }
    }

    /// The connection ended; `stopping` is whether the listener ends it. Later calls have no effect.
    pub fn ended(&self, result: &Result<(), Failure>, stopping: bool) {
        if self.has_ended.replace(true) {
            return;
        }
        self.flush();
        let failure = result.as_ref().err().filter(|_| !stopping);
        if let Some(failure) = failure {
            self.fail(&failure.to_string());
        }
        let reason = failure.map(|failure| failure.to_string().into());
        if let Some((_, begin)) = self.accepted.get() {
            let how = match result {
                Ok(()) => End::Released,
                Err(_) if stopping => End::Stopped,
                Err(failure) => End::from_failure(failure),
            };
            let (totals, duration) = (self.totals.get(), begin.elapsed());
            self.add(Content::Ended { how, reason, totals, duration });
        } else if let Some(failure) = failure {
            let reason = reason.unwrap_or_default();
            self.add(Content::Failed { code: failure.code(), reason });
        }
    }

    fn count(&self, count: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.get();
        count(&mut totals);
        self.totals.set(totals);
    }

    fn fail(&self, text: &str) {
        let report = Report { number: self.number, peer: self.peer, text: text.to_owned() };
        self.records.lock().failures.add(report);
    }

    fn add_message(&self, content: impl FnOnce() -> Content) {
        let totals = self.totals.get();
        if totals.refused + totals.ignored <= MAX_MESSAGE_RECORDS {
            self.add(content());
        } else {
            self.records.lock().counters.omitted += 1;
            self.records.changed.notify_all();
        }
    }

    fn add(&self, content: Content) {
        self.add_with(self.accepted.get().map(|(titles, _)| titles.clone()), content);
    }

    fn add_with(&self, titles: Option<Titles>, content: Content) {
        let association = Some((self.number, self.peer));
        self.records.add(Record { time: SystemTime::now(), association, titles, content });
    }
}
