"""Replaces the pauses of an association's thread: it counts as paused while it sleeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from fastdimse._primitive import N_EVENT_REPORT

from ._clock import Clock
from ._patches import Patches


def replace_association(patches: Patches, is_installed: Callable[[], bool]) -> None:
    """Replace the checkpoint and the sleep of an association's thread.

    Parameters
    ----------
    patches : Patches
        The patches.
    is_installed : callable
        Returns whether the patches are applied.
    """
    from pynetdicom import association

    reactor = association.Association

    def new_reactor_init(self: Any, *args: Any, **kwargs: Any) -> None:
        reactor_init(self, *args, **kwargs)
        self._reactor_checkpoint = _Checkpoint(self, is_installed)

    def new_serve_request(self: Any, msg: Any, context_id: int) -> None:
        if type(msg) is not N_EVENT_REPORT or threading.current_thread() is self:
            serve_request(self, msg, context_id)
            return
        _until_established(self)
        _served.association = self
        try:
            serve_request(self, msg, context_id)
        finally:
            _served.association = None

    def get_paused(self: Any) -> bool:
        paused: bool = self.__dict__["_is_paused"]
        return paused

    def set_paused(self: Any, paused: bool) -> None:
        # A thread that serves an event also sets the flag, but other threads do not wait for it.
        serves = getattr(_served, "association", None) is self
        if not serves or (paused and self._kill):
            self.__dict__["_is_paused"] = paused

    reactor_init = patches.attribute(reactor, "__init__", new_reactor_init)
    serve_request = patches.attribute(reactor, "_serve_request", new_serve_request)
    patches.attribute(reactor, "_is_paused", property(get_paused, set_paused))
    patches.attribute(association, "time", Clock(reactor, _sleep_paused))


class _Checkpoint(threading.Event):
    """Event that pauses an association's thread while a user's thread waits for a response.

    With a plain event the association's thread can have passed the wait while it is still marked as
    paused. A user's thread that returns quickly relies on the mark, and the association's thread
    consumes the response.
    """

    def __init__(self, reactor: Any, is_installed: Callable[[], bool]) -> None:
        super().__init__()
        self._reactor = reactor
        self._is_installed = is_installed
        # Number of threads that `set` must wake.
        self._asleep = 0
        self.set()

    def set(self) -> None:
        """Set the event, and wake the threads that have waited for some time.

        A thread that has just begun to wait looks again by itself. Otherwise it would wake for each
        of many short exchanges, and take turns with the user's thread.
        """
        with self._cond:  # type: ignore[attr-defined]
            self._flag = True
            if self._asleep:
                self._cond.notify_all()  # type: ignore[attr-defined]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event is set, and clear the mark before the event can be cleared."""
        with self._cond:  # type: ignore[attr-defined]
            passed = self.is_set()
            if not passed and timeout is None:
                passed = self._cond.wait_for(self.is_set, _SHORT_EXCHANGE)  # type: ignore[attr-defined]
            if not passed:
                self._asleep += 1
                try:
                    passed = self._cond.wait_for(self.is_set, timeout)  # type: ignore[attr-defined]
                finally:
                    self._asleep -= 1
            # Once uninstalled, its sleep does not mark it as paused.
            if passed and self._is_installed():
                self._reactor._is_paused = False
            return bool(passed)


# Seconds within which a thread that waits for the end of an exchange looks again by itself.
_SHORT_EXCHANGE = 0.005


# The association whose event the current thread serves.
_served = threading.local()


def _until_established(association: Any) -> None:
    """Wait until an accepted association is marked as established.

    The first event of a fast peer can arrive earlier. It is served in a separate thread, which
    sends no response on an association that is not marked as established.
    """
    end = time.monotonic() + (association.acse_timeout or _MAX_ESTABLISHING)
    while (
        not association.is_established
        and not association.is_aborted
        and not association.is_released
        and not association._kill
        and time.monotonic() < end
    ):
        time.sleep(_REACTOR_SLEEP / 4)


# Maximum time in seconds, if the program has set no timeout.
_MAX_ESTABLISHING = 30.0


def _sleep_paused(reactor: Any, seconds: float) -> None:
    """Sleep, marked as paused: other threads need not wait for a sleeping thread.

    This includes the sleep in which the thread waits for its own pause, to release an idle
    association.
    """
    if isinstance(reactor._reactor_checkpoint, _Checkpoint):
        reactor._is_paused = True
    time.sleep(seconds)


# Seconds that an association's thread of pynetdicom sleeps between two rounds.
_REACTOR_SLEEP = 0.001
