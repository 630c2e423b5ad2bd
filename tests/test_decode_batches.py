"""Streams decoded chunk by chunk: the same as at once, in bounded memory."""

import io
import mmap
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdimse
from fastdimse import DecodeError, decode_batches, decode_events, encode_events
from plain_messages import COMMAND, ECHO_RQ, LAST, command_set, pdu, pdv, pdvs

CLASS, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"


def stream(rows: int, max_pdu_length: int = 16382) -> fastdimse.EncodedEvents:
    table = {
        "AffectedSOPClassUID": CLASS,
        "AffectedSOPInstanceUID": [f"1.2.{row}" for row in range(rows)],
        "EventTypeID": 1,
        "EventInformation": [b"ab" * (row % 60) or None for row in range(rows)],
    }
    return encode_events(table, max_pdu_length=max_pdu_length)


def joined(batches: Any) -> tuple[pa.Table, list[int], list[tuple[Any, ...]], dict[str, int]]:
    """Return the table, the offsets, the rejections and the skipped messages of batches."""
    tables, offsets, rejected, skipped = [pa.table(decode_events(b""))], [], [], {}
    for batch in batches:
        tables.append(pa.table(batch).cast(tables[0].schema))
        offsets += list(batch.offsets)
        rejected += [(one.row, one.offset, one.field, one.reason) for one in batch.rejected]
        for name, count in batch.skipped.items():
            skipped[name] = skipped.get(name, 0) + count
    return pa.concat_tables(tables).combine_chunks(), offsets, rejected, skipped


def chunks(data: bytes, ends: list[int]) -> list[bytes]:
    """Return the parts of `data` between these places."""
    places = sorted({0, len(data), *(end for end in ends if end < len(data))})
    return [data[a:b] for a, b in pairwise(places)]


def message(number: int, data_set: bytes = b"", sizes: tuple[int, ...] = ()) -> list[bytes]:
    """Return the PDVs of a message, with fragments of these sizes."""
    command = command_set(number, INSTANCE, CLASS, data=bool(data_set))
    found = pdvs(command, COMMAND, [size for size in sizes if size < len(command)][:2])
    return found + (pdvs(data_set, 0, list(sizes)) if data_set else [])


PIECES = st.one_of(
    st.builds(
        lambda number, data_set, sizes: [pdu(one) for one in message(number, data_set, sizes)],
        st.integers(1, 9),
        st.binary(max_size=60),
        st.sampled_from([(), (10,), (4, 30), (0, 2, 2)]),
    ),
    # Several messages in one PDU.
    st.builds(lambda a, b: [pdu(*message(1, a), *message(2, b))], st.binary(), st.binary()),
    # The end of a message and the beginning of the next one in one PDU.
    st.builds(
        lambda a: [
            pdu(*message(1, b"abcdef", (2,))[:2]),
            pdu(*message(1, b"abcdef", (2,))[2:], *message(2, a)[:1]),
            *(pdu(one) for one in message(2, a)[1:]),
        ],
        st.binary(max_size=20),
    ),
    st.just([RELEASE]),
    st.just(
        [
            pdu(pdv(command_set(3, INSTANCE, CLASS, ECHO_RQ, data=True), COMMAND | LAST)),
            pdu(pdv(b"xy", 0)),
            pdu(pdv(b"z", LAST)),
        ]
    ),
    st.just([pdu(pdv(b"orphan", LAST))]),
    st.just([pdu(b"\0\0\xff\xff\1\3")]),
    st.just([pdu(pdv(command_set(3, INSTANCE, CLASS, data=True), COMMAND | LAST))]),
)


