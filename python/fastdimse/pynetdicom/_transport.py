"""Messages written to the network, and acknowledged."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from itertools import pairwise
from typing import Any

from fastdimse._primitive import N_EVENT_REPORT

from ._patches import Patches
from ._upper_layer import wake


def replace_writes(patches: Patches) -> None:
    from pynetdicom import PYNETDICOM_UID_PREFIX, dimse, dul, evt, transport

    responses = dimse.N_EVENT_REPORT_RSP
    init = transport.AssociationSocket.__init__
    provider = dul.DULServiceProvider

    def new_init(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        _set_no_delay(self.socket)

    def new_send(self: Any, bytestream: bytes) -> Any:
        ahead = self.__dict__.setdefault("_fastdimse_ahead", deque())
        if ahead and ahead[0] == bytestream:
            # Written with one before it.
            ahead.popleft()
            evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})
            return None
        following = _pdus_behind(bytestream, self.assoc.dul.to_provider_queue)
        if not following:
            return send(self, bytestream)
        try:
            self.socket.sendall(b"".join([bytestream, *following]))
        except Exception:
            # As theirs: the transport connection is closed.
            self.event_queue.put("Evt17")
            return None
        ahead.extend(following)
        evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})
        return None

    def new_send_msg(self: Any, primitive: Any, context_id: int) -> None:
        if type(primitive) is not N_EVENT_REPORT:
            send_msg(self, primitive, context_id)
            return
        is_request = primitive.MessageIDBeingRespondedTo is None
        messages = dimse._RQ_TO_MESSAGE if is_request else dimse._RSP_TO_MESSAGE
        message = messages[N_EVENT_REPORT]()
        message.primitive_to_message(primitive)
        message.context_id = context_id
        evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": message})
        fragments = list(message.encode_msg(context_id, self.maximum_pdu_size))
        for before, fragment in pairwise(fragments):
            fragment._fastdimse_follows = getattr(before, "_fastdimse_pdu", None)
        if type(self.dul) is not provider or "send_pdu" in vars(self.dul):
            # A program's own upper layer.
            for fragment in fragments:
                self.dul.send_pdu(fragment)
            return
        # All at once, so that the upper layer's thread finds the message whole.
        waiting = self.dul.to_provider_queue
        with waiting.mutex:
            waiting.queue.extend(fragments)
            waiting.unfinished_tasks += len(fragments)
            waiting.not_empty.notify()
        wake(self.dul)

    def new_receive_primitive(self: Any, primitive: Any) -> None:
        receive_primitive(self, primitive)
        if self.message is None:
            return
        peer = self.assoc.acceptor if self.assoc.is_requestor else self.assoc.requestor
        # A plain pynetdicom had better not have its requests answered so quickly: now and then
        # its reactor takes the answer away, as `_Checkpoint` tells.
        is_plain = str(peer.implementation_class_uid).startswith(PYNETDICOM_UID_PREFIX)
        if type(self.message) is responses or not is_plain:
            _acknowledge(self.dul)

    patches.attribute(transport.AssociationSocket, "__init__", new_init)
    send = patches.attribute(transport.AssociationSocket, "send", new_send)
    send_msg = patches.attribute(dimse.DIMSEServiceProvider, "send_msg", new_send_msg)
    receive_primitive = patches.attribute(
        dimse.DIMSEServiceProvider, "receive_primitive", new_receive_primitive
    )


def _pdus_behind(first: bytes, waiting: Any) -> list[bytes]:
    """Return the PDUs that wait behind one that is being sent, and belong to its message."""
    following: list[bytes] = []
    before, size = first, len(first)
    with waiting.mutex:
        for primitive in waiting.queue:
            pdu = getattr(primitive, "_fastdimse_pdu", None)
            if pdu is None or getattr(primitive, "_fastdimse_follows", None) != before:
                break
            size += len(pdu)
            if size > _ONE_WRITE:
                break
            following.append(pdu)
            before = pdu
    return following


# Bytes. A longer message is written in several pieces.
_ONE_WRITE = 1 << 16


def _set_no_delay(connection: Any) -> None:
    # A program's own socket may be of another kind.
    with suppress(AttributeError, OSError, TypeError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _acknowledge(provider: Any) -> None:
    """Let the peer know at once that a piece of a message has arrived.

    A peer that writes command set and data set apart waits for that before it sends the rest
    (Nagle's algorithm), and TCP would let it wait for 40 ms.
    """
    # Linux has it; and a program's own upper layer may have no connection.
    with suppress(AttributeError, OSError, TypeError):
        provider.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
