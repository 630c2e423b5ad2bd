//! Arrow export of results through the Arrow C Data Interface.
//!
//! pyo3 collects the methods of a class from one `impl` block, so each class of results repeats the
//! signatures of the interface's methods and calls these functions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field as Column, FieldRef, Fields, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::{
    ArrayIterator, to_array_pycapsules, to_schema_pycapsule, to_stream_pycapsule,
};

use crate::arrow::data_type::data_type;
use crate::arrow::error::{ColumnPath, arrow_error};
use crate::arrow::source::pointer;

/// A schema or a type, for `__arrow_c_schema__`.
pub fn export_schema<'py>(
    py: Python<'py>,
    schema: impl TryInto<FFI_ArrowSchema, Error = ArrowError>,
) -> PyResult<Bound<'py, PyCapsule>> {
    Ok(to_schema_pycapsule(py, schema)?)
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
    let arrays =
        batches.iter().map(|batch| Ok(Arc::new(StructArray::from(batch.clone())) as ArrayRef));
    let arrays: Vec<Result<ArrayRef, ArrowError>> = arrays.collect();
    export_stream(py, arrays.into_iter(), schema.fields().clone(), requested_schema)
}

/// A stream of arrays of structs with these columns, for `__arrow_c_stream__`.
pub fn export_stream<'py>(
    py: Python<'py>,
    arrays: impl Iterator<Item = Result<ArrayRef, ArrowError>> + Send + 'static,
    columns: Fields,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let column = Arc::new(Column::new_struct("", columns, false));
    let Some(requested) = requested(&column, requested_schema)? else {
        return Ok(to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, column)), None)?);
    };
    let data_type = requested.data_type().clone();
    let arrays = arrays.map(move |array| converted(&array?, &data_type));
    Ok(to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, requested)), None)?)
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
    Ok(match requested(&column, requested_schema)? {
        None => to_array_pycapsules(py, column, &array, None)?,
        Some(requested) => {
            let array = converted(&array, requested.data_type()).map_err(arrow_error)?;
            to_array_pycapsules(py, requested, &array, None)?
        }
    })
}

/// The requested type, if it is another one to which the columns can be converted. Otherwise the consumer
/// gets the columns as they are, as the interface allows.
fn requested(
    column: &FieldRef,
    requested_schema: Option<Bound<'_, PyCapsule>>,
) -> PyResult<Option<FieldRef>> {
    let Some(capsule) = requested_schema else { return Ok(None) };
    let schema = pointer::<FFI_ArrowSchema>(&capsule, c"arrow_schema")?;
    // SAFETY: a capsule of this name contains a schema, which lives as long as the capsule.
    let found = data_type(unsafe { schema.as_ref() }, &ColumnPath::table(), 0)?;
    let is_other = &found != column.data_type() && can_cast_types(column.data_type(), &found);
    Ok(is_other.then(|| Arc::new(column.as_ref().clone().with_data_type(found))))
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
