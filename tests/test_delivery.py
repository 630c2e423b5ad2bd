"""Events sent on associations: to pynetdicom, and to peers with faults."""

import itertools
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
import pytest
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_ECHO_RSP
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import (
    BasicColorPrintManagementMeta,
    BasicGrayscalePrintManagementMeta,
    Printer,
    PrintJob,
    StorageCommitmentPushModel,
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
    Verification,
)

import fastdimse
from dcmdump import needed
from fastdimse import AssociationError, ColumnError, connect
from plain_messages import COMMAND, EVENT_RSP, LAST, command_set, pdu, pdv
from scripted_peer import (
    A_ABORT,
    A_RELEASE_RQ,
    EXPLICIT,
    HOST,
    IMPLICIT,
    Conversation,
    peer,
    response,
)
from test_data_sets import oracle, oracle_read, to_dataset

COMMITMENT = "1.2.840.10008.1.20.1"
REPORT = {
    "TransactionUID": "1.2.3",
    "ReferencedSOPSequence": [
        {
            "ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "ReferencedSOPInstanceUID": "1.2.3.4",
        }
    ],
}


def events(count: int, **columns: Any) -> dict[str, Any]:
    """Events of storage commitment, with event types as numbers."""
    return {
        "AffectedSOPClassUID": COMMITMENT,
        "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
        "EventTypeID": list(range(1, count + 1)),
        **columns,
    }


def rows(outcomes: fastdimse.Outcomes) -> list[dict[str, Any]]:
    """Return outcomes as rows, with times as numbers."""
    table = pa.table(outcomes)
    latency = table["Latency"].cast(pa.int64())
    place = table.column_names.index("Latency")
    return table.set_column(place, "Latency", latency).to_pylist()


def column(outcomes: fastdimse.Outcomes, name: str) -> list[Any]:
    """Return a column of outcomes."""
    return pa.table(outcomes)[name].to_pylist()


@contextmanager
def listener(**options: Any) -> Iterator[tuple[int, list[Any]]]:
    """Receive events with pynetdicom: yield the port and the events. The type sets the Status."""
    got: list[Any] = []

    def handle(event: Any) -> tuple[int, None]:
        information = event.request.EventInformation
        got.append(
            (
                event.assoc.requestor.ae_title,
                event.message_id,
                event.event_type,
                event.request.AffectedSOPInstanceUID,
                event.event_information if information and information.getvalue() else None,
            )
        )
        return event.event_type - 1, None

    ae = AE("PEER")
    for name, value in options.items():
        setattr(ae, name, value)
    for sop_class in (StorageCommitmentPushModel, UnifiedProcedureStepEvent):
        ae.add_supported_context(sop_class, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, handle)]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1], got
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("affected", "negotiated"),
    [
        (Printer, BasicGrayscalePrintManagementMeta),
        (Printer, BasicColorPrintManagementMeta),
        (PrintJob, BasicGrayscalePrintManagementMeta),
        (UnifiedProcedureStepPush, UnifiedProcedureStepEvent),
        (UnifiedProcedureStepPush, UnifiedProcedureStepWatch),
        (UnifiedProcedureStepPush, UnifiedProcedureStepPull),
        (UnifiedProcedureStepPush, UnifiedProcedureStepQuery),
    ],
)
def test_contexts_of_other_sop_classes(affected, negotiated):
    got = []

    def handle(event: Any) -> tuple[int, None]:
        got.append((event.request.AffectedSOPClassUID, event.context.abstract_syntax))
        return 0, None

    ae = AE("PEER")
    ae.add_supported_context(negotiated, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, handle)]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    defaults = negotiated.startswith(("1.2.840.10008.5.1.1", UnifiedProcedureStepEvent))
    proposed = {} if defaults else {"sop_classes": [negotiated]}
    try:
        with connect(HOST, server.socket.getsockname()[1], **proposed) as association:
            outcomes = association.send(events(1, AffectedSOPClassUID=affected))
    finally:
        server.shutdown()
    assert column(outcomes, "Status") == [0]
    assert got == [(affected, negotiated)]


