//! Captures: files of packets in, events and their responses out.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use fastdimse_capture::fault;
use fastdimse_capture::read::{Capture, Exchanges, decode_structured, read};
use fastdimse_core::decode::columns::columns_of_actions;
use fastdimse_core::decode::plain;
use fastdimse_core::options::OnInvalid;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::buffer::bytes_like;
use crate::capture::actions::CapturedActions;
use crate::capture::faults::Faults;
use crate::capture::pairs::{Pair, Pairs, State};
use crate::errors::Error;
use crate::input::data_sets::schema::structured_fields;
use crate::input::options::on_invalid;
use crate::output::pickle::{Pickle, Pickler, Reduced, reduce};
use crate::output::sequence::SequenceIterator;
use crate::primitive::slots::Service;

/// Decode the events of a capture, each with its response.
///
/// Parameters
/// ----------
/// data : bytes-like
///     A ``.pcap`` or ``.pcapng`` file, which may be compressed by gzip or Zstandard. ``bytes`` are
///     read in place. Anything else is copied first, since it may change. Read a file rather than map
///     it into memory: if another process truncates a mapped file during the copy, the operating
///     system kills this process (SIGBUS).
/// on_invalid : {"skip", "raise"}, default "skip"
///     ``"skip"`` reads everything that can be read and lists the rest in ``faults``. ``"raise"``
///     raises an exception if the capture has a fault.
/// event_information, event_reply : {"binary", "structured"} or Arrow schema, optional
///     The form of the data sets, as for :func:`decode_events`. Each is decoded in the transfer
///     syntax of its association, if that is Implicit or Explicit VR Little Endian. A data set that
///     cannot be decoded is null and listed in ``faults``.
///
/// Returns
/// -------
/// CapturedEvents
///     The events as Arrow columns and as pairs of request and response, and the N-ACTION messages as
///     ``actions``.
///
/// Raises
/// ------
/// DecodeError
///     If *data* is not a capture or cannot be decompressed, or if it has a fault and *on_invalid*
///     is ``"raise"``: the first fault, and every event that could be read as ``events``.
/// TypeError
///     If *data* does not support the buffer protocol.
/// ValueError
///     If an option has an unsupported value.
///
/// Examples
/// --------
/// >>> from fastdimse import decode_capture, encode_capture
/// >>> capture = encode_capture({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2],
/// ...     "Status": [0x0000, None],
/// ... })
/// >>> decode_capture(capture)
/// <CapturedEvents: 2 events in 1 association, 0 faults>
#[pyfunction]
#[pyo3(signature = (
    data, *, on_invalid = "skip", event_information = None, event_reply = None,
))]
pub fn decode_capture(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    on_invalid: &str,
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
) -> PyResult<CapturedEvents> {
    let on_invalid = self::on_invalid(on_invalid)?;
    let fields = structured_fields(event_information, event_reply)?;
    let file = bytes_like(data)?;
    let capture = py.detach(|| read(&file));
    let mut capture = capture.map_err(|fault| Error::Capture(fault::Fault::file(fault, None)))?;
    let (events, omitted) = py.detach(|| decode_structured(&mut capture, &fields));
    let first = capture.faults.first().cloned().filter(|_| on_invalid == OnInvalid::Raise);
    let events = to_python(py, capture, events, omitted)?;
    match first {
        None => Ok(events),
        Some(fault) => Err(Error::Capture(fault).with_events(py, events)?),
    }
}

/// A decoded capture, or a part of one, with the columns of its events.
pub fn to_python(
    py: Python<'_>,
    capture: Capture,
    columns: Vec<RecordBatch>,
    omitted: BTreeMap<String, u64>,
) -> PyResult<CapturedEvents> {
    let actions = plain(capture.actions.table).iter().map(columns_of_actions).collect();
    let Exchanges { messages, rows, .. } = capture.events;
    let Exchanges { messages: requests, rows: pairs, .. } = capture.actions;
    let service = Service::Action;
    let actions = Pairs { service, columns: actions, messages: requests, rows: pairs };
    let service = Service::EventReport;
    let skipped = capture.skipped.into_iter().map(|(name, count)| (name.to_owned(), count));
    Ok(CapturedEvents {
        events: Pairs { service, columns, messages, rows },
        actions: Py::new(py, CapturedActions(actions))?,
        omitted,
        faults: capture.faults.into(),
        skipped: skipped.collect(),
        skipped_packets: capture.skipped_packets.counts(),
        packets: capture.packets,
        streams: capture.streams,
        associations: capture.associations,
    })
}

