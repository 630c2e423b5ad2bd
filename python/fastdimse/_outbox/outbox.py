"""Events that are due to peers, and their outcomes."""

import os
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from fastdimse._core import EventBatch, event_batches

from .database import Database
from .errors import OutboxError
from .locked_file import LockedFile
from .rows import DueBatch, Outcome, Stored
from .schema import BATCH_COLUMNS, DUE_COLUMNS, checksum

_BATCH_SIZE = 4096


class Outbox:
    """Storage of events until they are delivered.

    Parameters
    ----------
    path : str or os.PathLike, optional
        Path of the file. By default events are stored in memory.

    Raises
    ------
    OutboxError
        If the file cannot be opened, is not an outbox, is damaged, or is in use.
    ValueError
        If the path is not that of a regular file.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._file = LockedFile(path)
        self._database = Database(self._file)

    @property
    def is_of_parent(self) -> bool:
        """Whether a parent of this process opened the outbox."""
        return self._file.is_of_parent

    def check_process(self) -> None:
        """Raise `OutboxError` in a child of the process that opened the outbox."""
        self._file.check_process()

    def close(self) -> None:
        """Let other processes use the outbox. It can still be read."""
        self._database.close()

    def peer_number(self, name: str) -> int:
        """Return the number of a peer, which is added if it is new."""
        with self._database.write(sync=False) as connection:
            number = self._database.one("SELECT peer FROM peers WHERE name = ?", name)
            if number is None:
                number = self._database.one("SELECT coalesce(max(peer), 0) + 1 FROM peers")
                values = (number, name, checksum(number, name))
                connection.execute("INSERT INTO peers VALUES (?, ?, ?)", values)
        return int(number)

    def due_to_other_peers(self, peers: Sequence[int]) -> dict[str, int]:
        """Return how many events are due to peers other than these, by name."""
        marks = ", ".join("?" * len(peers))
        query = f"""
            SELECT DISTINCT peer, name FROM due JOIN peers USING (peer)
            WHERE peer NOT IN ({marks})
        """
        with self._database.read() as connection:
            found = connection.execute(query, peers).fetchall()
            return {name: self.count_due(peer) for peer, name in found}

    def put(
        self,
        events: Any,
        peers: Sequence[int],
        *,
        transfer_syntax: str,
        enforce_uid_conformance: bool = True,
        source: str | None = None,
        other_columns: Literal["raise", "ignore"] = "raise",
    ) -> Iterator[Stored]:
        """Store events batch by batch, and yield the stored events.

        Parameters
        ----------
        events : Arrow table or stream, mapping of columns, or iterable
            Same as for :func:`fastdimse.encode_events`.
        peers : sequence of int
            Numbers of the peers to which the events are due.
        transfer_syntax : str
            Transfer syntax UID of data sets that are bytes.
        enforce_uid_conformance : bool, default True
            Whether UIDs must be conformant.
        source : str, optional
            Name of the source. Events that were stored from it before are skipped.
        other_columns : {"raise", "ignore"}, default "raise"
            Same as for :func:`fastdimse.encode_events`.

        Yields
        ------
        Stored
            The events of a batch, which are on disk.

        Raises
        ------
        OutboxError
            If a batch cannot be stored. The batches before it are stored.
        """
        skip = 0 if source is None else self._count_stored(source, peers)
        options = (transfer_syntax, enforce_uid_conformance)
        batches = event_batches(events, batch_size=_BATCH_SIZE, other_columns=other_columns)
        for batch in batches:
            if skip >= len(batch):
                skip -= len(batch)
                continue
            yield self._put_batch(batch, skip, peers, options, source)
            skip = 0

    def _count_stored(self, source: str, peers: Sequence[int]) -> int:
        query = "SELECT count FROM sources WHERE source = ? AND peer = ?"
        with self._database.read():
            counts = {self._database.one(query, source, peer) or 0 for peer in peers}
        if len(counts) > 1:
            raise OutboxError(
                f"{self._file}: events of {source} were stored for some of these peers only; "
                "use another outbox for the other peers"
            )
        return counts.pop() if counts else 0

    def _put_batch(
        self,
        batch: EventBatch,
        skip: int,
        peers: Sequence[int],
        options: tuple[str, bool],
        source: str | None,
    ) -> Stored:
        stored = batch.take(list(range(skip, len(batch)))) if skip else batch
        stream = stored.to_ipc()
        with self._database.write(sync=True) as connection:
            first = self._database.one("SELECT coalesce(max(first + count), 0) FROM batches")
            _insert_batch(connection, (first, len(stored)), options, source, stream)
            due = [(peer, first, 0, 0, checksum(peer, first, 0, 0)) for peer in peers]
            connection.executemany("INSERT INTO due VALUES (?, ?, ?, ?, ?)", due)
            if source is not None:
                _add_to_source(connection, source, peers, len(stored))
            rejected = _rejected_outcomes(batch, first - batch.first_row - skip, first)
            for peer in peers:
                _insert_outcomes(connection, peer, first, rejected)
        return Stored(range(first, first + len(stored)), rejected)

    def count_due(self, peer: int) -> int:
        """Return how many events are due to a peer."""
        query = """
            SELECT coalesce(sum(count - (
                SELECT count(*) FROM outcomes WHERE outcomes.peer = due.peer
                AND event BETWEEN first AND first + count - 1
            )), 0) FROM due JOIN batches USING (first) WHERE peer = ?
        """
        with self._database.read():
            return int(self._database.one(query, peer))

    def due(self, peer: int) -> DueBatch | None:
        """Return the first batch with events that are due to a peer, or None.

        Raises
        ------
        OutboxError
            If the batch cannot be read, or is not as it was written.
        """
        query = f"""
            SELECT {", ".join(f"due.{column}" for column in (*DUE_COLUMNS, "checksum"))},
            {", ".join(f"batches.{column}" for column in (*BATCH_COLUMNS, "checksum", "events"))}
            FROM due LEFT JOIN batches USING (first)
            WHERE peer = ? ORDER BY due.first LIMIT 1
        """
        with self._database.read() as connection:
            found = connection.execute(query, (peer,)).fetchone()
            if found is None:
                return None
            due, batch = found[: len(DUE_COLUMNS) + 1], found[len(DUE_COLUMNS) + 1 :]
            return self._checked(connection, peer, due, batch)

    def _checked(
        self, connection: sqlite3.Connection, peer: int, due: Sequence[Any], batch: Sequence[Any]
    ) -> DueBatch:
        """Return a batch after its checksums and counts are checked."""
        damaged = self._database.damaged
        _, first, *recorded, due_checksum = due
        *columns, batch_checksum, events = batch
        if due_checksum != checksum(*due[:-1]) or batch_checksum != checksum(*columns):
            raise damaged(f"wrong checksum in a row of the batch that begins with event {first}")
        _, count, transfer_syntax, enforce_uid_conformance, _, events_checksum = columns
        which = f"the batch of events {first} to {first + count - 1}"
        if not isinstance(events, bytes) or zlib.crc32(events) != events_checksum:
            raise damaged(f"{which} has a wrong checksum")
        with_outcome = _events_with_outcome(connection, peer, first, count)
        if [len(with_outcome), sum(with_outcome)] != recorded:
            raise damaged(f"the outcomes of {which} are not those that were recorded")
        try:
            read = EventBatch.from_ipc(events)
        except BaseException as error:
            # A panic of the extension is not an Exception.
            raise damaged(f"{which} cannot be read: {error}") from error
        if len(read) != count:
            raise damaged(f"{which} contains {len(read)} events")
        rows = [row for row in range(count) if first + row not in with_outcome]
        return DueBatch(first, read, rows, transfer_syntax, bool(enforce_uid_conformance))

    def record_outcomes(
        self, peer: int, first: int, outcomes: Iterable[Any], *, is_last: bool
    ) -> None:
        """Record outcomes of events of a batch.

        Parameters
        ----------
        peer : int
            Number of the peer.
        first : int
            Number of the first event of the batch.
        outcomes : iterable of Outcome
            The outcomes.
        is_last : bool
            Whether no event of the batch remains due to the peer.
        """
        # Without a sync: an outcome that is lost in a power failure is an event that is sent again.
        with self._database.write(sync=False) as connection:
            _insert_outcomes(connection, peer, first, outcomes)
            if is_last:
                connection.execute("DELETE FROM due WHERE peer = ? AND first = ?", (peer, first))
                connection.execute(
                    "UPDATE batches SET events = NULL WHERE first = ? "
                    "AND NOT EXISTS (SELECT 1 FROM due WHERE due.first = batches.first)",
                    (first,),
                )

    def count_outcomes(self, peer: int, source: str) -> Counter[tuple[int | None, str | None]]:
        """Return how many events of a source have each outcome, by Status and Failure."""
        query = """
            SELECT Status, Failure, count(*) FROM batches JOIN outcomes
            ON event BETWEEN first AND first + count - 1
            WHERE source = ? AND peer = ? GROUP BY 1, 2
        """
        with self._database.read() as connection:
            found = connection.execute(query, (source, peer)).fetchall()
        return Counter({(status, failure): count for status, failure, count in found})

    def outcomes(self, peer: int) -> Iterator[Outcome]:
        """Return the outcomes of the events that are not due to a peer, by event number."""
        query = """
            SELECT event, MessageID, Status, Time, Latency, Failure, Reason FROM outcomes
            WHERE peer = ? ORDER BY event
        """
        with self._database.read() as connection:
            return map(Outcome._make, connection.execute(query, (peer,)).fetchall())

    def due_events(self, peer: int) -> list[int]:
        """Return the numbers of the events that are due to a peer."""
        query = "SELECT first, count FROM due JOIN batches USING (first) WHERE peer = ?"
        with self._database.read() as connection:
            return [
                event
                for first, count in connection.execute(query, (peer,)).fetchall()
                for event in sorted(
                    set(range(first, first + count))
                    - _events_with_outcome(connection, peer, first, count)
                )
            ]


def _rejected_outcomes(batch: EventBatch, offset: int, first: int) -> list[Outcome]:
    """Return the outcomes of rows whose values do not fit the columns.

    Parameters
    ----------
    batch : EventBatch
        The batch.
    offset : int
        Difference between the number of an event and its row.
    first : int
        Number of the first event that was stored.
    """
    return [
        Outcome(one.row + offset, None, None, None, None, one.code, f"{one.field}: {one.reason}")
        for one in batch.rejected
        if one.row is not None and one.row + offset >= first
    ]


def _insert_batch(
    connection: sqlite3.Connection,
    numbers: tuple[int, int],
    options: tuple[str, bool],
    source: str | None,
    stream: bytes,
) -> None:
    transfer_syntax, enforce_uid_conformance = options
    events_checksum = zlib.crc32(stream)
    # The checksum is of the values that SQLite returns: it has no bool.
    columns = (*numbers, transfer_syntax, int(enforce_uid_conformance), source)
    connection.execute(
        "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*columns, stream, events_checksum, checksum(*columns, events_checksum)),
    )


def _add_to_source(
    connection: sqlite3.Connection, source: str, peers: Sequence[int], count: int
) -> None:
    connection.executemany(
        "INSERT INTO sources VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET count = count + excluded.count, "
        "checksum = checksum(source, peer, count + excluded.count)",
        [(source, peer, count, checksum(source, peer, count)) for peer in peers],
    )


def _insert_outcomes(
    connection: sqlite3.Connection, peer: int, first: int, outcomes: Iterable[Any]
) -> None:
    rows = [(peer, *outcome) for outcome in outcomes]
    connection.executemany("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    added = {"count": len(rows), "sum": sum(row[1] for row in rows)}
    connection.execute(
        "UPDATE due SET settled = settled + :count, settled_sum = settled_sum + :sum, "
        "checksum = checksum(peer, first, settled + :count, settled_sum + :sum) "
        "WHERE peer = :peer AND first = :first",
        {"peer": peer, "first": first, **added},
    )


def _events_with_outcome(
    connection: sqlite3.Connection, peer: int, first: int, count: int
) -> set[int]:
    query = "SELECT event FROM outcomes WHERE peer = ? AND event BETWEEN ? AND ?"
    found = connection.execute(query, (peer, first, first + count - 1))
    return {event for (event,) in found}
