"""The upper layer's thread wakes when there is something to do."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from ._clock import Clock
from ._patches import Patches


def replace_upper_layer(patches: Patches) -> None:
    from pynetdicom import dul

    provider = dul.DULServiceProvider

    def new_send_pdu(self: Any, primitive: Any) -> None:
        send_pdu(self, primitive)
        wake(self)

    def new_kill_dul(self: Any) -> None:
        kill_dul(self)
        wake(self)

    def new_run_reactor(self: Any) -> None:
        # Without file descriptors to spare it sleeps as theirs does.
        with suppress(OSError):
            self._fastdimse_waker = _Waker()
        try:
            run_reactor(self)
        finally:
            if "_fastdimse_waker" in self.__dict__:
                self._fastdimse_waker.close()

    send_pdu = patches.attribute(provider, "send_pdu", new_send_pdu)
    kill_dul = patches.attribute(provider, "kill_dul", new_kill_dul)
    run_reactor = patches.attribute(provider, "run_reactor", new_run_reactor)
    patches.attribute(dul, "time", Clock(provider, _wait_for_work))


def wake(provider: Any) -> None:
    waker = provider.__dict__.get("_fastdimse_waker")
    if waker is not None:
        waker.wake()


class _Waker:
    """Ends the wait of an upper layer's thread from another thread."""

    def __init__(self) -> None:
        # Its descriptor must not be another file's by the time that it is written to.
        self._lock = threading.Lock()
        self.receiver, self._sender = socket.socketpair()
        self.receiver.setblocking(False)
        self._sender.setblocking(False)

    def wake(self) -> None:
        # Full: it will wake; closed: it has ended.
        with self._lock, suppress(OSError):
            self._sender.send(b"\0")

    def clear(self) -> None:
        with suppress(OSError):
            self.receiver.recv(4096)

    def close(self) -> None:
        with self._lock:
            self.receiver.close()
            self._sender.close()


def _wait_for_work(provider: Any, seconds: float) -> None:
    """Sleep until there is something to send or to receive, or as long as must be."""
    waker = provider.__dict__.get("_fastdimse_waker")
    if waker is None:
        time.sleep(seconds)
        return
    if provider.to_provider_queue.queue or provider.event_queue.queue:
        return
    watched = [waker.receiver]
    held = provider.socket
    if held is not None and held._is_connected and held.socket is not None:
        watched.append(held.socket)
    # Established, it waits for no timer (PS3.8 9.2.3), and whatever comes wakes it.
    idle = provider.state_machine.current_state == "Sta6" and provider.assoc._dul_ready.is_set()
    try:
        ready, _, _ = select.select(watched, [], [], seconds * _IDLE if idle else seconds)
    except (OSError, ValueError, TypeError):
        time.sleep(seconds)
        return
    if waker.receiver in ready:
        waker.clear()


# Times as long as pynetdicom's thread sleeps. What changes its attributes doesn't wake it.
_IDLE = 20
