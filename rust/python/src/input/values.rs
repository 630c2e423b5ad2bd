//! Values of a column as Python objects, converted to an Arrow array.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, NullArray, StringArray};
use fastdimse_core::field::Field;
use fastdimse_core::rejection::{Reason, Rejection};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyString};

use crate::input::data_sets::columns;
use crate::input::data_sets::reader::is_structured;
use crate::interrupts::interruptible;
use crate::primitive::stream::{bytes_io, data_set_bytes};

/// An array of the values of a column, of which the first belongs to row `first`.
pub fn from_iterator<'py>(
    field: Field,
    values: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    first: u64,
    rejected: &mut Vec<Rejection>,
) -> PyResult<ArrayRef> {
    let values = (first..).zip(values).map(|(row, value)| Ok((row, value?)));
    if field.is_number() {
        return integers(field, values, rejected);
    }
    if field.is_text() {
        let texts = values.map(|value| value.and_then(|(row, value)| text(field, row, &value)));
        return Ok(Arc::new(texts.collect::<PyResult<StringArray>>()?));
    }
    let values: Vec<(u64, Bound<'py, PyAny>)> = values.collect::<PyResult<_>>()?;
    if values.iter().any(|(_, value)| is_structured(value)) {
        return columns::data_sets(field, values, rejected);
    }
    let data_sets = values.iter().map(|(row, value)| data_set(field.keyword(), *row, value));
    let data_sets = data_sets.collect::<PyResult<Vec<Option<Vec<u8>>>>>()?;
    Ok(Arc::new(data_sets.into_iter().collect::<BinaryArray>()))
}

fn integers<'py>(
    field: Field,
    values: impl Iterator<Item = PyResult<(u64, Bound<'py, PyAny>)>>,
    rejected: &mut Vec<Rejection>,
) -> PyResult<ArrayRef> {
    let mut numbers = Vec::new();
    for value in values {
        let (row, value) = value?;
        if value.is_none() {
            numbers.push(None);
            continue;
        }
        if value.is_instance_of::<PyFloat>() {
            return Err(wrong_value(field.keyword(), row, &value, "an int or None"));
        }
        match value.extract::<i64>() {
            Ok(number) => numbers.push(Some(number)),
            Err(_) if value.is_instance_of::<PyInt>() => {
                let reason = match value.extract::<i128>() {
                    Ok(number) => Reason::OutOfRange(number),
                    Err(_) => Reason::Value("it is outside 0 to 65535 (VR US)".into()),
                };
                rejected.push(Rejection::new(reason).field(field).row(row));
                numbers.push(None);
            }
            Err(_) => return Err(wrong_value(field.keyword(), row, &value, "an int or None")),
        }
    }
    if numbers.iter().all(Option::is_none) {
        return Ok(Arc::new(NullArray::new(numbers.len())));
    }
    Ok(Arc::new(Int64Array::from(numbers)))
}

pub fn text(field: Field, row: u64, value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    match value.cast::<PyString>() {
        Ok(text) => Ok(Some(text.to_str()?.to_owned())),
        Err(_) => Err(wrong_value(field.keyword(), row, value, "a str or None")),
    }
}

/// The bytes of a value in a column of data sets.
pub fn data_set(name: &str, row: u64, value: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    if value.is_none() {
        return Ok(None);
    }
    if value.is_instance(bytes_io(value.py())?)? {
        return Ok(Some(data_set_bytes(value)?.as_bytes().to_vec()));
    }
    match pyo3::buffer::PyBuffer::<u8>::get(value) {
        Ok(buffer) => buffer.to_vec(value.py()).map(Some),
        Err(_) => Err(wrong_value(name, row, value, "bytes-like, io.BytesIO or None")),
    }
}

/// The texts of an iterable of str or None.
pub fn optional_texts(
    values: &Bound<'_, PyAny>,
    name: &str,
    accepted: &str,
) -> PyResult<Vec<Option<String>>> {
    let text = |(row, value): (u64, PyResult<Bound<'_, PyAny>>)| {
        let value = value?;
        value.extract().map_err(|_| wrong_value(name, row, &value, accepted))
    };
    (0..).zip(interruptible(values.py(), values.try_iter()?)).map(text).collect()
}

/// The error for a value of a type that the column does not accept.
pub fn wrong_value(name: &str, row: u64, value: &Bound<'_, PyAny>, accepted: &str) -> PyErr {
    match value.get_type().name() {
        Ok(found) => PyTypeError::new_err(format!(
            "row {row} of the column '{name}' must be {accepted}, not {found}"
        )),
        Err(error) => error,
    }
}
