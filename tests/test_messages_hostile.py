"""Hostile and unlucky input of `encode_messages`, `decode_messages` and `decode_batches`."""

import gc
import itertools
import mmap
import os
import random
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fastdimse import (
    ColumnError,
    DecodeError,
    decode_batches,
    decode_events,
    decode_messages,
    encode_events,
    encode_messages,
)
from invalid_arrow import Array, Node, Stream
from plain_messages import COMMAND, LAST, pdu, pdv

CLASS, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"


def one(data_set: bytes = b"", **options: Any) -> bytes:
    """Return a message."""
    table = {
        "AffectedSOPClassUID": CLASS,
        "AffectedSOPInstanceUID": INSTANCE,
        "EventTypeID": [1],
        "EventInformation": [data_set or None],
    }
    return bytes(encode_events(table, **options))


def events(rows: int, **others: Any) -> pa.Table:
    """Return a table of events with other columns."""
    return pa.table(
        {
            "AffectedSOPClassUID": [CLASS] * rows,
            "AffectedSOPInstanceUID": [INSTANCE] * rows,
            "EventTypeID": [1] * rows,
            **others,
        }
    )


# Messages like earlier ones.

ELEMENTS = {
    "class": (0x0002, lambda _: CLASS.encode()),
    "command": (0x0100, lambda _: struct.pack("<H", 0x0100)),
    "id": (0x0110, lambda draw: struct.pack("<H", draw.randrange(65536))),
    "type": (0x1002, lambda draw: struct.pack("<H", draw.randrange(65536))),
    "instance": (0x1000, lambda draw: b"1.2." + bytes(draw.choices(b"123456789", k=6))),
    "comment": (0x0902, lambda _: b"comment "),
    "unknown": (0x4000, lambda _: b"abcd"),
}


def unusual(draw: random.Random, names: list[str], data_set: int) -> bytes:
    """Return a message with these elements, and a data set of this length."""
    body = b""
    for name in names:
        number, value = ELEMENTS[name]
        element = value(draw)
        body += struct.pack("<HHI", 0, number, len(element)) + element
    body += struct.pack("<HHIH", 0, 0x0800, 2, 0 if data_set else 0x0101)
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    parts = [pdv(body, COMMAND | LAST)]
    if data_set:
        parts.append(pdv(draw.randbytes(data_set), LAST))
    return pdu(*parts)


@pytest.mark.parametrize("seed", range(40))
def test_messages_like_earlier_ones_are_decoded_as_alone(seed):
    draw = random.Random(seed)
    usual = ["class", "command", "id", "instance", "type"]
    shapes = []
    for _ in range(3):
        names = usual + draw.choices(list(ELEMENTS), k=draw.choice([0, 0, 1, 2]))
        if draw.random() < 0.5:
            draw.shuffle(names)
        shapes.append((names, draw.choice([0, 2, 10])))
    rows = []
    for _ in range(100):
        message = bytearray(unusual(draw, *draw.choice(shapes)))
        if draw.random() < 0.3:
            message[draw.randrange(len(message))] = draw.choice([0, 0x2E, 0x31, 0xFF])
        rows.append(bytes(message))
    found = pa.table(decode_messages(pa.array(rows, pa.binary()))).to_pylist()
    for row, event in zip(rows, found, strict=True):
        alone = decode_events(row, on_invalid="skip")
        rejection = event.pop("Rejection")
        if len(alone) == 1 and not alone.rejected and not alone.skipped:
            assert rejection is None
            assert event == pa.table(alone).to_pylist()[0]
            continue
        assert set(event.values()) == {None}
        if alone.rejected:
            first = alone.rejected[0]
            assert (rejection["code"], rejection["reason"]) == (first.code, first.reason)
        else:
            assert rejection["code"] == "not-one-message"


# Streams with errors.


def outcome(batches: Callable[[], Any]) -> tuple[list[Any], list[int], Any]:
    """Return the events, their offsets, and the row, offset and text of the error."""
    rows: list[Any] = []
    offsets: list[int] = []
    try:
        for batch in batches():
            rows += pa.table(batch).to_pylist()
            offsets += list(batch.offsets)
    except DecodeError as error:
        before: Any = error.events
        rows += pa.table(before).to_pylist()
        offsets += list(before.offsets)
        return rows, offsets, (error.row, error.offset, str(error))
    return rows, offsets, None


