"""Blocks of text rows: by pyarrow where it can read them, else row by row.

A block that pyarrow cannot read is divided until the few rows are found that it cannot read. Only
these are read in Python, so that one of them does not cost the speed of the others.
"""

import binascii
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from .columns import PEER_COLUMN
from .text_rows import RowError, TextRows, peer_problem
from .text_values import bytes_of_base64, is_time, time_problem

# A failing block is divided into this many parts.
_PARTS = 8
# As few rows are read in Python.
_FEW_ROWS = 24


class TextRow(NamedTuple):
    """A row of a text file that has not been read.

    Attributes
    ----------
    line : int
        The number of its first line.
    text : bytes
        Its text, without the end of the line.
    problem : RowError or None
        The reason that it cannot be read, if that is known.
    """

    line: int
    text: bytes
    problem: RowError | None = None


class BlockReader:
    """Reads blocks of rows as record batches. Rows that cannot be read are null in each column.

    Parameters
    ----------
    schema : pyarrow.Schema
        The columns to return: base64 is decoded to bytes, and times stay text.
    times : Collection of str
        The columns with times.
    parse : Callable[[bytes], pyarrow.Table or None]
        Reads the rows of a text with the columns of `schema`, all of them text or integers;
        None if that is not possible.
    read_row : Callable[[bytes], dict]
        Returns the values of one row, with bytes for base64, or raises `RowError`.
    rows : TextRows
        The lines of the rows, and the rows that cannot be read.
    placeholder : dict
        The values of a row that cannot be read, where they are not null.
    peers : Collection of str
        The accepted values of a column of peers; all values if it is empty.
    """

    def __init__(
        self,
        schema: Any,
        times: Sequence[str],
        parse: Callable[[bytes], Any],
        read_row: Callable[[bytes], dict[str, Any]],
        rows: TextRows,
        placeholder: dict[str, Any],
        peers: Collection[str] = (),
    ) -> None:
        self._schema = schema
        self._times = times
        self._parse = parse
        self._read_row = read_row
        self._rows = rows
        self._placeholder = {
            name: value for name, value in placeholder.items() if name in schema.names
        }
        self._peers = peers
        self._read = 0

    def table(self, table: Any, line: int) -> Iterator[Any]:
        """Yield the batches of a table whose rows are in consecutive lines from `line` on."""
        if table.num_rows:
            self._rows.add_lines(self._read, line)
            yield from self._batches(table)

    def rows(self, rows: Sequence[TextRow]) -> Iterator[Any]:
        """Yield the batches of rows."""
        for number, row in enumerate(rows, self._read):
            self._rows.add_lines(number, row.line)
        yield from self._divide(rows)

    def _divide(self, rows: Sequence[TextRow]) -> Iterator[Any]:
        if len(rows) > _FEW_ROWS:
            if not any(row.problem for row in rows):
                table = self._parse(b"\n".join(row.text for row in rows))
                if table is not None and table.num_rows == len(rows):
                    yield from self._batches(table)
                    return
            size = -(-len(rows) // _PARTS)
            for begin in range(0, len(rows), size):
                yield from self._divide(rows[begin : begin + size])
        elif rows:
            values = [self._values(number, row) for number, row in enumerate(rows, self._read)]
            self._read += len(values)
            yield pa.RecordBatch.from_pylist(values, schema=self._schema)

    def _values(self, number: int, row: TextRow) -> dict[str, Any]:
        try:
            if row.problem is not None:
                raise row.problem
            return self._read_row(row.text)
        except RowError as problem:
            self._rows.reject(number, problem)
            return self._placeholder

    def _batches(self, table: Any) -> Iterator[Any]:
        """Yield the batches of a table with base64 decoded, and with placeholders."""
        for batch in table.to_batches():
            problems: dict[int, RowError] = {}
            columns = [
                _from_base64(batch.column(field.name), field.name, problems)
                if pa.types.is_binary(field.type)
                else batch.column(field.name)
                for field in self._schema
            ]
            for name in self._times:
                _check_times(batch.column(name), name, problems)
            if PEER_COLUMN in self._schema.names:
                self._check_peers(batch.column(PEER_COLUMN), problems)
            if problems:
                for row, problem in problems.items():
                    self._rows.reject(self._read + row, problem)
                columns = self._with_placeholders(columns, problems)
            self._read += batch.num_rows
            yield pa.record_batch(columns, schema=self._schema)

    def _check_peers(self, column: Any, problems: dict[int, RowError]) -> None:
        for row, name in enumerate(column.to_pylist()):
            if (problem := peer_problem(name, self._peers)) is not None:
                problems.setdefault(row, problem)

    def _with_placeholders(self, columns: list[Any], problems: dict[int, RowError]) -> list[Any]:
        count = len(columns[0])
        is_valid = [row not in problems for row in range(count)]
        return [
            pa.compute.if_else(
                pa.array(is_valid),
                column,
                pa.scalar(self._placeholder.get(field.name), field.type),
            )
            for field, column in zip(self._schema, columns, strict=True)
        ]


def _from_base64(column: Any, name: str, problems: dict[int, RowError]) -> Any:
    texts = column.to_pylist()
    try:
        decode = partial(binascii.a2b_base64, strict_mode=True)
        return pa.array([None if text is None else decode(text) for text in texts], pa.binary())
    except ValueError:
        pass
    values: list[bytes | None] = []
    for row, text in enumerate(texts):
        try:
            values.append(None if text is None else bytes_of_base64(text, name))
        except RowError as problem:
            problems.setdefault(row, problem)
            values.append(None)
    return pa.array(values, pa.binary())


def _check_times(column: Any, name: str, problems: dict[int, RowError]) -> None:
    for row, text in enumerate(column.to_pylist()):
        if text is not None and not is_time(text):
            problems.setdefault(row, time_problem(text, name))
