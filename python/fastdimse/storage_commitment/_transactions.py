"""The transactions of an SCP, in a file until they are reported."""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fastdimse._core import describe_status
from fastdimse._sqlite import checksum

from ._database import Database, Schema
from ._failure_reasons import DUPLICATE_TRANSACTION_UID

# instances: JSON, a list of [SOP Class UID, SOP Instance UID].
# results: JSON, a list with the result of each instance: 0 is committed, other numbers are Failure
#   Reasons.
# event, peer: the number of the report in the outbox, and the name of the peer to which it is due.
# is_done: whether the report has an outcome: `status`, or `failure`.
_SCHEMA = Schema(
    0x66647370,  # "fdsp"
    1,
    """
CREATE TABLE transactions (
    id INTEGER PRIMARY KEY, transaction_uid TEXT NOT NULL, calling_ae TEXT NOT NULL,
    called_ae TEXT NOT NULL, address TEXT NOT NULL, received INTEGER NOT NULL,
    instances TEXT NOT NULL, checksum INTEGER NOT NULL,
    results TEXT, results_checksum INTEGER, event INTEGER, peer TEXT,
    is_done INTEGER NOT NULL DEFAULT 0, reported INTEGER, status INTEGER, reason TEXT
);
CREATE INDEX by_uid ON transactions (transaction_uid);
CREATE INDEX open_transactions ON transactions (id) WHERE is_done = 0;
CREATE INDEX queued_transactions ON transactions (event) WHERE event IS NOT NULL AND is_done = 0
""",
)

_SET_OUTCOME = "UPDATE transactions SET is_done = 1, reported = ?, status = ?, reason = ?"

_INSERT = """
    INSERT INTO transactions (transaction_uid, calling_ae, called_ae, address, received,
    instances, checksum, results, results_checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_NEW = """
    INSERT INTO transactions (transaction_uid, calling_ae, called_ae, address, received,
    instances, checksum) SELECT ?, ?, ?, ?, ?, ?, ?
    WHERE NOT EXISTS (SELECT 1 FROM transactions WHERE transaction_uid = ?)
