//! Arrow export of results through the Arrow C Data Interface.
//!
//! pyo3 collects the methods of a class from one `impl` block, so each class of results repeats the
//! signatures of the interface's methods and calls these functions.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchIterator, StructArray};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field as Column, Fields, Schema, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::arrow::data_type::data_type;
use crate::arrow::error::{ColumnPath, arrow_error};
use crate::arrow::source::pointer;

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

/// A schema or a type, for `__arrow_c_schema__`.
pub fn export_schema<'py>(
    py: Python<'py>,
    schema: impl TryInto<FFI_ArrowSchema, Error = ArrowError>,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, schema.try_into().map_err(arrow_error)?, SCHEMA)
}

/// The number of rows of batches.
pub fn count_rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// A stream of record batches with this schema, for `__arrow_c_stream__`.
pub fn export_batches<'py>(
    py: Python<'py>,
    batches: &[RecordBatch],
    schema: &SchemaRef,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let batches: Vec<_> = batches.iter().cloned().map(Ok).collect();
    export_stream(py, batches.into_iter(), schema.fields().clone(), requested_schema)
}

/// A stream of record batches with these columns, for `__arrow_c_stream__`.
pub fn export_stream<'py>(
    py: Python<'py>,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'static,
    columns: Fields,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let column = Column::new_struct("", columns.clone(), false);
    let Some(requested) = requested(&column, requested_schema)? else {
        return export_reader(py, batches, columns);
    };
    let data_type = requested.data_type().clone();
    let DataType::Struct(columns) = data_type.clone() else {
        return export_reader(py, batches, columns);
    };
    let batches = batches.map(move |batch| {
        let rows: ArrayRef = Arc::new(StructArray::from(batch?));
        Ok(converted(&rows, &data_type)?.as_struct().into())
    });
    export_reader(py, batches, columns)
}

fn export_reader<'py>(
    py: Python<'py>,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'static,
    columns: Fields,
) -> PyResult<Bound<'py, PyCapsule>> {
    let reader = RecordBatchIterator::new(batches, Arc::new(Schema::new(columns)));
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), STREAM)
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
    let column = Column::new("", array.data_type().clone(), nullable);
    let (column, array) = match requested(&column, requested_schema)? {
        None => (column, array),
        Some(requested) => {
            let array = converted(&array, requested.data_type()).map_err(arrow_error)?;
            (requested, array)
        }
    };
    let schema = export_schema(py, &column)?;
    let array = PyCapsule::new_with_value(py, FFI_ArrowArray::new(&array.to_data()), ARRAY)?;
    PyTuple::new(py, [schema, array])
}

/// The requested type, if it is another one to which the columns can be converted. Otherwise the consumer
/// gets the columns as they are, as the interface allows.
fn requested(
    column: &Column,
    requested_schema: Option<Bound<'_, PyCapsule>>,
) -> PyResult<Option<Column>> {
    let Some(capsule) = requested_schema else { return Ok(None) };
    let schema = pointer::<FFI_ArrowSchema>(&capsule, c"arrow_schema")?;
    // SAFETY: a capsule of this name contains a schema, which lives as long as the capsule.
    let found = data_type(unsafe { schema.as_ref() }, &ColumnPath::table(), 0)?;
    let is_other = &found != column.data_type() && can_cast_types(column.data_type(), &found);
    Ok(is_other.then(|| column.clone().with_data_type(found)))
}

/// The array with another type. A value that the type cannot hold is an error, not a null.
fn converted(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    // Texts of other columns come from other libraries, and become texts of Rust here.
    array.to_data().validate_full()?;
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let found = catch_unwind(AssertUnwindSafe(|| cast_with_options(array, data_type, &options)));
    found.unwrap_or_else(|_| {
        Err(ArrowError::CastError(format!("the columns cannot be converted to {data_type}")))
    })
}
