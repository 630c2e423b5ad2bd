"""Events delivered to peers: to each on an association of its own, until it has answered them."""

import atexit
import logging
import math
import os
import random
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from fastdimse._core import (
    Association,
    AssociationError,
    Peer,
    describe_status,
    encode_events,
    status_category,
)
from fastdimse._outbox import DueBatch, Outbox, OutboxError, Outcome, Stored

LOGGER = logging.getLogger("fastdimse")

IMPLICIT_VR = "1.2.840.10008.1.2"

# A part of a batch is noted when all of it is answered. It grows until it takes as many seconds
# as these, so that little is sent twice if the process is killed.
_QUICK, _SLOW = 0.05, 0.2
_FIRST_PART, _LONGEST_PART = 64, 4096
# Seconds after which an association with nothing to send is released.
_IDLE = 5.0
# The first of the waits between two tries, in seconds; each is twice as long as the one before.
_FIRST_DELAY = 0.1
# So many events may wait in memory for the fastest peer.
_WAITING = 1 << 16
# Of so many events the latencies are at hand while others are sent.
_RECENT = 10_000

# What an event is told that was not settled.
_DUE = "due"

# Processing failure and Resource limitation (PS3.7 C.5): the peer did not take the event, and may
# take it later. Others say that this event is wrong for it.
RETRY_STATUSES = (0x0110, 0x0213)


class DeliveryError(RuntimeError):
    """A delivery to a peer that failed by an error of this end; the outbox has what is due."""


class Progress(NamedTuple):
    """How far the delivery to a peer is.

    Attributes
    ----------
    peer : Peer
        The peer.
    state : {"idle", "connecting", "sending", "waiting", "refused", "given up", "failed", "closed"}
        What is done now: *waiting* is for the next try; *refused*, *given up* and *failed* are
        ends, at which `failure` says why.
    due : int
        How many events are to be delivered still.
    answered : int
        How many were answered since the delivery began, with whatever Status that settles them.
    statuses : Mapping of int to int
        The same by Status.
    failures : Mapping of str to int
        How many could not be sent for good, by code.
    median, percentile_99 : float or None
        The latency in seconds that a half, and 99 of 100, of the last ten thousand stayed below.
    attempts : int
        How often an association was opened, or was to be.
    failure : str or None
        Why the last one failed, or the Status for which events are sent again.
    """

    peer: Peer
    state: str
    due: int
    answered: int
    statuses: Mapping[int, int]
    failures: Mapping[str, int]
    median: float | None
    percentile_99: float | None
    attempts: int
    failure: str | None


