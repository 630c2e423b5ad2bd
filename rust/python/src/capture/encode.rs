//! Events, and their responses, written as a capture.

use std::iter::repeat_n;
use std::net::{IpAddr, Ipv4Addr};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use fastdimse_capture::columns::CaptureColumn;
use fastdimse_capture::write::Endpoint;
use fastdimse_capture::write::file::Format;
use fastdimse_capture::write::{self, Options, WriteError};
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::data_set::error::{DataSetError, DataSetReason};
use fastdimse_core::event_columns::is_structured;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::{Reason, Rejection};
use fastdimse_core::standard::transfer_syntax::{TransferSyntaxColumn, TransferSyntaxError};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::capture::columns::captured;
use crate::errors::Error;
use crate::input::columns::Batch;
use crate::input::data_sets::encode::encode_data_sets;
use crate::input::events::{Events, all_batches};
use crate::input::options::{on_invalid, other_columns};
use crate::input::transfer_syntaxes::{self, transfer_syntax};
use crate::output::encoded_capture::EncodedCapture;

/// Encode events, and their responses, as a capture for Wireshark and other analysers.
///
/// Each association is complete: the TCP handshake, the negotiation of the association, the messages
/// and the release. It has a presentation context for each SOP class that occurs, with roles such
/// that the sender of events is the SCP.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
///     As for :func:`encode_events`. A row with *MessageID* and *Status* is a request and its
///     response. Further columns, which may be null or absent, describe where a row was seen: *Time*,
///     *Latency*, *SourceAddress*, *SourcePort*, *DestinationAddress*, *DestinationPort*,
///     *CallingAETitle*, *CalledAETitle*, *Association*, *TransferSyntaxUID*.
/// format : {"pcap", "pcapng"}, default "pcap"
///     The format of the file.
/// calling_ae, called_ae : str, default "EVENT-SCP" and "EVENT-SCU"
///     The AE titles of rows that have none.
/// source, destination : str or tuple of (str, int), optional
///     The IPv4 or IPv6 addresses, with or without a port, of rows that have none. The default is
///     192.0.2.1, and port 104 of 192.0.2.2. A response without a request is sent from the
///     destination to the source.
/// transfer_syntax : str, default "1.2.840.10008.1.2"
///     The UID of the transfer syntax of the data sets of rows that have none. Structured data sets
///     can be encoded in Implicit and Explicit VR Little Endian.
/// max_pdu_length : int, default 16382
///     The maximum PDU length of both AEs in bytes (PS3.8 D.1): 0 (no limit) or at least 7.
/// on_invalid : {"raise", "skip"}, default "raise"
///     ``"raise"`` raises an exception for the first rejected row. ``"skip"`` omits rejected rows and
///     lists them in ``rejected``.
/// enforce_uid_conformance : bool, default True
///     Whether UIDs must be conformant (PS3.5 9.1). If ``False``, 1 to 64 visible ASCII characters
///     other than the backslash are accepted.
/// other_columns : {"raise", "ignore"}, default "raise"
///     As for :func:`encode_events`.
///
/// Returns
/// -------
/// EncodedCapture
///     The file, with the buffer protocol.
///
/// Raises
/// ------
/// EncodeError
///     If a row is rejected and *on_invalid* is ``"raise"``: the row, its field and the violated
///     rule.
/// ColumnError
///     If a column is missing or unknown.
/// TypeError
///     If *events*, a column or a value has an unsupported type.
/// ValueError
///     If an option has an unsupported value.
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
    other_columns = "raise",
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
    other_columns: &str,
) -> PyResult<EncodedCapture> {
    let options = Options {
        calling: calling_ae.to_owned(),
        called: called_ae.to_owned(),
        source: endpoint("source", source, SOURCE)?,
        destination: endpoint("destination", destination, DESTINATION)?,
        transfer_syntax: transfer_syntax.to_owned(),
        max_pdu_length: max_pdu_length.into(),
        format: self::format(format)?,
        on_invalid: self::on_invalid(on_invalid)?,
        conformant_uids: enforce_uid_conformance,
    };
    let mut batches =
        all_batches(py, Events::new(events, captured(self::other_columns(other_columns)?), 0)?, 0)?;
    if batches.iter().any(|(batch, _)| is_structured(&batch.schema())) {
        batches = encode_by_transfer_syntax(py, batches, transfer_syntax, enforce_uid_conformance)?;
    }
    let (batches, rejected): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
    let rejected = rejected.into_iter().flatten().collect();
    let written =
        py.detach(|| write::write(&batches, &options, rejected)).map_err(|error| match error {
            WriteError::Table(error) => Error::Table(error),
            WriteError::Rejected(rejection) => Error::Encode(rejection),
        })?;
    Ok(written.into())
}

/// The batches with their structured data sets encoded, those of each row in its transfer syntax or in the
/// `default` one. Each run of rows with the same transfer syntax becomes a batch.
fn encode_by_transfer_syntax(
    py: Python<'_>,
    batches: Vec<Batch>,
    default: &str,
    conformant_uids: bool,
) -> PyResult<Vec<Batch>> {
    let default = transfer_syntax(default)?;
    let mut encoded = Vec::new();
    let mut done = 0;
    for (batch, rejected) in batches {
        let syntaxes = match batch.column_by_name(CaptureColumn::TransferSyntaxUID.name()) {
            Some(uids) => transfer_syntaxes::from_array(uids, default)?,
            None => TransferSyntaxColumn::from_uids(repeat_n(None, batch.num_rows()), default),
        };
        let first_run = encoded.len();
        for (rows, syntax) in syntaxes.runs() {
            let data_sets = DataSetOptions { syntax: syntax.unwrap_or(default), conformant_uids };
            let part = vec![(batch.slice(rows.start, rows.len()), Vec::new())];
            for part in encode_data_sets(py, part, data_sets, done + rows.start as u64, 1) {
                encoded.push(part?);
            }
        }
        // Rejections have row numbers, so any part can keep them.
        if let Some((_, found)) = encoded.get_mut(first_run) {
            found.extend(rejected.into_iter().chain(unknown_syntaxes(
                &batch,
                syntaxes.unknown(),
                done,
            )));
            found.sort_by_key(|rejection| rejection.row);
        }
        done += batch.num_rows() as u64;
    }
    Ok(encoded)
}

/// The rejections of structured data sets whose transfer syntax is `unknown`.
fn unknown_syntaxes(
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

pub fn format(name: &str) -> PyResult<Format> {
    match name {
        "pcap" => Ok(Format::Pcap),
        "pcapng" => Ok(Format::PcapNg),
        _ => Err(PyValueError::new_err(format!("format must be 'pcap' or 'pcapng', not '{name}'"))),
    }
}

/// Addresses for documentation (RFC 5737), and the port of DICOM.
const SOURCE: Endpoint = Endpoint { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port: None };
const DESTINATION: Endpoint =
    Endpoint { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), port: Some(104) };

/// An address, or an address and a port.
fn endpoint(name: &str, given: Option<Bound<'_, PyAny>>, default: Endpoint) -> PyResult<Endpoint> {
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
