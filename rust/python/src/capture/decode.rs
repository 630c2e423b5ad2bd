//! Captures: files of packets in, events and their answers out; and back.

use std::collections::BTreeMap;
use std::iter::repeat_n;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_buffer::Buffer;
use arrow_cast::parse::string_to_timestamp_nanos;
use arrow_schema::SchemaRef;
use fastdimse_capture::columns::{CaptureColumn, check_names};
use fastdimse_capture::fault;
use fastdimse_capture::read::decode_structured;
use fastdimse_capture::read::read;
use fastdimse_capture::write::Endpoint;
use fastdimse_capture::write::file::Format;
use fastdimse_capture::write::{self, Options, WriteError};
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::data_set::error::{DataSetError, DataSetReason};
use fastdimse_core::event_columns::is_structured;
use fastdimse_core::field::Field;
use fastdimse_core::options::OnInvalid;
use fastdimse_core::rejection::{Reason, Rejection};
use fastdimse_core::standard::transfer_syntax::{TransferSyntaxColumn, TransferSyntaxError};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyInt, PyString};

use crate::buffer::{bytes_like, lend};
use crate::bulk::decode::primitive;
use crate::bulk::encode::{all_batches, on_invalid};
use crate::capture::faults::Faults;
use crate::errors::{capture_error, encode_error, table_error};
use crate::input::data_sets::encode::{encode_structured, structured_fields};
use crate::input::events::{Batch, Columns, Events, MappedColumn, arrow_array, export_batch};
use crate::input::transfer_syntaxes::{self, transfer_syntax};
use crate::interrupts::interruptible;
use crate::output::rejections::Rejections;
use crate::output::sequence::{SequenceIterator, from_end};

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
    let fields = structured_fields(py, event_information, event_reply)?;
    let file = bytes_like(data)?;
    let mut capture = py
        .detach(|| read(&file))
        .map_err(|fault| capture_error(py, &fault::Fault::file(fault, None)))?;
    let (events, omitted) = py.detach(|| decode_structured(&mut capture, &fields));
    let first = capture.faults.first().cloned().filter(|_| on_invalid == OnInvalid::Raise);
    let events = CapturedEvents {
        events,
        omitted,
        messages: capture.messages,
        rows: capture.rows,
        faults: Faults::new(capture.faults),
        skipped: capture.skipped,
        packets: capture.packets,
        streams: capture.streams,
        associations: capture.associations,
    };
    match first {
        None => Ok(events),
        Some(found) => {
            let error = capture_error(py, &found);
            error.value(py).setattr(intern!(py, "events"), Py::new(py, events)?)?;
            Err(error)
        }
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
        Ok(pyo3_arrow::ffi::to_schema_pycapsule(py, self.events.schema().as_ref())?)
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

/// Encode events, and their answers, as a capture that Wireshark opens.
///
/// Each association is there from its first packet to its last: TCP and DICOM handshakes, the
/// messages, the release. Its presentation contexts are those of the SOP classes that occur, and
/// roles are negotiated so that who sends events is the SCP.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
///     As for :func:`encode_events`. In addition a row with *MessageID* and *Status* is a request
///     and its response, and these columns tell where a row was seen: *Time*, *Latency*,
///     *SourceAddress*, *SourcePort*, *DestinationAddress*, *DestinationPort*, *CallingAETitle*,
///     *CalledAETitle*, *Association*, *TransferSyntaxUID*. All of them may be null or left out.
/// format : {"pcap", "pcapng"}, optional
///     The format of the file.
/// calling_ae, called_ae : str, optional
///     The AE titles, of rows that have none of their own.
/// source, destination : str or tuple of str and int, optional
///     The addresses, of rows that have none of their own: IPv4 or IPv6, with or without a port. A
///     response that stands alone goes the other way.
/// transfer_syntax : str, optional
///     What event information and replies are encoded in, where a row does not say so. Structured
///     ones are written in Implicit or Explicit VR Little Endian.
/// max_pdu_length : int, optional
///     The maximum PDU length of both ends (PS3.8 D.1): 0 for no limit, or 7 and more.
/// on_invalid : {"raise", "skip"}, optional
///     Raise at the first bad row, or leave bad rows out and list them in ``rejected``.
/// enforce_uid_conformance : bool, optional
///     Whether UIDs must be conformant to PS3.5 9.1; ``False`` takes any 1 to 64 visible ASCII
///     characters.
///
/// Returns
/// -------
/// EncodedCapture
///     The file, with the buffer protocol.
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
/// >>> from fastdimse import encode_capture
/// >>> capture = encode_capture({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2],
/// ...     "Status": 0x0000,
/// ... })
/// >>> capture
/// <EncodedCapture: 14 packets, 1 association, 0 rejected>
#[pyfunction]
#[pyo3(signature = (
    events, *, format = "pcap", calling_ae = "EVENT-SCP", called_ae = "EVENT-SCU",
    source = None, destination = None, transfer_syntax = "1.2.840.10008.1.2",
    max_pdu_length = 16382, on_invalid = "raise", enforce_uid_conformance = true,
))]
#[allow(clippy::too_many_arguments)]
pub fn encode_capture(
    py: Python<'_>,
    events: &Bound<'_, PyAny>,
    format: &str,
    calling_ae: &str,
    called_ae: &str,
    source: Option<Bound<'_, PyAny>>,
    destination: Option<Bound<'_, PyAny>>,
    transfer_syntax: &str,
    max_pdu_length: i64,
    on_invalid: &str,
    enforce_uid_conformance: bool,
) -> PyResult<EncodedCapture> {
    let options = Options {
        calling: calling_ae.to_owned(),
        called: called_ae.to_owned(),
        source: end("source", source, SOURCE)?,
        destination: end("destination", destination, DESTINATION)?,
        transfer_syntax: transfer_syntax.to_owned(),
        max_pdu_length: max_pdu_length.into(),
        format: self::format(format)?,
        on_invalid: self::on_invalid(on_invalid)?,
        conformant_uids: enforce_uid_conformance,
    };
    let mut batches = all_batches(py, Events::with_columns(events, &OfCaptures)?)?;
    if batches.iter().any(|(batch, _)| is_structured(&batch.schema())) {
        batches = encode_in_their_syntaxes(py, batches, transfer_syntax, enforce_uid_conformance)?;
    }
    let (batches, broken): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
    let broken = broken.into_iter().flatten().collect();
    let written =
        py.detach(|| write::write(&batches, &options, broken)).map_err(
            |refused| match refused {
                WriteError::Table(error) => table_error(py, &error),
                WriteError::Rejected(rejection) => encode_error(py, &rejection),
            },
        )?;
    Ok(EncodedCapture {
        bytes: Buffer::from_vec(written.bytes),
        rejected: Rejections::new(written.rejected),
        packets: written.packets,
        associations: written.associations,
    })
}

