"""The association's thread counts as paused while it sleeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from fastdimse._primitive import N_EVENT_REPORT

from ._clock import Clock
from ._patches import Patches


def replace_association(patches: Patches, is_installed: Callable[[], bool]) -> None:
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
        # The thread that serves an event says it too, but it is not the one that others wait for.
        serves = getattr(_served, "association", None) is self
        if not serves or (paused and self._kill):
            self.__dict__["_is_paused"] = paused

    reactor_init = patches.attribute(reactor, "__init__", new_reactor_init)
    serve_request = patches.attribute(reactor, "_serve_request", new_serve_request)
    patches.attribute(reactor, "_is_paused", property(get_paused, set_paused))
    patches.attribute(association, "time", Clock(reactor, _rest_of_the_reactor))


class _Checkpoint(threading.Event):
    """Where an association's reactor is held while a user's thread waits for an answer.

    Of a plain event the reactor can be past the wait and not yet have said so: a user's thread
    that comes back quickly takes it for paused, and the reactor takes the answer away.
    """

    def __init__(self, reactor: Any, is_installed: Callable[[], bool]) -> None:
        super().__init__()
        self._reactor = reactor
        self._is_installed = is_installed
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; the reactor is no longer paused before it can be cleared."""
        with self._cond:  # type: ignore[attr-defined]
            passed = self._cond.wait_for(self.is_set, timeout)  # type: ignore[attr-defined]
            # Taken back, it is as of a plain one: its sleep says no longer that it is paused.
            if passed and self._is_installed():
                self._reactor._is_paused = False
            return bool(passed)


# The association whose event this thread serves.
_served = threading.local()


def _until_established(association: Any) -> None:
    """Wait while the association's thread has accepted but not yet said so.

    A quick peer's first event arrives in between. It is served in a thread of its own, and is
    not answered on an association that doesn't count as established.
    """
    end = time.monotonic() + (association.acse_timeout or _ESTABLISHING)
    while (
        not association.is_established
        and not association.is_aborted
        and not association.is_released
        and not association._kill
        and time.monotonic() < end
    ):
        time.sleep(_REACTOR_SLEEP / 4)


# Seconds, where a program has set no timeout.
_ESTABLISHING = 30.0


def _rest_of_the_reactor(reactor: Any, seconds: float) -> None:
    """Sleep, and be paused meanwhile: nothing is done that a user would have to wait for.

    It is so too when it waits for itself, to release an association that has been idle.
    """
    if isinstance(reactor._reactor_checkpoint, _Checkpoint):
        reactor._is_paused = True
    time.sleep(seconds)


# What only the association's reactor sleeps between its rounds.
_REACTOR_SLEEP = 0.001
