"""Associations between two ends in one process: whose thread it is, what it logs, its end."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider

DEADLINE = 10
"""Seconds within which anything that is waited for must come."""


def thread() -> str:
    """Tell the end and the kind of thread: of each, all that happens comes in one order."""
    current = threading.current_thread()
    if isinstance(current, Association):
        return f"{current.mode}, association"
    if isinstance(current, DULServiceProvider):
        return f"{current.assoc.mode}, upper layer"
    return "requestor, user" if current is threading.main_thread() else "acceptor, event"


class Log(logging.Handler):
    """Lines of pynetdicom's log by the thread that wrote them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.setdefault(thread(), []).append(f"{record.levelname} {record.getMessage()}")


@contextmanager
def logged(level: int) -> Iterator[Log]:
    """Collect what pynetdicom logs at this level and above."""
    log = Log()
    logger = logging.getLogger("pynetdicom")
    before = logger.level
    logger.addHandler(log)
    logger.setLevel(level)
    try:
        yield log
    finally:
        logger.setLevel(before)
        logger.removeHandler(log)


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def over(association: Association) -> bool:
    """Return whether its threads have ended."""
    return not association.is_alive() and not association.dul.is_alive()
