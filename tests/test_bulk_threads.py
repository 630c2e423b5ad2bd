"""Concurrent calls, and the lifetime of the memory of streams."""

import gc
import itertools
import os
import queue
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from fastdimse import (
    EncodedEvents,
    EncodeError,
    decode_events,
    encode_batches,
    encode_events,
    validate_events,
)
from strategies import COLUMNS
from test_arrow_layouts import MESSAGES, ROWS, STREAM, table
from test_bulk_encode import SOP_CLASS

TIMEOUT = 60
"""Seconds after which a thread counts as stuck."""


def run_together(*calls: Callable[[], Any]) -> list[Any]:
    """Run calls in threads that start together; return their results or raise their error."""
    barrier, outcomes = threading.Barrier(len(calls)), [None] * len(calls)

    def run(place: int, call: Callable[[], Any]) -> None:
        barrier.wait(TIMEOUT)
        try:
            outcomes[place] = (call(), None)
        except BaseException as error:
            outcomes[place] = (None, error)

    threads = [
        threading.Thread(target=run, args=(place, call), daemon=True)
        for place, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    for _, error in outcomes:
        if error is not None:
            raise error
    return [value for value, _ in outcomes]


# The GIL.

SHARE = 0.2
"""Part of the progress of another thread during a call, relative to an idle process."""
TRIES = 20


@pytest.fixture(scope="module")
def many() -> pa.Table:
    """Return requests with a data set of 100 bytes each."""
    rows = 300_000
    return pa.table(
        {
            "AffectedSOPClassUID": pa.repeat(SOP_CLASS, rows),
            "AffectedSOPInstanceUID": pa.repeat("1.2.826.0.1.3680043.8.498.1234567890", rows),
            "EventTypeID": pa.repeat(pa.scalar(1, pa.uint16()), rows),
            "EventInformation": pa.repeat(b"x" * 100, rows),
        }
    )


class Counting:
    """A thread that counts, and acquires the GIL for each step."""

    def __init__(self) -> None:
        self.count = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stopped:
            self.count += 1
            time.sleep(0)

    def during(self, call: Callable[[], object]) -> tuple[int, float]:
        """Return the count and the duration of a call."""
        count, begin = self.count, time.perf_counter()
        call()
        return self.count - count, time.perf_counter() - begin

    def __enter__(self) -> "Counting":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join(TIMEOUT)


@contextmanager
def prompt_switches() -> Iterator[None]:
    """Shorten the switch interval: a long one would count as progress of the waiting thread."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def shares_of_another_thread(call: Callable[[], object]) -> Iterator[float]:
    """Measure the share several times, because a busy machine makes some of them too small."""
    with prompt_switches(), Counting() as counting:
        fastest = 0.0
        for _ in range(TRIES):
            count, seconds = counting.during(lambda: time.sleep(0.02))
            fastest = max(fastest, count / seconds)
            if not fastest:
                continue
            beside, seconds = 0, 0.0
            while seconds < 0.02:
                more, longer = counting.during(call)
                beside, seconds = beside + more, seconds + longer
            yield beside / seconds / fastest


def exhaust(batches: Iterator[EncodedEvents]) -> None:
    """Encode all batches without keeping them."""
    for batch in batches:
        assert batch.nbytes


def test_calls_release_the_gil(many):
    encoded = encode_events(many)
    stream = bytes(encoded)
    bad = many.set_column(1, "AffectedSOPInstanceUID", pa.array(["1.02", "1.2"] * (len(many) // 2)))
    calls = {
        "encode": lambda: encode_events(many),
        "command sets": lambda: encode_events(many, framing="command-set"),
        "skip": lambda: encode_events(bad, on_invalid="skip"),
        "batches": lambda: exhaust(encode_batches(many, batch_size=30_000)),
        "validate": lambda: validate_events(many),
        "encode in threads": lambda: encode_events(many, threads=2),
        "batches in threads": lambda: exhaust(encode_batches(many, batch_size=30_000, threads=2)),
        "decode": lambda: decode_events(stream),
        "decode what was encoded": lambda: decode_events(encoded),
    }
    for name, call in calls.items():
        assert any(share > SHARE for share in shares_of_another_thread(call)), name


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no GIL")
def test_call_with_the_gil_is_detected():
    shares = shares_of_another_thread(lambda: sum(range(2_000_000)))
    assert statistics.median(itertools.islice(shares, 9)) < SHARE


# Threads at once.


def test_concurrent_encoding_and_validation_of_one_table():
    events = pa.concat_tables([table()] * 50)
    bad = events.set_column(
        events.column_names.index("MessageID"), "MessageID", pa.nulls(len(events), pa.int64())
    )
    requests = [row for row, event in enumerate(ROWS * 50) if event["MessageID"] is not None]

    def encoded_in_batches() -> bytes:
        return b"".join(map(bytes, encode_batches(events, batch_size=100)))

    def bad_rows() -> list[int]:
        return [rejection.row for rejection in validate_events(bad)]

    found = run_together(*[lambda: bytes(encode_events(events)), encoded_in_batches, bad_rows] * 3)
    assert found == [STREAM * 50, STREAM * 50, requests] * 3


def test_concurrent_decoding_of_one_stream():
    stream = STREAM * 20
    expected = pa.table(decode_events(stream))
    assert expected.select(COLUMNS).to_pylist() == ROWS * 20
    for table_ in run_together(*[lambda: pa.table(decode_events(stream))] * 8):
        assert table_ == expected


def test_threads_share_results():
    encoded = encode_events(table())
    decoded = decode_events(encoded)
    numbers = [row["MessageID"] for row in ROWS]
    starts = [0, *itertools.accumulate(map(len, MESSAGES))]
    calls = [
        lambda: [bytes(message) for message in encoded] == MESSAGES,
        lambda: bytes(encoded) == STREAM,
        lambda: pa.array(encoded).to_pylist() == MESSAGES,
        lambda: encoded.offsets.tolist() == starts,
        lambda: [event.MessageID for event in decoded] == numbers,
        lambda: pa.table(decoded)["MessageID"].to_pylist() == numbers,
        lambda: bytes(encode_events(decoded)) == STREAM,
    ]
    assert all(run_together(*calls * 3))


BUSY = "encode_batches already executing"


def messages_of(batches: Iterator[EncodedEvents]) -> list[bytes]:
    """Return the messages of the batches that this thread gets."""
    taken: list[bytes] = []
    while True:
        try:
            taken += map(bytes, next(batches))
        except StopIteration:
            return taken
        except ValueError as error:
            if str(error) != BUSY:
                raise


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("way", ["table", "reader", "primitives"])
def test_threads_share_an_iterator_of_batches(way, ahead):
    """As with a generator: each batch goes to one thread, and concurrent calls raise."""
    events = pa.concat_tables([table()] * 30)
    decoded = decode_events(STREAM * 30)
    sources = {"table": events, "reader": events.to_reader(50), "primitives": iter(decoded)}
    batches = encode_batches(sources[way], batch_size=61, threads=ahead)
    found = run_together(*[lambda: messages_of(batches)] * 4)
    assert Counter(itertools.chain(*found)) == Counter(MESSAGES * 30)


@pytest.mark.parametrize("threads", [1, 2])
def test_reader_that_requests_the_next_batch(threads):
    """The reader of a batch cannot request the next one: it would be a deadlock."""
    found = []

    def events() -> Iterator[Any]:
        for event in decode_events(STREAM):
            try:
                found.append(next(batches))
            except ValueError as error:
                found.append(str(error))
            yield event

    batches = encode_batches(events(), batch_size=10, threads=threads)
    assert b"".join(map(bytes, batches)) == STREAM
    assert set(found) == {BUSY}


def test_python_reader_runs_in_the_calling_thread():
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in table().to_batches(max_chunksize=5):
            time.sleep(0)
            yield batch

    def encoded() -> bytes:
        reader = pa.RecordBatchReader.from_batches(table().schema, batches())
        return b"".join(map(bytes, encode_batches(reader, batch_size=7)))

    assert run_together(*[encoded] * 6) == [STREAM] * 6


FORKED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from fastdimse import encode_batches, encode_events, decode_events
events = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": ["1.2.3"] * 50_000,
    "EventTypeID": 1,
}
def stream():
    return b"".join(map(bytes, encode_batches(events, batch_size=4096, threads=2)))
encoded = encode_events(events, threads=2)
expected = bytes(encoded)
assert expected == bytes(encode_events(events))
begun = encode_batches(events, batch_size=4096, threads=3)
first = bytes(next(begun))
assert stream() == expected
child = os.fork()
if child == 0:
    signal.alarm(30)
    good = stream() == bytes(encode_events(events, threads=2)) == bytes(encoded) == expected
    good = good and first + b"".join(map(bytes, begun)) == expected
    os._exit(0 if good and len(decode_events(encoded)) == 50_000 else 1)
assert stream() == bytes(encoded) == expected
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_encoding_in_a_forked_process():
    command = [sys.executable, "-c", FORKED, os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


# Threads of the extension.


@pytest.mark.parametrize("verb", [encode_events, encode_batches, validate_events])
@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one(verb, threads):
    with pytest.raises(ValueError, match=f"threads must be at least 1, not {threads}"):
        verb(table(), threads=threads)
    with pytest.raises(TypeError):
        verb(table(), 2)


class Counted:
    """Events, and the number of those that were read."""

    def __init__(self, count: int) -> None:
        self.taken, self._count = 0, count

    def __iter__(self) -> Iterator[Any]:
        for event in itertools.islice(itertools.cycle(decode_events(STREAM)), self._count):
            self.taken += 1
            yield event


@pytest.mark.parametrize(
    ("threads", "size", "most"), [(1, 4, 1), (2, 4, 8), (5, 4, 20), (2, 9000, 4), (3, 16384, 3)]
)
def test_read_ahead_is_bounded(threads, size, most):
    events, done = Counted(size * most * 2), 0
    for batch in encode_batches(events, batch_size=size, threads=threads):
        done += len(batch)
        assert done <= events.taken <= done + size * (most - 1)
    assert done == events.taken == size * most * 2


def test_error_of_the_reader_comes_after_the_batches_before_it():
    """The batches before the error are returned."""

    def events() -> Iterator[Any]:
        yield from decode_events(STREAM)
        raise KeyError("no more")

    batches = encode_batches(events(), batch_size=len(ROWS) // 2, threads=7)
    half = len(ROWS) // 2
    assert list(next(batches)) == MESSAGES[:half]
    assert list(next(batches)) == MESSAGES[half : 2 * half]
    with pytest.raises(KeyError, match="no more"):
        next(batches)
    assert list(batches) == []


# Lifetime of memory.

ROTATIONS = [0, 1, 7, 20, 33, 50]


def rotated(by: int, times: int) -> tuple[pa.Table, bytes]:
    """Return a rotated and repeated table, and its stream."""
    events = pa.concat_tables([table().slice(by), table().slice(0, by)] * times)
    return events.combine_chunks(), b"".join(MESSAGES[by:] + MESSAGES[:by]) * times


SMALL = [rotated(by, 1) for by in ROTATIONS]
LARGE = [rotated(by, 60) for by in ROTATIONS]
"""Several megabytes, which can be allocated in another way than small outputs."""


def encode_others(times: int = 2) -> None:
    """Encode and discard other events, which reuse released memory."""
    for _ in range(times):
        for events, stream in (*SMALL[1:], *LARGE[1:]):
            assert bytes(encode_events(events)) == stream
            assert sum(batch.nbytes for batch in encode_batches(events, batch_size=61)) == len(
                stream
            )


def imported(capsules: tuple[object, object]) -> Any:
    """Import an array from capsules."""
    return pa.Array._import_from_c_capsule(*capsules)


def started(messages: Iterator[memoryview]) -> Iterator[memoryview]:
    """Read the first message."""
    next(messages)
    return messages


# A part of encoded events that is kept, and how it is read later.
HOLDERS: dict[str, tuple[Callable[[EncodedEvents], Any], Callable[[Any], Any]]] = {
    "memoryview": (memoryview, bytes),
    "part of a memoryview": (lambda encoded: memoryview(encoded)[1000:5000], bytes),
    "memoryview of a memoryview": (lambda encoded: memoryview(memoryview(encoded)), bytes),
    "message": (lambda encoded: encoded[60], bytes),
    "all messages": (list, lambda messages: list(map(bytes, messages))),
    "iterator": (
        lambda encoded: started(iter(encoded)),
        lambda messages: list(map(bytes, [*messages][:60])),
    ),
    "numpy array": (
        lambda encoded: np.frombuffer(encoded, np.uint8),
        lambda array: array.tobytes(),
    ),
    "pyarrow buffer": (pa.py_buffer, lambda buffer: buffer.to_pybytes()),
    "pyarrow array": (pa.array, lambda array: array.to_pylist()),
    "slice of a pyarrow array": (
        lambda encoded: pa.array(encoded).slice(9, 9),
        lambda array: array.to_pylist(),
    ),
    "scalar": (lambda encoded: pa.array(encoded)[30], lambda scalar: scalar.as_py()),
    "capsules": (
        lambda encoded: [encoded.__arrow_c_array__()],
        lambda capsules: imported(capsules.pop()).to_pylist(),
    ),
    "polars series": (pl.Series, lambda series: series.to_list()),
    "offsets": (lambda encoded: encoded.offsets, lambda offsets: offsets.tolist()),
    "pyarrow array of offsets": (
        lambda encoded: pa.array(encoded.offsets),
        lambda array: array.to_pylist(),
    ),
    "decoded events": (decode_events, lambda decoded: pa.table(decoded).to_pylist()),
    "table of decoded events": (
        lambda encoded: pa.table(decode_events(encoded)),
        lambda events: events.to_pylist(),
    ),
    "column of decoded events": (
        lambda encoded: pa.table(decode_events(encoded))["EventInformation"].slice(5, 20),
        lambda values: values.to_pylist(),
    ),
    "frame of decoded events": (
        lambda encoded: pl.DataFrame(decode_events(encoded)),
        lambda events: events.to_dicts(),
    ),
    "decoded events of a memoryview": (
        lambda encoded: decode_events(memoryview(encoded)),
        lambda decoded: [event.AffectedSOPInstanceUID for event in decoded],
    ),
    "decoded message": (
        lambda encoded: pa.table(decode_events(encoded[31])),
        lambda events: events.to_pylist(),
    ),
}
holders = pytest.mark.parametrize(("keep", "read"), HOLDERS.values(), ids=HOLDERS)
sizes = pytest.mark.parametrize("sources", [SMALL, LARGE], ids=["small", "large"])


@sizes
@holders
def test_kept_memory_is_not_reused(keep, read, sources):
    events, stream = sources[0]
    encoded = encode_events(events)
    assert bytes(encoded) == stream
    expected = read(keep(encoded))
    kept = keep(encoded)
    del encoded
    gc.collect()
    encode_others()
    assert read(kept) == expected


@sizes
@holders
def test_memory_outlives_its_thread(keep, read, sources):
    events, _ = sources[0]
    expected = read(keep(encode_events(events)))
    [kept] = run_together(lambda: keep(encode_events(events)))
    run_together(*[lambda: encode_others(1)] * 2)
    assert read(kept) == expected


@sizes
def test_each_view_keeps_the_memory(sources):
    events, stream = sources[0]
    for order in itertools.permutations(range(3)):
        encoded = encode_events(events)
        kept = {0: memoryview(encoded), 1: pa.array(encoded), 2: encoded[-1]}
        del encoded
        for gone in order[:2]:
            del kept[gone]
        encode_others(1)
        [last] = kept.values()
        whole = b"".join(last.to_pylist()) if isinstance(last, pa.Array) else bytes(last)
        assert whole == (bytes(stream) if 2 in order[:2] else MESSAGES[60])


@sizes
def test_some_batches_are_kept(sources):
    events, stream = sources[0]
    kept, at = [], 0
    for number, batch in enumerate(encode_batches(events, batch_size=7)):
        expected = stream[at : at + batch.nbytes]
        at += batch.nbytes
        if number % 3 == 0:
            kept.append((memoryview(batch), expected))
        elif number % 3 == 1:
            kept.append((pa.array(batch).slice(1), expected))
        else:
            assert bytes(batch) == expected
        del batch
    encode_others(1)
    for number, (holder, expected) in enumerate(kept):
        if number % 2 == 0:
            assert bytes(holder) == expected
        else:
            assert expected.endswith(b"".join(holder.to_pylist()))


def test_rejections_and_messages_after_a_failure():
    events = table().set_column(
        0, "AffectedSOPClassUID", pa.array(["1.02"] + ["1.2"] * (len(ROWS) - 1))
    )
    kept = encode_events(events, on_invalid="skip")
    before = (bytes(kept), pa.table(kept.rejected).to_pylist(), list(kept.rejected))
    assert len(before[1]) == len(before[2]) == 1
    for _ in range(20):
        with pytest.raises(EncodeError):
            encode_events(events)
        for source, stream in SMALL:
            assert bytes(encode_events(source)) == stream
    rejected = kept.rejected
    assert (bytes(kept), pa.table(rejected).to_pylist(), list(rejected)) == before


def test_memory_with_drops_in_any_thread_and_order():
    """Threads encode, keep some outputs, and pass others to threads that drop them."""
    handed_on: queue.SimpleQueue[tuple[Any, bytes]] = queue.SimpleQueue()

    def check_content(holder: Any, expected: bytes) -> None:
        found = b"".join(holder.to_pylist()) if isinstance(holder, pa.Array) else bytes(holder)
        assert found == expected

    def work(seed: int) -> None:
        chance = random.Random(seed)
        kept: list[tuple[Any, bytes]] = []
        for _ in range(300):
            events, stream = chance.choice(SMALL + LARGE[:1] if seed % 2 else SMALL)
            encoded = encode_events(events)
            take = chance.choice([memoryview, pa.array, pa.py_buffer, lambda same: same])
            (kept.append if chance.random() < 0.8 else handed_on.put)((take(encoded), stream))
            while len(kept) > chance.randrange(1, 12):
                check_content(*kept.pop(chance.randrange(len(kept))))
            if chance.random() < 0.3 and not handed_on.empty():
                try:
                    check_content(*handed_on.get_nowait())
                except queue.Empty:
                    continue
        for one in kept:
            check_content(*one)

    run_together(*[lambda seed=seed: work(seed) for seed in range(4)])
    while not handed_on.empty():
        check_content(*handed_on.get())
