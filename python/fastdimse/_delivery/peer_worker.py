"""The worker thread that delivers to one peer."""

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

from fastdimse._core import Association, AssociationError, Peer, describe_status
from fastdimse._outbox import DueBatch, Outbox, OutboxError

from .coordinator import Coordinator
from .errors import DeliveryError

LOGGER = logging.getLogger("fastdimse")

# The outcomes of a part of a batch are recorded when all of its events have one. A part grows or
# shrinks until it takes this many seconds, so that few events are sent again after a kill.
_QUICK, _SLOW = 0.05, 0.2
_FIRST_PART, _LONGEST_PART = 64, 4096
# Seconds after which an association without due events is released.
_IDLE = 5.0
# The first backoff delay in seconds. Each delay is twice as long as the one before.
_FIRST_DELAY = 0.1
# Number of latencies that are kept for the percentiles.
_RECENT = 10_000


class PeerWorker:
    """Worker thread that delivers to one peer.

    Parameters
    ----------
    coordinator : Coordinator
        State that is shared with the delivery and the other workers.
    peer : Peer
        The peer.
    outbox : Outbox
        The events, and where their outcomes are recorded.
    """

    def __init__(self, coordinator: Coordinator, peer: Peer, outbox: Outbox) -> None:
        self.peer = peer
        self.number = outbox.peer_number(peer.name)
        self.state = "idle"
        self.due = outbox.count_due(self.number)
        self.statuses: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()
        self.latencies: deque[int] = deque(maxlen=_RECENT)
        self.attempts = 0
        self.failure: str | None = None
        self.error: OutboxError | DeliveryError | None = None
        # The last Status of events that are sent again, by event number.
        self.retried: dict[int, int] = {}
        self._coordinator = coordinator
        self._outbox = outbox
        self._association: Association | None = None
        self._part_size = _FIRST_PART
        # Failed attempts since the last response that is an outcome.
        self._failed_attempts = 0
        # Whether the last response had a retry Status.
        self._is_retrying = False
        self._batch: DueBatch | None = None
        self._last_progress = time.monotonic()
        # A daemon: a peer that does not respond must not keep the interpreter alive.
        self.thread = threading.Thread(target=self._run, name=peer.name, daemon=True)

    @property
    def has_ended(self) -> bool:
        """Whether the worker delivers no more events."""
        return self.state in ("refused", "given up", "failed", "closed")

    def stop(self, *, at_once: bool) -> None:
        """Stop sending."""
        association = self._association
        if association is not None:
            association.stop(at_once=at_once)

    def _run(self) -> None:
        end = "closed"
        try:
            end = self._deliver()
        except BaseException as error:
            # An outcome that cannot be recorded would be sent again and again. A panic of the
            # extension is not an Exception.
            end, self.error = "failed", self._delivery_error(error)
            self.failure = str(error)
        finally:
            try:
                self._release()
            finally:
                self.state = end
                self._coordinator.notify()

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

    def _deliver(self) -> str:
        """Deliver events until the delivery is closed or the peer fails; return the final state."""
        while not self._coordinator.is_closing:
            batch = self._outbox.due(self.number)
            if batch is None:
                self._wait_for_events()
                continue
            end = self._deliver_batch(batch)
            if end is not None:
                return end
        return "closed"

    def _wait_for_events(self) -> None:
        """Wait for due events, and release the association if none come in time."""
        self.state = "idle"
        self._coordinator.notify()
        timeout = None if self._association is None else _IDLE
        condition = self._coordinator.condition
        with condition:
            is_over = condition.wait_for(
                lambda: self._coordinator.is_closing or self.due > 0, timeout
            )
        if is_over:
            self._last_progress = time.monotonic()
        else:
            self._release()

    def _deliver_batch(self, batch: DueBatch) -> str | None:
        rows, self._batch = batch.rows, batch
        if not rows:
            self._outbox.record_outcomes(self.number, batch.first, (), is_last=True)
        while rows and not self._coordinator.is_closing:
            end = self._open()
            if end is not None:
                return end
            if self._association is not None:
                rows = self._send(batch, rows)
        return None

    def _open(self) -> str | None:
        """Open an association if there is none, after the backoff delay; return a final state."""
        must_wait = self._is_retrying or (self._failed_attempts > 0 and self._association is None)
        if must_wait and (end := self._wait_for_next_attempt()) is not None:
            return end
        if self._association is not None or self._coordinator.is_closing:
            return None
        self.state = "connecting"
        self.attempts += 1
        try:
            self._association = self.peer.connect()
        except AssociationError as error:
            self._on_association_failure(str(error))
            return "refused" if error.permanent else None
        self.state = "sending"
        if self._coordinator.is_closing:
            self._association.stop()
        return None

    def _wait_for_next_attempt(self) -> str | None:
        coordinator = self._coordinator
        delay = min(
            _FIRST_DELAY * 2.0 ** min(self._failed_attempts - 1, 30), coordinator.longest_delay
        )
        if coordinator.give_up_after is not None:
            left = self._last_progress + coordinator.give_up_after - time.monotonic()
            if left < 0:
                return "given up"
            # The last attempt is made at the end of that time.
            delay = min(delay, left + _FIRST_DELAY)
        self.state = "waiting"
        if delay > _IDLE:
            self._release()
        # Random, so that many senders do not return at the same moment after an outage of a peer.
        coordinator.wait_for_close(delay * random.uniform(0.5, 1.0))
        return None

    def _on_association_failure(self, reason: str) -> None:
        self._association = None
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
        is_warning = (is_new or reason != self.failure) and not self._coordinator.is_aborting
        level = logging.WARNING if is_warning else logging.INFO
        self.failure = reason
        LOGGER.log(level, "delivery to %s: %s", self.peer.name, reason)

    def _send(self, batch: DueBatch, rows: list[int]) -> list[int]:
        """Send part of the rows, record their outcomes, and return the rows that are still due."""
        assert self._association is not None
        self.state = "sending"
        part, rest = rows[: self._part_size], rows[self._part_size :]
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
        unsendable: Counter[str] = Counter()
        retry = self._coordinator.retry_statuses
        retried: list[tuple[int, int]] = []
        if not retry.isdisjoint(columns["Status"]):
            responses = zip(part, columns["Status"], strict=True)
            retried = [(row, status) for row, status in responses if status in retry]
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
        recorded: Iterable[Any] = zip(
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
            still_due = {batch.first + row for row in again}
            recorded = [outcome for outcome in recorded if outcome[0] not in still_due]
        remaining = again + rest
        self._outbox.record_outcomes(self.number, batch.first, recorded, is_last=not remaining)
        self._count(columns, unsendable, len(part) - len(again))
        if retried:
            numbers = [batch.first + row for row, _ in retried]
            self._on_retry_status(
                numbers, [status for _, status in retried], len(part) - len(again)
            )
        elif outcomes.failure is None:
            self._is_retrying = False
            self.retried = {}
        if outcomes.failure is not None:
            self._on_association_failure(outcomes.failure)
        elif retried:
            pass
        elif took < _QUICK:
            self._part_size = min(2 * self._part_size, _LONGEST_PART)
        elif took > _SLOW:
            self._part_size = max(self._part_size // 2, 1)
        return remaining

    def _count(
        self, columns: dict[str, list[Any]], unsendable: Counter[str], outcomes: int
    ) -> None:
        """Count outcomes. Events that are sent again are not counted."""
        statuses = Counter(columns["Status"])
        for status in (None, *self._coordinator.retry_statuses):
            del statuses[status]
        self.statuses.update(statuses)
        self.latencies.extend(filter(None, columns["Latency"]))
        self.failures.update(unsendable)
        with self._coordinator.condition:
            self.due -= outcomes
        if outcomes:
            self._last_progress = time.monotonic()
        if statuses:
            self._failed_attempts = 0

    def _release(self) -> None:
        association, self._association = self._association, None
        if association is not None:
            try:
                if self._coordinator.is_aborting:
                    association.abort()
                else:
                    association.release()
            except AssociationError as error:
                LOGGER.info("delivery to %s: %s", self.peer.name, error)
            except RuntimeError:
                # The association has ended already.
                pass
