//! What could not be read of a capture, as a table.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};
use fastdimse_capture::fault;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::output::arrow::export_batch;
use crate::output::sequence::{SequenceIterator, from_end};

/// A place in a capture that could not be read.
///
/// Attributes
/// ----------
/// stream : int or None
///     The TCP stream, as ``tcp.stream`` in Wireshark; ``None`` if it is the file's fault.
/// source, destination : str or None
///     Who sent what could not be read, and to whom: address and port.
/// frame : int or None
///     The packet, as ``frame.number`` in Wireshark.
/// offset : int or None
///     The byte of what ``source`` sent in this stream.
/// field : str or None
///     The field's DICOM keyword, with the path in it where it is a structured data set.
/// code : str
///     A short name of the fault, for programs.
/// reason : str
///     What was wrong, for people.
#[pyclass(frozen, eq, module = "fastdimse")]
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    #[pyo3(get)]
    stream: Option<u32>,
    #[pyo3(get)]
    source: Option<String>,
    #[pyo3(get)]
    destination: Option<String>,
    #[pyo3(get)]
    frame: Option<u64>,
    #[pyo3(get)]
    offset: Option<u64>,
    #[pyo3(get)]
    field: Option<String>,
    #[pyo3(get)]
    code: &'static str,
    #[pyo3(get)]
    reason: String,
    shown: String,
}

impl From<&fault::Fault> for Fault {
    fn from(found: &fault::Fault) -> Self {
        Self {
            stream: stream(found),
            source: source(found),
            destination: destination(found),
            frame: found.frame,
            offset: found.offset,
            field: found.path(),
            code: found.kind.code(),
            reason: found.kind.to_string(),
            shown: found.to_string(),
        }
    }
}

fn stream(found: &fault::Fault) -> Option<u32> {
    found.direction.as_ref().map(|direction| direction.stream)
}

fn source(found: &fault::Fault) -> Option<String> {
    found.direction.as_ref().map(|direction| direction.source.to_string())
}

fn destination(found: &fault::Fault) -> Option<String> {
    found.direction.as_ref().map(|direction| direction.destination.to_string())
}

#[pymethods]
impl Fault {
    fn __str__(&self) -> &str {
        &self.shown
    }

    fn __repr__(&self) -> String {
        format!("<Fault: {}>", self.shown)
    }
}

/// A table of what could not be read: a sequence of :class:`Fault`, and an Arrow stream with the
/// columns ``stream``, ``source``, ``destination``, ``frame``, ``offset``, ``field``, ``code`` and
/// ``reason``.
#[pyclass(frozen, sequence, module = "fastdimse")]
#[derive(Clone)]
pub struct Faults {
    faults: Arc<Vec<fault::Fault>>,
}

impl Faults {
    pub fn new(faults: Vec<fault::Fault>) -> Self {
        Self { faults: Arc::new(faults) }
    }

    pub fn count(&self) -> usize {
        self.faults.len()
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Column::new("stream", DataType::UInt32, true),
            Column::new("source", DataType::Utf8, true),
            Column::new("destination", DataType::Utf8, true),
            Column::new("frame", DataType::UInt64, true),
            Column::new("offset", DataType::UInt64, true),
            Column::new("field", DataType::Utf8, true),
            Column::new("code", DataType::Utf8, false),
            Column::new("reason", DataType::Utf8, false),
        ]))
    }

    fn batch(&self) -> RecordBatch {
        let all = || self.faults.iter();
        let reasons = all().map(|one| one.kind.to_string());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(all().map(stream).collect::<UInt32Array>()),
            Arc::new(all().map(source).collect::<StringArray>()),
            Arc::new(all().map(destination).collect::<StringArray>()),
            Arc::new(all().map(|one| one.frame).collect::<UInt64Array>()),
            Arc::new(all().map(|one| one.offset).collect::<UInt64Array>()),
            Arc::new(all().map(fault::Fault::path).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(all().map(|one| one.kind.code()))),
            Arc::new(StringArray::from_iter_values(reasons)),
        ];
        RecordBatch::try_new(Self::schema(), columns).expect("the columns fit the schema")
    }
}

#[pymethods]
impl Faults {
    fn __len__(&self) -> usize {
        self.count()
    }

    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<Fault> {
        let index = from_end(index, self.count())?;
        Ok((&self.faults[index]).into())
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        format!("<Faults: {}>", self.count())
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(pyo3_arrow::ffi::to_schema_pycapsule(py, Self::schema().as_ref())?)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batch(py, self.batch(), requested_schema)
    }
}
