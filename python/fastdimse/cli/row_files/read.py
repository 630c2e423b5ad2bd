"""Rows of events in files: Parquet, Arrow IPC, NDJSON and CSV.

The columns are those of `fastdimse.encode_events` and `fastdimse.encode_capture`. NDJSON and
CSV have no bytes: there EventInformation and EventReply are base64, as InlineBinary is in
DICOM JSON (PS3.18 F.2.7). Nor have they times: there Time is ISO 8601, Latency a number of
nanoseconds. An empty CSV cell is null; NDJSON leaves nulls out. Data sets by their attributes are
structs, and objects in NDJSON; CSV has no place for them.
"""

import base64
import binascii
import io
import json
import mmap
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from itertools import chain, product
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet

from . import json_objects
from .rows import ArrowRows, InputError, MappedRows

# The path that stands for standard input or output.
PIPE = "-"

_BATCH_ROWS = 65536
# A row of a text format may not be longer than a block.
_BLOCK_BYTES = 16 << 20
# So many brackets may be opened in a row that has no data sets by their attributes.
_DEEPEST = 64

# Integers are read wider than their VR US: the encoder then rejects the row, not the file.
EVENT_COLUMNS = pa.schema(
    [
        ("PresentationContextID", pa.int64()),
        ("MessageID", pa.int64()),
        ("MessageIDBeingRespondedTo", pa.int64()),
        ("AffectedSOPClassUID", pa.string()),
        ("AffectedSOPInstanceUID", pa.string()),
        ("EventTypeID", pa.int64()),
        ("EventInformation", pa.binary()),
        ("EventReply", pa.binary()),
        ("Status", pa.int64()),
        ("ErrorComment", pa.string()),
        ("ErrorID", pa.int64()),
    ]
)
CAPTURE_COLUMNS = pa.schema(
    [
        *EVENT_COLUMNS,
        ("Time", pa.timestamp("ns", "UTC")),
        ("SourceAddress", pa.string()),
        ("SourcePort", pa.int64()),
        ("DestinationAddress", pa.string()),
        ("DestinationPort", pa.int64()),
        ("CallingAETitle", pa.string()),
        ("CalledAETitle", pa.string()),
        ("Association", pa.int64()),
        ("Frame", pa.int64()),
        ("TransferSyntaxUID", pa.string()),
        ("Latency", pa.duration("ns")),
    ]
)
# The encoder tells a column that is not there from one that is all null.
_NOT_NULLABLE = (
    "MessageID",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "EventTypeID",
)


class RowFormat(StrEnum):
    """A file format for rows."""

    PARQUET = "parquet"
    ARROW = "arrow"
    NDJSON = "ndjson"
    CSV = "csv"


_SUFFIXES = {
    ".parquet": RowFormat.PARQUET,
    ".arrow": RowFormat.ARROW,
    ".arrows": RowFormat.ARROW,
    ".feather": RowFormat.ARROW,
    ".ipc": RowFormat.ARROW,
    ".ndjson": RowFormat.NDJSON,
    ".jsonl": RowFormat.NDJSON,
    ".csv": RowFormat.CSV,
}
P_DATA_SUFFIXES = (".bin", ".pdata", ".dimse")
_CAPTURE_SUFFIXES = {".pcap": "pcap", ".pcapng": "pcapng"}


def row_format(path: str, given: RowFormat | None = None) -> RowFormat:
    """Return the format of the rows in `path`: the `given` one, or by its suffix."""
    if given is not None:
        return given
    suffix = Path(path).suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if path == PIPE:
        raise InputError(f"a pipe needs --format: {', '.join(RowFormat)}")
    if suffix in P_DATA_SUFFIXES or suffix in _CAPTURE_SUFFIXES:
        kind = "capture" if suffix in _CAPTURE_SUFFIXES else "P-DATA stream"
        raise InputError(
            f"{path}: a {kind} by its suffix, but rows are needed here; "
            "'fastdimse decode' turns one into the other"
        )
    raise InputError(
        f"{path}: no format is known by the suffix '{suffix}' "
        f"({' '.join(_SUFFIXES)}); --format names one"
    )


def refuse_row_suffix(path: str) -> None:
    """Raise an `InputError` where a stream or a capture is meant, but `path` names rows."""
    if Path(path).suffix.lower() in _SUFFIXES:
        raise InputError(
            f"{path}: a file of rows by its suffix, but a P-DATA stream or a capture is needed "
            f"here ({' '.join((*P_DATA_SUFFIXES, *_CAPTURE_SUFFIXES))})"
        )


