//! A row of decoded columns as a primitive.

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, RecordBatch};
use fastdimse_core::command_set::{Value, Vr};
use fastdimse_core::field::{Field, Kind};
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
            return primitive(py, events, row);
        }
        row -= events.num_rows();
    }
    Err(PyIndexError::new_err("no such row"))
}

/// A row of decoded events as a primitive.
pub fn primitive<'py>(
    py: Python<'py>,
    events: &RecordBatch,
    row: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let event = primitive_class(py, Service::EventReport)?.call0()?;
    for field in Field::ALL {
        match field {
            Field::AffectedSOPClassUID | Field::AffectedSOPInstanceUID => {
                set_text(&event, field, Vr::Ui, events, row)?;
            }
            Field::ErrorComment => set_text(&event, field, Vr::Lo, events, row)?,
            Field::EventInformation => set_data_set(&event, Kind::Request, events, row)?,
            Field::EventReply => set_data_set(&event, Kind::Response, events, row)?,
            Field::PresentationContextID => {}
            _ => set_decoded(&event, field, Vr::Us, number(events, field, row))?,
        }
    }
    Ok(event)
}

fn number(events: &RecordBatch, field: Field, row: usize) -> Value<'_> {
    let column = events[field.keyword()].as_primitive::<Int32Type>();
    // The number was decoded from the VR US.
    if column.is_valid(row) { Value::Us(column.value(row) as u16) } else { Value::Absent }
}

fn text(events: &RecordBatch, field: Field, row: usize) -> Option<&str> {
    let column = &events[field.keyword()];
    if column.is_null(row) {
        return None;
    }
    Some(match column.as_string_opt::<i32>() {
        Some(plain) => plain.value(row),
        None => column.as_string_view().value(row),
    })
}

fn set_text(
    event: &Bound<'_, PyAny>,
    field: Field,
    vr: Vr,
    events: &RecordBatch,
    row: usize,
) -> PyResult<()> {
    // Columns are UTF-8, of text that was Latin-1 in the command set.
    let text = text(events, field, row).and_then(latin_1::encode);
    set_decoded(event, field, vr, text.as_deref().map_or(Value::Absent, Value::Text))
}

fn set_data_set(
    event: &Bound<'_, PyAny>,
    kind: Kind,
    events: &RecordBatch,
    row: usize,
) -> PyResult<()> {
    let field = kind.data_set();
    let column = &events[field.keyword()];
    if column.is_null(row) {
        return Ok(());
    }
    let data_set = match column.as_binary_opt::<i32>() {
        Some(plain) => plain.value(row),
        None => column.as_binary_view().value(row),
    };
    let bytes = PyBytes::new(event.py(), data_set);
    event.setattr(field.keyword(), bytes_io(event.py())?.call1((bytes,))?)
}
