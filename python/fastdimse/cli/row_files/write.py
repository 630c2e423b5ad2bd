"""Rows written to a file."""

import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from ..errors import InputError
from ..inputs import PIPE
from .columns import plain_schema
from .compression import compressed, compression_of
from .formats import TEXT_FORMATS, RowFormat
from .json_objects import to_line, to_rows
from .text_columns import text_batch, text_schema

_BATCH_ROWS = 65536


class RowWriter:
    """Writes tables of rows to a file.

    Parameters
    ----------
    sink : BinaryIO
        The file.
    path : str
        Its name. An Arrow file ends with an index; standard output and ``.arrows`` files have
        none. Text is compressed if the name ends in ``.gz`` or ``.zst``.
    chosen : RowFormat
        The format.
    schema : pyarrow.Schema
        The columns.
    json_columns : Sequence[str], optional
        In NDJSON, the text columns that contain JSON.
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
        self._text = chosen in TEXT_FORMATS
        compression = compression_of(path)
        self._compressed = None if compression is None else compressed(sink, compression)
        to = sink if self._compressed is None else self._compressed
        self._writer = _open_writer(to, path, chosen, self._schema, json_columns)

    def write(self, table: Any, advanced: Callable[[int], None] = lambda rows: None) -> None:
        """Write a table in batches, and call `advanced` with the number of rows of each."""
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            plain = batch.cast(self._schema)
            self._writer.write_batch(text_batch(plain) if self._text else plain)
            advanced(batch.num_rows)

    def close(self) -> None:
        """Write the end of the file, where the format has one."""
        self._writer.close()
        if self._compressed is not None:
            self._compressed.close()


class _BatchWriter(Protocol):
    """The interface of pyarrow's writers."""

    def write_batch(self, batch: Any) -> None:
        """Write a record batch."""

    def close(self) -> None:
        """Write the end of the file."""


class _NdjsonWriter:
    """One JSON object per line."""

    def __init__(self, sink: BinaryIO, json_columns: Sequence[str]) -> None:
        self._sink = sink
        self._json_columns = json_columns

    def write_batch(self, batch: Any) -> None:
        rows = to_rows(batch.to_struct_array())
        for row, name in product(rows, self._json_columns):
            if name in row:
                row[name] = json.loads(row[name])
        lines = map(to_line, rows)
        self._sink.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        self._sink.flush()


def _open_writer(
    sink: BinaryIO, path: str, chosen: RowFormat, schema: Any, json_columns: Sequence[str]
) -> _BatchWriter:
    writer: _BatchWriter
    if chosen is RowFormat.PARQUET:
        writer = pa.parquet.ParquetWriter(sink, schema)
    elif chosen is RowFormat.NDJSON:
        writer = _NdjsonWriter(sink, json_columns)
    elif chosen is RowFormat.CSV:
        nested = [field.name for field in schema if pa.types.is_nested(field.type)]
        if nested:
            raise InputError(f"CSV cannot hold the structured data sets of {nested[0]}: use NDJSON")
        writer = pa.csv.CSVWriter(sink, text_schema(schema))
    elif path == PIPE or Path(path).suffix.lower() == ".arrows":
        writer = pa.ipc.new_stream(sink, schema)
    else:
        writer = pa.ipc.new_file(sink, schema)
    return writer
