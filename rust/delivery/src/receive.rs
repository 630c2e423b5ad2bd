//! Events taken in on an association: each answered, whole messages handed on as they came.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dicom_ul::pdu::{AssociationRQ, Pdu, UserIdentity};
use fastdimse_core::command_set::{CommandSet, Field, Kind, Message, Value};
use fastdimse_core::pdv::{MaxPduLength, write_message};
use rustls::ServerConfig;

use crate::acceptance::{Accepted, Terms, unknown_user, user};
use crate::connection::{Connection, P_DATA, Patience, ended, ended_by};
use crate::failure::Failure;
use crate::messages::{Arrived, Messages};
use crate::negotiation::{longest_pdu, max_pdu_length};
use crate::socket::Deadline;
use crate::verification::{C_ECHO_RQ, VERIFICATION};

const RESPONSE: u16 = 0x8000;
/// Unrecognized operation (PS3.7 C.5.17).
const UNRECOGNIZED_OPERATION: u16 = 0x0211;

/// An association that events came in on.
#[derive(Debug)]
pub struct Origin {
    /// Its number, from 1.
    pub number: u64,
    /// Where it came from.
    pub peer: std::net::SocketAddr,
    /// What was accepted.
    pub accepted: Accepted,
}

/// Whole messages of one association.
#[derive(Debug)]
pub struct Chunk {
    /// Whose they are.
    pub origin: Arc<Origin>,
    /// Their PDUs.
    pub bytes: Vec<u8>,
    /// How many events they are.
    pub events: usize,
    /// When the last of them was complete.
    pub time: SystemTime,
}

/// What an event is answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The Status (PS3.7 10.1.1.1.8).
    pub status: u16,
    /// The Event Reply, in the transfer syntax of the event's presentation context.
    pub event_reply: Option<Vec<u8>>,
}

impl Answer {
    /// Success.
    pub const SUCCESS: Self = Self { status: 0, event_reply: None };
}

/// What becomes of events.
pub trait Taker: Send + Sync {
    /// The answer to an event, where it is known before it is taken: for all events or for none.
    fn answer(
        &self,
        event: &CommandSet<'_>,
        data_set: &[u8],
        context_id: u8,
        origin: &Origin,
    ) -> Option<Answer>;

    /// Takes events. Where they were not answered before, it gives their bytes back, and the Statuses
    /// that they are answered with.
    fn take(&self, chunk: Chunk) -> Option<(Vec<u8>, Vec<u16>)>;
}

/// Says whether an association is accepted from a user, of whom the request may say nothing.
pub type Admits = Box<dyn Fn(Option<&UserIdentity>) -> bool + Send + Sync>;

/// How an association is served.
pub struct Service {
    /// What is accepted.
    pub terms: Terms,
    /// Who is let in; all are if nobody says it.
    pub admits: Option<Admits>,
    /// Whether connections are secure, and how.
    pub tls: Option<Arc<ServerConfig>>,
    /// How long to wait.
    pub patience: Patience,
    /// The longest message that is put together.
    pub longest: usize,
}

/// Serves an association from its request to its end.
///
/// # Errors
/// If it does not end in order.
pub fn serve(
    socket: TcpStream,
    number: u64,
    service: &Service,
    taker: &dyn Taker,
) -> Result<(), Failure> {
    let peer = socket.peer_addr().map_err(Failure::Connect)?;
    let Service { terms, admits, tls, patience, longest } = service;
    let mut connection = Connection::accept(socket, tls.as_ref(), terms.max_pdu_length, patience)?;
    let request = match request(&mut connection, patience.association) {
        Ok(request) => request,
        // There is no association to abort yet (PS3.8 9.2, AA-2).
        Err(failure @ Failure::Silent(_)) => return Err(failure),
        Err(failure) => {
            connection.fail(&failure);
            return Err(failure);
        }
    };
    if admits.as_ref().is_some_and(|admits| !admits(user(&request))) {
        connection.write_pdu(&unknown_user())?;
        connection.end();
        return Ok(());
    }
    let (answer, accepted) = terms.answer(&request);
    connection.write_pdu(&answer)?;
    let Some(accepted) = accepted else {
        connection.end();
        return Ok(());
    };
    let mut receiver = Receiver {
        max_pdu_length: max_pdu_length(longest_pdu(&request.user_variables)),
        origin: Arc::new(Origin { number, peer, accepted }),
        longest: *longest,
        patience: patience.response,
        messages: Messages::default(),
        arrived: Vec::new(),
        whole: 0,
        events: 0,
        unanswered: 0,
        answers: Vec::new(),
    };
    match receiver.all(&mut connection, taker) {
        Ok(()) => {
            connection.end();
            Ok(())
        }
        Err(failure) => {
            // What came whole has been answered, or will be sent again.
            receiver.hand_on(taker);
            connection.fail(&failure);
            Err(failure)
        }
    }
}

fn request(connection: &mut Connection, patience: Duration) -> Result<AssociationRQ, Failure> {
    match connection.wait_for_pdu("A-ASSOCIATE-RQ", patience)? {
        Pdu::AssociationRQ(request) => Ok(request),
        abort @ Pdu::AbortRQ { .. } => Err(ended_by(&abort, "A-ASSOCIATE-RQ")),
        other => {
            let found = other.short_description().to_string().into();
            Err(Failure::Unexpected { found, expected: "A-ASSOCIATE-RQ" })
        }
    }
}

