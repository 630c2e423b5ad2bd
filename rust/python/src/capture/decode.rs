//! Captures: files of packets in, events and their answers out; and back.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use fastdimse_capture::fault;
use fastdimse_capture::read::decode_structured;
use fastdimse_capture::read::read;
use fastdimse_core::options::OnInvalid;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::buffer::bytes_like;
use crate::capture::faults::Faults;
use crate::errors::Error;
use crate::input::data_sets::schema::structured_fields;
use crate::input::options::on_invalid;
use crate::output::arrow::{export_batch, export_schema};
use crate::output::sequence::{SequenceIterator, from_end};
use crate::primitive::from_columns::primitive;

/// Decode the events of a capture, each with its answer.
///
/// Parameters
/// ----------
/// data : bytes-like
///     A ``.pcap`` or ``.pcapng`` file. ``bytes`` are read where they are; all else is copied first,
///     since it may change. Read a file rather than map it: a mapped file that another process cuts
///     short during the copy ends this process (SIGBUS).
/// on_invalid : {"skip", "raise"}, optional
///     Read what can be read and list the rest in ``faults``, or raise if there is such a rest.
/// event_information, event_reply : {"binary", "structured"} or Arrow schema, optional
///     How data sets are given back, as for :func:`decode_events`. Each is read in the transfer
///     syntax of its association, if that is Implicit or Explicit VR Little Endian; one that can't
///     be read is null, and in ``faults``.
///
/// Returns
/// -------
/// CapturedEvents
///     The events as Arrow columns, and as pairs of request and response.
///
/// Raises
/// ------
/// DecodeError
///     If it is no capture; or, with ``on_invalid="raise"``, the first of what could not be read,
///     and all else as ``events``.
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
    let events = CapturedEvents {
        events,
        omitted,
        messages: capture.messages,
        rows: capture.rows,
        faults: capture.faults.into(),
        skipped: capture.skipped,
        packets: capture.packets,
        streams: capture.streams,
        associations: capture.associations,
    };
    match first {
        None => Ok(events),
        Some(broken) => Err(Error::Capture(broken).with_events(py, events)?),
    }
}

/// The events of a capture: an Arrow stream of columns, and a sequence of pairs of
/// :class:`N_EVENT_REPORT`, request and response.
///
/// ``pyarrow.table(captured)`` and ``polars.DataFrame(captured)`` take the columns: a row for each
/// event, in the order of time. In a pair the response is ``None`` where none was captured, and
/// the request is ``None`` where only the response was.
///
/// Attributes
/// ----------
/// faults : Faults
///     What could not be read, and where.
/// skipped : dict of str to int
///     Other PDUs and other DIMSE messages by name, and how many of each there were.
/// omitted : dict of str to int
///     How many elements of data sets a given schema left out, by their paths.
/// packets, streams, associations : int
///     How many packets and TCP streams there were, and how many of the streams were associations.
#[pyclass(frozen, sequence, module = "fastdimse")]
pub struct CapturedEvents {
    events: RecordBatch,
    messages: RecordBatch,
    rows: Vec<(Option<usize>, Option<usize>)>,
    #[pyo3(get)]
    faults: Faults,
    #[pyo3(get)]
    skipped: BTreeMap<&'static str, u64>,
    #[pyo3(get)]
    omitted: BTreeMap<String, u64>,
    #[pyo3(get)]
    packets: u64,
    #[pyo3(get)]
    streams: u64,
    #[pyo3(get)]
    associations: u64,
}

type Pair<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

#[pymethods]
impl CapturedEvents {
    fn __len__(&self) -> usize {
        self.rows.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'_, PyAny>) -> PyResult<Pair<'py>> {
        let (request, response) = self.rows[from_end(index, self.rows.len())?];
        let message =
            |row: Option<usize>| row.map(|row| primitive(py, &self.messages, row)).transpose();
        Ok((message(request)?, message(response)?))
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
            plural(self.rows.len() as u64, "event"),
            plural(self.associations, "association"),
            plural(self.faults.count() as u64, "fault"),
        )
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, self.events.schema().as_ref())
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batch(py, self.events.clone(), requested_schema)
    }
}
