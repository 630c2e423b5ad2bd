"""Events that are kept until they are delivered: a file of SQLite, or memory."""

import os
import sqlite3
import stat
import sys
import threading
import weakref
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastdimse._core import EventBatch, event_batches
from fastdimse._lock import is_at, try_lock

# "fdim": what `file` and SQLite's tools show the kind of a database by.
_APPLICATION_ID = 0x6664696D
_VERSION = 2

# A batch is as many events as are stored, and due, together. `events` is an Arrow IPC stream, null
# when it is due to nobody any more. A row of `outcomes` is an event that is settled with a peer:
# answered, or refused for good. `settled` and `settled_sum` are how many events of a batch have an
# outcome, and the sum of their numbers: an outcome that is damaged must not hide an event that is
# due. `checksum` is of the other columns of its row, in their order, without `events`, which has
# `events_checksum`.
_SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE peers (
    peer INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE TABLE batches (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, transfer_syntax TEXT NOT NULL,
    enforce_uid_conformance INTEGER NOT NULL, source TEXT, events BLOB,
    events_checksum INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE due (
    peer INTEGER, first INTEGER, settled INTEGER NOT NULL, settled_sum INTEGER NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (peer, first)
) WITHOUT ROWID;
CREATE TABLE sources (
    source TEXT, peer INTEGER, count INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (source, peer)
) WITHOUT ROWID;
CREATE TABLE outcomes (
    peer INTEGER, event INTEGER, MessageID INTEGER, Status INTEGER, Time INTEGER,
    Latency INTEGER, Failure TEXT, Reason TEXT, PRIMARY KEY (peer, event)
) WITHOUT ROWID;
COMMIT;
"""
# The columns that the checksum of a row is of.
_BATCH_COLUMNS = (
    "first",
    "count",
    "transfer_syntax",
    "enforce_uid_conformance",
    "source",
    "events_checksum",
)
_DUE_COLUMNS = ("peer", "first", "settled", "settled_sum")
_CHECKED = {
    "peers": ("peer", "name"),
    "batches": _BATCH_COLUMNS,
    "due": _DUE_COLUMNS,
    "sources": ("source", "peer", "count"),
}
# What must hold between rows: the number of those for which it does not.
_UNRELATED = """
    SELECT (
        SELECT count(*) FROM due LEFT JOIN batches USING (first) LEFT JOIN peers USING (peer)
        WHERE events IS NULL OR name IS NULL
    ) + (
        SELECT count(*) FROM batches
        WHERE events IS NOT NULL AND first NOT IN (SELECT first FROM due)
    ) + (
        SELECT coalesce(max(first + count), 0) != coalesce(sum(count), 0) FROM batches
    )
"""

# Linux has two kinds of locks, and SQLite uses the other one: there the file itself is locked,
# whatever it is called.
_LOCKS_ITSELF = sys.platform == "linux"
_BATCH_SIZE = 4096
# Seconds that a reader of the file may hold up who writes.
_BUSY = 30


# The outboxes that are open in this process, and the connections of those that were open in its
# parent when it forked.
_OPEN: "weakref.WeakSet[Outbox]" = weakref.WeakSet()
_OPENING = threading.Lock()
_OF_PARENT: list[sqlite3.Connection | None] = []


def _leave_to_parent() -> None:
    """Let go of all locks in a forked process: they would outlive the one that delivers."""
    global _OPENING
    _OPENING = threading.Lock()
    for outbox in list(_OPEN):
        outbox.leave_to_parent()
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


class OutboxError(OSError):
    """An outbox that can't be opened, read or written, or is damaged."""


def _checksum(*values: Any) -> int:
    return zlib.crc32(repr(values).encode())


def _place(name: str) -> str:
    """Return where a file is, whatever links lead to it, also when the directory is changed."""
    if not name:
        raise ValueError("outbox must be the name of a file, not an empty text")
    place = os.path.realpath(name)
    if name.endswith(os.sep) or os.path.isdir(place):
        raise ValueError(f"outbox must be the name of a file: {name} is a directory")
    if os.path.exists(place) and not stat.S_ISREG(os.stat(place).st_mode):
        raise ValueError(f"outbox must be the name of a file: {name} is a device or a pipe")
    return place


class DueBatch(NamedTuple):
    """Events that are due to a peer.

    Attributes
    ----------
    first : int
        The number of the first event of the batch.
    events : EventBatch
        All events of the batch.
    rows : list of int
        The places in the batch of those that are due.
    transfer_syntax : str
        The UID of the transfer syntax of their data sets, where those are bytes.
    enforce_uid_conformance : bool
        Whether their UIDs must be conformant.
    """

    first: int
    events: EventBatch
    rows: list[int]
    transfer_syntax: str
    enforce_uid_conformance: bool

    @property
    def last(self) -> int:
        """The number of the last event of the batch."""
        return self.first + len(self.events) - 1


class Outcome(NamedTuple):
    """An event that is settled with a peer.

    Attributes
    ----------
    event : int
        Its number.
    message_id, status, time, latency : int or None
        As the columns of :class:`fastdimse.Outcomes`, times in ns.
    failure, reason : str or None
        The same.
    """

    event: int
    message_id: int | None
    status: int | None
    time: int | None
    latency: int | None
    failure: str | None
    reason: str | None


class Stored(NamedTuple):
    """Events that were stored.

    Attributes
    ----------
    numbers : range
        Their numbers.
    rejected : list of Outcome
        Those that can't be sent, since they could not become columns.
    """

    numbers: range
    rejected: list[Outcome]


def _rejected(batch: EventBatch, offset: int, first: int) -> list[Outcome]:
    """Return the rows that could not become columns, `offset` in front of their events' numbers."""
    return [
        Outcome(one.row + offset, None, None, None, None, one.code, f"{one.field}: {one.reason}")
        for one in batch.rejected
        if one.row is not None and one.row + offset >= first
    ]


class Outbox:
    """Events that are kept until they are delivered.

    Parameters
    ----------
    path : str or os.PathLike, optional
        The file; memory if not given.

    Raises
    ------
    OutboxError
        If the file can't be opened, is no outbox or a damaged one, or is in use already.
    ValueError
        If the path can't be that of a file.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._name = "memory" if path is None else os.fsdecode(path)
        self.path = None if path is None else _place(self._name)
        self._process = os.getpid()
        self._is_closed = False
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._held: int | None = None
        self._identity: os.stat_result | None = None
        try:
            with _OPENING:
                self._hold()
                _OPEN.add(self)
            with self._told("it can't be opened"):
                self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def _database(self) -> sqlite3.Connection:
        self.check_process()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        # What was removed is not made anew.
        mode = "rw" if self._identity is not None else "rwc"
        connection = sqlite3.connect(
            ":memory:" if self.path is None else f"{Path(self.path).as_uri()}?mode={mode}",
            uri=self.path is not None,
            timeout=_BUSY,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.create_function("checksum", -1, _checksum, deterministic=True)
        return connection

    def __str__(self) -> str:
        """Return the name of the file."""
        return self._name

    @property
    def is_of_parent(self) -> bool:
        """Whether this process was forked from the one that opened it."""
        return os.getpid() != self._process

    def leave_to_parent(self) -> None:
        """Let go of the lock, in a process that was forked from the one that opened it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
        # SQLite allows nothing with a connection of the parent, not even to close it.
        _OF_PARENT.append(self._connection)

    def check_process(self) -> None:
        """Raise an error in a process that was forked from the one that opened it."""
        if self.is_of_parent:
            raise OutboxError(
                f"{self}: it was opened by the process that this one was forked from, which "
                "delivers from it; a delivery of this process needs an outbox of its own"
            )

    def _hold(self) -> None:
        """Keep other processes out, for as long as this one lives."""
        if self.path is None:
            return
        self._refuse_twice()
        # SQLite's own locks would keep those out too who only look.
        locked = self.path if _LOCKS_ITSELF else f"{self.path}-lock"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        try:
            self._held = os.open(locked, flags, 0o644 if _LOCKS_ITSELF else 0o600)
            if not try_lock(self._held):
                raise OutboxError(f"{self}: another process delivers from it")
            if not is_at(locked, self._held):
                raise OutboxError(f"{self}: it was removed while it was opened")
        except OutboxError:
            raise
        except OSError as error:
            raise OutboxError(f"{self}: it can't be opened: {error.strerror}") from error
        if _LOCKS_ITSELF:
            self._identity = os.fstat(self._held)

    def _refuse_twice(self) -> None:
        """Refuse what this process has open: SQLite's locks end with any descriptor of the file."""
        assert self.path is not None
        try:
            found = os.stat(self.path)
        except OSError:
            return
        for other in list(_OPEN):
            if other._identity is not None and os.path.samestat(found, other._identity):
                raise OutboxError(f"{self}: this process delivers from it already")

    def _prepare(self) -> None:
        application = self._one("PRAGMA application_id")
        version = self._one("PRAGMA user_version")
        is_new = application == 0 and self._one("SELECT count(*) FROM sqlite_schema") == 0
        if not is_new and application != _APPLICATION_ID:
            raise OutboxError(f"{self}: a database of something else")
        if not is_new and version != _VERSION:
            raise OutboxError(
                f"{self}: an outbox of version {version}, and this fastdimse reads version "
                f"{_VERSION}: deliver what it has with the fastdimse that wrote it"
            )
        # What is written is in a file of its own first: readers don't wait, and a transaction
        # needs no sync to outlive this process.
        self._database.execute("PRAGMA journal_mode = WAL")
        if is_new:
            self._database.executescript(_SCHEMA)
        else:
            self._check()
        if self.path is not None:
            self._identity = os.stat(self.path)

    def _check(self) -> None:
        """Raise an error where the file is not what was written."""
        if (found := self._one("PRAGMA quick_check(1)")) != "ok":
            raise self._damaged(str(found))
        for table, columns in _CHECKED.items():
            query = (
                f"SELECT count(*) FROM {table} WHERE checksum IS NOT checksum({', '.join(columns)})"
            )
            if count := self._one(query):
                raise self._damaged(f"rows of the table {table} with a wrong checksum: {count}")
        if count := self._one(_UNRELATED):
            raise self._damaged(f"rows without those that belong to them: {count}")

    def _damaged(self, what: str) -> OutboxError:
        return OutboxError(f"{self}: it is damaged: {what}; restore it, or begin with another file")

    def _check_place(self) -> None:
        """Raise an error where what is written would not be found again."""
        if self.path is None:
            return
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise OutboxError(f"{self}: it was removed: {error.strerror}") from error
        if self._identity is not None and not os.path.samestat(found, self._identity):
            raise OutboxError(f"{self}: another file took its place")
        if (
            not _LOCKS_ITSELF
            and self._held is not None
            and not is_at(f"{self.path}-lock", self._held)
        ):
            raise OutboxError(f"{self}: its lock, the file {self.path}-lock, was removed")

    def _one(self, query: str, *values: Any) -> Any:
        found = self._database.execute(query, values).fetchone()
        return None if found is None else found[0]

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        # The lock can have been held when this process was forked.
        self.check_process()
        try:
            with self._lock:
                yield
                if self._is_closed:
                    self._disconnect()
        except OutboxError:
            raise
        except sqlite3.Error as error:
            raise OutboxError(f"{self}: {what}: {error}") from error
        except OSError as error:
            raise OutboxError(f"{self}: {what}: {error.strerror}") from error

    @contextmanager
    def _written(self, *, sync: bool) -> Iterator[sqlite3.Connection]:
        """Write in one transaction, which a `sync` lets outlive the power too."""
        with self._told("it can't be written"):
            if self._is_closed:
                raise OutboxError(f"{self}: it can't be written: it is closed")
            self._check_place()
            self._database.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            if sync:
                self._check_place()

    def close(self) -> None:
        """Let other processes have the file. It can be read still."""
        if self.is_of_parent:
            return
        with self._lock:
            self._is_closed = True
            _OPEN.discard(self)
            # SQLite's locks end with any descriptor of the file: its connection ends first.
            self._disconnect()
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def _disconnect(self) -> None:
        if self.path is not None and self._connection is not None:
            self._connection.close()
            self._connection = None

    def peer(self, name: str) -> int:
        """Return the number of a peer, which is noted if it is new."""
        with self._written(sync=False) as database:
            number = self._one("SELECT peer FROM peers WHERE name = ?", name)
            if number is None:
                number = self._one("SELECT coalesce(max(peer), 0) + 1 FROM peers")
                values = (number, name, _checksum(number, name))
                database.execute("INSERT INTO peers VALUES (?, ?, ?)", values)
        return int(number)

    def due_to_other_peers(self, peers: Sequence[int]) -> dict[str, int]:
        """Return how many events are due to peers that are none of these, by name."""
        marks = ", ".join("?" * len(peers))
        query = f"""
            SELECT DISTINCT peer, name FROM due JOIN peers USING (peer)
            WHERE peer NOT IN ({marks})
        """
        with self._told("it can't be read"):
            found = self._database.execute(query, peers).fetchall()
            return {name: self.count_due(peer) for peer, name in found}

    # ------------------------------------------------------------------- in

    def put(
        self,
        events: Any,
        peers: Sequence[int],
        *,
        transfer_syntax: str,
        enforce_uid_conformance: bool = True,
        source: str | None = None,
    ) -> Iterator[Stored]:
        """Store events, and give what is stored, batch by batch.

        Parameters
        ----------
        events : Arrow table or stream, mapping of columns, or iterable
            As for :func:`fastdimse.encode_events`.
        peers : sequence of int
            To whom they are due.
        transfer_syntax : str
            The UID of the transfer syntax of data sets that are bytes.
        enforce_uid_conformance : bool, optional
            Whether UIDs must be conformant.
        source : str, optional
            Where they come from: those that were stored of it before are left out.

        Raises
        ------
        OutboxError
            If they can't be stored. What was given before is.
        """
        skip = 0 if source is None else self._stored(source, peers)
        terms = (transfer_syntax, enforce_uid_conformance)
        for batch in event_batches(events, batch_size=_BATCH_SIZE):
            if skip >= len(batch):
                skip -= len(batch)
                continue
            yield self._put_batch(batch, skip, peers, terms, source)
            skip = 0

    def _stored(self, source: str, peers: Sequence[int]) -> int:
        query = "SELECT count FROM sources WHERE source = ? AND peer = ?"
        with self._told("it can't be read"):
            counts = {self._one(query, source, peer) or 0 for peer in peers}
        if len(counts) > 1:
            raise OutboxError(
                f"{self}: {source} was stored for some of these peers only; "
                "deliver it to the others from an outbox of their own"
            )
        return counts.pop() if counts else 0

    def _put_batch(
        self,
        batch: EventBatch,
        skip: int,
        peers: Sequence[int],
        terms: tuple[str, bool],
        source: str | None,
    ) -> Stored:
        stored = batch.take(list(range(skip, len(batch)))) if skip else batch
        stream = stored.to_ipc()
        with self._written(sync=True) as database:
            first = self._one("SELECT coalesce(max(first + count), 0) FROM batches")
            self._insert_batch(first, len(stored), *terms, source, stream)
            due = [(peer, first, 0, 0, _checksum(peer, first, 0, 0)) for peer in peers]
            database.executemany("INSERT INTO due VALUES (?, ?, ?, ?, ?)", due)
            if source is not None:
                self._add_to_source(database, source, peers, len(stored))
            rejected = _rejected(batch, first - batch.first_row - skip, first)
            for peer in peers:
                self._settle(database, peer, first, rejected)
        return Stored(range(first, first + len(stored)), rejected)

    def _insert_batch(
        self,
        first: int,
        count: int,
        transfer_syntax: str,
        enforce_uid_conformance: bool,
        source: str | None,
        stream: bytes,
    ) -> None:
        events_checksum = zlib.crc32(stream)
        # As SQLite gives it back.
        about = (first, count, transfer_syntax, int(enforce_uid_conformance), source)
        checksum = _checksum(*about, events_checksum)
        self._database.execute(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*about, stream, events_checksum, checksum),
        )

    def _add_to_source(
        self, database: sqlite3.Connection, source: str, peers: Sequence[int], count: int
    ) -> None:
        database.executemany(
            "INSERT INTO sources VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET count = count + excluded.count, "
            "checksum = checksum(source, peer, count + excluded.count)",
            [(source, peer, count, _checksum(source, peer, count)) for peer in peers],
        )

    # ------------------------------------------------------------------ out

    def count_due(self, peer: int) -> int:
        """Return how many events are due to a peer."""
        query = """
            SELECT coalesce(sum(count - (
                SELECT count(*) FROM outcomes WHERE outcomes.peer = due.peer
                AND event BETWEEN first AND first + count - 1
            )), 0) FROM due JOIN batches USING (first) WHERE peer = ?
        """
        with self._told("it can't be read"):
            return int(self._one(query, peer))

    def due(self, peer: int) -> DueBatch | None:
        """Return the first batch that has events which are due to a peer.

        Raises
        ------
        OutboxError
            If it can't be read, or is not what was written.
        """
        query = f"""
            SELECT {", ".join(f"due.{column}" for column in (*_DUE_COLUMNS, "checksum"))},
            {", ".join(f"batches.{column}" for column in (*_BATCH_COLUMNS, "checksum", "events"))}
            FROM due LEFT JOIN batches USING (first)
            WHERE peer = ? ORDER BY due.first LIMIT 1
        """
        with self._told("it can't be read"):
            found = self._database.execute(query, (peer,)).fetchone()
            if found is None:
                return None
            due, batch = found[: len(_DUE_COLUMNS) + 1], found[len(_DUE_COLUMNS) + 1 :]
            return self._checked(peer, due, batch)

    def _checked(self, peer: int, due: Sequence[Any], batch: Sequence[Any]) -> DueBatch:
        """Return a batch as what it was when it was written."""
        _, first, *settled_before, due_checksum = due
        *columns, checksum, events = batch
        if due_checksum != _checksum(*due[:-1]) or checksum != _checksum(*columns):
            raise self._damaged(f"what it has about the batch from event {first} on")
        _, count, transfer_syntax, enforce_uid_conformance, _, events_checksum = columns
        which = f"the batch of the events {first} to {first + count - 1}"
        if not isinstance(events, bytes) or zlib.crc32(events) != events_checksum:
            raise self._damaged(f"{which} has a wrong checksum")
        settled = self._settled(peer, first, count)
        if [len(settled), sum(settled)] != settled_before:
            raise self._damaged(f"outcomes of {which} are not those that were noted")
        try:
            read = EventBatch.from_ipc(events)
        except BaseException as error:
            # A panic of the extension is no Exception.
            raise self._damaged(f"{which} can't be read: {error}") from error
        if len(read) != count:
            raise self._damaged(f"{which} has {len(read)} events")
        rows = [row for row in range(count) if first + row not in settled]
        return DueBatch(first, read, rows, transfer_syntax, bool(enforce_uid_conformance))

    def _settled(self, peer: int, first: int, count: int) -> set[int]:
        query = "SELECT event FROM outcomes WHERE peer = ? AND event BETWEEN ? AND ?"
        found = self._database.execute(query, (peer, first, first + count - 1))
        return {event for (event,) in found}

    def record_outcomes(
        self, peer: int, first: int, outcomes: Iterable[Any], *, is_last: bool
    ) -> None:
        """Note what became of events of a batch.

        Parameters
        ----------
        peer : int
            Of which peer.
        first : int
            The number of the first event of the batch.
        outcomes : iterable of Outcome
            What became of them.
        is_last : bool
            Whether nothing of the batch is due to the peer now.
        """
        # What is lost with the power is sent again.
        with self._written(sync=False) as database:
            self._settle(database, peer, first, outcomes)
            if is_last:
                database.execute("DELETE FROM due WHERE peer = ? AND first = ?", (peer, first))
                database.execute(
                    "UPDATE batches SET events = NULL WHERE first = ? "
                    "AND NOT EXISTS (SELECT 1 FROM due WHERE due.first = batches.first)",
                    (first,),
                )

    def _settle(
        self, database: sqlite3.Connection, peer: int, first: int, outcomes: Iterable[Any]
    ) -> None:
        rows = [(peer, *outcome) for outcome in outcomes]
        database.executemany("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        added = {"count": len(rows), "sum": sum(row[1] for row in rows)}
        database.execute(
            "UPDATE due SET settled = settled + :count, settled_sum = settled_sum + :sum, "
            "checksum = checksum(peer, first, settled + :count, settled_sum + :sum) "
            "WHERE peer = :peer AND first = :first",
            {"peer": peer, "first": first, **added},
        )

    def count_outcomes(self, peer: int, source: str) -> Counter[tuple[int | None, str | None]]:
        """Return how many events of a source have each outcome, by Status and Failure."""
        query = """
            SELECT Status, Failure, count(*) FROM batches JOIN outcomes
            ON event BETWEEN first AND first + count - 1
            WHERE source = ? AND peer = ? GROUP BY 1, 2
        """
        with self._told("it can't be read"):
            found = self._database.execute(query, (source, peer)).fetchall()
        return Counter({(status, failure): count for status, failure, count in found})

    def outcomes(self, peer: int) -> Iterator[Outcome]:
        """Give what became of events, in their order; those that are due are left out."""
        query = """
            SELECT event, MessageID, Status, Time, Latency, Failure, Reason FROM outcomes
            WHERE peer = ? ORDER BY event
        """
        with self._told("it can't be read"):
            return map(Outcome._make, self._database.execute(query, (peer,)).fetchall())

    def due_events(self, peer: int) -> list[int]:
        """Return the numbers of the events that are due to a peer."""
        query = "SELECT first, count FROM due JOIN batches USING (first) WHERE peer = ?"
        with self._told("it can't be read"):
            return [
                event
                for first, count in self._database.execute(query, (peer,)).fetchall()
                for event in sorted(
                    set(range(first, first + count)) - self._settled(peer, first, count)
                )
            ]
