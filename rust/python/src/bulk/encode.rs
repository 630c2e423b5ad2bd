//! Bulk encoding: rows in, a stream out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, Int64Array, LargeBinaryArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field as Column};
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::{self, Encoded, Options, Table, check_context_id};
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::write::MaxPduLength;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList, PyMemoryView, PySlice, PyTuple};
use pyo3_arrow::ffi::{to_array_pycapsules, to_schema_pycapsule};

use crate::buffer::lend;
use crate::errors::{encode_error, schema_error};
use crate::input::data_sets::encode::{cut, encode_structured};
use crate::input::events::{Batch, Events};
use crate::input::transfer_syntaxes::transfer_syntax;
use crate::output::rejections::Rejections;
use crate::output::sequence::{SequenceIterator, from_end};

/// Reads `framing`.
pub fn framing(name: &str) -> PyResult<Framing> {
    match name {
        "p-data" => Ok(Framing::PData),
        "command-set" => Ok(Framing::CommandSet),
        _ => Err(PyValueError::new_err(format!(
            "framing must be 'p-data' or 'command-set', not '{name}'"
        ))),
    }
}

/// Reads `on_invalid`.
pub fn on_invalid(name: &str) -> PyResult<OnInvalid> {
    match name {
        "raise" => Ok(OnInvalid::Raise),
        "skip" => Ok(OnInvalid::Skip),
        _ => Err(PyValueError::new_err(format!(
            "on_invalid must be 'raise' or 'skip', not '{name}'"
        ))),
    }
}

/// Reads the options of encoding.
pub fn options(
    py: Python<'_>,
    context_id: i64,
    max_pdu_length: i64,
    framing_name: &str,
    on_invalid_name: &str,
    conformant_uids: bool,
) -> PyResult<Options> {
    let fail = |rejection| encode_error(py, &rejection);
    Ok(Options {
        context_id: check_context_id(context_id.into()).map_err(fail)?,
        max_pdu_length: MaxPduLength::new(max_pdu_length.into()).map_err(fail)?.even(),
        framing: framing(framing_name)?,
        on_invalid: on_invalid(on_invalid_name)?,
        conformant_uids,
    })
}

/// Reads `threads`.
pub fn thread_count(threads: i64) -> PyResult<usize> {
    usize::try_from(threads)
        .ok()
        .filter(|&threads| threads > 0)
        .ok_or_else(|| PyValueError::new_err(format!("threads must be at least 1, not {threads}")))
}

/// Reads those of structured data sets.
pub fn data_set_options(uid: &str, conformant_uids: bool) -> PyResult<DataSetOptions> {
    let syntax = transfer_syntax(uid)?;
    Ok(DataSetOptions { syntax, conformant_uids })
}

type Columns = (Vec<EventColumns>, Vec<fastdimse_core::rejection::Rejection>);

/// The columns of batches, and what is wrong with their rows, in order.
pub fn to_columns(
    py: Python<'_>,
    batches: Vec<Batch>,
    data_sets: DataSetOptions,
) -> PyResult<Columns> {
    let mut columns = Vec::with_capacity(batches.len());
    let mut broken = Vec::new();
    for (batch, found) in batches {
        columns.push(event_columns(py, &batch, data_sets)?);
        broken.extend(found);
    }
    // What was known beforehand stands beside the first batch.
    broken.sort_by_key(|rejection: &fastdimse_core::rejection::Rejection| rejection.row);
    Ok((columns, broken))
}

fn event_columns(
    py: Python<'_>,
    batch: &RecordBatch,
    data_sets: DataSetOptions,
) -> PyResult<EventColumns> {
    EventColumns::with_structured(batch, data_sets).map_err(|error| schema_error(py, &error))
}

/// All that is left of the events.
pub fn all_batches(py: Python<'_>, mut events: Events) -> PyResult<Vec<Batch>> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut done = 0;
    while let Some(batch) = events.next(py, usize::MAX, done)? {
        done += batch.0.num_rows() as u64;
        batches.push(batch);
    }
    Ok(batches)
}

