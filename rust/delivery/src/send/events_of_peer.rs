//! The requests of the peer on an association that the local side requested: events are passed to a sink,
//! or kept without a response until the program takes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use fastdimse_core::command_set::{CommandSet, Message};
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::pdu::write::MaxPduLength;
use fastdimse_core::rejection::{Reason, Rejection};
use fastdimse_core::standard::status;

use crate::association::acceptance::AcceptedContext;
use crate::failure::Failure;
use crate::messages::ReceivedMessage;
use crate::outstanding::describe;
use crate::receive::receiver::{EventSink, Origin};
use crate::responses::{
    RESPONSE, Response, refusal, without_long_uids, write_other_response, write_response,
};

/// Resource limitation (PS3.7 C.4.1.1).
const RESOURCE_LIMITATION: u16 = 0x0213;
/// The maximum number of events that wait for the program.
const MAX_WAITING: usize = 10_000;
/// The maximum number of bytes of these events.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// An event without a response.
#[derive(Debug)]
pub struct WaitingEvent {
    /// The presentation context ID.
    pub context_id: u8,
    /// The bytes of the command set.
    pub command_set: Vec<u8>,
    /// The data set; empty if there is none.
    pub data_set: Vec<u8>,
    /// When it arrived.
    pub time: SystemTime,
}

/// Serves the requests of the peer.
pub struct EventsOfPeer {
    sink: Option<Arc<dyn EventSink>>,
    origin: Arc<Origin>,
    max_pdu_length: MaxPduLength,
    waiting: VecDeque<WaitingEvent>,
    waiting_bytes: usize,
    /// The number of events that the sink received.
    received: u64,
    /// Responses to write.
    responses: Vec<u8>,
}

impl std::fmt::Debug for EventsOfPeer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("EventsOfPeer")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl EventsOfPeer {
    /// Events are passed to `sink`, or wait.
    pub fn new(
        sink: Option<Arc<dyn EventSink>>,
        origin: Arc<Origin>,
        max_pdu_length: MaxPduLength,
    ) -> Self {
        let (waiting, responses) = (VecDeque::new(), Vec::new());
        Self { sink, origin, max_pdu_length, waiting, waiting_bytes: 0, received: 0, responses }
    }

    /// The association.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// The number of events that the sink received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the responses to write.
    pub fn take_responses(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.responses)
    }

    /// Takes the event that waits for the longest time.
    pub fn take(&mut self) -> Option<WaitingEvent> {
        let event = self.waiting.pop_front()?;
        self.waiting_bytes -= event.command_set.len() + event.data_set.len();
        Some(event)
    }

    /// Adds the response to an event that was taken.
    pub fn respond(&mut self, event: &WaitingEvent, response: &Response) -> Result<(), Failure> {
        let command_set = CommandSet::read(&event.command_set)?.event()?;
        self.write(&command_set, response, event.context_id);
        Ok(())
    }

    fn write(&mut self, request: &CommandSet<'_>, response: &Response, context_id: u8) {
        write_response(request, response, context_id, self.max_pdu_length, &mut self.responses);
    }

    /// Serves a message that is not a response. Returns a description of one that is not an event for
    /// the local side.
    ///
    /// # Errors
    ///
    /// If the message cannot get a response.
    pub fn serve(&mut self, arrived: &ReceivedMessage<'_>) -> Result<Option<Box<str>>, Failure> {
        let context_id = arrived.context_id;
        let origin = self.origin.clone();
        let context =
            origin.accepted.contexts.get(&context_id).ok_or(Failure::Context(context_id))?;
        match &arrived.message {
            Message::Event { command_set, .. } if command_set.kind == Kind::Request => {
                self.serve_event(command_set, arrived, context)
            }
            Message::Action { command_set, .. } => {
                let id = command_set.get(Field::MessageID).us();
                Ok(self.refuse_other(arrived, id))
            }
            Message::Other { message_id, .. } => Ok(self.refuse_other(arrived, *message_id)),
            Message::Event { .. } => Ok(None),
        }
    }

    /// Responds to a request of another kind; returns its description.
    fn refuse_other(&mut self, arrived: &ReceivedMessage<'_>, id: Option<u16>) -> Option<Box<str>> {
        let command_field = arrived.message.command_field();
        if let Some(id) = id.filter(|_| command_field & RESPONSE == 0) {
            let (max, responses) = (self.max_pdu_length, &mut self.responses);
            write_other_response(command_field, id, arrived.context_id, max, responses);
        }
        Some(describe(&arrived.message))
    }

    fn serve_event(
        &mut self,
        event: &CommandSet<'_>,
        arrived: &ReceivedMessage<'_>,
        context: &AcceptedContext,
    ) -> Result<Option<Box<str>>, Failure> {
        let context_id = arrived.context_id;
        let Some(id) = event.get(Field::MessageID).us() else {
            return Err(Rejection::new(Reason::MissingElement("Message ID (0000,0110)")).into());
        };
        if !context.requestor_is_scu {
            return Ok(self.refuse_other(arrived, Some(id)));
        }
        let contexts = &self.origin.accepted.contexts;
        if let Some((status, why)) = refusal(event, context_id, contexts, |_| false) {
            self.write(&without_long_uids(*event), &Response::of_status(status), context_id);
            let status = status::describe(status);
            let text = format!("an N-EVENT-REPORT-RQ was refused with Status {status}: {why}");
            return Ok(Some(text.into()));
        }
        let response = match self.sink.clone() {
            Some(sink) => {
                self.received += 1;
                sink.response(event, arrived, &self.origin).unwrap_or(Response::SUCCESS)
            }
            None if self.waits(arrived) => return Ok(None),
            None => Response::of_status(RESOURCE_LIMITATION),
        };
        self.write(event, &response, context_id);
        Ok(None)
    }

    /// Keeps an event; returns `false` if there is no room.
    fn waits(&mut self, arrived: &ReceivedMessage<'_>) -> bool {
        let length = arrived.command_set.len() + arrived.data_set.len();
        if self.waiting.len() >= MAX_WAITING || self.waiting_bytes + length > MAX_WAITING_BYTES {
            return false;
        }
        self.waiting_bytes += length;
        self.waiting.push_back(WaitingEvent {
            context_id: arrived.context_id,
            command_set: arrived.command_set.to_vec(),
            data_set: arrived.data_set.to_vec(),
            time: SystemTime::now(),
        });
        true
    }
}
