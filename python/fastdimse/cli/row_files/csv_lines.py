"""Rows of CSV (RFC 4180) found in a text, without reading their cells as values."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .text_blocks import TextRow
from .text_rows import RowError

# A quoted cell with line breaks is looked for in so many bytes, else its quote is not closed.
_MAX_CELL_BYTES = 1 << 20
# The quantifiers are possessive, so that the time is linear.
_CELL = rb'(?>"[^"]*+(?:""[^"]*+)*+"|(?!")[^,\r\n]*+)'
_ROW = re.compile(_CELL + rb"(?:," + _CELL + rb")*+(?=[\r\n])")
_ONE_CELL = re.compile(_CELL + rb"(?=,|\Z)")
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Cell(NamedTuple):
    """The text of a cell, and whether it is in quotes."""

    text: bytes
    is_quoted: bool


class RowsOfCsv(NamedTuple):
    """Rows found in a text.

    Attributes
    ----------
    rows : list of TextRow
        The rows. Empty lines are none.
    rest : bytes
        The text after them: the beginning of a row that the text does not complete.
    line : int
        The number of the line in which it begins.
    """

    rows: list[TextRow]
    rest: bytes
    line: int


def rows_of_csv(text: bytes, line: int, *, is_end: bool) -> RowsOfCsv:
    """Divide a text into rows.

    A quote that is not closed, or that other text follows, rejects its line only: the next row
    begins in the next line.

    Parameters
    ----------
    text : bytes
        The text, from the beginning of a row on.
    line : int
        The number of its first line.
    is_end : bool
        Whether the file ends after it. Otherwise the text ends with a complete line.
    """
    if not text.endswith((b"\n", b"\r")):
        text += b"\n"
    rows: list[TextRow] = []
    at, size = 0, len(text)
    while at < size:
        found = _LINE_END.search(text, at)
        assert found is not None
        begin, end = at, found.start()
        if text.find(b'"', begin, end) < 0:
            # An empty line is not a row.
            if end > begin:
                rows.append(TextRow(line, text[begin:end]))
            at = found.end()
            line += 1
            continue
        limit = max(end + 1, begin + _MAX_CELL_BYTES)
        row = _ROW.match(text, begin, limit)
        if row is not None:
            content = row.group()
            after = _LINE_END.match(text, row.end())
            assert after is not None
            rows.append(TextRow(line, content))
            at = after.end()
            line += 1 + (count_lines(content) if row.end() > end else 0)
        elif not is_end and limit >= size and _is_open(text, begin):
            return RowsOfCsv(rows, text[begin:], line)
        else:
            reason = (
                "a quote is not closed, or text follows the closing quote: a quote within a "
                'cell in quotes is written twice, ""'
            )
            rows.append(TextRow(line, text[begin:end], RowError("quotes", reason)))
            at = found.end()
            line += 1
    return RowsOfCsv(rows, b"", line)


_OPEN = re.compile(rb'(?:%b,)*+"[^"]*+(?:""[^"]*+)*+\Z' % _CELL)


def _is_open(text: bytes, begin: int) -> bool:
    """Return whether the text ends within a quoted cell of the row that begins at `begin`."""
    return _OPEN.match(text, begin) is not None


def count_lines(text: bytes) -> int:
    """Return the number of line breaks in a text."""
    if text.count(b"\r") == text.count(b"\r\n"):
        return text.count(b"\n")
    return sum(1 for _ in _LINE_END.finditer(text))


def cells_of(row: bytes) -> Iterator[Cell]:
    """Yield the cells of a row without its line break."""
    at = 0
    while True:
        found = _ONE_CELL.match(row, at)
        # `rows_of_csv` has matched the whole row.
        assert found is not None
        text = found.group()
        if text.startswith(b'"'):
            yield Cell(text[1:-1].replace(b'""', b'"'), is_quoted=True)
        else:
            yield Cell(text, is_quoted=False)
        at = found.end() + 1
        if at > len(row):
            return
