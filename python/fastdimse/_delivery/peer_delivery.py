"""The delivery to one peer: its state, and its steps in the threads of the pool."""

import logging
import math
import random
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Any, Literal

from fastdimse._core import Association, AssociationError, Peer, describe_status
from fastdimse._outbox import DueBatch, Outbox, OutboxError

from .errors import DeliveryError
from .options import Options
from .pool import Lane, Pool

LOGGER = logging.getLogger("fastdimse")

# The outcomes of a part of a batch are recorded when all of its events have one. A part grows or
# shrinks until it takes this many seconds, so that few events are sent again after a kill.
_QUICK, _SLOW = 0.05, 0.2
_FIRST_PART, _LONGEST_PART = 16, 4096
# A peer that needs more seconds than this for a part is slow. It shares the threads for failing
# peers.
_IMPAIRED = 1.0
# Seconds after which an association without due events is released.
_IDLE = 5.0
# The first backoff delay in seconds. Each delay is twice as long as the one before.
_FIRST_DELAY = 0.1
# Seconds until outcomes that could not be recorded are recorded again.
_RECORD_AGAIN = 1.0
# Number of latencies that are kept for the percentiles.
_RECENT = 1000

_End = Literal["refused", "given up", "failed", "closed"]


class Activity(Enum):
    """What the pool does for a peer."""

    # No event is due, or the next attempt is later.
    IDLE = "idle"
    # A task is in a queue of the pool.
    QUEUED = "queued"
    # A thread runs the task.
    RUNNING = "running"
    # There are no more tasks.
    ENDED = "ended"