/// Encode events, all checked, into one stream.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT
///     A row for each event. Columns are named by keyword: *MessageID*,
///     *MessageIDBeingRespondedTo*, *AffectedSOPClassUID*, *AffectedSOPInstanceUID*,
///     *EventTypeID*, *EventInformation*, *EventReply*, *Status*, *ErrorComment*, *ErrorID*,
///     *PresentationContextID*. A row with *MessageIDBeingRespondedTo* is a response (PS3.7
///     10.1.1). Without a column *MessageID* the rows are numbered from 1 to 65535 and round
///     again. In a mapping, a single ``str``, ``bytes`` or ``int`` stands for every row.
///     *EventInformation* and *EventReply* are encoded data sets, or structs whose fields are
///     attributes by keyword.
/// context_id : int, optional
///     The presentation context of rows without *PresentationContextID*: odd, 1 to 255.
/// max_pdu_length : int, optional
///     The maximum PDU length that the peer takes (PS3.8 D.1): 0 for no limit, or 7 and more. An
///     odd one leaves its last byte free, since fragments have an even length (PS3.8 E.1).
/// framing : {"p-data", "command-set"}, optional
///     P-DATA-TF PDUs (PS3.8 9.3.5), or bare command sets without their data sets.
/// on_invalid : {"raise", "skip"}, optional
///     Raise at the first bad row, or leave bad rows out and list them in ``rejected``.
/// enforce_uid_conformance : bool, optional
///     Whether UIDs must be conformant to PS3.5 9.1; ``False`` takes any 1 to 64 visible ASCII
///     characters but the backslash.
/// transfer_syntax : str, optional
///     The UID of the transfer syntax in which structured data sets are encoded: Implicit or
///     Explicit VR Little Endian.
/// threads : int, optional
///     The most threads that encode at once, of which the calling one is the first; the outcome is
///     the same whatever their number. Some megabytes of output are worth a second one.
///
/// Returns
/// -------
/// EncodedEvents
///     The stream, with the buffer protocol.
///
/// Raises
/// ------
/// EncodeError
///     If a row breaks a rule: the first such row, its field and the rule.
/// ColumnError
///     If a column is missing or unknown.
/// TypeError
///     If a column's type does not fit.
///
/// Examples
/// --------
/// >>> from fastdimse import encode_events
/// >>> encoded = encode_events({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2, 1],
/// ... })
/// >>> len(encoded), encoded.nbytes
/// (3, 366)
#[pyfunction]
#[pyo3(signature = (
    events, *, context_id = 1, max_pdu_length = 16382, framing = "p-data",
    on_invalid = "raise", enforce_uid_conformance = true, transfer_syntax = "1.2.840.10008.1.2",
    threads = 1,
))]
#[allow(clippy::too_many_arguments)]
pub fn encode_events(
    py: Python<'_>,
    events: &Bound<'_, PyAny>,
    context_id: i64,
    max_pdu_length: i64,
    framing: &str,
    on_invalid: &str,
    enforce_uid_conformance: bool,
    transfer_syntax: &str,
    threads: i64,
) -> PyResult<EncodedEvents> {
    let options =
        options(py, context_id, max_pdu_length, framing, on_invalid, enforce_uid_conformance)?;
    let data_sets = data_set_options(transfer_syntax, enforce_uid_conformance)?;
    let threads = thread_count(threads)?;
    let mut batches = cut(all_batches(py, Events::of(events)?)?);
    if threads > 1 || options.framing == Framing::CommandSet {
        // Threads have to know the lengths of all data sets, and some are only checked.
        let encoded = encode_structured(py, batches, data_sets, 0, threads);
        batches = encoded.into_iter().collect::<PyResult<_>>()?;
    }
    let (columns, broken) = to_columns(py, batches, data_sets)?;
    py.detach(|| encode::encode_in_threads(&columns, &options, 0, broken, threads))
        .map(EncodedEvents::from)
        .map_err(|rejection| encode_error(py, &rejection))
}

