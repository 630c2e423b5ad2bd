"""The events and the rounds that all rivals share."""

import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import fastdimse

SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
DATA_SET = b"x" * 100


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--rows`."""
    parser.addoption("--rows", type=int, default=1_000_000, help="rows of the table of events")


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> pa.Table:
    """Return events of 260 bytes with distinct UIDs of 47 characters."""
    rows = request.config.getoption("rows")
    numbers = pa.array(range(10**18, 10**18 + rows)).cast(pa.string())
    uids = pc.binary_join_element_wise("1.2.826.0.1.3680043.8.498.10", numbers, "")
    return pa.table(
        {
            "AffectedSOPClassUID": pa.repeat(SOP_CLASS, rows),
            "AffectedSOPInstanceUID": uids,
            "EventTypeID": pa.repeat(pa.scalar(1, pa.uint16()), rows),
            "EventInformation": pa.repeat(DATA_SET, rows),
        }
    )


@pytest.fixture(scope="module")
def stream(table: pa.Table) -> bytes:
    """Return the events as P-DATA-TF PDUs."""
    return bytes(fastdimse.encode_events(table))


@pytest.fixture
def measure(benchmark: Any) -> Callable[..., None]:
    """Measure `call`, which does an operation of `group` `events` times."""

    def run(group: str, rival: str, call: Callable[[], object], events: int) -> None:
        benchmark.group = group
        benchmark.extra_info.update(rival=rival, events=events)
        # The start of an interpreter varies more than a loop.
        rounds = 7 if events > 1 else 25
        benchmark.pedantic(call, rounds=rounds, warmup_rounds=1)

    return run


@pytest.fixture
def measure_in_turns(benchmark: Any) -> Callable[..., None]:
    """Measure `call` and its rival in turns, so that other load affects both."""

    def run(
        group: str,
        call: Callable[[], object],
        rival: Callable[[], object],
        events: int,
        rival_events: int | None = None,
        rounds: int = 15,
        before: Callable[[], object] = lambda: None,
        before_rival: Callable[[], object] = lambda: None,
    ) -> None:
        times = []

        def measure_rival() -> None:
            before_rival()
            begin = time.perf_counter()
            made = rival()
            times.append(time.perf_counter() - begin)
            # The result is freed outside the measured time, as pytest-benchmark does.
            del made
            before()

        benchmark.group = group
        benchmark.pedantic(call, setup=measure_rival, rounds=rounds, warmup_rounds=1)
        beside = min(times) / (rival_events or events)
        benchmark.extra_info.update(rival="fastdimse", events=events, beside=beside)

    return run


def make_event(cls: type) -> Any:
    """Return an event of storage commitment with a data set of 100 bytes."""
    event = cls()
    event.MessageID = 7
    event.AffectedSOPClassUID = SOP_CLASS
    event.AffectedSOPInstanceUID = SOP_INSTANCE
    event.EventTypeID = 1
    event.EventInformation = BytesIO(DATA_SET)
    return event
