"""Associations of two AEs in one process: their threads, their logs, their end."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider

from fastdimse.pynetdicom import installed

DEADLINE = 10
"""Seconds after which waiting fails."""


def thread() -> str:
    """Return the AE and the kind of the current thread: the order within each is fixed."""
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
    """Collect the lines of pynetdicom's log at this level and above."""
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
    """Wait until the condition is true."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def over(association: Association) -> bool:
    """Return whether the threads of the association have ended."""
    return not association.is_alive() and not association.dul.is_alive()


def plain_and_installed(converse: Callable[[], Any]) -> tuple[Any, Any]:
    """Return the results of a conversation without and with fastdimse.

    The order of events in two threads can differ by chance, also without fastdimse. The
    conversation is therefore repeated if the results differ.
    """
    for _ in range(4):
        plain = converse()
        with installed():
            fast = converse()
        if fast == plain:
            break
    return plain, fast