def test_send_to_pynetdicom():
    with listener() as (port, got):
        with connect(HOST, port, called_ae="PEER", calling_ae="SENDER") as association:
            assert association.transfer_syntaxes[COMMITMENT] == IMPLICIT
            # pynetdicom does not support windows.
            assert association.window == 1
            first = association.send(events(2, EventInformation=[REPORT, None]))
            second = association.send(events(1, MessageID=[77]))
        assert repr(association) == "<Association: released, 2 SOP classes, window 1>"
    assert [one[:3] for one in got] == [("SENDER", 1, 1), ("SENDER", 2, 2), ("SENDER", 77, 1)]
    assert got[0][4] == to_dataset(REPORT)
    assert got[1][4] is None
    assert (len(first), first.answered, first.failure) == (2, 2, None)
    assert [(row["MessageID"], row["Status"], row["StatusName"]) for row in rows(first)] == [
        (1, 0, "0x0000 Success"),
        (2, 1, "0x0001 Warning"),
    ]
    assert all(0 < row["Latency"] < 20e9 for row in rows(first))
    assert column(second, "MessageID") == [77]


def test_every_kind_of_input():
    table = pa.table(
        {
            **events(3),
            "AffectedSOPClassUID": [COMMITMENT] * 3,
            "AffectedSOPInstanceUID": ["1.2.3"] * 3,
        }
    )
    primitives = [fastdimse.N_EVENT_REPORT() for _ in range(3)]
    for number, primitive in enumerate(primitives, 1):
        primitive.MessageID = number
        primitive.AffectedSOPClassUID = COMMITMENT
        primitive.AffectedSOPInstanceUID = "1.2.3"
        primitive.EventTypeID = number
    with listener() as (port, got), connect(HOST, port) as association:
        for given in (table, table.to_pylist(), iter(table.to_pylist()), primitives):
            assert column(association.send(given), "Status") == [0, 1, 2]
    assert [one[1:4] for one in got] == [(n, n, "1.2.3") for n in (1, 2, 3)] * 4


def test_sop_class_differs_from_the_negotiated_one():
    with listener() as (port, _), connect(HOST, port) as association:
        outcomes = association.send(events(1, AffectedSOPClassUID="1.2.840.10008.5.1.4.34.6.1"))
    # pynetdicom has no service for the Push class, but receives the event on the other context.
    assert (outcomes.answered, outcomes.failure) == (1, None)


def test_rejected_rows():
    columns = events(
        5,
        AffectedSOPClassUID=[COMMITMENT, "1.2.3", "1.2.840.10008.5.1.1.16", COMMITMENT, COMMITMENT],
        AffectedSOPInstanceUID=["1.2", "1.2", "1.2", "1.02", "1.2"],
        MessageIDBeingRespondedTo=[None, None, None, None, 7],
    )
    with listener() as (port, got), connect(HOST, port) as association:
        assert "1.2.840.10008.5.1.1.16" in association.rejected_contexts
        found = rows(association.send(columns))
        assert [row["Status"] for row in found] == [0, None, None, None, None]
        codes = [None, "no-context", "no-context", "uid", "response"]
        assert [row["Failure"] for row in found] == codes
        assert "not proposed" in found[1]["Reason"]
        assert "does not support the SOP class" in found[2]["Reason"]
        assert found[3]["Reason"].startswith("AffectedSOPInstanceUID: '1.02'")
        with pytest.raises(ColumnError, match="Nonsense"):
            association.send(events(1, Nonsense=1))
        # Nothing was sent: the association is unchanged.
        assert association.send(events(1)).answered == 1
    assert len(got) == 2


def test_accepted_transfer_syntax():
    taken: list[bytes] = []

    def script(talk: Conversation) -> None:
        talk.accept(transfer_syntax=EXPLICIT)
        for event in talk.requests():
            taken.append(event.EventInformation.getvalue())
            talk.respond(event.MessageID)

    encoded = oracle(to_dataset(REPORT), EXPLICIT)
    with peer(script) as port, connect(HOST, port) as association:
        assert association.transfer_syntaxes[COMMITMENT] == EXPLICIT
        assert association.send(events(1, EventInformation=REPORT)).answered == 1
        options = {"EventInformation": encoded}
        [row] = rows(association.send(events(1, **options)))
        assert (row["Failure"], EXPLICIT in row["Reason"]) == ("transfer-syntax", True)
        assert association.send(events(1, **options), transfer_syntax=EXPLICIT).answered == 1
    assert taken == [encoded, encoded]
    assert oracle_read(encoded, EXPLICIT) == to_dataset(REPORT)


