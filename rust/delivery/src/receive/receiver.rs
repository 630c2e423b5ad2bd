//! Receives the events and actions of an association. Each event is passed to the sink before its
//! response is written.

use std::collections::BTreeSet;
use std::mem;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use dicom_ul::pdu::{AssociationRQ, Pdu, UserIdentity};
use fastdimse_core::command_set::{CommandSet, Message};
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::pdu::write::{LAST, MaxPduLength, headers, write_message};
use fastdimse_core::rejection::{Reason, Rejection};
use rustls::ServerConfig;

use crate::association::acceptance::{
    Accepted, AcceptedContext, AcceptorOptions, UNKNOWN_USER, rejection_reason, unknown_user, user,
};
use crate::association::negotiation::{max_pdu_length, uid};
use crate::failure::Failure;
use crate::messages::{Messages, ReceivedMessage};
use crate::receive::records::{AssociationLog, Titles};
use crate::receive::reports::{NotReported, Reporting, Reports};
use crate::responses::{
    AcceptedClass, C_ECHO_RQ, RESPONSE, Response, UNRECOGNIZED_OPERATION, refusal,
    without_long_uids, write_other_response, write_response,
};
use crate::timeouts::Deadline;
use crate::timeouts::Timeouts;
use crate::transport::connection::{Connection, P_DATA, ended, ended_by};

/// The association on which events were received.
#[derive(Debug)]
pub struct Origin {
    /// The number of the association, from 1.
    pub number: u64,
    /// The address of the peer.
    pub peer: std::net::SocketAddr,
    /// The accepted association.
    pub accepted: Accepted,
    /// The events that the local side reports on it.
    pub reports: Reports,
}

/// Events of one association, in the order of arrival.
#[derive(Debug)]
pub struct Chunk {
    /// The association.
    pub origin: Arc<Origin>,
    /// The PDUs. Each event has its own PDUs, even if it shared a PDU when it arrived.
    pub bytes: Vec<u8>,
    /// The number of events.
    pub events: usize,
    /// When the last event was complete.
    pub time: SystemTime,
}

/// Receives events and actions. The response to an event is written only after
/// [`EventSink::receive`] has returned for it.
pub trait EventSink: Send + Sync {
    /// The response to an event, if it is known before [`EventSink::receive`]: for all events
    /// or for none.
    fn response(
        &self,
        event: &CommandSet<'_>,
        received: &ReceivedMessage<'_>,
        origin: &Arc<Origin>,
    ) -> Option<Response>;

    /// Receives events.
    fn receive(&self, chunk: Chunk) -> Delivered;

    /// An association was accepted.
    fn accepted(&self, _origin: &Arc<Origin>) {}

    /// Performs an action, and returns the response; `None` if actions are not supported.
    fn action(
        &self,
        _action: &CommandSet<'_>,
        _received: &ReceivedMessage<'_>,
        _origin: &Arc<Origin>,
    ) -> Option<Response> {
        None
    }
}

/// How a sink has received a chunk.
#[derive(Debug)]
pub enum Delivered {
    /// The events are stored. [`EventSink::response`] has returned their responses.
    Stored,
    /// The events are processed: their bytes, and the Status of each event.
    Processed(Vec<u8>, Vec<u16>),
    /// The sink is closed.
    SinkClosed,
}

/// Decides whether the user of an association request, if there is one, is accepted.
pub type Authenticate = Box<dyn Fn(Option<&UserIdentity>) -> bool + Send + Sync>;

/// How to serve associations.
pub struct Service {
    /// The associations to accept.
    pub acceptor: AcceptorOptions,
    /// Decides about users; all are accepted without it.
    pub authenticate: Option<Authenticate>,
    /// The configuration of TLS, for secure connections.
    pub tls: Option<Arc<ServerConfig>>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// The maximum length of a message in bytes.
    pub max_message_length: usize,
    /// Set when no more events are accepted.
    pub stopping: AtomicBool,
}

impl Service {
    /// Fails if no more events are accepted.
    fn check_stopping(&self) -> Result<(), Failure> {
        match self.stopping.load(Ordering::SeqCst) {
            true => Err(Failure::Interrupted),
            false => Ok(()),
        }
    }
}

