"""Events printed on standard output: one line each, or all of their fields."""

import sys
from typing import Any

from . import terminal
from .event_lines import EventLines
from .event_table import CAPTURED, DECODED, print_events
from .options import IMPLICIT_VR
from .terminal import plural


class PrintedEvents:
    """Prints the first events of all batches.

    Parameters
    ----------
    captured : bool
        Whether the events are of a capture.
    full : bool
        Print all fields and the data sets.
    limit : int
        Maximum number of events. 0: no limit.
    transfer_syntax : str, optional
        The transfer syntax of the data sets of a stream.
    """

    def __init__(
        self, *, captured: bool, full: bool, limit: int, transfer_syntax: str | None
    ) -> None:
        self._lines = EventLines(captured=captured)
        self._columns = CAPTURED if captured else DECODED
        self._full = full
        self._transfer_syntax = None if captured else transfer_syntax or IMPLICIT_VR
        self._room = limit or sys.maxsize
        self._omitted = 0

    def add(self, events: Any) -> None:
        """Print the events of a table, and flush standard output."""
        shown = events.slice(0, self._room)
        self._room -= shown.num_rows
        self._omitted += events.num_rows - shown.num_rows
        if not shown.num_rows:
            return
        if self._full:
            print_events(shown, self._columns, self._transfer_syntax)
        else:
            self._lines.print(shown)
        sys.stdout.flush()

    def end(self) -> None:
        """Print the number of the other events."""
        if self._omitted:
            terminal.print_line(f"{plural(self._omitted, 'more event')}; --head 0 prints all")
