//! Pickles of results: a class and a tuple of its state, read back with checks.
//!
//! Bytes of a state travel out of band with protocol 5. Columns are an Arrow IPC stream. A pickle may come
//! from anywhere, so nothing in a state is used before it is checked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, LargeListArray, ListArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, SchemaRef};
use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyMemoryView, PyTuple, PyType};

use crate::output::buffer::lend;

/// A class whose objects can be pickled.
pub trait Pickle: Sized {
    /// Everything that an object consists of.
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>>;

    /// Creates an object from a state, which may be wrong in any way.
    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self>;
}

/// What an object is reduced to: a function and its arguments.
pub type Reduced<'py> = (Bound<'py, PyAny>, (Bound<'py, PyType>, Bound<'py, PyTuple>));

/// Reduces an object, for `__reduce_ex__`.
pub fn reduce<'py, T: Pickle>(
    slf: &Bound<'py, PyAny>,
    object: &T,
    protocol: i64,
) -> PyResult<Reduced<'py>> {
    let py = slf.py();
    let restore = py.import(intern!(py, "fastdimse._core"))?.getattr(intern!(py, "_unpickle"))?;
    Ok((restore, (slf.get_type(), object.state(Pickler { py, protocol })?)))
}

/// The form of bytes in a state.
#[derive(Clone, Copy)]
pub struct Pickler<'py> {
    pub py: Python<'py>,
    protocol: i64,
}

impl<'py> Pickler<'py> {
    /// Bytes; with protocol 5 a `pickle.PickleBuffer` of the same memory.
    pub fn bytes(self, bytes: &Buffer) -> PyResult<Bound<'py, PyAny>> {
        if self.protocol < 5 {
            return Ok(PyBytes::new(self.py, bytes).into_any());
        }
        let memory = Bound::new(self.py, Memory { bytes: bytes.clone() })?;
        let pickle = self.py.import(intern!(self.py, "pickle"))?;
        pickle.getattr(intern!(self.py, "PickleBuffer"))?.call1((memory,))
    }

    /// Columns as an Arrow IPC stream of one record batch.
    pub fn columns(self, rows: &RecordBatch) -> PyResult<Bound<'py, PyAny>> {
        self.batches(std::slice::from_ref(rows))
    }

    /// Columns as an Arrow IPC stream of at least one record batch.
    pub fn batches(self, batches: &[RecordBatch]) -> PyResult<Bound<'py, PyAny>> {
        let stream = self.py.detach(|| write(batches)).map_err(invalid)?;
        self.bytes(&stream)
    }

    /// Integers, as little-endian bytes.
    pub fn integers(self, integers: &ScalarBuffer<i64>) -> PyResult<Bound<'py, PyAny>> {
        if cfg!(target_endian = "little") {
            return self.bytes(integers.inner());
        }
        let bytes: Vec<u8> = integers.iter().flat_map(|integer| integer.to_le_bytes()).collect();
        self.bytes(&Buffer::from_vec(bytes))
    }
}

/// Memory of Rust with the buffer protocol.
#[pyclass(frozen, module = "fastdimse._core")]
struct Memory {
    bytes: Buffer,
}

#[pymethods]
impl Memory {
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: std::ffi::c_int,
    ) -> PyResult<()> {
        // SAFETY: Python calls this with a `view` to fill; the bytes are never written to.
        unsafe { lend(slf.as_any(), &slf.get().bytes, view, flags) }
    }
}

/// The error for a state that is wrong.
pub fn invalid(reason: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("the pickle is not valid: {reason}"))
}

/// Reads bytes of a state. Memory other than `bytes` may change, and is copied.
pub fn bytes(state: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    let bytes = match state.cast_exact::<PyBytes>() {
        Ok(bytes) => bytes.clone(),
        Err(_) => {
            let view = PyMemoryView::from(state)?;
            view.call_method0(intern!(state.py(), "tobytes"))?.cast_into::<PyBytes>()?
        }
    };
    Ok(Buffer::from(Bytes::from_owner(PyBackedBytes::from(bytes))))
}

/// Reads integers of a state.
pub fn integers(state: &Bound<'_, PyAny>) -> PyResult<ScalarBuffer<i64>> {
    let bytes = bytes(state)?;
    let (integers, rest) = bytes.as_slice().as_chunks::<8>();
    if !rest.is_empty() {
        return Err(invalid(format!("{} bytes are not integers of 8 bytes", bytes.len())));
    }
    Ok(integers.iter().map(|integer| i64::from_le_bytes(*integer)).collect())
}

/// Reads columns of a state, which must have this schema if one is given.
pub fn columns(state: &Bound<'_, PyAny>, schema: Option<&SchemaRef>) -> PyResult<RecordBatch> {
    match &batches(state, schema.map(std::slice::from_ref).unwrap_or_default())?[..] {
        [rows] => Ok(rows.clone()),
        several => Err(invalid(format!("it has {} batches of columns, not one", several.len()))),
    }
}

/// Reads the batches of a state, at least one, all with the same columns, which must be those of one of
/// the schemas if any are given.
pub fn batches(state: &Bound<'_, PyAny>, schemas: &[SchemaRef]) -> PyResult<Vec<RecordBatch>> {
    let stream = bytes(state)?;
    // arrow-rs panics on some invalid data.
    let read = state.py().detach(|| catch_unwind(AssertUnwindSafe(|| read(stream))));
    let batches = read.unwrap_or_else(|_| Err(invalid("its columns cannot be read")))?;
    let found = batches[0].schema();
    match schemas.is_empty() || schemas.iter().any(|schema| schema.fields() == found.fields()) {
        true => Ok(batches),
        false => Err(invalid("it has other columns")),
    }
}

fn write(batches: &[RecordBatch]) -> Result<Buffer, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema())?;
    for rows in batches {
        writer.write(&compact(rows)?)?;
    }
    Ok(Buffer::from_vec(writer.into_inner()?))
}

/// The rows with columns whose views refer only to bytes of these rows.
pub fn compact(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(compacted).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(rows.schema(), columns, &options)
}

/// An array whose views refer only to bytes of its rows. Views of a few rows would otherwise carry the
/// whole stream.
fn compacted(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let nulls = array.nulls().cloned();
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(compacted);
            let columns = columns.collect::<Result<_, _>>()?;
            let (fields, rows) = (fields.clone(), array.len());
            Arc::new(StructArray::try_new_with_length(fields, columns, nulls, rows)?)
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let (offsets, values) = (list.offsets().clone(), compacted(list.values())?);
            Arc::new(ListArray::try_new(field.clone(), offsets, values, nulls)?)
        }
        DataType::LargeList(field) => {
            let list = array.as_list::<i64>();
            let (offsets, values) = (list.offsets().clone(), compacted(list.values())?);
            Arc::new(LargeListArray::try_new(field.clone(), offsets, values, nulls)?)
        }
        _ => array.clone(),
    })
}

/// Reads the batches of a stream. The decoder validates every array, and allocates nothing for a length
/// that the stream does not have.
fn read(mut stream: Buffer) -> PyResult<Vec<RecordBatch>> {
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while let Some(rows) = decoder.decode(&mut stream).map_err(invalid)? {
        batches.push(rows);
    }
    match batches.is_empty() {
        true => Err(invalid("its columns are incomplete")),
        false => Ok(batches),
    }
}
