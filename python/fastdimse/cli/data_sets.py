"""Data sets for people and for JSON: their attributes by keyword, or as the DICOM JSON model."""

import json
from collections.abc import Iterator
from enum import StrEnum
from io import BytesIO
from typing import Any

import pyarrow as pa

from fastdimse import decode_data_sets

from .row_files.rows import InputError
from .terminal import plural, printable
from .uid_names import uid_with_name

IMPLICIT_VR = "1.2.840.10008.1.2"
EXPLICIT_VR = "1.2.840.10008.1.2.1"

# The most items of a sequence, values of an attribute and characters of a text that are shown.
_ITEMS = 10
_CHARACTERS = 200


class DataSets(StrEnum):
    """What data sets are in rows."""

    BYTES = "bytes"
    STRUCTURED = "structured"
    DICOM_JSON = "dicom-json"


# ------------------------------------------------------------------ in tables


def readable(column: Any, transfer_syntax: Any) -> list[str | None]:
    """Return the data sets of an Arrow column as lines of attributes.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        The data sets.
    transfer_syntax : str or pyarrow.ChunkedArray
        That of all, or of each.
    """
    decoded = decode_data_sets(column, transfer_syntax=transfer_syntax, on_invalid="skip")
    texts = [None if one is None else "\n".join(_lines(one)) for one in _rows(decoded)]
    for rejection in decoded.rejected:
        assert rejection.row is not None
        length = plural(len(column[rejection.row].as_py()), "byte")
        where = "" if rejection.field is None else f"{rejection.field}: "
        texts[rejection.row] = f"{length} that can't be read: {where}{printable(rejection.reason)}"
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
    for item in items[:_ITEMS]:
        lines = list(_lines(item)) or [""]
        yield from (f"{'  ' if n else '- '}{line}" for n, line in enumerate(lines))
    if len(items) > _ITEMS:
        yield f"  and {len(items) - _ITEMS:,} more"


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        shown = "\\".join(_value(name, one) for one in value[:_ITEMS])
        return shown + (f" and {len(value) - _ITEMS:,} more" if len(value) > _ITEMS else "")
    if value is None:
        return ""
    if isinstance(value, bytes):
        return plural(len(value), "byte")
    if name.endswith("UID"):
        return uid_with_name(value)
    if name == "FailureReason":
        # A status, which PS3.3 C.14.1.1 has in hexadecimal.
        return f"0x{value:04X}"
    text = printable(str(value))
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


# -------------------------------------------------------------------- in JSON


def to_dicom_json(data_set: bytes, transfer_syntax: str | None) -> str:
    """Return a data set as an object of the DICOM JSON model (PS3.18 F.2), by pydicom."""
    try:
        from pydicom.filereader import read_dataset
    except ImportError as error:
        raise InputError("DICOM JSON needs pydicom: pip install pydicom") from error
    implicit = transfer_syntax in (None, IMPLICIT_VR)
    dataset = read_dataset(BytesIO(data_set), implicit, is_little_endian=True)
    return json.dumps(dataset.to_json_dict())
