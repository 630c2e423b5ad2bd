//! What became of events that were sent, as columns.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, DurationNanosecondArray, RecordBatch, StringArray, UInt16Array};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use fastdimse_core::error::Rejection;
use fastdimse_core::status::describe;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::events::export_batch;

/// Why an event has no Status: a code for programs, a text for people.
type Failure = (&'static str, Arc<str>);

/// What became of one event.
#[derive(Debug, Clone, Default)]
struct Outcome {
    message_id: Option<u16>,
    answer: Option<(u16, Duration)>,
    failure: Option<Failure>,
}

/// What becomes of events, a row for each.
#[derive(Debug, Default)]
pub struct OutcomesBuilder {
    rows: Vec<Outcome>,
}

impl OutcomesBuilder {
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Adds an event that is sent.
    pub fn push_message(&mut self, message_id: u16) {
        self.rows.push(Outcome { message_id: Some(message_id), ..Outcome::default() });
    }

    /// Adds one that is not.
    pub fn push_unsent(&mut self) {
        self.rows.push(Outcome::default());
    }

    /// Adds one that can't be.
    pub fn push_rejected(&mut self, rejection: &Rejection) {
        let path = rejection.path().map(|path| format!("{path}: ")).unwrap_or_default();
        let reason = format!("{path}{}", rejection.reason).into();
        let failure = Some((rejection.reason.code(), reason));
        self.rows.push(Outcome { failure, ..Outcome::default() });
    }

    pub fn answer(&mut self, row: usize, status: u16, latency: Duration) {
        self.rows[row].answer = Some((status, latency));
    }

    /// Gives all from this row on that have neither an answer nor a failure this one.
    pub fn fail(&mut self, from: usize, code: &'static str, reason: &str) {
        let reason: Arc<str> = reason.into();
        let open = |row: &&mut Outcome| row.answer.is_none() && row.failure.is_none();
        self.rows[from..].iter_mut().filter(open).for_each(|row| {
            row.failure = Some((code, reason.clone()));
        });
    }

    pub fn finish(self, failure: Option<String>) -> Outcomes {
        let answered = self.rows.iter().filter(|row| row.answer.is_some()).count();
        let all = || self.rows.iter();
        let status = |row: &Outcome| row.answer.map(|(status, _)| status);
        let latency = |row: &Outcome| row.answer.map(|(_, latency)| latency.as_nanos() as i64);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(all().map(|row| row.message_id).collect::<UInt16Array>()),
            Arc::new(all().map(status).collect::<UInt16Array>()),
            Arc::new(all().map(|row| status(row).map(describe)).collect::<StringArray>()),
            Arc::new(all().map(latency).collect::<DurationNanosecondArray>()),
            Arc::new(
                all().map(|row| row.failure.as_ref().map(|one| one.0)).collect::<StringArray>(),
            ),
            Arc::new(
                all().map(|row| row.failure.as_ref().map(|one| &*one.1)).collect::<StringArray>(),
            ),
        ];
        let rows = RecordBatch::try_new(schema(), columns).expect("the columns fit the schema");
        Outcomes { rows, answered, failure }
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Column::new("MessageID", DataType::UInt16, true),
        Column::new("Status", DataType::UInt16, true),
        Column::new("StatusName", DataType::Utf8, true),
        Column::new("Latency", DataType::Duration(TimeUnit::Nanosecond), true),
        Column::new("Failure", DataType::Utf8, true),
        Column::new("Reason", DataType::Utf8, true),
    ]))
}

/// What became of events that were sent: an Arrow stream with a row for each of them.
///
/// ``pyarrow.table(outcomes)`` and ``polars.DataFrame(outcomes)`` have the columns *MessageID*;
/// *Status*, *StatusName* and *Latency* (from the write of the request to the read of its response)
/// of those that were answered; and of the others *Failure*, a code, and *Reason*.
///
/// Attributes
/// ----------
/// answered : int
///     How many events were answered, with whatever Status.
/// failure : str or None
///     Why the association ended before all were sent and answered.
#[pyclass(frozen, module = "fastdimse")]
pub struct Outcomes {
    rows: RecordBatch,
    #[pyo3(get)]
    answered: usize,
    #[pyo3(get)]
    failure: Option<String>,
}

#[pymethods]
impl Outcomes {
    fn __len__(&self) -> usize {
        self.rows.num_rows()
    }

    fn __repr__(&self) -> String {
        let ended = self.failure.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        format!("<Outcomes: {} events, {} answered{ended}>", self.rows.num_rows(), self.answered)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(pyo3_arrow::ffi::to_schema_pycapsule(py, schema().as_ref())?)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batch(py, self.rows.clone(), requested_schema)
    }
}