@pytest.mark.parametrize("max_pdu_length", [7, 127, 128, 129, 0])
def test_max_pdu_length_of_the_peer(max_pdu_length):
    longest: list[int] = []

    def script(talk: Conversation) -> None:
        talk.accept(max_pdu_length=max_pdu_length)
        read = talk.read

        def noted() -> bytes:
            pdu = read()
            longest.append(len(pdu) - 6)
            # PS3.8 E.1, if there is room for two bytes.
            assert len(pdu) % 2 == 0 or max_pdu_length == 7
            return pdu

        talk.read = noted
        for event in talk.requests():
            assert event.EventInformation.getvalue() == b"\x08\0\x95\x11\xfa\0\0\0" + b"1" * 250
            talk.respond(event.MessageID)

    information = b"\x08\0\x95\x11\xfa\0\0\0" + b"1" * 250
    with peer(script) as port, connect(HOST, port) as association:
        assert association.max_pdu_length == max_pdu_length
        assert association.send(events(2, EventInformation=information)).answered == 2
    assert max(longest) <= (max_pdu_length or 1 << 20)
    assert max(longest) > (max_pdu_length or 258) - 2


def test_responses_in_any_order_within_a_window():
    most: list[int] = []

    def script(talk: Conversation) -> None:
        talk.accept(window=5)
        waiting: list[int] = []
        for event in talk.requests():
            waiting.append(event.MessageID)
            most.append(len(waiting))
            if len(waiting) == 3 or event.EventTypeID == 20:
                for message_id in reversed(waiting):
                    talk.respond(message_id, message_id)
                waiting.clear()

    with peer(script) as port, connect(HOST, port, window=8) as association:
        assert association.window == 5
        outcomes = association.send(events(20))
    assert column(outcomes, "Status") == list(range(1, 21))
    assert max(most) == 3


@pytest.mark.parametrize(
    ("proposed", "answered", "window"),
    [(64, None, 1), (64, 1, 1), (64, 10, 10), (64, 0, 64), (0, 0, 65535), (8, 64, 8), (1, 5, 1)],
)
def test_negotiated_window(proposed, answered, window):
    def script(talk: Conversation) -> None:
        talk.accept(window=answered)
        items = [type(item).__name__ for item in talk.request.user_information]
        assert ("AsynchronousOperationsWindowNegotiation" in items) == (proposed != 1)
        list(talk.requests())

    with peer(script) as port, connect(HOST, port, window=proposed) as association:
        assert association.window == window


def test_role_of_scp_is_proposed():
    def script(talk: Conversation) -> None:
        talk.accept()
        items = talk.request.user_information
        roles = [one for one in items if isinstance(one, SCP_SCU_RoleSelectionNegotiation)]
        assert [(one.sop_class_uid, one.scu_role, one.scp_role) for one in roles] == [
            (COMMITMENT, False, True)
        ]
        list(talk.requests())

    with peer(script) as port, connect(HOST, port, sop_classes=[COMMITMENT]):
        pass


def test_outstanding_message_ids_are_not_reused():
    def script(talk: Conversation) -> None:
        talk.accept(window=10)
        requests = talk.requests()
        assert [next(requests).MessageID for _ in range(2)] == [7, 8]
        talk.connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            next(requests)
        talk.connection.settimeout(20)
        talk.respond(8)
        talk.respond(7)
        for event in talk.requests():
            talk.respond(event.MessageID, 0x0112)

    with peer(script) as port, connect(HOST, port) as association:
        outcomes = association.send(events(3, MessageID=[7, 8, 7]))
    assert column(outcomes, "Status") == [0, 0, 0x0112]


