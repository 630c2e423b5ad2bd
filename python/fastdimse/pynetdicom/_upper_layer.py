"""Replaces the polling of the upper layer's thread: it wakes when there is something to do."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ._clock import Clock
from ._patches import Patches

_T = TypeVar("_T")


def replace_upper_layer(patches: Patches) -> None:
    """Replace the sleep of the upper layer's thread, and let senders wake it."""
    from pynetdicom import dul, transport

    provider = dul.DULServiceProvider
    association_socket = transport.AssociationSocket
    ready = association_socket.__dict__["ready"]

    def new_send_pdu(self: Any, primitive: Any) -> None:
        send_pdu(self, primitive)
        wake(self)

    def new_kill_dul(self: Any) -> None:
        kill_dul(self)
        wake(self)

    def new_run_reactor(self: Any) -> None:
        # If no file descriptors are left, the thread sleeps as in pynetdicom.
        with suppress(OSError):
            self._fastdimse_waker = Waker()
        try:
            run_reactor(self)
        finally:
            if "_fastdimse_waker" in self.__dict__:
                self._fastdimse_waker.close()

    def get_ready(self: Any) -> bool:
        waker = waker_of(self._assoc.dul)
        if waker is not None and waker.thread == threading.get_ident():
            is_readable, waker.is_readable = waker.is_readable, None
            if is_readable is not None and is_established(self._assoc.dul) and self._is_connected:
                return is_readable
        is_ready: bool = ready.fget(self)
        return is_ready

    send_pdu = patches.attribute(provider, "send_pdu", new_send_pdu)
    kill_dul = patches.attribute(provider, "kill_dul", new_kill_dul)
    run_reactor = patches.attribute(provider, "run_reactor", new_run_reactor)
    patches.attribute(association_socket, "ready", property(get_ready))
    patches.attribute(dul, "time", Clock(provider, _wait_for_work))


def waker_of(provider: Any) -> Waker | None:
    """Return the waker of an upper layer, or None if its thread sleeps as in pynetdicom."""
    waker: Waker | None = provider.__dict__.get("_fastdimse_waker")
    return waker


def wake(provider: Any) -> None:
    """Wake the thread of an upper layer."""
    waker = waker_of(provider)
    if waker is not None:
        waker.wake()


def is_established(provider: Any) -> bool:
    """Return whether the association of an upper layer is established: its state is Sta6."""
    return bool(provider.state_machine.current_state == "Sta6")


def indicate_closed(events: Any) -> None:
    """Queue the event Evt17, transport connection closed indication (PS3.8 9.2.3).

    pynetdicom does it too if a write fails.
    """
    events.put("Evt17")


def expect_nothing(provider: Any) -> None:
    """Let the upper layer's thread wait before it looks for the next message.

    A look would let the thread run that was given the last message, without the turn to respond.
    """
    waker = waker_of(provider)
    if waker is not None and type(getattr(provider.socket, "socket", None)) is socket.socket:
        waker.is_readable = False
        waker.received = time.monotonic()


def let_respond(provider: Any) -> bool:
    """Give the thread that serves the last message time to respond before the association may end.

    What follows the message directly can be the end of the connection or an A-ABORT, after which no
    response is sent. pynetdicom has this time too: it sleeps before it looks at the connection.

    Returns
    -------
    bool
        Whether there is something to send before the connection is read.
    """
    waker = waker_of(provider)
    if waker is None or waker.thread != threading.get_ident() or not is_established(provider):
        return False
    left = waker.received + _TIME_TO_RESPOND - time.monotonic()
    if left <= 0 or _is_data(provider.socket.socket):
        return False
    waker.without_turn(time.sleep, left)
    return bool(waker.unsent or provider.to_provider_queue.queue)


