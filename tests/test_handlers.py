"""Handlers of received events: for each event with a reply, or for batches."""

import io
import itertools
import socket
import struct
import threading
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModelInstance

from fastdimse import Delivery, Peer, connect, encode_events, listen
from outbox_sender import COMMITMENT, numbered
from plain_messages import COMMAND, LAST
from scripted_peer import HOST, Conversation
from test_delivery import column, events
from test_outbox import instances
from test_receiving import DATA, association, request


def reply() -> Dataset:
    """Return a data set of several VRs."""
    found = Dataset()
    found.TransactionUID = "1.2.3"
    found.PatientName = "Müller^Jürgen"
    found.SpecificCharacterSet = "ISO_IR 192"
    found.ReferencedSOPSequence = [Dataset()]
    found.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.4"
    return found


AS_MAPPING = {
    "SpecificCharacterSet": "ISO_IR 192",
    "TransactionUID": "1.2.3",
    "PatientName": "Müller^Jürgen",
    "ReferencedSOPSequence": [{"ReferencedSOPInstanceUID": "1.2.4"}],
}


def test_fragments_of_a_reply_have_an_even_length():
    """PS3.8 E.1, also if the peer's maximum PDU length has room for an odd number of bytes."""
    given = {"PixelData": bytes(20_000)}
    lengths: list[int] = []

    def note(event: Any) -> None:
        items = getattr(event.pdu, "presentation_data_value_items", [])
        lengths.extend(len(item.presentation_data_value) - 1 for item in items)

    with listen(0, host=HOST, handler=lambda event, calling_ae: (0, given)) as listener:
        ae = AE("SCP")
        ae.add_requested_context(COMMITMENT)
        roles = [build_role(COMMITMENT, scp_role=True)]
        handlers = [(evt.EVT_PDU_RECV, note)]
        talk = ae.associate(HOST, listener.port, max_pdu=4097, ext_neg=roles, evt_handlers=handlers)
        _, found = talk.send_n_event_report(None, 1, COMMITMENT, StorageCommitmentPushModelInstance)
        talk.release()
    assert len(found.PixelData) == 20_000
    assert max(lengths) == 4090
    assert [length % 2 for length in lengths] == [0] * len(lengths)


@pytest.mark.parametrize(
    ("given", "status", "expected"),
    [
        ((0x0000, reply()), 0x0000, reply()),
        ((None, AS_MAPPING), 0x0000, reply()),
        ((0x0107, AS_MAPPING), 0x0107, reply()),
        ((0x0000, b"\x08\0\x95\x11\x04\0\0\x001.2\0"), 0x0000, {"TransactionUID": "1.2"}),
        ((0x0000, io.BytesIO()), 0x0000, None),
        ((0x0112, None), 0x0112, None),
        ((0x0000, {"TransactionUID": "not one"}), 0x0110, None),
        ((0x0000, {"NoKeyword": 1}), 0x0110, None),
        ((0x0000, None, None), 0x0110, None),
    ],
)
def test_event_reply_to_pynetdicom(given, status, expected, caplog):
    with listen(0, host=HOST, handler=lambda event, calling_ae: given) as listener:
        talk = association(listener.port)
        answer, found = talk.send_n_event_report(
            None, 1, COMMITMENT, StorageCommitmentPushModelInstance, msg_id=7
        )
        talk.release()
    assert answer.Status == status
    if isinstance(expected, dict):
        assert found.TransactionUID == expected["TransactionUID"]
    else:
        assert (found or None) == expected
    assert ("the handler failed" in caplog.text) == (status == 0x0110)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (lambda types: None, [0] * 6),
        (lambda types: 0x0112, [0x0112] * 6),
        (lambda types: [one or None for one in types], list(range(6))),
        (lambda types: np.array(types, "uint16"), list(range(6))),
        (lambda types: pa.array(types), list(range(6))),
        (lambda types: pa.chunked_array([types]), list(range(6))),
        (lambda types: types[1:], [0x0110] * 6),
        (lambda types: 1 << 16, [0x0110] * 6),
        (lambda types: 1 / 0, [0x0110] * 6),
        # A column of 16-bit integers, with a Status for each event.
        (lambda types: pa.array([-1] * 6), [0x0110] * 6),
        (lambda types: pa.array([0, 1, 2, 3, 4, 70000]), [0x0110] * 6),
        (lambda types: pa.array(["0"] * 6), [0x0110] * 6),
        (lambda types: pa.array([0.0] * 6), [0x0110] * 6),
        (lambda types: pa.array([None, 1, 2, 3, 4, 5]), [0x0110] * 6),
        (lambda types: np.array([1e9] * 6), [0x0110] * 6),
        (lambda types: np.array(types, "int64"), list(range(6))),
        (lambda types: np.uint16(0x0112), [0x0112] * 6),
        (lambda types: True, [0x0110] * 6),
        (lambda types: [False] * 6, [0x0110] * 6),
        (lambda types: 0.0, [0x0110] * 6),
        (lambda types: "000000", [0x0110] * 6),
        # Iterables that are not Statuses.
        (lambda types: b"\0" * 6, [0x0110] * 6),
        (lambda types: dict.fromkeys(types, 0), [0x0110] * 6),
        (lambda types: set(types), [0x0110] * 6),
    ],
)
def test_statuses_of_a_batch_handler(statuses, expected, caplog):
    def handle(received: Any) -> Any:
        return statuses(pa.table(received)["EventTypeID"].to_pylist())

    with (
        listen(0, host=HOST, batch_handler=handle) as listener,
        connect(HOST, listener.port) as talk,
    ):
        # All events in one write, and therefore in one batch.
        outcomes = talk.send(events(6, EventTypeID=list(range(6))))
        with pytest.raises(RuntimeError, match="has a handler"):
            listener.receive()
    assert column(outcomes, "Status") == expected
    assert ("the handler failed" in caplog.text) == (0x0110 in expected)


