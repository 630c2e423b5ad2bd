"""The content of the data sets of events in a few words: numbers of instances, states."""

from typing import Any

import pyarrow as pa
import pyarrow.compute

from fastdimse import decode_data_sets

_INFORMATION = "EventInformation"
# The number of items is enough: no other attribute of an item is decoded.
_ITEMS = pa.list_(pa.struct([("FailureReason", pa.int32())]))
_ATTRIBUTES = pa.schema(
    [
        ("ReferencedSOPSequence", _ITEMS),
        ("FailedSOPSequence", _ITEMS),
        ("ProcedureStepState", pa.string()),
        ("PrinterStatusInfo", pa.string()),
        ("ExecutionStatusInfo", pa.string()),
    ]
)
_TEXTS = ("ProcedureStepState", "PrinterStatusInfo", "ExecutionStatusInfo")

_UNREADABLE = "unreadable data set"

REFERENCES = "References"
"""The column with the number of instances in ReferencedSOPSequence."""
FAILURE_REASONS = "FailureReasons"
"""The column with the Failure Reason of each item of FailedSOPSequence."""
STATE = "State"
"""The column with the state that an event reports as a text, for example COMPLETED.

A data set that cannot be decoded has another text.
"""


def with_content(events: Any, transfer_syntax: str | None) -> Any:
    """Return the events with the columns `REFERENCES`, `FAILURE_REASONS` and `STATE`.

    Parameters
    ----------
    events : pyarrow.Table
        The events. Their EventInformation is encoded, or a struct of attributes.
    transfer_syntax : str, optional
        The transfer syntax of all data sets; None to use the one in each row.
    """
    information = events.column(_INFORMATION)
    unreadable: list[int | None] = []
    if pa.types.is_struct(information.type):
        found = information.combine_chunks()
    else:
        syntax = events.column("TransferSyntaxUID") if transfer_syntax is None else transfer_syntax
        decoded = decode_data_sets(
            information, _ATTRIBUTES, transfer_syntax=syntax, on_invalid="skip"
        )
        found = pa.array(decoded)
        unreadable = [one.row for one in decoded.rejected]
    references = _field(found, "ReferencedSOPSequence")
    lengths = (
        pa.nulls(len(found), pa.int32())
        if references is None
        else pa.compute.list_value_length(references).cast(pa.int32())
    )
    return (
        events.append_column(REFERENCES, lengths)
        .append_column(FAILURE_REASONS, _failure_reasons(found))
        .append_column(STATE, _states(found, unreadable))
    )


def _field(structs: Any, name: str) -> Any:
    """Return a field of an array of structs; None if it has no such field."""
    if structs.type.get_field_index(name) < 0:
        return None
    return pa.compute.struct_field(structs, name)


def _failure_reasons(information: Any) -> Any:
    failed = _field(information, "FailedSOPSequence")
    if failed is None or not _is_list(failed.type):
        return pa.array([[]] * len(information), pa.list_(pa.int32()))
    lengths = pa.compute.fill_null(pa.compute.list_value_length(failed).cast(pa.int32()), 0)
    ends = pa.compute.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    items = pa.compute.list_flatten(failed)
    reasons = _field(items, "FailureReason") if pa.types.is_struct(items.type) else None
    values = pa.nulls(len(items), pa.int32()) if reasons is None else reasons.cast(pa.int32())
    return pa.ListArray.from_arrays(offsets, values)


def _is_list(data_type: Any) -> bool:
    return bool(pa.types.is_list(data_type) or pa.types.is_large_list(data_type))


def _states(information: Any, unreadable: list[int | None]) -> Any:
    found = pa.nulls(len(information), pa.string())
    if unreadable:
        rows = set(unreadable)
        texts = [_UNREADABLE if row in rows else None for row in range(len(information))]
        found = pa.array(texts, pa.string())
    for name in _TEXTS:
        texts = _field(information, name)
        if texts is not None and not pa.types.is_nested(texts.type):
            found = pa.compute.coalesce(found, texts.cast(pa.string()))
    return found
