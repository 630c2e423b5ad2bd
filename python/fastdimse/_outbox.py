"""Events that are kept until they are delivered: a file of SQLite, or memory."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from fastdimse._core import EventBatch, event_batches

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody is kept from opening a file twice.
    fcntl = None  # type: ignore[assignment]

# "fdim": what `file` and SQLite's tools show the kind of a database by.
_APPLICATION_ID = 0x6664696D
_VERSION = 1

# A batch is as many events as are stored, and due, together. `events` is an Arrow IPC stream, null
# when it is due to nobody any more. A row of `outcomes` is an event that is settled with a peer:
# answered, or refused for good.
_SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE peers (peer INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE batches (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, transfer_syntax TEXT NOT NULL, events BLOB
);
CREATE TABLE due (peer INTEGER, first INTEGER, PRIMARY KEY (peer, first)) WITHOUT ROWID;
CREATE TABLE sources (
    source TEXT, peer INTEGER, count INTEGER NOT NULL, PRIMARY KEY (source, peer)
) WITHOUT ROWID;
CREATE TABLE outcomes (
    peer INTEGER, event INTEGER, MessageID INTEGER, Status INTEGER, Time INTEGER,
    Latency INTEGER, Failure TEXT, Reason TEXT, PRIMARY KEY (peer, event)
) WITHOUT ROWID;
COMMIT;
"""

_BATCH_SIZE = 4096
# Seconds that a reader of the file may hold up who writes.
_BUSY = 30


class OutboxError(OSError):
    """An outbox that can't be opened, read or written."""


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
    """

    first: int
    events: EventBatch
    rows: list[int]
    transfer_syntax: str


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
        If the file can't be opened, is no outbox, or is in use by another process.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else os.fspath(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._held = self._hold()
        try:
            with self._told("it can't be opened"):
                self._prepare()
        except OutboxError:
            self.close()
            raise

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self.path or ":memory:",
                timeout=_BUSY,
                isolation_level=None,
                check_same_thread=False,
            )
        return self._connection

    def __str__(self) -> str:
        """Return the name of the file."""
        return self.path or "memory"

    def _hold(self) -> int | None:
        """Keep other processes out, for as long as this one lives."""
        if self.path is None or fcntl is None:
            return None
        # SQLite's own locks would keep those out too who only look.
        try:
            held = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutboxError(f"{self}: it can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise OutboxError(f"{self}: another process delivers from it") from None
        return held

    def _prepare(self) -> None:
        # What is written is in a file of its own first: readers don't wait, and a transaction
        # needs no sync to outlive this process.
        self._database.execute("PRAGMA journal_mode = WAL")
        application = self._one("PRAGMA application_id")
        version = self._one("PRAGMA user_version")
        if application == 0 and self._one("SELECT count(*) FROM sqlite_schema") == 0:
            self._database.executescript(_SCHEMA)
        elif application != _APPLICATION_ID:
            raise OutboxError(f"{self}: a database of something else")
        elif version != _VERSION:
            raise OutboxError(f"{self}: an outbox of version {version}, not {_VERSION}")

    def _one(self, query: str, *values: Any) -> Any:
        found = self._database.execute(query, values).fetchone()
        return None if found is None else found[0]

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise OutboxError(f"{self}: {what}: {error}") from error

    @contextmanager
    def _written(self, *, sync: bool) -> Iterator[sqlite3.Connection]:
        """Write in one transaction, which a `sync` lets outlive the power too."""
        with self._told("it can't be written"):
            self._database.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let other processes have the file. It can be read still."""
        with self._lock:
            if self.path is not None and self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def peer(self, name: str) -> int:
        """Return the number of a peer, which is noted if it is new."""
        with self._told("it can't be written"):
            self._database.execute("INSERT OR IGNORE INTO peers (name) VALUES (?)", (name,))
            return int(self._one("SELECT peer FROM peers WHERE name = ?", name))

    def others(self, peers: Sequence[int]) -> dict[str, int]:
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
        source : str, optional
            Where they come from: those that were stored of it before are left out.

        Raises
        ------
        OutboxError
            If they can't be stored. What was given before is.
        """
        skip = 0 if source is None else self._stored(source, peers)
        for batch in event_batches(events, batch_size=_BATCH_SIZE):
            if skip >= len(batch):
                skip -= len(batch)
                continue
            yield self._put_batch(batch, skip, peers, transfer_syntax, source)
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
        transfer_syntax: str,
        source: str | None,
    ) -> Stored:
        stored = batch.take(list(range(skip, len(batch)))) if skip else batch
        with self._written(sync=True) as database:
            first = self._one("SELECT coalesce(max(first + count), 0) FROM batches")
            database.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?)",
                (first, len(stored), transfer_syntax, stored.to_ipc()),
            )
            due = [(peer, first) for peer in peers]
            database.executemany("INSERT INTO due VALUES (?, ?)", due)
            if source is not None:
                self._add_to_source(database, source, peers, len(stored))
            rejected = _rejected(batch, first - batch.first_row - skip, first)
            for peer in peers:
                self._settle(database, peer, rejected)
        return Stored(range(first, first + len(stored)), rejected)

    def _add_to_source(
        self, database: sqlite3.Connection, source: str, peers: Sequence[int], count: int
    ) -> None:
        database.executemany(
            "INSERT INTO sources VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(source, peer, count) for peer in peers],
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
        """Return the first batch that has events which are due to a peer."""
        query = """
            SELECT first, count, transfer_syntax, events FROM batches
            WHERE first = (SELECT min(first) FROM due WHERE peer = ?)
        """
        with self._told("it can't be read"):
            found = self._database.execute(query, (peer,)).fetchone()
            if found is None:
                return None
            first, count, transfer_syntax, events = found
            settled = self._settled(peer, first, count)
        rows = [row for row in range(count) if first + row not in settled]
        return DueBatch(first, EventBatch.of_ipc(events), rows, transfer_syntax)

    def _settled(self, peer: int, first: int, count: int) -> set[int]:
        query = "SELECT event FROM outcomes WHERE peer = ? AND event BETWEEN ? AND ?"
        found = self._database.execute(query, (peer, first, first + count - 1))
        return {event for (event,) in found}

    def settle(self, peer: int, first: int, outcomes: Iterable[Any], *, whole: bool) -> None:
        """Note what became of events of a batch.

        Parameters
        ----------
        peer : int
            Of which peer.
        first : int
            The number of the first event of the batch.
        outcomes : iterable of Outcome
            What became of them.
        whole : bool
            Whether nothing of the batch is due to the peer now.
        """
        # What is lost with the power is sent again.
        with self._written(sync=False) as database:
            self._settle(database, peer, outcomes)
            if whole:
                database.execute("DELETE FROM due WHERE peer = ? AND first = ?", (peer, first))
                database.execute(
                    "UPDATE batches SET events = NULL WHERE first = ? "
                    "AND NOT EXISTS (SELECT 1 FROM due WHERE due.first = batches.first)",
                    (first,),
                )

    def _settle(self, database: sqlite3.Connection, peer: int, outcomes: Iterable[Any]) -> None:
        database.executemany(
            "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((peer, *outcome) for outcome in outcomes),
        )

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
