"""What the rivals have in common: the same event, and how its rounds are counted."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
DATA_SET = b"x" * 100


@pytest.fixture
def measure(benchmark: Any) -> Callable[..., None]:
    """Measure `call`, which does an operation `events` times, as one of a group."""

    def run(group: str, rival: str, call: Callable[[], object], events: int) -> None:
        benchmark.group = group
        benchmark.extra_info.update(rival=rival, events=events)
        # A start of an interpreter varies more than a loop does.
        rounds = 7 if events > 1 else 25
        benchmark.pedantic(call, rounds=rounds, warmup_rounds=1)

    return run


def make_event(cls: type) -> Any:
    """Return a storage-commitment report with a data set of 100 bytes."""
    event = cls()
    event.MessageID = 7
    event.AffectedSOPClassUID = SOP_CLASS
    event.AffectedSOPInstanceUID = SOP_INSTANCE
    event.EventTypeID = 1
    event.EventInformation = BytesIO(DATA_SET)
    return event
