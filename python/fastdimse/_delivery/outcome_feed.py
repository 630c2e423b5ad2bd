"""Outcomes as they are recorded: for a function, and for an iterator."""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

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
        self._iterator: weakref.ref[OutcomeBatches] | None = None

    @property
    def is_own_thread(self) -> bool:
        """Whether the function makes this call."""
        return self._thread == threading.get_ident()

    def on_recorded(self) -> None:
        """Pass new outcomes on."""
        with self._pool.lock:
            self._has_new = True
            self.schedule()
            if self._iterator is not None:
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

    def batches(self, timeout: float | None) -> "OutcomeBatches":
        """Return an iterator over batches of outcomes.

        Raises
        ------
        RuntimeError
            If the outcomes are passed to a function or another iterator.
        """
        with self._pool.lock:
            if self._function is not None:
                raise RuntimeError("the outcomes are passed to on_outcomes")
            current = None if self._iterator is None else self._iterator()
            if current is not None and not current.is_over:
                raise RuntimeError("the outcomes are already being taken by another iterator")
            iterator = OutcomeBatches(self, timeout)
            self._iterator = weakref.ref(iterator)
        return iterator

    def read(self, after: int) -> list[PeerOutcome]:
        """Return outcomes that were recorded after another one."""
        with self._pool.lock:
            self._has_new = False
        return self._outbox.untaken(after, _BATCH_SIZE)

    def remove(self, last: int) -> bool:
        """Remove outcomes up to this one; return whether the outbox was still open."""
        try:
            self._outbox.remove_taken(last)
        except OutboxError:
            if not self._pool.is_stopped:
                raise
            return False
        return True

    def wait(self, timeout: float | None) -> bool:
        """Wait for new outcomes, or the end of the delivery; return whether one of them came."""
        with self._pool.changed:
            return self._pool.changed.wait_for(
                lambda: self._has_new or self._pool.is_stopped, timeout
            )

    @property
    def is_stopped(self) -> bool:
        """Whether no more outcomes are recorded."""
        return self._pool.is_stopped


class OutcomeBatches:
    """An iterator over batches of outcomes. A batch is removed when the next one is requested.

    Parameters
    ----------
    feed : OutcomeFeed
        The outcomes.
    timeout : float or None
        Seconds without a new outcome after which the iteration ends.

    Attributes
    ----------
    is_over : bool
        Whether the iteration has ended.
    """

    def __init__(self, feed: OutcomeFeed, timeout: float | None) -> None:
        self.is_over = False
        self._feed = feed
        self._timeout = timeout
        # Sequence number of the last outcome that was returned and not removed, and of the last
        # one that remains because the outbox is closed.
        self._returned = 0
        self._kept = 0

    def __iter__(self) -> Self:
        """Return the iterator."""
        return self

    def __next__(self) -> dict[str, list[Any]]:
        """Remove the last batch, and return the next one."""
        if not self.is_over:
            found = self.poll(self._timeout)
            if found is not None:
                return found
            self.close()
        raise StopIteration

    def close(self) -> None:
        """End the iteration. The last batch is not removed."""
        self.is_over = True

    def poll(self, timeout: float | None) -> dict[str, list[Any]] | None:
        """Remove the last batch, and return the next one, or None after a timeout or at the end."""
        if self._returned and not self._feed.remove(self._returned):
            self._kept = self._returned
        self._returned = 0
        while True:
            is_last = self._feed.is_stopped
            found = self._feed.read(self._kept)
            if found:
                self._returned = found[-1].sequence
                return _columns_with_peer(found)
            if is_last:
                self.is_over = True
                return None
            if not self._feed.wait(timeout):
                return None
