"""Pickles and copies of results and errors."""

import copy
import multiprocessing
import pickle
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import fastdimse
from fastdimse import (
    AssociationError,
    ColumnError,
    DecodeError,
    Delivery,
    DeliveryError,
    EncodeError,
    OutboxError,
    Peer,
    connect,
    decode_capture,
    decode_data_sets,
    decode_events,
    encode_batches,
    encode_capture,
    encode_events,
    listen,
)
from fastdimse._core import event_batches

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
DATA_SET = bytes.fromhex("0800 9511 0600 0000 3132 2e31 2e33")
EVENTS: dict[str, Any] = {
    "MessageID": [1, 2, 3],
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1", "1.02", "1.2.3"],
    "EventTypeID": [1, 2, 1],
    "EventInformation": [DATA_SET, None, None],
}
VALID = {name: [column[0], column[2]] for name, column in EVENTS.items() if len(column) == 3}
VALID["AffectedSOPClassUID"] = "1.2.840.10008.1.20.1"
ENCODED = encode_events(EVENTS, on_invalid="skip")
CAPTURE = encode_capture(EVENTS | {"Status": [0, 0, None]}, on_invalid="skip")


def sent_and_received() -> tuple[Any, Any]:
    with listen(0, host="localhost") as listener:
        with connect("localhost", listener.port) as association:
            outcomes = association.send(VALID)
        return outcomes, listener.receive()


OUTCOMES, RECEIVED = sent_and_received()
DECODED = decode_events(bytes(ENCODED) + b"\x04\0", on_invalid="skip")
STRUCTURED = decode_events(ENCODED, event_information="structured")
CAPTURED = decode_capture(bytes(CAPTURE)[:-1])
REAL = Path(__file__).parent.parent / "examples" / "orthanc-storage-commitment.pcap"
ACTIONS = decode_capture(REAL.read_bytes()).actions
RESULTS = [
    ENCODED,
    ENCODED.offsets,
    ENCODED.rejected,
    ENCODED.rejected[0],
    DECODED,
    STRUCTURED,
    decode_data_sets([DATA_SET, None, b"1"], on_invalid="skip"),
    CAPTURE,
    CAPTURED,
    ACTIONS,
    CAPTURED.faults,
    CAPTURED.faults[0],
    OUTCOMES,
    RECEIVED,
    *event_batches(EVENTS),
]
NAMES = [f"{type(result).__name__}-{number}" for number, result in enumerate(RESULTS)]
ATTRIBUTES = ["rejected", "faults", "offsets"]
PLAIN = [
    "row field code reason offset stream frame source destination nbytes packets streams",
    "associations skipped omitted answered failure first_row",
]


def content(result: Any) -> dict[str, Any]:
    """Everything that can be read of a result."""
    found: dict[str, Any] = {"repr": repr(result), "str": str(result)}
    for name in " ".join(PLAIN).split():
        found[name] = getattr(result, name, None)
    for name in ATTRIBUTES:
        found[name] = list(getattr(result, name, []))
    if hasattr(result, "__arrow_c_stream__"):
        found["table"] = pa.table(result)
    if hasattr(result, "__arrow_c_array__"):
        found["array"] = pa.array(result)
    if isinstance(result, (fastdimse.EncodedEvents, fastdimse.EncodedCapture)):
        found["bytes"] = bytes(result)
    if isinstance(result, fastdimse.DecodedEvents):
        found["events"] = [event.encode_p_data() for event in result]
    if isinstance(result, fastdimse.CapturedEvents):
        found["actions"] = content(result.actions)
    if isinstance(result, (fastdimse.CapturedEvents, fastdimse.CapturedActions)):
        found["events"] = [
            [message and message.encode_p_data() for message in pair] for pair in result
        ]
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("result", RESULTS, ids=NAMES)
def test_pickled_results_are_equal(result: Any, protocol: int) -> None:
    restored = pickle.loads(pickle.dumps(result, protocol))
    assert content(restored) == content(result)
    assert content(pickle.loads(pickle.dumps(restored, protocol))) == content(result)


@pytest.mark.parametrize("result", RESULTS, ids=NAMES)
def test_out_of_band_and_copies(result: Any) -> None:
    buffers: list[pickle.PickleBuffer] = []
    small = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    assert content(pickle.loads(small, buffers=buffers)) == content(result)
    writable = [bytearray(buffer) for buffer in buffers]
    restored = pickle.loads(small, buffers=writable)
    for buffer in writable:
        buffer[:] = bytes(len(buffer))
    assert content(restored) == content(result)
    assert copy.copy(result) is result
    assert copy.deepcopy(result) is result


def test_large_bytes_stay_out_of_band() -> None:
    encoded = encode_events(EVENTS | {"EventInformation": [bytes(1 << 20)] * 3}, on_invalid="skip")
    buffers: list[pickle.PickleBuffer] = []
    small = pickle.dumps(encoded, protocol=5, buffer_callback=buffers.append)
    assert len(small) < 1000
    address = pa.py_buffer(encoded).address
    assert address in [pa.py_buffer(buffer.raw()).address for buffer in buffers]


