//! Bulk encoding of a stream of rows, a batch at a time.

use std::collections::VecDeque;
use std::sync::Mutex;

use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::{self, Encoded, Options};
use fastdimse_core::options::Framing;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::bulk::columns::{table, to_columns};
use crate::errors::Error;
use crate::input::columns::Batch;
use crate::input::data_sets::encode::encode_data_sets;
use crate::input::event_columns::encoded;
use crate::input::events::Events;
use crate::input::options::{
    batch_size, data_set_options, first_row, options, other_columns, thread_count,
};
use crate::output::encoded_events::EncodedEvents;

/// Encode events in batches, in bounded memory.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
///     As for :func:`encode_events`. A stream is read only as far as needed.
/// batch_size : int, default 65536
///     The maximum number of rows in a batch.
/// context_id : int, default 1
///     As for :func:`encode_events`.
/// max_pdu_length : int, default 16382
///     As for :func:`encode_events`, in bytes.
/// framing : {"p-data", "command-set"}, default "p-data"
///     As for :func:`encode_events`.
/// on_invalid : {"raise", "skip"}, default "raise"
///     As for :func:`encode_events`.
/// enforce_uid_conformance : bool, default True
///     As for :func:`encode_events`.
/// transfer_syntax : str, default "1.2.840.10008.1.2"
///     As for :func:`encode_events`.
/// other_columns : {"raise", "ignore"}, default "raise"
///     As for :func:`encode_events`.
/// first_row : int, default 0
///     As for :func:`encode_events`.
/// threads : int, default 1
///     The maximum number of threads that encode. With more than one, that many batches are read
///     before the first is returned, or up to four times as many while they have fewer than 16384
///     rows per thread. The other batches, and an error that follows them, wait in memory.
///
/// Returns
/// -------
/// EncodedBatches
///     An iterator of :class:`EncodedEvents`. Row numbers and Message IDs continue from one batch to
///     the next.
///
/// Raises
/// ------
/// TypeError
///     If *events* has an unsupported type.
/// ColumnError
///     If a column is missing or unknown.
/// ValueError
///     If an option has an unsupported value.
///
/// Examples
/// --------
/// >>> from fastdimse import encode_batches
/// >>> events = {
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2, 1],
/// ... }
/// >>> [len(batch) for batch in encode_batches(events, batch_size=2)]
/// [2, 1]
#[pyfunction]
#[pyo3(signature = (
    events, *, batch_size = 65536, context_id = 1, max_pdu_length = 16382, framing = "p-data",
    on_invalid = "raise", enforce_uid_conformance = true, transfer_syntax = "1.2.840.10008.1.2",
    other_columns = "raise", first_row = 0, threads = 1,
))]
#[allow(clippy::too_many_arguments)]
pub fn encode_batches(
    events: &Bound<'_, PyAny>,
    batch_size: i64,
    context_id: i64,
    max_pdu_length: i64,
    framing: &str,
    on_invalid: &str,
    enforce_uid_conformance: bool,
    transfer_syntax: &str,
    other_columns: &str,
    first_row: i64,
    threads: i64,
) -> PyResult<EncodedBatches> {
    let options =
        options(context_id, max_pdu_length, framing, on_invalid, enforce_uid_conformance)?;
    let data_sets = data_set_options(transfer_syntax, enforce_uid_conformance)?;
    let batch_size = self::batch_size(batch_size)?;
    let threads = thread_count(threads)?;
    let done = self::first_row(first_row)?;
    let events = Events::new(events, encoded(self::other_columns(other_columns)?), done)?;
    let ready = VecDeque::new();
    let encoder = BatchEncoder { events, options, data_sets, batch_size, threads, done, ready };
    Ok(EncodedBatches(Mutex::new(encoder)))
}

/// An iterator of :class:`EncodedEvents`, as returned by :func:`encode_batches`.
#[pyclass(frozen, module = "fastdimse")]
pub struct EncodedBatches(Mutex<BatchEncoder>);

/// Starting a thread takes as long as encoding some hundred rows, so each thread gets several batches if
/// these have fewer rows together.
const FEW_ROWS: usize = 1 << 14;
/// The maximum number of such batches for each thread.
const SMALL_BATCHES: usize = 4;

struct BatchEncoder {
    events: Events,
    options: Options,
    data_sets: DataSetOptions,
    batch_size: usize,
    threads: usize,
    done: u64,
    /// Results that were read ahead, in order: batches, an error of a batch or of the reader, the end.
    ready: VecDeque<PyResult<Option<EncodedEvents>>>,
}

impl BatchEncoder {
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<EncodedEvents>> {
        loop {
            match self.ready.pop_front() {
                Some(next) => return next,
                None => self.read_ahead(py),
            }
        }
    }

    /// Encodes one batch for each thread, or several small ones, up to the end or an error.
    fn read_ahead(&mut self, py: Python<'_>) {
        let first_row = self.done;
        let mut batches: Vec<Batch> = Vec::new();
        let mut last = None;
        while last.is_none() && self.has_room_after(&batches) {
            match self.next_batch(py) {
                Ok(Some(batch)) => batches.push(batch),
                Ok(None) => last = Some(Ok(None)),
                Err(error) => last = Some(Err(error)),
            }
        }
        let batches = match self.options.framing {
            Framing::PData => batches.into_iter().map(Ok).collect(),
            Framing::CommandSet => {
                encode_data_sets(py, batches, self.data_sets, first_row, self.threads)
            }
        };
        let mut tables = Vec::with_capacity(batches.len());
        let mut first_row = first_row;
        for batch in batches {
            match batch.and_then(|batch| table(batch, first_row, self.data_sets)) {
                Ok(table) => {
                    first_row += table.columns.rows as u64;
                    tables.push(table);
                }
                // Results after an error are discarded.
                Err(error) => {
                    last = Some(Err(error));
                    break;
                }
            }
        }
        let encoded = py.detach(|| encode::encode_each(tables, &self.options, self.threads));
        let to_python = |one: Result<Encoded, _>| {
            one.map(|encoded| Some(encoded.into())).map_err(|error| Error::Encode(error).into())
        };
        self.ready.extend(encoded.into_iter().map(to_python).chain(last));
    }

    fn has_room_after(&self, batches: &[Batch]) -> bool {
        let (count, threads) = (batches.len(), self.threads);
        let rows: usize = batches.iter().map(|(batch, _)| batch.num_rows()).sum();
        let few = rows < threads.saturating_mul(FEW_ROWS);
        count < threads || threads > 1 && few && count < threads.saturating_mul(SMALL_BATCHES)
    }

    fn next_batch(&mut self, py: Python<'_>) -> PyResult<Option<Batch>> {
        while let Some(batch) = self.events.next(py, self.batch_size, self.done)? {
            self.done += batch.0.num_rows() as u64;
            // Empty batches are skipped, unless their columns are invalid.
            if batch.0.num_rows() > 0 {
                return Ok(Some(batch));
            }
            for empty in encode_data_sets(py, vec![batch], self.data_sets, self.done, 1) {
                to_columns(vec![empty?], self.data_sets)?;
            }
        }
        Ok(None)
    }
}

#[pymethods]
impl EncodedBatches {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<EncodedEvents>> {
        // Does not wait: the thread that holds the lock may wait for the GIL.
        match self.0.try_lock() {
            Ok(mut encoder) => encoder.next(py),
            Err(_) => Err(PyValueError::new_err("encode_batches already executing")),
        }
    }
}
