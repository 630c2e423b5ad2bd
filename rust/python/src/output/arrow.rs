//! Arrow export of results through the Arrow C Data Interface.
//!
//! pyo3 collects the methods of a class from one `impl` block, so each class of results repeats the
//! signatures of the interface's methods and calls these functions.

use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{ArrowError, Field as Column, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::{
    ArrayIterator, to_array_pycapsules, to_schema_pycapsule, to_stream_pycapsule,
};

/// A schema or a type, for `__arrow_c_schema__`.
pub fn export_schema<'py>(
    py: Python<'py>,
    schema: impl TryInto<FFI_ArrowSchema, Error = ArrowError>,
) -> PyResult<Bound<'py, PyCapsule>> {
    Ok(to_schema_pycapsule(py, schema)?)
}

/// A stream of record batches with this schema, for `__arrow_c_stream__`.
pub fn export_batches<'py>(
    py: Python<'py>,
    batches: &[RecordBatch],
    schema: &SchemaRef,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let column = Arc::new(Column::new_struct("", schema.fields().clone(), false));
    let arrays =
        batches.iter().map(|batch| Ok(Arc::new(StructArray::from(batch.clone())) as ArrayRef));
    let reader = Box::new(ArrayIterator::new(arrays.collect::<Vec<_>>(), column));
    Ok(to_stream_pycapsule(py, reader, requested_schema)?)
}

/// A stream of one record batch, for `__arrow_c_stream__`.
pub fn export_batch<'py>(
    py: Python<'py>,
    batch: &RecordBatch,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    export_batches(py, std::slice::from_ref(batch), &batch.schema(), requested_schema)
}

/// An array, for `__arrow_c_array__`.
pub fn export_array<'py>(
    py: Python<'py>,
    array: ArrayRef,
    nullable: bool,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let column = Arc::new(Column::new("", array.data_type().clone(), nullable));
    Ok(to_array_pycapsules(py, column, &array, requested_schema)?)
}
