"""Rejected rows: counted, the first of them kept to be shown, all written to a file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from fastdimse import Rejection, Rejections

from .files import RowsOut, row_format
from .output import whole_output
from .report import note, plural, print_table, rejection_table

_SCHEMA = pa.schema(
    [
        ("row", pa.uint64()),
        ("field", pa.string()),
        ("code", pa.string()),
        ("reason", pa.string()),
        ("offset", pa.uint64()),
    ]
)
# The most that a table on standard error shows.
_SHOWN = 20


class Rejects:
    """What a command rejected.

    Parameters
    ----------
    out : RowsOut, optional
        Where to write all of it.

    Attributes
    ----------
    count : int
        How many there are.
    first : list[Rejection]
        The first of them, as many as a table shows.
    """

    def __init__(self, out: RowsOut | None = None) -> None:
        self.count = 0
        self.first: list[Rejection] = []
        self._out = out

    def add(self, rejections: Rejections) -> None:
        """Take in what a batch rejected."""
        self.count += len(rejections)
        room = min(_SHOWN - len(self.first), len(rejections))
        self.first.extend(rejections[i] for i in range(room))
        if self._out is not None:
            self._out.write(pa.table(rejections).cast(_SCHEMA))

    def show(self, *, first: str = "row") -> None:
        """Show the first rejections on standard error; `first` names their numbers."""
        if not self.first:
            return
        print_table(rejection_table(self.first, first=first), sys.stderr)
        if self.count > len(self.first):
            note(
                f"and {plural(self.count - len(self.first), 'more rejection')}; "
                "--rejects FILE has them all"
            )


@contextmanager
def open_rejects(path: str | None) -> Iterator[Rejects]:
    """Open the file that ``--rejects`` names, if it names one."""
    if path is None:
        yield Rejects()
        return
    chosen = row_format(path)
    with whole_output(path) as sink:
        out = RowsOut(sink, path, chosen, _SCHEMA)
        yield Rejects(out)
        out.close()