class PeerDelivery:
    """The delivery to one peer.

    Its `run` is a step: it opens an association if there is none, and sends a part of a batch.

    Parameters
    ----------
    pool : Pool
        The threads that run the steps.
    options : Options
        Options of the delivery.
    peer : Peer
        The peer.
    number : int
        The number of the peer in the outbox.
    outbox : Outbox
        The events, and where their outcomes are recorded.

    Attributes
    ----------
    activity : Activity
        What the pool does for the peer. Guarded by the lock of the pool, like `due`.
    state : str
        The state for users.
    is_removed : bool
        Whether the peer was removed from the delivery.
    """

    def __init__(
        self, pool: Pool, options: Options, peer: Peer, number: int, outbox: Outbox
    ) -> None:
        self.peer = peer
        self.number = number
        self.activity = Activity.IDLE
        self.state = "idle"
        self.due = 0
        self.is_removed = False
        self.ticket = 0
        self.statuses: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()
        self.latencies = array("q")
        self.attempts = 0
        self.failure: str | None = None
        self.error: OutboxError | DeliveryError | None = None
        # The last Status of events that are sent again, by event number.
        self.retried: dict[int, int] = {}
        self._pool = pool
        self._options = options
        self._outbox = outbox
        self._association: Association | None = None
        self._part_size = _FIRST_PART
        # Failed attempts since the last response that is an outcome.
        self._failed_attempts = 0
        # Whether the last response had a retry Status.
        self._is_retrying = False
        self._batch: DueBatch | None = None
        self._rows: Sequence[int] = ()
        self._last_progress = time.monotonic()
        # Whether the peer responded to events of the last association.
        self._is_proven = False
        # Whether the last association failed, or the last step took long.
        self._is_impaired = False
        self._must_release = False
        # Seconds until the next step, or the final state.
        self._next: float | _End | None = 0.0
        # The timer of the next attempt: a timer that was set before has another number.
        self._timer = 0

    @property
    def has_ended(self) -> bool:
        """Whether no more events are delivered to the peer."""
        return self.state in ("refused", "given up", "failed", "closed")

    @property
    def is_open(self) -> bool:
        """Whether an association is open."""
        return self._association is not None

    @property
    def must_end(self) -> bool:
        """Whether the delivery is closed, or the peer is removed from it."""
        return self._pool.is_closing or self.is_removed

    @property
    def lane(self) -> Lane:
        """The queue of the pool for the next step."""
        if self._must_release or self.must_end:
            return Lane.RELEASE
        if self._is_impaired:
            return Lane.IMPAIRED
        return Lane.PROVEN if self._is_proven else Lane.NEW

    def stop(self, *, at_once: bool) -> None:
        """Stop sending."""
        association = self._association
        if association is not None:
            association.stop(at_once=at_once)

    # ------------------------------------------------------------ with the lock of the pool

    def add_due(self, count: int) -> None:
        """Change the number of due events."""
        # Events can have outcomes before `Delivery.put` has counted them.
        self.due += count
        if self.due and not self.has_ended and not self.is_removed:
            self._pool.unfinished.add(self)
        elif self in self._pool.unfinished:
            self._pool.unfinished.discard(self)
            self._pool.changed.notify_all()

    def on_due(self) -> None:
        """Deliver due events, unless this is planned already."""
        if self.due > 0 and (
            (self.activity is Activity.IDLE and self.state == "idle")
            or (self.activity is Activity.QUEUED and self._must_release)
        ):
            self._last_progress = time.monotonic()
            self._must_release = False
            self._submit()

    def conclude(self) -> None:
        """End, if no thread runs a step, because the delivery is closed or the peer is removed."""
        if self.activity in (Activity.RUNNING, Activity.ENDED):
            return
        self._timer += 1
        self._pool.is_busy(self)
        if self._association is None:
            self._end("closed")
        else:
            self._submit()

    def before_run(self) -> None:
        """Mark the step as running."""
        self.activity = Activity.RUNNING

    def after_run(self) -> None:
        """Plan the next step."""
        if self._pool.count_open(self, is_open=self._association is not None):
            self._must_release = True
        if isinstance(self._next, str):
            self._end(self._next)
            return
        self.activity = Activity.IDLE
        if self.must_end:
            self.conclude()
        elif self._must_release:
            self._submit()
        elif self._next is None:
            self.state = "idle"
            if self.due > 0:
                self.on_due()
            elif self._association is not None:
                self._pool.call_when_idle(self, _IDLE, self._on_idle)
        elif self._next > 0:
            self._timer += 1
            timer = self._timer
            self._pool.call_at(time.monotonic() + self._next, lambda: self._on_timer(timer))
        else:
            self._submit()
        if self.must_end:
            self._pool.changed.notify_all()

    def _submit(self) -> None:
        self.activity = Activity.QUEUED
        if self._association is None:
            self.state = "queued"
        self._pool.is_busy(self)
        self._pool.submit(self)

    def _on_timer(self, timer: int) -> None:
        if timer == self._timer and self.activity is Activity.IDLE:
            self._submit()

    def _on_idle(self) -> None:
        if self.activity is Activity.IDLE and self._association is not None:
            self._must_release = True
            self._submit()

    def _end(self, state: _End) -> None:
        self.state, self.activity = state, Activity.ENDED
        self._timer += 1
        self._batch, self._rows = None, ()
        self._pool.unfinished.discard(self)
        if self.error is not None and not self.is_removed:
            self._pool.failed.add(self)
        self._pool.changed.notify_all()

    # --------------------------------------------------------- without the lock of the pool

    def run(self) -> None:
        """Deliver a part of the due events."""
        try:
            self._next = self._step()
        except BaseException as error:
            # An outcome that cannot be recorded would be sent again and again. A panic of the
            # extension is not an Exception.
            self._next, self.error = "failed", self._delivery_error(error)
            self.failure = str(error)
        try:
            if isinstance(self._next, str):
                self._release()
        except BaseException as error:
            LOGGER.info("delivery to %s: %s", self.peer.name, error)

    def _delivery_error(self, error: BaseException) -> OutboxError | DeliveryError:
        """Log an error, and return it with the peer and the events in its text."""
        if isinstance(error, OutboxError):
            LOGGER.error("delivery to %s failed: %s", self.peer.name, error)
            failure: OutboxError | DeliveryError = OutboxError(
                f"delivery to {self.peer.name}: {error}"
            )
        else:
            LOGGER.error("delivery to %s failed", self.peer.name, exc_info=error)
            batch = self._batch
            which = "" if batch is None else f"events {batch.first} to {batch.last}: "
            failure = DeliveryError(
                f"delivery to {self.peer.name}: {which}{type(error).__name__}: {error}"
            )
        failure.__cause__ = error
        return failure

    def _step(self) -> float | _End | None:
        """Run a step; return the delay until the next one, a final state, or None if idle."""
        if self.must_end:
            return "closed"
        if self._must_release:
            self._must_release = False
            self._release()
            return None
        if not self._rows and not self._read():
            return None
        assert self._batch is not None
        if self._association is None and (end := self._open()) is not None:
            return end
        if self.must_end:
            return "closed"
        if self._association is not None:
            self._send(self._batch)
        if self._association is None or self._is_retrying:
            return self._next_attempt()
        if self._rows or self.due > 0:
            return 0.0
        self._batch = None
        return None

    def _read(self) -> bool:
        """Read the next batch; return whether there is one."""
        while (batch := self._outbox.due(self.number)) is not None:
            self._batch, self._rows = batch, batch.rows
            if self._rows:
                return True
            self._record(batch.first, [], is_last=True)
        self._batch = None
        return False

    def _open(self) -> _End | None:
        """Open an association; return a final state if the peer refuses it."""
        self.state = "connecting"
        with self._pool.changed:
            self._pool.changed.notify_all()
        self.attempts += 1
        try:
            with self._pool.waiting(self):
                self._association = self.peer.connect()
        except AssociationError as error:
            self._on_association_failure(str(error))
            return "refused" if error.permanent else None
        self.state = "sending"
        return None

    def _next_attempt(self) -> float | _End:
        """Return the backoff delay, or a final state if the peer is given up."""
        options = self._options
        delay = min(_FIRST_DELAY * 2.0 ** min(self._failed_attempts - 1, 30), options.longest_delay)
        if options.give_up_after is not None:
            left = self._last_progress + options.give_up_after - time.monotonic()
            if left < 0:
                return "given up"
            # The last attempt is made at the end of that time.
            delay = min(delay, left + _FIRST_DELAY)
        self.state = "waiting"
        if delay > _IDLE:
            self._release()
            self._batch, self._rows = None, ()
        # Random, so that many senders do not return at the same moment after an outage of a peer.
        return delay * random.uniform(0.5, 1.0)

    def _on_association_failure(self, reason: str) -> None:
        self._association = None
        self._is_impaired = True
        self._failed_attempts += 1
        self._log_failure(reason, is_new=self._failed_attempts == 1)

    def _on_retry_status(
        self, events: Sequence[int], statuses: Sequence[int], outcomes: int
    ) -> None:
        """Schedule another attempt for events whose response has a retry Status."""
        is_new, self._is_retrying = not self._is_retrying, True
        # One event is enough to find out whether the peer accepts events again.
        self._part_size = 1
        self._failed_attempts = 1 if outcomes else self._failed_attempts + 1
        self.retried = dict(zip(events, statuses, strict=True))
        reason = " and ".join(describe_status(status) for status in sorted(set(statuses)))
        self._log_failure(reason, is_new=is_new)

    def _log_failure(self, reason: str, *, is_new: bool) -> None:
        # Warn of what the peer did, once: not for each attempt while it is unreachable, nor for an
        # association that this delivery aborts because it is closed.
        is_warning = (is_new or reason != self.failure) and not self._pool.is_aborting
        level = logging.WARNING if is_warning else logging.INFO
        self.failure = reason
        LOGGER.log(level, "delivery to %s: %s", self.peer.name, reason)

    def _send(self, batch: DueBatch) -> None:
        """Send part of the due rows, and record their outcomes."""
        assert self._association is not None
        self.state = "sending"
        part, rest = self._rows[: self._part_size], self._rows[self._part_size :]
        begin = time.monotonic()
        events_of_part = batch.events.take(list(part))
        with self._pool.waiting(self):
            outcomes = self._association.send(
                events_of_part,
                transfer_syntax=batch.transfer_syntax,
                enforce_uid_conformance=batch.enforce_uid_conformance,
            )
        took = time.monotonic() - begin
        columns = outcomes.to_pydict()
        events = [batch.numbers[row] for row in part]
        again: list[int] = []
        unsendable: Counter[str] = Counter()
        retry = self._options.retry_statuses
        retried: list[tuple[int, int]] = []
        if not retry.isdisjoint(columns["Status"]):
            responses = zip(events, columns["Status"], strict=True)
            retried = [(event, status) for event, status in responses if status in retry]
        if outcomes.answered < len(part) or retried:
            # An event that was sent has a Message ID, also if the association failed before its
            # response. An event that cannot be sent has a code of its own and no Message ID.
            without_outcome = zip(
                part, columns["MessageID"], columns["Status"], columns["Failure"], strict=True
            )
            for row, message_id, status, code in without_outcome:
                if message_id is None and code != "not-sent":
                    unsendable[code] += 1
                elif status is None or status in retry:
                    again.append(row)
        names = ("MessageID", "Status", "Time", "Latency", "Failure", "Reason")
        recorded = list(zip(events, *(columns[name] for name in names), strict=True))
        if again:
            still_due = {batch.numbers[row] for row in again}
            recorded = [outcome for outcome in recorded if outcome[0] not in still_due]
        self._rows = [*again, *rest] if again else rest
        self._record(batch.first, recorded, is_last=not self._rows)
        self._count(columns, unsendable, len(part) - len(again))
        if retried:
            numbers = [event for event, _ in retried]
            self._on_retry_status(
                numbers, [status for _, status in retried], len(part) - len(again)
            )
        elif outcomes.failure is None:
            self._is_retrying = False
            self.retried = {}
        self._is_impaired = took > _IMPAIRED
        if outcomes.failure is not None:
            self._on_association_failure(outcomes.failure)
            return
        self._is_proven = True
        if retried:
            pass
        elif took < _QUICK:
            self._part_size = min(2 * self._part_size, _LONGEST_PART)
        elif took > _SLOW:
            self._part_size = max(self._part_size // 2, 1)

    def _record(self, first: int, outcomes: Sequence[Any], *, is_last: bool) -> None:
        """Record outcomes of a batch; while the disk is full, try again every second."""
        is_new = True
        most = self._options.give_up_after
        end = math.inf if most is None else time.monotonic() + most
        while True:
            try:
                self._outbox.record_outcomes(self.number, first, outcomes, is_last=is_last)
                return
            except OutboxError as error:
                if not error.is_temporary or self.must_end or time.monotonic() > end:
                    raise
                self.state = "waiting"
                self._log_failure(str(error), is_new=is_new)
                is_new = False
            with self._pool.waiting(self), self._pool.changed:
                self._pool.changed.wait_for(lambda: self.must_end, _RECORD_AGAIN)

    def _count(
        self, columns: dict[str, list[Any]], unsendable: Counter[str], outcomes: int
    ) -> None:
        """Count outcomes. Events that are sent again are not counted."""
        statuses = Counter(columns["Status"])
        for status in (None, *self._options.retry_statuses):
            del statuses[status]
        self.statuses.update(statuses)
        recent = array("q", filter(None, columns["Latency"]))
        self.latencies = (self.latencies + recent)[-_RECENT:]
        self.failures.update(unsendable)
        with self._pool.lock:
            self.add_due(-outcomes)
        if outcomes:
            self._last_progress = time.monotonic()
            self._options.on_recorded()
        if statuses:
            self._failed_attempts = 0

    def _release(self) -> None:
        association, self._association = self._association, None
        if association is not None:
            try:
                if self._pool.is_aborting:
                    association.abort()
                else:
                    association.release()
            except AssociationError as error:
                LOGGER.info("delivery to %s: %s", self.peer.name, error)
            except RuntimeError:
                # The association has ended already.
                pass
