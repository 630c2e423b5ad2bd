"""Rows read from a file, or from standard input."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from ..errors import InputError
from ..inputs import input_name, open_input
from .columns import EVENT_COLUMNS, KNOWN_COLUMNS, accepted, check_columns
from .compression import Compression, compression_of, decompressed, describe_damage
from .formats import RowFormat, row_format
from .read_csv import explain_csv, open_csv
from .read_ndjson import open_ndjson
from .rows import ArrowRows, MappedRows

_BATCH_ROWS = 65536


@contextmanager
def open_rows(
    path: str,
    given: RowFormat | None = None,
    columns: Any = EVENT_COLUMNS,
    *,
    ignore_others: bool = False,
) -> Iterator[ArrowRows | MappedRows]:
    """Open the rows of a file, or of standard input.

    Parameters
    ----------
    path : str
        The file, or `PIPE`.
    given : RowFormat, optional
        The format; the suffix of `path` decides if it is None.
    columns : pyarrow.Schema, optional
        The columns that are read.
    ignore_others : bool, optional
        Whether the file may have columns that fastdimse does not know.

    Yields
    ------
    ArrowRows or MappedRows
        The rows. Errors while they are read leave the block as `InputError`.
    """
    chosen, compression = row_format(path, given), compression_of(path)
    is_seekable = chosen is not RowFormat.CSV or compression is not None
    with open_input(path, seekable=is_seekable) as source:
        try:
            rows = _open(source, chosen, compression, columns, ignore_others)
            if isinstance(rows, ArrowRows):
                check_columns(rows.schema.names, columns, ignore_others=ignore_others)
        # Column names that are not UTF-8 raise UnicodeDecodeError.
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
    text = first_line(error)
    compression = compression_of(path)
    if compression is not None and isinstance(error, OSError):
        text = describe_damage(error, compression) or text
    if chosen is RowFormat.CSV:
        text = explain_csv(text)
    if text.endswith("unexpected field"):
        text += f" ({accepted(columns)}; --ignore-columns ignores others)"
    return InputError(f"{input_name(path)}: cannot be read as {chosen}: {text}")


def first_line(error: BaseException) -> str:
    """Return the first line of a pyarrow error: details of its C++ code follow it."""
    return str(error).strip().partition("\n")[0]


def _open(
    source: BinaryIO,
    chosen: RowFormat,
    compression: Compression | None,
    columns: Any,
    ignore_others: bool,
) -> ArrowRows | MappedRows:
    def begin() -> Any:
        if compression is not None:
            return decompressed(_native_file(source), compression)
        if chosen is RowFormat.NDJSON:
            source.seek(0)
        return source

    if chosen is RowFormat.NDJSON:
        return open_ndjson(begin, columns, ignore_others)
    if chosen is RowFormat.CSV:
        return open_csv(begin(), columns, ignore_others)
    if chosen is RowFormat.ARROW:
        return _open_arrow(source)
    return _open_parquet(source, columns, ignore_others)


def _open_parquet(source: BinaryIO, columns: Any, ignore_others: bool) -> ArrowRows:
    file = pyarrow.parquet.ParquetFile(source)
    schema, names = file.schema_arrow, None
    if ignore_others:
        check_columns(schema.names, columns, ignore_others=True)
        schema = pa.schema(field for field in schema if field.name in KNOWN_COLUMNS.names)
        names = schema.names
    batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=names)
    return ArrowRows(schema, batches, file.metadata.num_rows)


def _native_file(source: BinaryIO) -> pa.NativeFile:
    """Return a file that pyarrow reads without Python code.

    pyarrow reads a Python file in threads, which can abort the process when it exits right after an
    error. A file of the user is not mapped: it could be truncated while it is read.
    """
    if isinstance(source.name, str):
        return pa.OSFile(source.name)
    mapped = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.BufferReader(pa.py_buffer(mapped))


def _open_arrow(source: BinaryIO) -> ArrowRows:
    magic = source.read(6)
    source.seek(0)
    if magic == b"ARROW1":
        file = pa.ipc.open_file(_native_file(source))
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
        return ArrowRows(file.schema, batches)
    stream = pa.ipc.open_stream(source)
    return ArrowRows(stream.schema, stream)
