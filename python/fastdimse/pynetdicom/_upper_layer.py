"""Replaces the polling of the upper layer's thread: it wakes when there is something to do."""

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
    """Replace the sleep of the upper layer's thread, and let senders wake it."""
    from pynetdicom import dul

    provider = dul.DULServiceProvider

    def new_send_pdu(self: Any, primitive: Any) -> None:
        send_pdu(self, primitive)
        wake(self)

    def new_kill_dul(self: Any) -> None:
        kill_dul(self)
        wake(self)

    def new_run_reactor(self: Any) -> None:
        # If no file descriptors are left, the thread sleeps as in pynetdicom.
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
    """Wake the thread of an upper layer."""
    waker = provider.__dict__.get("_fastdimse_waker")
    if waker is not None:
        waker.wake()


class _Waker:
    """A pair of sockets by which other threads wake the thread of an upper layer."""

    def __init__(self) -> None:
        # Guards against a write to a descriptor that was closed and belongs to another file.
        self._lock = threading.Lock()
        self.receiver, self._sender = socket.socketpair()
        self.receiver.setblocking(False)
        self._sender.setblocking(False)

    def wake(self) -> None:
        # If the buffer is full, the thread will wake. If it is closed, the thread has ended.
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
    """Sleep until there is something to send or to receive, for a limited time."""
    waker = provider.__dict__.get("_fastdimse_waker")
    if waker is None:
        time.sleep(seconds)
        return
    if provider.to_provider_queue.queue or provider.event_queue.queue:
        return
    watched = [waker.receiver]
    connection = provider.socket
    if connection is not None and connection._is_connected and connection.socket is not None:
        watched.append(connection.socket)
    # No timer runs on an established association (PS3.8 9.2.3), and all input wakes the thread.
    idle = provider.state_machine.current_state == "Sta6" and provider.assoc._dul_ready.is_set()
    try:
        ready, _, _ = select.select(watched, [], [], seconds * _IDLE_FACTOR if idle else seconds)
    except (OSError, ValueError, TypeError):
        time.sleep(seconds)
        return
    if waker.receiver in ready:
        waker.clear()


# Factor by which the sleep on an idle association is longer than in pynetdicom. It is limited,
# because a change of an attribute, which pynetdicom polls too, does not wake the thread.
_IDLE_FACTOR = 20
