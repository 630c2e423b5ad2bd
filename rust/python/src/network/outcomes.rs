//! The outcomes of requests that were sent, as columns.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;
use arrow_array::types::{DurationNanosecondType, Int32Type, TimestampNanosecondType};
use arrow_array::{
    Array, ArrayRef, DurationNanosecondArray, Int32Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use fastdimse_core::field::Kind;
use fastdimse_core::rejection::Rejection;
use fastdimse_core::standard::status::describe;
use fastdimse_delivery::outstanding::MatchedResponse;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict, PyTuple};

use crate::output::arrow::{export_batch, export_schema};
use crate::output::pickle::{self, Pickle, Pickler, Reduced, invalid, reduce};

/// The reason that an event has no Status: a code for programs, a text for people.
type Failure = (Cow<'static, str>, Arc<str>);

/// The reply of each row.
type Replies = Vec<Option<Vec<u8>>>;

/// The outcome of one event.
#[derive(Debug, Clone, Default)]
struct Outcome {
    message_id: Option<u16>,
    response: Option<MatchedResponse>,
    failure: Option<Failure>,
}

impl Outcome {
    fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }

    fn latency(&self) -> Option<i64> {
        self.response.as_ref().map(|response| nanoseconds(response.latency))
    }

    fn time(&self) -> Option<i64> {
        self.response.as_ref().map(|response| since_1970(response.time))
    }

    fn reply(&self) -> Option<&[u8]> {
        self.response.as_ref()?.reply.as_deref()
    }

    fn code(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| &*failure.0)
    }

    fn reason(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| &*failure.1)
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    duration.as_nanos() as i64
}

fn since_1970(time: SystemTime) -> i64 {
    nanoseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Outcomes while events are sent, a row for each event.
#[derive(Debug, Default)]
pub struct OutcomesBuilder {
    rows: Vec<Outcome>,
    of_actions: bool,
}

impl OutcomesBuilder {
    /// Outcomes of requests of this kind.
    pub fn new(kind: Kind) -> Self {
        Self { rows: Vec::new(), of_actions: kind == Kind::ActionRequest }
    }

    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Adds an event that is sent with this Message ID.
    pub fn push_message(&mut self, message_id: u16) {
        self.rows.push(Outcome { message_id: Some(message_id), ..Outcome::default() });
    }

    /// Adds an event that is not sent.
    pub fn push_unsent(&mut self) {
        self.rows.push(Outcome::default());
    }

    /// Adds an event that was rejected.
    pub fn push_rejected(&mut self, rejection: &Rejection) {
        let path = rejection.path().map(|path| format!("{path}: ")).unwrap_or_default();
        let reason = format!("{path}{}", rejection.reason).into();
        let failure = Some((rejection.reason.code().into(), reason));
        self.rows.push(Outcome { failure, ..Outcome::default() });
    }

    pub fn set_response(&mut self, row: usize, response: MatchedResponse) {
        self.rows[row].response = Some(response);
    }

    /// Sets the failure of each row from `from` on that has neither a response nor a failure.
    pub fn fail_from(&mut self, from: usize, code: &'static str, reason: &str) {
        let reason: Arc<str> = reason.into();
        let open = |row: &&mut Outcome| row.response.is_none() && row.failure.is_none();
        self.rows[from..].iter_mut().filter(open).for_each(|row| {
            row.failure = Some((code.into(), reason.clone()));
        });
    }

    pub fn finish(self, failure: Option<String>) -> Outcomes {
        let answered = self.rows.iter().filter(|row| row.response.is_some()).count();
        Outcomes { rows: self.rows, answered, failure, of_actions: self.of_actions }
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Column::new("MessageID", DataType::Int32, true),
        Column::new("Status", DataType::Int32, true),
        Column::new("StatusName", DataType::Utf8, true),
        Column::new("Time", time, true),
        Column::new("Latency", DataType::Duration(TimeUnit::Nanosecond), true),
        Column::new("Failure", DataType::Utf8, true),
        Column::new("Reason", DataType::Utf8, true),
    ]))
}

/// The outcomes of events that were sent, or of actions that were requested: an Arrow stream with
/// one row for each.
///
/// ``pyarrow.table(outcomes)`` and ``polars.DataFrame(outcomes)`` read these columns:
///
/// - *MessageID*, null if the event was not sent.
/// - *Status*, *StatusName*, *Time* (when the response was received) and *Latency* (the time from
///   sending the request to receiving the response) of events with a response.
/// - *Failure*, a code, and *Reason* of events without a response.
///
/// Attributes
/// ----------
/// answered : int
///     The number of events with a response, whatever its Status.
/// failure : str or None
///     The failure of the association, if it ended before each event had a response.
/// replies : list of bytes or None
///     The Action Reply of each action as encoded; ``None`` without one, and for events.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> from fastdimse import connect, listen
/// >>> with listen(0, host="localhost") as listener:
/// ...     with connect("localhost", listener.port) as association:
/// ...         outcomes = association.send({
/// ...             "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...             "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...             "EventTypeID": [1, 2],
/// ...         })
/// >>> outcomes.to_pydict()["StatusName"]
/// ['0x0000 Success', '0x0000 Success']
#[pyclass(frozen, module = "fastdimse")]
pub struct Outcomes {
    rows: Vec<Outcome>,
    #[pyo3(get)]
    answered: usize,
    #[pyo3(get)]
    failure: Option<String>,
    /// Whether the rows are actions, not events.
    of_actions: bool,
}

