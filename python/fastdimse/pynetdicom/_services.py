"""Replaces the thread that pynetdicom starts for each event: an idle thread serves the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

from ._patches import Patches


def replace_service_threads(patches: Patches) -> None:
    """Let the upper layer's thread hand events to threads that have served an event before."""
    from pynetdicom import dimse, dul

    provider = dul.DULServiceProvider

    class Threading:
        """The module `threading` with another class `Thread` for the upper layer's thread."""

        def __getattr__(self, name: str) -> Any:
            return getattr(threading, name)

        @staticmethod
        def Thread(*args: Any, **kwargs: Any) -> Any:  # noqa: N802 - the name in `threading`
            current = threading.current_thread()
            if isinstance(current, provider) and not args and kwargs.keys() == {"target", "args"}:
                services = current.__dict__.get("_fastdimse_services")
                if services is not None:
                    return _Service(services, kwargs["target"], kwargs["args"])
            return threading.Thread(*args, **kwargs)

    def new_run_reactor(self: Any) -> None:
        services = self._fastdimse_services = Services()
        try:
            run_reactor(self)
        finally:
            services.close()

    run_reactor = patches.attribute(provider, "run_reactor", new_run_reactor)
    patches.attribute(dimse, "threading", Threading())


class Services:
    """The threads of an association that serve events."""

    def __init__(self) -> None:
        self.idle: list[_Servant] = []
        self.is_closed = False

    def close(self) -> None:
        """End the threads, once they have served their events."""
        self.is_closed = True
        while self.idle:
            self.idle.pop().end()


class _Service:
    """A call that is started like a thread."""

    def __init__(self, services: Services, target: Callable[..., Any], args: Any) -> None:
        self._services = services
        self._target = target
        self._args = args

    def start(self) -> None:
        try:
            servant = self._services.idle.pop()
        except IndexError:
            servant = _Servant(self._services, self._target)
            servant.start()
        servant.serve(self._target, self._args)


class _Servant(threading.Thread):
    """A thread that serves one event after another, and ends when it has been idle for a time.

    It is named and configured like the thread that pynetdicom starts for one event.
    """

    def __init__(self, services: Services, target: Callable[..., Any]) -> None:
        # With a target, the thread has the same name as in pynetdicom.
        super().__init__(target=target)
        self._services = services
        self._calls: queue.SimpleQueue[tuple[Callable[..., Any], Any] | None] = queue.SimpleQueue()

    def serve(self, target: Callable[..., Any], args: Any) -> None:
        self._calls.put((target, args))

    def end(self) -> None:
        self._calls.put(None)

    def run(self) -> None:
        # The thread does not keep its association alive.
        del self._target  # type: ignore[attr-defined]
        idle = self._services.idle
        while (call := self._next_call()) is not None:
            target, args = call
            # A new thread has an empty context too. An error ends the thread, as in pynetdicom.
            Context().run(target, *args)
            # Nothing of the event may live on while the thread is idle.
            del call, target, args
            idle.append(self)
            if self._services.is_closed or len(idle) > _MAX_IDLE_THREADS:
                # Unless it has been handed an event in the meantime.
                self._leave()

    def _next_call(self) -> tuple[Callable[..., Any], Any] | None:
        try:
            return self._calls.get(timeout=_MAX_IDLE)
        except queue.Empty:
            self._leave()
            return self._calls.get()

    def _leave(self) -> None:
        """End the thread, unless another thread is about to give it an event."""
        try:
            self._services.idle.remove(self)
        except ValueError:
            return
        self.end()


# Seconds after which an idle thread ends.
_MAX_IDLE = 1.0
# Number of idle threads of an association. Few peers send events before they have the response.
_MAX_IDLE_THREADS = 2