/// Encode events a batch at a time, in bounded memory.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT
///     As for :func:`encode_events`; a stream is read only as far as it is needed.
/// batch_size : int, optional
///     The most rows of a batch.
/// context_id, max_pdu_length, framing, on_invalid, enforce_uid_conformance : optional
///     As for :func:`encode_events`.
/// threads : int, optional
///     The most threads that encode at once. With more than one so many batches are read before the
///     first of them is handed out, of small ones (16384 rows together) up to four for each thread.
///     The others wait in memory for their turn, as does an error that ends them.
///
/// Returns
/// -------
/// EncodedBatches
///     An iterator of :class:`EncodedEvents`. Rows are counted, and numbered, through all of them.
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
    threads = 1,
))]
#[allow(clippy::too_many_arguments)]
pub fn encode_batches(
    py: Python<'_>,
    events: &Bound<'_, PyAny>,
    batch_size: i64,
    context_id: i64,
    max_pdu_length: i64,
    framing: &str,
    on_invalid: &str,
    enforce_uid_conformance: bool,
    transfer_syntax: &str,
    threads: i64,
) -> PyResult<EncodedBatches> {
    let options =
        options(py, context_id, max_pdu_length, framing, on_invalid, enforce_uid_conformance)?;
    let data_sets = data_set_options(transfer_syntax, enforce_uid_conformance)?;
    let batch_size =
        usize::try_from(batch_size).ok().filter(|&size| size > 0).ok_or_else(|| {
            PyValueError::new_err(format!("batch_size must be at least 1, not {batch_size}"))
        })?;
    let threads = thread_count(threads)?;
    let events = Events::of(events)?;
    let ready = VecDeque::new();
    let done = 0;
    let encoder = BatchEncoder { events, options, data_sets, batch_size, threads, done, ready };
    Ok(EncodedBatches(Mutex::new(encoder)))
}

/// The iterator of :func:`encode_batches`.
#[pyclass(frozen, module = "fastdimse")]
pub struct EncodedBatches(Mutex<BatchEncoder>);

/// The start of a thread takes as long as some hundred rows do: each has several batches that have
/// fewer rows together than this.
const FEW_ROWS: usize = 1 << 14;
/// The most of these.
const SMALL_BATCHES: usize = 4;

struct BatchEncoder {
    events: Events,
    options: Options,
    data_sets: DataSetOptions,
    batch_size: usize,
    threads: usize,
    done: u64,
    /// What was read ahead, in the order in which it is handed out: batches, what was wrong with one
    /// or with the reader, the end.
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

    /// Encodes a batch for each thread, or some small ones, or all up to the end or an error.
    fn read_ahead(&mut self, py: Python<'_>) {
        let first_row = self.done;
        let mut batches: Vec<Batch> = Vec::new();
        let mut behind = None;
        while behind.is_none() && self.has_room_behind(&batches) {
            match self.next_batch(py) {
                Ok(Some(batch)) => batches.push(batch),
                Ok(None) => behind = Some(Ok(None)),
                Err(error) => behind = Some(Err(error)),
            }
        }
        let batches = match self.options.framing {
            Framing::PData => batches.into_iter().map(Ok).collect(),
            Framing::CommandSet => {
                encode_structured(py, batches, self.data_sets, first_row, self.threads)
            }
        };
        let mut tables = Vec::with_capacity(batches.len());
        let mut first_row = first_row;
        for batch in batches {
            match batch.and_then(|batch| table(py, batch, first_row, self.data_sets)) {
                Ok(table) => {
                    first_row += table.columns.rows as u64;
                    tables.push(table);
                }
                // What is behind it does not count any more.
                Err(error) => {
                    behind = Some(Err(error));
                    break;
                }
            }
        }
        let encoded = py.detach(|| encode::encode_each(tables, &self.options, self.threads));
        let to_python = |one: Result<Encoded, _>| {
            one.map(|encoded| Some(encoded.into())).map_err(|error| encode_error(py, &error))
        };
        self.ready.extend(encoded.into_iter().map(to_python).chain(behind));
    }

    fn has_room_behind(&self, batches: &[Batch]) -> bool {
        let (count, threads) = (batches.len(), self.threads);
        let rows: usize = batches.iter().map(|(batch, _)| batch.num_rows()).sum();
        let few = rows < threads.saturating_mul(FEW_ROWS);
        count < threads || threads > 1 && few && count < threads.saturating_mul(SMALL_BATCHES)
    }

