"""Rows of NDJSON: by pyarrow, or by `json_rows` where data sets are objects."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.json

from .columns import DATA_SETS, PEER_COLUMN, known, relevant
from .json_rows import JsonRowReader
from .rows import ArrowRows, MappedRows
from .text_blocks import BlockReader, TextRow
from .text_columns import text_schema, text_types, time_columns
from .text_rows import RowError, TextRows

_BLOCK_BYTES = 8 << 20
# Maximum length of a line. A line must fit in memory several times while it is parsed.
_MAX_LINE_BYTES = 128 << 20
# Maximum number of brackets that a row may open if pyarrow reads it.
_MAX_BRACKETS = 64
_BLOCK_ROWS = 1024
# Columns that the encoder requires of requests. A row without one of them is a rejected row.
_REQUIRED = frozenset(("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID"))
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\r\n"
SIGNIFICANT_IF_ABSENT = frozenset((*_REQUIRED, "MessageID", "Latency", PEER_COLUMN))
"""Columns for which an absent column is not the same as a column of nulls."""


@dataclass
class NdjsonContent:
    """The parts of the content of a file that determine how it is read.

    Attributes
    ----------
    checked : frozenset of str
        The keys whose absence matters.
    keys : set of str
        Those of them that occur in any line.
    structured : set of str
        The columns of data sets with an object in any line.
    encoded : set of str
        The columns of data sets with a text in any line.
    is_empty : bool
        Whether the file has no rows.
    """

    checked: frozenset[str]
    keys: set[str] = field(default_factory=set)
    structured: set[str] = field(default_factory=set)
    encoded: set[str] = field(default_factory=set)
    is_empty: bool = True


def inspect_ndjson(source: Any, names: Iterable[str] = ()) -> NdjsonContent:
    """Read a file to determine its content. Lines that are not JSON are ignored.

    A JSON reader with a schema returns a key that occurs in no line as a column of nulls.

    Parameters
    ----------
    source : BinaryIO or pyarrow.NativeFile
        The file, at its beginning.
    names : Iterable[str], optional
        Further columns that must not be read as columns of nulls.
    """
    content = NdjsonContent(checked=SIGNIFICANT_IF_ABSENT.union(names))
    content.keys |= _REQUIRED.difference(names)
    for block in blocks_of_lines(source):
        content.is_empty = content.is_empty and not block.text.strip() and block.problem is None
        for name in content.checked - content.keys:
            if _has_key(block.text, name, b""):
                content.keys.add(name)
        for name in DATA_SETS:
            for found, value in ((content.structured, rb"\{"), (content.encoded, b'"')):
                if name not in found and _has_key(block.text, name, value):
                    found.add(name)
    return content


def _has_key(lines: bytes, name: str, value: bytes) -> bool:
    """Return whether any row has the key with a value that begins with the pattern `value`."""
    # Many keys are in no line: a regular expression would take longer.
    if lines.find(b'"%b"' % name.encode()) < 0:
        return False
    pattern, at = re.compile(rb'"%b"\s*:\s*%b' % (name.encode(), value)), 0
    while found := pattern.search(lines, at):
        begin = lines.rfind(b"\n", 0, found.start()) + 1
        at = lines.find(b"\n", found.end())
        at = len(lines) if at < 0 else at
        # The text can be in a string, or in a line that is not JSON.
        try:
            row = json.loads(lines[begin:at].decode())
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and name in row:
            kind = {b"": object, rb"\{": dict, b'"': str}[value]
            if isinstance(row[name], kind):
                return True
    return False


def open_ndjson(
    begin: Callable[[], Any],
    columns: Any,
    ignore_others: bool,
    content: NdjsonContent,
    *,
    as_mappings: bool = False,
    peers: Sequence[str] = (),
) -> ArrowRows | MappedRows:
    """Open rows of NDJSON.

    Parameters
    ----------
    begin : Callable[[], BinaryIO or pyarrow.NativeFile]
        Returns a file that is read from its beginning.
    columns : pyarrow.Schema
        The columns that are read.
    ignore_others : bool
        Whether rows may have columns that fastdimse does not know.
    content : NdjsonContent
        The content of the file.
    as_mappings : bool, optional
        Whether the rows are mappings, also where no data set is structured.
    peers : Sequence of str, optional
        The accepted values of a column of peers. Rows that cannot be read have the first one.
    """
    is_mapped = bool(content.structured) or as_mappings
    reader = JsonRowReader(
        columns,
        ignore_others,
        has_peers=PEER_COLUMN in columns.names and PEER_COLUMN in content.keys,
        structured=is_mapped,
        peers=peers,
    )
    text = TextRows()
    placeholder: dict[str, Any] = {PEER_COLUMN: peers[0]} if peers else {}
    rows: ArrowRows | MappedRows
    if is_mapped:
        absent = dict.fromkeys(sorted(content.keys & {*_REQUIRED, "MessageID"}))
        if PEER_COLUMN in content.keys:
            absent |= {PEER_COLUMN: None, **placeholder}
        rows = MappedRows(_mappings(begin(), reader, text, absent))
    elif content.is_empty:
        rows = ArrowRows(columns, ())
    else:
        added = set(known(columns).names).difference(relevant(columns).names)
        absent_names = (content.checked - content.keys) | added
        names = [name for name in known(columns).names if name not in absent_names]
        parse = _Parser(text_schema(known(columns)), "ignore" if ignore_others else "error")
        schema = text_types(known(columns), names)
        times = time_columns(known(columns), names)
        blocks = BlockReader(schema, times, parse, reader.read, text, placeholder, peers)
        rows = ArrowRows(schema, _batches(begin(), blocks, parse))
    rows.text = text
    return rows


class _Block:
    """Complete lines of a file.

    Attributes
    ----------
    text : bytes
        The lines, without the end of the last one.
    line : int
        The number of the first of them.
    problem : RowError or None
        The reason that the only line cannot be read. Its text is empty then.
    """

    def __init__(self, text: bytes, line: int, problem: RowError | None = None) -> None:
        self.text = text
        self.line = line
        self.problem = problem

    def rows(self) -> list[TextRow]:
        """Return the lines that are not empty."""
        if self.problem is not None:
            return [TextRow(self.line, b"", self.problem)]
        lines = enumerate(self.text.split(b"\n"), self.line)
        stripped = ((number, line.strip(_WHITESPACE)) for number, line in lines)
        return [TextRow(number, line) for number, line in stripped if line]


def blocks_of_lines(source: Any) -> Iterator[_Block]:
    """Read complete lines of about `_BLOCK_BYTES`.

    The bytes are read here: pyarrow reads a Python file in threads, which can still run when the
    interpreter exits, which aborts the process.
    """
    rest, line, is_first = b"", 1, True
    while block := source.read(_BLOCK_BYTES):
        text = rest + block
        if is_first and len(text) >= len(_BYTE_ORDER_MARK):
            text, is_first = text.removeprefix(_BYTE_ORDER_MARK), False
        lines, newline, rest = text.rpartition(b"\n")
        if newline:
            yield _Block(lines, line)
            line += lines.count(b"\n") + 1
        if len(rest) > _MAX_LINE_BYTES:
            limit = f"longer than {_MAX_LINE_BYTES >> 20} MiB"
            yield _Block(b"", line, RowError("too-long", f"the line is {limit}"))
            rest = _after_line(source)
            line += 1
    if rest.strip(_WHITESPACE):
        yield _Block(rest, line)


def _after_line(source: Any) -> bytes:
    """Skip the rest of a line, and return the text after it that was read with it."""
    while block := source.read(_BLOCK_BYTES):
        _, newline, rest = block.partition(b"\n")
        if newline:
            return bytes(rest)
    return b""


def _batches(source: Any, blocks: BlockReader, parse: "_Parser") -> Iterator[Any]:
    for block in blocks_of_lines(source):
        text = block.text.strip(b"\r")
        table = parse(text) if text else None
        if table is not None:
            yield from blocks.table(table, block.line)
        else:
            yield from blocks.rows(block.rows())


# A null between two rows. pyarrow's reader aborts the process for a row that is null.
_NULL_ROW = re.compile(rb"\}\s*null")


class _Parser:
    """Reads lines by pyarrow.

    Parameters
    ----------
    schema : pyarrow.Schema
        The columns.
    unexpected : str
        The behaviour for other keys: ``error`` or ``ignore``.
    """

    def __init__(self, schema: Any, unexpected: str) -> None:
        self._options = pa.json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior=unexpected
        )

    def __call__(self, lines: bytes) -> Any:
        """Return the rows, or None if not every line is one row that pyarrow reads."""
        ends = lines.count(b"\n")
        if not (lines.startswith(b"{") and lines.endswith(b"}")):
            return None
        # Each line is an object, or several of them.
        if lines.count(b"}\n{") != ends and lines.count(b"}\r\n{") != ends:
            return None
        # Thousands of nested brackets crash pyarrow.
        if lines.count(b"{") + lines.count(b"[") > ends + _MAX_BRACKETS:
            return None
        if _NULL_ROW.search(lines) is not None or not _is_utf8(lines):
            return None
        try:
            table = pa.json.read_json(
                pa.BufferReader(lines),
                read_options=pa.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                parse_options=self._options,
            )
        except pa.ArrowException:
            return None
        return table if table.num_rows == ends + 1 else None


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mappings(
    source: Any,
    reader: JsonRowReader,
    rows: TextRows,
    placeholder: dict[str, Any],
) -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    number, last_line = 0, -1
    for block in blocks_of_lines(source):
        for row in block.rows():
            if row.line != last_line + 1:
                rows.add_lines(number, row.line)
            last_line = row.line
            try:
                if row.problem is not None:
                    raise row.problem
                found.append({**placeholder, **reader.read(_decoded(row.text))})
            except RowError as problem:
                rows.reject(number, problem)
                found.append(placeholder)
            number += 1
            if len(found) == _BLOCK_ROWS:
                yield found
                found = []
    if found:
        yield found


def _decoded(line: bytes) -> str | bytes:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
