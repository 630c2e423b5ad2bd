//! Bulk decoding: a stream in, columns and primitives out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_buffer::ScalarBuffer;
use fastdimse_core::decode::columns;
use fastdimse_core::decode::{Layout, StructuredEvents, decode_structured};
use fastdimse_core::options::OnInvalid;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::buffer::bytes_like;
use crate::errors::Error;
use crate::input::options::{decode_options, structure, thread_count};
use crate::output::arrow::{count_rows, export_batches, export_schema};
use crate::output::offsets::Offsets;
use crate::output::pickle::{self, Pickle, Pickler, Reduced, reduce};
use crate::output::rejections::Rejections;
use crate::output::sequence::from_end;
use crate::primitive::from_columns::primitive_of;

/// Decode a stream of messages.
///
/// Parameters
/// ----------
/// data : bytes-like
///     The PDUs of one direction of an association, or of several associations in turn. PDUs other
///     than P-DATA-TF and DIMSE messages other than N-EVENT-REPORT are counted and skipped.
///     ``bytes``, :class:`EncodedEvents` and memoryviews of these are read in place. Anything else is
///     copied first, since it may change. Read a file rather than map it into memory: if another
///     process truncates a mapped file during the copy, the operating system kills this process
///     (SIGBUS).
/// framing : {"p-data", "command-set"}, default "p-data"
///     ``"p-data"`` reads P-DATA-TF PDUs (PS3.8 9.3.5). ``"command-set"`` reads a sequence of command
///     sets without PDUs and data sets.
/// on_invalid : {"raise", "skip"}, default "raise"
///     ``"raise"`` raises an exception for the first message that cannot be decoded. ``"skip"`` lists
///     it in ``rejected`` and continues with the next message where the stream allows it.
/// event_information, event_reply : {"binary", "structured"} or Arrow schema, optional
///     The form of the data sets: ``"binary"`` (default), the encoded bytes; ``"structured"``,
///     structs with every attribute that occurs in the stream, by keyword; or the attributes of an
///     Arrow schema or struct type. Attributes outside such a schema are counted in ``omitted``.
/// transfer_syntax : str, default "1.2.840.10008.1.2"
///     The UID of the transfer syntax of structured data sets: Implicit or Explicit VR Little
///     Endian.
/// zero_copy : bool, default False
///     If ``False``, texts and data sets are columns of the types ``string`` and ``binary`` with their
///     own bytes, which every Arrow library and engine supports. If ``True``, they are of the types
///     ``string_view`` and ``binary_view``, refer to *data* and keep it alive. This is faster, but many
///     libraries cannot sort, filter, join or write views, and a few rows keep the whole stream.
/// threads : int, default 1
///     The maximum number of threads that decode, including the calling one. The result does not
///     depend on it. Further threads are used for PDUs only, and pay off from a few thousand events.
///
/// Returns
/// -------
/// DecodedEvents
///     The events as Arrow columns and as a sequence of :class:`N_EVENT_REPORT`.
///
/// Raises
/// ------
/// DecodeError
///     If a message cannot be decoded and *on_invalid* is ``"raise"``: the byte of the stream, and
///     the events before it as ``events``.
/// TypeError
///     If *data* does not support the buffer protocol.
/// ValueError
///     If an option has an unsupported value.
///
/// Examples
/// --------
/// >>> from fastdimse import N_EVENT_REPORT, decode_events
/// >>> event = N_EVENT_REPORT()
/// >>> event.MessageID = 7
/// >>> decoded = decode_events(event.encode_p_data())
/// >>> decoded[0].MessageID
/// 7
#[pyfunction]
#[pyo3(signature = (
    data, *, framing = "p-data", on_invalid = "raise", event_information = None,
    event_reply = None, transfer_syntax = "1.2.840.10008.1.2", zero_copy = false, threads = 1,
))]
#[allow(clippy::too_many_arguments)]
pub fn decode_events(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    framing: &str,
    on_invalid: &str,
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
    transfer_syntax: &str,
    zero_copy: bool,
    threads: i64,
) -> PyResult<DecodedEvents> {
    let options = decode_options(framing, on_invalid, zero_copy)?;
    let threads = thread_count(threads)?;
    let stream = bytes_like(data)?;
    let structure = structure(event_information, event_reply, transfer_syntax)?;
    let found = py.detach(|| decode_structured(&stream, options, &structure, threads));
    to_python(py, found, options.on_invalid)
}

