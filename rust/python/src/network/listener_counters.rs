//! The counters of a listener as a Python object.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use fastdimse_delivery::receive::records::Counters;
use pyo3::prelude::*;

/// The counters of a :class:`Listener` at one moment, from its start.
///
/// Attributes
/// ----------
/// accepted : int
///     Accepted associations.
/// rejected : dict of str to int
///     Rejected associations by reason: ``"called-ae"``, ``"calling-ae"``, ``"user"``, ``"limit"``
///     (*max_connections*), ``"application-context"``.
/// failed : dict of str to int
///     Connections that ended without an association request, by the code of the failure, as in
///     :attr:`AssociationError.code`.
/// ended : dict of str to int
///     Ended associations by reason: ``"released"`` or ``"aborted"`` by the peer, ``"lost"`` (the
///     connection was closed or failed), ``"timeout"``, ``"fault"`` (the peer violated the standard or
///     a limit), ``"stopped"`` (the listener was closed).
/// statuses : dict of int to int
///     Received events by the Status of their response.
/// ignored : int
///     Ignored messages.
/// bytes : int
///     Bytes of received P-DATA-TF PDUs.
/// last_event_time : float or None
///     The time of the last event, in seconds since 1970.
/// omitted_records : int
///     Log records that were omitted because there were too many.
///
/// Examples
/// --------
/// >>> from fastdimse import connect, listen
/// >>> with listen(0, host="localhost") as listener:
/// ...     connect("localhost", listener.port).release()
/// ...     counters = listener.counters
/// >>> counters.accepted
/// 1
#[pyclass(frozen, get_all, module = "fastdimse")]
pub struct ListenerCounters {
    accepted: u64,
    rejected: BTreeMap<&'static str, u64>,
    failed: BTreeMap<&'static str, u64>,
    ended: BTreeMap<&'static str, u64>,
    statuses: BTreeMap<u16, u64>,
    ignored: u64,
    bytes: u64,
    last_event_time: Option<f64>,
    omitted_records: u64,
}

impl From<Counters> for ListenerCounters {
    fn from(counters: Counters) -> Self {
        let since_1970 = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).ok();
        Self {
            accepted: counters.accepted,
            rejected: counters.rejected,
            failed: counters.failed,
            ended: counters.ended.into_iter().map(|(end, count)| (end.code(), count)).collect(),
            statuses: counters.statuses,
            ignored: counters.ignored,
            bytes: counters.bytes,
            last_event_time: counters
                .last_event
                .and_then(since_1970)
                .map(|time| time.as_secs_f64()),
            omitted_records: counters.omitted,
        }
    }
}
