"""Values of text formats: integers, times and base64 as Python values."""

import binascii
import re
from datetime import datetime
from typing import Any

import pyarrow as pa

from fastdimse import encode_capture

from .text_rows import RowError, excerpt

_INTEGER = re.compile(r"[ \t]*(?:([+-]?[0-9]+)(?:\.0*)?|0[xX]([0-9a-fA-F]+))[ \t]*", re.ASCII)
# Integers of 64 bits.
SMALLEST, LARGEST = -(1 << 63), (1 << 63) - 1


def integer_of_text(text: str, field: str, due: str = "an integer", *, leading_zeros: bool) -> int:
    """Return the integer that a text contains.

    Parameters
    ----------
    text : str
        The text: decimal digits with or without a sign and with or without ``.0``, or ``0x`` and
        hexadecimal digits. Spaces around it are ignored.
    field : str
        The column, or the path of the attribute.
    due : str, optional
        The kind of value that is right.
    leading_zeros : bool
        Whether the number can begin with zeros. In the notation of DICOM, 0110 is hexadecimal.

    Raises
    ------
    RowError
        If the text is another one.
    """
    found = _INTEGER.fullmatch(text[:100])
    if found is None:
        raise RowError("not-a-number", f"must be {due}, not the text {excerpt(text)}", field)
    decimal, hexadecimal = found.groups()
    if decimal is None:
        return in_64_bits(int(hexadecimal, 16), field)
    digits = decimal.lstrip("+-")
    if not leading_zeros and len(digits) > 1 and digits[0] == "0":
        raise RowError(
            "not-a-number",
            f"{excerpt(text)} can be decimal or hexadecimal: write {int(decimal)} or 0x{digits}",
            field,
        )
    return in_64_bits(int(decimal), field)


def in_64_bits(value: int, field: str) -> int:
    """Return an integer, or raise `RowError` if it has more than 64 bits."""
    if not SMALLEST <= value <= LARGEST:
        shown = str(value) if abs(value) < 10**40 else "an integer of more than 40 digits"
        raise RowError("out-of-range", f"{shown} has more than 64 bits", field)
    return value


_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


def bytes_of_base64(text: str, field: str) -> bytes:
    """Return the bytes of a base64 text, or raise `RowError`."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        found = _BASE64.match(text)
        at = 0 if found is None else found.end()
        if at < len(text):
            reason = f"{excerpt(text[at])} at character {at + 1} is not of the base64 alphabet"
        else:
            reason = f"{len(text)} characters: the length of base64 is a multiple of 4"
        raise RowError("base64", f"not base64: {reason}", field) from None


# The times that are accepted without a call of the encoder.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_ONE_EVENT = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": 1,
}


def is_time(text: str) -> bool:
    """Return whether the encoder accepts a time."""
    if _TIME.fullmatch(text) is not None and "1970" <= text[:4] < "2200":
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return False
        return True
    try:
        # The encoder has the rules for all other forms.
        encode_capture({**_ONE_EVENT, "Time": [text]}, on_invalid="skip")
    except (TypeError, ValueError):
        return False
    return True


def time_problem(text: str, field: str) -> RowError:
    """Return the problem of a text that `is_time` does not accept."""
    example = "2026-11-24T08:43:15.720106+00:00"
    return RowError(
        "not-a-time", f"{excerpt(text)} is not a time in ISO 8601, such as {example}", field
    )


def is_number(data_type: Any) -> bool:
    """Return whether a column contains integers in a text format."""
    return bool(pa.types.is_integer(data_type) or pa.types.is_duration(data_type))
