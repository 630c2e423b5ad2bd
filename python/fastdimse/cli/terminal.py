"""Output on the terminal: tables, notes, errors and progress."""

import os
import sys
import time
from collections.abc import Callable, Iterator
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

# The displayed rate is an average over this time.
_RATE_SECONDS = 2.0


class _PipedConsole(Console):
    """A console that raises an error for a broken pipe, which `main` handles."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def printable(text: str) -> str:
    """Return `text` with control characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_table(table: Table, file: TextIO, narrow: RenderableType | None = None) -> None:
    """Print a table: in the width of a terminal, or in its own width elsewhere.

    Parameters
    ----------
    table : rich.table.Table
        The table.
    file : TextIO
        The output.
    narrow : rich.console.RenderableType, optional
        Printed instead on a terminal that is narrower than the table.
    """
    console = _PipedConsole(file=file)
    unbound = console.options.update(width=10_000)
    width = Measurement.get(console, unbound, table).maximum
    if not console.is_terminal:
        console = _PipedConsole(file=file, width=width)
    console.print(table if narrow is None or width <= console.width else narrow)


def width(file: TextIO) -> int:
    """Return the width of a terminal; else COLUMNS, or 100 columns."""
    if not file.isatty() and not os.environ.get("COLUMNS", "").isdecimal():
        return 100
    return Console(file=file).width


def plain(text: str, file: TextIO) -> str:
    """Return `text` in the characters that the encoding of `file` has."""
    return text


def console(file: TextIO) -> Console:
    """Return a console with the width of the output."""
    return _PipedConsole(file=file, width=width(file))


def print_line(text: str | Text) -> None:
    """Print a line on standard output."""
    if isinstance(text, str):
        text = Text(printable(text))
    console(sys.stdout).print(text, soft_wrap=True)


def error_line(text: str) -> None:
    """Print an error as one line on standard error."""
    print(f"fastdimse: error: {printable(text)}", file=sys.stderr)


def note(text: str) -> None:
    """Print a line on standard error."""
    print(printable(text), file=sys.stderr)


def plural(count: int, thing: str) -> str:
    """Return for example ``1 row`` or ``2,000 rows``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


class _Rate(ProgressColumn):
    """Events per second."""

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
        The label of the bar.
    total : int, optional
        The number of events, if it is known.
    on_stdout : bool, optional
        Whether rows are printed on standard output at the same time. No bar is drawn if that is a
        terminal.

    Yields
    ------
    Callable[[int], None]
        Adds a number of events to the bar.
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
    """A table on standard error that is updated in place, if that is a terminal and *show*."""

    def __init__(self, *, show: bool = True) -> None:
        self._counts = [(time.monotonic(), 0)]
        self._live = Live(
            console=Console(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False
        )
        self._is_shown = show and sys.stderr.isatty()

    def __enter__(self) -> Self:
        """Show the table."""
        if self._is_shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the table."""
        if self._is_shown:
            self._live.stop()

    def show(self, count: int, table: Callable[[float], Table]) -> None:
        """Update the table; `table` gets the rate at which `count` has grown."""
        if self._is_shown:
            self._live.update(table(self._rate(count)), refresh=True)

    def _rate(self, count: int) -> float:
        now = time.monotonic()
        recent = [one for one in self._counts if one[0] > now - _RATE_SECONDS]
        self._counts = [*(recent or self._counts[-1:]), (now, count)]
        then, before = self._counts[0]
        return (count - before) / (now - then) if now > then else 0.0
