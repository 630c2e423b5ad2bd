"""A peer controlled by a script: PDUs of pynetdicom on a socket, also wrong ones."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from oracle import decode_stream, encode_p_data, primitive

HOST = "127.0.0.1"
A_RELEASE_RQ = b"\x05\0\0\0\0\x04\0\0\0\0"
A_RELEASE_RP = b"\x06\0\0\0\0\x04\0\0\0\0"
A_ABORT = b"\x07\0\0\0\0\x04\0\0\x02\x06"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


class Conversation:
    """One association, seen from the peer.

    Attributes
    ----------
    request : A_ASSOCIATE
        The A-ASSOCIATE-RQ.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.request: A_ASSOCIATE
        self._stream = b""

    def read(self) -> bytes:
        """Read a PDU; return no bytes at the end of the connection."""
        while len(self._stream) < 6 or len(self._stream) < self._length():
            found = self.connection.recv(1 << 16)
            if not found:
                return b""
            self._stream += found
        end = self._length()
        pdu, self._stream = self._stream[:end], self._stream[end:]
        return pdu

    def _length(self) -> int:
        return 6 + int(struct.unpack_from(">I", self._stream, 2)[0])

    def write(self, pdus: bytes) -> None:
        """Write bytes."""
        self.connection.sendall(pdus)

    def accept(
        self,
        *,
        window: int | None = None,
        max_pdu_length: int = 16382,
        transfer_syntax: str = IMPLICIT,
        result: int = 0,
        scp: bool | None = True,
    ) -> None:
        """Read the request and accept it."""
        request = A_ASSOCIATE_RQ()
        request.decode(self.read())
        self.request = request.to_primitive()
        accept = A_ASSOCIATE()
        accept.application_context_name = self.request.application_context_name
        accept.calling_ae_title = self.request.calling_ae_title
        accept.called_ae_title = self.request.called_ae_title
        accept.result, accept.result_source = 0, 1
        results = []
        for proposed in self.request.presentation_context_definition_list:
            context = PresentationContext()
            context.context_id = proposed.context_id
            context.transfer_syntax = [transfer_syntax]
            context.result = result
            results.append(context)
        accept.presentation_context_definition_results_list = results
        length = MaximumLengthNotification()
        length.maximum_length_received = max_pdu_length
        implementation = ImplementationClassUIDNotification()
        implementation.implementation_class_uid = "1.2.3"
        items: list[Any] = [length, implementation]
        if window is not None:
            operations = AsynchronousOperationsWindowNegotiation()
            operations.maximum_number_operations_invoked = window
            operations.maximum_number_operations_performed = 1
            items.append(operations)
        for proposed in (
            self.request.presentation_context_definition_list if scp is not None else ()
        ):
            role = SCP_SCU_RoleSelectionNegotiation()
            role.sop_class_uid = proposed.abstract_syntax
            role.scu_role, role.scp_role = not scp, bool(scp)
            items.append(role)
        accept.user_information = items
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(accept)
        self.write(pdu.encode())

    def reject(self, result: int, source: int, diagnostic: int) -> None:
        """Read the request and reject it."""
        self.read()
        primitive = A_ASSOCIATE()
        primitive.result, primitive.result_source = result, source
        primitive.diagnostic = diagnostic
        pdu = A_ASSOCIATE_RJ()
        pdu.from_primitive(primitive)
        self.write(pdu.encode())

    def requests(self) -> Iterator[N_EVENT_REPORT]:
        """Yield the received events, and respond to the release request at their end."""
        message = b""
        while pdu := self.read():
            if pdu[:1] != b"\x04":
                assert pdu == A_RELEASE_RQ
                self.write(A_RELEASE_RP)
                return
            message += pdu
            # pynetdicom returns the message after its last fragment.
            for event in decode_stream(message):
                message = b""
                yield event

    def respond(self, message_id: int, status: int = 0, context_id: int = 1) -> None:
        """Send a response."""
        self.write(response(message_id, status, context_id))


def response(message_id: int, status: int = 0, context_id: int = 1) -> bytes:
    """Return the PDUs of a response."""
    event = primitive(MessageIDBeingRespondedTo=message_id, Status=status)
    return encode_p_data(event, context_id)


Script = Callable[[Conversation], None]


@contextmanager
def peer(*scripts: Script) -> Iterator[int]:
    """Serve one connection for each script, one after another, and yield the port.

    An exception of a script is raised again at the end of the block.
    """
    failures: list[BaseException] = []
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(20)

        def serve() -> None:
            for script in scripts:
                connection, _ = server.accept()
                connection.settimeout(20)
                with connection:
                    try:
                        script(Conversation(connection))
                    except BaseException as failure:
                        failures.append(failure)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(20)
        assert not thread.is_alive()
    if failures:
        raise failures[0]
