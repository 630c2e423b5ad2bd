"""Data sets as text for tables: one line per attribute."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from fastdimse import decode_data_sets, events

from .terminal import plural, printable
from .uid_names import uid_with_name

# Maximum number of items of a sequence, values of an attribute, and characters of a text to show.
_MAX_ITEMS = 10
_MAX_CHARACTERS = 200


def data_set_texts(column: Any, transfer_syntax: Any) -> list[str | None]:
    """Return each data set of an Arrow column as lines of attributes.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        The data sets.
    transfer_syntax : str or pyarrow.ChunkedArray
        The transfer syntax of all data sets, or of each.
    """
    decoded = decode_data_sets(column, transfer_syntax=transfer_syntax, on_invalid="skip")
    texts = [None if one is None else "\n".join(_lines(one)) for one in _rows(decoded)]
    for rejection in decoded.rejected:
        assert rejection.row is not None
        length = plural(len(column[rejection.row].as_py()), "byte")
        where = "" if rejection.field is None else f"{rejection.field}: "
        texts[rejection.row] = f"{length} that cannot be read: {where}{printable(rejection.reason)}"
    return texts


def _rows(decoded: Any) -> list[dict[str, Any] | None]:
    return list(pa.array(decoded).to_pylist())


def _lines(attributes: dict[str, Any]) -> Iterator[str]:
    for name, value in attributes.items():
        if value is None:
            continue
        if isinstance(value, list) and any(isinstance(one, dict) for one in value):
            yield f"{name}: {plural(len(value), 'item')}"
            yield from _item_lines(value)
        else:
            yield f"{name}: {_value(name, value)}".rstrip()


def _item_lines(items: list[dict[str, Any]]) -> Iterator[str]:
    for item in items[:_MAX_ITEMS]:
        lines = list(_lines(item)) or [""]
        yield from (f"{'  ' if n else '- '}{line}" for n, line in enumerate(lines))
    if len(items) > _MAX_ITEMS:
        yield f"  and {len(items) - _MAX_ITEMS:,} more"


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        shown = "\\".join(_value(name, one) for one in value[:_MAX_ITEMS])
        return shown + (f" and {len(value) - _MAX_ITEMS:,} more" if len(value) > _MAX_ITEMS else "")
    if value is None:
        return ""
    if isinstance(value, bytes):
        return plural(len(value), "byte")
    if name.endswith("UID"):
        return uid_with_name(value)
    if name == "FailureReason":
        return events.failure_reason(value)
    text = printable(str(value))
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
