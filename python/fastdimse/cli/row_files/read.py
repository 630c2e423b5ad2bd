"""Rows read from a file, or from standard input."""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from ..errors import InputError
from ..inputs import open_input
from .columns import EVENT_COLUMNS, RAW_COLUMNS, check_columns, known, relevant
from .compression import compression_of, decompressed, describe_damage
from .formats import TEXT_FORMATS, RowFormat, row_format
from .read_csv import open_csv
from .read_ndjson import inspect_ndjson, open_ndjson
from .row_file import RowFile
from .rows import ArrowRows, MappedRows

_BATCH_ROWS = 65536


@contextmanager
def open_rows(
    file: RowFile,
    given: RowFormat | None = None,
    columns: Any = EVENT_COLUMNS,
    *,
    ignore_others: bool = False,
    as_mappings: bool = False,
    peers: Sequence[str] = (),
) -> Iterator[ArrowRows | MappedRows]:
    """Open the rows of a file, or of standard input.

    Parameters
    ----------
    file : RowFile
        The file.
    given : RowFormat, optional
        The format; the suffix decides if it is None.
    columns : pyarrow.Schema, optional
        The columns that are read.
    ignore_others : bool, optional
        Whether the file may have columns that fastdimse does not know.
    as_mappings : bool, optional
        Whether rows of NDJSON are mappings, also where no data set is structured.
    peers : Sequence of str, optional
        The accepted values of a column of peers in a text file. Rows that cannot be read have the
        first one.

    Yields
    ------
    ArrowRows or MappedRows
        The rows. Errors while they are read leave the block as `InputError`.
    """
    chosen, compression = row_format(file.path, given), compression_of(file.path)
    is_seekable = chosen is not RowFormat.CSV or compression is not None
    with open_input(file.copy or file.path, seekable=is_seekable) as source:
        try:
            rows = _open(file, source, chosen, columns, ignore_others, as_mappings, peers)
            rows.is_text = chosen in TEXT_FORMATS
            file.text = rows.text
            if isinstance(rows, ArrowRows):
                check_columns(rows.schema.names, columns, ignore_others=ignore_others)
            if constants := file.constants(relevant(columns)):
                rows = rows.with_constants(constants)
                rows.is_text = chosen in TEXT_FORMATS
        # Column names that are not UTF-8 raise UnicodeDecodeError.
        except (pa.ArrowException, InputError, OSError, UnicodeDecodeError) as error:
            raise _unreadable(file, chosen, error) from error
        try:
            yield rows
        except Exception as error:
            if rows.failure is None:
                raise
            if isinstance(rows.failure, Exception):
                raise _unreadable(file, chosen, rows.failure) from error
            raise rows.failure from None


def _unreadable(file: RowFile, chosen: RowFormat, error: Exception) -> InputError:
    text = first_line(error)
    compression = compression_of(file.path)
    if compression is not None and isinstance(error, OSError):
        text = describe_damage(error, compression) or text
    return InputError(f"{file.name}: cannot be read as {chosen}: {text}")


def first_line(error: BaseException) -> str:
    """Return the first line of a pyarrow error: details of its C++ code follow it."""
    return str(error).strip().partition("\n")[0]


def _open(
    file: RowFile,
    source: BinaryIO,
    chosen: RowFormat,
    columns: Any,
    ignore_others: bool,
    as_mappings: bool,
    peers: Sequence[str],
) -> ArrowRows | MappedRows:
    compression = compression_of(file.path)

    def begin() -> Any:
        if compression is not None:
            return decompressed(_native_file(source), compression)
        if chosen is RowFormat.NDJSON:
            source.seek(0)
        return source

    if chosen is RowFormat.NDJSON:
        if file.ndjson is None:
            file.ndjson = inspect_ndjson(begin(), ["Time", *RAW_COLUMNS, *file.partitions])
        return open_ndjson(
            begin,
            columns,
            ignore_others,
            file.ndjson,
            as_mappings=as_mappings,
            peers=peers,
        )
    if chosen is RowFormat.CSV:
        return open_csv(begin(), columns, ignore_others, peers)
    if chosen is RowFormat.ARROW:
        return _open_arrow(source)
    return _open_parquet(source, columns, ignore_others)


def _open_parquet(source: BinaryIO, columns: Any, ignore_others: bool) -> ArrowRows:
    file = pyarrow.parquet.ParquetFile(_native_file(source))
    schema, names = file.schema_arrow, None
    if ignore_others:
        check_columns(schema.names, columns, ignore_others=True)
        schema = pa.schema(field for field in schema if field.name in known(columns).names)
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
    if not os.fstat(source.fileno()).st_size:
        return pa.BufferReader(b"")
    mapped = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.BufferReader(pa.py_buffer(mapped))


def _open_arrow(source: BinaryIO) -> ArrowRows:
    magic = source.read(6)
    source.seek(0)
    if magic == b"ARROW1":
        file = pa.ipc.open_file(_native_file(source))
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
        return ArrowRows(file.schema, batches)
    stream = pa.ipc.open_stream(_native_file(source))
    return ArrowRows(stream.schema, stream)
