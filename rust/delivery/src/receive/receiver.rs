//! Receives the events of an association. Each event is passed to the sink before its response is
//! written.

use std::mem;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use dicom_ul::pdu::{AssociationRQ, Pdu, UserIdentity};
use fastdimse_core::command_set::{CommandSet, Message, Value};
use fastdimse_core::decode::check_uids;
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::pdu::write::{LAST, MaxPduLength, headers, write_message};
use fastdimse_core::rejection::{Reason, Rejection};
use fastdimse_core::standard::sop_classes::can_be_sent_on;
use fastdimse_core::standard::status::describe;
use rustls::ServerConfig;

use crate::association::acceptance::{
    Accepted, AcceptedContext, AcceptorOptions, unknown_user, user,
};
use crate::association::negotiation::VERIFICATION;
use crate::association::negotiation::{longest_pdu, max_pdu_length};
use crate::failure::Failure;
use crate::messages::{Messages, ReceivedMessage};
use crate::send::echo::C_ECHO_RQ;
use crate::timeouts::Deadline;
use crate::timeouts::Timeouts;
use crate::transport::connection::{Connection, P_DATA, ended, ended_by};

const RESPONSE: u16 = 0x8000;
/// Unrecognized operation (PS3.7 C.5.17).
const UNRECOGNIZED_OPERATION: u16 = 0x0211;
/// Invalid SOP Instance: the UID violates the rules (PS3.7 C.5).
const INVALID_SOP_INSTANCE: u16 = 0x0117;
/// No such SOP Class: the local side does not accept it (PS3.7 C.5).
const NO_SUCH_SOP_CLASS: u16 = 0x0118;
/// SOP Class not supported on this presentation context (PS3.7 C.5).
const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;

/// The association on which events were received.
#[derive(Debug)]
pub struct Origin {
    /// The number of the association, from 1.
    pub number: u64,
    /// The address of the peer.
    pub peer: std::net::SocketAddr,
    /// The accepted association.
    pub accepted: Accepted,
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

/// The response to an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventResponse {
    /// The Status (PS3.7 10.1.1.1.8).
    pub status: u16,
    /// The Event Reply, in the transfer syntax of the event's presentation context.
    pub event_reply: Option<Vec<u8>>,
}

impl EventResponse {
    /// Success.
    pub const SUCCESS: Self = Self { status: 0, event_reply: None };
}

/// Receives events. A response is written only after [`EventSink::receive`] has returned for its
/// event.
pub trait EventSink: Send + Sync {
    /// The response to an event, if it is known before [`EventSink::receive`]: for all events
    /// or for none.
    fn response(
        &self,
        event: &CommandSet<'_>,
        data_set: &[u8],
        context_id: u8,
        origin: &Origin,
    ) -> Option<EventResponse>;