def test_columns_do_not_carry_the_stream() -> None:
    stream = encode_events(EVENTS | {"EventInformation": [bytes(1 << 20)] * 3}, on_invalid="skip")
    damaged = b"\x04\0\0\0\xff\xff" + bytes(1 << 16)
    decoded = decode_events(bytes(ENCODED) + damaged + bytes(stream), on_invalid="skip")
    assert len(pickle.dumps(decoded)) < 10_000
    (batch,) = event_batches(pa.table(decode_events(stream)).slice(0, 1))
    assert len(pickle.dumps(batch.take([]))) < 10_000


def raised(call: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    caught.value.add_note("a note")
    return caught.value


ERRORS = {
    EncodeError: lambda: encode_events(EVENTS),
    DecodeError: lambda: decode_events(bytes(ENCODED) + b"\x04\0"),
    ColumnError: lambda: encode_events({"EventType": [1]}),
    AssociationError: lambda: connect("localhost", 1),
    OutboxError: lambda: Delivery(Peer("localhost", 104), outbox="missing-folder/x.outbox"),
}


def attributes(error: Exception) -> dict[str, Any]:
    found = dict(vars(error))
    return found | {"events": content(found["events"])} if found.get("events") else found


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_keep_their_attributes(kind: type[Exception]) -> None:
    error = raised(ERRORS[kind])
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in PROTOCOLS]
    for one in [*copies, copy.copy(error), copy.deepcopy(error)]:
        assert type(one) is type(error) is kind
        assert (one.args, str(one)) == (error.args, str(error))
        assert attributes(one) == attributes(error)
        assert one.__notes__ == ["a note"]


def test_capture_and_delivery_errors() -> None:
    error = raised(lambda: decode_capture(bytes(CAPTURE)[:-1], on_invalid="raise"))
    restored = pickle.loads(pickle.dumps(error))
    assert attributes(restored) == attributes(error)
    failed = pickle.loads(pickle.dumps(DeliveryError("the worker failed")))
    assert (type(failed), failed.args) == (DeliveryError, ("the worker failed",))


def test_live_objects_raise_type_error() -> None:
    peer = Peer("localhost", 104)
    with (
        listen(0, host="localhost") as listener,
        connect("localhost", listener.port) as association,
        Delivery(peer) as delivery,
    ):
        batches = association.send_batches(VALID)
        live = [
            listener, association, delivery, peer, fastdimse.TLS(), batches,
            encode_batches(EVENTS), event_batches(EVENTS),
        ]  # fmt: skip
        for one in live:
            for protocol in PROTOCOLS:
                with pytest.raises(TypeError, match="cannot pickle"):
                    pickle.dumps(one, protocol)
            with pytest.raises(TypeError, match="cannot pickle"):
                copy.deepcopy(one)


def decode_in_worker(stream: bytes) -> Any:
    return decode_events(stream)


def test_worker_processes() -> None:
    spawn = multiprocessing.get_context("spawn")
    expected = raised(lambda: decode_in_worker(bytes(ENCODED) + b"\x04\0"))
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        decoded = pool.submit(decode_in_worker, bytes(ENCODED)).result()
        assert content(decoded) == content(decode_events(ENCODED))
        error = raised(pool.submit(decode_in_worker, bytes(ENCODED) + b"\x04\0").result)
    assert isinstance(error, DecodeError)
    assert (error.offset, error.code, error.row) == (len(bytes(ENCODED)), "truncated", 2)
    assert content(error.events) == attributes(expected)["events"]
    with spawn.Pool(1) as processes:
        with pytest.raises(DecodeError) as caught:
            processes.apply(decode_in_worker, (b"\x04\0",))
        assert caught.value.code == "truncated"


def mutations(seed: int) -> None:
    """Restore damaged states; run in a process of its own."""
    chance = random.Random(seed)
    numbers = [-1, 0, 1, 255, 2**31, 2**32, 2**63 - 1, 2**64 - 1, 2**70, -(2**63)]
    odd = [None, "", "text", b"", (), [], {}, 1.5, object(), (None,) * 8, *numbers]

    def damaged(value: Any) -> Any:
        if isinstance(value, bytes) and value and chance.random() < 0.9:
            changed = bytearray(value)
            for _ in range(chance.randint(1, 4)):
                place = chance.randrange(len(changed))
                width = chance.choice([1, 1, 4, 8])
                number = chance.choice([*numbers, chance.getrandbits(64)])
                changed[place : place + width] = (number % 2**64).to_bytes(8, "little")[:width]
            return bytes(changed[: chance.choice([None, None, None, chance.randrange(len(value))])])
        if isinstance(value, tuple) and value and chance.random() < 0.9:
            place = chance.randrange(len(value))
            return (*value[:place], damaged(value[place]), *value[place + 1 :])
        return chance.choice(odd)

    read = failed = 0
    for result in RESULTS:
        restore, (kind, state) = result.__reduce_ex__(2)
        for _ in range(300):
            try:
                one = restore(kind, damaged(state))
                content(one)
                pickle.dumps(one)
                read += 1
            except Exception:
                failed += 1
    assert read > 100, read
    assert failed > 100, failed


@pytest.mark.parametrize("seed", range(3))
def test_damaged_states_raise_exceptions(seed: int) -> None:
    program = (
        f"import sys; sys.path.insert(0, 'tests'); import test_pickle as t; t.mutations({seed})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_state_of_another_class() -> None:
    restore, (_, state) = ENCODED.__reduce_ex__(5)
    for kind in (int, fastdimse.DecodedEvents, fastdimse.Rejection, fastdimse.Peer):
        with pytest.raises((TypeError, ValueError)):
            restore(kind, state)
