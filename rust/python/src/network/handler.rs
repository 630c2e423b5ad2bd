//! The handler of single events.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use fastdimse_core::command_set::CommandSet;
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::encode_structured;
use fastdimse_core::field::Field;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use fastdimse_delivery::receive::receiver::{Chunk, Delivered, EventResponse, EventSink, Origin};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyTuple};

use crate::arrow::error::arrow_error;
use crate::errors::Error;
use crate::input::data_sets::reader::is_structured;
use crate::input::values::{data_set, from_iterator};
use crate::network::calls::{Callable, attach, coroutine_hint, log, repr_of};
use crate::primitive::decoded::new_event;
use crate::primitive::slots::primitive_type;
use crate::primitive::stream::bytes_io;

/// Processing failure (PS3.7 C.4.3.1.4).
pub const PROCESSING_FAILURE: u16 = 0x0110;
pub const HANDLER_FAILED: &str =
    "the handler failed: the response has the Status 0x0110 Processing failure";

/// Calls the handler with each event.
pub struct Handler {
    pub handler: Callable,
}

impl EventSink for Handler {
    fn response(
        &self,
        event: &CommandSet<'_>,
        data_set: &[u8],
        context_id: u8,
        origin: &Origin,
    ) -> Option<EventResponse> {
        const FAILED: EventResponse =
            EventResponse { status: PROCESSING_FAILURE, event_reply: None };
        let response = attach(|py| {
            self.call(py, event, data_set, context_id, origin).unwrap_or_else(|error| {
                log(py, error, HANDLER_FAILED);
                FAILED
            })
        });
        Some(response.unwrap_or(FAILED))
    }

    fn receive(&self, _: Chunk) -> Delivered {
        Delivered::Stored
    }
}

impl Handler {
    fn call(
        &self,
        py: Python<'_>,
        command_set: &CommandSet<'_>,
        data_set: &[u8],
        context_id: u8,
        origin: &Origin,
    ) -> PyResult<EventResponse> {
        let event =
            new_event(primitive_type(py)?, command_set, |_| Ok(())).map_err(|(_, why)| why)?;
        if command_set.data_set {
            let stream = bytes_io(py)?.call1((PyBytes::new(py, data_set),))?;
            event.setattr(command_set.kind.data_set().keyword(), stream)?;
        }
        let response = self.handler.call1(py, (event, &origin.accepted.calling))?;
        let context = origin.accepted.contexts.get(&context_id);
        let syntax = context.map(|context| context.transfer_syntax);
        let Ok(pair) = response.cast::<PyTuple>() else {
            return Ok(EventResponse { status: status(&response)?, event_reply: None });
        };
        let (status, reply): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
        let event_reply = event_reply(&reply, syntax.unwrap_or_default())?;
        Ok(EventResponse { status: self::status(&status)?, event_reply })
    }
}

/// A Status: an integer of 0 to 65535, or `None` for Success.
pub fn status(given: &Bound<'_, PyAny>) -> PyResult<u16> {
    if given.is_none() {
        return Ok(0);
    }
    // A bool is an int in Python, but not a Status.
    let number = if given.is_instance_of::<PyBool>() { None } else { given.extract().ok() };
    number.ok_or_else(|| {
        let shown = repr_of(given);
        PyTypeError::new_err(format!(
            "a handler returned {shown}: a Status must be an integer of 0 to 65535, or None for \
             Success{}",
            coroutine_hint(given)
        ))
    })
}

/// An Event Reply as it is sent; `None` if it is empty.
fn event_reply(given: &Bound<'_, PyAny>, syntax: TransferSyntax) -> PyResult<Option<Vec<u8>>> {
    let field = Field::EventReply;
    if !is_structured(given) {
        let bytes = data_set(field.keyword(), 0, given)?;
        return Ok(bytes.filter(|bytes| !bytes.is_empty()));
    }
    let mut rejected = Vec::new();
    let column = from_iterator(field, [Ok(given.clone())].into_iter(), 0, &mut rejected)?;
    let batch = RecordBatch::try_from_iter([(field.keyword(), column)]).map_err(arrow_error)?;
    let options = DataSetOptions { syntax, conformant_uids: true };
    let (encoded, found) = encode_structured(&batch, options, 0).map_err(Error::Schema)?;
    if let Some(rejection) = rejected.first().or(found.first()) {
        return Err(Error::Encode(rejection.clone()).into());
    }
    let column = cast(encoded.column(0), &DataType::Binary).map_err(arrow_error)?;
    let bytes = column.as_binary::<i32>();
    Ok(bytes.is_valid(0).then(|| bytes.value(0).to_vec()).filter(|bytes| !bytes.is_empty()))
}
