"""The threads of a delivery, and the order in which they run tasks."""

import heapq
import itertools
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Protocol

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LOGGER = logging.getLogger("fastdimse")

# Seconds after which a thread without a task ends.
_IDLE_THREAD = 5.0
# Seconds after which a task that still runs is waiting for its peer: another one takes its place.
_PROMPT = 0.5
# How many threads there are at most, as a multiple of the tasks that run.
_MULTIPLE = 4
# Seconds until another attempt to start a thread.
_RESTART = 1.0
# Maximum number of associations that stay open between steps. Each is a file descriptor.
_MAX_OPEN = 2048
if resource is not None:
    _MAX_OPEN = min(_MAX_OPEN, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


class Lane(Enum):
    """Kinds of tasks. Each kind has a queue, and a limit of tasks that run at the same time."""

    # Peers that responded in time at the last attempt.
    PROVEN = "proven"
    # Peers without a response so far.
    NEW = "new"
    # Peers whose last association failed, and slow peers.
    IMPAIRED = "impaired"
    # Associations to release.
    RELEASE = "release"
    # Calls of the function for outcomes.
    OUTCOMES = "outcomes"


class Task(Protocol):
    """A task of a pool. It runs in one thread at a time."""

    # Number of the last call of `submit` for this task: entries of earlier calls are ignored.
    ticket: int

    @property
    def lane(self) -> Lane:
        """The queue for this task."""

    def before_run(self) -> None:
        """Prepare for `run`, with the lock of the pool."""

    def run(self) -> None:
        """Run, without the lock of the pool. Must not raise an exception."""

    def after_run(self) -> None:
        """Continue after `run`, with the lock of the pool."""


class Pool:
    """Threads that run tasks, a queue for each lane, and timers.

    The queues take turns, and so do the tasks of a queue. A task that has run for half a second
    waits for its peer, and another one takes its place in a further thread. Tasks of peers that may
    not respond can use a part of the threads only, so that the others always have threads.

    Parameters
    ----------
    threads : int
        Maximum number of tasks that run at the same time, without those that wait for their peer.
        There are at most four times as many threads.

    Attributes
    ----------
    lock : threading.RLock
        Guards the queues and the states of tasks.
    changed : threading.Condition
        Notifies of changes that callers wait for.
    is_closing : bool
        Whether the tasks must end.
    is_aborting : bool
        Whether associations must be aborted instead of released.
    is_stopped : bool
        Whether the threads end.
    unfinished : set of Task
        Tasks that have due events and have not ended.
    failed : set of Task
        Tasks that have ended because of a local error.
    """

    def __init__(self, threads: int) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.is_closing = False
        self.is_aborting = False
        # Waits of idle threads, and of the thread for the timers.
        self._work = threading.Condition(self.lock)
        self._timing = threading.Condition(self.lock)
        self._max_prompt = threads
        self._max_threads = _MULTIPLE * threads
        # Tasks of these lanes that run at the same time.
        self._limits = [
            ((Lane.IMPAIRED,), threads),
            ((Lane.RELEASE,), threads),
            ((Lane.OUTCOMES,), 1),
            ((Lane.IMPAIRED, Lane.NEW, Lane.RELEASE), (_MULTIPLE - 1) * threads),
        ]
        self._queues: dict[Lane, deque[tuple[int, Task]]] = {lane: deque() for lane in Lane}
        self._running = dict.fromkeys(Lane, 0)
        self._order = deque(Lane)
        # Running tasks, without those that have waited long for their peer.
        self._prompt: set[Any] = set()
        # Those of them that wait for their peer, and since when, in this order.
        self._calls: OrderedDict[Any, float] = OrderedDict()
        # Whether the thread for the timers waits for them.
        self._is_watching = False
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        # Functions to call when an object has been idle until this time, which only grows.
        # Objects that have an association.
        self._open: set[Any] = set()
        self._idle: OrderedDict[Any, tuple[float, Callable[[], None]]] = OrderedDict()
        self._threads = 0
        self._starting = 0
        self._waiting = 0
        self.is_stopped = False
        # Tasks with due events, and those that failed, for callers that wait.
        self.unfinished: set[Any] = set()
        self.failed: set[Any] = set()
        # A daemon: a peer that does not respond must not keep the interpreter alive.
        self._thread = threading.Thread(
            target=self._run_timers, name="fastdimse delivery", daemon=True
        )

    def start(self) -> None:
        """Start the thread for the timers, which starts the other threads."""
        self._thread.start()

    # All methods down to `count_open` are called with the lock.

    def submit(self, task: Task) -> None:
        """Run a task when a thread is free, instead of an earlier call for it that waits."""
        task.ticket = next(self._counter)
        self._queues[task.lane].append((task.ticket, task))
        self._call_thread()

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        """Call a function with the lock at a time of `time.monotonic`."""
        heapq.heappush(self._timers, (when, next(self._counter), function))
        if self._timers[0][0] == when:
            self._timing.notify()

    def call_when_idle(self, key: Any, delay: float, function: Callable[[], None]) -> None:
        """Call a function with the lock after a delay, unless `is_busy` is called before."""
        self._idle.pop(key, None)
        self._idle[key] = (time.monotonic() + delay, function)
        if len(self._idle) == 1:
            self._timing.notify()

    def is_busy(self, key: Any) -> None:
        """Do not call the function of `call_when_idle`."""
        self._idle.pop(key, None)

    def count_open(self, key: Any, *, is_open: bool) -> bool:
        """Count an open association; return whether it must be released.

        If there are too many, one without due events is released instead if there is one.
        """
        if not is_open:
            self._open.discard(key)
            return False
        self._open.add(key)
        return len(self._open) > _MAX_OPEN and not self._call_longest_idle()

    def _call_longest_idle(self) -> bool:
        if not self._idle:
            return False
        _, (_, function) = self._idle.popitem(last=False)
        function()
        return True

    @contextmanager
    def waiting(self, task: Task) -> Iterator[None]:
        """Let other tasks run in further threads, if this one waits long for its peer."""
        with self.lock:
            self._calls[task] = time.monotonic()
        try:
            yield
        finally:
            with self.lock:
                self._calls.pop(task, None)

    def close(self, *, at_once: bool) -> None:
        """Discard timers and queues, with the lock: the tasks must end."""
        self.is_closing = True
        self.is_aborting |= at_once
        self._timers.clear()
        self._idle.clear()
        for queue in self._queues.values():
            queue.clear()

    def stop(self) -> None:
        """End all threads that have no task."""
        with self.lock:
            self.is_stopped = True
            self._timing.notify_all()
            self._work.notify_all()

    def _limit(self) -> int:
        # Threads may be waiting for peers that do not respond: associations are still released.
        return self._max_threads * (2 if self.is_closing else 1)

    def _may_run(self, lane: Lane) -> bool:
        if self.is_closing and lane is not Lane.OUTCOMES:
            return True
        return len(self._prompt) < self._max_prompt and all(
            sum(self._running[one] for one in lanes) < limit
            for lanes, limit in self._limits
            if lane in lanes
        )

    def _runnable(self) -> int:
        """Return how many further tasks could run now, or a little more."""
        count = sum(len(queue) for lane, queue in self._queues.items() if self._may_run(lane))
        return count if self.is_closing else min(count, self._max_prompt - len(self._prompt))

    def _call_thread(self) -> None:
        """Let a thread run a task, or the thread for the timers find a place for it."""
        is_full = len(self._prompt) >= self._max_prompt and not self.is_closing
        if self._waiting and not is_full:
            self._work.notify()
        elif not self._is_watching and (is_full or self._threads < self._limit()):
            self._timing.notify()

    def _next(self) -> tuple[Lane, Task] | None:
        for _ in range(len(self._order)):
            lane = self._order[0]
            self._order.rotate(-1)
            queue = self._queues[lane]
            while queue and self._may_run(lane):
                ticket, task = queue.popleft()
                if ticket == task.ticket:
                    return lane, task
        return None

    def _run_tasks(self) -> None:
        with self.lock:
            self._starting -= 1
            while not self.is_stopped:
                found = self._next()
                if found is not None:
                    self._run(*found)
                    continue
                self._waiting += 1
                is_notified = self._work.wait(_IDLE_THREAD)
                self._waiting -= 1
                if not is_notified and not self._runnable():
                    break
            self._threads -= 1
            self.changed.notify_all()

    def _run(self, lane: Lane, task: Task) -> None:
        self._running[lane] += 1
        self._prompt.add(task)
        if any(self._queues.values()):
            self._call_thread()
        task.before_run()
        self.lock.release()
        try:
            task.run()
        finally:
            self.lock.acquire()
            self._running[lane] -= 1
            self._prompt.discard(task)
        task.after_run()

    def _run_timers(self) -> None:
        with self.lock:
            while not self.is_stopped:
                now = time.monotonic()
                while self._timers and self._timers[0][0] <= now:
                    heapq.heappop(self._timers)[2]()
                while self._idle and next(iter(self._idle.values()))[0] <= now:
                    self._call_longest_idle()
                while self._calls and next(iter(self._calls.values())) + _PROMPT <= now:
                    self._prompt.discard(self._calls.popitem(last=False)[0])
                self._work.notify(min(self._waiting, self._runnable()))
                waits = [self._timers[0][0] - now] if self._timers else []
                if self._idle:
                    waits.append(next(iter(self._idle.values()))[0] - now)
                if not self._start_threads():
                    waits.append(_RESTART)
                # Until then, no place becomes free except by a thread that takes the next task.
                self._is_watching = len(self._prompt) >= self._max_prompt and any(
                    self._queues.values()
                )
                if self._is_watching:
                    since = next(iter(self._calls.values()), now)
                    waits.append(max(since + _PROMPT - now, _PROMPT / 10))
                self._timing.wait(min(waits, default=None))
                self._is_watching = False

    def _start_threads(self) -> bool:
        """Start threads for tasks; return whether as many as necessary could be started."""
        while self._threads < self._limit() and self._runnable() > self._starting + self._waiting:
            thread = threading.Thread(
                target=self._run_tasks, name="fastdimse delivery worker", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                LOGGER.warning("delivery: %s", error)
                return False
            self._threads += 1
            self._starting += 1
        return True
