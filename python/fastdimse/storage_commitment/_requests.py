"""Requests for storage commitment, and their reports: the part of the SCU."""

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeAlias

from fastdimse._core import Association, AssociationError, Peer, describe_status, status_category
from fastdimse._sqlite import checksum

from ._database import Database, Schema
from ._failure_reasons import describe_failure_reason
from ._information import information_of
from ._references import SOP_CLASS, SOP_INSTANCE, Reference, References, read_references
from ._standard import (
    EVENT_TYPES,
    REQUEST_ACTION,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STATUS_INVALID_ARGUMENT,
    STATUS_NO_SUCH_CLASS,
    STATUS_NO_SUCH_EVENT_TYPE,
    SUCCESS,
)

State: TypeAlias = Literal["committed", "failed", "open", "late"]

# instances: JSON, a list of [SOP Class UID, SOP Instance UID, file].
# results: JSON, a list with the result of each instance: 0 is committed, null is not in the report,
#   and other numbers are Failure Reasons.
# checksum, results_checksum: an instance must not be committed because the file was damaged.
_SCHEMA = Schema(
    0x66647363,  # "fdsc"
    1,
    """
CREATE TABLE transactions (
    id INTEGER PRIMARY KEY, transaction_uid TEXT NOT NULL UNIQUE, called_ae TEXT,
    instances TEXT NOT NULL, checksum INTEGER NOT NULL,
    requested INTEGER NOT NULL, time_limit INTEGER,
    status INTEGER, failure TEXT, reason TEXT, is_sent INTEGER,
    reported INTEGER, reported_by TEXT, reports INTEGER NOT NULL DEFAULT 0,
    results TEXT, results_checksum INTEGER
);
CREATE INDEX open_transactions ON transactions (id) WHERE reported IS NULL;
CREATE TABLE other_reports (
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL, transaction_uid TEXT, calling_ae TEXT,
    address TEXT, reason TEXT NOT NULL, event_type INTEGER, transfer_syntax TEXT, information BLOB
)
""",
)
_COLUMNS = (
    "transaction_uid, called_ae, instances, checksum, requested, time_limit, status, failure, "
    "reason, is_sent, reported, reported_by, reports, results, results_checksum"
)
log = logging.getLogger("fastdimse.storage_commitment")

_UNKNOWN = "unknown Transaction UID"
# Other reports, and their bytes, above which refused reports are not kept.
_MAX_REFUSED = 10_000
_MAX_REFUSED_BYTES = 64 << 20
# Transactions to send in one call: their Statuses are written after it.
_REQUESTS_AT_ONCE = 256
# Failure of requests after the end of their association.
_NOT_SENT = "not-sent"
# Seconds between two reads of what other processes wrote.
_POLL_INTERVAL = 0.2
_NANOSECONDS = 1_000_000_000


class _Transaction(NamedTuple):
    """A row of the table of transactions."""

    transaction_uid: str
    called_ae: str | None
    instances: str
    checksum: int
    requested: int
    time_limit: int | None
    status: int | None
    failure: str | None
    reason: str | None
    is_sent: int | None
    reported: int | None
    reported_by: str | None
    reports: int
    results: str | None
    results_checksum: int | None

    @property
    def is_refused(self) -> bool:
        """Whether the peer refused the request, or did not receive it."""
        return _is_refused(self.status, self.is_sent)

    @property
    def why(self) -> str | None:
        """Why the transaction has no result."""
        if self.status is not None:
            if not self.is_refused:
                return None
            return f"the request got the Status {describe_status(self.status)}"
        return self.reason

    def state(self, now: int) -> str:
        """Return the state of the transaction."""
        if self.reported is not None:
            return "reported"
        if self.is_refused:
            return "refused"
        is_late = self.time_limit is not None and now > self.time_limit
        return "late" if is_late else "open"


def _is_refused(status: int | None, is_sent: int | None) -> bool:
    if status is not None:
        return status_category(status) not in ("Success", "Warning")
    # Null: the process ended before it recorded the outcome.
    return is_sent == 0


