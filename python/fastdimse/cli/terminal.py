"""Output on the terminal: lines, tables, notes, errors and progress."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, Any, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
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
from rich.text import Span, Text

from .output_encoding import plain as plain

_PIPE_WIDTH = 100
# A terminal without a size, such as a serial line.
_TERMINAL_WIDTH = 80
_MIN_WIDTH = 20
# The displayed rate is an average over this time.
_RATE_SECONDS = 2.0


class _Console(Console):
    """A console that raises an error for a broken pipe, which `main` handles."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects in the encoding of the file."""
        super().print(*(_encodable(one, self.file) for one in objects), **options)


def width(file: TextIO) -> int:
    """Return the width of a terminal; elsewhere that of ``COLUMNS``, or 100."""
    columns = os.environ.get("COLUMNS", "")
    wanted = int(columns) if columns.isdecimal() else 0
    if _is_terminal(file):
        with suppress(OSError, ValueError):
            wanted = os.get_terminal_size(file.fileno()).columns or wanted
        return max(wanted or _TERMINAL_WIDTH, _MIN_WIDTH)
    return max(wanted or _PIPE_WIDTH, _MIN_WIDTH)


def console(file: TextIO) -> Console:
    """Return a console of the width of `file` that prints any text, without markup."""
    return _Console(file=file, width=width(file), markup=False, emoji=False, highlight=False)


def _is_terminal(file: TextIO) -> bool:
    try:
        return file.isatty()
    except ValueError:
        return False


def _is_live() -> bool:
    """Return whether standard error can update lines in place."""
    return _is_terminal(sys.stderr) and os.environ.get("TERM") not in ("dumb", "unknown")


def _encodable(renderable: Any, file: IO[str]) -> Any:
    """Return a renderable with the characters that the encoding of `file` lacks replaced.

    This is done before the layout: a replacement can be wider. Tables are changed in place.
    """
    if isinstance(renderable, str):
        return plain(renderable, file)
    if isinstance(renderable, Text):
        return _encodable_text(renderable, file)
    if isinstance(renderable, Table):
        renderable.title = _encodable(renderable.title, file)
        renderable.caption = _encodable(renderable.caption, file)
        for column in renderable.columns:
            column.header = _encodable(column.header, file)
            column.footer = _encodable(column.footer, file)
            column._cells = [_encodable(cell, file) for cell in column._cells]
    elif isinstance(renderable, Padding):
        renderable.renderable = _encodable(renderable.renderable, file)
    elif isinstance(renderable, Group):
        return Group(*(_encodable(one, file) for one in renderable.renderables), fit=renderable.fit)
    return renderable


def _encodable_text(text: Text, file: IO[str]) -> Text:
    if plain(text.plain, file) == text.plain:
        return text
    characters = text.divide(range(1, len(text)))
    for one in characters:
        # Setting `plain` keeps the styles of a text of one character.
        if (replaced := plain(one.plain, file)) != one.plain:
            style = one.spans[-1].style if one.spans else ""
            one.plain = replaced
            one.spans = [Span(0, len(replaced), style)] if style else []
    joined = text.blank_copy()
    for one in characters:
        joined.append_text(one)
    return joined


def printable(text: str) -> str:
    """Return `text` with control characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_table(table: RenderableType, file: TextIO, narrow: RenderableType | None = None) -> None:
    """Print a table in the width of `file`.

    Parameters
    ----------
    table : rich.console.RenderableType
        The table.
    file : TextIO
        The output.
    narrow : rich.console.RenderableType, optional
        Printed instead where the output is narrower than the table.
    """
    to = console(file)
    if narrow is not None:
        unbound = to.options.update(width=10_000)
        needed = Measurement.get(to, unbound, _encodable(table, file)).maximum
        table = table if needed <= to.width else narrow
    if file is sys.stderr:
        # Output on standard error that cannot be written does not fail the command.
        with suppress(OSError):
            to.print(table)
        return
    to.print(table)


def print_line(text: str | Text) -> None:
    """Print a line on standard output, however long it is. Only a `Text` has styles."""
    if isinstance(text, Text):
        console(sys.stdout).print(text, soft_wrap=True)
    else:
        print(plain(printable(text), sys.stdout))


def print_json(value: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Print a line of JSON on standard output, in UTF-8 whatever the locale.

    Parameters
    ----------
    value : Any
        The value.
    default : Callable[[Any], Any], optional
        Returns a value of JSON for any other value.
    """
    text = json.dumps(value, ensure_ascii=False, default=default, separators=(",", ":"))
    sys.stdout.flush()
    # A lone surrogate, of the name of a file, becomes the escape that JSON has for it.
    sys.stdout.buffer.write(f"{text}\n".encode(errors="backslashreplace"))
    sys.stdout.buffer.flush()


def error_line(text: str) -> None:
    """Print an error as one line on standard error."""
    note(f"fastdimse: error: {text}")


def note(text: str) -> None:
    """Print a line on standard error. It is lost if standard error cannot be written."""
    with suppress(OSError, ValueError):
        print(plain(printable(text), sys.stderr), file=sys.stderr, flush=True)


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
        SpinnerColumn("dots" if plain("⠋", sys.stderr) == "⠋" else "line"),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console(sys.stderr),
        transient=True,
        disable=not _is_live() or (on_stdout and _is_terminal(sys.stdout)),
    )
    label = plain(printable(doing), sys.stderr)
    # rich replaces `sys.stderr` in the block.
    with bar:
        task = bar.add_task(label, total=total)
        yield lambda events: bar.advance(task, events)


class LiveTable:
    """A table on standard error that is updated in place, if that is a terminal and *show*."""

    def __init__(self, *, show: bool = True) -> None:
        self._counts = [(time.monotonic(), 0)]
        # rich replaces `sys.stderr` while the table is shown.
        self._file = sys.stderr
        self._live = Live(
            console=console(self._file), transient=True, auto_refresh=False, redirect_stdout=False
        )
        self._is_shown = show and _is_live()

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
            self._live.update(_encodable(table(self._rate(count)), self._file), refresh=True)

    def _rate(self, count: int) -> float:
        now = time.monotonic()
        recent = [one for one in self._counts if one[0] > now - _RATE_SECONDS]
        self._counts = [*(recent or self._counts[-1:]), (now, count)]
        then, before = self._counts[0]
        return (count - before) / (now - then) if now > then else 0.0