def responding(count: int, then: Any) -> Any:
    """Return a script that responds to some events and then calls `then`."""

    def script(talk: Conversation) -> None:
        talk.accept()
        requests = talk.requests()
        for _ in range(count):
            talk.respond(next(requests).MessageID)
        next(requests)
        then(talk)

    return script


def endless_reply(talk: Conversation) -> None:
    """Send an endless_events Event Reply: no fragment is the last."""
    command = command_set(3, "1.2.3", COMMITMENT, EVENT_RSP, data=True)
    talk.write(pdu(pdv(command, COMMAND | LAST)))
    fragment = pdu(pdv(bytes(16_000), 0))
    with suppress(OSError):
        for _ in range((65 << 20) // len(fragment)):
            talk.write(fragment)


FAULTS = {
    "a reply without an end": (endless_reply, "more than the maximum of 67108864 bytes"),
    "closed": (lambda talk: None, "the peer closed the connection"),
    "closed inside a PDU": (lambda talk: talk.write(response(3)[:20]), "inside a PDU"),
    "reset": (
        lambda talk: talk.connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        ),
        "the peer closed the connection",
    ),
    "aborted": (lambda talk: talk.write(A_ABORT), "the peer aborted the association"),
    "released": (lambda talk: talk.write(A_RELEASE_RQ), "the peer released the association"),
    "no PDU": (lambda talk: talk.write(b"\xff" * 6), "0xff is not a PDU type"),
    "a long PDU": (lambda talk: talk.write(b"\x04\0\xff\xff\xff\xff"), "the maximum is 16382"),
    "another PDU": (
        lambda talk: talk.write(b"\x02\0\0\0\0\0"),
        "A-ASSOCIATE-AC instead of P-DATA-TF",
    ),
    "a wrong PDV": (
        lambda talk: talk.write(b"\x04\0\0\0\0\x04\0\0\0\xff"),
        "the PDV length is 255",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_event_has_an_outcome_after_a_fault(fault):
    then, text = FAULTS[fault]
    with peer(responding(2, then)) as port, connect(HOST, port) as association:
        outcomes = association.send(events(5))
        with pytest.raises(RuntimeError, match="the association is lost"):
            association.send(events(1))
    assert text in outcomes.failure
    assert (len(outcomes), outcomes.answered) == (5, 2)
    found = rows(outcomes)
    assert [row["Status"] for row in found] == [0, 0, None, None, None]
    assert [row["Failure"] == "not-sent" for row in found] == [False, False, False, True, True]
    assert [row["MessageID"] for row in found] == [1, 2, 3, 4, 5]
    assert all(text in row["Reason"] for row in found[2:])


def test_iterator_is_not_read_after_a_fault():
    primitives = iter(
        pa.table(
            pa.Table.from_pylist(
                [
                    {
                        "AffectedSOPClassUID": COMMITMENT,
                        "AffectedSOPInstanceUID": "1.2",
                        "EventTypeID": n,
                    }
                    for n in range(10_000)
                ]
            )
        ).to_pylist()
    )
    with peer(responding(0, lambda talk: None)) as port, connect(HOST, port) as association:
        outcomes = association.send(primitives)
    assert len(outcomes) < 10_000
    assert len(outcomes) + len(list(primitives)) == 10_000


def close_at_release(talk: Conversation) -> None:
    """Read the release request, and close the connection without a response."""
    assert talk.read() == A_RELEASE_RQ


def reset_at_release(talk: Conversation) -> None:
    """Read the release request, and reset the connection."""
    assert talk.read() == A_RELEASE_RQ
    linger = struct.pack("ii", 1, 0)
    talk.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


ENDS = [close_at_release, reset_at_release, lambda talk: None]


@pytest.mark.parametrize("end", ENDS)
def test_peer_closes_the_connection_at_release(end):
    def script(talk: Conversation) -> None:
        talk.accept()
        talk.respond(next(talk.requests()).MessageID)
        end(talk)

    with peer(script) as port:
        with connect(HOST, port) as association:
            outcomes = association.send(events(1))
        assert (outcomes.answered, outcomes.failure) == (1, None)
        assert "released" in repr(association)


@pytest.mark.parametrize("end", ENDS)
def test_peer_closes_the_connection_after_an_echo(end):
    def script(talk: Conversation) -> None:
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
        end(talk)

    with peer(script) as port:
        assert fastdimse.echo(HOST, port) > 0


def test_truncated_release_response():
    def script(talk: Conversation) -> None:
        talk.accept()
        talk.read()
        talk.write(A_RELEASE_RQ[:5])

    with peer(script) as port:
        association = connect(HOST, port)
        with pytest.raises(AssociationError, match="inside a PDU"):
            association.release()


def test_peer_without_responses():
    with (
        peer(responding(1, lambda talk: talk.read())) as port,
        connect(HOST, port, response_timeout=0.2) as association,
    ):
        begin = time.monotonic()
        outcomes = association.send(events(2))
        assert time.monotonic() - begin < 5
    assert column(outcomes, "Failure") == [None, "silent"]
    assert "sent no complete PDU for 0.2 s" in outcomes.failure


def test_peer_sends_other_messages():
    """Other messages do not extend the timeout, and are not kept without a limit."""

    def script(talk: Conversation) -> None:
        talk.accept()
        next(talk.requests())
        with suppress(ConnectionError):
            while True:
                talk.write(response(0x7777) * 50)
                time.sleep(0.005)

    with (
        peer(script) as port,
        connect(HOST, port, response_timeout=0.5) as association,
    ):
        begin = time.monotonic()
        outcomes = association.send(events(2))
        assert time.monotonic() - begin < 5
    assert column(outcomes, "Failure") == ["silent", "not-sent"]
    assert len(association.unexpected_responses) == 1000


def test_unexpected_responses_are_reported():
    def script(talk: Conversation) -> None:
        talk.accept()
        for event in talk.requests():
            talk.respond(4711)
            talk.respond(event.MessageID)
            talk.respond(event.MessageID)

    with peer(script) as port, connect(HOST, port) as association:
        assert column(association.send(events(3)), "Status") == [0, 0, 0]
        assert (
            association.unexpected_responses
            == [
                "a response to Message ID 4711, which is not outstanding",
                "a response to Message ID 1, which is not outstanding",
            ]
            or len(association.unexpected_responses) >= 3
        )


@pytest.mark.parametrize(
    ("given", "permanent", "text"),
    [((1, 1, 7), True, "called AE title"), ((2, 3, 1), False, "for now")],
)
def test_rejected_association(given, permanent, text):
    with (
        peer(lambda talk: talk.reject(*given)) as port,
        pytest.raises(AssociationError, match=f"(?i){text}") as raised,
    ):
        connect(HOST, port)
    assert (raised.value.code, raised.value.permanent) == ("rejected", permanent)


def item(kind: int, value: bytes) -> bytes:
    """Return an item of an A-ASSOCIATE, with a reserved byte that is not 0."""
    return struct.pack(">BBH", kind, 0xFF, len(value)) + value


def accept(talk: Conversation, rejected: bytes, user: bytes = b"", last: bytes = b"") -> None:
    """Accept the context of storage commitment, and reject all others with a sub-item."""
    request = A_ASSOCIATE_RQ()
    request.decode(talk.read())
    contexts = b""
    for proposed in request.to_primitive().presentation_context_definition_list:
        accepts = proposed.abstract_syntax in (COMMITMENT, Verification)
        fixed = bytes([proposed.context_id, 0xFF, 0 if accepts else rejected[0], 0xFF])
        sub_items = item(0x40, IMPLICIT.encode()) if accepts else rejected[1:]
        contexts += item(0x21, fixed + sub_items)
    users = user + item(0x51, b"\0\0\x40\0") + item(0x52, b"1.2.3")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + item(0x50, users) + last
    # Reserved bytes, and other bits of the protocol version.
    fixed = b"\x80\x01\xff\xff" + b"\xff" * 64
    talk.write(b"\x02\xff" + struct.pack(">I", len(fixed + items)) + fixed + items)


REJECTED = {
    "no sub-item": b"\x03",
    "no sub-item, for a reason that the standard does not know": b"\x09",
    "an empty one": b"\x04" + item(0x40, b""),
    "one with trailing NULs": b"\x01" + item(0x40, b"1.2\0\0"),
    "one that is no UID": b"\x02" + item(0x40, b"no UID"),
    "two of them": b"\x02" + 2 * item(0x40, IMPLICIT.encode()),
}


@pytest.mark.parametrize("rejected", REJECTED.values(), ids=REJECTED)
def test_sub_items_of_rejected_contexts_are_ignored(rejected):
    def script(talk: Conversation) -> None:
        accept(talk, rejected)
        assert talk.read() == A_RELEASE_RQ
        talk.write(b"\x06\xff\0\0\0\x04\xff\xff\xff\xff")

    ae = AE()
    for number in range(3):
        ae.add_requested_context(f"1.2.3.{number}")
    ae.add_requested_context(COMMITMENT)
    with peer(script, script) as port:
        other = ae.associate(HOST, port)
        assert other.is_established
        accepted = [context.abstract_syntax for context in other.accepted_contexts]
        other.release()
        with connect(HOST, port) as association:
            assert list(association.transfer_syntaxes) == accepted == [COMMITMENT]


@needed
@pytest.mark.parametrize(
    ("rejected", "user", "last"),
    [
        (b"\x03", b"", b""),
        (b"\x03", item(0x77, b"unknown"), b""),
        (b"\x03", item(0x55, b"A VERSION NAME THAT IS TOO LONG"), b""),
        (b"\x03", b"", item(0x60, b"unknown")),
    ],
)
def test_unknown_items_are_ignored(rejected, user, last):
    def script(talk: Conversation) -> None:
        accept(talk, rejected, user, last)
        talk.read()

    with peer(script, script) as port:
        dcmtk = ["echoscu", "--verbose", HOST, str(port)]
        done = subprocess.run(dcmtk, capture_output=True, text=True, check=False)
        assert "Association Accepted" in done.stdout + done.stderr
        association = connect(HOST, port)
        assert list(association.transfer_syntaxes) == [COMMITMENT]
        association.abort()


@pytest.mark.parametrize("sub_items", [b"", 2 * item(0x40, IMPLICIT.encode())])
def test_accepted_context_without_one_transfer_syntax(sub_items):
    with (
        peer(lambda talk: accept(talk, b"\0" + sub_items)) as port,
        pytest.raises(AssociationError, match="transfer syntax") as raised,
    ):
        connect(HOST, port)
    assert raised.value.code == "unexpected"


@pytest.mark.parametrize(
    ("pdu", "code", "permanent"),
    [
        (b"\x03\0\0\0\0\x04\0\x01\x02\x09", "rejected", True),
        (b"\x03\0\0\0\0\x04\0\x02\x01\x0b", "rejected", False),
        (b"\x03\0\0\0\0\x04\0\x09\x01\x01", "rejected", True),
        (b"\x07\0\0\0\0\x04\xff\xff\x02\x09", "aborted", False),
        (b"\x07\0\0\0\0\x04\0\0\x09\0", "aborted", False),
    ],
)
def test_unknown_reasons(pdu, code, permanent):
    def script(talk: Conversation) -> None:
        talk.read()
        talk.write(pdu)

    with (
        peer(script) as port,
        pytest.raises(AssociationError, match="for an unknown reason") as raised,
    ):
        connect(HOST, port)
    assert (raised.value.code, raised.value.permanent) == (code, permanent)


def test_no_accepted_context():
    def script(talk: Conversation) -> None:
        talk.accept(result=3)
        assert talk.read()[0] == 7

    with peer(script) as port, pytest.raises(AssociationError) as raised:
        connect(HOST, port, sop_classes=[COMMITMENT])
    assert (raised.value.code, raised.value.permanent) == ("no-context", True)
    assert "does not support the SOP class" in str(raised.value)


def test_rejected_role():
    def script(talk: Conversation) -> None:
        talk.accept(scp=False)
        talk.read()

    with (
        peer(script) as port,
        pytest.raises(AssociationError, match="the peer rejected the SCP role"),
    ):
        connect(HOST, port, sop_classes=[COMMITMENT])


def test_peer_without_role_selection():
    def script(talk: Conversation) -> None:
        talk.accept(scp=None)
        for event in talk.requests():
            talk.respond(event.MessageID)

    with peer(script) as port, connect(HOST, port) as association:
        assert association.send(events(1)).answered == 1


@pytest.mark.parametrize("bytes_sent", [b"", b"HTTP/1.1 400 Bad Request\r\n", A_ABORT])
def test_peer_without_dicom(bytes_sent):
    with (
        peer(lambda talk: talk.write(bytes_sent)) as port,
        pytest.raises(AssociationError),
    ):
        connect(HOST, port)


def test_connection_refused():
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(AssociationError, match="no connection") as raised:
        connect(HOST, port)
    assert (raised.value.code, raised.value.permanent) == ("connect", False)
    assert isinstance(raised.value, ConnectionError)
    with socket.create_server((HOST, 0)) as server:
        begin = time.monotonic()
        with pytest.raises(AssociationError, match="no complete PDU"):
            connect(HOST, server.getsockname()[1], association_timeout=0.2)
        assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"called_ae": ""}, "called_ae"),
        ({"calling_ae": "A" * 17}, "calling_ae"),
        ({"sop_classes": []}, "sop_classes"),
        ({"sop_classes": ["1.2"] * 129}, "129"),
        ({"sop_classes": ["a b"]}, r"sop_classes\[0\]"),
        ({"sop_classes": ["1.2", "StorageCommitment"]}, r"sop_classes\[1\].*only digits"),
        ({"transfer_syntaxes": []}, "transfer_syntaxes"),
        ({"transfer_syntaxes": ["1.2.840.10008.1.2.2"]}, "1.2.840.10008.1.2.2"),
        ({"max_pdu_length": 7}, "max_pdu_length"),
        ({"response_timeout": 0}, "response_timeout"),
        ({"connection_timeout": float("nan")}, "connection_timeout"),
    ],
)
def test_invalid_options(options, text):
    with pytest.raises(ValueError, match=text):
        connect(HOST, 1, **options)