/// The batches with their structured data sets encoded, each row's in its own transfer syntax, or
/// in the `default` one. Each run of rows in the same one becomes a batch.
fn encode_in_their_syntaxes(
    py: Python<'_>,
    batches: Vec<Batch>,
    default: &str,
    conformant_uids: bool,
) -> PyResult<Vec<Batch>> {
    let default = transfer_syntax(default)?;
    let mut encoded = Vec::new();
    let mut done = 0;
    for (batch, broken) in batches {
        let syntaxes = match batch.column_by_name(CaptureColumn::TransferSyntaxUID.name()) {
            Some(uids) => transfer_syntaxes::of_array(uids, default)?,
            None => TransferSyntaxColumn::from_uids(repeat_n(None, batch.num_rows()), default),
        };
        let first_run = encoded.len();
        for (rows, syntax) in syntaxes.runs() {
            let data_sets = DataSetOptions { syntax: syntax.unwrap_or(default), conformant_uids };
            let part = vec![(batch.slice(rows.start, rows.len()), Vec::new())];
            for part in encode_structured(py, part, data_sets, done + rows.start as u64, 1) {
                encoded.push(part?);
            }
        }
        // What is wrong with rows goes by their numbers, not by the batch that it stands beside.
        if let Some((_, found)) = encoded.get_mut(first_run) {
            found.extend(broken.into_iter().chain(unwritten(&batch, syntaxes.unknown(), done)));
            found.sort_by_key(|rejection| rejection.row);
        }
        done += batch.num_rows() as u64;
    }
    Ok(encoded)
}

