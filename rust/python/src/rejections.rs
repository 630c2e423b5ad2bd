//! What was rejected, as a table.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};
use fastdimse_core::error;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::events::export_batch;
use crate::sequence::{SequenceIterator, from_end};

/// One event that could not be encoded or decoded.
///
/// Attributes
/// ----------
/// row : int or None
///     The row of the input, or the number of the event in the stream, from 0.
/// field : str or None
///     The field's DICOM keyword; in a structured data set with the path in it, such as
///     ``EventInformation.ReferencedSOPSequence[3].ReferencedSOPInstanceUID``.
/// code : str
///     A short name of the rule, for programs.
/// reason : str
///     What was wrong, for people.
/// offset : int or None
///     The byte of the stream, when decoding.
#[pyclass(frozen, eq, module = "fastdimse")]
#[derive(Clone, PartialEq, Eq)]
pub struct Rejection {
    #[pyo3(get)]
    row: Option<u64>,
    #[pyo3(get)]
    field: Option<String>,
    #[pyo3(get)]
    code: &'static str,
    #[pyo3(get)]
    reason: String,
    #[pyo3(get)]
    offset: Option<u64>,
    shown: String,
}

impl From<&error::Rejection> for Rejection {
    fn from(rejection: &error::Rejection) -> Self {
        Self {
            row: rejection.row,
            field: rejection.path(),
            code: rejection.reason.code(),
            reason: rejection.reason.to_string(),
            offset: rejection.offset,
            shown: rejection.to_string(),
        }
    }
}

#[pymethods]
impl Rejection {
    fn __str__(&self) -> &str {
        &self.shown
    }

    fn __repr__(&self) -> String {
        format!("<Rejection: {}>", self.shown)
    }
}

/// A table of what was rejected: a sequence of :class:`Rejection`, and an Arrow stream with the
/// columns ``row``, ``field``, ``code``, ``reason`` and ``offset``.
///
/// Examples
/// --------
/// >>> from fastdimse import validate_events
/// >>> rejected = validate_events({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1", "1.02"],
/// ...     "EventTypeID": 1,
/// ... })
/// >>> [(rejection.row, rejection.field, rejection.code) for rejection in rejected]
/// [(1, 'AffectedSOPInstanceUID', 'uid')]
#[pyclass(frozen, sequence, module = "fastdimse")]
#[derive(Clone)]
pub struct Rejections {
    rejections: Arc<Vec<error::Rejection>>,
}

impl Rejections {
    pub fn new(rejections: Vec<error::Rejection>) -> Self {
        Self { rejections: Arc::new(rejections) }
    }

    pub fn count(&self) -> usize {
        self.rejections.len()
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Column::new("row", DataType::UInt64, true),
            Column::new("field", DataType::Utf8, true),
            Column::new("code", DataType::Utf8, false),
            Column::new("reason", DataType::Utf8, false),
            Column::new("offset", DataType::UInt64, true),
        ]))
    }

    fn batch(&self) -> RecordBatch {
        let all = || self.rejections.iter();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(all().map(|rejection| rejection.row).collect::<UInt64Array>()),
            Arc::new(all().map(error::Rejection::path).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(all().map(|one| one.reason.code()))),
            Arc::new(StringArray::from_iter_values(all().map(|one| one.reason.to_string()))),
            Arc::new(all().map(|rejection| rejection.offset).collect::<UInt64Array>()),
        ];
        RecordBatch::try_new(Self::schema(), columns).expect("the columns fit the schema")
    }
}

#[pymethods]
impl Rejections {
    fn __len__(&self) -> usize {
        self.count()
    }

    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<Rejection> {
        let index = from_end(index, self.rejections.len())?;
        Ok((&self.rejections[index]).into())
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        format!("<Rejections: {}>", self.rejections.len())
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
