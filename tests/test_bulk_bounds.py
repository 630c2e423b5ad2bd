"""No read outside of a buffer: the pages next to each buffer are not readable.

A read out of bounds kills the process, so these tests fail as a crashed worker.
"""

import ctypes
import functools
import itertools
import mmap
import subprocess
import sys
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdimse import decode_events, encode_batches, encode_events, validate_events
from oracle import encode_command_set, encode_p_data, primitive
from strategies import max_pdu_lengths
from test_bulk_encode import EVENTS, oracle_bytes, rows_of, to_oracle
from test_bulk_properties import OPTIONAL, REQUEST, RESPONSE, table_of
from test_bulk_uids import is_uid

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pages are closed with mprotect")

PROT_NONE = 0


def fenced(data: bytes, at_end: bool) -> pa.Buffer:
    """Copy the data to new pages, at their end or at their beginning."""
    pages = -(-len(data) // mmap.PAGESIZE)
    mapping = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    memory = ctypes.c_char.from_buffer(mapping)
    first = ctypes.addressof(memory)
    last = first + (pages + 1) * mmap.PAGESIZE
    begin = last - len(data) if at_end else first + mmap.PAGESIZE
    ctypes.memmove(begin, data, len(data))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (first, last):
        if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    return pa.foreign_buffer(begin, len(data), base=memory)


def sizes(array: pa.Array) -> Iterator[int]:
    """Return the number of bytes that the layout of the array needs of each buffer."""
    end = array.offset + len(array)
    yield -(-end // 8)
    kind, buffers = array.type, array.buffers()
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        yield (end + 1) * 4
        yield int.from_bytes(buffers[1][end * 4 : end * 4 + 4].to_pybytes(), "little")
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        yield (end + 1) * 8
        yield int.from_bytes(buffers[1][end * 8 : end * 8 + 8].to_pybytes(), "little")
    elif kind in (pa.string_view(), pa.binary_view()):
        yield end * 16
        yield from (len(buffer) for buffer in buffers[2:])
    else:
        yield end * kind.bit_width // 8


def fence(array: pa.Array, at_end: bool) -> pa.Array:
    """Return the array with each buffer copied next to unreadable pages."""
    if pa.types.is_dictionary(array.type):
        indices, values = fence(array.indices, at_end), fence(array.dictionary, at_end)
        return pa.DictionaryArray.from_arrays(indices, values)
    buffers = [
        buffer if buffer is None else fenced(buffer[:size].to_pybytes(), at_end)
        for buffer, size in zip(array.buffers(), sizes(array), strict=True)
    ]
    return pa.Array.from_buffers(array.type, len(array), buffers, -1, array.offset)


def fenced_batch(table: pa.Table, at_end: bool) -> pa.RecordBatch:
    """Return a table with each buffer copied next to unreadable pages."""
    arrays = [fence(column.combine_chunks(), at_end) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, names=table.column_names)


@pytest.mark.parametrize(("at_end", "offset"), [(True, 3), (False, -1)])
def test_read_out_of_bounds_is_detected(at_end, offset):
    program = (
        "import ctypes, test_bulk_bounds as here\n"
        f"buffer = here.fenced(b'abc', {at_end})\n"
        "print(buffer.to_pybytes(), flush=True)\n"
        f"ctypes.string_at(buffer.address + {offset}, 1)"
    )
    tests = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tests, capture_output=True, check=False, timeout=120
    )
    assert (done.stdout, done.returncode < 0) == (b"b'abc'\n", True)


def dictionary(values: pa.Array) -> pa.DictionaryArray:
    """Return a column with each value of a dictionary once, in order."""
    return pa.DictionaryArray.from_arrays(pa.array(range(len(values)), pa.int8()), values)


STRINGS = [pa.string(), pa.large_string(), pa.string_view()]
BINARIES = [pa.binary(), pa.large_binary(), pa.binary_view()]
ends = pytest.mark.parametrize("at_end", [True, False], ids=["end", "beginning"])
ways = pytest.mark.parametrize("of", [lambda values: values, dictionary], ids=["plain", "keys"])


@functools.cache
def message_of_uid(uid: str) -> bytes:
    """Return pynetdicom's message of a request with this UID, twice."""
    return encode_p_data(
        primitive(MessageID=1, AffectedSOPClassUID=uid, AffectedSOPInstanceUID=uid, EventTypeID=1)
    )


@ends
@ways
@pytest.mark.parametrize("strings", STRINGS, ids=str)
def test_buffer_with_one_uid(strings, of, at_end):
    for length in range(1, 67):
        uid = ("1.2.840.10008." * 5)[: length - 1] + "1"
        for text in {uid, uid[:-1] + ".", uid[:-1] + "x", "0" + uid[1:]}:
            values = of(pa.array([text], strings))
            columns = {
                "AffectedSOPClassUID": values,
                "AffectedSOPInstanceUID": values,
                "EventTypeID": pa.array([1], pa.uint16()),
            }
            batch = fenced_batch(pa.table(columns), at_end)
            good = is_uid(text, conformant=True)
            assert len(validate_events(batch)) == (0 if good else 1)
            encoded = encode_events(batch, on_invalid="skip")
            assert bytes(encoded) == (message_of_uid(text) if good else b"")


LENGTHS = [*range(1, 140), 255, 256, 257, 4095, 4096, 4097]


@functools.cache
def message_of_data_set(data_set: bytes, limit: int) -> bytes:
    """Return pynetdicom's message of the request with this data set."""
    return oracle_bytes([{**REQUEST, "EventInformation": data_set}], 1, limit)


@ends
@pytest.mark.parametrize("binaries", [*BINARIES, None], ids=str)
def test_buffer_with_one_data_set(binaries, at_end):
    for length in LENGTHS:
        data_set = (bytes(range(1, 256)) * 20)[:length]
        array = pa.array([data_set], binaries or pa.binary(length))
        table = table_of([REQUEST]).drop_columns("EventInformation")
        batch = fenced_batch(table.append_column("EventInformation", array), at_end)
        for limit in (16382, 7 + length // 2):
            [message] = encode_events(batch, max_pdu_length=limit)
            assert message == message_of_data_set(data_set, limit)


EVENT_SHAPES = [REQUEST, RESPONSE, {**RESPONSE, **OPTIONAL}, {**REQUEST, "EventInformation": None}]
MESSAGES = [encode_p_data(to_oracle(event)) for event in EVENT_SHAPES]
COUNTS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1025]


@ends
@pytest.mark.parametrize("keys", [False, True], ids=["plain", "keys"])
@pytest.mark.parametrize("integers", [pa.uint16(), pa.int32(), pa.int64(), pa.uint64()], ids=str)
@pytest.mark.parametrize(
    ("strings", "binaries"), list(zip(STRINGS, BINARIES, strict=True)), ids=str
)
def test_batches_of_any_number_of_rows(strings, binaries, integers, keys, at_end):
    types = {pa.string(): strings, pa.binary(): binaries, pa.int64(): integers}
    for count in COUNTS:
        order = [(row * row + count) % len(EVENT_SHAPES) for row in range(count)]
        table = table_of([EVENT_SHAPES[one] for one in order]).drop_columns("PresentationContextID")
        sop_classes = table["AffectedSOPClassUID"].dictionary_encode()
        table = table.cast(pa.schema([(field.name, types[field.type]) for field in table.schema]))
        if keys:
            table = table.set_column(2, "AffectedSOPClassUID", sop_classes)
        batch = fenced_batch(table, at_end)
        expected = b"".join(MESSAGES[one] for one in order)
        assert bytes(encode_events(batch)) == expected
        assert b"".join(map(bytes, encode_batches(batch, batch_size=5))) == expected
        assert len(validate_events(batch)) == 0


@ends
@pytest.mark.parametrize("limit", [0, 40])
def test_truncated_streams(limit, at_end):
    stream = oracle_bytes(rows_of(EVENTS), 1, limit)
    messages = [oracle_bytes([row], 1, limit) for row in rows_of(EVENTS)]
    ends = list(itertools.accumulate(map(len, messages)))
    for cut in range(len(stream) + 1):
        decoded = decode_events(fenced(stream[:cut], at_end), on_invalid="skip")
        whole = sum(end <= cut for end in ends)
        assert pa.table(decoded).select(list(EVENTS)).to_pylist() == rows_of(EVENTS)[:whole]
        assert bool(decoded.rejected) == (cut not in (0, *ends))


COMMAND_SETS = b"".join(encode_command_set(to_oracle(row)) for row in rows_of(EVENTS))


@ends
def test_truncated_command_sets(at_end):
    for cut in range(len(COMMAND_SETS) + 1):
        data = fenced(COMMAND_SETS[:cut], at_end)
        decoded = decode_events(data, framing="command-set", on_invalid="skip")
        assert len(pa.table(decoded)) == len(list(decoded)) == len(decoded)


@given(data=st.data(), framing=st.sampled_from(["p-data", "command-set"]), at_end=st.booleans())
def test_invalid_streams(data, framing, at_end):
    stream = bytearray(oracle_bytes(rows_of(EVENTS), 1, data.draw(max_pdu_lengths)))
    if framing == "command-set":
        stream = bytearray(COMMAND_SETS)
    for _ in range(data.draw(st.integers(1, 6))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    for broken in (stream, stream[: data.draw(st.integers(0, len(stream)))]):
        plain = decode_events(bytes(broken), framing=framing, on_invalid="skip")
        decoded = decode_events(fenced(bytes(broken), at_end), framing=framing, on_invalid="skip")
        assert pa.table(decoded) == pa.table(plain)
        assert list(decoded.rejected) == list(plain.rejected)
        assert decoded.skipped == plain.skipped
