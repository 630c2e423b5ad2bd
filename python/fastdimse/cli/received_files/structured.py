"""Structured data sets of received events; those that cannot be decoded stay bytes."""

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute

from fastdimse import decode_data_sets

from ..row_files.columns import DATA_SETS, RAW_SUFFIX
from ..row_files.read import first_line
from ..terminal import plural

_LOG = logging.getLogger("fastdimse.receive")
# The columns that identify an event in the log.
_SENDER = ["Association", "CallingAETitle", "SourceAddress", "SourcePort", "MessageID"]

# Maximum number of data sets of a column in a batch that are reported one by one.
_MAX_NOTES = 10


def structure_data_sets(table: Any) -> Any:
    """Return the events with structured data sets.

    A data set that cannot be decoded is reported on standard error. Its bytes are in an additional
    column.
    """
    for name in DATA_SETS:
        column = table.column(name)
        if column.null_count == len(column):
            continue
        structured, reasons = _decode(column, table.column("TransferSyntaxUID"))
        index = table.column_names.index(name)
        if reasons:
            _report(table, name, reasons)
            raw = pa.compute.if_else(_is_in(reasons, column), column, None)
            table = table.append_column(name + RAW_SUFFIX, raw)
        table = table.set_column(index, name, structured)
    return table


def _decode(column: Any, syntaxes: Any) -> tuple[Any, dict[int, str]]:
    """Return the decoded data sets, null where that fails, and the reasons by row."""
    decoded = decode_data_sets(column, transfer_syntax=syntaxes, on_invalid="skip")
    reasons = {}
    for one in decoded.rejected:
        assert one.row is not None
        reasons[one.row] = one.reason if one.field is None else f"{one.field}: {one.reason}"
    try:
        return pa.array(decoded), reasons
    except pa.ArrowInvalid as error:
        # Data sets may be nested deeper than pyarrow's types.
        too_deep = dict.fromkeys(_too_deep(column, syntaxes), first_line(error))
        column = pa.compute.if_else(_is_in(too_deep, column), None, column)
        structured, reasons = _decode(column, syntaxes)
        return structured, reasons | too_deep


def _too_deep(column: Any, syntaxes: Any, first: int = 0) -> list[int]:
    """Return the rows, counted from `first`, with data sets nested too deep for pyarrow."""
    try:
        pa.array(decode_data_sets(column, transfer_syntax=syntaxes, on_invalid="skip"))
    except pa.ArrowInvalid:
        if len(column) == 1:
            return [first]
        half = len(column) // 2
        return [
            *_too_deep(column[:half], syntaxes[:half], first),
            *_too_deep(column[half:], syntaxes[half:], first + half),
        ]
    return []


def _is_in(rows: Iterable[int], column: Any) -> Any:
    return pa.compute.is_in(pa.array(range(len(column))), value_set=pa.array(rows, pa.int64()))


def _report(table: Any, name: str, reasons: dict[int, str]) -> None:
    for row, reason in islice(sorted(reasons.items()), _MAX_NOTES):
        # Without the times: pyarrow needs pandas for nanoseconds.
        [event] = table.slice(row, 1).select(_SENDER).to_pylist()
        _LOG.warning(
            "%s",
            f"association {event['Association']} from {event['CallingAETitle']} at "
            f"{event['SourceAddress']}:{event['SourcePort']}: the {name} of MessageID "
            f"{event['MessageID']} is written as bytes: {reason}",
            extra={"fields": {"kind": "data-set", "reason": reason}},
        )
    if len(reasons) > _MAX_NOTES:
        count = plural(len(reasons) - _MAX_NOTES, "more data set")
        _LOG.warning(
            "%s of this batch written as bytes", count, extra={"fields": {"kind": "data-set"}}
        )
