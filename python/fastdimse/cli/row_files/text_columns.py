"""Columns in text formats (NDJSON, CSV): base64 for bytes, ISO 8601 for times."""

import base64
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute


def _text_type(data_type: Any) -> Any:
    if pa.types.is_binary(data_type) or pa.types.is_timestamp(data_type):
        return pa.string()
    return pa.int64() if pa.types.is_duration(data_type) else data_type


def text_schema(schema: Any) -> Any:
    """Return the types that the columns of `schema` have in a text format."""
    return pa.schema(field.with_type(_text_type(field.type)) for field in schema)


def text_types(columns: Any, names: Iterable[str]) -> Any:
    """Return the types of columns that are read from a text format: times stay text."""
    fields = (columns.field(name) for name in names)
    return pa.schema(
        field if pa.types.is_binary(field.type) else field.with_type(_text_type(field.type))
        for field in fields
    )


def time_columns(columns: Any, names: Iterable[str]) -> list[str]:
    """Return those of the columns that contain times."""
    return [name for name in names if pa.types.is_timestamp(columns.field(name).type)]


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
