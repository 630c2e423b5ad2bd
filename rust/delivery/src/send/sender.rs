//! Events sent to a peer: as many unanswered at a time as it takes, each answer matched with its event.

use std::collections::HashMap;
use std::net::ToSocketAddrs;
use std::time::{Duration, Instant, SystemTime};

use fastdimse_core::command_set::Message;
use fastdimse_core::field::{Field, Kind};

use crate::association::negotiation::{Agreement, Proposal};
use crate::association::request::associate;
use crate::failure::Failure;
use crate::messages::{Messages, ReceivedMessage};
use crate::timeouts::Timeouts;
use crate::timeouts::{Deadline, POLL_INTERVAL};
use crate::transport::connection::{Connection, P_DATA, ended};
use crate::transport::tls::ClientTls;

/// Encoded requests, each with its number among all that are sent.
#[derive(Debug, Clone, Copy)]
pub struct Requests<'a> {
    /// Their PDUs.
    pub bytes: &'a [u8],
    /// Where each begins, and last their end.
    pub offsets: &'a [i64],
    /// Their Message IDs.
    pub message_ids: &'a [u16],
    /// The number of the first of them.
    pub first: u64,
}

impl Requests<'_> {
    fn pdus(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[self.offsets[from] as usize..self.offsets[to] as usize]
    }
}

/// An answer to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The event's number.
    pub request: u64,
    /// The Status (PS3.7 10.1.1.1.8).
    pub status: u16,
    /// From the write of the request to the read of the response.
    pub latency: Duration,
    /// When that was read.
    pub time: SystemTime,
}

/// What who sends is told while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// All is well.
    Continue,
    /// What was sent is to be answered still, but nothing more is to be sent.
    StopSending,
    /// Nothing is to be waited for.
    Cancel,
}

/// Asked for an order again and again, at least every [`POLL_INTERVAL`].
pub type ControlFn<'a> = &'a mut dyn FnMut(Instant) -> Control;

/// So much is kept of what answers nothing: a peer can send without an end.
const MAX_UNEXPECTED: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    request: u64,
    sent: Instant,
}

/// An association on which this end sends events.
#[derive(Debug)]
pub struct Sender {
    connection: Connection,
    agreement: Agreement,
    timeouts: Timeouts,
    messages: Messages,
    outstanding: HashMap<u16, Outstanding>,
    /// When the last answer came, or the first request of those went out that have none.
    answered: Instant,
    /// When an order was asked for.
    asked: Instant,
    unexpected_responses: Vec<Box<str>>,
}

impl Sender {
    /// Opens an association.
    ///
    /// # Errors
    /// If there is no connection, or the peer agrees to nothing.
    pub fn open(
        address: impl ToSocketAddrs + Send + 'static,
        tls: Option<&ClientTls>,
        proposal: &Proposal,
        timeouts: Timeouts,
    ) -> Result<Self, Failure> {
        let (connection, agreement) = associate(address, tls, proposal, &timeouts)?;
        Ok(Self {
            connection,
            agreement,
            timeouts,
            messages: Messages::default(),
            outstanding: HashMap::new(),
            answered: Instant::now(),
            asked: Instant::now(),
            unexpected_responses: Vec::new(),
        })
    }

    /// What was agreed on.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// What came in and answers nothing, in its order.
    pub fn unexpected_responses(&self) -> &[Box<str>] {
        &self.unexpected_responses
    }

    /// Sends requests, and gives the answers that come in meanwhile. How many are sent is in `sent`, also
    /// of those before a failure; it is fewer than there are if no more were to be sent.
    ///
    /// # Errors
    /// If the association fails; what is unanswered then remains so.
    pub fn send(
        &mut self,
        requests: Requests<'_>,
        sent: &mut usize,
        answers: &mut Vec<Answer>,
        control: ControlFn<'_>,
    ) -> Result<(), Failure> {
        let window = usize::from(self.agreement.window);
        *sent = 0;
        while *sent < requests.message_ids.len() {
            let now = Instant::now();
            match control(now) {
                Control::Continue => {}
                Control::StopSending => break,
                Control::Cancel => return Err(Failure::Interrupted),
            }
            let end = self.note(&requests, *sent, now);
            if end == *sent {
                self.receive(answers, control)?;
                continue;
            }
            let from = std::mem::replace(sent, end);
            self.connection.write(requests.pdus(from, end))?;
            // Half a window at a time goes out in one write, and the peer is never without work.
            while self.outstanding.len() > window / 2 {
                self.receive(answers, control)?;
            }
        }
        Ok(())
    }