def capture_format(path: str) -> str | None:
    """Return the format of a capture by the suffix of `path`, or None for anything else."""
    return _CAPTURE_SUFFIXES.get(Path(path).suffix.lower())


def shorten(error: BaseException) -> str:
    """Return the first line of what pyarrow says: details of its own code follow it."""
    return str(error).strip().partition("\n")[0]


# ------------------------------------------------------------------- reading


@contextmanager
def open_rows(
    path: str, given: RowFormat | None = None, columns: Any = EVENT_COLUMNS
) -> Iterator[ArrowRows | MappedRows]:
    """Open the rows of a file, or of standard input.

    Parameters
    ----------
    path : str
        The file, or `PIPE`.
    given : RowFormat, optional
        Its format; by its suffix if not given.
    columns : pyarrow.Schema, optional
        The columns that there may be.

    Yields
    ------
    ArrowRows or MappedRows
        The rows. What goes wrong while they are read leaves the block as `InputError`.
    """
    openers: dict[RowFormat, Callable[[BinaryIO, Any], ArrowRows | MappedRows]] = {
        RowFormat.PARQUET: _open_parquet,
        RowFormat.ARROW: _open_arrow,
        RowFormat.NDJSON: _open_ndjson,
        RowFormat.CSV: _open_csv,
    }
    chosen = row_format(path, given)
    with _open_input(path, seekable=chosen is not RowFormat.CSV) as source:
        try:
            rows = openers[chosen](source, columns)
            if isinstance(rows, ArrowRows):
                _check_columns(rows.schema.names, columns)
        # Names of columns that are not UTF-8 are a UnicodeDecodeError.
        except (pa.ArrowException, InputError, OSError, UnicodeDecodeError) as error:
            raise _unreadable(path, chosen, error, columns) from error
        try:
            yield rows
        except Exception as error:
            if rows.failure is None:
                raise
            if isinstance(rows.failure, Exception):
                raise _unreadable(path, chosen, rows.failure, columns) from error
            raise rows.failure from None


def _unreadable(path: str, chosen: RowFormat, error: Exception, columns: Any) -> InputError:
    name = "standard input" if path == PIPE else path
    text = shorten(error)
    if text.endswith("unexpected field"):
        text += f" ({_accepted(columns)})"
    return InputError(f"{name}: can't be read as {chosen}: {text}")


def _accepted(columns: Any) -> str:
    return f"accepted columns: {', '.join(columns.names)}"


def _check_columns(names: list[str], columns: Any) -> None:
    for name in names:
        if name not in columns.names:
            raise InputError(f"unknown column '{name}' ({_accepted(columns)})")
        if names.count(name) > 1:
            raise InputError(f"column '{name}' is there more than once")


@contextmanager
def _open_input(path: str, *, seekable: bool) -> Iterator[BinaryIO]:
    with nullcontext(sys.stdin.buffer) if path == PIPE else open(path, "rb") as source:
        if not seekable or (path != PIPE and source.seekable()):
            yield source
            return
        # A pipe is kept in a file, not in memory: it may be larger.
        with tempfile.TemporaryFile() as file:
            shutil.copyfileobj(source, file)
            file.seek(0)
            yield file


def _open_parquet(source: BinaryIO, columns: Any) -> ArrowRows:
    file = pyarrow.parquet.ParquetFile(source)
    batches = file.iter_batches(batch_size=_BATCH_ROWS)
    return ArrowRows(file.schema_arrow, batches, file.metadata.num_rows)


def _open_arrow(source: BinaryIO, columns: Any) -> ArrowRows:
    magic = source.read(6)
    source.seek(0)
    if magic == b"ARROW1":
        file = pa.ipc.open_file(source)
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
        return ArrowRows(file.schema, batches)
    stream = pa.ipc.open_stream(source)
    return ArrowRows(stream.schema, stream)


def _text_type(data_type: Any) -> Any:
    """Return the type of a column of `data_type` in a text format."""
    if pa.types.is_binary(data_type) or pa.types.is_timestamp(data_type):
        return pa.string()
    return pa.int64() if pa.types.is_duration(data_type) else data_type


def _text_schema(schema: Any) -> Any:
    return pa.schema(field.with_type(_text_type(field.type)) for field in schema)


