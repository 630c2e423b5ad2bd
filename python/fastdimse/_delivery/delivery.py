"""The class `Delivery`."""

import atexit
import math
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, SupportsIndex

from fastdimse._core import Peer, encode_events
from fastdimse._outbox import (
    BY_COLUMN,
    Group,
    Outbox,
    OutboxError,
    Outcome,
    PutOptions,
    RejectedRow,
    Stored,
)

from .options import Options
from .outcome_feed import OutcomeBatches, OutcomeFeed, outcome_columns
from .peer_delivery import Activity, PeerDelivery
from .peers import PeerNames
from .pool import Pool
from .progress import Progress
from .recipients import EventsWithRecipients, groups_of
from .retry_statuses import RETRY_STATUSES, check_retry_statuses

IMPLICIT_VR = "1.2.840.10008.1.2"

# Without an outbox, `put` waits while more events than these are due to the fastest peer.
_MAX_DUE_IN_MEMORY = 1 << 16

# The failure code of an event that has no outcome yet.
_DUE = "due"

# Returns the rows of a range that could not be read, by their positions in it. The range is given
# by its first row and its length.
Unreadable = Callable[[int, int], Mapping[int, RejectedRow]]

# Deliveries that are not closed.
_OPEN: "weakref.WeakSet[Delivery]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close deliveries before the interpreter ends: no thread may run Python code then."""
    for delivery in list(_OPEN):
        delivery._close(at_once=True, timeout=5)


