//! Arrow export of results through the Arrow C Data Interface.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::Field as Column;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3::types::PyTuple;
use pyo3_arrow::ffi::{ArrayIterator, to_array_pycapsules, to_stream_pycapsule};

/// Hands a batch over as an Arrow stream of one.
pub fn export_batch<'py>(
    py: Python<'py>,
    batch: RecordBatch,
    requested_schema: Option<Bound<'py, pyo3::types::PyCapsule>>,
) -> PyResult<Bound<'py, pyo3::types::PyCapsule>> {
    let column = Arc::new(Column::new_struct("", batch.schema().fields().clone(), false));
    let array: ArrayRef = Arc::new(StructArray::from(batch));
    let reader = Box::new(ArrayIterator::new([Ok(array)], column));
    Ok(to_stream_pycapsule(py, reader, requested_schema)?)
}

pub fn export_array<'py>(
    py: Python<'py>,
    array: ArrayRef,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let column = Arc::new(Column::new("", array.data_type().clone(), false));
    Ok(to_array_pycapsules(py, column, &array, requested_schema)?)
}