    /// Receives events.
    fn receive(&self, chunk: Chunk) -> Delivered;
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

/// Serves an association from its request to its end. Problems of single messages are passed to
/// `report`.
///
/// # Errors
///
/// If the association does not end with a release.
pub fn serve(
    socket: TcpStream,
    number: u64,
    service: &Service,
    sink: &dyn EventSink,
    report: &dyn Fn(String),
) -> Result<(), Failure> {
    let peer = socket.peer_addr().map_err(Failure::Connect)?;
    let Service { acceptor, authenticate, tls, timeouts, .. } = service;
    let mut connection =
        Connection::accept(socket, tls.as_ref(), acceptor.max_pdu_length, timeouts)?;
    let request = match request(&mut connection, timeouts.association) {
        Ok(request) => request,
        // Without an association there is nothing to abort (PS3.8 9.2, AA-2).
        Err(failure @ Failure::ReadTimeout(_)) => return Err(failure),
        Err(failure) => {
            connection.fail(&failure);
            return Err(failure);
        }
    };
    if authenticate.as_ref().is_some_and(|authenticate| !authenticate(user(&request))) {
        connection.write_pdu(&unknown_user())?;
        connection.end();
        return Ok(());
    }
    if let Err(failure) = service.check_stopping() {
        connection.fail(&failure);
        return Err(failure);
    }
    let (response, accepted) = acceptor.respond(&request);
    connection.write_pdu(&response)?;
    let Some(accepted) = accepted else {
        connection.end();
        return Ok(());
    };
    let mut receiver = Receiver {
        service,
        sink,
        report,
        max_pdu_length: max_pdu_length(longest_pdu(&request.user_variables)),
        origin: Arc::new(Origin { number, peer, accepted }),
        messages: Messages::new(service.max_message_length),
        chunk: Vec::new(),
        events: 0,
        responses: Vec::new(),
    };
    match receiver.receive_all(&mut connection) {
        Ok(()) => {
            connection.end();
            Ok(())
        }
        Err(failure) => {
            connection.fail(&failure);
            Err(failure)
        }
    }
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

/// Responses are written when they have this many bytes, even if more PDUs are waiting: an Event
/// Reply can be long.
const MAX_HELD_BYTES: usize = 1 << 20;
/// The maximum time for which responses wait for those of other events: a handler can be slow.
const MAX_HELD_TIME: Duration = Duration::from_millis(100);

/// The result of reading PDUs.
enum Read {
    /// All complete PDUs were read.
    All,
    /// Some PDUs were read, and their responses must be written first.
    Some,
    /// The peer requests the release.
    Release,
}

struct Receiver<'a> {
    service: &'a Service,
    sink: &'a dyn EventSink,
    report: &'a dyn Fn(String),
    origin: Arc<Origin>,
    /// The maximum PDU length that the peer accepts.
    max_pdu_length: MaxPduLength,
    messages: Messages,
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
        loop {
            let read = self.read(connection);
            // The order matters: the response to an event is written after the sink has received
            // it, even if reading has failed.
            self.deliver()?;
            // The responses to everything that arrived together are written at once, including
            // those before a fault.
            if !self.responses.is_empty() {
                connection.write(&self.responses)?;
                self.responses.clear();
                self.responses.shrink_to(MAX_HELD_BYTES);
            }
            match read? {
                Read::Release => {
                    connection.write_pdu(&Pdu::ReleaseRP)?;
                    return self.check_complete("released the association");
                }
                Read::Some => continue,
                Read::All => {}
            }
            self.service.check_stopping()?;
            if self.messages.incomplete().is_some() {
                connection.acknowledge();
            }
            match connection.fill(Deadline::after(self.service.timeouts.response)) {
                Err(closed @ Failure::Closed(_)) => {
                    self.service.check_stopping()?;
                    self.check_complete("closed the connection")?;
                    return Err(closed);
                }
                filled => filled?,
            }
        }
    }

    fn check_complete(&self, how: &'static str) -> Result<(), Failure> {
        match self.messages.incomplete() {
            Some(length) => Err(Failure::Incomplete { how, length }),
            None => Ok(()),
        }
    }