/// Decoded events as their class, or the exception for the first rejected one.
pub fn to_python(
    py: Python<'_>,
    found: StructuredEvents,
    on_invalid: OnInvalid,
) -> PyResult<DecodedEvents> {
    let StructuredEvents { decoded, structured, omitted } = found;
    let raised = decoded.rejected.first().filter(|_| on_invalid == OnInvalid::Raise).cloned();
    let skipped = decoded.skipped.into_iter().map(|(name, count)| (name.to_owned(), count));
    let events = DecodedEvents {
        events: decoded.events,
        structured,
        offsets: decoded.offsets,
        rejected: decoded.rejected.into(),
        skipped: skipped.collect(),
        omitted,
    };
    match raised {
        None => Ok(events),
        Some(rejection) => Err(Error::Decode(rejection).with_events(py, events)?),
    }
}

/// Decoded events: an Arrow stream of columns, and a sequence of :class:`N_EVENT_REPORT`.
///
/// ``pyarrow.table(decoded)`` and ``polars.DataFrame(decoded)`` read the columns: numbers are ``int32``,
/// texts ``string`` and data sets ``binary``, or views with *zero_copy*. A stream of more than 2 GiB has
/// several record batches. With a requested schema, such as that of ``pyarrow.table(decoded,
/// schema=...)``, the columns are converted to its types.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> import pyarrow
/// >>> from fastdimse import decode_events, encode_events
/// >>> encoded = encode_events({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2],
/// ... })
/// >>> decoded = decode_events(encoded)
/// >>> decoded
/// <DecodedEvents: 2 events, 0 rejected>
/// >>> pyarrow.table(decoded)["EventTypeID"].to_pylist()
/// [1, 2]
#[pyclass(frozen, sequence, module = "fastdimse")]
pub struct DecodedEvents {
    events: Vec<RecordBatch>,
    /// The same rows, with structured data sets where these are requested.
    structured: Vec<RecordBatch>,
    offsets: ScalarBuffer<i64>,
    rejected: Rejections,
    skipped: BTreeMap<String, u64>,
    omitted: BTreeMap<String, u64>,
}

impl DecodedEvents {
    /// Whether data sets are structured.
    fn is_structured(&self) -> bool {
        self.events[0].schema() != self.structured[0].schema()
    }
}

impl Pickle for DecodedEvents {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let structured =
            self.is_structured().then(|| pickler.batches(&self.structured)).transpose()?;
        let state = (
            pickler.batches(&self.events)?,
            structured,
            pickler.integers(&self.offsets)?,
            self.rejected.clone(),
            self.skipped.clone(),
            self.omitted.clone(),
        );
        state.into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (events, structured, offsets, rejected, skipped, omitted): (
            Bound<'_, PyAny>,
            Option<Bound<'_, PyAny>>,
            Bound<'_, PyAny>,
            _,
            _,
            _,
        ) = state.extract()?;
        let schemas = [Layout::Plain, Layout::Views].map(columns::schema);
        let events = pickle::batches(&events, &schemas)?;
        let structured = structured.map(|batches| pickle::batches(&batches, &[])).transpose()?;
        let structured = structured.unwrap_or_else(|| events.clone());
        let offsets = pickle::integers(&offsets)?;
        Ok(Self { events, structured, offsets, rejected, skipped, omitted })
    }
}

#[pymethods]
impl DecodedEvents {
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
        count_rows(&self.events)
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        primitive_of(py, &self.events, from_end(index, count_rows(&self.events))?)
    }

    fn __iter__(slf: Bound<'_, Self>) -> EventIterator {
        EventIterator { events: slf.unbind(), next: AtomicUsize::new(0) }
    }

    fn __repr__(&self) -> String {
        let (events, rejected) = (count_rows(&self.events), self.rejected.count());
        format!("<DecodedEvents: {events} events, {rejected} rejected>")
    }

    /// The byte at which the first PDU (or the command set) of each event begins: an
    /// :class:`Offsets`.
    #[getter]
    fn offsets(&self) -> Offsets {
        Offsets(self.offsets.clone())
    }

    /// The messages that could not be decoded, as :class:`Rejections`.
    #[getter]
    fn rejected(&self) -> Rejections {
        self.rejected.clone()
    }

    /// The number of other PDUs and other DIMSE messages, by name: a dict of str to int.
    #[getter]
    fn skipped(&self) -> BTreeMap<String, u64> {
        self.skipped.clone()
    }

    /// The number of data elements that a schema does not contain, by their paths: a dict of str to
    /// int.
    #[getter]
    fn omitted(&self) -> BTreeMap<String, u64> {
        self.omitted.clone()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, self.structured[0].schema().as_ref())
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batches(py, &self.structured, &self.structured[0].schema(), requested_schema)
    }
}

/// Iterates over decoded events; each is created when it is read.
#[pyclass(frozen, module = "fastdimse")]
pub struct EventIterator {
    events: Py<DecodedEvents>,
    next: AtomicUsize,
}

#[pymethods]
impl EventIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let events = &self.events.get().events;
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        (next < count_rows(events)).then(|| primitive_of(py, events, next)).transpose()
    }
}
