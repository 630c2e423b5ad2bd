"""Rows written as NDJSON, whose data sets may be objects: attributes by keyword.

JSON has no bytes: an encoded data set is base64, and bytes inside an object are
``{"InlineBinary": base64}``, as in DICOM JSON (PS3.18 F.2.7).
"""

import base64
import json
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute

from .columns import DATA_SETS, RAW_SUFFIX


def to_rows(array: Any) -> list[Any]:
    """Return what `array.to_pylist()` returns, without null fields of structs.

    In a table of data sets of many kinds, most fields of a struct are null.
    """
    if pa.types.is_struct(array.type):
        rows: list[Any] = [{} if valid else None for valid in array.is_valid().to_pylist()]
        for number, field in enumerate(array.type):
            for row, value in zip(rows, to_rows(array.field(number)), strict=True):
                if row is not None and value is not None:
                    row[field.name] = value
        return rows
    if pa.types.is_list(array.type):
        values = iter(to_rows(array.flatten()))
        lengths = pa.compute.list_value_length(array).to_pylist()
        return [None if length is None else list(islice(values, length)) for length in lengths]
    return list(array.to_pylist())


def to_line(row: dict[str, Any]) -> str:
    """Return a row as a line of NDJSON without nulls."""
    for name in DATA_SETS:
        if (raw := row.pop(name + RAW_SUFFIX, None)) is not None:
            row[name] = raw
    return json.dumps(
        _without_nulls(row), default=_inline_binary, ensure_ascii=False, separators=(",", ":")
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _inline_binary(value: object) -> object:
    if isinstance(value, bytes):
        return {"InlineBinary": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value)} cannot be written as JSON")