    fn next_batch(&mut self, py: Python<'_>) -> PyResult<Option<Batch>> {
        while let Some(batch) = self.events.next(py, self.batch_size, self.done)? {
            self.done += batch.0.num_rows() as u64;
            // Producers hand out empty batches too; users have no use for them, unless they are
            // wrong.
            if batch.0.num_rows() > 0 {
                return Ok(Some(batch));
            }
            for empty in encode_structured(py, vec![batch], self.data_sets, self.done, 1) {
                to_columns(py, vec![empty?], self.data_sets)?;
            }
        }
        Ok(None)
    }
}

fn table(
    py: Python<'_>,
    (batch, broken): Batch,
    first_row: u64,
    data_sets: DataSetOptions,
) -> PyResult<Table> {
    Ok(Table { columns: event_columns(py, &batch, data_sets)?, first_row, known: broken })
}

#[pymethods]
impl EncodedBatches {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<EncodedEvents>> {
        // Not waited for: the thread that has it may be waiting for the GIL.
        match self.0.try_lock() {
            Ok(mut encoder) => encoder.next(py),
            Err(_) => Err(PyValueError::new_err("encode_batches already executing")),
        }
    }
}

/// Encoded messages: the buffer protocol over the whole stream, and a sequence of the messages.
///
/// ``memoryview(encoded)``, ``file.write(encoded)`` and ``socket.sendall(encoded)`` take the
/// stream without a copy; ``encoded[i]`` and iteration give a :class:`memoryview` of one message.
/// As an Arrow array (``pyarrow.array(encoded)``) it is a large_binary array of the messages.
/// Views and arrays keep the memory alive.
#[pyclass(frozen, sequence, module = "fastdimse")]
pub struct EncodedEvents {
    bytes: Buffer,
    offsets: ScalarBuffer<i64>,
    rejected: Rejections,
}

impl From<Encoded> for EncodedEvents {
    fn from(encoded: Encoded) -> Self {
        let Encoded { bytes, offsets, rejected } = encoded;
        Self { bytes, offsets, rejected: Rejections::new(rejected) }
    }
}

impl EncodedEvents {
    fn count(&self) -> usize {
        self.offsets.len() - 1
    }
}

#[pymethods]
impl EncodedEvents {
    fn __len__(&self) -> usize {
        self.count()
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let index = from_end(index, this.count())?;
        let (start, end) = (this.offsets[index] as isize, this.offsets[index + 1] as isize);
        PyMemoryView::from(slf.as_any())?.get_item(PySlice::new(slf.py(), start, end, 1))
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        let (count, bytes, rejected) = (self.count(), self.bytes.len(), self.rejected.count());
        format!("<EncodedEvents: {count} messages, {bytes} bytes, {rejected} rejected>")
    }

    /// The length of the stream in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.bytes.len()
    }

    /// Where each message begins, and last the length of the stream: an Arrow int64 array.
    #[getter]
    fn offsets(&self) -> Offsets {
        Offsets(self.offsets.clone())
    }

    /// The rows that were left out.
    #[getter]
    fn rejected(&self) -> Rejections {
        self.rejected.clone()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, &DataType::LargeBinary)?)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let offsets = OffsetBuffer::new(self.offsets.clone());
        let array = LargeBinaryArray::new(offsets, self.bytes.clone(), None);
        export_array(py, Arc::new(array), requested_schema)
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: std::ffi::c_int,
    ) -> PyResult<()> {
        // SAFETY: called by Python with a `view` to fill; nothing ever writes to the bytes.
        unsafe { lend(slf.as_any(), &slf.get().bytes, view, flags) }
    }
}

fn export_array<'py>(
    py: Python<'py>,
    array: ArrayRef,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let column = Arc::new(Column::new("", array.data_type().clone(), false));
    Ok(to_array_pycapsules(py, column, &array, requested_schema)?)
}

/// Byte offsets: an Arrow int64 array, and a sequence of int.
#[pyclass(frozen, sequence, module = "fastdimse")]
pub struct Offsets(pub ScalarBuffer<i64>);

#[pymethods]
impl Offsets {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<i64> {
        Ok(self.0[from_end(index, self.0.len())?])
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        format!("<Offsets: {}>", self.0.len())
    }

    /// The offsets as a list of int.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.0.iter())
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, &DataType::Int64)?)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        export_array(py, Arc::new(Int64Array::new(self.0.clone(), None)), requested_schema)
    }
}
