"""Associations between two ends in one process: whose thread it is, what it logs, its end."""

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


def plain_and_installed(converse: Callable[[], Any]) -> tuple[Any, Any]:
    """Return what comes of a conversation without fastdimse and with it.

    Of two threads' events either can be the first, without fastdimse too: what is different by
    chance is the same when it is tried again.
    """
    for _ in range(4):
        plain = converse()
        with installed():
            fast = converse()
        if fast == plain:
            break
    return plain, fast