@pytest.mark.parametrize("open_one", [fastdimse.listen, lambda port: connect(HOST, port)])
def test_invalid_ports(open_one):
    with pytest.raises(ValueError, match=r"port must be [01] to 65535, not 65536"):
        open_one(65536)


def test_exception_in_the_block_aborts():
    seen: list[bytes] = []

    def script(talk: Conversation) -> None:
        talk.accept()
        seen.append(talk.read())

    with peer(script) as port:
        with pytest.raises(KeyError), connect(HOST, port) as association:
            raise KeyError
        assert "aborted" in repr(association)
    assert seen[0][0] == 7


def test_exception_of_the_events():
    def broken() -> Iterator[dict[str, Any]]:
        for number in range(5000):
            yield {
                "AffectedSOPClassUID": COMMITMENT,
                "AffectedSOPInstanceUID": "1.2",
                "EventTypeID": number,
            }
        raise OSError("the disk is gone")

    numbers: list[int | None] = []

    def script(talk: Conversation) -> None:
        talk.accept(window=64)
        for event in talk.requests():
            numbers.append(event.EventTypeID)
            talk.respond(event.MessageID)

    with peer(script) as port, connect(HOST, port) as association:
        with pytest.raises(OSError, match="the disk is gone") as caught:
            association.send(broken())
        outcomes = caught.value.outcomes  # type: ignore[attr-defined]
        assert outcomes.to_pydict()["Status"] == [0] * 5000
        assert association.send(events(1)).to_pydict()["Status"] == [0]
    assert numbers[:5000] == [*range(5000)]
    assert len(numbers) == 5001


