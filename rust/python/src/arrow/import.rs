//! Arrow arrays, tables, streams and schemas of Python objects.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader, new_empty_array,
};
use arrow_schema::{ArrowError, DataType, Fields, Schema, SchemaRef};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::arrow::check::check;
use crate::arrow::data_type::data_type;
use crate::arrow::error::{ColumnPath, ImportError, arrow_error};
use crate::arrow::imported;
use crate::arrow::source::{Source, pointer, source};

/// Whether an object is an Arrow array, table or stream.
pub fn is_arrow(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if is_of_python(object) {
        return Ok(false);
    }
    let py = object.py();
    Ok(object.hasattr(intern!(py, "__arrow_c_array__"))?
        || object.hasattr(intern!(py, "__arrow_c_stream__"))?)
}

/// Whether an object is of one of Python's own classes, which have no attributes of Arrow or numpy. To look
/// for these takes longer than to encode an event, since Python creates an exception for each.
pub fn is_of_python(object: &Bound<'_, PyAny>) -> bool {
    object.is_none()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyBytes>()
        || object.is_exact_instance_of::<PyList>()
        || object.is_exact_instance_of::<PyTuple>()
        || object.is_exact_instance_of::<PyDict>()
}

/// A reader of the batches of an Arrow table or stream.
pub fn batches(object: &Bound<'_, PyAny>) -> PyResult<Box<dyn RecordBatchReader + Send>> {
    let place = ColumnPath::table();
    let (source, schema) = source(object)?;
    let DataType::Struct(fields) = data_type(&schema, &place, 0)? else {
        let text = "events must be an Arrow table, stream or array of structs";
        return Err(PyTypeError::new_err(text));
    };
    Ok(Box::new(Batches { source, schema: Arc::new(Schema::new(fields)), done: 0 }))
}

/// Imports an Arrow array, and concatenates its chunks; `name` is its name in errors.
pub fn array(object: &Bound<'_, PyAny>, name: &str) -> PyResult<ArrayRef> {
    let place = ColumnPath::column(name);
    let (mut source, schema) = source(object)?;
    let data_type = data_type(&schema, &place, 0)?;
    let mut chunks = Vec::new();
    while let Some(array) = object.py().detach(|| source.next())? {
        let read = |owner: &Arc<FFI_ArrowArray>| imported::array(owner, owner, &data_type, &place);
        chunks.push(import(array, &data_type, &place, read)?);
    }
    let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
    match chunks[..] {
        [] => Ok(new_empty_array(&data_type)),
        _ => arrow_select::concat::concat(&chunks).map_err(arrow_error),
    }
}

/// Imports an Arrow array whose texts are valid UTF-8. Text of events need not be: the core reads it as
/// bytes.
pub fn utf8_array(object: &Bound<'_, PyAny>, name: &str) -> PyResult<ArrayRef> {
    let array = array(object, name)?;
    let wrong = |error| ColumnPath::column(name).data_error(&format!("{error}"));
    array.to_data().validate_full().map_err(wrong)?;
    Ok(array)
}

/// The fields of an Arrow schema or struct type; `name` is its name in errors.
pub fn fields(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Fields> {
    let found = object.getattr_opt(intern!(object.py(), "__arrow_c_schema__"))?;
    let not_schema = || {
        let found = object.get_type().name()?;
        let text = format!("{name} must be an Arrow schema or struct type, not {found}");
        Err(PyTypeError::new_err(text))
    };
    let Some(export) = found else { return not_schema() };
    let capsule = export.call0()?.cast_into::<PyCapsule>()?;
    let schema = pointer::<FFI_ArrowSchema>(&capsule, c"arrow_schema")?;
    // SAFETY: a capsule of this name contains a schema, which lives as long as the capsule.
    match data_type(unsafe { schema.as_ref() }, &ColumnPath::column(name), 0)? {
        DataType::Struct(fields) => Ok(fields),
        _ => not_schema(),
    }
}

/// Imports an array after checking it.
fn import<T>(
    array: FFI_ArrowArray,
    data_type: &DataType,
    place: &ColumnPath,
    read: impl FnOnce(&Arc<FFI_ArrowArray>) -> Result<T, ImportError>,
) -> Result<T, ImportError> {
    check(&array, data_type, place)?;
    let owner = Arc::new(array);
    // arrow-rs panics on invalid data that the checks did not find.
    let imported = catch_unwind(AssertUnwindSafe(|| read(&owner)));
    imported.unwrap_or_else(|_| Err(place.data_error("it cannot be read")))
}

struct Batches {
    source: Source,
    schema: SchemaRef,
    /// The number of batches read.
    done: usize,
}

impl Batches {
    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let external = |error: ImportError| ArrowError::ExternalError(Box::new(error));
        let Some(array) = self.source.next().map_err(external)? else { return Ok(None) };
        self.done += 1;
        let data_type = DataType::Struct(self.schema.fields().clone());
        let (rows, place) = (array.len(), ColumnPath::table());
        let read =
            |owner: &Arc<FFI_ArrowArray>| imported::columns(owner, owner, &data_type, &place);
        let (columns, null_rows) =
            import(array, &data_type, &place, read).map_err(|error| match error {
                ImportError::Data(why) => {
                    external(ImportError::Data(format!("batch {}: {why}", self.done)))
                }
                error => external(error),
            })?;
        if null_rows > 0 {
            let text = format!("batch {} has {null_rows} null rows", self.done);
            return Err(external(ImportError::Data(text)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map(Some)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batch();
        // The producer's release function may run Python code, which must not run while an exception is
        // raised.
        if batch.is_err() {
            self.source = Source::Ended;
        }
        batch.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.source {
            Source::Array(array) => (array.is_some().into(), Some(array.is_some().into())),
            Source::Stream(_) => (0, None),
            Source::Ended => (0, Some(0)),
        }
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// The arrays of an Arrow array, table or stream, which may have null rows.
pub struct Arrays {
    source: Source,
    data_type: DataType,
}

impl Arrays {
    /// The arrays of an object.
    pub fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (source, schema) = source(object)?;
        Ok(Self { source, data_type: data_type(&schema, &ColumnPath::table(), 0)? })
    }

    /// The type of all arrays.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The next array.
    pub fn next(&mut self) -> Result<Option<ArrayRef>, ImportError> {
        let Some(array) = self.source.next()? else { return Ok(None) };
        let place = ColumnPath::table();
        let read =
            |owner: &Arc<FFI_ArrowArray>| imported::array(owner, owner, &self.data_type, &place);
        let imported = import(array, &self.data_type, &place, read);
        if imported.is_err() {
            self.source = Source::Ended;
        }
        imported.map(Some)
    }
}