def test_exception_of_a_handler_is_logged(caplog):
    def inner() -> None:
        raise KeyError("missing")

    with (
        listen(0, host=HOST, handler=lambda event, title: inner()) as listener,
        connect(HOST, listener.port) as talk,
    ):
        assert column(talk.send(events(1)), "Status") == [0x0110]
    assert "in inner" in caplog.text
    assert "KeyError: 'missing'" in caplog.text


@pytest.mark.parametrize("name", ["handler", "batch_handler", "authenticate"])
def test_handler_that_is_not_callable(name):
    with pytest.raises(TypeError, match=f"{name} must be a function, not int"):
        listen(0, host=HOST, **{name: 3})


def test_too_few_statuses(caplog):
    with (
        listen(0, host=HOST, batch_handler=lambda received: [0]) as listener,
        connect(HOST, listener.port) as talk,
    ):
        talk.send(events(6))
    assert "the batch handler returned 1 Statuses for 6 events" in caplog.text


def test_batch_is_passed_immediately():
    sizes: list[int] = []
    with listen(0, host=HOST, batch_handler=lambda received: sizes.append(len(received))) as one:
        talk = association(one.port)
        begin = time.monotonic()
        for number in range(10):
            status, _ = talk.send_n_event_report(
                None, 1, COMMITMENT, StorageCommitmentPushModelInstance, msg_id=number
            )
            assert status.Status == 0
        assert talk.send_c_echo().Status == 0
        assert time.monotonic() - begin < 2
        talk.release()
    assert sizes == [1] * 10


def test_batches_of_several_associations():
    """Events that arrive while the handler runs are in the next batch."""
    batches: list[list[int]] = []

    def handle(received: Any) -> None:
        batches.append(pa.table(received)["Association"].to_pylist())
        time.sleep(0.2)

    with listen(0, host=HOST, batch_handler=handle) as listener:

        def report() -> None:
            with connect(HOST, listener.port, window=1) as talk:
                assert talk.send(events(3)).answered == 3

        threads = [threading.Thread(target=report) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(map(len, batches)) == 24
    assert max(len(set(batch)) for batch in batches) > 3
    assert len(batches) < 12


def test_response_follows_the_handler():
    got: list[str] = []

    def handle(received: Any) -> None:
        got.extend(pa.table(received)["AffectedSOPInstanceUID"].to_pylist())

    with listen(0, host=HOST, batch_handler=handle) as listener:
        with Delivery(Peer(HOST, listener.port)) as delivery:
            delivery.put(numbered(50_000))
        assert got == instances(50_000)
    assert delivery.progress()[0].answered == 50_000


def test_only_one_handler():
    with pytest.raises(ValueError, match="only one of handler, event_handler and batch_handler"):
        listen(0, handler=print, batch_handler=print)


def test_endless_statuses(caplog):
    with (
        listen(0, host=HOST, batch_handler=lambda received: itertools.repeat(0)) as listener,
        connect(HOST, listener.port, response_timeout=10) as talk,
    ):
        assert column(talk.send(events(6)), "Status") == [0x0110] * 6
    assert "the batch handler returned more than 6 Statuses for 6 events" in caplog.text


def test_slow_handler_does_not_delay_responses():
    """Events of one read are responded to one by one if the handler is slow."""
    with (
        listen(0, host=HOST, handler=lambda event, title: time.sleep(0.15)) as listener,
        socket.create_connection((HOST, listener.port), timeout=10) as connection,
    ):
        peer = Conversation(connection)
        peer.write(request())
        peer.read()
        begin = time.monotonic()
        peer.write(bytes(encode_events(events(10))))
        waits = []
        for _ in range(10):
            assert peer.read()[0] == DATA
            waits.append(time.monotonic() - begin)
    assert waits[0] < 1 < waits[-1]


def test_long_replies_to_a_peer_that_reads_nothing():
    """Memory for Event Replies is bounded: the handler waits until the peer reads."""
    reply = struct.pack("<HHI", 0x0008, 0x0005, 4 << 20) + b" " * (4 << 20)
    calls: list[Any] = []

    def handle(event: Any, title: str) -> tuple[int, bytes]:
        calls.append(event)
        return 0, reply

    with (
        listen(0, host=HOST, handler=handle) as listener,
        socket.create_connection((HOST, listener.port), timeout=10) as connection,
    ):
        connection.sendall(request() + bytes(encode_events(events(50))))
        time.sleep(1)
        # The system buffers some of them.
        assert 0 < len(calls) < 10
        peer = Conversation(connection)
        peer.read()
        lengths = [0] * 50
        for number in range(50):
            while len(answer := peer.read()) and not (
                answer[11] & LAST and not answer[11] & COMMAND
            ):
                lengths[number] += len(answer)
            lengths[number] += len(answer)
        assert min(lengths) > len(reply)
    assert len(calls) == 50
