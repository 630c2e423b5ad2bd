"""Rows of NDJSON, one by one, in Python.

This is the path for rows with structured data sets, and for rows that pyarrow does not read.
"""

import json
import re
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa

from .columns import DATA_SETS, PEER_COLUMN, known, relevant
from .json_data_sets import INLINE_BINARY, DataSetChecker, described_value, kind_of
from .text_rows import RowError, did_you_mean, peer_problem
from .text_values import (
    LARGEST,
    SMALLEST,
    bytes_of_base64,
    in_64_bits,
    integer_of_text,
    is_number,
    is_time,
    time_problem,
)

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


# Number of rows after an unusual one that are expected to be unusual.
_UNUSUAL_ROWS = 8


class _UnusualError(ValueError):
    """A line that the quick check does not accept. It may still be valid."""


class JsonRowReader:
    """Reads rows of NDJSON.

    Parameters
    ----------
    columns : pyarrow.Schema
        The columns that are read.
    ignore_others : bool
        Whether rows may have columns that fastdimse does not know.
    has_peers : bool
        Whether the file has a column of peers, which each row must have then.
    structured : bool
        Whether data sets may be objects.
    peers : Collection of str
        The accepted peers; all if it is empty.
    """

    def __init__(
        self,
        columns: Any,
        ignore_others: bool,
        *,
        has_peers: bool,
        structured: bool,
        peers: Collection[str] = (),
    ) -> None:
        self._columns = relevant(columns)
        self._accepted = columns.names
        self._known = frozenset(known(columns).names)
        self._wanted = frozenset(self._columns.names)
        self._ignore_others = ignore_others
        self._has_peers = has_peers
        self._peers = peers
        self._structured = structured
        self._checker = DataSetChecker()
        # The form of the data sets of each column: bytes or dict.
        self._forms: dict[str, type] = {}
        self._rows = 0
        # The number of rows that are not read quickly, since the row before them was unusual.
        self._until_quick = 0
        self._usual_kinds = {one.name: _usual_kind(one.type) for one in self._columns}
        # One decoder: `json.loads` would make one for each row.
        self._quick_decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=_reject_constant
        )

    def read(self, line: str | bytes) -> dict[str, Any]:
        """Return the row of a line, or raise `RowError`.

        Texts are times and UIDs as in the file; encoded data sets are bytes.
        """
        self._until_quick -= 1
        try:
            if self._until_quick > 0:
                raise _UnusualError
            row = self._quickly(line)
        except (RowError, ValueError, OverflowError, RecursionError):
            if self._until_quick <= 0:
                # Rows of the DICOM JSON model are all unusual.
                self._until_quick = _UNUSUAL_ROWS
            row = self._carefully(line)
        for name in DATA_SETS:
            if (value := row.get(name)) is not None:
                form = type(value)
                if self._forms.setdefault(name, form) is not form:
                    one, other = (
                        "base64" if form is bytes else "an object",
                        "an object" if form is bytes else "base64",
                    )
                    raise RowError(
                        "wrong-type",
                        f"{one}, but {other} in earlier rows: all data sets of a column must have "
                        "the same form",
                        name,
                    )
        if self._has_peers:
            problem = peer_problem(row.get(PEER_COLUMN), self._peers)
            if problem is not None:
                raise problem
        return row

    # The quick check: one pass, without paths.

    def _quickly(self, line: str | bytes) -> dict[str, Any]:
        if isinstance(line, bytes):
            raise _UnusualError
        self._rows = 0
        row = self._quick_decoder.decode(line)
        if row.__class__ is not dict or not row.keys() <= self._wanted:
            raise _UnusualError
        if "\\u" in line and _SURROGATE.search(line):
            raise _UnusualError
        for name, value in row.items():
            kind, usual = value.__class__, self._usual_kinds[name]
            if value is None or kind is usual:
                if kind is int and not SMALLEST <= value <= LARGEST:
                    raise _UnusualError
                continue
            if kind is str and usual is datetime and is_time(value):
                continue
            if kind is str and usual is bytes:
                row[name] = bytes_of_base64(value, name)
            elif not (kind is dict and self._structured and name in DATA_SETS):
                raise _UnusualError
        return dict(row)

    def _object(self, pairs: list[tuple[str, Any]]) -> Any:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise _UnusualError
        if pairs and pairs[0][0] in self._known:
            # The row itself. No other object may have the names of columns.
            self._rows += 1
            if self._rows > 1:
                raise _UnusualError
            return found
        accepted = self._checker.accepted
        for name, value in pairs:
            kind = value.__class__
            # A call for each attribute would take a third of the time.
            pair = (name, kind) if kind is str else kind_of(name, value)
            if pair not in accepted:
                break
        else:
            return found
        if found.keys() == {INLINE_BINARY} and isinstance(found[INLINE_BINARY], str):
            return bytes_of_base64(found[INLINE_BINARY], INLINE_BINARY)
        raise _UnusualError

    # The careful check: with the path of each error.

    def _carefully(self, line: str | bytes) -> dict[str, Any]:
        row = _parse(line)
        checked = {}
        for name, value in row.items():
            if name not in self._known:
                if self._ignore_others:
                    continue
                near = did_you_mean(name, self._accepted)
                more = near or (
                    f": the columns are {', '.join(self._accepted)}; "
                    "--ignore-columns ignores others"
                )
                raise RowError("unknown-column", f"unknown column '{name}'{more}", name)
            if name in self._wanted:
                checked[name] = None if value is None else self._value(name, value)
        return checked

    def _value(self, name: str, value: Any) -> Any:
        usual = self._usual_kinds[name]
        if usual is int:
            if isinstance(value, str):
                return integer_of_text(value, name, leading_zeros=False)
            if isinstance(value, float) and value.is_integer() and abs(value) <= 1 << 53:
                return int(value)
            if type(value) is int:
                return in_64_bits(value, name)
            raise _wrong_type(name, "an integer", value)
        if usual is bytes:
            if isinstance(value, str):
                return bytes_of_base64(value, name)
            if isinstance(value, dict) and name in DATA_SETS and self._structured:
                return self._checker.check(value, name)
            form = "base64 or an object" if name in DATA_SETS else "base64"
            raise _wrong_type(name, form, value)
        if not isinstance(value, str):
            raise _wrong_type(name, "text in quotes", value)
        if usual is datetime and not is_time(value):
            raise time_problem(value, name)
        return value


