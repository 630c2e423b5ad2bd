"""Events received on a port: from pynetdicom, from fastdimse, and from faulty peers."""

import io
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    BasicGrayscalePrintManagementMeta,
    Printer,
    PrinterInstance,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from associations import until
from fastdimse import connect, encode_events, listen
from oracle import decode_stream
from plain_messages import COMMAND, LAST, command_set, pdu, pdv
from processes import resident
from scripted_peer import A_RELEASE_RQ, EXPLICIT, HOST, IMPLICIT, response
from test_data_sets import oracle, to_dataset
from test_delivery import COMMITMENT, REPORT, column, events

INSTANCE = "1.2.840.10008.1.20.1.1"


def association(port: int, *, scp: bool = True) -> Any:
    """Open an association with pynetdicom, as SCP for events or as SCU for requests."""
    ae = AE("SCP")
    ae.add_requested_context(Verification)
    ae.add_requested_context(StorageCommitmentPushModel)
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if scp else []
    return ae.associate(HOST, port, ae_title="LISTENER", ext_neg=roles)


def receive_rows(listener: Any, count: int) -> list[dict[str, Any]]:
    """Receive a number of events, and return their rows."""
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        received = listener.receive(timeout=10)
        assert received is not None
        rows.extend(pa.table(received).to_pylist())
    return rows


def test_events_of_pynetdicom():
    begin = time.time()
    with listen(0, host=HOST) as listener:
        talk = association(listener.port)
        assert talk.is_established
        [commitment] = [
            one
            for one in talk.accepted_contexts
            if one.abstract_syntax == StorageCommitmentPushModel
        ]
        assert (commitment.as_scp, commitment.as_scu) == (True, False)
        for number, information in ((1, to_dataset(REPORT)), (2, None)):
            status, _ = talk.send_n_event_report(
                information, number, COMMITMENT, INSTANCE, msg_id=number + 10
            )
            assert status.Status == 0
        assert talk.send_c_echo().Status == 0
        talk.release()
        assert talk.is_released
        first, second = receive_rows(listener, 2)
        assert listener.take_failures() == []
    assert first["EventInformation"] == oracle(to_dataset(REPORT), first["TransferSyntaxUID"])
    assert (first["MessageID"], first["EventTypeID"]) == (11, 1)
    assert (first["CallingAETitle"], first["CalledAETitle"]) == ("SCP", "LISTENER")
    assert (first["SourceAddress"], first["Association"]) == (HOST, 1)
    assert (second["EventInformation"], second["AffectedSOPInstanceUID"]) == (None, INSTANCE)
    assert begin - 1 < first["Time"].timestamp() < time.time() + 1


def test_events_on_a_meta_sop_class():
    with listen(0, host=HOST) as listener:
        ae = AE("SCP")
        ae.add_requested_context(BasicGrayscalePrintManagementMeta)
        role = build_role(BasicGrayscalePrintManagementMeta, scp_role=True)
        talk = ae.associate(HOST, listener.port, ext_neg=[role])
        status, _ = talk.send_n_event_report(
            None, 1, Printer, PrinterInstance, meta_uid=BasicGrayscalePrintManagementMeta
        )
        talk.release()
        [event] = receive_rows(listener, 1)
    assert status.Status == 0
    assert event["AffectedSOPClassUID"] == Printer


def test_events_wait_until_they_are_read():
    with listen(0, host=HOST) as listener:
        begin = time.monotonic()
        with connect(HOST, listener.port, window=1) as talk:
            assert talk.send(events(1000, EventTypeID=[1] * 1000)).answered == 1000
        assert len(receive_rows(listener, 1000)) == 1000
        assert time.monotonic() - begin < 20