class CommitmentRequests:
    """Requests for storage commitment in a file, joined with the reports of the SCP.

    A request is in the file before it is sent, and a report before it is confirmed to the SCP. The
    report may arrive on the association of the request, on a later one, or on one that the SCP
    opens, also in another run of the program: pass :meth:`handle` as the `event_handler` of
    :meth:`fastdimse.Peer.connect` and of :func:`fastdimse.listen`.

    Several processes can use the same file, for example one that listens for reports and others
    that request.

    Parameters
    ----------
    path : str or os.PathLike, optional
        The file, a SQLite database, which is created. By default requests are kept in memory and
        end with the process.
    unknown_transaction : int, default 0x0115
        Status of the response to a report whose Transaction UID is unknown: 0x0115 (*Invalid
        argument value*), or 0x0000 (*Success*), so that the SCP does not report it again. Such
        reports are kept, see :meth:`other_reports`.
    sync : bool, default True
        Whether requests and reports are on disk before the peer is sent something. With ``False``
        they survive the end of the process, but a power failure can lose the last ones.

    Raises
    ------
    StorageCommitmentError
        If the file cannot be opened, is damaged, or is not such a database.

    Examples
    --------
    An SCP commits one of two instances:

    >>> from fastdimse import Peer, listen
    >>> from fastdimse.storage_commitment import CommitmentRequests, provide
    >>> ct = "1.2.840.10008.5.1.4.1.1.2"
    >>> def lookup(references):
    ...     return [uid == "1.2.3.1" for uid in references["ReferencedSOPInstanceUID"]]
    >>> requests = CommitmentRequests()
    >>> with provide(0, host="localhost", lookup=lookup) as provider:
    ...     peer = Peer("localhost", provider.port, role="scu")
    ...     with peer.connect(event_handler=requests.handle) as association:
    ...         transactions = requests.request(association, [(ct, "1.2.3.1"), (ct, "1.2.3.2")])
    ...         requests.wait(transactions, association=association, timeout=10)
    True
    >>> results = requests.results()
    >>> results["State"], results["Reason"]
    (['committed', 'failed'], [None, '0x0112 No such object instance'])
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        unknown_transaction: int = STATUS_INVALID_ARGUMENT,
        sync: bool = True,
    ) -> None:
        self._database = Database(path, _SCHEMA, sync=sync)
        self._unknown_transaction = unknown_transaction
        self._reported = threading.Condition()

    def __repr__(self) -> str:
        """Return the class and the file."""
        return f"<CommitmentRequests: {self._database}>"

    def request(
        self,
        to: Peer | Association,
        instances: Any,
        *,
        max_references: int = 1000,
        time_limit: float | None = None,
        called_ae: str | None = None,
    ) -> list[str]:
        """Request the commitment of instances (PS3.4 J.3.2).

        Parameters
        ----------
        to : Peer or Association
            The SCP. With a `Peer`, an association is opened for the requests, and released when
            all have a response. With an `Association`, it remains open for reports. It must have
            been opened with the role "scu" or "both", and with ``event_handler=requests.handle``.
        instances : path, iterable, mapping of columns, Arrow table, or References
            Same as for :func:`read_references`. To learn which files cannot be read, call that
            function and pass its result.
        max_references : int, default 1000
            Maximum number of instances of a transaction. More instances are divided between
            several transactions.
        time_limit : float, optional
            Time in seconds for the report. After it, instances without one are *late* instead of
            *open*. A late report still counts.
        called_ae : str, optional
            AE title of the SCP, for the results. Default: that of the `Peer`.

        Returns
        -------
        list of str
            The Transaction UIDs.

        Raises
        ------
        AssociationError
            If no association can be opened. Nothing is stored in this case.
        RuntimeError
            If `to` is an association that is closed, or that another thread is using. The
            transactions are *refused* then, because nothing was sent.
        StorageCommitmentError
            If the requests cannot be stored. None is sent in this case.
        TypeError, ValueError
            Same as :func:`read_references`.
        """
        if max_references < 1:
            raise ValueError(f"max_references must be at least 1, not {max_references}")
        found = instances if isinstance(instances, References) else read_references(instances)
        references = iter(found.references)
        divided = iter(lambda: list(islice(references, max_references)), [])
        if isinstance(to, Peer):
            with to.connect(event_handler=self.handle) as association:
                return self._request(association, divided, time_limit, called_ae or to.called_ae)
        return self._request(to, divided, time_limit, called_ae)

    def _request(
        self,
        association: Association,
        divided: Iterator[list[Reference]],
        time_limit: float | None,
        called_ae: str | None,
    ) -> list[str]:
        now = time.time_ns()
        until = None if time_limit is None else now + int(time_limit * _NANOSECONDS)
        transactions = [(f"2.25.{uuid.uuid4().int}", part) for part in divided]
        rows = []
        for uid, references in transactions:
            encoded = json.dumps(references)
            rows.append((uid, called_ae, encoded, checksum(uid, encoded), now, until))
        self._database.write(
            lambda connection: connection.executemany(
                "INSERT INTO transactions (transaction_uid, called_ae, instances, checksum, "
                "requested, time_limit) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
        )
        for start in range(0, len(transactions), _REQUESTS_AT_ONCE):
            self._send(association, transactions[start : start + _REQUESTS_AT_ONCE])
        return [uid for uid, _ in transactions]

    def _send(
        self, association: Association, transactions: Sequence[tuple[str, list[Reference]]]
    ) -> None:
        uids = [uid for uid, _ in transactions]
        try:
            outcomes = self._outcomes(association, transactions)
        except RuntimeError as error:
            # The association is closed, or another thread uses it: nothing was sent.
            self._set_outcomes([(None, _NOT_SENT, str(error), False, uid) for uid in uids])
            raise
        self._set_outcomes(
            [
                (status, failure, reason, message_id is not None and failure != _NOT_SENT, uid)
                for uid, message_id, status, failure, reason in zip(
                    uids,
                    *(outcomes[name] for name in ("MessageID", "Status", "Failure", "Reason")),
                    strict=True,
                )
            ]
        )
        with self._reported:
            self._reported.notify_all()

    def _outcomes(
        self, association: Association, transactions: Sequence[tuple[str, list[Reference]]]
    ) -> dict[str, list[Any]]:
        return association.request(
            {
                "RequestedSOPClassUID": SOP_CLASS_UID,
                "RequestedSOPInstanceUID": SOP_INSTANCE_UID,
                "ActionTypeID": REQUEST_ACTION,
                "ActionInformation": [
                    {
                        "TransactionUID": uid,
                        "ReferencedSOPSequence": [
                            {SOP_CLASS: sop_class, SOP_INSTANCE: instance}
                            for sop_class, instance, _ in references
                        ],
                    }
                    for uid, references in transactions
                ],
            },
            # An instance with a non-conformant UID is requested too.
            enforce_uid_conformance=False,
        ).to_pydict()

    def _set_outcomes(
        self, rows: Sequence[tuple[int | None, str | None, str | None, bool, str]]
    ) -> None:
        self._database.write(
            lambda connection: connection.executemany(
                "UPDATE transactions SET status = ?, failure = ?, reason = ?, is_sent = ? "
                "WHERE transaction_uid = ?",
                rows,
            )
        )

    def handle(self, received: Any) -> int:
        """Record a report, and return the Status of its response.

        This is the `event_handler` of :func:`fastdimse.connect` and :func:`fastdimse.listen`. The
        report is in the file when this method returns. The first report of a transaction counts:
        if it is repeated, the response is Success, and if it differs, it is also kept in
        :meth:`other_reports`.

        Parameters
        ----------
        received : ReceivedRequest
            The report.

        Returns
        -------
        int
            Success. For a report with an unknown Transaction UID, the Status `unknown_transaction`;
            for one without a Transaction UID, 0x0115 (*Invalid argument value*); for an event of
            another type or SOP class, 0x0113 or 0x0118.
        """
        event = received.request
        if event.AffectedSOPClassUID != SOP_CLASS_UID:
            return STATUS_NO_SUCH_CLASS
        if event.EventTypeID not in EVENT_TYPES:
            self._keep(received, None, f"the Event Type ID is {event.EventTypeID}")
            return STATUS_NO_SUCH_EVENT_TYPE
        try:
            report = information_of(received, event.EventInformation)
            transaction_uid = report.get("TransactionUID")
            results = _results_of(report)
        except Exception as error:
            self._keep(received, None, f"the event information cannot be decoded: {error}")
            return STATUS_INVALID_ARGUMENT
        if not transaction_uid:
            self._keep(received, None, "no Transaction UID")
            return STATUS_INVALID_ARGUMENT
        reason = self._record(transaction_uid, results, _reporter(received))
        if reason is not None:
            status = self._unknown_transaction if reason == _UNKNOWN else SUCCESS
            self._keep(received, transaction_uid, reason, is_refused=status != SUCCESS)
            return status
        with self._reported:
            self._reported.notify_all()
        return SUCCESS

    def _record(
        self, transaction_uid: str, results: dict[tuple[str, str], int], reporter: str
    ) -> str | None:
        """Record a report, or return why it is not the report of a transaction."""
        found = self._database.read(
            "SELECT instances, checksum FROM transactions WHERE transaction_uid = ?",
            transaction_uid,
        )
        if not found:
            return _UNKNOWN
        instances = self._instances(transaction_uid, *found[0])
        encoded = json.dumps([results.get((one[0], one[1])) for one in instances])
        row = (time.time_ns(), reporter, encoded, checksum(transaction_uid, encoded))
        is_first = self._database.write(
            lambda connection: (
                connection.execute(
                    "UPDATE transactions SET reported = ?, reported_by = ?, results = ?, "
                    "results_checksum = ?, reports = 1 "
                    "WHERE transaction_uid = ? AND results IS NULL",
                    (*row, transaction_uid),
                ).rowcount
            ),
            is_statement=True,
        )
        if is_first:
            return None
        found = self._database.write(
            lambda connection: connection.execute(
                "UPDATE transactions SET reports = reports + 1 WHERE transaction_uid = ? "
                "RETURNING results",
                (transaction_uid,),
            ).fetchall()
        )
        return None if found == [(encoded,)] else "differs from the first report"

    def _instances(self, uid: str, instances: str, stored: int) -> list[Any]:
        if checksum(uid, instances) != stored:
            raise self._database.damaged(f"wrong checksum of transaction {uid}")
        decoded: list[Any] = json.loads(instances)
        return decoded

    def _keep(
        self, received: Any, transaction_uid: str | None, reason: str, *, is_refused: bool = True
    ) -> None:
        """Keep a report that is not one of a transaction.

        Refused reports must not fill the disk: a peer may send any number of them.
        """
        if is_refused:
            [(count, length)] = self._database.read(
                "SELECT count(*), coalesce(sum(length(information)), 0) FROM other_reports"
            )
            if count >= _MAX_REFUSED or length >= _MAX_REFUSED_BYTES:
                log.warning(
                    "a refused report of %s is not kept, because there are %d others: %s",
                    *(_reporter(received), count, reason),
                )
                return
        event = received.request
        information = event.EventInformation
        row = (
            time.time_ns(),
            transaction_uid,
            _reporter(received),
            ":".join(map(str, received.address)),
            reason,
            event.EventTypeID,
            received.transfer_syntax,
            None if information is None else information.getvalue(),
        )
        self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO other_reports (time, transaction_uid, calling_ae, address, reason, "
                "event_type, transfer_syntax, information) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        )

    def wait(
        self,
        transactions: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
        association: Association | None = None,
        until_released: bool = False,
    ) -> bool:
        """Wait until transactions have a result: a report, or a refused request.

        Parameters
        ----------
        transactions : iterable of str, optional
            Transaction UIDs. Default: all.
        timeout : float, optional
            Maximum time to wait, in seconds. By default there is no limit.
        association : Association, optional
            An association on which the SCP may report, opened with
            ``event_handler=requests.handle``. Reports that other associations and other processes
            receive count too.
        until_released : bool, default False
            Whether to stop waiting when `association` ends.

        Returns
        -------
        bool
            Whether all transactions have a result.
        """
        uids = None if transactions is None else list(transactions)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._reported:
                count = self._count_open(uids)
                if not count:
                    return True
                left = _POLL_INTERVAL
                if end is not None:
                    left = min(left, end - time.monotonic())
                    if left <= 0:
                        return False
                if association is None:
                    self._reported.wait(left)
            if association is not None:
                try:
                    is_open = association.handle_events(timeout=left, count=count)
                except AssociationError:
                    is_open = False
                except RuntimeError as error:
                    # A closed association raises it too.
                    if "event_handler" in str(error):
                        raise
                    is_open = False
                if not is_open:
                    association = None
                    if until_released:
                        return not self._count_open(uids)

    def _count_open(self, uids: list[str] | None) -> int:
        chosen, values = _chosen(uids)
        found = self._database.read(
            "SELECT status, is_sent, count(*) FROM transactions "
            f"WHERE reported IS NULL AND {chosen} GROUP BY status, is_sent",
            *values,
        )
        return sum(count for status, sent, count in found if not _is_refused(status, sent))

    def _rows(self, condition: str, *values: Any) -> Iterator[_Transaction]:
        query = f"SELECT {_COLUMNS} FROM transactions {condition} ORDER BY id"
        return map(_Transaction._make, self._database.read(query, *values))

    def results(self, transactions: Iterable[str] | None = None) -> dict[str, list[Any]]:
        """Return the state of each instance, as columns.

        Parameters
        ----------
        transactions : iterable of str, optional
            Transaction UIDs. Default: all.

        Returns
        -------
        dict of str to list
            *TransactionUID*; *ReferencedSOPClassUID* and *ReferencedSOPInstanceUID*; *State*:
            ``committed``, ``failed``, ``open``, or ``late`` after the time limit; *FailureReason*,
            a number, if the report has one (PS3.3 C.14.1.1); *Reason*, a text, of instances that
            are not committed; *File*, from which the reference was read; *CalledAE* of the
            request; *ReportedBy*, the AE title of the SCP that reported; *Requested* and
            *Reported*, in nanoseconds since 1970-01-01 UTC.

        Raises
        ------
        StorageCommitmentError
            If the file cannot be read, or is damaged.
        """
        columns: dict[str, list[Any]] = {
            name: []
            for name in (
                "TransactionUID",
                SOP_CLASS,
                SOP_INSTANCE,
                "State",
                "FailureReason",
                "Reason",
                "File",
                "CalledAE",
                "ReportedBy",
                "Requested",
                "Reported",
            )
        }
        appends = [column.append for column in columns.values()]
        for row, instances, states in self._with_states(transactions):
            for (sop_class, instance, file), (state, failure_reason, reason) in zip(
                instances, states, strict=True
            ):
                values = (
                    *(row.transaction_uid, sop_class, instance, state, failure_reason, reason),
                    *(file, row.called_ae, row.reported_by, row.requested, row.reported),
                )
                for append, value in zip(appends, values, strict=True):
                    append(value)
        return columns

    def transactions(self, transactions: Iterable[str] | None = None) -> dict[str, list[Any]]:
        """Return the state of each transaction, as columns.

        Parameters
        ----------
        transactions : iterable of str, optional
            Transaction UIDs. Default: all.

        Returns
        -------
        dict of str to list
            *TransactionUID*; *State*: ``open``, ``late``, ``refused`` or ``reported``; *Status* and
            *StatusName* of the response to the request; *Reason* of a transaction that is refused,
            or whose request has no response; *Instances*, *Committed* and *Failed*, which are
            numbers; *Reports*, the number of reports, which is more than 1 if the SCP repeated it;
            *CalledAE*, *ReportedBy*, *Requested* and *Reported*, as in :meth:`results`.
        """
        now = time.time_ns()
        rows = []
        for row, instances, states in self._with_states(transactions):
            counted = [state for state, _, _ in states]
            rows.append(
                {
                    "TransactionUID": row.transaction_uid,
                    "State": row.state(now),
                    "Status": row.status,
                    "StatusName": None if row.status is None else describe_status(row.status),
                    "Reason": row.why,
                    "Instances": len(instances),
                    "Committed": counted.count("committed"),
                    "Failed": counted.count("failed"),
                    "Reports": row.reports,
                    "CalledAE": row.called_ae,
                    "ReportedBy": row.reported_by,
                    "Requested": row.requested,
                    "Reported": row.reported,
                }
            )
        names = (
            *("TransactionUID", "State", "Status", "StatusName", "Reason", "Instances"),
            *("Committed", "Failed", "Reports", "CalledAE", "ReportedBy", "Requested", "Reported"),
        )
        return {name: [row[name] for row in rows] for name in names}

    def _with_states(
        self, transactions: Iterable[str] | None
    ) -> Iterator[tuple[_Transaction, list[Any], list[tuple[State, int | None, str | None]]]]:
        """Yield transactions, their instances, and the state of each instance."""
        now = time.time_ns()
        chosen, values = _chosen(transactions)
        for row in self._rows(f"WHERE {chosen}", *values):
            instances = self._instances(row.transaction_uid, row.instances, row.checksum)
            if row.results is None:
                state: State = "open"
                if row.is_refused:
                    state = "failed"
                elif row.state(now) == "late":
                    state = "late"
                yield row, instances, [(state, None, row.why)] * len(instances)
                continue
            if checksum(row.transaction_uid, row.results) != row.results_checksum:
                raise self._database.damaged(
                    f"wrong checksum of the report of transaction {row.transaction_uid}"
                )
            yield row, instances, list(map(_state, json.loads(row.results)))

    def other_reports(self) -> dict[str, list[Any]]:
        """Return the reports that are not the first report of a transaction, as columns.

        Refused reports are kept up to 10,000 reports or 64 MiB, and further ones are logged.

        Returns
        -------
        dict of str to list
            *Time*, in nanoseconds since 1970-01-01 UTC; *TransactionUID*; *CallingAE* and *Address*
            of the peer; *Reason*, for example ``unknown Transaction UID``; *EventTypeID*;
            *TransferSyntaxUID* and *EventInformation*, the encoded data set.
        """
        rows = self._database.read(
            "SELECT time, transaction_uid, calling_ae, address, reason, event_type, "
            "transfer_syntax, information FROM other_reports ORDER BY id"
        )
        names = (
            *("Time", "TransactionUID", "CallingAE", "Address", "Reason", "EventTypeID"),
            *("TransferSyntaxUID", "EventInformation"),
        )
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        return {name: list(column) for name, column in zip(names, columns, strict=True)}

    def forget(self, transactions: Iterable[str]) -> int:
        """Delete transactions. A later report of one has an unknown Transaction UID.

        Parameters
        ----------
        transactions : iterable of str
            Transaction UIDs.

        Returns
        -------
        int
            Number of deleted transactions.
        """
        chosen, values = _chosen(transactions)
        return self._database.write(
            lambda connection: (
                connection.execute(f"DELETE FROM transactions WHERE {chosen}", values).rowcount
            )
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


def _reporter(received: Any) -> str:
    """Return the AE title of the SCP: on an association of the SCU, it is the called one."""
    is_own = received.association_number == 0
    title: str = received.called_ae if is_own else received.calling_ae
    return title


def _chosen(transactions: Iterable[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return a condition of SQL, and its values."""
    if transactions is None:
        return "TRUE", ()
    if isinstance(transactions, str):
        raise TypeError("transactions must be an iterable of Transaction UIDs, not one str")
    return "transaction_uid IN (SELECT value FROM json_each(?))", (json.dumps(list(transactions)),)


def _results_of(report: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Return the result of each instance in a report: 0, or a Failure Reason.

    An instance in both sequences has failed: it must not be deleted.
    """
    results = {
        (item.get(SOP_CLASS), item.get(SOP_INSTANCE)): 0
        for item in report.get("ReferencedSOPSequence") or ()
    }
    for item in report.get("FailedSOPSequence") or ():
        # Failure Reason is required. Without it, the instance is still not committed.
        reason = item.get("FailureReason") or -1
        results[item.get(SOP_CLASS), item.get(SOP_INSTANCE)] = int(reason)
    return results


def _state(result: int | None) -> tuple[State, int | None, str | None]:
    """Return the state of an instance with a report, its Failure Reason, and a text."""
    if result == 0:
        return "committed", None, None
    if result is None:
        return "failed", None, "not in the report"
    if result < 0:
        return "failed", None, "failed without a Failure Reason"
    return "failed", result, describe_failure_reason(result)
