"""Tables of one line per row that fit a width: some columns are shortened or dropped."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Span, Text

Row = Mapping[str, Any]


class Cell(NamedTuple):
    """The text of a cell, and its style."""

    text: str
    style: str = ""


class Form(NamedTuple):
    """One form of a column, from its longest to its shortest.

    Attributes
    ----------
    heading : str
        The heading.
    cell : Callable[[Row], Cell]
        Returns the cell of a row.
    """

    heading: str
    cell: Callable[[Row], Cell]


class Column(NamedTuple):
    """A column.

    Attributes
    ----------
    name : str
        Identifies the column in the steps of a layout.
    forms : sequence of Form
        Its forms, the longest first.
    justify : {"left", "right"}
        The alignment of its cells.
    is_cut_last : bool
        Whether other columns are cut before this one.
    """

    name: str
    forms: Sequence[Form]
    justify: Literal["left", "right"] = "left"
    is_cut_last: bool = False


GAP = "gap"
"""The name in a step that reduces the space between columns to one character."""

# A cell that is cut has at least so many characters.
_SHORTEST_CELL = 6


class Layout:
    """Lays out rows in a width.

    All columns are in their longest form if they fit. Otherwise the steps are applied in their
    order until they fit. Cells are cut only after the last step. Widths grow with the rows: the
    rows of a growing capture do not have to be known in advance.

    Parameters
    ----------
    columns : sequence of Column
        The columns from left to right. A column without any text is omitted.
    steps : sequence of tuple of str
        Each step has the names of the columns that get their next form, or are dropped if they
        have none. `GAP` in a step reduces the space between columns.
    width : int
        The number of characters of a line.
    plain : Callable[[str], str]
        Returns a text in the characters that the output supports.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        steps: Sequence[tuple[str, ...]],
        width: int,
        plain: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._columns = columns
        self._steps = [(), *steps]
        self._width = width
        self._plain = plain
        self._step = 0
        self._forms = {one.name: 0 for one in columns}
        self._gap = 2
        self._contents: dict[tuple[str, int], int] = {}
        self._shown: list[tuple[Column, int]] | None = None

    def lines(self, rows: Sequence[Row]) -> tuple[Text | None, list[Text]]:
        """Return the line of headings if the columns have changed, and the line of each row."""
        cells: dict[tuple[str, int], list[Cell]] = {}
        while True:
            for column in self._columns:
                self._measure(column, rows, cells)
            shown = self._columns_with_text()
            fits = self._total(map(self._width_of, shown)) <= self._width
            if fits or self._step + 1 == len(self._steps):
                break
            self._next_step()
        widths = self._cut(shown)
        headings = None
        if shown != self._shown:
            self._shown = shown
            names = [Cell(self._plain(column.forms[n].heading), "bold") for column, n in shown]
            headings = self._line(names, shown, widths)
        columns = [cells[column.name, n] for column, n in shown]
        return headings, [self._line(row, shown, widths) for row in zip(*columns, strict=True)]

    def _measure(
        self, column: Column, rows: Sequence[Row], cells: dict[tuple[str, int], list[Cell]]
    ) -> None:
        """Add the cells of a column in its present form, unless it is dropped."""
        key = (column.name, self._forms[column.name])
        if key in cells or key[1] >= len(column.forms):
            return
        get, plain = column.forms[key[1]].cell, self._plain
        cells[key] = found = [Cell(plain(text), style) for text, style in map(get, rows)]
        longest = max((cell_len(text) for text in {text for text, _ in found}), default=0)
        self._contents[key] = max(self._contents.get(key, 0), longest)

    def _next_step(self) -> None:
        self._step += 1
        for name in self._steps[self._step]:
            if name == GAP:
                self._gap = 1
            else:
                self._forms[name] += 1

    def _columns_with_text(self) -> list[tuple[Column, int]]:
        forms = ((column, self._forms[column.name]) for column in self._columns)
        return [(column, n) for column, n in forms if self._contents.get((column.name, n))]

    def _width_of(self, shown: tuple[Column, int]) -> int:
        column, number = shown
        heading = self._plain(column.forms[number].heading)
        return max(cell_len(heading), self._contents[column.name, number])

    def _total(self, widths: Iterable[int]) -> int:
        widths = list(widths)
        return sum(widths) + self._gap * (len(widths) - 1)

    def _cut(self, shown: Sequence[tuple[Column, int]]) -> list[int]:
        """Return the width of each column, with the widest ones reduced until they fit."""
        widths = [self._width_of(one) for one in shown]
        for is_last in (False, True):
            places = [
                n
                for n, (column, _) in enumerate(shown)
                if column.justify == "left" and column.is_cut_last == is_last
            ]
            while self._total(widths) > self._width:
                widest = max(places, key=widths.__getitem__, default=None)
                if widest is None or widths[widest] <= _SHORTEST_CELL:
                    break
                widths[widest] -= 1
        return widths

    def _line(
        self,
        cells: Iterable[Cell],
        shown: Sequence[tuple[Column, int]],
        widths: Sequence[int],
    ) -> Text:
        line, spans, end = "", [], self._plain("…")
        for place, (cell, (column, _), width) in enumerate(zip(cells, shown, widths, strict=True)):
            text = shortened(cell.text, width, end)
            padding = " " * (width - cell_len(text))
            line += " " * self._gap if place else ""
            if column.justify == "right":
                line += padding
            if cell.style and text:
                spans.append(Span(len(line), len(line) + len(text), cell.style))
            line += text
            if column.justify == "left":
                line += padding
        return Text(line.rstrip(), no_wrap=True, spans=spans)


def shortened(text: str, width: int, end: str) -> str:
    """Return the beginning of a text that is longer than `width`, followed by `end`."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - cell_len(end), 0)).rstrip() + end
