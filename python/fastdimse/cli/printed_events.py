"""Events printed on standard output: one line each, or all of their fields."""

import sys
from collections.abc import Sequence
from typing import Any

from .event_lines import EventLines
from .event_rows import in_order
from .event_table import CAPTURED, DECODED, print_events
from .options import IMPLICIT_VR
from .terminal import plural, print_line

# Events that are printed together, so that they have the same columns.
_TOGETHER = 1_000


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
    at_once : bool
        Print each batch when it is added. Otherwise the first events are printed together, in the
        order of their times.
    transfer_syntax : str, optional
        The transfer syntax of the data sets of a stream.
    """

    def __init__(
        self,
        *,
        captured: bool,
        full: bool,
        limit: int,
        at_once: bool,
        transfer_syntax: str | None,
    ) -> None:
        self._lines = EventLines(captured=captured)
        self._columns = CAPTURED if captured else DECODED
        self._full = full
        self._transfer_syntax = None if captured else transfer_syntax or IMPLICIT_VR
        self._room = limit or sys.maxsize
        self._omitted = 0
        self._held: list[Any] = []
        self._together = 0 if at_once else min(self._room, _TOGETHER)

    def add(self, tables: Sequence[Any]) -> None:
        """Print the events and actions of a batch, and flush standard output."""
        events = in_order(tables)
        shown = events.slice(0, self._room)
        self._room -= shown.num_rows
        self._omitted += events.num_rows - shown.num_rows
        if not shown.num_rows:
            return
        self._held.append(shown)
        if sum(one.num_rows for one in self._held) >= self._together:
            self._together = 0
            self._print_held()

    def end(self) -> None:
        """Print the events that are not printed yet, and the number of the other ones."""
        self._print_held()
        if self._omitted:
            print_line(f"{plural(self._omitted, 'more event')}; --head 0 prints all")

    def _print_held(self) -> None:
        if not self._held:
            return
        events = in_order(self._held)
        self._held = []
        if self._full:
            print_events(events, self._columns, self._transfer_syntax)
        else:
            self._lines.print(events)
        sys.stdout.flush()
