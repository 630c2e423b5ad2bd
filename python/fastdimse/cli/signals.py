"""Signals that end a command in order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def first_signal() -> Iterator[Callable[[], bool]]:
    """Record the first SIGINT or SIGTERM instead of raising it.

    Yields a function that returns whether a signal was received. The second signal has its usual
    effect.
    """
    received: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        restore()
