//! What was rejected, as a table.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};
use fastdimse_core::conformance::Deviation;
use fastdimse_core::rejection;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::output::arrow::export_batch;
use crate::output::sequence::{SequenceIterator, from_end};

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

/// A row that was rejected.
pub enum Row {
    /// It breaks a rule of the message, or could not be read.
    Refused(rejection::Rejection),
    /// The standard has its event otherwise.
    Deviates {
        /// The row of the input, from 0.
        row: u64,
        /// What is wrong with it.
        deviation: Deviation,
    },
}

impl Row {
    fn row(&self) -> Option<u64> {
        match self {
            Self::Refused(rejection) => rejection.row,
            Self::Deviates { row, .. } => Some(*row),
        }
    }

    fn field(&self) -> Option<String> {
        match self {
            Self::Refused(rejection) => rejection.path(),
            Self::Deviates { deviation, .. } => Some(deviation.path().to_owned()),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Refused(rejection) => rejection.reason.code(),
            Self::Deviates { deviation, .. } => deviation.code(),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Refused(rejection) => rejection.reason.to_string(),
            Self::Deviates { deviation, .. } => deviation.to_string(),
        }
    }

    fn offset(&self) -> Option<u64> {
        match self {
            Self::Refused(rejection) => rejection.offset,
            Self::Deviates { .. } => None,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(rejection) => write!(f, "{rejection}"),
            Self::Deviates { row, deviation } => {
                write!(f, "row {row}, {}: {deviation}", deviation.path())
            }
        }
    }
}

impl From<&Row> for Rejection {
    fn from(row: &Row) -> Self {
        Self {
            row: row.row(),
            field: row.field(),
            code: row.code(),
            reason: row.reason(),
            offset: row.offset(),
            shown: row.to_string(),
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
    rows: Arc<Vec<Row>>,
}

impl Rejections {
    pub fn new(rejections: Vec<rejection::Rejection>) -> Self {
        Self::of_rows(rejections.into_iter().map(Row::Refused).collect())
    }

    pub fn of_rows(rows: Vec<Row>) -> Self {
        Self { rows: Arc::new(rows) }
    }

    pub fn count(&self) -> usize {
        self.rows.len()
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
        let all = || self.rows.iter();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(all().map(Row::row).collect::<UInt64Array>()),
            Arc::new(all().map(Row::field).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(all().map(Row::code))),
            Arc::new(StringArray::from_iter_values(all().map(Row::reason))),
            Arc::new(all().map(Row::offset).collect::<UInt64Array>()),
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
        let index = from_end(index, self.rows.len())?;
        Ok((&self.rows[index]).into())
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        format!("<Rejections: {}>", self.rows.len())
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