def test_concurrent_calls():
    ready, go = threading.Event(), threading.Event()

    def script(talk: Conversation) -> None:
        talk.accept()
        requests = talk.requests()
        event = next(requests)
        ready.set()
        assert go.wait(10)
        talk.respond(event.MessageID)
        list(requests)

    with peer(script) as port, connect(HOST, port) as association:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(association.send(events(1))))
        thread.start()
        assert ready.wait(10)
        with pytest.raises(RuntimeError, match="another thread"):
            association.send(events(1))
        go.set()
        thread.join(10)
        assert found[0].answered == 1


def test_outcomes_as_lists():
    with listener() as (port, _), connect(HOST, port) as association:
        before = time.time_ns()
        outcomes = association.send(events(2, AffectedSOPInstanceUID=["1.2", "wrong"]))
        after = time.time_ns()
    table = pa.table(outcomes)
    for name in ("Time", "Latency"):
        numbers = table[name].cast(pa.int64())
        table = table.set_column(table.column_names.index(name), name, numbers)
    assert outcomes.to_pydict() == table.to_pydict()
    assert before < outcomes.to_pydict()["Time"][0] < after


def endless_events(taken: list[int]) -> Iterator[dict[str, Any]]:
    """Yield events endlessly, and record the number of those that were read."""
    for number in itertools.count():
        taken.append(number)
        one = {name: value for name, value in events(1).items() if name != "EventTypeID"}
        yield {**one, "EventTypeID": 1 + number % 3}