@pytest.mark.parametrize("seed", range(60))
def test_the_first_error_is_that_of_the_whole_stream(seed):
    draw = random.Random(seed)
    sizes = draw.choices([0, 2, 60, 3000], k=6)
    parts = [one(b"a" * size, max_pdu_length=draw.choice([64, 0])) for size in sizes]
    stream = bytearray(b"".join(parts))
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(stream))
        stream[at : at + 4] = draw.choice([b"\xff" * 4, bytes(4), b"\0\0\0\2", b"\7", b""])
    data = bytes(stream)
    places = sorted({0, len(data), *draw.choices(range(len(data)), k=draw.choice([1, 5, 200]))})
    chunks = [data[a:b] for a, b in pairwise(places)]
    expected = outcome(lambda: [decode_events(data)])
    assert outcome(lambda: decode_batches(chunks)) == expected
    assert outcome(lambda: decode_batches(iter(chunks), threads=3, zero_copy=True)) == expected


def test_a_very_large_length_needs_memory_for_the_stream_only():
    data = one() + b"\4\0\xff\xff\xff\xff" + bytes(1 << 20)
    chunks = (data[at : at + 4096] for at in range(0, len(data), 4096))
    rows, _, error = outcome(lambda: decode_batches(chunks))
    assert len(rows) == 1
    assert error[:2] == (1, len(one()))
    assert "needs 4294967301 bytes" in error[2]


class File:
    """A file whose ``read`` calls a function."""

    def __init__(self, read: Callable[[int], Any]) -> None:
        """Keep the function."""
        self.read = read


def results(*values: Any) -> File:
    """Return a file that returns these values."""
    remaining = iter(values)
    return File(lambda _: next(remaining))


@pytest.mark.parametrize(
    "source",
    [
        results(one() * 3, b""),
        results(memoryview(one()), bytearray(one() * 2), b""),
        [memoryview(one() * 3)[:50], b"", np.frombuffer((one() * 3)[50:], np.uint8)],
        np.frombuffer(one() * 3, np.uint8).reshape(3, -1),
    ],
    ids=["more than requested", "bytes-like", "chunks", "two dimensions"],
)
def test_unusual_sources(source):
    assert sum(map(len, decode_batches(source, chunk_size=1))) == 3


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (results(5), TypeError),
        (results("text"), TypeError),
        (results(None), ValueError),
        (File(lambda size: size // 0), ZeroDivisionError),
        (File(5), TypeError),  # type: ignore[arg-type]
        ([one(), None], TypeError),
        ([memoryview(one())[::2]], BufferError),
    ],
    ids=range(7),
)
def test_sources_that_fail(source, error):
    with pytest.raises(error):
        list(decode_batches(source))


def test_a_source_that_reads_its_own_batches():
    batches: Any = None

    def source() -> Iterator[bytes]:
        yield one()
        next(batches)

    batches = decode_batches(source())
    assert len(next(batches)) == 1
    with pytest.raises(ValueError, match="already executing"):
        next(batches)


def test_a_source_that_drops_its_own_batches():
    kept = []

    def source() -> Iterator[bytes]:
        kept.clear()
        gc.collect()
        yield one() * 7

    kept.append(decode_batches(source()))
    assert len(next(kept[0])) == 7


def test_two_threads_lose_no_batch():
    batches = decode_batches(one() * 100 for _ in range(200))
    counts = []

    def read() -> None:
        while True:
            try:
                counts.append(len(next(batches)))
            except StopIteration:
                return
            except ValueError:
                continue

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 20_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_between_two_batches():
    batches = decode_batches(iter([one() * 100] * 4), threads=2)
    next(batches)
    child = os.fork()
    if child == 0:
        os._exit(0 if sum(map(len, batches)) == 300 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert sum(map(len, batches)) == 300


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer")
@pytest.mark.parametrize("chunk", [b"", b"\5\0\0\0\0\4\0\0\0\0"], ids=["empty", "release"])
def test_an_endless_source_can_be_interrupted(chunk):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in decode_batches(itertools.repeat(chunk)):
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Rows.


@pytest.mark.parametrize("first_row", [2**63 - 1, 2**63 - 3, 2**62, 65534])
def test_message_ids_of_the_last_rows(first_row):
    messages = pa.table(encode_messages(events(10), first_row=first_row, threads=1000))
    ids = pa.table(decode_messages(messages, threads=1000))["MessageID"].to_pylist()
    assert ids == [(first_row + row) % 65535 + 1 for row in range(10)]


def test_messages_after_4_gib():
    try:
        memory = mmap.mmap(-1, (4 << 30) + 8192)
    except (OSError, OverflowError):
        pytest.skip("no 4 GiB of addresses")
    message = one(b"ab" * 100)
    starts = [100, (4 << 30) - 50, (4 << 30) + 4000]
    for start in starts:
        memory[start : start + len(message)] = message
    ends = np.array([end for start in starts for end in (start, start + len(message))], np.int64)
    buffers = [pa.py_buffer(b"\x15"), pa.py_buffer(ends), pa.py_buffer(memory)]
    rows = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 5, buffers)
    found = pa.table(decode_messages(rows))
    assert found["EventInformation"].to_pylist()[::2] == [b"ab" * 100] * 3
    assert found["Rejection"].null_count == 5


