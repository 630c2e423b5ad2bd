//! Batches of events that can be stored, for example in an outbox.

use arrow_array::{RecordBatch, UInt64Array};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_select::take::take_record_batch;
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::schema_error::SchemaError;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyTuple};

use crate::arrow::error::arrow_error;
use crate::input::columns::Batch;
use crate::input::event_columns::sent;
use crate::input::events::{Events, RemainingEvents};
use crate::input::options::{batch_size, other_columns};
use crate::output::arrow::export_batch;
use crate::output::pickle::{self, Pickle, Pickler, Reduced, compact, reduce};
use crate::output::rejections::Rejections;

/// Read events in batches.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
///     As for :func:`encode_events`.
/// batch_size : int, default 4096
///     The maximum number of rows in a batch.
/// other_columns : {"raise", "ignore"}, default "raise"
///     As for :func:`encode_events`. The column *TransferSyntaxUID* is kept.
///
/// Returns
/// -------
/// EventBatches
///     An iterator of :class:`EventBatch`. A row of an iterable that cannot be read is rejected.
///
/// Raises
/// ------
/// ValueError
///     If *batch_size* is 0, or *other_columns* has an unsupported value.
#[pyfunction]
#[pyo3(signature = (events, *, batch_size = 4096, other_columns = "raise"))]
pub fn event_batches(
    events: &Bound<'_, PyAny>,
    batch_size: usize,
    other_columns: &str,
) -> PyResult<EventBatches> {
    let batch_size = self::batch_size(batch_size)?;
    let events = Events::new(events, sent(self::other_columns(other_columns)?), 0)?;
    Ok(EventBatches { events: RemainingEvents::new(events), batch_size })
}

/// The batch, if its columns can be encoded: a batch that was stored must not fail later.
fn checked(batch: Batch) -> Result<Batch, SchemaError> {
    let options = DataSetOptions { syntax: TransferSyntax::default(), conformant_uids: true };
    EventColumns::with_structured(&batch.0, options).map(|_| batch)
}

/// An iterator of :class:`EventBatch`.
#[pyclass(frozen, module = "fastdimse._core")]
pub struct EventBatches {
    events: RemainingEvents,
    batch_size: usize,
}

#[pymethods]
impl EventBatches {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<EventBatch>> {
        let Some((mut events, first_row)) = self.events.take() else { return Ok(None) };
        events.reject_rows();
        let Some((rows, rejected)) = events.next_with(py, self.batch_size, first_row, checked)?
        else {
            return Ok(None);
        };
        self.events.put_back(events, first_row + rows.num_rows() as u64);
        Ok(Some(EventBatch { rows, first_row, rejected: rejected.into() }))
    }
}

/// A batch of events as columns: an Arrow stream.
///
/// Attributes
/// ----------
/// first_row : int
///     The row number of the first event.
/// rejected : Rejections
///     The rows that could not be converted to columns. They are null in the columns.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
#[pyclass(frozen, module = "fastdimse._core")]
pub struct EventBatch {
    rows: RecordBatch,
    #[pyo3(get)]
    first_row: u64,
    #[pyo3(get)]
    rejected: Rejections,
}

impl EventBatch {
    fn new(rows: RecordBatch) -> Self {
        Self { rows, first_row: 0, rejected: Rejections::default() }
    }
}

impl Pickle for EventBatch {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let rows = pickler.columns(&self.rows)?;
        (rows, self.first_row, self.rejected.clone()).into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (rows, first_row, rejected): (Bound<'_, PyAny>, _, _) = state.extract()?;
        Ok(Self { rows: pickle::columns(&rows, None)?, first_row, rejected })
    }
}

#[pymethods]
impl EventBatch {
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

    /// Read a batch from an Arrow IPC stream.
    ///
    /// Parameters
    /// ----------
    /// stream : bytes
    ///     A stream as written by :meth:`to_ipc`.
    ///
    /// Returns
    /// -------
    /// EventBatch
    ///     The batch.
    #[staticmethod]
    fn from_ipc(stream: &[u8]) -> PyResult<Self> {
        let mut reader = StreamReader::try_new(stream, None).map_err(arrow_error)?;
        let rows = reader.next().unwrap_or_else(|| Ok(RecordBatch::new_empty(reader.schema())));
        Ok(Self::new(rows.map_err(arrow_error)?))
    }

    /// Write the batch as an Arrow IPC stream, which pyarrow and polars can read.
    ///
    /// Returns
    /// -------
    /// bytes
    ///     The stream.
    fn to_ipc<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let stream = py.detach(|| {
            let mut writer = StreamWriter::try_new(Vec::new(), &self.rows.schema())?;
            writer.write(&compact(&self.rows)?)?;
            writer.into_inner()
        });
        Ok(PyBytes::new(py, &stream.map_err(arrow_error)?))
    }

    /// Return a batch of some of the rows.
    ///
    /// Parameters
    /// ----------
    /// rows : list of int
    ///     The positions of the rows in this batch.
    ///
    /// Returns
    /// -------
    /// EventBatch
    ///     The batch of these rows.
    ///
    /// Raises
    /// ------
    /// IndexError
    ///     If a position is outside this batch.
    fn take(&self, rows: Vec<u64>) -> PyResult<Self> {
        let count = self.rows.num_rows();
        if let Some(row) = rows.iter().find(|&&row| row >= count as u64) {
            return Err(PyIndexError::new_err(format!("row {row} of a batch of {count}")));
        }
        let rows = take_record_batch(&self.rows, &UInt64Array::from(rows)).map_err(arrow_error)?;
        Ok(Self::new(rows))
    }

    fn __len__(&self) -> usize {
        self.rows.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("<EventBatch: {} rows>", self.rows.num_rows())
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batch(py, &self.rows, requested_schema)
    }
}