/// What is wrong with structured data sets whose transfer syntax is `unknown`.
fn unwritten(
    batch: &RecordBatch,
    unknown: &[(usize, TransferSyntaxError)],
    first_row: u64,
) -> Vec<Rejection> {
    let of_row = |(row, error): &(usize, TransferSyntaxError)| {
        let is_structured = |field: &Field| {
            let column = batch.column_by_name(field.keyword());
            column.and_then(|column| column.as_struct_opt()).is_some_and(|one| one.is_valid(*row))
        };
        let field = Field::DATA_SETS.into_iter().find(is_structured)?;
        let error = DataSetError::new(DataSetReason::TransferSyntax(error.clone()));
        Some(Rejection::new(Reason::DataSet(error)).field(field).row(first_row + *row as u64))
    };
    unknown.iter().filter_map(of_row).collect()
}

fn format(name: &str) -> PyResult<Format> {
    match name {
        "pcap" => Ok(Format::Pcap),
        "pcapng" => Ok(Format::PcapNg),
        _ => Err(PyValueError::new_err(format!("format must be 'pcap' or 'pcapng', not '{name}'"))),
    }
}

/// Addresses that are nobody's (RFC 5737), and DICOM's port.
const SOURCE: Endpoint = Endpoint { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port: None };
const DESTINATION: Endpoint =
    Endpoint { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), port: Some(104) };

/// An address, or an address and a port.
fn end(name: &str, given: Option<Bound<'_, PyAny>>, default: Endpoint) -> PyResult<Endpoint> {
    let Some(given) = given else { return Ok(default) };
    let (address, port) = match given.extract::<(Bound<'_, PyAny>, u16)>() {
        Ok((address, port)) => (address, Some(port)),
        Err(_) => (given.clone(), default.port),
    };
    match address.str()?.to_str()?.parse() {
        Ok(address) => Ok(Endpoint { address, port }),
        Err(_) => Err(PyValueError::new_err(format!(
            "{name} must be an IP address, or a tuple of one and a port, not {}",
            given.repr()?
        ))),
    }
}

/// The columns of captures.
struct OfCaptures;

impl Columns for OfCaptures {
    fn check_names(&self, py: Python<'_>, schema: &SchemaRef) -> PyResult<()> {
        check_names(schema).map_err(|error| table_error(py, &error))
    }

    fn column(&self, name: &str, values: &Bound<'_, PyAny>) -> PyResult<Option<MappedColumn>> {
        CaptureColumn::from_name(name).map(|column| from_values(column, values)).transpose()
    }
}

fn from_values(column: CaptureColumn, values: &Bound<'_, PyAny>) -> PyResult<MappedColumn> {
    if let Some(array) = arrow_array(values, column.name())? {
        return Ok(MappedColumn::Array(array));
    }
    let py = values.py();
    if values.is_none()
        || values.is_instance_of::<PyString>()
        || values.is_instance_of::<PyInt>()
        || of_datetime(values, "datetime")?
        || of_datetime(values, "timedelta")?
    {
        return from_iterator(column, [Ok(values.clone())].into_iter()).map(MappedColumn::Repeated);
    }
    let unit = match column {
        CaptureColumn::Time => Some("datetime64[ns]"),
        CaptureColumn::Latency => Some("timedelta64[ns]"),
        _ => None,
    };
    let values = match unit {
        // As a list, numpy's times of nanoseconds are numbers.
        Some(unit) if values.hasattr(intern!(py, "dtype"))? => &values
            .call_method1(intern!(py, "astype"), (unit,))?
            .call_method0(intern!(py, "tolist"))?,
        _ => values,
    };
    from_iterator(column, interruptible(py, values.try_iter()?)).map(MappedColumn::Array)
}

fn from_iterator<'py>(
    column: CaptureColumn,
    values: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
) -> PyResult<ArrayRef> {
    use CaptureColumn::*;
    match column {
        SourceAddress | DestinationAddress | CallingAETitle | CalledAETitle | TransferSyntaxUID => {
            let texts = values.enumerate().map(|(row, value)| text(column, row, &value?));
            Ok(Arc::new(texts.collect::<PyResult<StringArray>>()?))
        }
        _ => {
            let numbers = values.enumerate().map(|(row, value)| number(column, row, &value?));
            Ok(Arc::new(numbers.collect::<PyResult<Int64Array>>()?))
        }
    }
}

