"""Tables of one line per row that fit a width: some columns are shortened or dropped."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

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
    """

    name: str
    forms: Sequence[Form]
    justify: Literal["left", "right"] = "left"


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
        self._steps = steps
        self._width = width
        self._plain = plain
        self._contents = {(one.name, n): 0 for one in columns for n in range(len(one.forms))}
        self._shown: list[tuple[Column, int]] | None = None

    def lines(self, rows: Iterable[Row]) -> tuple[Text | None, list[Text]]:
        """Return the line of headings if the columns have changed, and the line of each row."""
        cells = [self._cells(row) for row in rows]
        for row in cells:
            for key, cell in row.items():
                self._contents[key] = max(self._contents[key], cell_len(cell.text))
        chosen, gap = self._choose()
        widths = self._cut(chosen, gap)
        headings = None
        if chosen != self._shown:
            self._shown = chosen
            names = [Cell(self._plain(column.forms[n].heading), "bold") for column, n in chosen]
            headings = self._line(names, chosen, widths, gap)
        texts = [[row[column.name, n] for column, n in chosen] for row in cells]
        return headings, [self._line(one, chosen, widths, gap) for one in texts]

    def _cells(self, row: Row) -> dict[tuple[str, int], Cell]:
        found = {}
        for column in self._columns:
            for number, form in enumerate(column.forms):
                text, style = form.cell(row)
                found[column.name, number] = Cell(self._plain(text), style)
        return found

    def _width_of(self, column: Column, number: int) -> int:
        heading = self._plain(column.forms[number].heading)
        return max(cell_len(heading), self._contents[column.name, number])

    def _choose(self) -> tuple[list[tuple[Column, int]], int]:
        """Return the columns with their forms, and the space between them."""
        forms = {one.name: 0 for one in self._columns}
        gap = 2
        for step in [(), *self._steps]:
            for name in step:
                if name == GAP:
                    gap = 1
                else:
                    forms[name] += 1
            chosen = [
                (column, forms[column.name])
                for column in self._columns
                if forms[column.name] < len(column.forms)
                and self._contents[column.name, forms[column.name]]
            ]
            if self._total([self._width_of(*one) for one in chosen], gap) <= self._width:
                break
        return chosen, gap

    @staticmethod
    def _total(widths: Sequence[int], gap: int) -> int:
        return sum(widths) + gap * (len(widths) - 1)

    def _cut(self, chosen: Sequence[tuple[Column, int]], gap: int) -> list[int]:
        widths = [self._width_of(*one) for one in chosen]
        while self._total(widths, gap) > self._width:
            places = [n for n, (column, _) in enumerate(chosen) if column.justify == "left"]
            widest = max(places, key=widths.__getitem__, default=None)
            if widest is None or widths[widest] <= _SHORTEST_CELL:
                break
            widths[widest] -= 1
        return widths

    def _line(
        self,
        cells: Sequence[Cell],
        chosen: Sequence[tuple[Column, int]],
        widths: Sequence[int],
        gap: int,
    ) -> Text:
        line = Text(no_wrap=True)
        for place, (cell, (column, _), width) in enumerate(zip(cells, chosen, widths, strict=True)):
            text = self._fit(cell.text, width)
            padding = " " * (width - cell_len(text))
            if place:
                line.append(" " * gap)
            if column.justify == "right":
                line.append(padding)
            line.append(text, cell.style or None)
            if column.justify == "left":
                line.append(padding)
        line.rstrip()
        return line

    def _fit(self, text: str, width: int) -> str:
        if cell_len(text) <= width:
            return text
        end = self._plain("…")
        return set_cell_size(text, max(width - cell_len(end), 0)).rstrip() + end
