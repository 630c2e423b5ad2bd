//! The responses to requests of a peer: to events (PS3.7 10.1.1.1), to actions (PS3.7 10.1.4.1), and to
//! requests that are refused.

use std::collections::BTreeMap;

use fastdimse_core::command_set::{CommandSet, Value};
use fastdimse_core::decode::check_uids;
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::pdu::write::{COMMAND, HEADERS, LAST, MaxPduLength, headers, write_message};
use fastdimse_core::rejection::Rejection;
use fastdimse_core::standard::sop_classes::can_be_sent_on;

use crate::association::acceptance::AcceptedContext;
use crate::association::negotiation::VERIFICATION;

/// The bit of a Command Field that distinguishes a response from its request (PS3.7 E.1).
pub const RESPONSE: u16 = 0x8000;
/// Command Field of C-ECHO-RQ (PS3.7 E.1).
pub const C_ECHO_RQ: u16 = 0x0030;
/// Unrecognized operation (PS3.7 C.5.17).
pub const UNRECOGNIZED_OPERATION: u16 = 0x0211;
/// Invalid SOP Instance: the UID violates the rules (PS3.7 C.5).
const INVALID_SOP_INSTANCE: u16 = 0x0117;
/// No such SOP Class: the local side does not accept it (PS3.7 C.5).
const NO_SUCH_SOP_CLASS: u16 = 0x0118;
/// SOP Class not supported on this presentation context (PS3.7 C.5).
const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;

/// The response to an event or an action.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The Status (PS3.7 10.1.1.1.8).
    pub status: u16,
    /// The Event Reply or Action Reply, in the transfer syntax of the presentation context.
    pub reply: Option<Vec<u8>>,
}

impl Response {
    /// Success.
    pub const SUCCESS: Self = Self { status: 0, reply: None };

    /// A response without a reply.
    pub fn of_status(status: u16) -> Self {
        Self { status, reply: None }
    }
}

/// The fields with the SOP class and the SOP instance of a request.
fn sop_fields(request: Kind) -> (Field, Field) {
    match request {
        Kind::ActionRequest => (Field::RequestedSOPClassUID, Field::RequestedSOPInstanceUID),
        _ => (Field::AffectedSOPClassUID, Field::AffectedSOPInstanceUID),
    }
}

/// The Status and the reason for a request that is refused before anything is done: of an invalid
/// UID, and of a SOP class that its presentation context does not have. `is_served` is whether the
/// local side supports a SOP class at all.
pub fn refusal(
    request: &CommandSet<'_>,
    context_id: u8,
    contexts: &BTreeMap<u8, AcceptedContext>,
    is_served: impl Fn(&str) -> bool,
) -> Option<(u16, String)> {
    let (class, _) = sop_fields(request.kind);
    if let Err(rejection) = check_uids(request) {
        let status = match rejection.field {
            Some(Field::AffectedSOPClassUID | Field::RequestedSOPClassUID) => NO_SUCH_SOP_CLASS,
            _ => INVALID_SOP_INSTANCE,
        };
        return Some((status, rejection.to_string()));
    }
    let class = String::from_utf8_lossy(request.get(class).text()?);
    let negotiated = &contexts.get(&context_id)?.abstract_syntax;
    if can_be_sent_on(&class, negotiated) {
        return None;
    }
    let status = if is_served(&class) { SOP_CLASS_NOT_SUPPORTED } else { NO_SUCH_SOP_CLASS };
    Some((status, format!("{class} is not allowed on a presentation context of {negotiated}")))
}

/// The SOP class of a request that [`refusal`] did not refuse, and its presentation context. Most
/// requests of an association have one SOP class.
#[derive(Debug, Default)]
pub struct AcceptedClass {
    kind: Option<Kind>,
    context_id: u8,
    class: Vec<u8>,
}

impl AcceptedClass {
    /// Whether it is known that the request is not refused; `false` if [`refusal`] must decide.
    pub fn allows(&self, request: &CommandSet<'_>, context_id: u8) -> bool {
        let (class, _) = sop_fields(request.kind);
        self.kind == Some(request.kind)
            && self.context_id == context_id
            && request.get(class).text() == Some(&self.class)
            && check_uids(request).is_ok()
    }

    /// Remembers a request that was not refused.
    pub fn remember(&mut self, request: &CommandSet<'_>, context_id: u8) {
        let (class, _) = sop_fields(request.kind);
        let class = request.get(class).text();
        (self.kind, self.context_id) = (class.map(|_| request.kind), context_id);
        self.class.clear();
        self.class.extend_from_slice(class.unwrap_or_default());
    }
}

