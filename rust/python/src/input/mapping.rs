//! A mapping of columns, converted to a record batch.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::Schema;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::{Rejection, keep_first_of_row};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyMapping, PyString};

use crate::arrow::error::arrow_error;
use crate::arrow::import::is_of_python;
use crate::buffer::numbers;
use crate::errors::Error;
use crate::input::columns::{Batch, ColumnSet, MappedColumn, arrow_array, unknown_column};
use crate::input::data_sets::reader::is_structured;
use crate::input::values::from_iterator;
use crate::interrupts::interruptible;

/// The columns as a batch; its first row has the number `first_row`.
pub fn from_mapping(
    columns: &Bound<'_, PyMapping>,
    accepted: &dyn ColumnSet,
    first_row: u64,
) -> PyResult<Batch> {
    let mut mapped = Vec::new();
    let mut rejected = Vec::new();
    // Rejections that apply to every row.
    let mut everywhere = Vec::new();
    for item in columns.items()? {
        let (name, values): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let name: String = name
            .extract()
            .map_err(|_| PyTypeError::new_err("the keys of a mapping of columns must be str"))?;
        let column = match accepted.field(&name) {
            Some(field) => from_values(field, &values, first_row, &mut rejected, &mut everywhere)?,
            None => match accepted.column(&name, &values)? {
                Some(column) => column,
                None => return Err(unknown_column(&name, accepted)),
            },
        };
        mapped.push((name, column));
    }
    let rows = common_length(&mapped)?;
    let arrays = mapped.into_iter().map(|(name, column)| {
        let array = match column {
            MappedColumn::Array(array) => array,
            MappedColumn::Repeated(value) => repeat(&value, rows)?,
        };
        Ok((name, array))
    });
    let arrays: Vec<(String, ArrayRef)> = arrays.collect::<PyResult<_>>()?;
    for rejection in everywhere {
        rejected
            .extend((0..rows as u64).map(|row| Rejection::clone(&rejection).row(first_row + row)));
    }
    keep_first_of_row(&mut rejected);
    if arrays.is_empty() {
        return Ok((RecordBatch::new_empty(Arc::new(Schema::empty())), rejected));
    }
    let nullable = arrays.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(nullable).map_err(arrow_error)?;
    Ok((batch, rejected))
}

fn common_length(mapped: &[(String, MappedColumn)]) -> PyResult<usize> {
    let mut lengths = mapped.iter().filter_map(|(name, column)| match column {
        MappedColumn::Array(array) => Some((name, array.len())),
        MappedColumn::Repeated(_) => None,
    });
    let Some((first, rows)) = lengths.next() else { return Ok(1) };
    match lengths.find(|(_, length)| *length != rows) {
        Some((name, length)) => {
            let text = format!("'{first}' has {rows} rows, but '{name}' has {length}");
            Err(Error::Column { column: name.clone(), text }.into())
        }
        None => Ok(rows),
    }
}

fn repeat(value: &ArrayRef, rows: usize) -> PyResult<ArrayRef> {
    let indices = Int64Array::from(vec![0; rows]);
    arrow_select::take::take(value, &indices, None).map_err(arrow_error)
}

fn from_values(
    field: Field,
    values: &Bound<'_, PyAny>,
    first_row: u64,
    rejected: &mut Vec<Rejection>,
    everywhere: &mut Vec<Rejection>,
) -> PyResult<MappedColumn> {
    let py = values.py();
    if let Some(array) = arrow_array(values, field.keyword())? {
        return Ok(MappedColumn::Array(array));
    }
    let scalar = values.is_none()
        || values.is_instance_of::<PyString>()
        || values.is_instance_of::<PyBytes>()
        || values.is_instance_of::<PyInt>()
        || field.is_data_set() && is_structured(values);
    if scalar {
        let one = [Ok(values.clone())].into_iter();
        return from_iterator(field, one, first_row, everywhere).map(MappedColumn::Repeated);
    }
    // A numpy array of numbers is copied; one of objects is iterated over.
    if field.is_number()
        && !is_of_python(values)
        && values.hasattr(intern!(py, "dtype"))?
        && let Some(array) = numbers(values)?
    {
        return Ok(MappedColumn::Array(array));
    }
    let Ok(iterator) = values.try_iter() else {
        return Err(PyTypeError::new_err(format!(
            "the column '{}' must be an Arrow array, an iterable of values, or one value for all rows, \
             not {}",
            field.keyword(),
            values.get_type().name()?
        )));
    };
    from_iterator(field, interruptible(py, iterator), first_row, rejected).map(MappedColumn::Array)
}