def _usual_kind(data_type: Any) -> type:
    if pa.types.is_binary(data_type):
        return bytes
    if pa.types.is_timestamp(data_type):
        return datetime
    return int if is_number(data_type) else str


def _wrong_type(name: str, due: str, value: Any) -> RowError:
    return RowError("wrong-type", f"must be {due}, not {described_value(value)}", name)


def _reject_constant(constant: str) -> None:
    raise RowError("not-json", f"{constant} is not a JSON number: omit the key, or write null")


def decode_utf8(text: bytes) -> str:
    """Return a text, or raise `RowError` if it is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise RowError(
            "not-utf-8",
            f"byte {error.start + 1} of the line, 0x{text[error.start]:02X}, is not UTF-8: "
            "save the file as UTF-8",
        ) from None


def _parse(line: str | bytes) -> dict[str, Any]:
    """Return the object of a line, or raise `RowError`."""
    text = line if isinstance(line, str) else decode_utf8(line)
    try:
        row = _DECODER.decode(text)
    except RecursionError:
        raise RowError("too-deep", "nested deeper than any data set") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            reason = f"a second value begins at character {error.pos + 1}: one row is one line"
        else:
            reason = f"not JSON: {error.msg} at character {error.pos + 1}"
        raise RowError("not-json", reason) from None
    except ValueError as error:
        # An integer of thousands of digits.
        raise RowError("not-json", f"not JSON: {str(error).partition(':')[0]}") from None
    if not isinstance(row, dict):
        raise RowError(
            "not-an-object", f"a row must be an object, {{…}}, not {described_value(row)}"
        )
    if _SURROGATE.search(text):
        _check_surrogates(row)
    return row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError("repeated-name", f"'{twice}' occurs more than once", twice)
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_reject_constant)


def _check_surrogates(row: dict[str, Any]) -> None:
    for path, text in _texts(row, ""):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = ord(text[error.start])
            reason = f"the escape \\u{found:04x} is half of a surrogate pair"
            raise RowError("not-json", reason, path or None) from None


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield all texts, names included, with their paths."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield path, name
            yield from _texts(one, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _texts(one, f"{path}[{number}]")
