"""Rows of NDJSON: by pyarrow, or by `json_objects` where data sets are objects."""

import io
import json
import mmap
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.json

from ..errors import InputError
from .columns import DATA_SETS, KNOWN_COLUMNS
from .json_objects import read_objects
from .rows import ArrowRows, MappedRows
from .text_columns import rows_from_text, text_schema

# A row must not be longer than a block.
_BLOCK_BYTES = 16 << 20
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
# Columns beside those of events that change what is encoded or sent.
_MEANINGFUL = ("TransferSyntaxUID", "Latency")


def open_ndjson(source: BinaryIO, columns: Any, ignore_others: bool) -> ArrowRows | MappedRows:
    """Open rows of NDJSON. `source` must be a file: it is mapped."""
    found = _keys_in(source)
    if found is None:
        return ArrowRows(columns, ())
    if _has_objects(source):
        source.seek(0)
        return MappedRows(read_objects(source, found))
    blocks = _blocks(source, KNOWN_COLUMNS, "ignore" if ignore_others else "infer")
    first = next(blocks)
    added = set(KNOWN_COLUMNS.names).difference(columns.names, _MEANINGFUL)
    absent = {name for name in (*_NOT_NULLABLE, "Latency") if name not in found} | added
    names = [name for name in first.column_names if name not in absent]
    batches = (batch for block in chain([first], blocks) for batch in block.to_batches())
    return rows_from_text(first.schema, batches, names, KNOWN_COLUMNS)


def _keys_in(source: BinaryIO) -> set[str] | None:
    """Return which of the keys whose absence matters occur in any line; None for an empty file.

    A JSON reader with a schema returns a key that occurs in no line as a column of nulls.
    """
    if source.seek(0, io.SEEK_END) == 0:
        return None
    source.seek(0)
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if re.search(rb"\S", text) is None:
            return None
        candidates = list(_NOT_NULLABLE)
        # Most files do not have it: a regular expression would take longer.
        if text.find(b'"Latency"') >= 0:
            candidates.append("Latency")
        return {
            name for name in candidates if re.search(rb'"%b"\s*:' % name.encode(), text) is not None
        }


def _has_objects(source: BinaryIO) -> bool:
    """Return whether any line has a structured data set."""
    names = "|".join(DATA_SETS).encode()
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return re.search(rb'"(%b)"\s*:\s*\{' % names, text) is not None


def _blocks(source: BinaryIO, columns: Any, unexpected: str) -> Iterator[Any]:
    """Read complete lines of about `_BLOCK_BYTES` as tables.

    pyarrow's streaming reader is not used: it reads ahead in a thread that can still run when the
    interpreter exits, which aborts the process.
    """
    rest, line, schema = b"", 1, text_schema(columns)
    while block := source.read(_BLOCK_BYTES):
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if lines.strip():
            table = _table(lines, line, schema, unexpected)
            # Later blocks must not have columns that the first does not have.
            schema = table.schema
            unexpected = "ignore" if unexpected == "ignore" else "error"
            yield table
        line += lines.count(b"\n") + len(newline)
    if rest.strip():
        yield _table(rest, line, schema, unexpected)


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
