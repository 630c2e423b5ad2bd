//! Bulk encoding: rows in, a stream out.

use fastdimse_core::encode::{self};
use fastdimse_core::options::Framing;
use pyo3::prelude::*;

use crate::bulk::columns::to_columns;
use crate::errors::Error;
use crate::input::data_sets::encode::{encode_data_sets, split_batches};
use crate::input::event_columns::encoded;
use crate::input::events::{Events, all_batches};
use crate::input::options::{data_set_options, first_row, options, other_columns, thread_count};
use crate::output::encoded_events::EncodedEvents;

/// Encode events into one stream of messages.
///
/// Each row is checked before it is encoded.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
///     The events, one row each. Also an iterable of tables, a Dataset or a Scanner of pyarrow, and a
///     LazyFrame of polars. Columns are named by keyword: *MessageID*,
///     *MessageIDBeingRespondedTo*, *AffectedSOPClassUID*, *AffectedSOPInstanceUID*, *EventTypeID*,
///     *EventInformation*, *EventReply*, *Status*, *ErrorComment*, *ErrorID*,
///     *PresentationContextID*. A row with *MessageIDBeingRespondedTo* is a response, any other row
///     a request (PS3.7 10.1.1). Without a column *MessageID*, rows are numbered from 1 to 65535 and
///     then from 1 again. In a mapping of columns, a single ``str``, ``bytes`` or ``int`` is the
///     value of every row. *EventInformation* and *EventReply* are encoded data sets, or structs
///     whose fields are attributes by keyword.
/// context_id : int, default 1
///     The presentation context ID of rows without *PresentationContextID*: an odd number from 1 to
///     255.
/// max_pdu_length : int, default 16382
///     The maximum PDU length of the peer in bytes (PS3.8 D.1): 0 (no limit) or at least 7. Of an odd
///     length the last byte is not used, since fragments have an even length (PS3.8 E.1).
/// framing : {"p-data", "command-set"}, default "p-data"
///     ``"p-data"`` writes P-DATA-TF PDUs (PS3.8 9.3.5). ``"command-set"`` writes command sets only,
///     without PDUs and data sets.
/// on_invalid : {"raise", "skip"}, default "raise"
///     ``"raise"`` raises an exception for the first rejected row. ``"skip"`` omits rejected rows and
///     lists them in ``rejected``.
/// enforce_uid_conformance : bool, default True
///     Whether UIDs must be conformant (PS3.5 9.1). If ``False``, 1 to 64 visible ASCII characters
///     other than the backslash are accepted.
/// transfer_syntax : str, default "1.2.840.10008.1.2"
///     The UID of the transfer syntax in which structured data sets are encoded: Implicit or
///     Explicit VR Little Endian.
/// other_columns : {"raise", "ignore"}, default "raise"
///     ``"raise"`` raises an exception if a table has an unknown column. ``"ignore"`` ignores unknown
///     columns, for example keys and partitions. The columns that fastdimse adds to events in its own
///     results and files (*Time*, *Latency*, *SourceAddress*, *CallingAETitle* and others) are known,
///     and are always ignored. In a table with the column *Latency*, which :func:`decode_capture`
///     returns, the row of a request also has the response; only the request is encoded.
/// first_row : int, default 0
///     The number of the first row, for a table that is a part of a larger one. Without a column
///     *MessageID*, the Message ID of row *i* of *events* is ``(first_row + i) % 65535 + 1``; a
///     rejected row uses its number up. The rows of rejections and errors are numbered from it.
/// threads : int, default 1
///     The maximum number of threads that encode, including the calling one. The result does not
///     depend on it. A second thread pays off from a few megabytes of output.
///
/// Returns
/// -------
/// EncodedEvents
///     The stream of messages, with the buffer protocol.
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
/// See Also
/// --------
/// encode_batches : Encode a stream of events in bounded memory.
/// validate_events : Check events without encoding them.
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
///
/// Two parts of a table, encoded as the whole is:
///
/// >>> events = {
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ... }
/// >>> parts = [
/// ...     encode_events({**events, "EventTypeID": [1, 2]}),
/// ...     encode_events({**events, "EventTypeID": [1]}, first_row=2),
/// ... ]
/// >>> b"".join(parts) == bytes(encoded)
/// True
///
/// A table with more columns:
///
/// >>> len(encode_events({
/// ...     "Site": ["north", "south"],
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2],
/// ... }, other_columns="ignore"))
/// 2
#[pyfunction]
#[pyo3(signature = (
    events, *, context_id = 1, max_pdu_length = 16382, framing = "p-data",
    on_invalid = "raise", enforce_uid_conformance = true, transfer_syntax = "1.2.840.10008.1.2",
    other_columns = "raise", first_row = 0, threads = 1,
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
    other_columns: &str,
    first_row: i64,
    threads: i64,
) -> PyResult<EncodedEvents> {
    let options =
        options(context_id, max_pdu_length, framing, on_invalid, enforce_uid_conformance)?;
    let data_sets = data_set_options(transfer_syntax, enforce_uid_conformance)?;
    let accepted = encoded(self::other_columns(other_columns)?);
    let first_row = self::first_row(first_row)?;
    let threads = thread_count(threads)?;
    let mut batches =
        split_batches(all_batches(py, Events::new(events, accepted, first_row)?, first_row)?);
    if threads > 1 || options.framing == Framing::CommandSet {
        // Threads need the lengths of all data sets, and bare command sets omit them after the check.
        batches = encode_data_sets(py, batches, data_sets, first_row, threads)
            .into_iter()
            .collect::<PyResult<_>>()?;
    }
    let (columns, rejected) = to_columns(batches, data_sets)?;
    let encoded =
        py.detach(|| encode::encode_in_threads(&columns, &options, first_row, rejected, threads));
    Ok(encoded.map_err(Error::Encode)?.into())
}