def test_immediate_acknowledgement():
    with listen(0, host=HOST) as listener:
        talk = association(listener.port)
        begin = time.monotonic()
        for number in range(20):
            status, _ = talk.send_n_event_report(
                to_dataset(REPORT), 1, COMMITMENT, INSTANCE, msg_id=number
            )
            assert status.Status == 0
        # Delayed acknowledgements would take 40 ms for each.
        assert time.monotonic() - begin < 0.7
        talk.release()


def test_status_of_a_handler(caplog):
    seen: list[Any] = []

    def handle(event: Any, calling_ae: str) -> int | None:
        information = event.EventInformation and event.EventInformation.getvalue()
        seen.append((calling_ae, event.MessageID, event.EventTypeID, information))
        if event.EventTypeID == 4:
            raise ValueError("of the handler")
        return {1: None, 2: 0x0112, 3: "no status"}[event.EventTypeID]

    encoded = oracle(to_dataset(REPORT), IMPLICIT)
    with listen(0, host=HOST, handler=handle) as listener:
        with connect(HOST, listener.port, calling_ae="SENDER") as talk:
            outcomes = talk.send(events(4, EventInformation=[encoded, None, None, None]))
        with pytest.raises(RuntimeError, match="has a handler"):
            listener.receive()
    assert column(outcomes, "Status") == [0, 0x0112, 0x0110, 0x0110]
    assert seen[0] == ("SENDER", 1, 1, encoded)
    assert seen[1] == ("SENDER", 2, 2, None)
    assert "of the handler" in caplog.text


def test_received_rows_as_sent():
    informations = [REPORT, None, {"TransactionUID": "1.2.9"}]
    for syntax in (IMPLICIT, EXPLICIT):
        with listen(0, host=HOST) as listener:
            with connect(HOST, listener.port, transfer_syntaxes=[syntax], max_pdu_length=0) as talk:
                assert talk.window == 64
                outcomes = talk.send(events(3, EventInformation=informations))
                assert outcomes.answered == 3
            rows = receive_rows(listener, 3)
        assert [row["EventTypeID"] for row in rows] == [1, 2, 3]
        assert [row["EventInformation"] for row in rows] == [
            None if one is None else oracle(to_dataset(one), syntax) for one in informations
        ]
        assert {row["TransferSyntaxUID"] for row in rows} == {syntax}


def test_small_max_pdu_length():
    information = b"\x08\0\x95\x11\xfe\x7f\0\0" + b"1" * 0x7FFE
    with listen(0, host=HOST, max_pdu_length=4096) as listener:
        with connect(HOST, listener.port) as talk:
            assert talk.max_pdu_length == 4096
            assert talk.send(events(3, EventInformation=information)).answered == 3
        assert [row["EventInformation"] for row in receive_rows(listener, 3)] == [information] * 3


def test_many_associations():
    with listen(0, host=HOST) as listener:

        def send(number: int) -> int:
            columns = events(500, AffectedSOPInstanceUID=f"1.2.{number}")
            with connect(HOST, listener.port, calling_ae=f"SCP{number}") as talk:
                return int(talk.send(columns).answered)

        with ThreadPoolExecutor(64) as pool:
            answered = pool.map(send, range(64))
            rows = receive_rows(listener, 64 * 500)
        assert list(answered) == [500] * 64
    by_sender: dict[str, list[int]] = {}
    for row in rows:
        assert row["AffectedSOPInstanceUID"] == f"1.2.{row['CallingAETitle'][3:]}"
        by_sender.setdefault(row["CallingAETitle"], []).append(row["EventTypeID"])
    assert len(by_sender) == 64
    assert all(types == list(range(1, 501)) for types in by_sender.values())


def test_million_waiting_events():
    count = 100_000
    table = pa.table(
        {
            name: [value] * count if isinstance(value, str) else value
            for name, value in events(count, EventTypeID=[1] * count).items()
        }
    )
    with listen(0, host=HOST) as listener, connect(HOST, listener.port) as talk:
        answered: list[int] = []
        thread = threading.Thread(target=lambda: answered.append(talk.send(table).answered))
        thread.start()
        time.sleep(0.3)
        total = 0
        for received in listener:
            total += len(received)
            if total == count:
                break
        thread.join(20)
        assert answered == [count]


