"""Peers that write each PDU in two parts without TCP_NODELAY, as DCMTK does.

The second part leaves only when the first is acknowledged (Nagle's algorithm), which Linux delays
by at least 40 ms unless the receiver requests otherwise.
"""

import socket
import ssl
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_ECHO_RSP
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from fastdimse import TLS, connect, echo, encode_events, listen
from fastdimse.pynetdicom import installed
from scripted_peer import A_RELEASE_RP, A_RELEASE_RQ, HOST, Conversation, Script, peer
from test_delivery import events, rows
from test_receiving import request
from test_tls import Authority, authority, server_context

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux can acknowledge without delay"
)

COUNT = 40
# Seconds. The median of many exchanges is between the 0.1 ms of loopback and the delay of 40 ms.
LIMIT = 0.02

PDU_HEADER = 6


class InTwoWrites(Conversation):
    """Writes each PDU in two parts."""

    def write(self, pdus: bytes) -> None:
        """Write PDUs."""
        while pdus:
            length = PDU_HEADER + int(struct.unpack_from(">I", pdus, 2)[0])
            self.connection.sendall(pdus[:PDU_HEADER])
            self.connection.sendall(pdus[PDU_HEADER:length])
            pdus = pdus[length:]


def in_two_writes(script: Script, context: ssl.SSLContext | None = None) -> Script:
    """Return the script with a `Conversation` that writes in two parts, and with TLS if given."""

    def run(talk: Conversation) -> None:
        connection = talk.connection
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            script(InTwoWrites(connection))

    return run


def respond_to_all(talk: Conversation) -> None:
    """Respond to all events, and to the release."""
    talk.accept()
    for event in talk.requests():
        talk.respond(event.MessageID)


def respond_to_echo(talk: Conversation) -> None:
    """Respond to a C-ECHO, and to the release."""
    talk.accept()
    talk.read()
    answer = C_ECHO()
    answer.MessageIDBeingRespondedTo, answer.Status = 1, 0
    answer.AffectedSOPClassUID = Verification
    message = C_ECHO_RSP()
    message.primitive_to_message(answer)
    for p_data in message.encode_msg(1, 16382):
        pdu = P_DATA_TF()
        pdu.from_primitive(p_data)
        talk.write(pdu.encode())
    assert talk.read() == A_RELEASE_RQ
    talk.write(A_RELEASE_RP)


def median(call: Callable[[int], object], count: int = COUNT) -> float:
    """Return the median duration of the calls in seconds."""
    durations = []
    for number in range(count):
        begin = time.perf_counter()
        call(number)
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that both sides trust."""
    return authority(tmp_path_factory.mktemp("acknowledgements") / "trusted")


@pytest.fixture(params=["plain", "TLS"])
def encryption(
    request: pytest.FixtureRequest, trusted: Authority
) -> tuple[dict[str, Any], ssl.SSLContext | None]:
    """Options of fastdimse, and the context of the peer."""
    if request.param == "plain":
        return {}, None
    return {"tls": TLS(ca=trusted.file)}, server_context(trusted.certify("localhost"))


def test_send(encryption):
    options, context = encryption
    with (
        peer(in_two_writes(respond_to_all, context)) as port,
        connect("localhost", port, **options) as association,
    ):
        outcomes = association.send(events(COUNT))
        assert outcomes.answered == COUNT
    latencies = [row["Latency"] / 1e9 for row in rows(outcomes)]
    assert statistics.median(latencies) < LIMIT


def test_tls_handshake_and_release(trusted):
    """A new connection acknowledges its first segments without delay, but not those after them."""
    tls, context = TLS(ca=trusted.file), server_context(trusted.certify("localhost"))

    def establish_and_release(_: int) -> None:
        connect("localhost", port, tls=tls).release()

    with peer(*[in_two_writes(respond_to_all, context)] * COUNT) as port:
        assert median(establish_and_release) < LIMIT


def test_echo(encryption):
    options, context = encryption
    with peer(*[in_two_writes(respond_to_echo, context)] * COUNT) as port:
        latencies = [echo("localhost", port, **options) for _ in range(COUNT)]
    assert statistics.median(latencies) < LIMIT


def test_responses_in_separate_writes():
    """With a window, the second response waits for the acknowledgement of the first."""

    def script(talk: Conversation) -> None:
        talk.accept(window=2)
        waiting = []
        for event in talk.requests():
            waiting.append(event.MessageID)
            if len(waiting) == 2:
                for message_id in waiting:
                    talk.respond(message_id)
                waiting.clear()

    def send_two(_: int) -> None:
        assert association.send(events(2)).answered == 2

    with peer(script) as port, connect(HOST, port, window=2) as association:
        assert association.window == 2
        assert median(send_two) < LIMIT


def report_to(port: int, context: ssl.SSLContext | None = None) -> float:
    """Send events in two writes for each PDU; return the median time until the response."""
    connection = socket.create_connection((HOST, port), timeout=20)
    if context is not None:
        connection = context.wrap_socket(connection, server_hostname="localhost")
    message = bytes(encode_events(events(1, EventInformation=[b"\x08\0\0\0\x02\0\0\0ab"])))
    assert len(pdus_of(message)) == 2, "command set and data set"
    with connection:
        talk = InTwoWrites(connection)
        talk.write(request())
        assert talk.read()[0] == 2, "A-ASSOCIATE-AC"

        def report(_: int) -> None:
            talk.write(message)
            assert talk.read()[0] == 4, "P-DATA-TF"

        found = median(report)
        talk.write(A_RELEASE_RQ)
        assert talk.read() == A_RELEASE_RP
    return found


def pdus_of(message: bytes) -> list[bytes]:
    """Return the PDUs of a message."""
    pdus = []
    while message:
        length = PDU_HEADER + int(struct.unpack_from(">I", message, 2)[0])
        pdus.append(message[:length])
        message = message[length:]
    return pdus


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
def test_listen(encrypted, trusted):
    options, context = {}, None
    if encrypted:
        options["tls"] = TLS(**trusted.certify("localhost"))
        context = ssl.create_default_context(cafile=str(trusted.file))
    with listen(0, host=HOST, **options) as listener:
        assert report_to(listener.port, context) < LIMIT


def test_installed_sender():
    ae = AE()
    ae.add_requested_context(StorageCommitmentPushModel)

    def report(number: int) -> None:
        status, _ = association.send_n_event_report(
            None, 1, StorageCommitmentPushModel, "1.2.3", msg_id=number + 1
        )
        assert status.Status == 0

    with installed(), peer(in_two_writes(respond_to_all)) as port:
        association = ae.associate(HOST, port)
        assert association.is_established
        assert median(report) < LIMIT
        association.release()


@contextmanager
def pynetdicom_receiver() -> Iterator[int]:
    """Receive events with pynetdicom, and yield the port."""
    ae = AE()
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, lambda event: (0x0000, None))]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def test_installed_receiver():
    with installed(), pynetdicom_receiver() as port:
        assert report_to(port) < LIMIT
