"""Columns of events and of captures."""

from typing import Any

import pyarrow as pa

from ..errors import InputError
from .text_rows import did_you_mean

DATA_SETS = ("EventInformation", "EventReply")
"""The columns of data sets."""

RAW_SUFFIX = ":bytes"
"""Suffix of the column with the data sets of a structured column that stay bytes."""

# Wider than the VR US: a number that is too large then rejects the row, not the file.
EVENT_COLUMNS = pa.schema(
    [
        ("PresentationContextID", pa.int64()),
        ("MessageID", pa.int64()),
        ("MessageIDBeingRespondedTo", pa.int64()),
        ("AffectedSOPClassUID", pa.string()),
        ("AffectedSOPInstanceUID", pa.string()),
        ("EventTypeID", pa.int64()),
        ("EventInformation", pa.binary()),
        ("EventReply", pa.binary()),
        ("Status", pa.int64()),
        ("ErrorComment", pa.string()),
        ("ErrorID", pa.int64()),
    ]
)
PEER_COLUMN = "Peer"
"""The column with the peer of each row, for `fastdimse send`."""

SENT_COLUMNS = pa.schema([*EVENT_COLUMNS, (PEER_COLUMN, pa.string())])

_OF_CAPTURES = pa.schema(
    [
        ("Time", pa.timestamp("ns", "UTC")),
        ("SourceAddress", pa.string()),
        ("SourcePort", pa.int64()),
        ("DestinationAddress", pa.string()),
        ("DestinationPort", pa.int64()),
        ("CallingAETitle", pa.string()),
        ("CalledAETitle", pa.string()),
        ("Association", pa.int64()),
        ("Frame", pa.int64()),
        ("TransferSyntaxUID", pa.string()),
        ("Latency", pa.duration("ns")),
    ]
)
CAPTURE_COLUMNS = pa.schema([*EVENT_COLUMNS, *_OF_CAPTURES])

KNOWN_COLUMNS = pa.schema(
    [
        *CAPTURE_COLUMNS,
        ("EventTypeName", pa.string()),
        ("StatusName", pa.string()),
        ("FailureReasonNames", pa.string()),
        *((name + RAW_SUFFIX, pa.binary()) for name in DATA_SETS),
    ]
)
"""All columns of the files that fastdimse writes. Each can be in a file that it reads."""


RAW_COLUMNS = tuple(name + RAW_SUFFIX for name in DATA_SETS)
"""The columns with data sets that could not be decoded: their rows are rejected."""

# Columns beside those of events that change what is encoded or sent.
_MEANINGFUL = ("TransferSyntaxUID", "Latency", *RAW_COLUMNS)


def relevant(columns: Any) -> Any:
    """Return `columns` with the other columns that change what is encoded or sent."""
    others = [KNOWN_COLUMNS.field(name) for name in _MEANINGFUL if name not in columns.names]
    return pa.schema([*columns, *others])


def known(columns: Any) -> Any:
    """Return all columns of the files that fastdimse writes, and the other ones of `columns`."""
    others = [column for column in columns if column.name not in KNOWN_COLUMNS.names]
    return pa.schema([*KNOWN_COLUMNS, *others])


def check_columns(names: list[str], columns: Any, *, ignore_others: bool = False) -> None:
    """Raise `InputError` for an unknown name, or for one of `columns` that occurs more than once.

    Parameters
    ----------
    names : list of str
        The names in the file.
    columns : pyarrow.Schema
        The columns that are read.
    ignore_others : bool, optional
        Whether unknown names are allowed.
    """
    known_names = known(columns).names
    for name in names:
        if name not in known_names and not ignore_others:
            raise InputError(
                f"unknown column '{name}'{did_you_mean(name, columns.names)} "
                f"({accepted(columns)}; --ignore-columns ignores others)"
            )
        if name in columns.names and names.count(name) > 1:
            raise InputError(f"column '{name}' occurs more than once")


def accepted(columns: Any) -> str:
    """Return the names of `columns` for an error text."""
    return f"accepted columns: {', '.join(columns.names)}"


def _plain_type(data_type: Any) -> Any:
    if pa.types.is_dictionary(data_type):
        return data_type.value_type
    if pa.types.is_string_view(data_type):
        return pa.string()
    if pa.types.is_binary_view(data_type):
        return pa.binary()
    return data_type


def plain_schema(schema: Any) -> Any:
    """Return `schema` without views and dictionaries, which some readers do not support."""
    return pa.schema(field.with_type(_plain_type(field.type)) for field in schema)
