"""Rejected rows and messages, and faults in captures: counted, the first shown, all in a file."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from fastdimse import Fault, Faults, Rejection, Rejections

from .atomic_output import atomic_output
from .row_files.formats import row_format
from .row_files.rows import Rows
from .row_files.text_rows import RowRejection
from .row_files.write import RowWriter
from .terminal import note, plural, print_table, printable

_REJECTION_COLUMNS = pa.schema(
    [
        ("row", pa.uint64()),
        ("field", pa.string()),
        ("code", pa.string()),
        ("reason", pa.string()),
        ("offset", pa.uint64()),
    ]
)
_FAULT_COLUMNS = pa.schema(
    [
        ("stream", pa.uint32()),
        ("source", pa.string()),
        ("destination", pa.string()),
        ("frame", pa.uint64()),
        ("offset", pa.uint64()),
        ("field", pa.string()),
        ("code", pa.string()),
        ("reason", pa.string()),
    ]
)
# The column of rejected rows of text.
_LINE_COLUMNS = pa.schema([("line", pa.uint64())])
# Columns of rejected rows of several files.
_FILE_COLUMNS = pa.schema([("file", pa.string()), ("file_row", pa.uint64())])
# Maximum number of rows of a table on standard error.
_MAX_SHOWN = 20


class RejectionLog:
    """The rejections of a command, or the faults in its capture.

    Parameters
    ----------
    out : RowWriter, optional
        Receives all of them.
    rows : Rows, optional
        The rows that are rejected, to name their files.

    Attributes
    ----------
    count : int
        The number of rejections or faults.
    first : list[Rejection], list[RowRejection] or list[Fault]
        The first of them, as many as are shown.
    """

    def __init__(self, out: RowWriter | None = None, rows: Rows | None = None) -> None:
        self.count = 0
        self.first: list[Rejection | RowRejection | Fault] = []
        self._out = out
        self._rows = rows

    def add(self, rejections: Rejections | Faults) -> None:
        """Add the rejections of a batch, or the faults in a capture."""
        rows = self._rows
        shown: Any = rejections
        if rows is not None and rows.is_text and len(rejections):
            shown = with_unreadable(rejections, rows)
        self.count += len(shown)
        room = min(_MAX_SHOWN - len(self.first), len(shown))
        self.first.extend(shown[i] for i in range(room))
        if self._out is not None:
            self._out.write(rejections_as_rows(shown, rows))
        if rows is not None and rows.is_text:
            for one in shown:
                rows.forget(one.row)

    def show(self, *, counted: str = "row") -> None:
        """Print the first rejections on standard error; `counted` names what their rows number."""
        if not self.first:
            return
        faults = [one for one in self.first if isinstance(one, Fault)]
        rejections = [one for one in self.first if not isinstance(one, Fault)]
        table = (
            fault_table(faults)
            if faults
            else rejection_table(rejections, counted=counted, rows=self._rows)
        )
        print_table(table, sys.stderr)
        if self.count > len(self.first):
            more = plural(self.count - len(self.first), "more rejection")
            note(f"{more}; --rejects FILE writes all of them")


@contextmanager
def open_rejections(
    path: str | None, *, faults: bool = False, rows: Rows | None = None
) -> Iterator[RejectionLog]:
    """Open a log of rejections, or of faults, that also writes to the file of ``--rejects``."""
    if path is None:
        yield RejectionLog(rows=rows)
        return
    chosen = row_format(path, option="")
    with atomic_output(path) as sink:
        columns = _FAULT_COLUMNS if faults else _REJECTION_COLUMNS
        if rows is not None and rows.is_text:
            columns = pa.schema([*columns, *_LINE_COLUMNS])
        if rows is not None and rows.is_several:
            columns = pa.schema([*columns, *_FILE_COLUMNS])
        out = RowWriter(sink, path, chosen, columns)
        yield RejectionLog(out, rows)
        out.close()


def with_unreadable(rejections: Rejections | Faults, rows: Rows) -> list[RowRejection]:
    """Return rejections with their lines, and with the reasons why rows could not be read.

    The encoder rejects such rows because they are null.
    """
    found: list[RowRejection] = []
    for one in pa.table(rejections).to_pylist():
        row = one["row"]
        unreadable = rows.unreadable(row)
        if unreadable is None:
            found.append(RowRejection(line=rows.line(row), **one))
        # A check can have several reasons to reject a null row.
        elif not found or found[-1].row != row:
            found.append(unreadable)
    return found


def rejections_as_rows(rejections: Sequence[Any], rows: Rows | None) -> Any:
    """Return a table of rejections, with the lines of rows of text and the files of several files.

    Parameters
    ----------
    rejections : Rejections, Faults, or list of RowRejection
        The rejections; for rows of text, those of `with_unreadable`.
    rows : Rows or None
        The rejected rows.
    """
    if isinstance(rejections, list):
        columns = pa.schema([*_REJECTION_COLUMNS, *_LINE_COLUMNS])
        table = pa.Table.from_pylist([one._asdict() for one in rejections], schema=columns)
    else:
        table = pa.table(rejections)
    if rows is None or not rows.is_several:
        return table
    places = [(None, None) if row is None else rows.locate(row) for row in table["row"].to_pylist()]
    for number, field in enumerate(_FILE_COLUMNS):
        values = [place[number] for place in places]
        table = table.append_column(field, pa.array(values, field.type))
    return table


def rejection_table(
    rejections: Sequence[Rejection | RowRejection],
    *,
    counted: str = "row",
    rows: Rows | None = None,
) -> Table:
    """Return a table of rejections, with columns of lines and offsets where one has them.

    Parameters
    ----------
    rejections : Sequence[Rejection or RowRejection]
        The rejections.
    counted : str, optional
        The heading of `Rejection.row`.
    rows : Rows, optional
        The rejected rows. If they are of several files, the table names the file of each row.
    """
    has_offsets = any(rejection.offset is not None for rejection in rejections)
    has_files = rows is not None and rows.is_several
    has_lines = any(isinstance(one, RowRejection) for one in rejections)
    table = Table()
    headings = [counted, *(["line"] if has_lines else []), *(["byte"] if has_offsets else [])]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    if has_files:
        table.add_column("file", overflow="fold")
        table.add_column("row of file", justify="right", no_wrap=True)
    for heading in ("field", "code", "reason"):
        table.add_column(heading, overflow="fold")
    for rejection in rejections:
        cells = [_number(rejection.row)]
        if has_lines:
            cells.append(_number(getattr(rejection, "line", None)))
        if has_offsets:
            cells.append(_number(rejection.offset))
        if rows is not None and has_files:
            name, row = ("", None) if rejection.row is None else rows.locate(rejection.row)
            cells += [printable(name), _number(row)]
        cells += [rejection.field or "", rejection.code, printable(rejection.reason)]
        table.add_row(*map(Text, cells))
    return table


def fault_table(faults: Sequence[Fault]) -> Table:
    """Return a table of the faults in a capture."""
    table = Table()
    for heading in ("stream", "frame", "byte"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("from → to", "field", "code", "reason"):
        table.add_column(heading, overflow="fold")
    for fault in faults:
        numbers = (fault.stream, fault.frame, fault.offset)
        ends = "" if fault.source is None else f"{fault.source} → {fault.destination}"
        texts = (ends, fault.field or "", fault.code, printable(fault.reason))
        table.add_row(*map(_number, numbers), *map(Text, texts))
    return table


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
