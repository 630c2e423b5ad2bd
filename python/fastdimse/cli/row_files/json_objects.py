"""NDJSON rows whose data sets are objects: attributes by keyword.

JSON has no bytes: an encoded data set is base64, and bytes inside an object are
``{"InlineBinary": base64}``, as in DICOM JSON (PS3.18 F.2.7).
"""

import base64
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute

from ..errors import InputError
from .columns import DATA_SETS, RAW_SUFFIX

_BLOCK_ROWS = 1024


# -------------------------------------------------------------------- reading


def read_objects(lines: Iterable[bytes], names: set[str]) -> Iterator[list[dict[str, Any]]]:
    """Read one row from each line that is not empty.

    Parameters
    ----------
    lines : Iterable[bytes]
        The file.
    names : set of str
        Columns that every row gets, null where the line omits them.

    Yields
    ------
    list of dict
        Some rows.

    Raises
    ------
    InputError
        If a line cannot be read. The text has the line number.
    """
    absent = dict.fromkeys(sorted(names))
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    while block := [absent | _row(*line) for line in islice(numbered, _BLOCK_ROWS)]:
        yield block


def _row(number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_object, parse_constant=_reject_constant)
        if not isinstance(row, dict):
            raise ValueError("a row must be an object, { … }")
        for name in DATA_SETS:
            if isinstance(row.get(name), str):
                row[name] = _from_base64(row[name])
    except ValueError as error:
        raise InputError(f"line {number}: {error}") from error
    except RecursionError as error:
        raise InputError(f"line {number}: nested deeper than any data set") from error
    return row


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{twice}' occurs more than once")
    return _from_base64(found["InlineBinary"]) if found.keys() == {"InlineBinary"} else found


def _from_base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not base64: {error}") from error


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


# -------------------------------------------------------------------- writing


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
