"""Replaces the writes of messages, one for each, and acknowledges received parts without delay."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from itertools import pairwise
from typing import Any

from ._data_transfer import MAX_WRITE, DataTransfer
from ._patches import Patches
from ._primitive_class import DATA_SETS
from ._upper_layer import expect_nothing, indicate_closed, let_respond, send_rest, wake


def replace_writes(patches: Patches) -> None:
    """Replace the methods that send and receive messages and PDUs."""
    from pynetdicom import dimse, dul, evt, transport

    responses = (dimse.N_EVENT_REPORT_RSP, dimse.N_ACTION_RSP)
    init = transport.AssociationSocket.__init__
    provider = dul.DULServiceProvider
    transfer = DataTransfer()

    def new_init(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        _set_no_delay(self.socket)

    def new_send(self: Any, bytestream: bytes) -> Any:
        send_rest(self.assoc.dul)
        ahead = self.__dict__.setdefault("_fastdimse_ahead", deque())
        if ahead and ahead[0] == bytestream:
            # Already written, together with a PDU before it.
            ahead.popleft()
            evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})
            return None
        following = _queued_pdus(bytestream, self.assoc.dul.to_provider_queue)
        if not following:
            return send(self, bytestream)
        try:
            self.socket.sendall(b"".join([bytestream, *following]))
        except Exception:
            indicate_closed(self.event_queue)
            return None
        ahead.extend(following)
        evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})
        return None

    def new_read_pdu_data(self: Any) -> None:
        if transfer.read(self) or let_respond(self):
            return
        # The option lasts until the next write, so also for the parts of this PDU.
        if not _is_plain_peer(self.assoc):
            _acknowledge(self)
        read_pdu_data(self)

    def new_send_msg(self: Any, primitive: Any, context_id: int) -> None:
        if type(primitive) not in DATA_SETS:
            send_msg(self, primitive, context_id)
            return
        is_request = primitive.MessageIDBeingRespondedTo is None
        messages = dimse._RQ_TO_MESSAGE if is_request else dimse._RSP_TO_MESSAGE
        message = messages[type(primitive)]()
        message.primitive_to_message(primitive)
        message.context_id = context_id
        evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": message})
        fragments = list(message.encode_msg(context_id, self.maximum_pdu_size))
        for before, fragment in pairwise(fragments):
            fragment._fastdimse_follows = getattr(before, "_fastdimse_pdu", None)
        if type(self.dul) is not provider or "send_pdu" in vars(self.dul):
            # The program has its own upper layer.
            for fragment in fragments:
                self.dul.send_pdu(fragment)
            return
        if transfer.write(self.dul, fragments):
            return
        # All fragments at once, so that the upper layer's thread finds the complete message.
        waiting = self.dul.to_provider_queue
        with waiting.mutex:
            waiting.queue.extend(fragments)
            waiting.unfinished_tasks += len(fragments)
            waiting.not_empty.notify()
        wake(self.dul)

    def new_receive_primitive(self: Any, primitive: Any) -> None:
        receive_primitive(self, primitive)
        if self.message is None:
            expect_nothing(self.dul)
            return
        # Do not speed up the responses to a plain pynetdicom: its association's thread can consume
        # a response that arrives early, as `_Checkpoint` describes.
        if type(self.message) in responses or not _is_plain_peer(self.assoc):
            _acknowledge(self.dul)

    patches.attribute(transport.AssociationSocket, "__init__", new_init)
    read_pdu_data = patches.attribute(provider, "_read_pdu_data", new_read_pdu_data)
    send = patches.attribute(transport.AssociationSocket, "send", new_send)
    send_msg = patches.attribute(dimse.DIMSEServiceProvider, "send_msg", new_send_msg)
    receive_primitive = patches.attribute(
        dimse.DIMSEServiceProvider, "receive_primitive", new_receive_primitive
    )


def _queued_pdus(first: bytes, waiting: Any) -> list[bytes]:
    """Return the queued PDUs that follow a PDU and belong to the same message."""
    following: list[bytes] = []
    before, size = first, len(first)
    with waiting.mutex:
        for primitive in waiting.queue:
            pdu = getattr(primitive, "_fastdimse_pdu", None)
            if pdu is None or getattr(primitive, "_fastdimse_follows", None) != before:
                break
            size += len(pdu)
            if size > MAX_WRITE:
                break
            following.append(pdu)
            before = pdu
    return following


def _set_no_delay(connection: Any) -> None:
    # The socket of a program may be of another class.
    with suppress(AttributeError, OSError, TypeError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _is_plain_peer(association: Any) -> bool:
    """Return whether the peer is pynetdicom, which writes each PDU at once."""
    is_plain: bool | None = association.__dict__.get("_fastdimse_is_plain_peer")
    if is_plain is None:
        from pynetdicom import PYNETDICOM_UID_PREFIX

        peer = association.acceptor if association.is_requestor else association.requestor
        is_plain = str(peer.implementation_class_uid).startswith(PYNETDICOM_UID_PREFIX)
        # The peer is known once the association is established.
        if association.is_established:
            association._fastdimse_is_plain_peer = is_plain
    return is_plain


def _acknowledge(provider: Any) -> None:
    """Acknowledge received TCP segments without delay.

    A peer without TCP_NODELAY that writes a PDU or message in parts sends the next part only after
    the acknowledgement of the last one, which TCP delays by up to 40 ms.
    """
    # Only Linux has the option, and the upper layer of a program may have no connection.
    with suppress(AttributeError, OSError, TypeError):
        provider.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