def test_echo_as_pynetdicom():
    def answer(port: int) -> Any:
        answers: list[Any] = []
        handlers = [(evt.EVT_DIMSE_RECV, lambda event: answers.append(event.message.command_set))]
        ae = AE("SCP")
        ae.add_requested_context(Verification)
        talk = ae.associate(HOST, port, evt_handlers=handlers)
        talk.send_c_echo(msg_id=7)
        talk.release()
        [only] = answers
        return only

    ae = AE("PEER")
    ae.add_supported_context(Verification)
    server = ae.start_server((HOST, 0), block=False)
    expected = answer(server.socket.getsockname()[1])
    server.shutdown()
    with listen(0, host=HOST) as listener:
        assert answer(listener.port) == expected


def test_other_requests():
    with listen(0, host=HOST) as listener:
        talk = association(listener.port, scp=False)
        status, _ = talk.send_n_action(
            to_dataset(REPORT), 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        # Unrecognized operation.
        assert status.Status == 0x0211
        talk.release()
        assert listener.receive(timeout=0.1) is None


@pytest.mark.parametrize(
    ("options", "called", "calling", "diagnostic"),
    [
        # A text is one title, not a sequence of titles.
        ({"calling_aes": "SCP"}, "OTHER", "SCP", None),
        ({"calling_aes": "SCP"}, "OTHER", "S", 3),
        ({"called_ae": "LISTENER"}, "LISTENER", "SCP", None),
        ({"called_ae": "LISTENER"}, "OTHER", "SCP", 7),
        ({"calling_aes": ["SCP", "SCP2"]}, "OTHER", "SCP2", None),
        ({"calling_aes": ["SCP"]}, "OTHER", "SCP2", 3),
    ],
)
def test_ae_titles(options, called, calling, diagnostic):
    with listen(0, host=HOST, **options) as listener:
        answer = exchange(listener.port, request(called=called, calling=calling), end=True)
    if diagnostic is None:
        assert pdu_types(answer) == [AC]
    else:
        rejected = A_ASSOCIATE_RJ()
        rejected.decode(answer)
        assert (rejected.result, rejected.source) == (1, 1)
        assert rejected.reason_diagnostic == diagnostic


def test_rejected_sop_classes():
    for sop_classes in (["1.2.3"], "1.2.3"):
        with listen(0, host=HOST, sop_classes=sop_classes) as listener:
            talk = association(listener.port)
            assert [one.abstract_syntax for one in talk.accepted_contexts] == [Verification]
            talk.release()


def test_invalid_context_ids():
    """An even ID and a repeated one: the first context with an ID counts."""
    twice, even = (
        struct.pack(">BBHBBBB", 0x20, 0, 0, one, 0, 0, 0) + abstract + syntax
        for one, abstract, syntax in (
            (1, item(0x30, COMMITMENT), item(0x40, EXPLICIT)),
            (2, item(0x30, COMMITMENT), item(0x40, IMPLICIT)),
        )
    )
    proposed = request()
    end = proposed.index(b"\x50\0")
    added = b"".join(one[:2] + struct.pack(">H", len(one) - 4) + one[4:] for one in (twice, even))
    proposed = proposed[:end] + added + proposed[end:]
    proposed = proposed[:2] + struct.pack(">I", len(proposed) - 6) + proposed[6:]
    with listen(0, host=HOST) as listener:
        answer = exchange(listener.port, proposed, EVENT, A_RELEASE_RQ)
        accepted = A_ASSOCIATE_AC()
        accepted.decode(answer[: 6 + struct.unpack_from(">I", answer, 2)[0]])
        results = [
            (one.presentation_context_id, one.result_reason)
            for one in accepted.presentation_context
        ]
        assert results == [(1, 0), (1, 2), (2, 2)]
        assert receive_rows(listener, 1)[0]["TransferSyntaxUID"] == IMPLICIT


def item(kind: int, uid: str) -> bytes:
    """Return a sub-item with a UID."""
    return struct.pack(">BBH", kind, 0, len(uid)) + uid.encode()


def request(called: str = "LISTENER", calling: str = "SCP") -> bytes:
    """Return an A-ASSOCIATE-RQ encoded by pynetdicom."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    context = build_context(COMMITMENT, IMPLICIT)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    length = MaximumLengthNotification()
    length.maximum_length_received = 16382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def test_insignificant_fields_of_a_request():
    """Reserved bytes, other protocol versions, and unknown or longer items."""
    pdu = bytearray(request())
    pdu[1], pdu[6], pdu[8:10], pdu[42:74] = 1, 0x80, b"\xff\xff", b"\xff" * 32
    user_at = pdu.index(b"\x50\x00")
    role = bytes([0, len(COMMITMENT)]) + COMMITMENT.encode() + b"\x00\x02" + b"more"
    added = b"\x77\xff\x00\x01x" + b"\x54\xff" + struct.pack(">H", len(role)) + role
    length = struct.unpack_from(">H", pdu, user_at + 2)[0] + len(added)
    struct.pack_into(">H", pdu, user_at + 2, length)
    pdu[user_at + 4 : user_at + 4] = added
    pdu += b"\x60\xff\x00\x02xy"
    struct.pack_into(">I", pdu, 2, len(pdu) - 6)
    with listen(0, host=HOST) as listener:
        answer = exchange(listener.port, bytes(pdu), A_RELEASE_RQ)
        assert pdu_types(answer) == [2, 6]
    accept = A_ASSOCIATE_AC()
    accept.decode(answer[:-10])
    [context] = accept.to_primitive().presentation_context_definition_results_list
    assert context.result == 0
    roles = [item for item in accept.user_information.user_data if item.item_type == 0x54]
    assert [(role.uid, role.scu_role, role.scp_role) for role in roles] == [(COMMITMENT, 0, 1)]


def exchange(port: int, *parts: bytes, end: bool = False) -> bytes:
    """Send bytes on a socket, and optionally close it; return all received bytes."""
    with socket.create_connection((HOST, port), timeout=10) as connection:
        answer = io.BytesIO()
        try:
            for part in parts:
                connection.sendall(part)
            if end:
                connection.shutdown(socket.SHUT_WR)
            while found := connection.recv(1 << 16):
                answer.write(found)
        except TimeoutError:
            raise
        except OSError:
            # The listener closed the connection before all bytes were sent.
            pass
        return answer.getvalue()


def pdu_types(answer: bytes) -> list[int]:
    """Return the types of PDUs."""
    found = []
    while answer:
        found.append(answer[0])
        answer = answer[6 + struct.unpack_from(">I", answer, 2)[0] :]
    return found


EVENT = bytes(encode_events(events(1)))


def with_invalid_pdv(pdu: bytes) -> bytes:
    """Return a PDU with invalid bytes after its PDVs."""
    length = struct.unpack_from(">I", pdu, 2)[0] + 4
    return pdu[:2] + struct.pack(">I", length) + pdu[6:] + b"\0\0\0\xff"


BEGUN = b"\x04\0\0\0\0\x12\0\0\0\x0e\1\1" + EVENT[12:24]
"""The first bytes of the command set of an event, in a fragment that is not the last."""

RQ, AC, RJ, DATA, RELEASE, RELEASED, ABORT = range(1, 8)


@pytest.mark.parametrize(
    ("parts", "expected", "failure"),
    [
        ((request(), EVENT, A_RELEASE_RQ), [AC, DATA, RELEASED], None),
        ((request(), EVENT * 3 + A_RELEASE_RQ), [AC, DATA, DATA, DATA, RELEASED], None),
        ((b"GET / HTTP/1.1\r\n\r\n",), [ABORT], "0x47 is not a PDU type"),
        ((b"\x01\0\xff\xff\xff\xff",), [ABORT], "4294967295 bytes"),
        ((EVENT,), [ABORT], "P-DATA-TF instead of A-ASSOCIATE-RQ"),
        ((request()[:-1],), [], "no complete PDU"),
        ((A_RELEASE_RQ,), [ABORT], "A-ASSOCIATE-RQ"),
        ((request(), b"\x04\0\xff\xff\xff\xff"), [AC, ABORT], "4294967295 bytes"),
        (
            (request(), EVENT, b"\x04\0\0\0\0\x04\0\0\0\xff"),
            [AC, DATA, ABORT],
            "the PDV length is 255",
        ),
        ((request(), b"\xff" * 100), [AC, ABORT], "0xff is not a PDU type"),
        ((request(), request()), [AC, ABORT], "A-ASSOCIATE-RQ"),
        ((request(), EVENT, b"\x07\0\0\0\0\x04\0\0\0\0"), [AC, DATA], "aborted"),
        ((request(), EVENT[:-5]), [AC, ABORT], "no complete PDU"),
        # An error after an event in the same PDU: the event is received and has a response.
        ((request(), with_invalid_pdv(EVENT)), [AC, DATA, ABORT], "the PDV"),
        # Incomplete events, with each end of the association.
        (
            (request(), EVENT, BEGUN, A_RELEASE_RQ),
            [AC, DATA, RELEASED],
            "released the association after",
        ),
        ((request(), BEGUN, b"\x07\0\0\0\0\x04\0\0\0\0"), [AC], "aborted"),
    ],
)
def test_valid_and_invalid_peers(parts, expected, failure):
    with listen(0, host=HOST, association_timeout=0.3, idle_timeout=0.3) as listener:
        assert pdu_types(exchange(listener.port, *parts)) == expected
        until(lambda: listener.connections == 0)
        failures = listener.take_failures()
        assert [failure in one for one in failures] == ([True] if failure else [])
        count = expected.count(DATA)
        if count:
            assert len(receive_rows(listener, count)) == count
        assert listener.receive(timeout=0) is None


@pytest.mark.parametrize("way", ["receive", "handler", "batch_handler"])
def test_data_set_of_zero_bytes(way):
    """A command set that announces a data set, and an empty last fragment."""
    got: list[int | None] = []
    ways: dict[str, dict[str, Any]] = {
        "receive": {},
        "handler": {"handler": lambda event, title: got.append(event.EventTypeID)},
        "batch_handler": {"batch_handler": lambda some: got.extend(column(some, "EventTypeID"))},
    }
    messages = []
    for number in range(4):
        command = command_set(number, COMMITMENT + ".1", COMMITMENT, data=number % 2 == 0)
        messages.append(pdv(command, COMMAND | LAST))
        if number % 2 == 0:
            messages.append(pdv(b"", LAST))
    with listen(0, host=HOST, **ways[way]) as listener:
        # In one PDU, and with one fragment in each PDU.
        for pdus in (pdu(*messages), b"".join(map(pdu, messages))):
            answer = exchange(listener.port, request(), pdus + A_RELEASE_RQ)
            assert pdu_types(answer) == [AC, *[DATA] * 4, RELEASED]
            assert not listener.take_failures()
        if way == "receive":
            rows = pa.table(listener.receive(batch_size=8, linger=10))
            assert rows["MessageID"].to_pylist() == [0, 1, 2, 3] * 2
        else:
            assert got == [1] * 8


def test_too_long_message():
    information = b"\x08\0\x95\x11\0\0\x01\0" + b"1" * 0x10000
    stream = bytes(encode_events(events(1, EventInformation=information)))
    with listen(0, host=HOST, max_message_length=50_000) as listener:
        assert pdu_types(exchange(listener.port, request(), stream)) == [AC, ABORT]
        until(lambda: listener.connections == 0)
        assert "50000 bytes" in listener.take_failures()[0]


def test_too_long_pdu():
    """``max_pdu_length=0`` announces the limit, and longer PDUs are not read."""
    longest = 1 << 20
    with listen(0, host=HOST, max_pdu_length=0, max_message_length=longest) as listener:
        talk = association(listener.port)
        assert talk.acceptor.maximum_length == longest + 6
        talk.release()
        too_long = b"\x04\0" + struct.pack(">I", longest + 7)
        assert pdu_types(exchange(listener.port, request(), too_long)) == [AC, ABORT]
        until(lambda: listener.connections == 0)
        assert f"the maximum is {longest + 6}" in listener.take_failures()[0]


@pytest.mark.parametrize("fragment", [b"", b"x"])
def test_memory_of_an_endless_message(fragment):
    command = pdu(pdv(command_set(1, INSTANCE, COMMITMENT, data=True), COMMAND | LAST))
    fragments = pdu(pdv(fragment, 0))
    before = resident()
    with listen(0, host=HOST, max_message_length=1 << 20) as listener:
        parts = [fragments * (1 << 16)] * 17
        assert pdu_types(exchange(listener.port, request(), command, *parts))[:1] == [AC]
        until(lambda: listener.connections == 0)
        assert "1048576 bytes" in listener.take_failures()[0]
        assert resident() - before < 32 << 20


@pytest.mark.parametrize(
    ("context_id", "sop_class", "status"),
    [
        (1, "1.2.840.10008.3.1.2.3.5", 0x0122),
        (1, "1.2.3", 0x0118),
        (1, "1." + "9" * 70, 0x0118),
        (3, COMMITMENT, None),
        (2, COMMITMENT, None),
    ],
)
def test_events_on_wrong_contexts(context_id, sop_class, status):
    message = pdu(pdv(command_set(7, INSTANCE, sop_class), COMMAND | LAST, context_id))
    with listen(0, host=HOST) as listener:
        answer = exchange(listener.port, request(), message, end=True)
        until(lambda: listener.connections == 0)
        assert listener.receive(timeout=0) is None
        failures = listener.take_failures()
    if status is None:
        assert pdu_types(answer) == [AC, ABORT]
        assert f"presentation context {context_id}, which was not accepted" in failures[0]
    else:
        assert pdu_types(answer) == [AC, DATA]
        [response] = decode_stream(answer[answer.index(b"\x04\0\0\0") :])
        assert (response.MessageIDBeingRespondedTo, response.Status) == (7, status)
        assert f"an event was refused with Status {status:#06x}" in failures[0]
        assert "Message ID 7" in failures[0]


@pytest.mark.parametrize("way", ["receive", "handler", "batch_handler"])
def test_event_with_a_too_long_uid(way):
    """The same for all pdu_types of listeners: a UID has at most 64 characters (PS3.5 9.1)."""
    called: list[Any] = []
    options = {} if way == "receive" else {way: lambda *given: called.append(given)}
    message = pdu(pdv(command_set(7, "1." + "2" * 70, COMMITMENT), COMMAND | LAST))
    with listen(0, host=HOST, **options) as listener:
        answer = exchange(listener.port, request(), message, EVENT, end=True)
        until(lambda: listener.connections == 0)
        [refusal, _] = listener.take_failures()
    refused, taken_ = decode_stream(answer[answer.index(b"\x04\0\0\0") :])
    assert (refused.MessageIDBeingRespondedTo, refused.Status) == (7, 0x0117)
    assert taken_.Status == 0
    assert "refused with Status 0x0117" in refusal
    assert "AffectedSOPInstanceUID: '1.2222" in refusal
    assert len(called) == (0 if way == "receive" else 1)


def test_unexpected_response():
    unexpected = response(9)
    with listen(0, host=HOST) as listener:
        assert pdu_types(exchange(listener.port, request(), unexpected, EVENT, A_RELEASE_RQ)) == [
            *(AC, DATA, RELEASED)
        ]
        assert len(receive_rows(listener, 1)) == 1
        assert "N-EVENT-REPORT-RSP was ignored" in listener.take_failures()[0]


def test_event_without_message_id():
    event = pdu(pdv(command_set(None, INSTANCE, COMMITMENT), COMMAND | LAST))
    with listen(0, host=HOST) as listener:
        assert pdu_types(exchange(listener.port, request(), event)) == [AC, ABORT]
        until(lambda: listener.connections == 0)
        assert "no Message ID" in listener.take_failures()[0]
        assert listener.receive(timeout=0) is None


@given(parts=st.lists(st.binary(max_size=200) | st.just(EVENT), max_size=4), begun=st.booleans())
@settings(max_examples=60)
def test_random_bytes(parts, begun):
    with listen(0, host=HOST, association_timeout=0.05, idle_timeout=0.05) as listener:
        exchange(listener.port, *([request()] if begun else []), *parts, end=True)
        with connect(HOST, listener.port) as talk:
            assert talk.send(events(2)).answered == 2


def test_half_open_connections():
    with (
        listen(0, host=HOST, max_connections=50, association_timeout=2) as listener,
        connect(HOST, listener.port) as talk,
    ):
        idle = [socket.create_connection((HOST, listener.port)) for _ in range(200)]
        until(lambda: listener.connections == 50)
        assert talk.send(events(10)).answered == 10
        # One connection above the limit is rejected.
        assert pdu_types(exchange(listener.port)) == [RJ]
        for connection in idle:
            connection.close()
        until(lambda: listener.connections == 1)
        with connect(HOST, listener.port) as other:
            assert other.send(events(1)).answered == 1


def test_events_can_be_read_after_the_end():
    listener = listen(0, host=HOST)
    with connect(HOST, listener.port) as talk:
        assert talk.send(events(5)).answered == 5
    listener.close()
    assert repr(listener) == "<Listener: closed>"
    assert sum(len(received) for received in listener) == 5
    assert listener.receive() is None
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HOST, listener.port))


def test_open_association_at_the_end_of_the_listener():
    with listen(0, host=HOST) as listener:
        talk = connect(HOST, listener.port)
        assert talk.send(events(1)).answered == 1
    assert talk.send(events(1)).failure is not None


def test_port_in_use():
    with listen(0, host=HOST) as listener, pytest.raises(OSError, match="in use"):
        listen(listener.port, host=HOST)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_connections": 0}, "max_connections"),
        ({"max_message_length": 0}, "max_message_length"),
        ({"max_pdu_length": 100}, "max_pdu_length"),
        ({"called_ae": "A" * 17}, "called_ae"),
        ({"calling_aes": [""]}, "calling_aes"),
        ({"sop_classes": ["a b"]}, "sop_classes"),
        ({"idle_timeout": -1}, "idle_timeout"),
    ],
)
def test_invalid_options(options, text):
    with pytest.raises(ValueError, match=text):
        listen(0, host=HOST, **options)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from Linux")
def test_memory_of_waiting_events():
    information = b"\x08\0\x95\x11\0\x80\0\0" + b"1" * 0x8000
    table = pa.table(
        {
            "AffectedSOPClassUID": [COMMITMENT] * 20_000,
            "AffectedSOPInstanceUID": ["1.2"] * 20_000,
            "EventTypeID": [1] * 20_000,
            "EventInformation": pa.array([information] * 20_000, pa.binary()).dictionary_encode(),
        }
    )
    with listen(0, host=HOST) as listener, connect(HOST, listener.port) as talk:
        before = resident()
        thread = threading.Thread(target=lambda: talk.send(table), daemon=True)
        thread.start()
        time.sleep(2)
        assert resident() - before < 400 << 20
