"""Streams compared with the memory of the machine, in turns with the rival, on one CPU.

The rival of a complete output is a fresh copy of it, ``bytes(memoryview(output))``. Like every new
object, it is written to memory that was not used before. This needs the rows of a complete run: for
less than 32 MiB, the allocator may return memory that was used before.

Batches need memory for one batch only. Their rival is a warm copy of the complete stream into a
buffer of the same size that was written before, so that only the memory of the machine limits it.
A copy of each batch into the memory of one batch would stay in the cache. This is the advantage of
batches, and not a rival for them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pynetdicom.dimse_primitives
import pytest

import fastdimse
from conftest import make_event
from references import reports
from rivals import encode_message

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process to a CPU"
)
BATCH = 4096
PRIMITIVES = 100_000
FEW = 300
CALLS = 1000
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="there is only one CPU")


def pin(cpus: list[int]) -> None:
    """Restrict all threads of this process to `cpus`."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cpus)


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    # Most interrupts are handled by the first CPU.
    pin(CPUS[-1:])
    yield
    pin(CPUS)


def encode_batches(table: pa.Table, threads: int | None = None) -> int:
    """Encode all batches, keep one at a time, and return the number of bytes."""
    more = {} if threads is None else {"threads": threads}
    return sum(batch.nbytes for batch in fastdimse.encode_batches(table, batch_size=BATCH, **more))


def test_encode(measure_in_turns, table):
    output = fastdimse.encode_events(table)
    assert output.nbytes == 260 * len(table)
    measure_in_turns(
        "encode a table",
        lambda: fastdimse.encode_events(table),
        lambda: bytes(memoryview(output)),
        len(table),
    )


def test_encode_without_memory_to_reuse(measure_in_turns, table):
    outputs = [fastdimse.encode_events(table)]
    measure_in_turns(
        "encode a table, kept",
        lambda: outputs.append(fastdimse.encode_events(table)),
        lambda: bytes(memoryview(outputs[0])),
        len(table),
        rounds=5,
    )


def test_encode_batches(measure_in_turns, table, stream):
    assert encode_batches(table) == len(stream)
    warm = memoryview(bytearray(len(stream)))

    def copy():
        warm[:] = stream

    measure_in_turns("encode batches", lambda: encode_batches(table), copy, len(table))


def test_encode_structured_batches(measure_in_turns, table):
    events = reports(len(table), 2)
    output = fastdimse.encode_events(events)
    assert encode_batches(events) == output.nbytes
    warm = memoryview(bytearray(output.nbytes))

    def copy():
        warm[:] = memoryview(output)

    measure_in_turns(
        "encode batches, structured", lambda: encode_batches(events), copy, len(events)
    )


def test_decode(measure_in_turns, stream, table):
    assert len(fastdimse.decode_events(stream)) == len(table)
    measure_in_turns(
        "decode a stream",
        lambda: fastdimse.decode_events(stream),
        lambda: bytes(memoryview(stream)),
        len(table),
    )


def test_decode_to_views(measure_in_turns, stream, table):
    assert len(fastdimse.decode_events(stream, zero_copy=True)) == len(table)
    measure_in_turns(
        "decode a stream to views",
        lambda: fastdimse.decode_events(stream, zero_copy=True),
        lambda: bytes(memoryview(stream)),
        len(table),
    )


THREADED = ["encode a table", "encode batches", "decode a stream"]


@pytest.fixture
def measure_threads(measure_in_turns):
    """Measure `of(threads)`, an operation on `events` events, with two threads and with one."""

    def run(operation: str, of: Callable[[int], object], events: int) -> None:
        measure_in_turns(
            f"{operation}, threads=2",
            lambda: of(2),
            lambda: of(1),
            events,
            before=lambda: pin(CPUS[-2:]),
            before_rival=lambda: pin(CPUS[-1:]),
        )

    return run


