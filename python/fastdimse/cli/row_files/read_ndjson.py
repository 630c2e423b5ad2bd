"""Rows of NDJSON: by pyarrow, or by `json_objects` where data sets are objects."""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.json

from ..errors import InputError
from .columns import DATA_SETS, PEER_COLUMN, known, relevant
from .json_objects import read_objects
from .rows import ArrowRows, MappedRows
from .text_columns import rows_from_text, text_schema

_BLOCK_BYTES = 16 << 20
# Maximum length of a line. A line must fit in memory several times while it is parsed.
_MAX_LINE_BYTES = 128 << 20
# Maximum number of brackets that a row without structured data sets may open.
_MAX_BRACKETS = 64
# Columns that the encoder requires, or fills in if they are absent: an absent column is not
# the same as a column of nulls.
_NOT_NULLABLE = (
    "MessageID",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "EventTypeID",
)
SIGNIFICANT_IF_ABSENT = frozenset((*_NOT_NULLABLE, "Latency", PEER_COLUMN))
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
    """Read a file to determine its content.

    A JSON reader with a schema returns a key that occurs in no line as a column of nulls.

    Parameters
    ----------
    source : BinaryIO or pyarrow.NativeFile
        The file, at its beginning.
    names : Iterable[str], optional
        Further columns that must not be read as columns of nulls.
    """
    content = NdjsonContent(checked=SIGNIFICANT_IF_ABSENT.union(names))
    for lines, _ in _blocks_of_lines(source):
        content.is_empty = content.is_empty and not lines.strip()
        for name in content.checked - content.keys:
            if _has_key(lines, name, b""):
                content.keys.add(name)
        for name in DATA_SETS:
            for found, value in ((content.structured, rb"\{"), (content.encoded, b'"')):
                if name not in found and _has_key(lines, name, value):
                    found.add(name)
    return content


def _has_key(lines: bytes, name: str, value: bytes) -> bool:
    """Return whether any line has the key with a value that begins with the pattern `value`."""
    # Many keys are in no line: a regular expression would take longer.
    if lines.find(b'"%b"' % name.encode()) < 0:
        return False
    return re.search(rb'"%b"\s*:\s*%b' % (name.encode(), value), lines) is not None


def open_ndjson(
    begin: Callable[[], Any],
    columns: Any,
    ignore_others: bool,
    content: NdjsonContent,
    *,
    as_mappings: bool = False,
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
    """
    if content.structured or as_mappings:
        lines = (line for lines, _ in _blocks_of_lines(begin()) for line in lines.split(b"\n"))
        return MappedRows(read_objects(lines, content.keys.intersection(_NOT_NULLABLE)))
    if content.is_empty:
        return ArrowRows(columns, ())
    blocks = _tables(begin(), known(columns), "ignore" if ignore_others else "infer")
    first = next(blocks)
    added = set(known(columns).names).difference(relevant(columns).names)
    absent = (content.checked - content.keys) | added
    names = [name for name in first.column_names if name not in absent]
    batches = (batch for block in chain([first], blocks) for batch in block.to_batches())
    return rows_from_text(first.schema, batches, names, known(columns))


def _blocks_of_lines(source: Any) -> Iterator[tuple[bytes, int]]:
    """Read complete lines of about `_BLOCK_BYTES`, with the number of the first of them.

    pyarrow's streaming reader is not used: it reads ahead in a thread that can still run when the
    interpreter exits, which aborts the process.
    """
    rest, line = b"", 1
    while block := source.read(_BLOCK_BYTES):
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield lines, line
            line += lines.count(b"\n") + 1
        if len(rest) > _MAX_LINE_BYTES:
            raise InputError(f"line {line}: longer than {_MAX_LINE_BYTES >> 20} MiB")
    if rest.strip():
        yield rest, line


def _tables(source: Any, columns: Any, unexpected: str) -> Iterator[Any]:
    schema = text_schema(columns)
    for lines, line in _blocks_of_lines(source):
        if lines.strip():
            table = _table(lines, line, schema, unexpected)
            # Later blocks must not have columns that the first does not have.
            schema = table.schema
            unexpected = "ignore" if unexpected == "ignore" else "error"
            yield table


def _table(lines: bytes, first_line: int, schema: Any, unexpected: str) -> Any:
    _reject_null_rows(lines, first_line)
    _reject_deep_rows(lines, first_line)
    try:
        return pa.json.read_json(
            io.BytesIO(lines),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=pa.json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior=unexpected
            ),
        )
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(f"from line {first_line}: {error}") from error


# A null that is not a value in an object or array. It may still be part of a string.
_NULL = re.compile(rb"null(?<![:,\[]null)(?<![:,\[] null)")


def _reject_null_rows(lines: bytes, first_line: int) -> None:
    """Raise `InputError` for a row that is null: pyarrow's reader aborts the process there."""
    if not any(_may_be_row(lines, found.start()) for found in _NULL.finditer(lines)):
        return
    text, line = lines.decode("utf-8", "replace").lstrip("\ufeff"), first_line
    decoder, beginning = json.JSONDecoder(strict=False), re.compile(r"\S")
    counted = at = 0
    while found := beginning.search(text, at):
        at = found.start()
        line += text.count("\n", counted, at)
        counted = at
        try:
            row, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {line}: not JSON: {error}") from error
        if row is None:
            raise InputError(f"line {line}: a row must be an object, {{ … }}, not null")


def _may_be_row(lines: bytes, at: int) -> bool:
    """Return whether a row can begin at `at`, given the character before it.

    Most nulls are values, or in strings.
    """
    before = lines[max(at - 64, 0) : at].rstrip() or lines[:at].rstrip()
    last = before[-1:]
    return last not in (b":", b",", b"[") and (not last.isalpha() or last in b"le")


def _reject_deep_rows(lines: bytes, first_line: int) -> None:
    """Reject values nested thousands of levels deep, which crash pyarrow."""
    opened = lines.count(b"{") + lines.count(b"[")
    if opened <= lines.count(b"\n") + _MAX_BRACKETS:
        return
    for number, line in enumerate(lines.split(b"\n"), first_line):
        opened = line.count(b"{") + line.count(b"[")
        if opened > _MAX_BRACKETS:
            raise pa.ArrowInvalid(
                f"line {number}: {opened} opening brackets; a row without structured data sets "
                f"must have at most {_MAX_BRACKETS}"
            )
