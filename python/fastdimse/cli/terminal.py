"""What people see on the terminal: tables, counts, progress, and errors in a line."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from fastdimse import Fault, Rejection

# The rate that is shown is that of so many seconds.
_RATE_SECONDS = 2.0


class _PipedConsole(Console):
    """A console that leaves a broken pipe to the command."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def printable(text: str) -> str:
    """Return `text` with what could steer a terminal escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_table(table: Table, file: TextIO, narrow: RenderableType | None = None) -> None:
    """Print a table: in the width of a terminal, or as wide as it is elsewhere.

    Parameters
    ----------
    table : rich.table.Table
        The table.
    file : TextIO
        Where it goes.
    narrow : rich.console.RenderableType, optional
        What is printed in its place on a terminal that is not as wide.
    """
    console = _PipedConsole(file=file)
    unbound = console.options.update(width=10_000)
    width = Measurement.get(console, unbound, table).maximum
    if not console.is_terminal:
        console = _PipedConsole(file=file, width=width)
    console.print(table if narrow is None or width <= console.width else narrow)


def error_line(text: str) -> None:
    """Print an error in one line on standard error."""
    print(f"fastdimse: error: {printable(text)}", file=sys.stderr)


def note(text: str) -> None:
    """Print what was done in one line on standard error."""
    print(printable(text), file=sys.stderr)


def plural(count: int, thing: str) -> str:
    """Return for example ``1 row`` or ``2,000 rows``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def rejection_table(rejections: Sequence[Rejection], *, first: str = "row") -> Table:
    """Return a table of rejections, with a column of bytes where one has an offset.

    Parameters
    ----------
    rejections : Sequence[Rejection]
        What to show.
    first : str, optional
        What is counted by `Rejection.row`.
    """
    decoded = any(rejection.offset is not None for rejection in rejections)
    table = Table()
    for heading in (first, "byte") if decoded else (first,):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("field", "rule", "reason"):
        table.add_column(heading, overflow="fold")
    for rejection in rejections:
        where = [rejection.row, rejection.offset] if decoded else [rejection.row]
        what = (rejection.field or "", rejection.code, printable(rejection.reason))
        table.add_row(
            *("" if number is None else str(number) for number in where),
            *(Text(text) for text in what),
        )
    return table


def fault_table(faults: Sequence[Fault]) -> Table:
    """Return a table of what could not be read of a capture."""
    table = Table()
    for heading in ("stream", "frame", "byte"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("from → to", "field", "fault", "reason"):
        table.add_column(heading, overflow="fold")
    for fault in faults:
        numbers = (fault.stream, fault.frame, fault.offset)
        ends = "" if fault.source is None else f"{fault.source} → {fault.destination}"
        table.add_row(
            *("" if number is None else str(number) for number in numbers),
            *map(Text, (ends, fault.field or "", fault.code, printable(fault.reason))),
        )
    return table


class _Rate(ProgressColumn):
    """Events a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} events/s")


@contextmanager
def progress(
    doing: str, total: int | None, *, on_stdout: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error, if that is a terminal.

    Parameters
    ----------
    doing : str
        What is being done.
    total : int, optional
        How many events there are, if that is known.
    on_stdout : bool, optional
        Whether lines go to standard output meanwhile: no bar is drawn between them.

    Yields
    ------
    Callable[[int], None]
        To be called with each number of events that were done.
    """
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty() or (on_stdout and sys.stdout.isatty()),
    )
    with bar:
        task = bar.add_task(escape(doing), total=total)
        yield lambda events: bar.advance(task, events)


class LiveTable:
    """A table that changes, with the rate of what is counted, if standard error is a terminal."""

    def __init__(self) -> None:
        self._counts = [(time.monotonic(), 0)]
        self._live = Live(
            console=Console(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False
        )
        self._is_shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        """Begin to show it."""
        if self._is_shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take it away."""
        if self._is_shown:
            self._live.stop()

    def show(self, count: int, table: Callable[[float], Table]) -> None:
        """Show the table that is made with how many were counted in each of the last seconds."""
        if self._is_shown:
            self._live.update(table(self._rate(count)), refresh=True)

    def _rate(self, count: int) -> float:
        now = time.monotonic()
        recent = [one for one in self._counts if one[0] > now - _RATE_SECONDS]
        self._counts = [*(recent or self._counts[-1:]), (now, count)]
        then, before = self._counts[0]
        return (count - before) / (now - then) if now > then else 0.0
