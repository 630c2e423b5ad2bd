"""What was rejected, or could not be read: counted, the first of it kept, all in a file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from fastdimse import Fault, Faults, Rejection, Rejections

from .atomic_output import whole_output
from .row_files.read import RowsOut, row_format
from .terminal import fault_table, note, plural, print_table, rejection_table

_SCHEMA = pa.schema(
    [
        ("row", pa.uint64()),
        ("field", pa.string()),
        ("code", pa.string()),
        ("reason", pa.string()),
        ("offset", pa.uint64()),
    ]
)
_FAULTS_SCHEMA = pa.schema(
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
    first : list[Rejection] or list[Fault]
        The first of them, as many as a table shows.
    """

    def __init__(self, out: RowsOut | None = None) -> None:
        self.count = 0
        self.first: list[Rejection | Fault] = []
        self._out = out

    def add(self, rejections: Rejections | Faults) -> None:
        """Take in what a batch rejected, or what could not be read of a capture."""
        self.count += len(rejections)
        room = min(_SHOWN - len(self.first), len(rejections))
        self.first.extend(rejections[i] for i in range(room))
        if self._out is not None:
            self._out.write(pa.table(rejections))

    def show(self, *, first: str = "row") -> None:
        """Show the first rejections on standard error; `first` names their numbers."""
        if not self.first:
            return
        faults = [one for one in self.first if isinstance(one, Fault)]
        rejections = [one for one in self.first if isinstance(one, Rejection)]
        table = fault_table(faults) if faults else rejection_table(rejections, first=first)
        print_table(table, sys.stderr)
        if self.count > len(self.first):
            note(
                f"and {plural(self.count - len(self.first), 'more rejection')}; "
                "--rejects FILE has them all"
            )


@contextmanager
def open_rejects(path: str | None, *, faults: bool = False) -> Iterator[Rejects]:
    """Open the file that ``--rejects`` names, if it names one: of rejections, or of faults."""
    if path is None:
        yield Rejects()
        return
    chosen = row_format(path)
    with whole_output(path) as sink:
        out = RowsOut(sink, path, chosen, _FAULTS_SCHEMA if faults else _SCHEMA)
        yield Rejects(out)
        out.close()