class Delivery:
    """Deliver events to peers.

    Each event is delivered at least once to each peer to which it is due: to all peers, to those of
    the argument `peer` of :meth:`put`, or to those of its row. Each peer has an association of its
    own. The associations share a pool of threads, of which a part is for peers that fail or are
    slow, so that these do not delay the others. After a failure, the delivery waits for a backoff
    delay, which grows with each attempt, and opens a new association. It then sends the events
    without a response again. An event whose response has one of the `retry_statuses` is also sent
    again. An event is not sent again if the peer rejected it with another Status, or accepted no
    presentation context for it.

    As a context manager, a delivery waits at the end of the block until all events have an
    outcome, and closes. If an exception leaves the block, it closes without that wait.

    Parameters
    ----------
    peers : Peer or iterable of Peer, default ()
        The peers. Their names must be different. :meth:`add_peer` adds further ones.
    outbox : str or os.PathLike, optional
        File that stores events until they are delivered. Events in it that are already due to
        these peers are delivered too. By default events are kept in memory.
    give_up_after : float, optional
        Maximum time in seconds without a new outcome. When it expires, the peer is given up. By
        default there is no limit.
    longest_delay : float, default 30.0
        Maximum backoff delay between two attempts, in seconds.
    retry_statuses : int or iterable of int, default (0x0110, 0x0213)
        Statuses for which an event is sent again, while the events after it wait. The default is
        *Processing failure* and *Resource limitation* (PS3.7 C.5). If empty, every Status is an
        outcome.
    threads : int, default 32
        Maximum number of threads that open associations and send events. A thread that has waited
        for a peer for half a second is not counted, but there are at most four times as many
        threads. Threads are started when there are events, and end when there are none. Peers
        that failed at the last attempt, or are slow, use at most a quarter of all threads.
    on_outcomes : callable, optional
        Function that is called with new outcomes, as columns like those of :meth:`take_outcomes`.
        When it returns, they are removed from the outbox. If it raises an exception, the logger
        ``fastdimse`` logs an error, and the function is called again later with the same outcomes.
        One thread of the delivery calls it at a time.

    Raises
    ------
    OutboxError
        If the outbox cannot be opened, is damaged, or another delivery uses it.
    TypeError
        If one of `peers` is not a `Peer`.
    ValueError
        If two peers have the same name, if `threads` is less than 1 or a time less than 0, if
        `outbox` is not the name of a regular file, or if one of `retry_statuses` means that the
        peer has accepted the event.

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

    Each event to the peer that requested it:

    >>> with listen(0, host="localhost") as listener:
    ...     peers = [Peer("localhost", listener.port, called_ae=title) for title in ("CT", "MR")]
    ...     with Delivery(peers) as delivery:
    ...         numbers = delivery.put([event | {"Peer": "CT"}, event | {"Peer": "MR"}])
    >>> [delivery.outcomes(peer)["Event"] for peer in peers]
    [[0], [1]]
    """

    def __init__(
        self,
        peers: Peer | Iterable[Peer] = (),
        *,
        outbox: str | os.PathLike[str] | None = None,
        give_up_after: float | None = None,
        longest_delay: float = 30.0,
        retry_statuses: int | Iterable[int] = RETRY_STATUSES,
        threads: int = 32,
        on_outcomes: Callable[[dict[str, list[Any]]], object] | None = None,
    ) -> None:
        given = [peers] if isinstance(peers, Peer) else list(peers)
        for peer in given:
            if not isinstance(peer, Peer):
                raise TypeError(f"each of peers must be a Peer, not {type(peer).__name__}")
        self._names = PeerNames(given)
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        if give_up_after is not None and not give_up_after >= 0:
            raise ValueError(f"give_up_after must be at least 0 s, not {give_up_after}")
        if not longest_delay >= 0:
            raise ValueError(f"longest_delay must be at least 0 s, not {longest_delay}")
        checked = check_retry_statuses(retry_statuses)
        self._pool = Pool(threads)
        self._outbox = Outbox(outbox)
        self._is_in_memory = outbox is None
        self._feed = OutcomeFeed(self._pool, self._outbox, on_outcomes)
        self._options = Options(give_up_after, longest_delay, checked, self._feed.on_recorded)
        # Held while events are stored and counted, and while a peer is added.
        self._storing = threading.Lock()
        # The peers by their number in the outbox, and those that were removed and have not ended.
        self._deliveries: dict[int, PeerDelivery] = {}
        self._removed: dict[int, PeerDelivery] = {}
        # The numbers of peers by name, also of removed ones.
        self._numbers: dict[str, int] = {}
        try:
            self._add(given)
            self._pool.start()
            with self._pool.lock:
                for delivery in self._deliveries.values():
                    delivery.on_due()
                self._feed.schedule()
            _OPEN.add(self)
        except BaseException:
            self._pool.stop()
            self._outbox.close()
            raise

    def _add(self, peers: Iterable[Peer]) -> list[PeerDelivery]:
        by_name = {peer.name: peer for peer in peers}
        numbers = self._outbox.add_peers(by_name)
        due = self._outbox.count_due(numbers.values())
        added = []
        with self._pool.lock:
            for name, peer in by_name.items():
                delivery = PeerDelivery(
                    self._pool, self._options, peer, numbers[name], self._outbox
                )
                delivery.add_due(due.get(numbers[name], 0))
                added.append(delivery)
            self._numbers |= numbers
            # Other threads read this dict without the lock.
            self._deliveries = self._deliveries | {one.number: one for one in added}
        return added

    @property
    def peers(self) -> list[Peer]:
        """The peers, in the order in which they were added."""
        return [delivery.peer for delivery in self._deliveries.values()]

    def find_peer(self, name: str) -> Peer:
        """Return the peer with a name or a called AE title.

        Parameters
        ----------
        name : str
            Name of the peer, or its called AE title.

        Returns
        -------
        Peer
            The peer with this name, or else the only peer with this AE title.

        Raises
        ------
        ValueError
            If no peer has this name or title, or several peers have this title.

        Examples
        --------
        >>> from fastdimse import Delivery, Peer
        >>> with Delivery([Peer("10.0.0.4", 104, called_ae="CT")]) as delivery:
        ...     delivery.find_peer("CT")
        <Peer: CT@10.0.0.4:104 from EVENT-SCP>
        """
        return self._names.find(name)

    def add_peer(self, peer: Peer) -> None:
        """Add a peer, also while the delivery runs.

        Events in the outbox that are due to a peer of this name are delivered to it.

        Parameters
        ----------
        peer : Peer
            The peer. Its name must differ from those of the other peers.

        Raises
        ------
        TypeError
            If `peer` is not a `Peer`.
        ValueError
            If a peer has the same name.
        OutboxError
            If the outbox cannot be read or written.
        RuntimeError
            If the delivery is closed.

        Examples
        --------
        >>> from fastdimse import Delivery, Peer
        >>> with Delivery() as delivery:
        ...     delivery.add_peer(Peer("10.0.0.4", 104, called_ae="CT"))
        ...     delivery.peers
        [<Peer: CT@10.0.0.4:104 from EVENT-SCP>]
        """
        self._check_open()
        if not isinstance(peer, Peer):
            raise TypeError(f"peer must be a Peer, not {type(peer).__name__}")
        with self._storing:
            self._names.add(peer)
            try:
                [number] = self._outbox.add_peers([peer.name]).values()
                with self._pool.changed:
                    # A removed peer of this name may still wait for responses.
                    self._pool.changed.wait_for(lambda: not self._is_sending(number))
                [added] = self._add([peer])
            except BaseException as error:
                self._names.remove(peer)
                if isinstance(error, OutboxError):
                    # A closed outbox raises.
                    self._check_open()
                raise
        with self._pool.lock:
            if self._pool.is_closing:
                added.conclude()
            else:
                added.on_due()

    def _is_sending(self, number: int) -> bool:
        removed = self._removed.get(number)
        if removed is None or removed.activity is Activity.ENDED:
            return False
        # While it opens an association it has sent no event on it, and will not send any.
        return removed.activity is Activity.RUNNING and removed.state != "connecting"

    def remove_peer(self, peer: Peer | str) -> None:
        """Remove a peer, also while the delivery runs.

        No more events are sent to the peer. This method waits for outstanding responses; the
        association is released. Events without an outcome stay in the outbox, where
        :meth:`due_to_other_peers` counts them, and are delivered when a peer of this name is added
        again.

        Parameters
        ----------
        peer : Peer or str
            The peer, its name, or its called AE title.

        Raises
        ------
        ValueError
            If `peer` is not a peer of this delivery, or several peers have this title.
        RuntimeError
            If the delivery is closed.
        OutboxError
            In a forked process.

        Examples
        --------
        >>> from fastdimse import Delivery, Peer
        >>> delivery = Delivery(Peer("10.0.0.4", 104, called_ae="CT"))
        >>> delivery.remove_peer("CT")
        >>> delivery.peers
        []
        >>> delivery.close()
        """
        self._check_open()
        with self._storing:
            removed = self._delivery_of(peer)
            self._names.remove(removed.peer)
            with self._pool.lock:
                rest = {**self._deliveries}
                del rest[removed.number]
                self._deliveries = rest
                self._removed = {
                    number: one
                    for number, one in self._removed.items()
                    if one.activity is not Activity.ENDED
                }
                self._removed[removed.number] = removed
                removed.is_removed = True
                self._pool.unfinished.discard(removed)
                self._pool.failed.discard(removed)
                removed.conclude()
                self._pool.changed.notify_all()
        removed.stop(at_once=False)
        with self._pool.changed:
            self._pool.changed.wait_for(
                lambda: removed.activity is not Activity.RUNNING or removed.state == "connecting"
            )

    def _delivery_of(self, peer: Peer | str) -> PeerDelivery:
        found = self._names.resolve(peer)
        delivery = self._deliveries.get(self._numbers[found.name])
        if delivery is None:
            # Another thread removes it.
            raise ValueError(f"peer must be a peer of this delivery, not {peer!r}")
        return delivery

    def put(
        self,
        events: Any,
        *,
        peer: Peer | str | Iterable[Peer | str] | None = None,
        transfer_syntax: str = IMPLICIT_VR,
        enforce_uid_conformance: bool = True,
        source: str | None = None,
        other_columns: Literal["raise", "ignore"] = "raise",
    ) -> range:
        """Add events to deliver, and return their numbers.

        The events are due to `peer`. If the events have a column *Peer*, each one is due to the
        peer or peers of its row. Without both, each one is due to all peers.

        With an outbox, the events are on disk when this method returns. Without one, it waits
        while more than 65,536 events are due to each of these peers.

        Parameters
        ----------
        events : Arrow table or stream, mapping of columns, or iterable
            Same as for :func:`fastdimse.encode_events`. In addition, a column *Peer* contains for
            each row the name of a peer or its called AE title, or a list of them. Rows that are
            mappings can also contain a `Peer`. The column of an Arrow table requires pyarrow.
        peer : Peer, str, or iterable of Peer or str, optional
            The peer or peers to which all of the events are due: each as a `Peer`, as the name of a
            peer, or as its called AE title.
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
            Numbers of the events, as in :meth:`outcomes`. A row of an iterable that cannot be read,
            for example because of an unknown name, is rejected: its outcome has the reason.

        Raises
        ------
        OutboxError
            If the events cannot be stored, for example because the disk is full. Events that were
            stored before the error are delivered. Also if the delivery to a peer cannot read from
            or write to the outbox.
        DeliveryError
            If the delivery to a peer failed because of a local error.
        RuntimeError
            If the delivery is closed. If it is closed while this method runs, the error names the
            events that were stored.
        ValueError
            If `peer` or a value of the column *Peer* is not a peer of this delivery, or is the
            title of several peers; if both are given; or if there is no peer. If the events are a
            table in memory, a mapping or a list, none of them is stored. If they are another
            iterable, the events before the row were stored; of an Arrow stream, those of the
            batches before the row.
        ColumnError, TypeError
            Same as :func:`fastdimse.encode_events`, for tables and mappings.

        Examples
        --------
        >>> from fastdimse import Delivery, Peer
        >>> event = {
        ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
        ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
        ...     "EventTypeID": 1,
        ... }
        >>> peers = [Peer("10.0.0.4", 104, called_ae=title) for title in ("CT", "MR")]
        >>> delivery = Delivery(peers)
        >>> delivery.put([event], peer="CT")
        range(0, 1)
        >>> delivery.put([event | {"Peer": "CT"}, event | {"Peer": ["CT", "MR"]}])
        range(1, 3)
        >>> [progress.due for progress in delivery.progress()]
        [3, 1]
        >>> delivery.close(at_once=True)
        """
        options = PutOptions(transfer_syntax, enforce_uid_conformance, source)
        return self._put(events, peer, options, other_columns)

    def _put(
        self,
        events: Any,
        peer: Peer | str | Iterable[Peer | str] | None,
        options: PutOptions,
        other_columns: Literal["raise", "ignore"],
        unreadable: Unreadable | None = None,
    ) -> range:
        """Add events, and return their numbers.

        Parameters
        ----------
        events, peer, other_columns
            As for `put`.
        options : PutOptions
            Options of the events.
        unreadable : callable, optional
            Returns the rows that could not be read. They are null, and rejected for this reason.
        """
        self._check_open()
        self._raise_errors()
        # Check the transfer syntax here, not when the events are sent.
        encode_events((), transfer_syntax=options.transfer_syntax)
        everyone = None if peer is None else self._numbers_of(peer)
        with_recipients = EventsWithRecipients(events, self._numbers_of, other_columns)
        if with_recipients.has_column and everyone is not None:
            raise ValueError("peer must not be given for events with a column 'Peer'")
        first = end = None
        for stored in self._store(with_recipients, everyone, options, unreadable):
            first = stored.numbers.start if first is None else first
            end = stored.numbers.stop
            if self._is_in_memory:
                self._wait_for_room(stored.due)
            self._raise_errors()
            if self._pool.is_closing:
                break
        if self._pool.is_closing:
            which = "no events" if end is None else f"events {first} to {end - 1}"
            raise RuntimeError(f"the delivery was closed while events were added: stored {which}")
        return range(first or 0, end or 0)

    def _check_open(self) -> None:
        self._outbox.check_process()
        if self._pool.is_closing:
            raise RuntimeError("the delivery is closed")

    def _numbers_of(self, peers: Any) -> tuple[int, ...]:
        """Return the numbers of the peers of a row, or of an argument."""
        if isinstance(peers, str | Peer):
            return (self._delivery_of(peers).number,)
        if peers is None:
            raise TypeError("a peer is required, not None")
        if not isinstance(peers, Iterable):
            raise TypeError(f"a peer must be a Peer or a str, not {type(peers).__name__}")
        found = dict.fromkeys(self._delivery_of(peer).number for peer in peers)
        if not found:
            raise ValueError("at least one peer is required")
        return tuple(found)

    def _store(
        self,
        with_recipients: EventsWithRecipients[int],
        everyone: tuple[int, ...] | None,
        options: PutOptions,
        unreadable: Unreadable | None,
    ) -> Iterator[Stored]:
        skip: int | None = None
        for batch, recipients in with_recipients:
            if recipients is not None and everyone is not None:
                raise ValueError("peer must not be given for events with a column 'Peer'")
            if recipients is None and everyone is None:
                everyone = tuple(self._deliveries)
            if recipients is None and not everyone:
                raise ValueError("the delivery has no peers to which the events could be due")
            counted = (BY_COLUMN,) if recipients is not None else everyone or ()
            if skip is None:
                skip = 0 if options.source is None else self._count_stored(options.source, counted)
            if skip >= len(batch):
                skip -= len(batch)
                continue
            if recipients is None:
                groups = [Group(everyone or (), range(skip, len(batch)))]
            else:
                groups = [Group(these, rows) for these, rows in groups_of(recipients, skip)]
            rejected = {} if unreadable is None else unreadable(batch.first_row, len(batch))
            skip = 0
            try:
                with self._storing:
                    stored = self._outbox.store(batch, groups, options, counted, rejected)
                    self._add_due(stored)
            except OutboxError:
                # A closed outbox raises.
                if self._pool.is_closing:
                    return
                raise
            yield stored

    def _count_stored(self, source: str, peers: tuple[int, ...]) -> int:
        return self._outbox.count_stored(source, peers)

    def _add_due(self, stored: Stored) -> None:
        with self._pool.changed:
            for number, count in stored.due.items():
                # A peer that was removed meanwhile has its events in the outbox.
                delivery = self._deliveries.get(number)
                if delivery is not None:
                    delivery.add_due(count)
                    delivery.failures.update(stored.rejected.get(number, ()))
                    delivery.on_due()
            if stored.rejected:
                self._feed.on_recorded()

    def _raise_errors(self) -> None:
        self._outbox.check_process()
        with self._pool.lock:
            errors = [delivery.error for delivery in self._pool.failed]
        if errors:
            raise errors[0]

    def _wait_for_room(self, numbers: Iterable[int]) -> None:
        def has_room() -> bool:
            deliveries = filter(None, map(self._deliveries.get, numbers))
            due = [delivery.due for delivery in deliveries if not delivery.has_ended]
            return self._pool.is_closing or min(due, default=0) <= _MAX_DUE_IN_MEMORY

        # The pool does not notify of each event.
        with self._pool.changed:
            while not self._pool.changed.wait_for(has_room, 0.02):
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
            If the delivery to a peer cannot read from or write to the outbox, or the outbox is
            damaged. Events without a recorded outcome are sent again by the next delivery.
        DeliveryError
            If the delivery to a peer failed because of a local error.
        """
        self._outbox.check_process()
        with self._pool.changed:
            done = self._pool.changed.wait_for(self._is_done, timeout)
        self._raise_errors()
        return done

    def _is_done(self) -> bool:
        return bool(self._pool.failed) or not self._pool.unfinished

    def progress(self) -> list[Progress]:
        """Return the progress of the delivery to each peer.

        Returns
        -------
        list of Progress
            One for each peer, in the order of `peers`.
        """
        return [self._progress_of(delivery) for delivery in self._deliveries.values()]

    def _progress_of(self, delivery: PeerDelivery) -> Progress:
        latencies = sorted(delivery.latencies)

        def quantile(part: float) -> float | None:
            return latencies[int(part * len(latencies))] / 1e9 if latencies else None

        statuses = delivery.statuses.copy()
        return Progress(
            delivery.peer,
            delivery.state,
            delivery.due,
            statuses.total(),
            statuses,
            delivery.failures.copy(),
            quantile(0.5),
            quantile(0.99),
            delivery.attempts,
            delivery.failure,
        )

    def due_to_other_peers(self) -> dict[str, int]:
        """Return how many events in the outbox are due to peers other than these.

        Returns
        -------
        dict of str to int
            Number of events by the name of the peer.
        """
        return self._outbox.due_to_other_peers(self._deliveries)

    def outcomes(self, peer: Peer | str | None = None) -> dict[str, list[Any]]:
        """Return the outcome of each event in the outbox, as columns.

        Outcomes that were taken, by :meth:`take_outcomes` or `on_outcomes`, are not in the outbox.

        Parameters
        ----------
        peer : Peer or str, optional
            The peer, its name, or its called AE title. Required if the delivery has several.

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
            If `peer` is not a peer of this delivery, or is not given and there are several or none.
        """
        deliveries = list(self._deliveries.values())
        if peer is not None:
            return self._outcomes_of(self._delivery_of(peer))
        if len(deliveries) != 1:
            raise ValueError(f"peer is required: the delivery has {len(deliveries)} peers")
        return self._outcomes_of(deliveries[0])

    def _outcomes_of(self, delivery: PeerDelivery) -> dict[str, list[Any]]:
        reason, retried = delivery.failure, delivery.retried
        rows = [
            *self._outbox.outcomes(delivery.number),
            *(
                Outcome(event, None, retried.get(event), None, None, _DUE, reason)
                for event in self._outbox.due_events(delivery.number)
            ),
        ]
        rows.sort(key=lambda outcome: outcome.event)
        return outcome_columns(rows)

    def take_outcomes(self, timeout: float | None = None) -> OutcomeBatches:
        """Iterate over outcomes as they are recorded, and remove them from the outbox.

        The outcomes of earlier deliveries with the same outbox come first. A batch is removed when
        the next one is requested, so that no outcome is lost if the program is killed while it
        processes the batch: the next delivery returns it again. One iterator at a time can be used.

        Parameters
        ----------
        timeout : float, optional
            The iteration ends if there is no new outcome for this time, in seconds. By default it
            ends when the delivery is closed. Outcomes that are returned after that are not removed.

        Returns
        -------
        iterator of dict of str to list
            *Peer*, the name of the peer, and the columns of :meth:`outcomes`, for at most 4,096
            outcomes.

        Raises
        ------
        OutboxError
            If the outbox cannot be read or written.
        RuntimeError
            If another iterator is used, or the delivery has `on_outcomes`.

        Examples
        --------
        >>> from fastdimse import Delivery, Peer, listen
        >>> event = {
        ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
        ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
        ...     "EventTypeID": 1,
        ... }
        >>> with listen(0, host="localhost") as listener:
        ...     with Delivery(Peer("localhost", listener.port, name="CT")) as delivery:
        ...         numbers = delivery.put([event])
        ...         for outcomes in delivery.take_outcomes(timeout=1):
        ...             print(outcomes["Peer"], outcomes["Event"], outcomes["StatusName"])
        ['CT'] [0] ['0x0000 Success']
        >>> delivery.outcomes()["Event"]
        []
        """
        self._outbox.check_process()
        return self._feed.batches(timeout)

    def count_outcomes(
        self, peer: Peer | str, sources: str | Iterable[str]
    ) -> Counter[tuple[int | None, str | None]]:
        """Count the outcomes of the events of some sources, including those of earlier runs.

        Outcomes that were taken are not counted.

        Parameters
        ----------
        peer : Peer or str
            The peer, its name, or its called AE title.
        sources : str or iterable of str
            Names of sources, as given to :meth:`put`.

        Returns
        -------
        Counter
            Number of events by *Status* and *Failure*. One of these is ``None``.

        Raises
        ------
        OutboxError
            If the outbox cannot be read.
        ValueError
            If `peer` is not a peer of this delivery.
        """
        found: Counter[tuple[int | None, str | None]] = Counter()
        number = self._delivery_of(peer).number
        for source in [sources] if isinstance(sources, str) else sources:
            found.update(self._outbox.count_outcomes(number, source))
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
        pool = self._pool
        with pool.lock:
            if pool.is_stopped:
                return
            pool.close(at_once=at_once)
            deliveries = [*self._deliveries.values(), *self._removed.values()]
            for delivery in deliveries:
                delivery.conclude()
            self._feed.close()
        for delivery in deliveries:
            delivery.stop(at_once=at_once)
        end = time.monotonic() + timeout

        def has_ended() -> bool:
            # A peer to which an association is opened was sent no event on it.
            return (self._feed.has_finished or self._feed.is_own_thread) and all(
                one.has_ended or one.state == "connecting" for one in deliveries
            )

        # Not `Thread.join`: a signal that interrupts it can mark the thread as ended.
        with pool.changed:
            while not pool.changed.wait_for(has_ended, 0.05):
                if time.monotonic() >= end:
                    return
        pool.stop()
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