impl Outcomes {
    /// The number of events.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Whether the association failed.
    pub fn failed(&self) -> bool {
        self.failure.is_some()
    }

    fn columns(&self) -> RecordBatch {
        let all = || self.rows.iter();
        let time = all().map(Outcome::time).collect::<TimestampNanosecondArray>();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(all().map(|row| row.message_id.map(i32::from)).collect::<Int32Array>()),
            Arc::new(all().map(|row| row.status().map(i32::from)).collect::<Int32Array>()),
            Arc::new(all().map(|row| row.status().map(describe)).collect::<StringArray>()),
            Arc::new(time.with_timezone("UTC")),
            Arc::new(all().map(Outcome::latency).collect::<DurationNanosecondArray>()),
            Arc::new(all().map(Outcome::code).collect::<StringArray>()),
            Arc::new(all().map(Outcome::reason).collect::<StringArray>()),
        ];
        RecordBatch::try_new(schema(), columns).expect("the columns fit the schema")
    }
}

impl Pickle for Outcomes {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let py = pickler.py;
        let replies = self.of_actions.then(|| self.replies(py));
        (pickler.columns(&self.columns())?, self.failure.clone(), replies).into_pyobject(py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (columns, failure, replies): (Bound<'_, PyAny>, _, Option<Replies>) =
            state.extract()?;
        let columns = pickle::columns(&columns, Some(&schema()))?;
        let message_ids = columns["MessageID"].as_primitive::<Int32Type>();
        let statuses = columns["Status"].as_primitive::<Int32Type>();
        let times = columns["Time"].as_primitive::<TimestampNanosecondType>();
        let latencies = columns["Latency"].as_primitive::<DurationNanosecondType>();
        let (codes, reasons) =
            (columns["Failure"].as_string::<i32>(), columns["Reason"].as_string::<i32>());
        let duration = |nanoseconds| match u64::try_from(nanoseconds) {
            Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
            Err(_) => Err(invalid("it has a negative time")),
        };
        let us = |number: i32| match u16::try_from(number) {
            Ok(number) => Ok(number),
            Err(_) => Err(invalid(format!("{number} is outside 0 to 65535"))),
        };
        let of_actions = replies.is_some();
        let replies = replies.unwrap_or_else(|| vec![None; columns.num_rows()]);
        if replies.len() != columns.num_rows() {
            return Err(invalid("it must have a reply or None for each row"));
        }
        let mut rows = Vec::with_capacity(columns.num_rows());
        let mut replies = replies.into_iter();
        for row in 0..columns.num_rows() {
            let valid = |column: &dyn Array| column.is_valid(row);
            let reply = replies.next().flatten().map(Arc::from);
            let response = match valid(statuses) && valid(times) && valid(latencies) {
                true => Some(MatchedResponse {
                    request: row as u64,
                    status: us(statuses.value(row))?,
                    latency: duration(latencies.value(row))?,
                    time: UNIX_EPOCH + duration(times.value(row))?,
                    reply,
                }),
                false => None,
            };
            let failure = (valid(codes) && valid(reasons))
                .then(|| (codes.value(row).to_owned().into(), reasons.value(row).into()));
            let message_id = valid(message_ids).then(|| us(message_ids.value(row))).transpose()?;
            rows.push(Outcome { message_id, response, failure });
        }
        Ok(OutcomesBuilder { rows, of_actions }.finish(failure))
    }
}

#[pymethods]
impl Outcomes {
    #[pyo3(signature = (protocol, /))]
    fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, protocol: i64) -> PyResult<Reduced<'py>> {
        reduce(slf.as_any(), slf.get(), protocol)
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (memo, /))]
    fn __deepcopy__<'py>(slf: Bound<'py, Self>, memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        let _ = memo;
        slf
    }

    fn __len__(&self) -> usize {
        self.rows.len()
    }

    /// The Action Reply of each row as encoded, or ``None``: a list of bytes.
    #[getter]
    fn replies<'py>(&self, py: Python<'py>) -> Vec<Option<Bound<'py, PyBytes>>> {
        self.rows.iter().map(|row| row.reply().map(|reply| PyBytes::new(py, reply))).collect()
    }

    /// Return the columns as lists.
    ///
    /// Returns
    /// -------
    /// dict of str to list
    ///     The values of each column. *Time* is an int of nanoseconds since 1970 (UTC), *Latency* an int
    ///     of nanoseconds.
    fn to_pydict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = || self.rows.iter();
        let columns = PyDict::new(py);
        columns.set_item("MessageID", all().map(|row| row.message_id).collect::<Vec<_>>())?;
        columns.set_item("Status", all().map(Outcome::status).collect::<Vec<_>>())?;
        let names = all().map(|row| row.status().map(describe)).collect::<Vec<_>>();
        columns.set_item("StatusName", names)?;
        columns.set_item("Time", all().map(Outcome::time).collect::<Vec<_>>())?;
        columns.set_item("Latency", all().map(Outcome::latency).collect::<Vec<_>>())?;
        columns.set_item("Failure", all().map(Outcome::code).collect::<Vec<_>>())?;
        columns.set_item("Reason", all().map(Outcome::reason).collect::<Vec<_>>())?;
        Ok(columns)
    }

    fn __repr__(&self) -> String {
        let ended = self.failure.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        let what = if self.of_actions { "action" } else { "event" };
        let rows = match self.rows.len() {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        format!("<Outcomes: {rows}, {} answered{ended}>", self.answered)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, schema().as_ref())
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batch(py, &self.columns(), requested_schema)
    }
}
