"""Events that are due to peers, and their outcomes."""

import os
import sqlite3
import struct
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fastdimse._core import EventBatch
from fastdimse._sqlite import checksum

from .database import Database
from .errors import OutboxError
from .locked_file import LockedFile
from .rows import DueBatch, Group, Outcome, PeerOutcome, PutOptions, RejectedRow, Stored
from .schema import BATCH_COLUMNS, BY_COLUMN, DUE_COLUMNS

# Number of batches that are kept after they were read: peers often receive the same events.
_CACHED_BATCHES = 8


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
        self._batches: OrderedDict[int, EventBatch] = OrderedDict()

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

    def add_peers(self, names: Iterable[str]) -> dict[str, int]:
        """Return the numbers of peers by name. New peers are added."""
        numbers = {}
        with self._database.write(sync=False) as connection:
            for name in names:
                number = self._database.one("SELECT peer FROM peers WHERE name = ?", name)
                if number is None:
                    number = self._database.one("SELECT coalesce(max(peer), 0) + 1 FROM peers")
                    values = (number, name, checksum(number, name))
                    connection.execute("INSERT INTO peers VALUES (?, ?, ?)", values)
                numbers[name] = int(number)
        return numbers

    def count_due(self, peers: Iterable[int]) -> dict[int, int]:
        """Return how many events are due to peers, by the number of the peer."""
        query = "SELECT sum(count - settled) FROM due JOIN batches USING (first) WHERE peer = ?"
        with self._database.read():
            return {peer: self._database.one(query, peer) or 0 for peer in peers}

    def due_to_other_peers(self, peers: Iterable[int]) -> dict[str, int]:
        """Return how many events are due to peers other than these, by name."""
        query = """
            SELECT peer, name, sum(count - settled)
            FROM due JOIN batches USING (first) JOIN peers USING (peer) GROUP BY peer
        """
        these = set(peers)
        with self._database.read() as connection:
            found = connection.execute(query).fetchall()
        return {name: count for peer, name, count in found if peer not in these}

    def count_stored(self, source: str, peers: Sequence[int]) -> int:
        """Return how many events of a source were stored for peers.

        Parameters
        ----------
        source : str
            Name of the source.
        peers : sequence of int
            Numbers of the peers, or only `BY_COLUMN`.

        Raises
        ------
        OutboxError
            If the number differs between the peers, or events of the source were stored for a
            column of peers and are now put for given peers, or the reverse.
        """
        query = "SELECT peer, count FROM sources WHERE source = ?"
        with self._database.read() as connection:
            stored = dict(connection.execute(query, (source,)).fetchall())
        if stored and (BY_COLUMN in stored) != (BY_COLUMN in peers):
            now, before = "a column Peer", "none"
            if BY_COLUMN in stored:
                now, before = "no column Peer", "one"
            raise OutboxError(
                f"{self._file}: the events of {source} have {now}, but those stored before had "
                f"{before}; use another outbox"
            )
        counts = {stored.get(peer, 0) for peer in peers}
        if len(counts) > 1:
            raise OutboxError(
                f"{self._file}: events of {source} were stored for some of these peers only; "
                "use another outbox for the other peers"
            )
        return counts.pop() if counts else 0

    def store(
        self,
        batch: EventBatch,
        groups: Sequence[Group],
        options: PutOptions,
        source_peers: Sequence[int],
        unreadable: Mapping[int, RejectedRow] = MappingProxyType({}),
    ) -> Stored:
        """Store events, which are on disk when this method returns.

        Parameters
        ----------
        batch : EventBatch
            The events. Rows without a group precede the others, and are not stored.
        groups : sequence of Group
            The rows to store. Each row is in one group.
        options : PutOptions
            Options of the events.
        source_peers : sequence of int
            Numbers of the peers for which the events of the source are counted.
        unreadable : mapping of int to RejectedRow, optional
            Rows of the batch that could not be read, by their positions.

        Raises
        ------
        OutboxError
            If the events cannot be stored. Then none of them is.
        """
        skipped = min(group.rows[0] for group in groups)
        streams = [_to_ipc(batch, group.rows) for group in groups]
        rejected: dict[int, RejectedRow] = {
            one.row - batch.first_row: one for one in batch.rejected if one.row is not None
        }
        rejected.update(unreadable)
        due: Counter[int] = Counter()
        codes: dict[int, list[str]] = {}
        count = len(batch) - skipped
        with self._database.write(sync=True) as connection:
            begin = self._database.one("SELECT stored FROM counters")
            for group, stream in zip(groups, streams, strict=True):
                numbers = _shifted(group.rows, begin - skipped)
                _insert_batch(connection, numbers, group.peers, options, stream)
                outcomes = (
                    [
                        _rejected_outcome(number, rejected[row])
                        for row, number in zip(group.rows, numbers, strict=True)
                        if row in rejected
                    ]
                    if rejected
                    else []
                )
                for peer in group.peers:
                    due[peer] += len(numbers) - len(outcomes)
                    if outcomes:
                        found = codes.setdefault(peer, [])
                        found += [one.failure for one in outcomes if one.failure is not None]
                        _insert_outcomes(connection, peer, numbers[0], outcomes)
            if options.source is not None:
                _add_to_source(connection, options.source, source_peers, count)
            connection.execute(
                "UPDATE counters SET stored = stored + :count, "
                "checksum = checksum(stored + :count, pruned)",
                {"count": count},
            )
        return Stored(range(begin, begin + count), dict(due), codes)

    def due(self, peer: int) -> DueBatch | None:
        """Return the first batch with events that are due to a peer, or None.

        Raises
        ------
        OutboxError
            If the batch cannot be read, or is not as it was written.
        """
        query = f"""
            SELECT {", ".join(f"due.{column}" for column in (*DUE_COLUMNS, "checksum"))},
            {", ".join(f"batches.{column}" for column in (*BATCH_COLUMNS, "checksum"))}
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
        *columns, batch_checksum = batch
        if due_checksum != checksum(*due[:-1]) or batch_checksum != checksum(*columns):
            raise damaged(f"wrong checksum in a row of the batch that begins with event {first}")
        _, count, transfer_syntax, enforce_uid_conformance, _, offsets, events_checksum = columns
        numbers = _numbers(first, count, offsets)
        which = f"the batch of events {first} to {numbers[-1]}"
        with_outcome = _events_with_outcome(connection, peer, first)
        if [len(with_outcome), sum(with_outcome)] != recorded:
            raise damaged(f"the outcomes of {which} are not those that were recorded")
        events = self._events(connection, first, count, which, events_checksum)
        rows: Sequence[int] = range(count)
        if with_outcome:
            rows = [row for row, number in enumerate(numbers) if number not in with_outcome]
        return DueBatch(numbers, events, rows, transfer_syntax, bool(enforce_uid_conformance))

    def _events(
        self, connection: sqlite3.Connection, first: int, count: int, which: str, expected: int
    ) -> EventBatch:
        """Return the events of a batch, after their checksum is checked."""
        if (cached := self._batches.get(first)) is not None:
            self._batches.move_to_end(first)
            return cached
        found = connection.execute("SELECT events FROM batches WHERE first = ?", (first,))
        (stream,) = found.fetchone()
        damaged = self._database.damaged
        if not isinstance(stream, bytes) or zlib.crc32(stream) != expected:
            raise damaged(f"{which} has a wrong checksum")
        try:
            events = EventBatch.from_ipc(stream)
        except BaseException as error:
            # A panic of the extension is not an Exception.
            raise damaged(f"{which} cannot be read: {error}") from error
        if len(events) != count:
            raise damaged(f"{which} contains {len(events)} events")
        self._batches[first] = events
        if len(self._batches) > _CACHED_BATCHES:
            self._batches.popitem(last=False)
        return events

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
                connection.execute("DELETE FROM taken WHERE peer = ? AND first = ?", (peer, first))
                connection.execute(
                    "UPDATE batches SET events = NULL WHERE first = ? "
                    "AND NOT EXISTS (SELECT 1 FROM due WHERE due.first = batches.first)",
                    (first,),
                )
                _prune(connection, first)

    def untaken(self, after: int, limit: int) -> list[PeerOutcome]:
        """Return outcomes that were not taken, in the order in which they were recorded.

        Parameters
        ----------
        after : int
            Sequence number after which to begin.
        limit : int
            Maximum number of outcomes.
        """
        query = """
            SELECT sequence, name, event, MessageID, Status, Time, Latency, Failure, Reason
            FROM outcomes JOIN peers USING (peer)
            WHERE sequence > ? ORDER BY sequence LIMIT ?
        """
        with self._database.read() as connection:
            found = connection.execute(query, (after, limit)).fetchall()
        return [PeerOutcome(row[0], row[1], Outcome._make(row[2:])) for row in found]

    def remove_taken(self, last: int) -> None:
        """Remove outcomes, and batches whose outcomes have all been removed.

        Parameters
        ----------
        last : int
            Sequence number of the last outcome to remove.
        """
        # Without a sync: an outcome that reappears after a power failure is taken again.
        with self._database.write(sync=False) as connection:
            connection.execute(
                "INSERT INTO taken SELECT peer, first, event FROM outcomes "
                "JOIN due USING (peer, first) WHERE sequence <= ?",
                (last,),
            )
            counts = connection.execute(
                "SELECT first, count(*) FROM outcomes WHERE sequence <= ? GROUP BY first", (last,)
            ).fetchall()
            connection.execute("DELETE FROM outcomes WHERE sequence <= ?", (last,))
            for first, count in counts:
                connection.execute(
                    "UPDATE batches SET untaken = untaken - ? WHERE first = ?", (count, first)
                )
                _prune(connection, first)

    def count_outcomes(self, peer: int, source: str) -> Counter[tuple[int | None, str | None]]:
        """Return how many events of a source have each outcome, by Status and Failure."""
        query = """
            SELECT Status, Failure, count(*) FROM batches JOIN outcomes USING (first)
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
        query = "SELECT first, count, offsets FROM due JOIN batches USING (first) WHERE peer = ?"
        with self._database.read() as connection:
            return [
                event
                for first, count, offsets in connection.execute(query, (peer,)).fetchall()
                for event in sorted(
                    set(_numbers(first, count, offsets))
                    - _events_with_outcome(connection, peer, first)
                )
            ]