/// Serves an association from its request to its end. `log` records whether it is accepted, and
/// problems of single messages.
///
/// # Errors
///
/// If the association does not end with a release.
pub fn serve(
    socket: TcpStream,
    number: u64,
    service: &Service,
    sink: &dyn EventSink,
    log: &AssociationLog,
) -> Result<(), Failure> {
    let peer = socket.peer_addr().map_err(Failure::Connect)?;
    let Service { acceptor, authenticate, tls, timeouts, .. } = service;
    let mut connection =
        Connection::accept(socket, tls.as_ref(), acceptor.max_pdu_length, timeouts)?;
    let request = match request(&mut connection, timeouts.association) {
        Ok(request) => request,
        // Without an association there is nothing to abort (PS3.8 9.2, AA-2).
        Err(failure @ Failure::ReadTimeout(_)) => return Err(failure),
        failed => return end(connection, failed.map(drop), service, log),
    };
    if authenticate.as_ref().is_some_and(|authenticate| !authenticate(user(&request))) {
        log.rejected(Some(titles(&request)), UNKNOWN_USER.0, UNKNOWN_USER.1);
        connection.write_pdu(&unknown_user())?;
        connection.end();
        return Ok(());
    }
    if let Err(failure) = service.check_stopping() {
        connection.fail(&failure);
        return Err(failure);
    }
    let (response, accepted) = acceptor.respond(&request);
    match (&accepted, rejection_reason(&response)) {
        (Some(accepted), _) => log.accepted(accepted, proposed_classes(&request)),
        (None, (code, reason)) => log.rejected(Some(titles(&request)), code, reason),
    }
    connection.write_pdu(&response)?;
    let Some(accepted) = accepted else {
        connection.end();
        return Ok(());
    };
    let window = accepted.window;
    let reports = match acceptor.actions {
        true => Reports::new().map_err(Failure::Io)?,
        false => Reports::closed("the listener has neither action_handler nor association_handler"),
    };
    let mut receiver = Receiver {
        service,
        sink,
        log,
        max_pdu_length: max_pdu_length(accepted.max_pdu_length),
        origin: Arc::new(Origin { number, peer, accepted, reports }),
        reporting: Reporting::new(window),
        accepted: AcceptedClass::default(),
        chunk: Vec::new(),
        events: 0,
        responses: Vec::new(),
    };
    sink.accepted(&receiver.origin);
    let result = receiver.receive_all(&mut connection);
    let ended = NotReported::from(result.as_ref().err().unwrap_or(&Failure::Released));
    receiver.reporting.end(&receiver.origin.reports, &ended);
    end(connection, result, service, log)
}

/// Ends a connection. It is recorded first, because the peer may keep the connection open.
fn end(
    connection: Connection,
    result: Result<(), Failure>,
    service: &Service,
    log: &AssociationLog,
) -> Result<(), Failure> {
    log.ended(&result, service.stopping.load(Ordering::SeqCst));
    match &result {
        Ok(()) => connection.end(),
        Err(failure) => connection.fail(failure),
    }
    result
}

fn request(connection: &mut Connection, timeout: Duration) -> Result<AssociationRQ, Failure> {
    match connection.wait_for_pdu("A-ASSOCIATE-RQ", timeout)? {
        Pdu::AssociationRQ(request) => Ok(request),
        abort @ Pdu::AbortRQ { .. } => Err(ended_by(&abort, "A-ASSOCIATE-RQ")),
        other => {
            let found = other.short_description().to_string().into();
            Err(Failure::Unexpected { found, expected: "A-ASSOCIATE-RQ" })
        }
    }
}

fn titles(request: &AssociationRQ) -> Titles {
    let (calling, called) = (uid(&request.calling_ae_title), uid(&request.called_ae_title));
    Titles { calling, called }
}

/// The number of proposed SOP classes.
fn proposed_classes(request: &AssociationRQ) -> usize {
    let proposed = request.presentation_contexts.iter().map(|one| uid(&one.abstract_syntax));
    proposed.collect::<BTreeSet<_>>().len()
}

/// Responses are written when they have this many bytes, even if more PDUs are waiting: an Event
/// Reply can be long.
const MAX_HELD_BYTES: usize = 1 << 20;
/// The maximum time for which responses wait for those of other events: a handler can be slow.
const MAX_HELD_TIME: Duration = Duration::from_millis(100);

/// The maximum memory that is kept for the next events.
const KEPT: usize = 1 << 16;

/// The result of reading PDUs.
enum Read {
    /// All complete PDUs were read.
    All,
    /// Some PDUs were read, and their responses must be written first.
    Some,
    /// The peer requests the release.
    Release,
}

fn check_complete(messages: &Messages, how: &'static str) -> Result<(), Failure> {
    match messages.incomplete() {
        Some(length) => Err(Failure::Incomplete { how, length }),
        None => Ok(()),
    }
}

struct Receiver<'a> {
    service: &'a Service,
    sink: &'a dyn EventSink,
    log: &'a AssociationLog,
    origin: Arc<Origin>,
    /// The maximum PDU length that the peer accepts.
    max_pdu_length: MaxPduLength,
    reporting: Reporting,
    /// The SOP class of the last event that was not refused.
    accepted: AcceptedClass,
    /// Events for the sink, each in its own PDUs.
    chunk: Vec<u8>,
    /// The number of these events.
    events: usize,
    /// Responses to write, to the events in `chunk` and to other messages.
    responses: Vec<u8>,
}