def test_rows_stay_in_order_where_parts_are_divided():
    count, draw = 300, random.Random(1)
    data_sets = pa.array([b"ab" * (5 << 20), b"cd", b"e" * (1 << 20)], pa.binary())
    keys = pa.array(draw.choices([0, 1, 2], [1, 20, 4], k=count), pa.int8())
    bad = {draw.randrange(count) for _ in range(20)}
    classes = ["1.02" if row in bad else CLASS for row in range(count)]
    table = events(
        count,
        Key=list(range(count)),
        EventInformation=pa.DictionaryArray.from_arrays(keys, data_sets),
    ).set_column(0, "AffectedSOPClassUID", pa.array(classes))
    row = 0
    for batch in pa.RecordBatchReader.from_stream(encode_messages(table, first_row=65500)):
        for event in pa.table(decode_messages(batch)).select(["Key", "MessageID"]).to_pylist():
            number = None if row in bad else (65500 + row) % 65535 + 1
            assert event == {"Key": row, "MessageID": number}
            row += 1
    assert row == count


OTHERS = [
    pa.array([Decimal(1), None, Decimal("3.25")], pa.decimal256(70, 2)),
    pa.array([(1, 2, 3), None, (4, 5, 6)], pa.month_day_nano_interval()),
    pa.array([1, None, 3], pa.timestamp("ns", "Europe/Oslo")),
    pa.array([1, None, 3], pa.float32()).cast(pa.float16()),
    pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2)),
    pa.array([[], None, []], pa.list_(pa.int16(), 0)),
    pa.array([b"", None, b""], pa.binary(0)),
    pa.array([["a" * 30], None, []], pa.large_list(pa.string_view())),
    pa.array([{"a": [{"b": "x"}]}, None, {}]),
    pa.array([{}, None, {}], pa.struct([])),
    pa.array([True, None, False]),
    pa.nulls(3),
    pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1], pa.int8()), pa.array(["a", "b"]).dictionary_encode()
    ),
    pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.int8()), pa.array([[1], [2, 3]])),
    pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([b"0" * 16, None, b"1" * 16], pa.binary(16))
    ),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: str(other.type)[:30])
def test_other_columns_of_any_type_are_unchanged(other):
    table = pa.concat_tables([events(3, Other=other), events(3, Other=other).slice(1)])
    messages = pa.table(encode_messages(table))
    messages.validate(full=True)
    decoded = pa.table(decode_messages(messages))
    array = pa.array(encode_messages(table.slice(1).to_struct_array().combine_chunks()))
    assert messages.schema.field("Other").type == decoded.schema.field("Other").type == other.type
    assert messages["Other"].to_pylist() == table["Other"].to_pylist()
    assert decoded["Other"].to_pylist() == table["Other"].to_pylist()
    assert array.field("Other").to_pylist() == table["Other"].to_pylist()[1:]


# Arrow producers with errors.


def text(name: bytes, values: list[bytes], form: bytes = b"u") -> Node:
    """Return a column of texts or binaries."""
    width = 8 if form in (b"U", b"Z") else 4
    ends = itertools.accumulate((len(value) for value in values), initial=0)
    offsets = b"".join(end.to_bytes(width, "little") for end in ends)
    return Node(form, [None, offsets, b"".join(values)], length=len(values), name=name)


def view(name: bytes, values: list[bytes]) -> Node:
    """Return a column of views of binaries that are longer than 12 bytes."""
    views, data = b"", b""
    for value in values:
        views += struct.pack("<I4sII", len(value), value[:4], 0, len(data))
        data += value
    buffers = [None, views, data, struct.pack("<q", len(data))]
    return Node(b"vz", buffers, length=len(values), name=name)