def _to_ipc(batch: EventBatch, rows: Sequence[int]) -> bytes:
    return (batch if len(rows) == len(batch) else batch.take(list(rows))).to_ipc()


def _shifted(rows: Sequence[int], by: int) -> Sequence[int]:
    if rows[-1] - rows[0] == len(rows) - 1:
        return range(rows[0] + by, rows[-1] + by + 1)
    return [row + by for row in rows]


def _offsets(numbers: Sequence[int]) -> bytes | None:
    if isinstance(numbers, range):
        return None
    return struct.pack(f"<{len(numbers)}I", *(number - numbers[0] for number in numbers))


def _numbers(first: int, count: int, offsets: bytes | None) -> Sequence[int]:
    if offsets is None:
        return range(first, first + count)
    return [first + offset for (offset,) in struct.iter_unpack("<I", offsets)]


def _rejected_outcome(event: int, rejection: RejectedRow) -> Outcome:
    """Return the outcome of a row whose values do not fit the columns."""
    field = "" if rejection.field is None else f"{rejection.field}: "
    reason = f"{field}{rejection.reason}"
    return Outcome(event, None, None, None, None, rejection.code, reason)


def _insert_batch(
    connection: sqlite3.Connection,
    numbers: Sequence[int],
    peers: Sequence[int],
    options: PutOptions,
    stream: bytes,
) -> None:
    events_checksum = zlib.crc32(stream)
    first, count, offsets = numbers[0], len(numbers), _offsets(numbers)
    # The checksum is of the values that SQLite returns: it has no bool.
    columns = (
        *(first, count, options.transfer_syntax, int(options.enforce_uid_conformance)),
        *(options.source, offsets),
    )
    connection.execute(
        "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(*columns, stream, events_checksum, count * len(peers)),
            checksum(*columns, events_checksum),
        ),
    )
    due = [(peer, first, 0, 0, checksum(peer, first, 0, 0)) for peer in peers]
    connection.executemany("INSERT INTO due VALUES (?, ?, ?, ?, ?)", due)


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
    rows = [(peer, first, *outcome) for outcome in outcomes]
    connection.executemany("INSERT INTO outcomes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    added = {"count": len(rows), "sum": sum(row[2] for row in rows)}
    connection.execute(
        "UPDATE due SET settled = settled + :count, settled_sum = settled_sum + :sum, "
        "checksum = checksum(peer, first, settled + :count, settled_sum + :sum) "
        "WHERE peer = :peer AND first = :first",
        {"peer": peer, "first": first, **added},
    )


def _events_with_outcome(connection: sqlite3.Connection, peer: int, first: int) -> set[int]:
    query = """
        SELECT event FROM outcomes WHERE peer = ?1 AND first = ?2
        UNION ALL SELECT event FROM taken WHERE peer = ?1 AND first = ?2
    """
    return {event for (event,) in connection.execute(query, (peer, first))}


def _prune(connection: sqlite3.Connection, first: int) -> None:
    """Delete a batch if no event of it is due, and all of its outcomes were taken."""
    found = connection.execute(
        "SELECT count FROM batches WHERE first = ? AND untaken <= 0 AND events IS NULL", (first,)
    ).fetchone()
    if found is not None:
        connection.execute("DELETE FROM batches WHERE first = ?", (first,))
        connection.execute(
            "UPDATE counters SET pruned = pruned + :count, "
            "checksum = checksum(stored, pruned + :count)",
            {"count": found[0]},
        )
