"""Structured data sets of NDJSON, checked attribute by attribute.

The encoder reads many rows as columns, and an attribute of a wrong type is an error of its column.
Here each data set is checked alone, so that the error rejects one row and has the path of the
attribute.
"""

import re
from collections.abc import Iterator
from typing import Any

from fastdimse import validate_events
from fastdimse._data_set import of_json_model
from fastdimse._pydicom import load as load_pydicom

from .text_rows import RowError, did_you_mean, excerpt
from .text_values import LARGEST, SMALLEST, bytes_of_base64, in_64_bits, integer_of_text

INLINE_BINARY = "InlineBinary"
_INTEGERS = {"US", "SS", "UL", "SL", "SV", "UV"}
_DECIMALS = {"FL", "FD", "DS"}
_BYTES = {"OB", "OW", "OD", "OF", "OL", "OV", "UN", "OB or OW", "US or OW"}
_TEXTS = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
_TAG = re.compile(r"([0-9A-Fa-f]{8})(?::([A-Z]{2}))?", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
# The first elements of a message that belong to its command set or to the header of a file.
_NOT_IN_DATA_SETS = 0x0003_0000


def kind_of(name: str, value: Any) -> tuple[str, Any]:
    """Return the name and the type of an attribute, by which attributes of other rows are compared.

    Raises `OverflowError` for an integer of more than 64 bits.
    """
    kind: Any = value.__class__
    if kind is list:
        kind = frozenset(map(type, value))
        if int in kind:
            for one in value:
                if one.__class__ is int and not SMALLEST <= one <= LARGEST:
                    raise OverflowError
    elif kind is int and not SMALLEST <= value <= LARGEST:
        raise OverflowError
    return name, kind


class DataSetChecker:
    """Checks and converts structured data sets.

    Attributes
    ----------
    accepted : set of tuple
        The kinds of attributes that the encoder accepts, as far as they have occurred.
    """

    def __init__(self) -> None:
        # Only here: most commands read no data sets as text.
        load_pydicom()
        from pydicom._dicom_dict import DicomDictionary
        from pydicom.datadict import keyword_dict

        self._dictionary = DicomDictionary
        self._tags = keyword_dict
        self.accepted: set[tuple[str, Any]] = set()
        # The name with which each tag that is not in the standard has first occurred.
        self._names: dict[str, str] = {}

    def check(self, data_set: dict[str, Any], column: str) -> dict[str, Any]:
        """Return a data set as the encoder accepts it, or raise `RowError`.

        Values of the DICOM JSON model become values of attributes, and numbers in quotes become
        numbers where the attribute is a number.
        """
        try:
            checked = self._attributes(data_set, column, is_json_model=False)
        except RecursionError:
            raise RowError("too-deep", "nested deeper than any data set", column) from None
        new = set(_kinds(checked)) - self.accepted
        if new:
            self._encode(checked, column)
            self.accepted |= new
        return checked

    def _encode(self, data_set: dict[str, Any], column: str) -> None:
        """Raise `RowError` if the encoder does not accept the types of a data set."""
        row = {"MessageIDBeingRespondedTo": 1, "Status": 0, "EventReply": data_set}
        try:
            validate_events([row])
        except (TypeError, ValueError, OverflowError) as error:
            text = str(error).replace("EventReply", column).removeprefix("row 0, ")
            path, _, reason = text.partition(": ")
            if not reason or not path.startswith(column) or " " in path:
                path, reason = column, text
            code = "unknown-column" if "is not an attribute" in reason else "wrong-type"
            raise RowError(code, reason, path) from None

    def _attributes(
        self, data_set: dict[str, Any], path: str, *, is_json_model: bool
    ) -> dict[str, Any]:
        if not is_json_model and any(map(_is_json_attribute, data_set.values())):
            is_json_model = all(map(_TAG.fullmatch, data_set))
        checked: dict[str, Any] = {}
        for name, value in data_set.items():
            place = f"{path}.{name}"
            new_name, vr = self._resolve(name, value, path, is_json_model=is_json_model)
            if is_json_model:
                value = _of_json_attribute(name, value, place)
            if new_name in checked:
                raise RowError("repeated-name", f"'{new_name}' occurs more than once", place)
            checked[new_name] = self._value(value, vr, place, is_json_model=is_json_model)
        return checked

    def _resolve(
        self, name: str, value: Any, path: str, *, is_json_model: bool
    ) -> tuple[str, str | None]:
        """Return the name of an attribute for the encoder, and its VR in the standard."""
        place = f"{path}.{name}"
        found = _TAG.fullmatch(name)
        if found is None:
            tag = self._tags.get(name)
            if tag is None or is_json_model:
                kind = "the tag of an attribute" if is_json_model else "an attribute"
                near = "" if is_json_model else did_you_mean(name, self._tags)
                raise RowError("unknown-column", f"'{name}' is not {kind}{near}", place)
            return name, self._dictionary[tag][0] if tag >= _NOT_IN_DATA_SETS else None
        digits, vr = found[1].upper(), found[2]
        if is_json_model:
            if not isinstance(value, dict) or not isinstance(value.get("vr"), str):
                raise RowError(
                    "wrong-type",
                    "an attribute of the DICOM JSON model must be an object with a 'vr' "
                    '(PS3.18 F.2.2), such as {"vr": "UI", "Value": ["1.2"]}',
                    place,
                )
            vr = value["vr"]
        tag = int(digits, 16)
        # `pydicom.datadict` would make a Tag for each look-up.
        entry = self._dictionary.get(tag)
        known = None if entry is None else entry[0]
        if entry is not None and vr in (None, known):
            return entry[4] or digits, known
        full = digits if vr is None else f"{digits}:{vr}"
        first = self._names.setdefault(digits, full)
        if first != full:
            raise RowError("wrong-type", f"'{full}' is '{first}' in an earlier row", place)
        return full, vr or known

    def _value(self, value: Any, vr: str | None, path: str, *, is_json_model: bool) -> Any:
        if value is None:
            return None
        if vr == "SQ":
            return self._items(value, path, is_json_model=is_json_model)
        if isinstance(value, list):
            return [_single(one, vr, f"{path}[{number}]") for number, one in enumerate(value)]
        return _single(value, vr, path)

    def _items(self, value: Any, path: str, *, is_json_model: bool) -> list[Any]:
        if not isinstance(value, list):
            raise RowError(
                "wrong-type",
                f"a sequence must be a list of items, [{{…}}], not {_kind(value)}",
                path,
            )
        items: list[Any] = []
        for number, item in enumerate(value):
            place = f"{path}[{number}]"
            if item is not None and not isinstance(item, dict):
                raise RowError(
                    "wrong-type", f"an item must be an object, {{…}}, not {_kind(item)}", place
                )
            items.append(
                None if item is None else self._attributes(item, place, is_json_model=is_json_model)
            )
        return items


def _kinds(data_set: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in data_set.items():
        yield kind_of(name, value)
        if isinstance(value, list):
            for one in value:
                if isinstance(one, dict):
                    yield from _kinds(one)


def _is_json_attribute(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {INLINE_BINARY}


def _of_json_attribute(name: str, attribute: dict[str, Any], path: str) -> Any:
    if isinstance(attribute.get(INLINE_BINARY), str):
        return bytes_of_base64(attribute[INLINE_BINARY], path)
    if not isinstance(attribute.get("Value", []), list):
        raise RowError("wrong-type", "'Value' must be a list", path)
    try:
        [value] = of_json_model({name: attribute}).values()
    except (TypeError, ValueError, AttributeError) as error:
        raise RowError("wrong-type", str(error).removeprefix(f"{name}: "), path) from None
    return value


def _single(value: Any, vr: str | None, path: str) -> Any:
    """Return one value as the encoder accepts it."""
    if isinstance(value, dict) and value.keys() == {INLINE_BINARY}:
        text = value[INLINE_BINARY]
        if not isinstance(text, str):
            raise RowError("base64", f"InlineBinary must be base64, not {_kind(text)}", path)
        value = bytes_of_base64(text, path)
    if value is None:
        return None
    if isinstance(value, dict) and "vr" in value:
        reason = (
            "an object with a 'vr' is of the DICOM JSON model, but other attributes of this data "
            "set are not: write all of them in one form"
        )
        raise RowError("wrong-type", reason, path)
    if isinstance(value, list | dict):
        due = "one value" if vr is None else _described(vr)
        raise RowError("wrong-type", f"must be {due}, not {_kind(value)}", path)
    if isinstance(value, int) and not isinstance(value, bool):
        in_64_bits(value, path)
    converted = value if vr is None else _converted(value, vr, path)
    if converted is NotImplemented:
        raise RowError("wrong-type", f"must be {_described(vr or '')}, not {_kind(value)}", path)
    return converted


def _converted(value: Any, vr: str, path: str) -> Any:
    """Return a value of a VR, or NotImplemented for a value of a wrong type."""
    is_text, is_integer = isinstance(value, str), type(value) is int
    if vr in _INTEGERS:
        if is_text:
            return integer_of_text(value, path, _described(vr), leading_zeros=False)
        return _whole(value)
    if vr == "IS":
        return value if is_text else _whole(value)
    if vr in _DECIMALS:
        if is_text and vr != "DS":
            if _NUMBER.fullmatch(value) is None:
                raise RowError("not-a-number", f"{excerpt(value)} is not a number", path)
            return float(value)
        return value if is_text or is_integer or isinstance(value, float) else NotImplemented
    if vr == "AT":
        return value if is_text else f"{value:08X}" if is_integer else NotImplemented
    if vr in _BYTES:
        return value if isinstance(value, bytes) else NotImplemented
    if vr in _TEXTS:
        return value if is_text else NotImplemented
    return NotImplemented if isinstance(value, bool) else value


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= 1 << 53:
        return int(value)
    return value if type(value) is int else NotImplemented


def _described(vr: str) -> str:
    if vr in _INTEGERS or vr == "IS":
        return f"an integer (VR {vr})"
    if vr in _DECIMALS:
        return f"a number (VR {vr})"
    if vr in _BYTES:
        return f'bytes (VR {vr}), as {{"InlineBinary": "base64"}}'
    return f"text (VR {vr})" if vr in _TEXTS or vr == "AT" else "a value"


def _kind(value: Any) -> str:
    """Return the type of a JSON value, and the value if it is short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {excerpt(value)}"
    if isinstance(value, int | float):
        return f"the number {value:.20g}" if abs(value) < 1e300 else "a number"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return "a list" if isinstance(value, list) else "null" if value is None else "an object"


described_value = _kind