fn text(column: CaptureColumn, row: usize, value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    match value.extract() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(wrong_value(column, row, value, "a str or None")),
    }
}

fn number(column: CaptureColumn, row: usize, value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if value.is_none() {
        return Ok(None);
    }
    let accepted = match column {
        CaptureColumn::Time if of_datetime(value, "datetime")? => {
            return nanoseconds_of_time(value);
        }
        CaptureColumn::Time if value.is_instance_of::<PyString>() => {
            return string_to_timestamp_nanos(value.extract()?).map(Some).map_err(|why| {
                let reason = format!("a time as ISO 8601 has it: {why}");
                wrong_value(column, row, value, &reason)
            });
        }
        CaptureColumn::Latency if of_datetime(value, "timedelta")? => {
            return nanoseconds(value).map(Some);
        }
        CaptureColumn::Time => {
            "a datetime, a str of ISO 8601, an int of nanoseconds since 1970, or None"
        }
        CaptureColumn::Latency => "a timedelta, an int of nanoseconds, or None",
        _ => "an int or None",
    };
    match value.extract() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(wrong_value(column, row, value, accepted)),
    }
}

fn wrong_value(
    column: CaptureColumn,
    row: usize,
    value: &Bound<'_, PyAny>,
    accepted: &str,
) -> PyErr {
    let found = value.repr().map_or_else(|_| "something".to_owned(), |repr| repr.to_string());
    PyTypeError::new_err(format!(
        "row {row} of the column '{}' is {found}, it must be {accepted}",
        column.name()
    ))
}

fn of_datetime(value: &Bound<'_, PyAny>, class: &str) -> PyResult<bool> {
    value.is_instance(&value.py().import("datetime")?.getattr(class)?)
}

/// A time; one without a time zone is UTC.
fn nanoseconds_of_time(time: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    let py = time.py();
    let datetime = py.import("datetime")?;
    let utc = datetime.getattr("timezone")?.getattr("utc")?;
    let zone = pyo3::types::PyDict::new(py);
    zone.set_item("tzinfo", &utc)?;
    let time = match time.call_method0("utcoffset")?.is_none() {
        true => time.call_method("replace", (), Some(&zone))?,
        false => time.clone(),
    };
    let epoch = datetime.getattr("datetime")?.call((1970, 1, 1), Some(&zone))?;
    nanoseconds(&time.sub(epoch)?).map(Some)
}

fn nanoseconds(span: &Bound<'_, PyAny>) -> PyResult<i64> {
    let part = |name: &str| span.getattr(name)?.extract::<i128>();
    let seconds = part("days")? * 86_400 + part("seconds")?;
    let nanoseconds = (seconds * 1_000_000 + part("microseconds")?) * 1_000;
    i64::try_from(nanoseconds)
        .map_err(|_| PyValueError::new_err(format!("{span} is outside the years 1677 to 2262")))
}

/// A capture: the buffer protocol over a ``.pcap`` or ``.pcapng`` file.
///
/// ``file.write(capture)`` and ``memoryview(capture)`` take it without a copy.
///
/// Attributes
/// ----------
/// nbytes : int
///     The length of the file.
/// packets, associations : int
///     How many packets and associations it has.
/// rejected : Rejections
///     The rows that were left out.
#[pyclass(frozen, module = "fastdimse")]
pub struct EncodedCapture {
    bytes: Buffer,
    #[pyo3(get)]
    rejected: Rejections,
    #[pyo3(get)]
    packets: u64,
    #[pyo3(get)]
    associations: u64,
}

#[pymethods]
impl EncodedCapture {
    fn __repr__(&self) -> String {
        let Self { packets, associations, rejected, .. } = self;
        let plural = if *associations == 1 { "" } else { "s" };
        let rejected = rejected.count();
        format!(
            "<EncodedCapture: {packets} packets, {associations} association{plural}, {rejected} \
             rejected>"
        )
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.bytes.len()
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
