"""Outcomes as they are recorded: for a function, and for an iterator."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastdimse._core import describe_status
from fastdimse._outbox import Outbox, OutboxError, Outcome, PeerOutcome

from .pool import Lane, Pool

LOGGER = logging.getLogger("fastdimse")

# Maximum number of outcomes in a batch.
_BATCH_SIZE = 4096
# The first and the longest delay after an exception of the function, in seconds.
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 30.0


def outcome_columns(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """Return outcomes as columns."""
    names: dict[int | None, str | None] = {None: None}
    for status in {outcome.status for outcome in outcomes} - {None}:
        assert status is not None
        names[status] = describe_status(status)
    return {
        "Event": [one.event for one in outcomes],
        "MessageID": [one.message_id for one in outcomes],
        "Status": [one.status for one in outcomes],
        "StatusName": [names[one.status] for one in outcomes],
        "Time": [one.time for one in outcomes],
        "Latency": [one.latency for one in outcomes],
        "Failure": [one.failure for one in outcomes],
        "Reason": [one.reason for one in outcomes],
    }


def _columns_with_peer(found: Sequence[PeerOutcome]) -> dict[str, list[Any]]:
    return {
        "Peer": [one.peer for one in found],
        **outcome_columns([one.outcome for one in found]),
    }


class OutcomeFeed:
    """Passes outcomes to a function or an iterator, and removes them from the outbox.

    As a task of the pool, it calls the function with a batch of outcomes.

    Parameters
    ----------
    pool : Pool
        The threads that call the function.
    outbox : Outbox
        The outcomes.
    function : callable, optional
        The function.
    """

    def __init__(
        self, pool: Pool, outbox: Outbox, function: Callable[[dict[str, list[Any]]], Any] | None
    ) -> None:
        self.ticket = 0
        self.lane = Lane.OUTCOMES
        self._pool = pool
        self._outbox = outbox
        self._function = function
        # Whether outcomes may have been recorded since the last read.
        self._has_new = True
        # From the call of `schedule` to the end of the call of the function.
        self._is_scheduled = False
        self._is_running = False
        self._has_failed = False
        self._delay = 0.0
        self._thread: int | None = None
        self._is_iterated = False

    @property
    def is_own_thread(self) -> bool:
        """Whether the function makes this call."""
        return self._thread == threading.get_ident()

    def on_recorded(self) -> None:
        """Pass new outcomes on."""
        with self._pool.lock:
            self._has_new = True
            self.schedule()
            if self._is_iterated:
                self._pool.changed.notify_all()

    # The next methods are called with the lock of the pool.

    def schedule(self) -> None:
        """Call the function soon, if there are outcomes."""
        if self._function is not None and self._has_new and not self._is_scheduled:
            self._is_scheduled = True
            self._pool.submit(self)

    def close(self) -> None:
        """Call the function with the remaining outcomes, after `Pool.close`."""
        self._is_scheduled = self._is_running
        if not self._pool.is_aborting:
            self.schedule()

    @property
    def has_finished(self) -> bool:
        """Whether no call is running or planned."""
        return not self._is_scheduled

    def before_run(self) -> None:
        """Mark the call as running."""
        self._is_running, self._has_new = True, False

    def after_run(self) -> None:
        """Plan the next call."""
        self._is_running = self._is_scheduled = False
        if not self._has_failed:
            if not self._pool.is_aborting:
                self.schedule()
        elif not self._pool.is_closing:
            self._has_new = self._is_scheduled = True
            self._pool.call_at(time.monotonic() + self._delay, lambda: self._pool.submit(self))
        self._pool.changed.notify_all()

    # The next methods are called without the lock of the pool.

    def run(self) -> None:
        """Call the function with a batch of outcomes."""
        assert self._function is not None
        self._thread = threading.get_ident()
        try:
            found = self._outbox.untaken(0, _BATCH_SIZE)
            if found:
                self._function(_columns_with_peer(found))
                self._outbox.remove_taken(found[-1].sequence)
            self._has_new |= len(found) == _BATCH_SIZE
            self._has_failed, self._delay = False, 0.0
        except BaseException as error:
            self._has_failed = True
            self._delay = min(max(2 * self._delay, _FIRST_DELAY), _LONGEST_DELAY)
            if self._pool.is_stopped:
                LOGGER.info("outcomes of the delivery: %s", error)
            elif isinstance(error, OutboxError):
                LOGGER.error("outcomes of the delivery: %s", error)
            else:
                LOGGER.error("on_outcomes failed, and is called again later", exc_info=error)
        finally:
            self._thread = None

    def batches(self, timeout: float | None) -> Iterator[dict[str, list[Any]]]:
        """Yield batches of outcomes. A batch is removed when the next one is requested."""
        with self._pool.lock:
            if self._function is not None:
                raise RuntimeError("the outcomes are passed to on_outcomes")
            if self._is_iterated:
                raise RuntimeError("the outcomes are already being taken by another iterator")
            self._is_iterated = True
        try:
            yield from self._batches(timeout)
        finally:
            self._is_iterated = False

    def _batches(self, timeout: float | None) -> Iterator[dict[str, list[Any]]]:
        last = 0
        while True:
            with self._pool.lock:
                is_closed = self._pool.is_stopped
                self._has_new = False
            found = self._outbox.untaken(last, _BATCH_SIZE)
            if found:
                yield _columns_with_peer(found)
                last = found[-1].sequence
                if self._remove(last):
                    last = 0
            elif is_closed:
                return
            else:
                with self._pool.changed:
                    if not self._pool.changed.wait_for(
                        lambda: self._has_new or self._pool.is_stopped, timeout
                    ):
                        return

    def _remove(self, last: int) -> bool:
        """Remove outcomes, unless the outbox is closed meanwhile: they are then taken again."""
        try:
            self._outbox.remove_taken(last)
        except OutboxError:
            if not self._pool.is_stopped:
                raise
            return False
        return True
