//! Bulk encoding: rows in, a stream out.

use fastdimse_core::encode::{self};
use fastdimse_core::options::Framing;
use pyo3::prelude::*;

use crate::bulk::columns::to_columns;
use crate::errors::Error;
use crate::input::data_sets::encode::{cut, encode_structured};
use crate::input::events::{Events, all_batches};
use crate::input::options::{data_set_options, options, thread_count};
use crate::output::encoded_events::EncodedEvents;

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
        options(context_id, max_pdu_length, framing, on_invalid, enforce_uid_conformance)?;
    let data_sets = data_set_options(transfer_syntax, enforce_uid_conformance)?;
    let threads = thread_count(threads)?;
    let mut batches = cut(all_batches(py, Events::of(events)?)?);
    if threads > 1 || options.framing == Framing::CommandSet {
        // Threads have to know the lengths of all data sets, and some are only checked.
        let encoded = encode_structured(py, batches, data_sets, 0, threads);
        batches = encoded.into_iter().collect::<PyResult<_>>()?;
    }
    let (columns, broken) = to_columns(batches, data_sets)?;
    let encoded = py.detach(|| encode::encode_in_threads(&columns, &options, 0, broken, threads));
    Ok(encoded.map_err(Error::Encode)?.into())
}