"""

Pair = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


class Transaction(NamedTuple):
    """A request for storage commitment.

    Attributes
    ----------
    id : int
        Number in the database.
    transaction_uid, calling_ae, called_ae : str
        From the request.
    instances : list of tuple
        The references.
    results : list of int or None
        Result of each instance, after the lookup.
    event : int or None
        Number of the report in the outbox.
    peer : str or None
        Name of the peer to which the report is due.
    """

    id: int
    transaction_uid: str
    calling_ae: str
    called_ae: str
    instances: list[Pair]
    results: list[int] | None = None
    event: int | None = None
    peer: str | None = None


class Transactions:
    """The transactions of an SCP.

    Parameters
    ----------
    path : str, os.PathLike or None
        The file. With ``None``, transactions are in memory.
    sync : bool
        Whether a request is on disk when `add` returns.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, sync: bool) -> None:
        self._database = Database(path, _SCHEMA, sync=sync)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(
        self, transaction_uid: str, titles: tuple[str, str], address: str, instances: list[Pair]
    ) -> Transaction | None:
        """Add a request, and return its transaction.

        Returns
        -------
        Transaction or None
            ``None`` if the same request is already open. If another request has this Transaction
            UID, the results are *Duplicate Transaction UID* (PS3.3 C.14.1.1).
        """
        encoded = json.dumps(instances)
        calling_ae, called_ae = titles
        row = (
            *(transaction_uid, calling_ae, called_ae, address, time.time_ns()),
            *(encoded, checksum(transaction_uid, encoded)),
        )
        number = self._database.write(
            lambda connection: _inserted(connection.execute(_INSERT_NEW, (*row, transaction_uid))),
            is_statement=True,
        )
        if number is not None:
            return Transaction(number, transaction_uid, calling_ae, called_ae, instances)

        def insert(connection: sqlite3.Connection) -> Transaction | None:
            others = connection.execute(
                "SELECT calling_ae, instances, is_done FROM transactions WHERE transaction_uid = ?",
                (transaction_uid,),
            ).fetchall()
            results = encoded_results = results_checksum = None
            if any((ae, other) != (calling_ae, encoded) for ae, other, _ in others):
                results = [DUPLICATE_TRANSACTION_UID] * len(instances)
                encoded_results = json.dumps(results)
                results_checksum = checksum(transaction_uid, encoded_results)
            elif not all(is_done for _, _, is_done in others):
                return None
            number = _inserted(
                connection.execute(_INSERT, (*row, encoded_results, results_checksum))
            )
            assert number is not None
            return Transaction(number, transaction_uid, calling_ae, called_ae, instances, results)

        return self._database.write(insert)

    def set_results(self, transactions: Iterable[Transaction]) -> None:
        """Record the results of lookups."""
        rows = []
        for one in transactions:
            encoded = json.dumps(one.results)
            rows.append((encoded, checksum(one.transaction_uid, encoded), one.id))
        self._database.write(
            lambda connection: connection.executemany(
                "UPDATE transactions SET results = ?, results_checksum = ? WHERE id = ?", rows
            )
        )

    def set_events(self, events: Sequence[tuple[int, str, int]]) -> None:
        """Record which reports are in the outbox: number of the event, peer, and transaction."""
        self._database.write(
            lambda connection: connection.executemany(
                "UPDATE transactions SET event = ?, peer = ? WHERE id = ?", events
            )
        )

    def set_reported(self, reported: Iterable[tuple[Transaction, int]]) -> None:
        """Record the results of transactions, and the Statuses of the responses to their reports.

        One write for both: after a kill between the lookup and the report, the lookup is repeated.
        """
        now = time.time_ns()
        rows = []
        for one, status in reported:
            encoded = json.dumps(one.results)
            stored = encoded, checksum(one.transaction_uid, encoded)
            rows.append((now, status, None, *stored, one.id))
        self._database.write(
            lambda connection: connection.executemany(
                f"{_SET_OUTCOME}, results = ?, results_checksum = ? WHERE id = ?", rows
            )
        )

    def set_delivered(
        self, outcomes: Iterable[tuple[int, int | None, str | None]]
    ) -> list[tuple[str, str, str, int | None]]:
        """Record the outcomes of reports in the outbox: number of the event, Status, and reason.

        Returns
        -------
        list of tuple
            AE title of the requester, Transaction UID, results in JSON, and Status, of each report
            that was open.
        """
        now = time.time_ns()

        def record(connection: sqlite3.Connection) -> list[tuple[str, str, str, int | None]]:
            recorded = []
            for event, status, reason in outcomes:
                recorded += connection.execute(
                    f"{_SET_OUTCOME} WHERE event = ? AND is_done = 0 "
                    "RETURNING calling_ae, transaction_uid, results, status",
                    (now, status, reason, event),
                ).fetchall()
            return recorded

        return self._database.write(record)

    def open(self) -> list[Transaction]:
        """Return the transactions that are not reported."""
        rows = self._database.read(
            "SELECT id, transaction_uid, calling_ae, called_ae, instances, results, event, peer, "
            "checksum, results_checksum FROM transactions WHERE is_done = 0 ORDER BY id"
        )
        found = []
        for number, uid, calling_ae, called_ae, instances, results, event, peer, *checksums in rows:
            self._check(uid, instances, checksums[0])
            if results is not None:
                self._check(uid, results, checksums[1])
            found.append(
                Transaction(
                    number,
                    uid,
                    calling_ae,
                    called_ae,
                    [(sop_class, instance) for sop_class, instance in json.loads(instances)],
                    None if results is None else json.loads(results),
                    event,
                    peer,
                )
            )
        return found

    def _check(self, uid: str, value: str, stored: int) -> None:
        if checksum(uid, value) != stored:
            raise self._database.damaged(f"wrong checksum of transaction {uid}")

    def count_open(self) -> int:
        """Return the number of transactions that are not reported."""
        [(count,)] = self._database.read("SELECT count(*) FROM transactions WHERE is_done = 0")
        return int(count)

    def forget(self, before: int) -> None:
        """Delete the transactions that were reported before a time in nanoseconds."""
        self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM transactions WHERE is_done = 1 AND reported < ?", (before,)
            )
        )

    def columns(self) -> dict[str, list[Any]]:
        """Return the state of each transaction, as columns."""
        columns: dict[str, list[Any]] = {
            name: []
            for name in (
                *("TransactionUID", "State", "CallingAE", "CalledAE", "Address", "Instances"),
                *("Committed", "Failed", "Received", "Reported", "Status", "StatusName", "Reason"),
            )
        }
        rows = self._database.read(
            "SELECT transaction_uid, calling_ae, called_ae, address, instances, results, event, "
            "is_done, received, reported, status, reason FROM transactions ORDER BY id"
        )
        for uid, calling, called, address, instances, results, event, is_done, *rest in rows:
            received, reported, status, reason = rest
            state = "received"
            if is_done:
                state = "reported" if status is not None else "not reported"
            elif event is not None:
                state = "queued"
            elif results is not None:
                state = "looked up"
            found = None if results is None else json.loads(results)
            committed = None if found is None else found.count(0)
            values = (
                *(uid, state, calling, called, address, len(json.loads(instances)), committed),
                None if found is None or committed is None else len(found) - committed,
                *(received, reported, status),
                None if status is None else describe_status(status),
                reason,
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        return columns


def _inserted(cursor: sqlite3.Cursor) -> int | None:
    """Return the number of the row that a statement inserted, if it did."""
    return cursor.lastrowid if cursor.rowcount == 1 else None