def test_endless_stream_is_sent_in_batches():
    taken: list[int] = []
    with listener() as (port, got), connect(HOST, port) as association:
        batches = association.send_batches(endless_events(taken), batch_size=4)
        for number in range(1, 4):
            outcomes = next(batches)
            assert (len(outcomes), outcomes.answered) == (4, 4)
            assert len(taken) == len(got) == 4 * number
    assert [one[2] for one in got] == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]


def test_row_numbers_across_batches():
    given = events(5, EventTypeID=[1, 2, 3, 1 << 16, 1])
    with listener() as (port, got), connect(HOST, port) as association:
        batches = list(association.send_batches(given, batch_size=3))
    assert [len(batch) for batch in batches] == [3, 2]
    assert column(batches[1], "Failure") == ["out-of-range", None]
    assert [one[2] for one in got] == [1, 2, 3, 1]
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        association.send_batches(given, batch_size=0)


def test_batches_end_at_the_end_of_the_association():
    taken: list[int] = []
    with peer(responding(5, lambda talk: None)) as port, connect(HOST, port) as association:
        batches = list(association.send_batches(endless_events(taken), batch_size=4))
    assert [batch.answered for batch in batches] == [4, 1]
    assert batches[1].failure == "the peer closed the connection"
    assert len(taken) == 8