@given(
    st.lists(PIECES, max_size=12).map(lambda all_: b"".join(pdu for one in all_ for pdu in one)),
    st.sampled_from([b"", b"\x04\0\0", b"\x09nonsense", b"\x04\0\0\0\x01\0abc"]),
    st.lists(st.integers(0, 3000), max_size=12),
    st.booleans(),
    st.sampled_from([1, 2]),
)
def test_chunks_change_nothing(data, end, ends, zero_copy, threads):
    data += end
    options: dict[str, Any] = {"on_invalid": "skip", "zero_copy": zero_copy, "threads": threads}
    expected = joined([decode_events(data, **options)])
    assert joined(decode_batches(chunks(data, ends), **options)) == expected
    assert joined(decode_batches(data, chunk_size=max([1, *ends[:1]]), **options)) == expected
    file = io.BytesIO(data)
    assert joined(decode_batches(file, chunk_size=max([1, *ends[1:2]]), **options)) == expected


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_any_bytes(data, ends):
    for framing in ("p-data", "command-set"):
        expected = joined([decode_events(data, framing=framing, on_invalid="skip")])
        found = decode_batches(chunks(data, ends), framing=framing, on_invalid="skip")
        assert joined(found) == expected


@pytest.mark.parametrize("chunk_size", [1, 100, 4096, 1 << 23])
def test_sources(tmp_path: Path, chunk_size):
    encoded = stream(2000, max_pdu_length=100)
    expected = joined([decode_events(encoded)])
    path = tmp_path / "events.dimse"
    path.write_bytes(encoded)
    options = {"chunk_size": chunk_size}
    assert joined(decode_batches(path, **options)) == expected
    assert joined(decode_batches(str(path), **options)) == expected
    with path.open("rb") as file:
        assert joined(decode_batches(file, **options)) == expected
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert joined(decode_batches(mapped, **options)) == expected
    assert joined(decode_batches(encoded, **options)) == expected
    assert joined(decode_batches(iter([bytes(encoded)]), **options)) == expected
    assert joined(decode_batches(encoded)) == expected


def test_command_sets():
    encoded = encode_events(
        {"AffectedSOPClassUID": CLASS, "AffectedSOPInstanceUID": [INSTANCE] * 50, "EventTypeID": 1},
        framing="command-set",
    )
    expected = joined([decode_events(encoded, framing="command-set")])
    for size in (1, 7, 13, 1000):
        parts = chunks(bytes(encoded), list(range(0, encoded.nbytes, size)))
        assert joined(decode_batches(parts, framing="command-set")) == expected


def test_an_error_has_its_place_and_the_events_before_it():
    data = bytes(stream(10)) + b"\x09" + bytes(stream(10))
    batches = decode_batches(chunks(data, [300, 700, 1000]))
    count = 0
    try:
        for batch in batches:
            count += len(batch)
    except DecodeError as error:
        raised = error
    assert raised.row == 10
    assert raised.offset == stream(10).nbytes
    assert count + len(raised.events) == 10
    assert list(batches) == []


def test_an_error_ends_a_loop_over_a_path(tmp_path: Path):
    path = tmp_path / "events.dimse"
    path.write_bytes(bytes(stream(10))[:-1])
    lengths = []

    def read() -> None:
        for batch in decode_batches(path):
            lengths.append(len(batch))

    # The loop closes the file while the error is set.
    with pytest.raises(DecodeError, match="row 9, "):
        read()
    assert lengths == [9]


def test_structured():
    schema = pa.schema({"TransactionUID": pa.string()})
    rows = [{"TransactionUID": f"1.2.{row}"} for row in range(100)]
    encoded = encode_events(
        {
            "AffectedSOPClassUID": CLASS,
            "AffectedSOPInstanceUID": INSTANCE,
            "EventTypeID": 1,
            "EventInformation": rows,
        }
    )
    batches = list(decode_batches(encoded, event_information=schema, chunk_size=1000))
    assert len(batches) > 3
    found = pa.concat_tables([pa.table(batch) for batch in batches])
    assert found["EventInformation"].to_pylist() == rows


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        (5, TypeError, "source must be a path"),
        (io.StringIO("text"), TypeError, "binary mode"),
        (["text"], TypeError, "bytes-like"),
        (Path("no such file"), FileNotFoundError, "no such file"),
    ],
    ids=range(4),
)
def test_other_sources(source, error, match):
    with pytest.raises(error, match=match):
        list(decode_batches(source))


def test_options():
    with pytest.raises(ValueError, match="chunk_size must be at least 1, not 0"):
        decode_batches(b"", chunk_size=0)
    with pytest.raises(ValueError, match="framing must be"):
        decode_batches(b"", framing="pdu")  # type: ignore[arg-type]


