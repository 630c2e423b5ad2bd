"""What people see on the terminal: tables, counts, progress, and errors in a line."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, RenderableType
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