struct Receiver {
    origin: Arc<Origin>,
    max_pdu_length: MaxPduLength,
    longest: usize,
    /// How long the next event, or the next bytes of one, may take.
    patience: Duration,
    messages: Messages,
    /// PDUs; in front of `whole` they are whole messages.
    arrived: Vec<u8>,
    whole: usize,
    /// How many events are whole.
    events: usize,
    /// How many of them have no answer yet.
    unanswered: usize,
    answers: Vec<u8>,
}

impl Receiver {
    /// Takes all events until the association is released.
    fn all(&mut self, connection: &mut Connection, taker: &dyn Taker) -> Result<(), Failure> {
        loop {
            let taken = self.some(connection, taker);
            if self.unanswered > 0 {
                self.hand_on(taker);
            }
            // Whatever came at once is answered in one write, and what was whole before something that
            // is wrong.
            if !self.answers.is_empty() {
                connection.write(&self.answers)?;
                self.answers.clear();
            }
            let release = taken?;
            self.hand_on(taker);
            if release {
                return connection.write_pdu(&Pdu::ReleaseRP);
            }
            if !self.messages.are_whole() {
                connection.acknowledge();
            }
            connection.fill(Deadline::after(self.patience))?;
        }
    }

    /// Takes what has been read; returns whether the peer asks for the release.
    fn some(&mut self, connection: &mut Connection, taker: &dyn Taker) -> Result<bool, Failure> {
        while let Some(raw) = connection.next_read()? {
            if raw.kind != P_DATA {
                return match ended(raw) {
                    Failure::Released => Ok(true),
                    failure => Err(failure),
                };
            }
            self.arrived.extend_from_slice(raw.bytes);
            let before = (self.answers.len(), self.events, self.unanswered);
            let most = self.max_pdu_length;
            let Self { origin, answers, events, unanswered, .. } = self;
            let taken = self.messages.take(raw.bytes, |arrived| {
                let Arrived { context_id, message, data_set } = arrived;
                *events += usize::from(matches!(message, Message::Event { .. }));
                match &message {
                    Message::Event { command_set, .. } if command_set.kind == Kind::Request => {
                        let answer = taker.answer(command_set, data_set, context_id, origin);
                        *unanswered += usize::from(answer.is_none());
                        if let Some(answer) = answer {
                            answer_event(command_set, &answer, context_id, most, answers);
                        }
                    }
                    Message::Other { command_field, message_id: Some(id), .. }
                        if command_field & RESPONSE == 0 =>
                    {
                        answer_other(*command_field, *id, context_id, most, answers);
                    }
                    _ => {}
                }
            });
            if let Err(rejection) = taken {
                // A PDU with something wrong in it is not handed on, and nothing of it is answered.
                self.answers.truncate(before.0);
                (self.events, self.unanswered) = (before.1, before.2);
                return Err(rejection.into());
            }
            if self.messages.are_whole() {
                self.whole = self.arrived.len();
            }
            if self.messages.length() > self.longest {
                return Err(Failure::MessageLength { most: self.longest });
            }
        }
        Ok(false)
    }

    /// Hands on what is whole, and answers what was not answered before.
    fn hand_on(&mut self, taker: &dyn Taker) {
        if self.whole == 0 {
            return;
        }
        let rest = self.arrived.split_off(self.whole);
        let bytes = std::mem::replace(&mut self.arrived, rest);
        self.whole = 0;
        let events = std::mem::take(&mut self.events);
        let unanswered = std::mem::take(&mut self.unanswered);
        // Of a C-ECHO there is nothing to hand on.
        if events == 0 {
            return;
        }
        let (origin, time) = (self.origin.clone(), SystemTime::now());
        let taken = taker.take(Chunk { origin, bytes, events, time });
        if let Some((bytes, statuses)) = taken.filter(|_| unanswered > 0) {
            let mut statuses = statuses.into_iter();
            let (answers, most) = (&mut self.answers, self.max_pdu_length);
            let read = Messages::default().take(&bytes, |arrived| {
                // Others were answered when they came.
                let Message::Event { command_set, .. } = &arrived.message else { return };
                let Some(status) = statuses.next() else { return };
                if command_set.kind == Kind::Request {
                    let answer = Answer { status, event_reply: None };
                    answer_event(command_set, &answer, arrived.context_id, most, answers);
                }
            });
            read.expect("they were read before");
        }
    }
}

/// Appends the answer to an event.
fn answer_event(
    request: &CommandSet<'_>,
    answer: &Answer,
    context_id: u8,
    max_pdu_length: MaxPduLength,
    answers: &mut Vec<u8>,
) {
    let mut response = CommandSet::new(Kind::Response, answer.event_reply.is_some());
    for field in [Field::AffectedSOPClassUID, Field::AffectedSOPInstanceUID, Field::EventTypeID] {
        response.set(field, request.get(field));
    }
    let id = request.get(Field::MessageID).us().unwrap_or(0);
    response.set(Field::MessageIDBeingRespondedTo, Value::Us(id));
    response.set(Field::Status, Value::Us(answer.status));
    let write = |out: &mut Vec<u8>| response.write(out);
    let reply = answer.event_reply.as_deref().unwrap_or_default();
    write_message(answers, context_id, max_pdu_length, write, reply);
}

/// Appends the answer to another request.
fn answer_other(
    command_field: u16,
    message_id: u16,
    context_id: u8,
    max_pdu_length: MaxPduLength,
    answers: &mut Vec<u8>,
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
    write_message(answers, context_id, max_pdu_length, write, &[]);
}