def test_the_error_of_a_source():
    def source():
        yield bytes(stream(3))
        raise OSError("the peer is gone")

    batches = decode_batches(source())
    assert len(next(batches)) == 3
    with pytest.raises(OSError, match="the peer is gone"):
        next(batches)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_memory_is_bounded(tmp_path: Path):
    path = tmp_path / "events.dimse"
    with path.open("wb") as file:
        part = bytes(stream(200_000))
        for _ in range(4):
            file.write(part)
    size = os.stat(path).st_size
    program = (
        "import sys, fastdimse\n"
        "def peak():\n"
        "    status = open('/proc/self/status').read()\n"
        "    return int(status.split('VmHWM:')[1].split()[0]) * 1024\n"
        "before = peak()\n"
        "rows = sum(len(batch) for batch in fastdimse.decode_batches(sys.argv[1]))\n"
        "print(rows, peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], check=True, stdout=subprocess.PIPE, text=True
    )
    rows, more = map(int, done.stdout.split())
    assert rows == 800_000
    assert more < 64 << 20 < size


class Interrupted:
    """Chunks of bytes, of which the third raises once before it arrives."""

    def __init__(self, data: bytes) -> None:
        self.parts = [data[at : at + 500] for at in range(0, len(data), 500)]
        self.failed = False

    def __iter__(self) -> "Interrupted":
        return self

    def __next__(self) -> bytes:
        if len(self.parts) == 3 and not self.failed:
            self.failed = True
            raise TimeoutError("no bytes yet")
        if not self.parts:
            raise StopIteration
        return self.parts.pop(0)

    def read(self, size: int) -> bytes:
        return next(self, b"")


@pytest.mark.parametrize("is_file", [False, True])
def test_a_source_that_raises_is_read_again(is_file):
    encoded = stream(12)
    source: Any = Interrupted(bytes(encoded))
    if is_file:
        source = type("File", (), {"read": source.read})()
    batches = decode_batches(source)
    found, failures = [], 0
    while True:
        try:
            found.append(next(batches))
        except TimeoutError:
            failures += 1
        except StopIteration:
            break
    assert failures == 1
    assert joined(found) == joined([decode_events(encoded)])


@pytest.mark.parametrize("max_pdu_length", [16384, 0])
def test_a_long_message_in_short_chunks_takes_linear_time(max_pdu_length):
    event = {
        "AffectedSOPClassUID": CLASS,
        "AffectedSOPInstanceUID": [INSTANCE],
        "EventTypeID": 1,
        "EventInformation": [b"ab" * (8 << 20)],
    }
    data = bytes(encode_events(event, max_pdu_length=max_pdu_length))
    began = time.perf_counter()
    [batch] = decode_batches(chunks(data, list(range(0, len(data), 4096))))
    # With the bytes copied for each chunk, this takes half a minute and more.
    assert time.perf_counter() - began < 10
    assert pa.table(batch)["EventInformation"][0].as_py() == b"ab" * (8 << 20)


def test_errors_while_a_path_is_read(tmp_path: Path):
    path = tmp_path / "events.dimse"
    path.write_bytes(bytes(stream(3)) + b"\x09garbage")
    with pytest.raises(DecodeError, match="row 3"):
        list(decode_batches(path))
    path.write_bytes(stream(3))

    def interrupted() -> None:
        for _ in decode_batches(path):
            raise KeyError("of the user")

    with pytest.raises(KeyError, match="of the user"):
        interrupted()


def test_arrays_of_numpy():
    data = np.frombuffer(bytes(stream(3)), "uint8")
    assert joined(decode_batches(data, chunk_size=100)) == joined([decode_events(data)])
    assert list(decode_batches(np.zeros((5, 0), "uint8"))) == []
    for function in (decode_events, lambda data: list(decode_batches(data))):
        with pytest.raises(BufferError, match="contiguous"):
            function(data[::2])
        with pytest.raises(TypeError, match="Python objects"):
            function(np.array([b"bytes"], dtype=object))
