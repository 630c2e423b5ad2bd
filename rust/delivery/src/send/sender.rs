//! Sends events to a peer, with as many outstanding as agreed, and matches each response with its
//! event.

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

/// Encoded requests.
#[derive(Debug, Clone, Copy)]
pub struct Requests<'a> {
    /// Their PDUs.
    pub bytes: &'a [u8],
    /// The offset of each request, and the end of the last one.
    pub offsets: &'a [i64],
    /// The Message IDs.
    pub message_ids: &'a [u16],
    /// The number of the first request, counted over all that are sent.
    pub first: u64,
}

impl Requests<'_> {
    fn pdus(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[self.offsets[from] as usize..self.offsets[to] as usize]
    }
}

/// The response to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchedResponse {
    /// The number of the event.
    pub request: u64,
    /// The Status (PS3.7 10.1.1.1.8).
    pub status: u16,
    /// The time from writing the request to reading the response.
    pub latency: Duration,
    /// When the response was read.
    pub time: SystemTime,
}

/// How sending continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Send and wait.
    Continue,
    /// Send no more, but wait for outstanding responses.
    StopSending,
    /// Stop waiting.
    Cancel,
}

/// Called repeatedly, at least every [`POLL_INTERVAL`].
pub type ControlFn<'a> = &'a mut dyn FnMut(Instant) -> Control;

/// The maximum number of unexpected responses to keep: a peer may send any number.
const MAX_UNEXPECTED: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    request: u64,
    sent: Instant,
}

/// An association on which the local side sends events.
#[derive(Debug)]
pub struct Sender {
    connection: Connection,
    agreement: Agreement,
    timeouts: Timeouts,
    messages: Messages,
    outstanding: HashMap<u16, Outstanding>,
    /// When the last response was read, or the first outstanding request was written.
    last_response: Instant,
    /// When `control` was called last.
    control_called: Instant,
    unexpected_responses: Vec<Box<str>>,
}

impl Sender {
    /// Establishes an association.
    ///
    /// # Errors
    ///
    /// If the connection fails, or the peer accepts no presentation context.
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
            last_response: Instant::now(),
            control_called: Instant::now(),
            unexpected_responses: Vec::new(),
        })
    }

    /// The result of the negotiation.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// The messages that were not responses to outstanding requests, in order.
    pub fn unexpected_responses(&self) -> &[Box<str>] {
        &self.unexpected_responses
    }

    /// Sends requests, and appends the responses that arrive meanwhile to `responses`. `sent` is
    /// the number of requests sent, also after a failure; it is lower than the number given if
    /// `control` has stopped the sending.
    ///
    /// # Errors
    ///
    /// If the association fails. Outstanding requests remain without a response.
    pub fn send(
        &mut self,
        requests: Requests<'_>,
        sent: &mut usize,
        responses: &mut Vec<MatchedResponse>,
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
            let end = self.register(&requests, *sent, now);
            if end == *sent {
                self.receive(responses, control)?;
                continue;
            }
            let from = std::mem::replace(sent, end);
            self.connection.write(requests.pdus(from, end))?;
            // Half a window is written at once, so that the peer always has work.
            while self.outstanding.len() > window / 2 {
                self.receive(responses, control)?;
            }
        }
        Ok(())
    }

    /// Registers the requests, from this one on, that can be sent, and returns their end. A Message
    /// ID is not reused while it is outstanding (PS3.7 10.1.1.1.1).
    fn register(&mut self, requests: &Requests<'_>, from: usize, sent: Instant) -> usize {
        let window = usize::from(self.agreement.window);
        if self.outstanding.is_empty() {
            self.last_response = sent;
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

    /// Waits for all outstanding responses.
    ///
    /// # Errors
    ///
    /// If the association fails.
    pub fn finish(
        &mut self,
        responses: &mut Vec<MatchedResponse>,
        control: ControlFn<'_>,
    ) -> Result<(), Failure> {
        while !self.outstanding.is_empty() {
            self.receive(responses, control)?;
        }
        Ok(())
    }

    /// Waits for data, and processes everything that has arrived.
    fn receive(
        &mut self,
        responses: &mut Vec<MatchedResponse>,
        control: ControlFn<'_>,
    ) -> Result<(), Failure> {
        match self.connection.fill(Deadline::after(self.timeouts.response.min(POLL_INTERVAL))) {
            // The response timeout is checked below.
            Err(Failure::ReadTimeout(_)) => {}
            filled => filled?,
        }
        let (now, time) = (Instant::now(), SystemTime::now());
        let Self { connection, messages, outstanding, last_response, unexpected_responses, .. } =
            self;
        let mut unexpected = |text| {
            if unexpected_responses.len() < MAX_UNEXPECTED {
                unexpected_responses.push(text);
            }
        };
        while let Some(raw) = connection.next_read()? {
            if raw.kind != P_DATA {
                return Err(ended(raw));
            }
            messages.add(raw.bytes, |arrived| {
                match id_and_status(&arrived) {
                    Some((id, status)) => match outstanding.remove(&id) {
                        Some(Outstanding { request, sent }) => {
                            *last_response = now;
                            responses.push(MatchedResponse {
                                request,
                                status,
                                latency: now - sent,
                                time,
                            });
                        }
                        None => unexpected(
                            format!("a response to Message ID {id}, which is not outstanding")
                                .into(),
                        ),
                    },
                    None => unexpected(describe(&arrived.message)),
                }
                Ok(())
            })?;
        }
        // Messages that are not responses do not extend the response timeout.
        self.check_response_timeout(now)?;
        self.check_interrupt(now, control)
    }

    /// Calls `control`, unless it was called just before.
    fn check_interrupt(&mut self, now: Instant, control: ControlFn<'_>) -> Result<(), Failure> {
        if now - self.control_called < POLL_INTERVAL {
            return Ok(());
        }
        self.control_called = now;
        match control(now) {
            Control::Cancel => Err(Failure::Interrupted),
            Control::Continue | Control::StopSending => Ok(()),
        }
    }

    fn check_response_timeout(&self, now: Instant) -> Result<(), Failure> {
        let timeout = self.timeouts.response;
        match !self.outstanding.is_empty() && now - self.last_response >= timeout {
            true => Err(Failure::ReadTimeout(timeout)),
            false => Ok(()),
        }
    }

    /// Releases the association.
    ///
    /// # Errors
    ///
    /// If the peer does not respond to the release.
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

fn id_and_status(arrived: &ReceivedMessage<'_>) -> Option<(u16, u16)> {
    let Message::Event { command_set, .. } = &arrived.message else { return None };
    let is_response = command_set.kind == Kind::Response;
    let number = |field| command_set.get(field).us().filter(|_| is_response);
    Some((number(Field::MessageIDBeingRespondedTo)?, number(Field::Status)?))
}

fn describe(message: &Message<'_>) -> Box<str> {
    match message {
        Message::Event { command_set, .. } if command_set.kind == Kind::Request => {
            "an N-EVENT-REPORT-RQ".into()
        }
        Message::Event { .. } => "a response without a Message ID or Status".into(),
        other => format!("a message with Command Field {:#06x}", other.command_field()).into(),
    }
}
