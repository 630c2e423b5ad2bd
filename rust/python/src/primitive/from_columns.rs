//! A row of decoded columns as a primitive.

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, RecordBatch};
use fastdimse_core::command_set::{Value, Vr};
use fastdimse_core::field::Field;
use pyo3::PyResult;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::primitive::decoded::set_decoded;
use crate::primitive::latin_1;
use crate::primitive::slots::{Service, primitive_class};
use crate::primitive::stream::bytes_io;

/// A row of batches of decoded events as a primitive.
pub fn primitive_of<'py>(
    py: Python<'py>,
    batches: &[RecordBatch],
    mut row: usize,
) -> PyResult<Bound<'py, PyAny>> {
    for events in batches {
        if row < events.num_rows() {
            return primitive(py, events, row, Service::EventReport);
        }
        row -= events.num_rows();
    }
    Err(PyIndexError::new_err("no such row"))
}

/// A row of decoded messages as a primitive. Actions have the columns of events of the same meaning.
pub fn primitive<'py>(
    py: Python<'py>,
    messages: &RecordBatch,
    row: usize,
    service: Service,
) -> PyResult<Bound<'py, PyAny>> {
    let primitive = primitive_class(py, service)?.call0()?;
    let responds = messages[Field::MessageIDBeingRespondedTo.keyword()].is_valid(row);
    for column in Field::ALL {
        let field = match (service, column) {
            (Service::EventReport, field) => field,
            // A response has the Affected UIDs.
            (_, Field::AffectedSOPClassUID | Field::AffectedSOPInstanceUID) if responds => column,
            (Service::Action, field) => field.with_meaning_in_actions(),
        };
        match column {
            Field::AffectedSOPClassUID | Field::AffectedSOPInstanceUID => {
                set_decoded(&primitive, field, Vr::Ui, as_value(&text(messages, column, row)))?;
            }
            Field::ErrorComment => {
                set_decoded(&primitive, field, Vr::Lo, as_value(&text(messages, column, row)))?;
            }
            Field::EventInformation | Field::EventReply => {
                if let Some(data_set) = data_set(messages, column, row) {
                    let bytes = PyBytes::new(py, data_set);
                    primitive.setattr(field.keyword(), bytes_io(py)?.call1((bytes,))?)?;
                }
            }
            Field::PresentationContextID => {}
            _ => set_decoded(&primitive, field, Vr::Us, number(messages, column, row))?,
        }
    }
    Ok(primitive)
}

fn number(events: &RecordBatch, field: Field, row: usize) -> Value<'_> {
    let column = events[field.keyword()].as_primitive::<Int32Type>();
    // The number was decoded from the VR US.
    if column.is_valid(row) { Value::Us(column.value(row) as u16) } else { Value::Absent }
}

/// Text as it was in the command set: columns are UTF-8, of text that was Latin-1.
fn text(events: &RecordBatch, field: Field, row: usize) -> Option<Vec<u8>> {
    let column = &events[field.keyword()];
    if column.is_null(row) {
        return None;
    }
    latin_1::encode(match column.as_string_opt::<i32>() {
        Some(plain) => plain.value(row),
        None => column.as_string_view().value(row),
    })
}

fn as_value(text: &Option<Vec<u8>>) -> Value<'_> {
    text.as_deref().map_or(Value::Absent, Value::Text)
}

fn data_set(events: &RecordBatch, field: Field, row: usize) -> Option<&[u8]> {
    let column = &events[field.keyword()];
    if column.is_null(row) {
        return None;
    }
    Some(match column.as_binary_opt::<i32>() {
        Some(plain) => plain.value(row),
        None => column.as_binary_view().value(row),
    })
}
