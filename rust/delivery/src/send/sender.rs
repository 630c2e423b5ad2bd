//! Sends requests to a peer, with as many outstanding as agreed, and matches each response with its
//! request. Events that the peer reports meanwhile are served.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use fastdimse_core::command_set::Message;
use fastdimse_core::field::Kind;

use crate::association::acceptance::Accepted;
use crate::association::negotiation::{Agreement, Proposal, max_pdu_length};
use crate::association::request::associate;
use crate::failure::Failure;
use crate::messages::{Messages, ReceivedMessage};
use crate::outstanding::{MatchedResponse, Outstanding, Requests};
use crate::receive::receiver::{EventSink, Origin};
use crate::receive::reports::Reports;
use crate::responses::{RESPONSE, Response};
use crate::send::events_of_peer::{EventsOfPeer, WaitingEvent};
use crate::timeouts::Timeouts;
use crate::timeouts::{Deadline, POLL_INTERVAL};
use crate::transport::connection::{Connection, P_DATA, ended};
use crate::transport::tls::ClientTls;

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

/// An association that the local side requested.
#[derive(Debug)]
pub struct Sender {
    connection: Connection,
    agreement: Agreement,
    timeouts: Timeouts,
    messages: Messages,
    outstanding: Outstanding,
    events: EventsOfPeer,
    /// When `control` was called last.
    control_called: Instant,
    unexpected_responses: Vec<Box<str>>,
}

impl Sender {
    /// Establishes an association. Events that the peer reports are passed to `sink`; without it they
    /// wait for [`Sender::wait_for_event`].
    ///
    /// # Errors
    ///
    /// If the connection fails, or the peer accepts no presentation context.
    pub fn open(
        address: impl ToSocketAddrs + Send + 'static,
        tls: Option<&ClientTls>,
        proposal: &Proposal,
        timeouts: Timeouts,
        sink: Option<Arc<dyn EventSink>>,
    ) -> Result<Self, Failure> {
        let (mut connection, agreement) = associate(address, tls, proposal, &timeouts)?;
        let origin = Origin {
            number: 0,
            peer: connection.peer_address()?,
            accepted: Accepted::new(&proposal.calling, &proposal.called, &agreement),
            reports: Reports::closed("the local side requested the association: use send()"),
        };
        let longest = max_pdu_length(agreement.max_pdu_length);
        Ok(Self {
            connection,
            timeouts,
            messages: Messages::default(),
            outstanding: Outstanding::new(agreement.window),
            events: EventsOfPeer::new(sink, Arc::new(origin), longest),
            agreement,
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

    /// Sends requests of this kind, and appends the responses that arrive meanwhile to `responses`. `sent` is
    /// the number of requests sent, also after a failure; it is lower than the number given if
    /// `control` has stopped the sending.
    ///
    /// # Errors
    ///
    /// If the association fails. Outstanding requests remain without a response.
    pub fn send(
        &mut self,
        requests: Requests<'_>,
        kind: Kind,
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
            let end = self.outstanding.register(&requests, kind, *sent, now);
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
        self.receive_until(Deadline::after(self.timeouts.response), responses, control)
    }

    /// As [`Sender::receive`], and returns at the deadline.
    fn receive_until(
        &mut self,
        deadline: Deadline,
        responses: &mut Vec<MatchedResponse>,
        control: ControlFn<'_>,
    ) -> Result<(), Failure> {
        match self.connection.fill(Deadline::after(deadline.left().min(POLL_INTERVAL))) {
            // The response timeout is checked below.
            Err(Failure::ReadTimeout(_)) => {}
            filled => filled?,
        }
        let (now, time) = (Instant::now(), SystemTime::now());
        let Self { connection, messages, outstanding, events, unexpected_responses, .. } = self;
        let mut unexpected = |text| {
            if unexpected_responses.len() < MAX_UNEXPECTED {
                unexpected_responses.push(text);
            }
        };
        let mut process = |arrived: ReceivedMessage<'_>| {
            if is_request(&arrived.message) {
                events.serve(&arrived)?.into_iter().for_each(&mut unexpected);
                return Ok(());
            }
            match outstanding.respond(&arrived, now, time) {
                Ok(response) => responses.push(response),
                Err(Ok(text)) => unexpected(text),
                Err(Err(failure)) => return Err(failure),
            }
            Ok(())
        };
        // The responses to what has arrived are written even if the association then fails.
        let mut result = Ok(());
        while result.is_ok() {
            if let Some(arrived) = connection.next_message(messages) {
                result = process(arrived);
                continue;
            }
            result = match connection.next_read() {
                Ok(None) => break,
                Ok(Some(raw)) if raw.kind != P_DATA => Err(ended(raw)),
                Ok(Some(raw)) => messages.add(raw.bytes, &mut process),
                Err(failure) => Err(failure),
            };
        }
        self.write_responses()?;
        result?;
        // Messages that are not responses do not extend the response timeout.
        self.outstanding.check_timeout(now, self.timeouts.response)?;
        self.check_interrupt(now, control)
    }

    fn write_responses(&mut self) -> Result<(), Failure> {
        let responses = self.events.take_responses();
        if responses.is_empty() { Ok(()) } else { self.connection.write(&responses) }
    }

    /// Waits until an event waits for its response, and returns it; `None` at the deadline, or when the
    /// sink has received `most` events since the call.
    ///
    /// # Errors
    ///
    /// If the association fails.
    pub fn wait_for_event(
        &mut self,
        deadline: Deadline,
        most: u64,
        control: ControlFn<'_>,
    ) -> Result<Option<WaitingEvent>, Failure> {
        let end = self.events.received().saturating_add(most);
        let mut responses = Vec::new();
        loop {
            if let Some(event) = self.events.take() {
                return Ok(Some(event));
            }
            if deadline.left().is_zero() || self.events.received() >= end {
                return Ok(None);
            }
            self.receive_until(deadline, &mut responses, control)?;
        }
    }

    /// Responds to an event that [`Sender::wait_for_event`] returned.
    ///
    /// # Errors
    ///
    /// If the association fails.
    pub fn respond(&mut self, event: &WaitingEvent, response: &Response) -> Result<(), Failure> {
        self.events.respond(event, response)?;
        self.write_responses()
    }

    /// The number of events that the sink received.
    pub fn received_events(&self) -> u64 {
        self.events.received()
    }

    /// The association, as the peer's events have it.
    pub fn origin(&self) -> &Arc<Origin> {
        self.events.origin()
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

/// Whether the message is a request, which has a Message ID (PS3.7 E.1).
fn is_request(message: &Message<'_>) -> bool {
    message.command_field() & RESPONSE == 0
}
