"""The class `Delivery`."""

import atexit
import math
import os
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, SupportsIndex

from fastdimse._core import Peer, describe_status, encode_events
from fastdimse._outbox import Outbox, OutboxError, Outcome, Stored

from .coordinator import Coordinator
from .peer_worker import PeerWorker
from .progress import Progress
from .retry_statuses import RETRY_STATUSES, check_retry_statuses

IMPLICIT_VR = "1.2.840.10008.1.2"

# Without an outbox, `put` waits while more events than these are due to the fastest peer.
_MAX_DUE_IN_MEMORY = 1 << 16

# The failure code of an event that has no outcome yet.
_DUE = "due"

# Deliveries that are not closed.
_OPEN: "weakref.WeakSet[Delivery]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close deliveries before the interpreter ends: no thread may run Python code then."""
    for delivery in list(_OPEN):
        delivery._close(at_once=True, timeout=5)


class Delivery:
    """Deliver events to one or more peers.

    Each event is delivered to each peer at least once. Each peer has an association and a worker
    thread of its own: a slow or unreachable peer does not delay the others. After a failure, the
    worker waits for a backoff delay, which grows with each attempt, and opens a new association.
    It then sends the events without a response again. An event whose response has one of the
    `retry_statuses` is also sent again. An event is not sent again if the peer rejected it with
    another Status, or accepted no presentation context for it.

    As a context manager, a delivery waits at the end of the block until all events have an
    outcome, and closes. If an exception leaves the block, it closes without that wait.

    Parameters
    ----------
    peers : Peer or iterable of Peer
        The peers. Each event is delivered to all of them. Their names must be different.
    outbox : str or os.PathLike, optional
        File that stores events until they are delivered. Events in it that are already due to
        these peers are delivered too. By default events are kept in memory.
    give_up_after : float, optional
        Maximum time in seconds without a new outcome. When it expires, the worker gives up the
        peer. By default there is no limit.
    longest_delay : float, default 30.0
        Maximum backoff delay between two attempts, in seconds.
    retry_statuses : iterable of int, default (0x0110, 0x0213)
        Statuses for which an event is sent again, while the events after it wait. The default is
        *Processing failure* and *Resource limitation* (PS3.7 C.5). If empty, every Status is an
        outcome.

    Raises
    ------
    OutboxError
        If the outbox cannot be opened, is damaged, or is in use by another process.
    TypeError
        If one of `peers` is not a `Peer`.
    ValueError
        If `peers` is empty, if two peers have the same name, if `outbox` is not the name of a
        regular file, or if one of `retry_statuses` means that the peer has accepted the event.

    Examples
    --------
    >>> from fastdimse import Delivery, Peer, listen
    >>> event = {
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": 1,
    ... }
    >>> with listen(0, host="localhost") as listener:
    ...     peer = Peer("localhost", listener.port)
    ...     with Delivery(peer) as delivery:
    ...         numbers = delivery.put([event, event])
    >>> numbers
    range(0, 2)
    >>> delivery.outcomes(peer)["StatusName"]
    ['0x0000 Success', '0x0000 Success']
    """

    def __init__(
        self,
        peers: Peer | Iterable[Peer],
        *,
        outbox: str | os.PathLike[str] | None = None,
        give_up_after: float | None = None,
        longest_delay: float = 30.0,
        retry_statuses: Iterable[int] = RETRY_STATUSES,
    ) -> None:
        self._peers = [peers] if isinstance(peers, Peer) else list(peers)
        for peer in self._peers:
            if not isinstance(peer, Peer):
                raise TypeError(f"each of peers must be a Peer, not {type(peer).__name__}")
        names = Counter(peer.name for peer in self._peers)
        if not names:
            raise ValueError("peers must contain at least one Peer")
        if (most_common := names.most_common(1)[0])[1] > 1:
            raise ValueError(
                f"peers must have different names: {most_common[0]} occurs {most_common[1]} times"
            )
        self._coordinator = Coordinator(
            give_up_after=give_up_after,
            longest_delay=longest_delay,
            retry_statuses=check_retry_statuses(retry_statuses),
        )
        self._outbox = Outbox(outbox)
        self._is_in_memory = outbox is None
        try:
            self._workers = [
                PeerWorker(self._coordinator, peer, self._outbox) for peer in self._peers
            ]
            self._numbers = [worker.number for worker in self._workers]
            for worker in self._workers:
                worker.thread.start()
            _OPEN.add(self)
        except BaseException:
            self._coordinator.close(at_once=False)
            self._outbox.close()
            raise

    @property
    def peers(self) -> list[Peer]:
        """The peers, in the order in which they were given."""
        return list(self._peers)

    def put(
        self,
        events: Any,
        *,
        transfer_syntax: str = IMPLICIT_VR,
        enforce_uid_conformance: bool = True,
        source: str | None = None,
        other_columns: Literal["raise", "ignore"] = "raise",
    ) -> range:
        """Add events to deliver, and return their numbers.

        With an outbox, the events are on disk when this method returns. Without one, it waits
        while more than 65,536 events are due to every peer.

        Parameters
        ----------
        events : Arrow table or stream, mapping of columns, or iterable
            Same as for :func:`fastdimse.encode_events`.
        transfer_syntax : str, default "1.2.840.10008.1.2"
            Transfer syntax UID of data sets that are bytes, in rows without *TransferSyntaxUID*.
        enforce_uid_conformance : bool, default True
            Whether UIDs must conform to PS3.5 9.1. With ``False``, events are sent with the
            non-conformant UIDs of another system. The outbox stores this option with the events.
        source : str, optional
            Name of the source of the events, for example of a file. Events that the outbox already
            has from this source are skipped, so that a program can put the same events again after
            it was killed.
        other_columns : {"raise", "ignore"}, default "raise"
            Same as for :func:`fastdimse.encode_events`. The outbox does not store other columns.

        Returns
        -------
        range
            Numbers of the events, as in :meth:`outcomes`.

        Raises
        ------
        OutboxError
            If the events cannot be stored, for example because the disk is full. Events that were
            stored before the error are delivered. Also if a worker cannot read from or write to
            the outbox.
        DeliveryError
            If the delivery to a peer failed because of a local error.
        RuntimeError
            If the delivery is closed. If it is closed while this method runs, the error names the
            events that were stored.
        ColumnError, TypeError, ValueError
            Same as :func:`fastdimse.encode_events`.
        """
        if self._coordinator.is_closing:
            raise RuntimeError("the delivery is closed")
        self._raise_errors()
        # Check the transfer syntax here, not in the workers.
        encode_events((), transfer_syntax=transfer_syntax)
        first = end = None
        stored = self._outbox.put(
            events,
            self._numbers,
            transfer_syntax=transfer_syntax,
            enforce_uid_conformance=enforce_uid_conformance,
            source=source,
            other_columns=other_columns,
        )
        condition = self._coordinator.condition
        for numbers, rejected in self._until_closed(stored):
            first = numbers.start if first is None else first
            end = numbers.stop
            codes = [outcome.failure for outcome in rejected]
            with condition:
                for worker in self._workers:
                    worker.due += len(numbers) - len(rejected)
                    worker.failures.update(filter(None, codes))
                condition.notify_all()
            if self._is_in_memory:
                self._wait_for_room()
            self._raise_errors()
        if self._coordinator.is_closing:
            which = "no events" if end is None else f"events {first} to {end - 1}"
            raise RuntimeError(f"the delivery was closed while events were added: stored {which}")
        return range(first or 0, end or 0)

    def _until_closed(self, stored: Iterator[Stored]) -> Iterator[Stored]:
        """Yield the stored events, until the delivery is closed."""
        try:
            for one in stored:
                yield one
                if self._coordinator.is_closing:
                    return
        except OutboxError:
            # A closed outbox raises.
            if not self._coordinator.is_closing:
                raise

    def _raise_errors(self) -> None:
        self._outbox.check_process()
        for worker in self._workers:
            if worker.error is not None:
                raise worker.error

    def _wait_for_room(self) -> None:
        coordinator = self._coordinator

        def has_room() -> bool:
            due = [worker.due for worker in self._workers if not worker.has_ended]
            return coordinator.is_closing or min(due, default=0) <= _MAX_DUE_IN_MEMORY

        # The workers do not notify of each event.
        with coordinator.condition:
            while not coordinator.condition.wait_for(has_room, 0.02):
                pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no event is due to a peer that can still be reached.

        This method does not wait for peers that are refused or given up.

        Parameters
        ----------
        timeout : float, optional
            Maximum time to wait, in seconds. By default there is no limit.

        Returns
        -------
        bool
            ``False`` if events are still due after `timeout`.

        Raises
        ------
        OutboxError
            If a worker cannot read from or write to the outbox, or the outbox is damaged. Events
            without a recorded outcome are sent again by the next delivery.
        DeliveryError
            If the delivery to a peer failed because of a local error.
        """
        self._outbox.check_process()
        condition = self._coordinator.condition
        with condition:
            done = condition.wait_for(self._is_done, timeout)
        self._raise_errors()
        return done

    def _is_done(self) -> bool:
        if any(worker.error is not None for worker in self._workers):
            return True
        return all(worker.due == 0 or worker.has_ended for worker in self._workers)

    def progress(self) -> list[Progress]:
        """Return the progress of the delivery to each peer.

        Returns
        -------
        list of Progress
            One for each peer, in the order of `peers`.
        """
        return [self._progress_of(worker) for worker in self._workers]

    def _progress_of(self, worker: PeerWorker) -> Progress:
        latencies = sorted(worker.latencies.copy())

        def quantile(part: float) -> float | None:
            return latencies[int(part * len(latencies))] / 1e9 if latencies else None

        statuses = worker.statuses.copy()
        return Progress(
            worker.peer,
            worker.state,
            worker.due,
            statuses.total(),
            statuses,
            worker.failures.copy(),
            quantile(0.5),
            quantile(0.99),
            worker.attempts,
            worker.failure,
        )

    def due_to_other_peers(self) -> dict[str, int]:
        """Return how many events in the outbox are due to peers other than these.

        Returns
        -------
        dict of str to int
            Number of events by the name of the peer.
        """
        return self._outbox.due_to_other_peers(self._numbers)

    def outcomes(self, peer: Peer | None = None) -> dict[str, list[Any]]:
        """Return the outcome of each event in the outbox, as columns.

        Parameters
        ----------
        peer : Peer, optional
            The peer. Required if the delivery has several.

        Returns
        -------
        dict of str to list
            *Event*, the number of the event; *MessageID*, *Status* and *StatusName*; *Time*, in
            nanoseconds since 1970-01-01 UTC; *Latency*, in nanoseconds; *Failure* and *Reason*, as
            in :class:`fastdimse.Outcomes`. An event without an outcome has the *Failure* ``due``,
            and its last *Status* if it is sent again for that Status.

        Raises
        ------
        OutboxError
            If the outbox cannot be read.
        ValueError
            If `peer` is not a peer of this delivery, or is not given and there are several.
        """
        if peer is None and len(self._workers) > 1:
            raise ValueError(f"peer is required: the delivery has {len(self._workers)} peers")
        for worker in self._workers:
            if peer in (None, worker.peer):
                return self._outcomes_of(worker)
        raise ValueError(f"peer must be a peer of this delivery, not {peer!r}")

    def _outcomes_of(self, worker: PeerWorker) -> dict[str, list[Any]]:
        reason, retried = worker.failure, worker.retried
        rows = [
            *self._outbox.outcomes(worker.number),
            *(
                Outcome(event, None, retried.get(event), None, None, _DUE, reason)
                for event in self._outbox.due_events(worker.number)
            ),
        ]
        rows.sort(key=lambda outcome: outcome.event)
        names: dict[int | None, str | None] = {None: None}
        for status in {outcome.status for outcome in rows} - {None}:
            assert status is not None
            names[status] = describe_status(status)
        return {
            "Event": [row.event for row in rows],
            "MessageID": [row.message_id for row in rows],
            "Status": [row.status for row in rows],
            "StatusName": [names[row.status] for row in rows],
            "Time": [row.time for row in rows],
            "Latency": [row.latency for row in rows],
            "Failure": [row.failure for row in rows],
            "Reason": [row.reason for row in rows],
        }

    def count_outcomes(
        self, peer: Peer, sources: Iterable[str]
    ) -> Counter[tuple[int | None, str | None]]:
        """Count the outcomes of the events of some sources, including those of earlier runs.

        Parameters
        ----------
        peer : Peer
            The peer.
        sources : iterable of str
            Names of sources, as given to :meth:`put`.

        Returns
        -------
        Counter
            Number of events by *Status* and *Failure*. One of these is ``None``.

        Raises
        ------
        OutboxError
            If the outbox cannot be read.
        """
        found: Counter[tuple[int | None, str | None]] = Counter()
        for worker in self._workers:
            if worker.peer is peer:
                for source in sources:
                    found.update(self._outbox.count_outcomes(worker.number, source))
        return found

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Raise TypeError: the threads and associations of a delivery cannot be pickled."""
        raise TypeError("cannot pickle 'fastdimse.Delivery' object")

    def close(self, *, at_once: bool = False) -> None:
        """Send no more events, wait for outstanding responses, and release the associations.

        Events without an outcome stay in the outbox.

        Parameters
        ----------
        at_once : bool, default False
            Abort the associations instead of waiting for responses. The next delivery sends the
            events without a response again.
        """
        self._close(at_once=at_once)

    def _close(self, *, at_once: bool, timeout: float = math.inf) -> None:
        if self._outbox.is_of_parent:
            # Associations, threads and outbox belong to the parent process.
            return
        self._coordinator.close(at_once=at_once)
        for worker in self._workers:
            worker.stop(at_once=at_once)
        end = time.monotonic() + timeout

        def has_ended() -> bool:
            # A worker that opens an association has sent no event on it.
            return all(one.has_ended or one.state == "connecting" for one in self._workers)

        # Not `Thread.join`: a signal that interrupts it can mark the thread as ended.
        condition = self._coordinator.condition
        with condition:
            while not condition.wait_for(has_ended, 0.05):
                if time.monotonic() >= end:
                    return
        self._outbox.close()
        _OPEN.discard(self)

    def __enter__(self) -> Self:
        """Return the delivery."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait and close; after an exception, close without waiting for due events."""
        try:
            if kind is None:
                self.wait()
        finally:
            self.close()