/// The events of a capture: an Arrow stream of columns, and a sequence of pairs of
/// :class:`N_EVENT_REPORT`.
///
/// ``pyarrow.table(captured)`` and ``polars.DataFrame(captured)`` read the columns, with one row for
/// each event in the order of time. A pair is a request and its response. The response is ``None`` if
/// it was not captured, and the request is ``None`` if only the response was captured.
///
/// Attributes
/// ----------
/// actions : CapturedActions
///     The N-ACTION messages.
/// faults : Faults
///     The problems found in the capture.
/// skipped : dict of str to int
///     The number of other PDUs and other DIMSE messages, by name.
/// skipped_packets : dict of str to int
///     The number of packets without a TCP segment that could be read, by reason: another protocol
///     (``"UDP"``, ``"ARP in VXLAN"``), a part of a packet (``"IP fragment"``,
///     ``"incomplete headers"``), or an unsupported link layer (``"link type 105 (IEEE802_11)"``).
/// omitted : dict of str to int
///     The number of data elements that a schema does not contain, by their paths.
/// packets, streams, associations : int
///     The number of packets, of TCP streams, and of associations among these streams.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> from fastdimse import decode_capture, encode_capture
/// >>> [(request, response)] = decode_capture(encode_capture({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": 1,
/// ...     "Status": 0x0000,
/// ... }))
/// >>> request.EventTypeID, response.Status
/// (1, 0)
#[pyclass(frozen, sequence, module = "fastdimse")]
pub struct CapturedEvents {
    events: Pairs,
    #[pyo3(get)]
    actions: Py<CapturedActions>,
    #[pyo3(get)]
    faults: Faults,
    #[pyo3(get)]
    skipped: BTreeMap<String, u64>,
    #[pyo3(get)]
    skipped_packets: BTreeMap<String, u64>,
    #[pyo3(get)]
    omitted: BTreeMap<String, u64>,
    #[pyo3(get)]
    packets: u64,
    #[pyo3(get)]
    streams: u64,
    #[pyo3(get)]
    associations: u64,
}

impl Pickle for CapturedEvents {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let state = (
            self.events.state(pickler)?,
            self.actions.clone_ref(pickler.py),
            self.faults.clone(),
            self.skipped.clone(),
            self.skipped_packets.clone(),
            self.omitted.clone(),
            (self.packets, self.streams, self.associations),
        );
        state.into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (events, actions, faults, skipped, skipped_packets, omitted, counts): (
            State<'_>,
            _,
            _,
            _,
            _,
            _,
            _,
        ) = state.extract()?;
        let events = Pairs::from_state(events, Service::EventReport)?;
        let (packets, streams, associations) = counts;
        Ok(Self {
            events,
            actions,
            faults,
            skipped,
            skipped_packets,
            omitted,
            packets,
            streams,
            associations,
        })
    }
}

#[pymethods]
impl CapturedEvents {
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
        self.events.rows.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'_, PyAny>) -> PyResult<Pair<'py>> {
        self.events.get(py, index)
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        let plural = |count: u64, thing: &str| match count {
            1 => format!("1 {thing}"),
            _ => format!("{count} {thing}s"),
        };
        format!(
            "<CapturedEvents: {} in {}, {}>",
            plural(self.events.rows.len() as u64, "event"),
            plural(self.associations, "association"),
            plural(self.faults.count() as u64, "fault"),
        )
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        self.events.arrow_schema(py)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        self.events.arrow_stream(py, requested_schema)
    }
}
