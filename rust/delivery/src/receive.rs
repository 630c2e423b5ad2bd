//! Events taken in on an association: each answered, whole messages handed on as they came.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::SystemTime;

use dicom_ul::pdu::{AbortRQServiceProviderReason, Pdu, UserIdentity};
use fastdimse_core::command_set::{CommandSet, Field, Kind, Message, Value};
use fastdimse_core::pdv::{MaxPduLength, write_message};
use rustls::ServerConfig;

use crate::acceptance::{Accepted, Terms, unknown_user, user};
use crate::connection::{Connection, P_DATA, Patience, ended};
use crate::failure::Failure;
use crate::messages::{Arrived, Messages};
use crate::negotiation::{longest_pdu, max_pdu_length};
use crate::verification::C_ECHO_RQ;

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

/// What becomes of events.
pub trait Taker: Send + Sync {
    /// Whether an association may be accepted from this user, of whom the request may say nothing.
    fn admits(&self, user: Option<&UserIdentity>) -> bool {
        let _ = user;
        true
    }

    /// The Status that an event is answered with.
    fn status(&self, event: &CommandSet<'_>, data_set: &[u8], origin: &Origin) -> u16;

    /// Takes events that were answered.
    fn take(&self, chunk: Chunk);
}

/// How an association is served.
#[derive(Debug, Clone)]
pub struct Service {
    /// What is accepted.
    pub terms: Terms,
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
    let Service { terms, tls, patience, longest } = service;
    let mut connection = Connection::accept(socket, tls.as_ref(), terms.max_pdu_length, patience)?;
    connection.wait(patience.association)?;
    let Pdu::AssociationRQ(request) = connection.wait_for_pdu("A-ASSOCIATE-RQ")? else {
        connection.abort_as_provider(AbortRQServiceProviderReason::UnexpectedPdu);
        return Err(Failure::Unexpected {
            found: "another PDU".into(),
            expected: "A-ASSOCIATE-RQ",
        });
    };
    if !taker.admits(user(&request)) {
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
    connection.wait(patience.response)?;
    let mut receiver = Receiver {
        max_pdu_length: max_pdu_length(longest_pdu(&request.user_variables)),
        origin: Arc::new(Origin { number, peer, accepted }),
        longest: *longest,
        messages: Messages::default(),
        arrived: Vec::new(),
        whole: 0,
        events: 0,
        answers: Vec::new(),
    };
    match receiver.all(&mut connection, taker) {
        Ok(()) => {
            connection.end();
            Ok(())
        }
        Err(failure) => {
            // What came whole has been answered, or will be asked for again.
            receiver.hand_on(taker);
            match &failure {
                Failure::Message(_)
                | Failure::PduLength { .. }
                | Failure::MessageLength { .. }
                | Failure::Unexpected { .. } => {
                    let reason = AbortRQServiceProviderReason::InvalidPduParameter;
                    connection.abort_as_provider(reason);
                }
                Failure::Silent(_) => connection.abort(),
                _ => {}
            }
            Err(failure)
        }
    }
}

struct Receiver {
    origin: Arc<Origin>,
    max_pdu_length: MaxPduLength,
    longest: usize,
    messages: Messages,
    /// PDUs; in front of `whole` they are whole messages.
    arrived: Vec<u8>,
    whole: usize,
    /// How many events are whole.
    events: usize,
    answers: Vec<u8>,
}

impl Receiver {
    /// Takes all events until the association is released.
    fn all(&mut self, connection: &mut Connection, taker: &dyn Taker) -> Result<(), Failure> {
        loop {
            let taken = self.some(connection, taker);
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
            connection.fill()?;
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
            let Self { origin, answers, events, max_pdu_length, .. } = self;
            self.messages.take(raw.bytes, |arrived| {
                *events += usize::from(matches!(arrived.message, Message::Event { .. }));
                answer(&arrived, *max_pdu_length, origin, taker, answers);
            })?;
            if self.messages.are_whole() {
                self.whole = self.arrived.len();
            }
            if self.messages.length() > self.longest {
                return Err(Failure::MessageLength { most: self.longest });
            }
        }
        Ok(false)
    }

    /// Hands on what is whole.
    fn hand_on(&mut self, taker: &dyn Taker) {
        let rest = self.arrived.split_off(self.whole);
        let bytes = std::mem::replace(&mut self.arrived, rest);
        self.whole = 0;
        let events = std::mem::take(&mut self.events);
        // Of a C-ECHO there is nothing to hand on.
        if events > 0 {
            let (origin, time) = (self.origin.clone(), SystemTime::now());
            taker.take(Chunk { origin, bytes, events, time });
        }
    }
}

/// Appends the answer to a request, if it is one.
fn answer(
    arrived: &Arrived<'_>,
    max_pdu_length: MaxPduLength,
    origin: &Origin,
    taker: &dyn Taker,
    answers: &mut Vec<u8>,
) {
    let context_id = arrived.context_id;
    let mut write = |command_set: &dyn Fn(&mut Vec<u8>)| {
        write_message(answers, context_id, max_pdu_length, command_set, &[]);
    };
    match &arrived.message {
        Message::Event { command_set, .. } if command_set.kind == Kind::Request => {
            let status = taker.status(command_set, arrived.data_set, origin);
            let mut response = CommandSet::new(Kind::Response, false);
            for field in
                [Field::AffectedSOPClassUID, Field::AffectedSOPInstanceUID, Field::EventTypeID]
            {
                response.set(field, command_set.get(field));
            }
            let id = command_set.get(Field::MessageID).us().unwrap_or(0);
            response.set(Field::MessageIDBeingRespondedTo, Value::Us(id));
            response.set(Field::Status, Value::Us(status));
            write(&|out| response.write(out));
        }
        Message::Other { command_field, message_id: Some(id), .. }
            if command_field & RESPONSE == 0 =>
        {
            let status = if *command_field == C_ECHO_RQ { 0 } else { UNRECOGNIZED_OPERATION };
            let mut response = CommandSet::new(Kind::Response, false);
            response.set(Field::MessageIDBeingRespondedTo, Value::Us(*id));
            response.set(Field::Status, Value::Us(status));
            write(&|out| response.write_as(command_field | RESPONSE, out));
        }
        _ => {}
    }
}