class _Courier:
    """Who delivers to one peer, in a thread of its own."""

    def __init__(self, delivery: "Delivery", peer: Peer, outbox: Outbox) -> None:
        self.peer = peer
        self.number = outbox.peer(peer.name)
        self.state = "idle"
        self.due = outbox.count_due(self.number)
        self.statuses: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()
        self.latencies: deque[int] = deque(maxlen=_RECENT)
        self.attempts = 0
        self.failure: str | None = None
        self.error: OutboxError | DeliveryError | None = None
        # The last Status of events that are sent again, by their numbers.
        self.retried: dict[int, int] = {}
        self._delivery = delivery
        self._outbox = outbox
        self._association: Association | None = None
        self._part = _FIRST_PART
        # Tries since the last answer, and when there was one.
        self._failed = 0
        self._is_declined = False
        self._sent: DueBatch | None = None
        self._progress = time.monotonic()
        # Daemons: a peer that does not answer must not keep the interpreter.
        self.thread = threading.Thread(target=self._run, name=peer.name, daemon=True)

    @property
    def has_ended(self) -> bool:
        """Whether it delivers no more."""
        return self.state in ("refused", "given up", "failed", "closed")

    def stop(self, *, at_once: bool) -> None:
        """Let it send no more."""
        association = self._association
        if association is not None:
            association.stop(at_once=at_once)

    def _run(self) -> None:
        end = "closed"
        try:
            end = self._deliver()
        except BaseException as error:
            # What can't be noted would be sent again and again. A panic of the extension is no
            # Exception.
            end, self.error = "failed", self._error(error)
            self.failure = str(error)
        finally:
            try:
                self._release()
            finally:
                self.state = end
                self._delivery.changed()

    def _error(self, error: BaseException) -> OutboxError | DeliveryError:
        """Return an error as those who wait have it: with the peer, and what was sent."""
        if isinstance(error, OutboxError):
            LOGGER.error("delivery to %s failed: %s", self.peer.name, error)
            failure: OutboxError | DeliveryError = OutboxError(
                f"delivery to {self.peer.name}: {error}"
            )
        else:
            LOGGER.error("delivery to %s failed", self.peer.name, exc_info=error)
            sent = self._sent
            which = "" if sent is None else f"events {sent.first} to {sent.last}: "
            failure = DeliveryError(
                f"delivery to {self.peer.name}: {which}{type(error).__name__}: {error}"
            )
        failure.__cause__ = error
        return failure

    def _deliver(self) -> str:
        """Deliver until it is told to stop or can't go on, and return the state it ends in."""
        while not self._delivery.is_closing:
            batch = self._outbox.due(self.number)
            if batch is None:
                self._idle()
                continue
            end = self._deliver_batch(batch)
            if end is not None:
                return end
        return "closed"

    def _idle(self) -> None:
        """Wait for events, and release the association if none come."""
        self.state = "idle"
        self._delivery.changed()
        if self._delivery.wait_for_events(self, None if self._association is None else _IDLE):
            self._progress = time.monotonic()
        else:
            self._release()

    def _deliver_batch(self, batch: DueBatch) -> str | None:
        left, self._sent = batch.rows, batch
        if not left:
            self._outbox.settle(self.number, batch.first, (), whole=True)
        while left and not self._delivery.is_closing:
            end = self._open()
            if end is not None:
                return end
            if self._association is not None:
                left = self._send(batch, left)
        return None

    def _open(self) -> str | None:
        """Open an association if there is none, or wait until that can be tried again."""
        waits = self._is_declined or (self._failed > 0 and self._association is None)
        if waits and (end := self._wait_for_next_try()) is not None:
            return end
        if self._association is not None or self._delivery.is_closing:
            return None
        self.state = "connecting"
        self.attempts += 1
        try:
            self._association = self.peer.connect()
        except AssociationError as error:
            self._lost(str(error))
            return "refused" if error.permanent else None
        self.state = "sending"
        if self._delivery.is_closing:
            self._association.stop()
        return None

    def _wait_for_next_try(self) -> str | None:
        delivery = self._delivery
        delay = min(_FIRST_DELAY * 2.0 ** min(self._failed - 1, 30), delivery.longest_delay)
        if delivery.give_up_after is not None:
            left = self._progress + delivery.give_up_after - time.monotonic()
            if left < 0:
                return "given up"
            # The last attempt is made when that time ends.
            delay = min(delay, left + _FIRST_DELAY)
        self.state = "waiting"
        if delay > _IDLE:
            self._release()
        # Many who lost a peer at the same time should not come back at the same time.
        delivery.wait_for_close(delay * random.uniform(0.5, 1.0))
        return None

    def _lost(self, why: str) -> None:
        self._association = None
        self._failed += 1
        self._tell(why, is_new=self._failed == 1)

    def _decline(self, events: Sequence[int], statuses: Sequence[int], settled: int) -> None:
        """Note events that the peer answered, but did not take."""
        is_new, self._is_declined = not self._is_declined, True
        # One is enough to ask whether it takes them again.
        self._part = 1
        self._failed = 1 if settled else self._failed + 1
        self.retried = dict(zip(events, statuses, strict=True))
        why = " and ".join(describe_status(status) for status in sorted(set(statuses)))
        self._tell(why, is_new=is_new)

    def _tell(self, why: str, *, is_new: bool) -> None:
        # A warning is for something new that the peer did: not for each try at one that is away,
        # nor for an association that this delivery aborts because it is closed.
        is_news = (is_new or why != self.failure) and not self._delivery.leaves_at_once
        level = logging.WARNING if is_news else logging.INFO
        self.failure = why
        LOGGER.log(level, "delivery to %s: %s", self.peer.name, why)

    def _send(self, batch: DueBatch, rows: list[int]) -> list[int]:
        """Send a part of the rows, note what became of them, and return those that are left."""
        assert self._association is not None
        self.state = "sending"
        part, behind = rows[: self._part], rows[self._part :]
        begin = time.monotonic()
        outcomes = self._association.send(
            batch.events.take(part),
            transfer_syntax=batch.transfer_syntax,
            enforce_uid_conformance=batch.enforce_uid_conformance,
        )
        took = time.monotonic() - begin
        columns = outcomes.to_pydict()
        events = [batch.first + row for row in part]
        again: list[int] = []
        refused: Counter[str] = Counter()
        retry = self._delivery.retry_statuses
        declined: list[tuple[int, int]] = []
        if not retry.isdisjoint(columns["Status"]):
            answered = zip(part, columns["Status"], strict=True)
            declined = [(row, status) for row, status in answered if status in retry]
        if outcomes.answered < len(part) or declined:
            # What was sent on an association that failed has a Message ID and no answer; what was
            # refused for good has a code of its own and no Message ID.
            unanswered = zip(
                part, columns["MessageID"], columns["Status"], columns["Failure"], strict=True
            )
            for row, message_id, status, code in unanswered:
                if message_id is None and code != "not-sent":
                    refused[code] += 1
                elif status is None or status in retry:
                    again.append(row)
        settled: Iterable[Any] = zip(
            events,
            columns["MessageID"],
            columns["Status"],
            columns["Time"],
            columns["Latency"],
            columns["Failure"],
            columns["Reason"],
            strict=True,
        )
        if again:
            unsettled = {batch.first + row for row in again}
            settled = [outcome for outcome in settled if outcome[0] not in unsettled]
        left = again + behind
        self._outbox.settle(self.number, batch.first, settled, whole=not left)
        self._note(columns, refused, len(part) - len(again))
        if declined:
            numbers = [batch.first + row for row, _ in declined]
            self._decline(numbers, [status for _, status in declined], len(part) - len(again))
        elif outcomes.failure is None:
            self._is_declined = False
            self.retried = {}
        if outcomes.failure is not None:
            self._lost(outcomes.failure)
        elif declined:
            pass
        elif took < _QUICK:
            self._part = min(2 * self._part, _LONGEST_PART)
        elif took > _SLOW:
            self._part = max(self._part // 2, 1)
        return left

    def _note(self, columns: dict[str, list[Any]], refused: Counter[str], settled: int) -> None:
        """Count what became of events; of those that come again nothing is counted."""
        answers = Counter(columns["Status"])
        for status in (None, *self._delivery.retry_statuses):
            del answers[status]
        self.statuses.update(answers)
        self.latencies.extend(filter(None, columns["Latency"]))
        self.failures.update(refused)
        self._delivery.settled(self, settled)
        if settled:
            self._progress = time.monotonic()
        if answers:
            self._failed = 0

    def _release(self) -> None:
        association, self._association = self._association, None
        if association is not None:
            try:
                if self._delivery.leaves_at_once:
                    association.abort()
                else:
                    association.release()
            except AssociationError as error:
                LOGGER.info("delivery to %s: %s", self.peer.name, error)
            except RuntimeError:
                # It is lost already.
                pass


def _retry_statuses(given: Iterable[int]) -> frozenset[int]:
    statuses = frozenset(given)
    for status in statuses:
        if status_category(status) in ("Success", "Warning"):
            raise ValueError(
                f"retry_statuses: {describe_status(status)} says that the event was taken"
            )
    return statuses


# Those that were not closed.
_OPEN: "weakref.WeakSet[Delivery]" = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """End deliveries before the interpreter does: their threads must not run Python code then."""
    for delivery in list(_OPEN):
        delivery._end(at_once=True, timeout=5)


class Delivery:
    """Events on their way to peers.

    Each peer has an association and a thread of its own: a slow or dead one does not slow the
    others. An association that fails is opened again, after a while that grows, and what was not
    answered is sent again: an event is delivered at least once. So is what was answered with one of
    the `retry_statuses`. What a peer refuses for good, by another Status or because it took no
    presentation context for it, is not sent again.

    As a context manager it waits at the end until all is settled; where an exception leaves the
    block it closes.

    Parameters
    ----------
    peers : Peer or iterable of Peer
        To whom events are delivered, each event to all of them.
    outbox : str or os.PathLike, optional
        A file that keeps events until they are delivered. Those that are due to these peers in it
        are delivered too. Without one they are kept in memory.
    give_up_after : float, optional
        How many seconds a peer may be out of reach before it is given up. It is not if not given.
    longest_delay : float, optional
        The longest wait between two tries, in seconds.
    retry_statuses : iterable of int, optional
        Statuses with which an event is not settled: it is sent again, and those behind it wait.
        *Processing failure* and *Resource limitation* (PS3.7 C.5) if not given; with none every
        Status is an outcome.

    Raises
    ------
    OutboxError
        If the outbox can't be opened or is damaged, or another process has it.
    ValueError
        If the outbox can't be a file, or one of `retry_statuses` says that the event was taken.

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
        self.peers = [peers] if isinstance(peers, Peer) else list(peers)
        for peer in self.peers:
            if not isinstance(peer, Peer):
                raise TypeError(f"peers must be a Peer or several, not {type(peer).__name__}")
        names = Counter(peer.name for peer in self.peers)
        if not names:
            raise ValueError("peers is empty: give one Peer or more")
        if (twice := names.most_common(1)[0])[1] > 1:
            raise ValueError(f"the peer {twice[0]} is there {twice[1]} times")
        self.give_up_after = give_up_after
        self.longest_delay = longest_delay
        self.retry_statuses = _retry_statuses(retry_statuses)
        self.is_closing = False
        self.leaves_at_once = False
        self._outbox = Outbox(outbox)
        self._is_kept = outbox is not None
        self._condition = threading.Condition()
        try:
            self._couriers = [_Courier(self, peer, self._outbox) for peer in self.peers]
            self._numbers = [courier.number for courier in self._couriers]
            for courier in self._couriers:
                courier.thread.start()
            _OPEN.add(self)
        except BaseException:
            self.is_closing = True
            self.changed()
            self._outbox.close()
            raise

    # -------------------------------------------------------------- couriers

    def changed(self) -> None:
        """Let those go on who wait for a change."""
        with self._condition:
            self._condition.notify_all()

    def settled(self, courier: _Courier, count: int) -> None:
        """Count events that are not due any more."""
        with self._condition:
            courier.due -= count

    def wait_for_events(self, courier: _Courier, timeout: float | None) -> bool:
        """Wait for events or the end, and return whether one of them is there."""
        with self._condition:
            return self._condition.wait_for(lambda: self.is_closing or courier.due > 0, timeout)

    def wait_for_close(self, timeout: float) -> None:
        """Wait for the end, for so long."""
        with self._condition:
            self._condition.wait_for(lambda: self.is_closing, timeout)

    # ------------------------------------------------------------------ face

    def put(
        self,
        events: Any,
        *,
        transfer_syntax: str = IMPLICIT_VR,
        enforce_uid_conformance: bool = True,
        source: str | None = None,
    ) -> range:
        """Give events to be delivered, and return their numbers.

        With an outbox they are on disk when this returns. Without one it waits while many events
        wait for every peer.

        Parameters
        ----------
        events : Arrow table or stream, mapping of columns, or iterable
            As for :func:`fastdimse.encode_events`.
        transfer_syntax : str, optional
            The UID of the transfer syntax of data sets that are bytes.
        enforce_uid_conformance : bool, optional
            Whether UIDs must be conformant to PS3.5 9.1; ``False`` lets events go on with the UIDs
            that a peer sent. An outbox keeps it with the events.
        source : str, optional
            A name of where the events come from. What the outbox got of it before is left out, so
            that the same events can be put again after the process was killed.

        Returns
        -------
        range
            The numbers by which :meth:`outcomes` has them.

        Raises
        ------
        OutboxError
            If they can't be stored, the disk is full for example. Those that were stored before
            are delivered. Or if an outbox can't be read or written to deliver what is in it.
        DeliveryError
            If the delivery to a peer failed by an error of this end.
        RuntimeError
            If the delivery is closed. Where it is closed meanwhile, the error says which events
            were stored.
        ColumnError, TypeError, ValueError
            As :func:`fastdimse.encode_events`.
        """
        if self.is_closing:
            raise RuntimeError("the delivery is closed")
        self._raise_errors()
        # One that there is not is refused here, not when it is sent.
        encode_events((), transfer_syntax=transfer_syntax)
        first = end = None
        stored = self._outbox.put(
            events,
            self._numbers,
            transfer_syntax=transfer_syntax,
            enforce_uid_conformance=enforce_uid_conformance,
            source=source,
        )
        for numbers, rejected in self._until_closed(stored):
            first = numbers.start if first is None else first
            end = numbers.stop
            codes = [outcome.failure for outcome in rejected]
            with self._condition:
                for courier in self._couriers:
                    courier.due += len(numbers) - len(rejected)
                    courier.failures.update(filter(None, codes))
                self._condition.notify_all()
            if not self._is_kept:
                self._wait_for_room()
            self._raise_errors()
        if self.is_closing:
            these = "none" if end is None else f"{first} to {end - 1}"
            raise RuntimeError(f"the delivery was closed: of these events {these} were stored")
        return range(first or 0, end or 0)

    def _until_closed(self, stored: Iterator[Stored]) -> Iterator[Stored]:
        """Give what is stored, until the delivery is closed."""
        try:
            for one in stored:
                yield one
                if self.is_closing:
                    return
        except OutboxError:
            # A closed outbox takes nothing in.
            if not self.is_closing:
                raise

    def _raise_errors(self) -> None:
        self._outbox.check_process()
        for courier in self._couriers:
            if courier.error is not None:
                raise courier.error

    def _wait_for_room(self) -> None:
        def is_room() -> bool:
            due = [courier.due for courier in self._couriers if not courier.has_ended]
            return self.is_closing or min(due, default=0) <= _WAITING

        with self._condition:
            while not self._condition.wait_for(is_room, 0.02):
                pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is due to any peer that is not given up.

        Parameters
        ----------
        timeout : float, optional
            The most seconds to wait.

        Returns
        -------
        bool
            Whether it came to that.

        Raises
        ------
        OutboxError
            If the outbox could not be read or written, or is damaged. What it does not say is sent
            again next time.
        DeliveryError
            If the delivery to a peer failed by an error of this end.
        """
        self._outbox.check_process()
        with self._condition:
            done = self._condition.wait_for(self._is_done, timeout)
        self._raise_errors()
        return done

    def _is_done(self) -> bool:
        if any(one.error is not None for one in self._couriers):
            return True
        return all(one.due == 0 or one.has_ended for one in self._couriers)

    def progress(self) -> list[Progress]:
        """Return how far the delivery to each peer is."""
        return [self._progress_of(courier) for courier in self._couriers]

    def _progress_of(self, courier: _Courier) -> Progress:
        latencies = sorted(courier.latencies.copy())

        def below(part: float) -> float | None:
            return latencies[int(part * len(latencies))] / 1e9 if latencies else None

        statuses = courier.statuses.copy()
        return Progress(
            courier.peer,
            courier.state,
            courier.due,
            statuses.total(),
            statuses,
            courier.failures.copy(),
            below(0.5),
            below(0.99),
            courier.attempts,
            courier.failure,
        )

    def due_to_other_peers(self) -> dict[str, int]:
        """Return how many events the outbox has that are due to other peers, by their names."""
        return self._outbox.due_to_other_peers(self._numbers)

    def outcomes(self, peer: Peer | None = None) -> dict[str, list[Any]]:
        """Return what became of every event that the outbox has, as columns.

        Parameters
        ----------
        peer : Peer, optional
            With which peer; can be left out if there is one.

        Returns
        -------
        dict of str to list
            *Event*, its number; *MessageID*, *Status*, *StatusName*, *Time*, in ns since 1970 in
            UTC, *Latency*, in ns, *Failure* and *Reason* as :class:`fastdimse.Outcomes` has them.
            Those that are not settled have the *Failure* ``due``, and the last *Status* if they
            are sent again for that.
        """
        if peer is None and len(self._couriers) > 1:
            raise ValueError("there are several peers: name one")
        for courier in self._couriers:
            if peer in (None, courier.peer):
                return self._outcomes_of(courier)
        raise ValueError(f"{peer!r} is no peer of this delivery")

    def _outcomes_of(self, courier: _Courier) -> dict[str, list[Any]]:
        reason, retried = courier.failure, courier.retried
        rows = [
            *self._outbox.outcomes(courier.number),
            *(
                Outcome(event, None, retried.get(event), None, None, _DUE, reason)
                for event in self._outbox.due_events(courier.number)
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
        """Return how many events of some sources are settled in each way, also in earlier runs.

        Parameters
        ----------
        peer : Peer
            With which peer.
        sources : iterable of str
            Names that were given to :meth:`put`.

        Returns
        -------
        Counter
            Events by their *Status* and *Failure*, of which one is None.
        """
        found: Counter[tuple[int | None, str | None]] = Counter()
        for courier in self._couriers:
            if courier.peer is peer:
                for source in sources:
                    found.update(self._outbox.count_outcomes(courier.number, source))
        return found

    def close(self, *, at_once: bool = False) -> None:
        """Send no more, wait for the answers to what was sent, and release the associations.

        What is not delivered stays in the outbox.

        Parameters
        ----------
        at_once : bool, optional
            Wait for nothing: the associations are aborted, and what was not answered is sent again
            next time.
        """
        self._end(at_once=at_once)

    def _end(self, *, at_once: bool, timeout: float = math.inf) -> None:
        if self._outbox.is_of_parent:
            # The associations, their threads and the outbox are those of the parent.
            return
        with self._condition:
            self.is_closing = True
            self.leaves_at_once |= at_once
            self._condition.notify_all()
        for courier in self._couriers:
            courier.stop(at_once=at_once)
        end = time.monotonic() + timeout
        # Nothing is on its way where there is no association yet. A thread that is joined is taken
        # for dead when a signal interrupts that.
        with self._condition:
            while not self._condition.wait_for(
                lambda: all(one.has_ended or one.state == "connecting" for one in self._couriers),
                0.05,
            ):
                if time.monotonic() >= end:
                    return
        self._outbox.close()
        _OPEN.discard(self)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait and close, or close at once where an exception leaves the block."""
        try:
            if kind is None:
                self.wait()
        finally:
            self.close()