/// The request without UIDs that are too long for a response.
pub fn without_long_uids(mut request: CommandSet<'_>) -> CommandSet<'_> {
    while let Err(Rejection { field: Some(field), .. }) = check_uids(&request) {
        request.set(field, Value::Absent);
    }
    request
}

/// Appends the response to an event or an action.
pub fn write_response(
    request: &CommandSet<'_>,
    response: &Response,
    context_id: u8,
    max_pdu_length: MaxPduLength,
    responses: &mut Vec<u8>,
) {
    let (kind, type_id) = match request.kind {
        Kind::ActionRequest => (Kind::ActionResponse, Field::ActionTypeID),
        _ => (Kind::Response, Field::EventTypeID),
    };
    let (class, instance) = sop_fields(request.kind);
    let mut command_set = CommandSet::new(kind, response.reply.is_some());
    command_set.set(Field::AffectedSOPClassUID, request.get(class));
    command_set.set(Field::AffectedSOPInstanceUID, request.get(instance));
    command_set.set(type_id, request.get(type_id));
    let id = request.get(Field::MessageID).us().unwrap_or(0);
    command_set.set(Field::MessageIDBeingRespondedTo, Value::Us(id));
    command_set.set(Field::Status, Value::Us(response.status));
    let reply = response.reply.as_deref().unwrap_or_default();
    write_command_set(&command_set, context_id, max_pdu_length, reply, responses);
}

/// Appends a message.
fn write_command_set(
    command_set: &CommandSet<'_>,
    context_id: u8,
    max_pdu_length: MaxPduLength,
    data_set: &[u8],
    out: &mut Vec<u8>,
) {
    // All elements of N-EVENT-REPORT with two UIDs of the maximum length need less.
    const MOST: usize = 256;
    let start = out.len();
    out.resize(start + HEADERS + MOST, 0);
    let (front, room) = out[start..].split_at_mut(HEADERS);
    match command_set.write_to(room) {
        Some(length) if length <= max_pdu_length.fragment() && data_set.is_empty() => {
            front.copy_from_slice(&headers(context_id, COMMAND | LAST, length));
            out.truncate(start + HEADERS + length);
        }
        _ => {
            out.truncate(start);
            let write = |out: &mut Vec<u8>| command_set.write(out);
            write_message(out, context_id, max_pdu_length, write, data_set);
        }
    }
}

/// Appends the response to a request of another kind: Success to C-ECHO, else Unrecognized operation.
pub fn write_other_response(
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

#[cfg(test)]
mod tests {
    use fastdimse_core::standard::transfer_syntax::TransferSyntax;

    use super::*;

    const CLASS: &[u8] = b"1.2.840.10008.1.20.1";

    fn request<'a>(kind: Kind, class: &'a [u8], instance: &'a [u8]) -> CommandSet<'a> {
        let mut request = CommandSet::new(kind, false);
        let (class_field, instance_field) = sop_fields(kind);
        request.set(class_field, Value::Text(class));
        request.set(instance_field, Value::Text(instance));
        request.set(Field::MessageID, Value::Us(7));
        request.set(Field::EventTypeID, Value::Us(1));
        request.set(Field::ActionTypeID, Value::Us(1));
        request
    }

    #[test]
    fn a_response_is_written_as_any_message() {
        let long = [b'1'; 200];
        for kind in [Kind::Request, Kind::ActionRequest] {
            for instance in [&b"1.2.3"[..], &long[..64], &long] {
                for (max, reply) in [(0, None), (40, None), (0, Some(vec![1; 9]))] {
                    let response = Response { status: 0x0110, reply };
                    let max = MaxPduLength::new(max).unwrap();
                    let request = request(kind, CLASS, instance);
                    let mut found = b"before".to_vec();
                    write_response(&request, &response, 3, max, &mut found);

                    let kind = match kind {
                        Kind::ActionRequest => Kind::ActionResponse,
                        _ => Kind::Response,
                    };
                    let mut expected = CommandSet::new(kind, response.reply.is_some());
                    expected.set(Field::AffectedSOPClassUID, Value::Text(CLASS));
                    expected.set(Field::AffectedSOPInstanceUID, Value::Text(instance));
                    expected.set(Field::MessageIDBeingRespondedTo, Value::Us(7));
                    expected.set(Field::EventTypeID, Value::Us(1));
                    expected.set(Field::ActionTypeID, Value::Us(1));
                    expected.set(Field::Status, Value::Us(0x0110));
                    let mut message = b"before".to_vec();
                    let write = |out: &mut Vec<u8>| expected.write(out);
                    let reply = response.reply.as_deref().unwrap_or_default();
                    write_message(&mut message, 3, max, write, reply);
                    assert_eq!(found, message);
                }
            }
        }
    }

    /// The memory of a decision must agree with [`refusal`].
    #[test]
    fn what_is_remembered_is_not_refused() {
        let context = |abstract_syntax: &str| AcceptedContext {
            abstract_syntax: abstract_syntax.to_owned(),
            transfer_syntax: TransferSyntax::default(),
            requestor_is_scu: false,
        };
        // Printer and the Meta SOP Class that includes it; UPS Push and UPS Watch.
        let (printer, meta) = ("1.2.840.10008.5.1.1.16", "1.2.840.10008.5.1.1.9");
        let (push, watch) = ("1.2.840.10008.5.1.4.34.6.1", "1.2.840.10008.5.1.4.34.6.2");
        let syntaxes = [printer, meta, push, watch];
        let contexts: BTreeMap<u8, _> =
            (0..).map(|place| 2 * place + 1).zip(syntaxes.map(context)).collect();
        let long = "1".repeat(65);
        let mut requests = Vec::new();
        for class in [&syntaxes[..], &["1.2.3", "", &long]].concat() {
            for instance in ["1.2.3", &long] {
                for kind in [Kind::Request, Kind::ActionRequest] {
                    requests.push(request(kind, class.as_bytes(), instance.as_bytes()));
                }
            }
        }
        requests.push(CommandSet::new(Kind::Request, false));
        let is_refused =
            |one: &CommandSet<'_>, id| refusal(one, id, &contexts, |_| false).is_some();
        let mut allowed = 0;
        for first in &requests {
            for first_id in contexts.keys().copied().filter(|&id| !is_refused(first, id)) {
                let mut memory = AcceptedClass::default();
                assert!(!memory.allows(first, first_id));
                memory.remember(first, first_id);
                for second in &requests {
                    for &id in contexts.keys().filter(|&&id| memory.allows(second, id)) {
                        assert!(!is_refused(second, id));
                        allowed += 1;
                    }
                }
            }
        }
        assert!(allowed > 0);
    }
}