impl Receiver<'_> {
    /// Receives all events until the association is released.
    fn receive_all(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let mut messages = Messages::new(self.service.max_message_length);
        loop {
            let read = self.read(connection, &mut messages);
            // The order matters: the response to an event is written after the sink has received
            // it, even if reading has failed.
            self.deliver()?;
            self.log.flush();
            // The responses to everything that arrived together are written at once, including
            // those before a fault.
            if !self.responses.is_empty() {
                connection.write(&self.responses)?;
                self.responses.clear();
                self.responses.shrink_to(MAX_HELD_BYTES);
            }
            let read = read?;
            if let Read::Release = read {
                connection.write_pdu(&Pdu::ReleaseRP)?;
                return check_complete(&messages, "released the association");
            }
            // After the response to the action that they follow.
            self.reporting.send(connection, &self.origin.reports)?;
            if let Read::Some = read {
                continue;
            }
            self.service.check_stopping()?;
            let timeout = self.service.timeouts.response;
            self.reporting.check_timeout(timeout)?;
            let deadline = Deadline::after(timeout);
            if let Some(waker) = self.origin.reports.waker()
                && !connection.wait_for_data(waker, deadline)?
            {
                continue;
            }
            match connection.fill(deadline) {
                Err(closed @ Failure::Closed(_)) => {
                    self.service.check_stopping()?;
                    check_complete(&messages, "closed the connection")?;
                    return Err(closed);
                }
                filled => filled?,
            }
        }
    }

    /// Reads the complete PDUs, and stops when their responses should be written.
    fn read(
        &mut self,
        connection: &mut Connection,
        messages: &mut Messages,
    ) -> Result<Read, Failure> {
        let begin = Instant::now();
        loop {
            if let Some(arrived) = connection.next_message(messages) {
                self.log.received(arrived.pdus.map_or(0, <[u8]>::len));
                self.process(&arrived)?;
            } else if let Some(raw) = connection.next_read()? {
                if raw.kind != P_DATA {
                    return match ended(raw) {
                        Failure::Released => Ok(Read::Release),
                        failure => Err(failure),
                    };
                }
                self.read_pdu(raw.bytes, messages)?;
            } else {
                return Ok(Read::All);
            }
            if self.responses.len() >= MAX_HELD_BYTES || begin.elapsed() >= MAX_HELD_TIME {
                return Ok(Read::Some);
            }
        }
    }

    /// Reads a PDU by all rules.
    fn read_pdu(&mut self, pdu: &[u8], messages: &mut Messages) -> Result<(), Failure> {
        self.log.received(pdu.len());
        messages.add(pdu, |arrived| self.process(&arrived))?;
        // Checked before the message is complete: a message on a wrong context need not be
        // received.
        match messages.context_id() {
            Some(id) => self.check_context(id).map(drop),
            None => Ok(()),
        }
    }

    fn check_context(&self, id: u8) -> Result<&AcceptedContext, Failure> {
        self.origin.accepted.contexts.get(&id).ok_or(Failure::Context(id))
    }

    /// Processes a message.
    fn process(&mut self, arrived: &ReceivedMessage<'_>) -> Result<(), Failure> {
        self.service.check_stopping()?;
        self.check_context(arrived.context_id)?;
        match &arrived.message {
            Message::Event { command_set, .. } if command_set.kind == Kind::Request => {
                self.process_event(command_set, arrived)
            }
            Message::Action { command_set, .. } if command_set.kind == Kind::ActionRequest => {
                self.process_action(command_set, arrived)
            }
            Message::Other { command_field, message_id: Some(id), .. }
                if command_field & RESPONSE == 0 =>
            {
                self.respond_to_other(*command_field, *id, arrived);
                Ok(())
            }
            message => {
                if self.reporting.respond(arrived)?.is_some() {
                    self.log.ignored(format!(
                        "{} was ignored: it is not a response to an outstanding request",
                        message.name()
                    ));
                }
                Ok(())
            }
        }
    }

    fn process_event(
        &mut self,
        event: &CommandSet<'_>,
        arrived: &ReceivedMessage<'_>,
    ) -> Result<(), Failure> {
        let context_id = arrived.context_id;
        let Some(message_id) = event.get(Field::MessageID).us() else {
            // An event that cannot get a response is not given to the sink.
            return Err(Rejection::new(Reason::MissingElement("Message ID (0000,0110)")).into());
        };
        if self.refuse(event, message_id, context_id) {
            return Ok(());
        }
        let response = self.sink.response(event, arrived, &self.origin);
        self.add_to_chunk(event, arrived);
        if let Some(response) = response {
            self.respond(event, &response, context_id);
        }
        Ok(())
    }

    /// Adds an event to those for the sink.
    fn add_to_chunk(&mut self, event: &CommandSet<'_>, arrived: &ReceivedMessage<'_>) {
        self.events += 1;
        let ReceivedMessage { context_id, command_set, data_set, .. } = *arrived;
        if let Some(pdus) = arrived.pdus {
            return self.chunk.extend_from_slice(pdus);
        }
        let write = |out: &mut Vec<u8>| out.extend_from_slice(command_set);
        write_message(&mut self.chunk, context_id, MaxPduLength::UNLIMITED, write, data_set);
        if event.data_set && data_set.is_empty() {
            // The command set announces a data set, so an empty one must follow.
            self.chunk.extend(headers(context_id, LAST, 0));
        }
    }

    fn process_action(
        &mut self,
        action: &CommandSet<'_>,
        arrived: &ReceivedMessage<'_>,
    ) -> Result<(), Failure> {
        let Some(message_id) = action.get(Field::MessageID).us() else {
            return Err(Rejection::new(Reason::MissingElement("Message ID (0000,0110)")).into());
        };
        if self.refuse(action, message_id, arrived.context_id) {
            return Ok(());
        }
        let response = self.sink.action(action, arrived, &self.origin).unwrap_or_else(|| {
            let reason = "the listener has no action_handler";
            self.log.refused("action", message_id, UNRECOGNIZED_OPERATION, &reason);
            Response::of_status(UNRECOGNIZED_OPERATION)
        });
        self.respond(action, &response, arrived.context_id);
        Ok(())
    }

    /// Refuses a request that is not given to the sink; returns whether it did (PS3.7 10.1.1.1.8).
    fn refuse(&mut self, request: &CommandSet<'_>, message_id: u16, context_id: u8) -> bool {
        if self.accepted.allows(request, context_id) {
            return false;
        }
        let is_served = |class: &str| self.service.acceptor.sop_classes.contains(class);
        let contexts = &self.origin.accepted.contexts;
        let Some((status, reason)) = refusal(request, context_id, contexts, is_served) else {
            self.accepted.remember(request, context_id);
            return false;
        };
        let what = if request.kind == Kind::ActionRequest { "action" } else { "event" };
        self.log.refused(what, message_id, status, &reason);
        let response = Response::of_status(status);
        self.respond(&without_long_uids(*request), &response, context_id);
        true
    }

    /// Responds to a request that is neither an event nor an action.
    fn respond_to_other(&mut self, command_field: u16, id: u16, arrived: &ReceivedMessage<'_>) {
        if command_field != C_ECHO_RQ {
            self.log.unsupported(id, UNRECOGNIZED_OPERATION, arrived.message.name());
        }
        let (max, responses) = (self.max_pdu_length, &mut self.responses);
        write_other_response(command_field, id, arrived.context_id, max, responses);
    }

    fn respond(&mut self, request: &CommandSet<'_>, response: &Response, context_id: u8) {
        if request.kind == Kind::Request {
            self.log.responded(response.status);
        }
        write_response(request, response, context_id, self.max_pdu_length, &mut self.responses);
    }

    /// Gives the complete events to the sink, and adds their responses if these are not known yet.
    fn deliver(&mut self) -> Result<(), Failure> {
        if self.events == 0 {
            return Ok(());
        }
        let (origin, time) = (self.origin.clone(), SystemTime::now());
        // The next chunk is probably as long as this one.
        let next = Vec::with_capacity(self.chunk.len().min(KEPT));
        let mut bytes = mem::replace(&mut self.chunk, next);
        // Only its length counts as memory of the sink.
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        let events = mem::take(&mut self.events);
        match self.sink.receive(Chunk { origin, bytes, events, time }) {
            Delivered::Stored => Ok(()),
            Delivered::Processed(bytes, statuses) => self.respond_to_all(&bytes, statuses),
            Delivered::SinkClosed => {
                // These responses say Success, but the events are not stored.
                self.responses.clear();
                Err(Failure::Internal)
            }
        }
    }

    fn respond_to_all(&mut self, events: &[u8], statuses: Vec<u16>) -> Result<(), Failure> {
        let mut statuses = statuses.into_iter();
        Messages::new(usize::MAX).add_all(events, |arrived| {
            let status = statuses.next().ok_or(Failure::Internal)?;
            let response = Response::of_status(status);
            self.respond(&arrived.message.event()?, &response, arrived.context_id);
            Ok(())
        })
    }
}
