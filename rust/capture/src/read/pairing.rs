//! Pairs requests with their responses.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, Int32Array, RecordBatch};
use fastdimse_core::excerpt::excerpt;
use fastdimse_core::field::Field;

use crate::fault::FaultKind;
use crate::read::reassembly::CaptureTime;

/// A request or a response.
#[derive(Debug, Clone, Copy)]
pub struct CapturedMessage {
    /// Its row among the messages of the batch, or the key of a message of an earlier batch.
    pub row: usize,
    /// Its offset in the direction.
    pub offset: u64,
    /// When its last packet was captured.
    pub seen: CaptureTime,
}

/// The requests of an association without a response, by the side that sent
/// them and Message ID.
pub type Outstanding = BTreeMap<(usize, u16), OutstandingRequest>;

/// A request without a response.
#[derive(Debug, Clone, Copy)]
pub struct OutstandingRequest {
    /// The request.
    pub message: CapturedMessage,
    /// Whether its row is the key of a message of an earlier batch.
    pub is_carried: bool,
}

/// The columns by which messages are paired.
pub struct MessageIds<'a> {
    ids: &'a Int32Array,
    answered: &'a Int32Array,
}

impl<'a> MessageIds<'a> {
    /// The columns of decoded messages.
    pub fn new(messages: &'a RecordBatch) -> Self {
        let numbers = |field: Field| messages[field.keyword()].as_primitive::<Int32Type>();
        let answered = numbers(Field::MessageIDBeingRespondedTo);
        Self { ids: numbers(Field::MessageID), answered }
    }

    /// The Message ID of a request.
    pub fn message_id(&self, row: usize) -> Option<u16> {
        self.ids.is_valid(row).then(|| self.ids.value(row) as u16)
    }

    /// The Message ID to which a response belongs.
    pub fn responds_to(&self, row: usize) -> Option<u16> {
        self.answered.is_valid(row).then(|| self.answered.value(row) as u16)
    }
}

/// The fields in which responses differ from their requests (PS3.7 10.1.1.1 and 10.1.4.1), with the
/// index of the pair of rows. Actions are in the columns of events.
pub fn differences(
    messages: &RecordBatch,
    is_action: bool,
    pairs: &[(usize, usize)],
) -> Vec<(usize, Field, FaultKind)> {
    let mut found = Vec::new();
    for field in [
        Field::AffectedSOPClassUID,
        Field::AffectedSOPInstanceUID,
        Field::EventTypeID,
        Field::PresentationContextID,
    ] {
        let column = &messages[field.keyword()];
        let (texts, numbers) =
            (column.as_string_view_opt(), column.as_primitive_opt::<Int32Type>());
        let differs = |request: usize, response: usize| {
            column.is_valid(response)
                && (column.is_null(request)
                    || texts.is_some_and(|texts| texts.value(request) != texts.value(response))
                    || numbers.is_some_and(|all| all.value(request) != all.value(response)))
        };
        let text = |row: usize| -> Box<str> {
            match (texts, numbers) {
                _ if column.is_null(row) => Box::default(),
                (Some(texts), _) => excerpt(texts.value(row).as_bytes()),
                (_, Some(numbers)) => (numbers.value(row) as u16).to_string().into(),
                _ => unreachable!("text or numbers"),
            }
        };
        let name = match (is_action, field) {
            (true, Field::EventTypeID) => Field::ActionTypeID,
            _ => field,
        };
        for (index, &(request, response)) in pairs.iter().enumerate() {
            if differs(request, response) {
                let (response, request) = (text(response), text(request));
                // Long texts may differ after their excerpts.
                if response != request {
                    found.push((index, name, FaultKind::Differs { response, request }));
                }
            }
        }
    }
    found.sort_by_key(|one| one.0);
    found
}