def other_nodes() -> list[Node]:
    """Return other columns of four rows."""
    letters = [b"a", b"b", b"c", b"d"]
    texts = [text(name, letters) for name in (b"field", b"code", b"reason")]
    keys = [None, b"\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0"]
    ends = [None, b"\0\0\0\0\1\0\0\0\2\0\0\0\2\0\0\0\3\0\0\0"]
    items = [text(b"item", [b"x", b"yy", b"zzz"])]
    shorts = [Node(b"s", [None, bytes(16)], length=8, name=b"item")]
    return [
        Node(b"+s", [b"\5"], 4, b"Rejection", 2, children=texts),
        Node(b"i", keys, 4, b"dictionary", dictionary=text(b"", [b"aa", b"bb"])),
        Node(b"+l", ends, 4, b"list", children=items),
        Node(b"+w:2", [None], 4, b"fixed", children=shorts),
        Node(b"n", [], 4, b"null", 4),
        Node(b"d:40,2,256", [None, b"\1" * 128], 4, b"decimal"),
    ]


def nodes(node: Node) -> Iterator[Node]:
    """Return a node and the nodes in it."""
    yield node
    for child in [*node.children, node.dictionary]:
        if child is not None:
            yield from nodes(child)


def falsify(node: Node, draw: random.Random) -> None:
    """Change something that can be checked without the sizes of buffers."""
    choice = draw.randrange(9)
    if choice == 0:
        node.length = draw.choice([0, 1, 3, -1, -(2**63)])
    elif choice == 1:
        node.null_count = draw.choice([-1, -2, 1, 5, 2**63 - 1])
    elif choice == 2:
        node.offset = draw.choice([1, 2, -1, 2**62, 2**63 - 1])
    elif choice == 3 and node.buffers:
        node.buffers[draw.randrange(len(node.buffers))] = None
    elif choice == 4:
        node.n_buffers = draw.choice([0, 1, -1, 2**62])
    elif choice == 5:
        node.n_children = draw.choice([0, -1])
    elif choice == 6:
        node.name = draw.choice([None, b"\xff", b"", b"Message", b"Rejection", b"EventTypeID"])
    elif choice == 7 and node.buffers:
        node.buffers[0], node.null_count = draw.choice([b"\0", b"\5", b"\xaa"]), -1
    elif choice == 8 and len(node.buffers) > 1 and node.buffers[1]:
        # The last offset must not change: the size of the next buffer is not checked.
        values = bytearray(node.buffers[1])
        kept = {b"u": 4, b"z": 4, b"U": 8, b"Z": 8}.get(node.format or b"", 0)
        values[draw.randrange(len(values) - kept)] = draw.choice([0xFF, 0x80, 0x7F, 1])
        node.buffers[1] = bytes(values)


@pytest.mark.parametrize("function", [encode_messages, decode_messages])
def test_arrow_producers_with_errors(function):
    message = one(b"ab" * 10)
    done = failed = 0
    for seed in range(400):
        draw = random.Random(seed)
        columns = [
            text(b"AffectedSOPClassUID", [CLASS.encode()] * 4, draw.choice([b"u", b"U"])),
            text(b"AffectedSOPInstanceUID", [INSTANCE.encode()] * 4),
            Node(b"i", [None, b"\1\0\0\0" * 4], length=4, name=b"EventTypeID"),
        ]
        if function is decode_messages:
            rows = [message, message[:-1], message, message * 2]
            columns = [
                draw.choice([view(b"Message", rows), text(b"Message", rows, b"Z")]),
            ]
        columns += draw.sample(other_nodes(), draw.randrange(4))
        table = Node(b"+s", [None], length=4, children=[*columns])
        for _ in range(draw.choice([0, 1, 1, 2])):
            falsify(draw.choice(list(nodes(table))), draw)
        source: Any = Array(table)
        if draw.random() < 0.3:
            source = Stream(table, [table] * draw.randrange(3), code=draw.choice([0, 5]))
        try:
            found = pa.array(function(source))
            assert len(found) in {table.length * times for times in (0, 1, 2)}
            done += 1
        except (TypeError, ValueError, ColumnError):
            failed += 1
    assert done > 50
    assert failed > 50
