//! A row of decoded columns as a primitive.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, RecordBatch};
use fastdimse_core::command_set::{CommandSet, Value};
use fastdimse_core::field::Field;
use pyo3::PyResult;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::primitive::decoded::Target;
use crate::primitive::latin_1;
use crate::primitive::slots::{Service, primitive_class};

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
    let target = Target::new(&primitive, service);
    let responds = column(messages, Field::MessageIDBeingRespondedTo).is_valid(row);
    let field_of = |of_event: Field| match (service, of_event) {
        (Service::EventReport, field) => field,
        // A response has the Affected UIDs.
        (_, Field::AffectedSOPClassUID | Field::AffectedSOPInstanceUID) if responds => of_event,
        (Service::Action, field) => field.with_meaning_in_actions(),
    };
    let mut command_set = CommandSet::new(service.kind(responds), false);
    for of_event in Field::NUMBERS {
        let column = column(messages, of_event).as_primitive::<Int32Type>();
        if column.is_valid(row) {
            // The number was decoded from the VR US.
            command_set.set(field_of(of_event), Value::Us(column.value(row) as u16));
        }
    }
    let texts = Field::TEXTS.map(|of_event| text(column(messages, of_event), row));
    for (of_event, text) in Field::TEXTS.into_iter().zip(&texts) {
        if let Some(text) = text {
            command_set.set(field_of(of_event), Value::Text(text));
        }
    }
    target.set_command_set(&command_set, None).map_err(|(_, error)| error)?;
    for of_event in Field::DATA_SETS {
        if let Some(data_set) = data_set(column(messages, of_event), row) {
            // A copy: a primitive that is kept must not keep the stream of all messages.
            target.set_data_set(field_of(of_event), PyBytes::new(py, data_set))?;
        }
    }
    Ok(primitive)
}

/// The column of a field. Decoded messages have the columns of all fields of events, in their order, so no
/// name is searched.
#[inline]
fn column(messages: &RecordBatch, field: Field) -> &dyn Array {
    debug_assert_eq!(messages.schema().field(field as usize).name(), field.keyword());
    messages.column(field as usize)
}

/// Text as it was in the command set: columns are UTF-8, of text that was Latin-1.
fn text(column: &dyn Array, row: usize) -> Option<Cow<'_, [u8]>> {
    let text = match column.as_string_opt::<i32>() {
        Some(plain) => plain.is_valid(row).then(|| plain.value(row))?,
        None => {
            let views = column.as_string_view();
            views.is_valid(row).then(|| views.value(row))?
        }
    };
    if text.is_ascii() {
        Some(Cow::Borrowed(text.as_bytes()))
    } else {
        latin_1::encode(text).map(Cow::Owned)
    }
}

fn data_set(column: &dyn Array, row: usize) -> Option<&[u8]> {
    match column.as_binary_opt::<i32>() {
        Some(plain) => plain.is_valid(row).then(|| plain.value(row)),
        None => {
            let views = column.as_binary_view();
            views.is_valid(row).then(|| views.value(row))
        }
    }
}
