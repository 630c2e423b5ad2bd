"""Columns in text formats (NDJSON, CSV): base64 for bytes, ISO 8601 for times."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute

from .rows import ArrowRows, RowError


def _text_type(data_type: Any) -> Any:
    if pa.types.is_binary(data_type) or pa.types.is_timestamp(data_type):
        return pa.string()
    return pa.int64() if pa.types.is_duration(data_type) else data_type


def text_schema(schema: Any) -> Any:
    """Return the types that the columns of `schema` have in a text format."""
    return pa.schema(field.with_type(_text_type(field.type)) for field in schema)


# -------------------------------------------------------------------- reading


def rows_from_text(found: Any, batches: Iterable[Any], names: list[str], columns: Any) -> ArrowRows:
    """Return rows with the columns `names` of a text format, base64 decoded to bytes.

    Times stay text, which the encoder parses.
    """
    schema = pa.schema(
        columns.field(name)
        if name in columns.names and pa.types.is_binary(columns.field(name).type)
        else found.field(name)
        for name in names
    )
    return ArrowRows(schema, _batches(batches, schema))


def _batches(batches: Iterable[Any], schema: Any) -> Iterator[Any]:
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
            raise RowError(row, f"{name}: not base64: {error}") from error
    return pa.array(values, pa.binary())


# -------------------------------------------------------------------- writing


def text_batch(batch: Any) -> Any:
    """Return a batch as it is written to a text format."""
    columns = [_as_text(column) for column in batch.columns]
    return pa.record_batch(columns, schema=text_schema(batch.schema))


def _as_text(column: Any) -> Any:
    if pa.types.is_nested(column.type):
        return column
    if pa.types.is_binary(column.type):
        return _to_base64(column)
    text = column.cast(_text_type(column.type))
    # ISO 8601 has a T where pyarrow has a space.
    is_time = pa.types.is_timestamp(column.type)
    return pa.compute.replace_substring(text, " ", "T") if is_time else text


def _to_base64(column: Any) -> Any:
    return pa.array(
        [
            None if value is None else base64.b64encode(value).decode()
            for value in column.to_pylist()
        ],
        pa.string(),
    )