def test_stop_sending_from_another_thread():
    stopped = threading.Event()

    def script(talk: Conversation) -> None:
        talk.accept()
        requests = talk.requests()
        first = next(requests)
        assert stopped.wait(20)
        time.sleep(0.2)
        talk.respond(first.MessageID)
        assert list(requests) == []

    with peer(script) as port, connect(HOST, port) as association:

        def stop() -> None:
            time.sleep(0.2)
            association.stop()
            stopped.set()

        thread = threading.Thread(target=stop)
        thread.start()
        outcomes = association.send(events(3))
        thread.join()
        assert outcomes.failure is None
        assert column(outcomes, "Failure") == [None, "not-sent", "not-sent"]
        assert column(outcomes, "Reason")[1] == "sending was stopped"
        # The association stays open, and is released.
        assert column(association.send(events(2)), "Failure") == ["not-sent", "not-sent"]


def test_abort_from_another_thread():
    def script(talk: Conversation) -> None:
        talk.accept()
        next(talk.requests())
        assert talk.read()[:1] == A_ABORT[:1]

    with peer(script) as port, connect(HOST, port) as association:
        timer = threading.Timer(0.2, association.stop, kwargs={"at_once": True})
        begin = time.monotonic()
        timer.start()
        outcomes = association.send(events(2))
        assert time.monotonic() - begin < 5
        assert column(outcomes, "Failure") == ["interrupted", "not-sent"]


def test_keyboard_interrupt_during_a_call():
    def script(talk: Conversation) -> None:
        talk.accept()
        next(talk.requests())
        assert talk.read()[:1] == A_ABORT[:1]

    with peer(script) as port, connect(HOST, port) as association:
        timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
        begin = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            association.send(events(2))
        assert time.monotonic() - begin < 5
