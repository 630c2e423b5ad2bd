"""Rows of a text file: the line of each row, and the rows that cannot be read."""

from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import NamedTuple


class RowError(Exception):
    """The reason that one row cannot be read.

    Parameters
    ----------
    code : str
        The code of the rejection.
    reason : str
        What is wrong, and what is right.
    field : str, optional
        The column, or the path of the attribute.
    """

    def __init__(self, code: str, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.field = field


class RowRejection(NamedTuple):
    """A rejected row, with the attributes of `fastdimse.Rejection` and the number of its line."""

    row: int | None
    field: str | None
    code: str
    reason: str
    offset: int | None
    line: int | None


class TextRows:
    """The lines of the rows of a text file, and the rows that cannot be read.

    Such a row is null in every column, so that the encoder rejects it, and the numbers of the other
    rows do not change.

    Attributes
    ----------
    rejected : dict of int to RowRejection
        The rows that cannot be read.
    """

    def __init__(self) -> None:
        self.rejected: dict[int, RowRejection] = {}
        # The first row, and its line, of each run of rows that are in consecutive lines.
        self._rows = array("Q")
        self._lines = array("Q")

    def add_lines(self, row: int, line: int) -> None:
        """Record that `row` is in `line`, and the rows after it in the lines after it."""
        if not self._rows or self.line(row) != line:
            self._rows.append(row)
            self._lines.append(line)

    def line(self, row: int) -> int:
        """Return the number of the line in which a row begins."""
        run = bisect_right(self._rows, row) - 1
        return self._lines[run] + row - self._rows[run]

    def rejected_within(self, first_row: int, count: int) -> set[int]:
        """Return those of `count` rows that cannot be read."""
        if not self.rejected:
            return set()
        return self.rejected.keys() & set(range(first_row, first_row + count))

    def reject(self, row: int, problem: RowError) -> None:
        """Record a row that cannot be read."""
        self.rejected[row] = RowRejection(
            row, problem.field, problem.code, problem.reason, None, self.line(row)
        )


def peer_problem(name: str | None, peers: Collection[str]) -> RowError | None:
    """Return the problem of the peer of a row, in a file with a column of peers."""
    if name is None:
        return RowError("missing", "null, but other rows have a peer", "Peer")
    if not peers or name in peers:
        return None
    near = did_you_mean(name, peers) or ": name it with --called-ae or --peer"
    return RowError("peer", f"{excerpt(name)} is not a peer to send to{near}", "Peer")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question for the known name that is nearest to `name`, or an empty text."""
    found = nearest(name, known)
    return "" if found is None else f": did you mean '{found}'?"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest to `name`, or None."""
    by_lower_case = {one.lower(): one for one in known}
    found = get_close_matches(name[:64].lower(), by_lower_case, n=1, cutoff=0.75)
    return by_lower_case[found[0]] if found else None


def excerpt(text: str) -> str:
    """Return a value in quotes for an error text, shortened if it is long."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