def _open_csv(source: BinaryIO, columns: Any) -> ArrowRows:
    reader = pa.csv.open_csv(
        source,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=_text_schema(columns),
            # Only an empty cell: pyarrow's own list has words such as NA and null.
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    # pyarrow finds no column by a name that two have.
    _check_columns(reader.schema.names, columns)
    return _from_text(reader.schema, reader, reader.schema.names, columns)


def _open_ndjson(source: BinaryIO, columns: Any) -> ArrowRows | MappedRows:
    found = _keys_in(source)
    if found is None:
        return ArrowRows(columns, ())
    if _has_objects(source):
        source.seek(0)
        return MappedRows(json_objects.read_objects(source, found))
    blocks = _json_blocks(source, columns)
    first = next(blocks)
    names = [n for n in first.column_names if n not in _NOT_NULLABLE or n in found]
    batches = (batch for block in chain([first], blocks) for batch in block.to_batches())
    return _from_text(first.schema, batches, names, columns)


def _json_blocks(source: BinaryIO, columns: Any) -> Iterator[Any]:
    """Read whole lines of about `_BLOCK_BYTES` as tables.

    pyarrow's own streaming reader reads ahead in a thread that can be there still when the
    interpreter ends, which aborts the process.
    """
    rest, line, schema, unexpected = b"", 1, _text_schema(columns), "infer"
    while block := source.read(_BLOCK_BYTES):
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if lines.strip():
            table = _json_table(lines, line, schema, unexpected)
            # What the first block doesn't have must not come later.
            schema, unexpected = table.schema, "error"
            yield table
        line += lines.count(b"\n") + len(newline)
    if rest.strip():
        yield _json_table(rest, line, schema, unexpected)


# A null that is no value of an object or array, if it is none inside a text.
_NULL = re.compile(rb"null(?<![:,\[]null)(?<![:,\[] null)")


def _refuse_null_rows(lines: bytes, first_line: int) -> None:
    """Raise an `InputError` for a row that is null: pyarrow's reader ends the process at one."""
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
            raise InputError(f"line {line}: a row is an object, {{ … }}, not null")


def _may_be_row(lines: bytes, at: int) -> bool:
    """Return whether what begins there may stand behind a row: most are values, or inside texts."""
    before = lines[max(at - 64, 0) : at].rstrip() or lines[:at].rstrip()
    last = before[-1:]
    return last not in (b":", b",", b"[") and (not last.isalpha() or last in b"le")


def _json_table(lines: bytes, first_line: int, schema: Any, unexpected: str) -> Any:
    _refuse_null_rows(lines, first_line)
    _refuse_deep_rows(lines, first_line)
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


def _refuse_deep_rows(lines: bytes, first_line: int) -> None:
    """Refuse values nested thousands deep, which crash pyarrow."""
    opened = lines.count(b"{") + lines.count(b"[")
    if opened <= lines.count(b"\n") + _DEEPEST:
        return
    for number, line in enumerate(lines.split(b"\n"), first_line):
        opened = line.count(b"{") + line.count(b"[")
        if opened > _DEEPEST:
            raise pa.ArrowInvalid(
                f"line {number}: it opens {opened} brackets: a row without the attributes of data "
                f"sets may open {_DEEPEST}"
            )


def _keys_in(source: BinaryIO) -> set[str] | None:
    """Return which of the `_NOT_NULLABLE` keys stand in any line; None for no line.

    A JSON reader with a schema shows a key that no line has as a column of nulls.
    """
    if source.seek(0, io.SEEK_END) == 0:
        return None
    source.seek(0)
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if re.search(rb"\S", text) is None:
            return None
        return {
            name
            for name in _NOT_NULLABLE
            if re.search(rb'"%b"\s*:' % name.encode(), text) is not None
        }


def _has_objects(source: BinaryIO) -> bool:
    """Return whether any line has a data set by its attributes."""
    names = "|".join(json_objects.DATA_SETS).encode()
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return re.search(rb'"(%b)"\s*:\s*\{' % names, text) is not None


def _from_text(found: Any, batches: Iterable[Any], names: list[str], columns: Any) -> ArrowRows:
    """Return the columns `names` of a text format's batches, base64 as bytes.

    Times stay text, which the encoder reads.
    """
    schema = pa.schema(
        columns.field(name)
        if name in columns.names and pa.types.is_binary(columns.field(name).type)
        else found.field(name)
        for name in names
    )
    return ArrowRows(schema, _bytes_batches(batches, schema))


def _bytes_batches(batches: Iterable[Any], schema: Any) -> Iterator[Any]:
    first_row = 0
    for batch in batches:
        columns = [
            _from_base64(batch.column(field.name), field.name, first_row)
            if pa.types.is_binary(field.type)
            else batch.column(field.name)
            for field in schema
        ]
        yield pa.record_batch(columns, schema=schema)
        first_row += batch.num_rows


def _from_base64(column: Any, name: str, first_row: int) -> Any:
    values: list[bytes | None] = []
    for row, text in enumerate(column.to_pylist(), first_row):
        try:
            values.append(None if text is None else base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            raise InputError(f"row {row}, {name}: not base64: {error}") from error
    return pa.array(values, pa.binary())


# ------------------------------------------------------------------- writing


class RowWriter(Protocol):
    """What pyarrow's writers have in common."""

    def write_batch(self, batch: Any) -> None:
        """Write a record batch."""

    def close(self) -> None:
        """Write what the format has at its end."""


class _NdjsonWriter:
    """One JSON object a line."""

    def __init__(self, sink: BinaryIO, json_columns: Sequence[str]) -> None:
        self._sink = sink
        self._json_columns = json_columns

    def write_batch(self, batch: Any) -> None:
        rows = json_objects.to_rows(batch.to_struct_array())
        for row, name in product(rows, self._json_columns):
            if name in row:
                row[name] = json.loads(row[name])
        lines = map(json_objects.to_line, rows)
        self._sink.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        self._sink.flush()


def _plain_type(data_type: Any) -> Any:
    """Return the type of `data_type`'s values in the layout that every reader knows."""
    if pa.types.is_dictionary(data_type):
        return data_type.value_type
    if pa.types.is_string_view(data_type):
        return pa.string()
    if pa.types.is_binary_view(data_type):
        return pa.binary()
    return data_type


def plain_schema(schema: Any) -> Any:
    """Return `schema` in the layouts that every reader and function of pyarrow knows."""
    return pa.schema(field.with_type(_plain_type(field.type)) for field in schema)


def _to_base64(column: Any) -> Any:
    return pa.array(
        [
            None if value is None else base64.b64encode(value).decode()
            for value in column.to_pylist()
        ],
        pa.string(),
    )


def _as_text(column: Any) -> Any:
    if pa.types.is_nested(column.type):
        return column
    if pa.types.is_binary(column.type):
        return _to_base64(column)
    text = column.cast(_text_type(column.type))
    # ISO 8601 has a T where pyarrow has a space.
    is_time = pa.types.is_timestamp(column.type)
    return pa.compute.replace_substring(text, " ", "T") if is_time else text


def _text_batch(batch: Any) -> Any:
    columns = [_as_text(column) for column in batch.columns]
    return pa.record_batch(columns, schema=_text_schema(batch.schema))


def _open_writer(
    sink: BinaryIO, path: str, chosen: RowFormat, schema: Any, json_columns: Sequence[str]
) -> RowWriter:
    writer: RowWriter
    if chosen is RowFormat.PARQUET:
        writer = pa.parquet.ParquetWriter(sink, schema)
    elif chosen is RowFormat.NDJSON:
        writer = _NdjsonWriter(sink, json_columns)
    elif chosen is RowFormat.CSV:
        nested = [field.name for field in schema if pa.types.is_nested(field.type)]
        if nested:
            raise InputError(f"CSV has no place for the attributes of {nested[0]}: use NDJSON")
        writer = pa.csv.CSVWriter(sink, _text_schema(schema))
    elif path == PIPE or Path(path).suffix.lower() == ".arrows":
        writer = pa.ipc.new_stream(sink, schema)
    else:
        writer = pa.ipc.new_file(sink, schema)
    return writer


class RowsOut:
    """Rows on their way into a file.

    Parameters
    ----------
    sink : BinaryIO
        Where the bytes go.
    path : str
        Its name: an Arrow file ends in an index, a pipe and ``.arrows`` have none.
    chosen : RowFormat
        The format.
    schema : pyarrow.Schema
        The columns.
    json_columns : Sequence[str], optional
        The columns of text that are JSON already, in NDJSON.
    """

    def __init__(
        self,
        sink: BinaryIO,
        path: str,
        chosen: RowFormat,
        schema: Any,
        json_columns: Sequence[str] = (),
    ) -> None:
        self._schema = plain_schema(schema)
        self._text = chosen in (RowFormat.NDJSON, RowFormat.CSV)
        self._writer = _open_writer(sink, path, chosen, self._schema, json_columns)

    def write(self, table: Any, advanced: Callable[[int], None] = lambda rows: None) -> None:
        """Write a table in batches, and call `advanced` with the rows of each."""
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            plain = batch.cast(self._schema)
            self._writer.write_batch(_text_batch(plain) if self._text else plain)
            advanced(batch.num_rows)

    def close(self) -> None:
        """Write what the format has at its end."""
        self._writer.close()