def _is_data(connection: Any) -> bool:
    """Return whether P-DATA-TF (PS3.8 9.3.1) is the next PDU, or it is not known."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK) == b"\x04")
    except (AttributeError, OSError, ValueError):
        # It was closed, or a TLS connection, which has no MSG_PEEK.
        return True


class Waker:
    """A pair of sockets by which other threads wake the thread of an upper layer.

    Attributes
    ----------
    turn : threading.Lock
        Held by the thread that sends or processes what was received. The upper layer's thread holds
        it, except while it waits on an established association.
    unsent : bytes
        The rest of a message that another thread began to send when it had the turn.
    failure : Exception or None
        An error with which the upper layer's thread has to end.
    thread : int
        The identifier of the upper layer's thread.
    is_readable : bool or None
        Whether the connection can be read, if the thread knows it.
    received : float
        The time of the last complete message, in seconds of `time.monotonic`.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.unsent = b""
        self.failure: Exception | None = None
        self.thread = threading.get_ident()
        self.is_readable: bool | None = None
        self.received = float("-inf")
        # Guards against a write to a descriptor that was closed and belongs to another file.
        self._lock = threading.Lock()
        self.receiver, self._sender = socket.socketpair()
        self.receiver.setblocking(False)
        self._sender.setblocking(False)

    def wake(self) -> None:
        # If the buffer is full, the thread will wake. If it is closed, the thread has ended.
        with self._lock, suppress(OSError):
            self._sender.send(b"\0")

    def without_turn(self, wait: Callable[..., _T], *args: Any) -> _T:
        """Call a function that waits, while other threads can take the turn."""
        self.turn.release()
        try:
            return wait(*args)
        finally:
            self.turn.acquire()

    def clear(self) -> None:
        with suppress(OSError):
            self.receiver.recv(4096)

    def close(self) -> None:
        with self._lock:
            self.receiver.close()
            self._sender.close()


def _wait_for_work(provider: Any, seconds: float) -> None:
    """Sleep until there is something to send or to receive, for a limited time."""
    waker = waker_of(provider)
    if waker is None:
        time.sleep(seconds)
        return
    if waker.failure is not None:
        failure, waker.failure = waker.failure, None
        raise failure
    if provider.to_provider_queue.queue or provider.event_queue.queue:
        return
    watched: list[Any] = [waker.receiver]
    connection = provider.socket
    if connection is not None and connection._is_connected and connection.socket is not None:
        watched.append(connection.socket)
    # No timer runs on an established association (PS3.8 9.2.3), and all input wakes the thread.
    idle = is_established(provider) and provider.assoc._dul_ready.is_set()
    try:
        if idle:
            ready = waker.without_turn(_select, watched, seconds * _IDLE_FACTOR)
        else:
            ready = _select(watched, seconds)
    except (OSError, ValueError, TypeError):
        # pynetdicom reports it when it looks at the connection.
        ready = None
        time.sleep(seconds)
    send_rest(provider)
    if ready is None:
        return
    if waker.receiver in ready:
        waker.clear()
    # A TLS connection can have data that `select` does not see.
    if idle and len(watched) == 2 and type(watched[1]) is socket.socket:
        waker.is_readable = watched[1] in ready


def send_rest(provider: Any) -> None:
    """Send the rest of a message that another thread has begun to send, before any other PDU."""
    waker = waker_of(provider)
    if waker is None or not waker.unsent:
        return
    rest, waker.unsent = waker.unsent, b""
    try:
        provider.socket.socket.sendall(rest)
    except Exception:
        indicate_closed(provider.event_queue)


def _select(watched: list[Any], seconds: float) -> list[Any]:
    return select.select(watched, [], [], seconds)[0]


# Seconds from a message to the end of an association, in which its response is written. pynetdicom
# sleeps for a millisecond.
_TIME_TO_RESPOND = 0.002

# Factor by which the sleep on an idle association is longer than in pynetdicom. It is limited,
# because a change of an attribute, which pynetdicom polls too, does not wake the thread.
_IDLE_FACTOR = 20