    /// Notes the requests from this one on that can be sent, and returns where they end: a Message ID is
    /// not used again before it is answered (PS3.7 10.1.1.1.1).
    fn note(&mut self, requests: &Requests<'_>, from: usize, sent: Instant) -> usize {
        let window = usize::from(self.agreement.window);
        if self.outstanding.is_empty() {
            self.answered = sent;
        }
        for (place, &id) in requests.message_ids.iter().enumerate().skip(from) {
            if self.outstanding.len() >= window || self.outstanding.contains_key(&id) {
                return place;
            }
            let request = requests.first + place as u64;
            self.outstanding.insert(id, Outstanding { request, sent });
        }
        requests.message_ids.len()
    }

    /// Waits until all that was sent is answered.
    ///
    /// # Errors
    /// If the association fails before.
    pub fn finish(
        &mut self,
        answers: &mut Vec<Answer>,
        control: ControlFn<'_>,
    ) -> Result<(), Failure> {
        while !self.outstanding.is_empty() {
            self.receive(answers, control)?;
        }
        Ok(())
    }

    /// Waits a while for something, and takes all that is there.
    fn receive(
        &mut self,
        answers: &mut Vec<Answer>,
        control: ControlFn<'_>,
    ) -> Result<(), Failure> {
        match self.connection.fill(Deadline::after(self.timeouts.response.min(POLL_INTERVAL))) {
            // Whether it is silent for too long is seen below.
            Err(Failure::ReadTimeout(_)) => {}
            filled => filled?,
        }
        let (now, time) = (Instant::now(), SystemTime::now());
        let Self { connection, messages, outstanding, answered, unexpected_responses, .. } = self;
        let mut stray = |text| {
            if unexpected_responses.len() < MAX_UNEXPECTED {
                unexpected_responses.push(text);
            }
        };
        while let Some(raw) = connection.next_read()? {
            if raw.kind != P_DATA {
                return Err(ended(raw));
            }
            messages.take(raw.bytes, |arrived| {
                match answer(&arrived) {
                    Some((id, status)) => match outstanding.remove(&id) {
                        Some(Outstanding { request, sent }) => {
                            *answered = now;
                            answers.push(Answer { request, status, latency: now - sent, time });
                        }
                        None => stray(
                            format!("a response to Message ID {id}, which is not outstanding")
                                .into(),
                        ),
                    },
                    None => stray(shown(&arrived.message)),
                }
                Ok(())
            })?;
        }
        // A peer that talks of other things is as silent as one that says nothing.
        self.check_silence(now)?;
        self.check_interrupt(now, control)
    }

    /// Asks whether to wait on, if that was not asked just now.
    fn check_interrupt(&mut self, now: Instant, control: ControlFn<'_>) -> Result<(), Failure> {
        if now - self.asked < POLL_INTERVAL {
            return Ok(());
        }
        self.asked = now;
        match control(now) {
            Control::Cancel => Err(Failure::Interrupted),
            Control::Continue | Control::StopSending => Ok(()),
        }
    }

    fn check_silence(&self, now: Instant) -> Result<(), Failure> {
        let timeout = self.timeouts.response;
        match !self.outstanding.is_empty() && now - self.answered >= timeout {
            true => Err(Failure::ReadTimeout(timeout)),
            false => Ok(()),
        }
    }

    /// Releases the association.
    ///
    /// # Errors
    /// If the peer does not agree to that.
    pub fn release(self) -> Result<(), Failure> {
        self.connection.release(self.timeouts.association)
    }

    /// Ends the association after a failure.
    pub fn fail(self, failure: &Failure) {
        self.connection.fail(failure);
    }

    /// Aborts the association.
    pub fn abort(self) {
        self.connection.abort();
    }
}

fn answer(arrived: &ReceivedMessage<'_>) -> Option<(u16, u16)> {
    let Message::Event { command_set, .. } = &arrived.message else { return None };
    let response = command_set.kind == Kind::Response;
    let number = |field| command_set.get(field).us().filter(|_| response);
    Some((number(Field::MessageIDBeingRespondedTo)?, number(Field::Status)?))
}

fn shown(message: &Message<'_>) -> Box<str> {
    match message {
        Message::Event { command_set, .. } if command_set.kind == Kind::Request => {
            "an N-EVENT-REPORT-RQ".into()
        }
        Message::Event { .. } => "a response without a Message ID or Status".into(),
        Message::Other { command_field, .. } => {
            format!("a message with Command Field {command_field:#06x}").into()
        }
    }
}