@two_cpus
@pytest.mark.parametrize("operation", THREADED)
def test_threads(measure_threads, table, stream, operation):
    of = {
        "encode a table": lambda threads: fastdimse.encode_events(table, threads=threads),
        "encode batches": lambda threads: encode_batches(table, threads),
        "decode a stream": lambda threads: fastdimse.decode_events(stream, threads=threads),
    }[operation]
    measure_threads(operation, of, len(table))


@two_cpus
def test_check_in_threads(measure_threads, table):
    """The events are encoded reports of storage commitment, valid by the standard."""
    events = pa.table(fastdimse.decode_events(fastdimse.encode_events(reports(len(table), 2))))

    def check(threads: int) -> fastdimse.Rejections:
        return fastdimse.validate_events(events, check="standard", threads=threads)

    assert len(check(1)) == 0
    measure_threads("check by the standard", check, len(table))


def test_encode_half_rejected(measure_in_turns, table):
    name = "AffectedSOPInstanceUID"
    uids = table[name]
    every_second = pc.equal(pc.bit_wise_and(pa.array(range(len(table))), 1), 1)
    # A component must not begin with zero, except "0" (PS3.5 9.1).
    bad = pc.replace_substring(uids, ".498.10", ".498.01")
    place = table.schema.get_field_index(name)
    half_bad = table.set_column(place, name, pc.if_else(every_second, bad, uids))

    def encode(rows: pa.Table) -> fastdimse.EncodedEvents:
        encoded = fastdimse.encode_events(rows, on_invalid="skip")
        assert len(encoded) + len(encoded.rejected) == len(table)
        return encoded

    assert len(encode(half_bad)) == len(table) // 2
    measure_in_turns(
        "encode half bad rows", lambda: encode(half_bad), lambda: encode(table), len(table)
    )


def test_encode_primitives(measure_in_turns, table):
    def make(cls: type, events: int) -> list:
        found = []
        for uid in table["AffectedSOPInstanceUID"][:events].to_pylist():
            event = make_event(cls)
            event.AffectedSOPInstanceUID = uid
            found.append(event)
        return found

    events = make(fastdimse.N_EVENT_REPORT, PRIMITIVES)
    theirs = make(pynetdicom.dimse_primitives.N_EVENT_REPORT, FEW)
    measure_in_turns(
        "encode primitives",
        lambda: fastdimse.encode_events(events),
        lambda: [encode_message(event) for event in theirs],
        len(events),
        len(theirs),
    )


def small_batch(table: pa.Table, rows: int) -> pa.RecordBatch:
    """Return the first rows in buffers of their own, as an engine passes them."""
    return pa.RecordBatch.from_pydict(table[:rows].to_pydict(), schema=table.schema)


def repeated(call: Callable[..., object], *arguments: object) -> Callable[[], None]:
    """Return a function that calls `call` many times and keeps no result."""

    def run() -> None:
        for _ in range(CALLS):
            call(*arguments)

    return run


def test_encode_one_row(measure_in_turns, table):
    event = make_event(pynetdicom.dimse_primitives.N_EVENT_REPORT)
    event.AffectedSOPInstanceUID = table["AffectedSOPInstanceUID"][0].as_py()
    measure_in_turns(
        "encode one row",
        repeated(fastdimse.encode_events, small_batch(table, 1)),
        lambda: [encode_message(event) for _ in range(FEW)],
        CALLS,
        FEW,
    )


def test_encode_one_row_exported(measure_in_turns, table):
    batch = small_batch(table, 1)
    ours, export = repeated(fastdimse.encode_events, batch), repeated(batch.__arrow_c_array__)
    measure_in_turns("encode one row, exported", ours, export, CALLS)


def test_encode_100_rows(measure_in_turns, table):
    batch = small_batch(table, 100)
    ours, export = repeated(fastdimse.encode_events, batch), repeated(batch.__arrow_c_array__)
    measure_in_turns("encode 100 rows", ours, export, CALLS * len(batch))