    /// Reads the complete PDUs, and stops when their responses should be written.
    fn read(&mut self, connection: &mut Connection) -> Result<Read, Failure> {
        let begin = Instant::now();
        while let Some(raw) = connection.next_read()? {
            if raw.kind != P_DATA {
                return match ended(raw) {
                    Failure::Released => Ok(Read::Release),
                    failure => Err(failure),
                };
            }
            let mut messages = mem::take(&mut self.messages);
            let processed = messages.add(raw.bytes, |arrived| self.process(&arrived));
            self.messages = messages;
            processed?;
            // Checked before the message is complete: a message on a wrong context need not be
            // received.
            if let Some(id) = self.messages.context_id() {
                self.check_context(id)?;
            }
            if self.responses.len() >= MAX_HELD_BYTES || begin.elapsed() >= MAX_HELD_TIME {
                return Ok(Read::Some);
            }
        }
        Ok(Read::All)
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
                self.process_event(command_set, arrived)?;
            }
            Message::Other { command_field, message_id: Some(id), .. }
                if command_field & RESPONSE == 0 =>
            {
                let (max, responses) = (self.max_pdu_length, &mut self.responses);
                write_other_response(*command_field, *id, arrived.context_id, max, responses);
            }
            Message::Action { command_set, .. }
                if !command_set.kind.is_response()
                    && let Some(id) = command_set.get(Field::MessageID).us() =>
            {
                let command_field = command_set.kind.command_field();
                let (max, responses) = (self.max_pdu_length, &mut self.responses);
                write_other_response(command_field, id, arrived.context_id, max, responses);
            }
            message => (self.report)(format!(
                "{} was ignored: it is not a response to an outstanding request",
                message.name()
            )),
        }
        Ok(())
    }

    fn process_event(
        &mut self,
        event: &CommandSet<'_>,
        arrived: &ReceivedMessage<'_>,
    ) -> Result<(), Failure> {
        let ReceivedMessage { context_id, command_set, data_set, .. } = *arrived;
        let Some(message_id) = event.get(Field::MessageID).us() else {
            // An event that cannot get a response is not given to the sink.
            return Err(Rejection::new(Reason::MissingElement("Message ID (0000,0110)")).into());
        };
        if let Some((status, reason)) = self.refusal(event, context_id) {
            (self.report)(format!(
                "an event was refused with Status {}: Message ID {message_id}, {reason}",
                describe(status)
            ));
            let response = EventResponse { status, event_reply: None };
            self.respond(&without_long_uids(*event), &response, context_id);
            return Ok(());
        }
        let response = self.sink.response(event, data_set, context_id, &self.origin);
        let write = |out: &mut Vec<u8>| out.extend_from_slice(command_set);
        write_message(&mut self.chunk, context_id, MaxPduLength::UNLIMITED, write, data_set);
        if event.data_set && data_set.is_empty() {
            // The command set announces a data set, so an empty one must follow.
            self.chunk.extend(headers(context_id, LAST, 0));
        }
        self.events += 1;
        if let Some(response) = response {
            self.respond(event, &response, context_id);
        }
        Ok(())
    }

    /// The Status and the reason for an event that is not given to the sink (PS3.7 10.1.1.1.8).
    fn refusal(&self, event: &CommandSet<'_>, context_id: u8) -> Option<(u16, String)> {
        if let Err(rejection) = check_uids(event) {
            let status = match rejection.field {
                Some(Field::AffectedSOPClassUID) => NO_SUCH_SOP_CLASS,
                _ => INVALID_SOP_INSTANCE,
            };
            return Some((status, rejection.to_string()));
        }
        let class = String::from_utf8_lossy(event.get(Field::AffectedSOPClassUID).text()?);
        let negotiated = &self.origin.accepted.contexts.get(&context_id)?.abstract_syntax;
        if can_be_sent_on(&class, negotiated) {
            return None;
        }
        let status = match self.service.acceptor.sop_classes.contains(&*class) {
            true => SOP_CLASS_NOT_SUPPORTED,
            false => NO_SUCH_SOP_CLASS,
        };
        Some((status, format!("{class} is not allowed on a presentation context of {negotiated}")))
    }

    fn respond(&mut self, event: &CommandSet<'_>, response: &EventResponse, context_id: u8) {
        write_response(event, response, context_id, self.max_pdu_length, &mut self.responses);
    }

    /// Gives the complete events to the sink, and adds their responses if these are not known yet.
    fn deliver(&mut self) -> Result<(), Failure> {
        if self.events == 0 {
            return Ok(());
        }
        let (origin, time) = (self.origin.clone(), SystemTime::now());
        let (bytes, events) = (mem::take(&mut self.chunk), mem::take(&mut self.events));
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
        Messages::new(usize::MAX).add(events, |arrived| {
            let status = statuses.next().ok_or(Failure::Internal)?;
            let response = EventResponse { status, event_reply: None };
            self.respond(&arrived.message.event()?, &response, arrived.context_id);
            Ok(())
        })
    }
}

/// The event without UIDs that are too long for a response.
fn without_long_uids(mut event: CommandSet<'_>) -> CommandSet<'_> {
    while let Err(Rejection { field: Some(field), .. }) = check_uids(&event) {
        event.set(field, Value::Absent);
    }
    event
}

/// Appends the response to an event.
fn write_response(
    request: &CommandSet<'_>,
    response: &EventResponse,
    context_id: u8,
    max_pdu_length: MaxPduLength,
    responses: &mut Vec<u8>,
) {
    let mut command_set = CommandSet::new(Kind::Response, response.event_reply.is_some());
    for field in [Field::AffectedSOPClassUID, Field::AffectedSOPInstanceUID, Field::EventTypeID] {
        command_set.set(field, request.get(field));
    }
    let id = request.get(Field::MessageID).us().unwrap_or(0);
    command_set.set(Field::MessageIDBeingRespondedTo, Value::Us(id));
    command_set.set(Field::Status, Value::Us(response.status));
    let write = |out: &mut Vec<u8>| command_set.write(out);
    let reply = response.event_reply.as_deref().unwrap_or_default();
    write_message(responses, context_id, max_pdu_length, write, reply);
}

/// Appends the response to another request.
fn write_other_response(
    command_field: u16,
    message_id: u16,
    context_id: u8,
    max_pdu_length: MaxPduLength,
    responses: &mut Vec<u8>,
) {
    let status = if command_field == C_ECHO_RQ { 0 } else { UNRECOGNIZED_OPERATION };
    let mut response = CommandSet::new(Kind::Response, false);
    if command_field == C_ECHO_RQ {
        // PS3.7 9.3.5.2.
        response.set(Field::AffectedSOPClassUID, Value::Text(VERIFICATION.as_bytes()));
    }
    response.set(Field::MessageIDBeingRespondedTo, Value::Us(message_id));
    response.set(Field::Status, Value::Us(status));
    let write = |out: &mut Vec<u8>| response.write_as(command_field | RESPONSE, out);
    write_message(responses, context_id, max_pdu_length, write, &[]);
}
