"""Rows of CSV: by pyarrow, and in Python the rows that it does not read."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv

from ..errors import InputError
from .columns import PEER_COLUMN, accepted, check_columns, known
from .csv_lines import cells_of, count_lines, rows_of_csv
from .json_rows import decode_utf8
from .rows import ArrowRows
from .text_blocks import BlockReader, TextRow
from .text_columns import text_schema, text_types, time_columns
from .text_rows import RowError, TextRows, peer_problem
from .text_values import bytes_of_base64, integer_of_text, is_number, is_time, time_problem

_BLOCK_BYTES = 8 << 20
# Maximum length of a row.
_MAX_ROW_BYTES = 16 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Rows with quotes at the end of a block that are looked at for the end of a row.
_MAX_BACK = 64
# Columns that requests have.
_OF_REQUESTS = ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID")


class _Block(NamedTuple):
    """Lines of a file that end where a row seems to end.

    Attributes
    ----------
    text : bytes
        The lines, with the end of the last one.
    line : int
        The number of the first of them.
    is_end : bool
        Whether the file ends after them.
    problem : RowError or None
        The reason that the only row cannot be read. Its text is empty then.
    """

    text: bytes
    line: int
    is_end: bool
    problem: RowError | None = None


def open_csv(
    source: Any,
    columns: Any,
    ignore_others: bool,
    peers: Sequence[str] = (),
) -> ArrowRows:
    """Open rows of CSV.

    Parameters
    ----------
    source : BinaryIO or pyarrow.NativeFile
        The file, at its beginning. The bytes are read here: pyarrow reads a Python file in threads,
        which abort the process if a signal ends it.
    columns : pyarrow.Schema
        The columns that are read.
    ignore_others : bool
        Whether the file may have columns that fastdimse does not know.
    peers : Sequence of str, optional
        The accepted values of a column of peers. Rows that cannot be read have the first one.
    """
    blocks = _Blocks(source)
    header = blocks.header()
    check_columns(header, columns, ignore_others=ignore_others)
    types = known(columns)
    names = [name for name in header if name in types.names]
    # Names that are not read can occur more than once.
    names = list(dict.fromkeys(names))
    if not names:
        raise InputError(f"no column of the header is read ({accepted(columns)})")
    text = TextRows()
    bad: dict[str, Any] = {PEER_COLUMN: peers[0]} if peers else {}
    if any(name not in header for name in _OF_REQUESTS):
        # A file of responses: a null row would be a request without these columns.
        bad["MessageIDBeingRespondedTo"] = 0
    has_peers = PEER_COLUMN in header and PEER_COLUMN in columns.names
    row_reader = _RowReader(header, types, has_peers=has_peers, peers=peers)
    parse = _Parser(header, text_schema(types), names)
    schema, times = text_types(types, names), time_columns(types, names)
    reader = BlockReader(schema, times, parse, row_reader.read, text, bad, peers)
    rows = ArrowRows(schema, _batches(blocks, reader, parse))
    rows.text = text
    return rows


class _Blocks:
    """The blocks of a file after its header."""

    def __init__(self, source: Any) -> None:
        # A pipe returns what it has.
        self._source = source
        is_python = not isinstance(source, pa.NativeFile)
        self._chunk: Callable[[int], bytes] = (
            getattr(source, "read1", source.read) if is_python else source.read
        )
        self._rest = b""
        self._line = 1
        self._is_end = False

    def header(self) -> list[str]:
        """Return the names of the columns."""
        while True:
            self._read()
            self._rest = self._rest.removeprefix(_BYTE_ORDER_MARK)
            begin = len(self._rest) - len(self._rest.lstrip(b"\r\n"))
            self._line += count_lines(self._rest[:begin])
            self._rest = self._rest[begin:]
            end = _cut(self._rest, first=True)
            if end or self._is_end:
                break
            if len(self._rest) > _MAX_ROW_BYTES:
                raise InputError(
                    f"the file is empty, or its first row is longer than {_MAX_ROW_BYTES >> 20} MiB"
                )
        if not self._rest:
            raise InputError("the file is empty: Empty CSV")
        found = rows_of_csv(self._rest[: end or len(self._rest)], self._line, is_end=True).rows
        if not found or found[0].problem is not None:
            reason = "" if not found else f": {found[0].problem}"
            raise InputError(f"line {self._line}: the first row has no names of columns{reason}")
        try:
            names = [cell.text.decode() for cell in cells_of(found[0].text)]
        except UnicodeDecodeError as error:
            raise InputError(f"line {self._line}: the names of columns are not UTF-8") from error
        self._rest = self._rest[end or len(self._rest) :]
        self._line += count_lines(found[0].text) + 1
        return names

    def __iter__(self) -> Iterator[_Block]:
        while self._rest or not self._is_end:
            end = len(self._rest) if self._is_end else _cut(self._rest)
            if end:
                block = _Block(self._rest[:end], self._line, self._is_end)
                self._rest = self._rest[end:]
                self._line += count_lines(block.text)
                yield block
            elif len(self._rest) > _MAX_ROW_BYTES:
                yield self._first_line()
            if not self._is_end:
                self._read()

    def give_back(self, text: bytes, line: int) -> None:
        """Put back the text of a block, from `line` on, that ends within a row."""
        self._rest = text + self._rest
        self._line = line

    def _read(self) -> None:
        if self._is_end:
            return
        chunk = self._chunk(_BLOCK_BYTES)
        self._is_end = not chunk
        self._rest += chunk

    def _first_line(self) -> _Block:
        """Take a line of a text in which no row ends, or skip it if it is too long."""
        line = self._line
        self._line += 1
        end = _end_of_line(self._rest)
        text = self._rest[:end]
        if end and len(text.rstrip(b"\r\n")) <= _MAX_ROW_BYTES:
            self._rest = self._rest[end:]
            return _Block(text, line, True)
        while not end and not self._is_end:
            # The line break can continue after a carriage return.
            self._rest = b"\r" if self._rest.endswith(b"\r") else b""
            self._read()
            end = _end_of_line(self._rest)
        self._rest = self._rest[end:] if end else b""
        problem = RowError("too-long", f"the row is longer than {_MAX_ROW_BYTES >> 20} MiB")
        return _Block(b"", line, False, problem)


def _end_of_line(text: bytes) -> int:
    """Return the position after the first line break, or 0 if the text has no complete one."""
    # In a long line, `find` is many times faster than a regular expression.
    newline = text.find(b"\n")
    carriage_return = text.find(b"\r", 0, newline if newline >= 0 else max(len(text) - 1, 0))
    if carriage_return < 0 or carriage_return + 1 == newline:
        return newline + 1
    return carriage_return + 1


def _cut(text: bytes, *, first: bool = False) -> int:
    """Return the position after a line break that is not in quotes, or 0.

    It is the last one of the text, or the first one. Quotes that are not closed can make it another
    position.
    """
    if first:
        found = re.compile(rb'(?>[^"\r\n]++|"[^"]*+")*+(?:\r\n|\n|\r(?=.))', re.S).match(text)
        return 0 if found is None else found.end()
    # The line break can continue after a carriage return.
    end = text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
    quotes = text.count(b'"', 0, end)
    for _ in range(_MAX_BACK):
        if quotes % 2 == 0 or not end:
            return end
        last = text.rfind(b'"', 0, end)
        before = text.rfind(b"\n", 0, last) + 1 or text.rfind(b"\r", 0, last) + 1
        quotes -= text.count(b'"', before, end)
        end = before
    return end


# A quote that neither begins nor ends a cell.
_STRAY_QUOTE = re.compile(rb'"(?![,\r\n"])(?<![,\r\n"]")')


def _batches(blocks: _Blocks, reader: BlockReader, parse: "_Parser") -> Iterator[Any]:
    for block in blocks:
        if block.problem is not None:
            yield from reader.rows([TextRow(block.line, b"", block.problem)])
            continue
        # pyarrow accepts text after a closing quote, and a quote that is not closed.
        quotes = block.text.count(b'"')
        is_stray = quotes and _STRAY_QUOTE.search(b"\n" + block.text) is not None
        table = None if quotes % 2 or is_stray else parse(block.text)
        # Else a row has several lines, or a line is empty.
        if table is not None and table.num_rows == _lines(block.text):
            yield from reader.table(table, block.line)
            continue
        found = rows_of_csv(block.text, block.line, is_end=block.is_end)
        if found.rest:
            blocks.give_back(found.rest, found.line)
        yield from reader.rows(found.rows)


def _lines(text: bytes) -> int:
    return count_lines(text) + (not text.endswith((b"\n", b"\r")))


class _Parser:
    """Reads rows by pyarrow."""

    def __init__(self, header: list[str], schema: Any, names: list[str]) -> None:
        # A name can occur more than once if it is not read.
        columns = [name if name in names else str(number) for number, name in enumerate(header)]
        columns = [
            name if name not in columns[:number] else str(number)
            for number, name in enumerate(columns)
        ]
        self._columns = columns
        self._convert = pa.csv.ConvertOptions(
            column_types=schema,
            include_columns=names,
            # Only an empty cell: pyarrow's default list contains words such as NA and null.
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )

    def __call__(self, text: bytes) -> Any:
        """Return the rows, or None if pyarrow does not read them."""
        try:
            return pa.csv.read_csv(
                pa.BufferReader(text),
                read_options=pa.csv.ReadOptions(
                    column_names=self._columns, use_threads=False, block_size=len(text) + 1
                ),
                parse_options=pa.csv.ParseOptions(newlines_in_values=True),
                convert_options=self._convert,
            )
        except pa.ArrowException:
            return None


class _RowReader:
    """Reads rows of CSV in Python.

    Parameters
    ----------
    header : list of str
        The names of the columns.
    types : pyarrow.Schema
        The columns that are read.
    has_peers : bool
        Whether each row must have a peer.
    peers : Collection of str
        The accepted peers; all if it is empty.
    """

    def __init__(
        self, header: list[str], types: Any, *, has_peers: bool, peers: Collection[str]
    ) -> None:
        self._header = header
        self._types = {
            name: types.field(name).type if name in types.names else None for name in header
        }
        self._has_peers = has_peers
        self._peers = peers

    def read(self, row: bytes) -> dict[str, Any]:
        """Return the values of a row, or raise `RowError`."""
        cells = list(cells_of(row))
        if len(cells) != len(self._header):
            reason = f"{len(cells)} cells, but the header has {len(self._header)}"
            if len(cells) > len(self._header):
                reason += ": a cell that contains a comma is written in quotes"
            raise RowError("cells", reason)
        found: dict[str, Any] = {}
        for name, cell in zip(self._header, cells, strict=True):
            data_type = self._types[name]
            if data_type is not None and name not in found:
                found[name] = _value(cell.text, cell.is_quoted, name, data_type)
        if self._has_peers:
            problem = peer_problem(found.get(PEER_COLUMN), self._peers)
            if problem is not None:
                raise problem
        return found


def _value(cell: bytes, is_quoted: bool, name: str, data_type: Any) -> Any:
    try:
        text = decode_utf8(cell)
    except RowError as problem:
        reason = problem.reason.replace("of the line", "of the cell")
        raise RowError(problem.code, reason, name) from None
    if is_number(data_type):
        return integer_of_text(text, name, leading_zeros=True) if text.strip() else None
    if not text and not is_quoted:
        return None
    if pa.types.is_binary(data_type):
        return bytes_of_base64(text, name)
    if pa.types.is_timestamp(data_type) and not is_time(text):
        raise time_problem(text, name)
    return text
