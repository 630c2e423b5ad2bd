"""Sends and receives P-DATA of an established association, without steps that nobody observes.

In the state Sta6, P-DATA changes neither the state nor a timer (PS3.8 9.2.3, actions DT-1 and
DT-2). So if the program has no handlers of the events of these steps, only the bytes remain.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from fastdimse._core import read_p_data

from ._upper_layer import Waker, indicate_closed, is_established, waker_of


class DataTransfer:
    """Reads and writes PDUs of the upper layer of established associations."""

    def __init__(self) -> None:
        from pynetdicom import _handlers, dul, evt, fsm, pdu_primitives, transport

        self._provider = dul.DULServiceProvider
        self._socket = transport.AssociationSocket
        self._machine = fsm.StateMachine
        self._primitive = pdu_primitives.P_DATA
        self._logger = fsm.LOGGER
        # Events, and the handler that pynetdicom binds. It does nothing for P-DATA.
        self._sent = (
            (evt.EVT_FSM_TRANSITION, None),
            (evt.EVT_DATA_SENT, None),
            (evt.EVT_PDU_SENT, _handlers.standard_pdu_sent_handler),
        )
        self._received = (
            (evt.EVT_FSM_TRANSITION, None),
            (evt.EVT_DATA_RECV, None),
            (evt.EVT_PDU_RECV, _handlers.standard_pdu_recv_handler),
        )

    def write(self, provider: Any, fragments: list[Any]) -> bool:
        """Write the PDUs of a message in this thread, if the upper layer's thread is idle.

        This saves the switch to that thread.

        Parameters
        ----------
        provider : DULServiceProvider
            The upper layer.
        fragments : list of P_DATA
            The primitives of a complete message.

        Returns
        -------
        bool
            Whether the PDUs were written, the upper layer's thread has to write the rest, or the
            upper layer was told that the connection is closed.
        """
        waker = waker_of(provider)
        pdus = [getattr(fragment, "_fastdimse_pdu", b"") for fragment in fragments]
        if b"" in pdus or sum(map(len, pdus)) > MAX_WRITE:
            return False
        if waker is None or _DONT_WAIT is None or not self._is_plain(provider):
            return False
        if _has_handlers(provider.assoc, self._sent) or not waker.turn.acquire(blocking=False):
            return False
        try:
            if not _is_free(provider) or provider.to_provider_queue.queue or waker.unsent:
                return False
            return _write_part(provider, waker, b"".join(pdus))
        finally:
            waker.turn.release()
            # Something may have been queued while this thread had the turn.
            if waker.unsent or provider.event_queue.queue or provider.to_provider_queue.queue:
                waker.wake()

    def read(self, provider: Any) -> bool:
        """Receive the complete PDUs that have arrived, up to the end of a message.

        Parameters
        ----------
        provider : DULServiceProvider
            The upper layer, whose thread this is.

        Returns
        -------
        bool
            Whether a PDU was received. If not, nothing was read.
        """
        waker = waker_of(provider)
        if waker is None or waker.thread != threading.get_ident() or not _is_free(provider):
            return False
        if not self._is_plain(provider) or _has_handlers(provider.assoc, self._received):
            return False
        connection = provider.socket.socket
        try:
            arrived = connection.recv(MAX_WRITE, socket.MSG_PEEK)
        except OSError:
            return False
        return self._receive(provider, waker, connection, arrived)

    def _receive(self, provider: Any, waker: Waker, connection: Any, arrived: bytes) -> bool:
        dimse, start = provider.assoc.dimse, 0
        while (pdu := read_p_data(arrived, start)) is not None:
            end, values = pdu
            primitive = self._primitive()
            primitive.presentation_data_value_list.extend(values)
            connection.recv(end - start)
            start = end
            try:
                dimse.receive_primitive(primitive)
            except Exception as error:
                self._fail(provider, waker, error)
                return True
            if dimse.message is None or not _is_free(provider):
                break
        return start > 0

    def _fail(self, provider: Any, waker: Waker, error: Exception) -> None:
        """End the upper layer's thread, like an error of the state machine."""
        self._logger.error(
            "State Machine received an exception attempting "
            "to perform the action '%s' while in state '%s'",
            "DT-2",
            provider.state_machine.current_state,
        )
        self._logger.exception(error)
        provider.kill_dul()
        waker.failure = error

    def _is_plain(self, provider: Any) -> bool:
        """Return whether the upper layer consists of pynetdicom's own classes."""
        connection, machine = provider.socket, provider.state_machine
        return (
            type(provider) is self._provider
            and type(connection) is self._socket
            and type(machine) is self._machine
            # Not a TLS connection.
            and type(connection.socket) is socket.socket
            and _REPLACED.isdisjoint(vars(provider))
            and _REPLACED.isdisjoint(vars(connection))
            and _REPLACED.isdisjoint(vars(machine))
        )


def _write_part(provider: Any, waker: Waker, data: bytes) -> bool:
    """Write what the connection takes at once. The upper layer's thread writes the rest.

    The thread of the program does not block in a write, which a signal could interrupt.
    """
    try:
        size = provider.socket.socket.send(data, _DONT_WAIT)
    except BlockingIOError:
        return False
    except Exception:
        indicate_closed(provider.event_queue)
        return True
    if size < len(data):
        waker.unsent = data[size:]
    return True


# Not on Windows.
_DONT_WAIT: int | None = getattr(socket, "MSG_DONTWAIT", None)

# Methods that a program can replace in an object, to observe or to change what they do.
_REPLACED = frozenset(
    ("send_pdu", "_send", "_decode_pdu", "_read_pdu_data", "send", "recv", "do_action")
)


def _is_free(provider: Any) -> bool:
    """Return whether an association is established, and the upper layer has no event to process."""
    return is_established(provider) and not provider.event_queue.queue and not provider._kill_thread


def _has_handlers(association: Any, events: tuple[tuple[Any, Any], ...]) -> bool:
    """Return whether other handlers than pynetdicom's are bound to one of these events."""
    get_handlers: Callable[[Any], Any] = association.get_handlers
    return any(
        handler[0] is not standard for event, standard in events for handler in get_handlers(event)
    )


# Maximum size of one write in bytes. A longer message is sent in several writes.
MAX_WRITE = 1 << 16
