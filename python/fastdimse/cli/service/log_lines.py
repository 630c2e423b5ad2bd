"""The log of a command: a line on standard error for each record of the logger ``fastdimse``."""

import json
import logging
import os
import queue
import sys
import threading
import time
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from ..output_encoding import plain
from ..terminal import printable

LOG = logging.getLogger("fastdimse.receive")
"""The logger of ``fastdimse receive``. The fields of a record are in its attribute ``fields``."""

NOTICE = 25
"""The level of records that are shown by default and are not problems."""

_NAMES = {
    logging.INFO: "info",
    NOTICE: "notice",
    logging.WARNING: "warning",
    logging.ERROR: "error",
}
# Maximum number of lines that wait for standard error.
_MAX_LINES = 10_000
# Maximum time in seconds to write the last lines.
_LAST_LINES = 2.0


class LogFormat(StrEnum):
    """The format of lines."""

    TEXT = "text"
    JSON = "json"


class LogLines(logging.Handler):
    """Writes each record as a line on standard error, in a thread of its own.

    Standard error can be a pipe that nobody reads. Lines then wait, and further ones are counted,
    but nothing else waits.

    Parameters
    ----------
    log_format : LogFormat
        The format of the lines.
    level : int
        The lowest level of records that are written.
    """

    def __init__(self, log_format: LogFormat, level: int) -> None:
        super().__init__()
        self._format = log_format
        self._root = logging.getLogger("fastdimse")
        self._previous = (self._root.level, self._root.propagate)
        self._root_level = level
        self._lines: queue.Queue[str | None] = queue.Queue(_MAX_LINES)
        self._omitted = 0
        self._writer = threading.Thread(target=self._write_lines, daemon=True)

    def __enter__(self) -> Self:
        """Start to write."""
        self._writer.start()
        self._root.addHandler(self)
        self._root.setLevel(self._root_level)
        self._root.propagate = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write the last lines, and restore the logger."""
        self._root.removeHandler(self)
        level, self._root.propagate = self._previous
        self._root.setLevel(level)
        end = time.monotonic() + _LAST_LINES
        try:
            self._lines.put(None, timeout=_LAST_LINES)
        except queue.Full:
            return
        self._writer.join(max(0.0, end - time.monotonic()))

    def emit(self, record: logging.LogRecord) -> None:
        """Add the line of a record."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._omitted += 1

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {record.exc_info[1]!r}"
        return self._line(record.created, record.levelno, text, _fields(record))

    def _line(self, created: float, level: int, text: str, fields: dict[str, Any]) -> str:
        moment = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
        moment = moment.replace("+00:00", "Z")
        name = _NAMES.get(level, logging.getLevelName(level).lower())
        if self._format is LogFormat.JSON:
            values = {"time": moment, "level": name, "message": text} | fields
            return json.dumps(values, default=str)
        return f"{moment} {name}: {printable(text)}"

    def _write_lines(self) -> None:
        reported = 0
        while (line := self._lines.get()) is not None:
            if self._omitted > reported:
                count, reported = self._omitted - reported, self._omitted
                text = f"{count:,} further records are not logged: standard error is not read"
                fields = {"kind": "omitted", "omitted": count}
                line += "\n" + self._line(time.time(), logging.WARNING, text, fields)
            _write_to_stderr(f"{line}\n")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "listener", None) or getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _write_to_stderr(text: str) -> None:
    """Write lines. They are lost if standard error is closed."""
    try:
        # A table that is updated in place redirects `sys.stderr`. Elsewhere the bytes are written
        # without its buffer, which would keep what cannot be written until the exit.
        if sys.stderr.isatty():
            sys.stderr.write(text)
            sys.stderr.flush()
            return
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    remaining = plain(text, sys.stderr).encode(encoding, "backslashreplace")
    while remaining:
        try:
            remaining = remaining[os.write(descriptor, remaining) :]
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return
