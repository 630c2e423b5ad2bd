"""Events to send: rows of a file, or the requests of a stream or a capture."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from fastdimse import DecodeError, decode_capture, decode_events

from .errors import InputError
from .inputs import input_name, read_input
from .options import IMPLICIT_VR
from .row_files.columns import EVENT_COLUMNS, plain_schema
from .row_files.formats import P_DATA_SUFFIXES, RowFormat, capture_format
from .row_files.read import open_rows
from .row_files.rows import ArrowRows, MappedRows
from .terminal import plural

# The fields of a request (PS3.7 10.1.1). Rows of a capture also have those of its response.
_REQUEST_COLUMNS = [
    *("MessageID", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID"),
    "EventInformation",
]


class EventsToSend(NamedTuple):
    """Events to send.

    Attributes
    ----------
    parts : iterator of tuple
        The events, with the UID of the transfer syntax of their encoded data sets.
    total : int or None
        The number of events, if it is known.
    omitted : list of str
        The content of the file that is not sent, and the reasons.
    rows : ArrowRows or MappedRows or None
        The rows of a file of rows.
    """

    parts: Iterator[tuple[Any, str]]
    total: int | None
    omitted: list[str]
    rows: ArrowRows | MappedRows | None = None


@contextmanager
def open_events(
    path: str,
    given: RowFormat | None,
    transfer_syntax: str | None,
    *,
    ignore_columns: bool = False,
) -> Iterator[EventsToSend]:
    """Open the events of a file, or of standard input.

    Parameters
    ----------
    path : str
        The file, or `PIPE`.
    given : RowFormat, optional
        The format of rows; the suffix of `path` decides if it is None.
    transfer_syntax : str, optional
        The UID of the transfer syntax of encoded data sets; Implicit VR Little Endian by default.
        A capture states its own, and so do rows with TransferSyntaxUID.
    ignore_columns : bool, optional
        Whether rows may have columns that fastdimse does not know.

    Yields
    ------
    EventsToSend
        The events.
    """
    syntax = transfer_syntax or IMPLICIT_VR
    if given is None and Path(path).suffix.lower() in P_DATA_SUFFIXES:
        yield _from_stream(path, syntax)
    elif given is None and capture_format(path) is not None:
        if transfer_syntax is not None:
            raise InputError("--transfer-syntax cannot be used for a capture, which states its own")
        yield _from_capture(path)
    else:
        with open_rows(path, given, EVENT_COLUMNS, ignore_others=ignore_columns) as rows:
            yield EventsToSend(iter([(rows, syntax)]), rows.total, [], rows)


def _from_stream(path: str, syntax: str) -> EventsToSend:
    try:
        decoded = decode_events(read_input(path), on_invalid="skip")
    except DecodeError as error:
        raise InputError(f"{input_name(path)}: {error}") from error
    table = pa.table(decoded)
    table = table.cast(plain_schema(table.schema))
    requests = table.filter(pa.compute.is_null(table["MessageIDBeingRespondedTo"]))
    omitted = [str(one) for one in decoded.rejected]
    if responses := table.num_rows - requests.num_rows:
        omitted.append(f"{plural(responses, 'response')}: only requests are sent")
    part = requests.select(_REQUEST_COLUMNS)
    return EventsToSend(iter([(part, syntax)]), part.num_rows, omitted)


def _from_capture(path: str) -> EventsToSend:
    decoded = decode_capture(read_input(path), on_invalid="skip")
    table = pa.table(decoded)
    omitted = [str(one) for one in decoded.faults]
    return EventsToSend(_split_by_syntax(table), table.num_rows, omitted)


def _split_by_syntax(table: Any) -> Iterator[tuple[Any, str]]:
    """Split a table where the transfer syntax changes."""
    syntaxes = table["TransferSyntaxUID"].to_pylist()
    begin = 0
    for row, syntax in enumerate(syntaxes):
        if row + 1 == len(syntaxes) or syntaxes[row + 1] != syntax:
            part = table.slice(begin, row + 1 - begin).select(_REQUEST_COLUMNS)
            yield part, syntax or IMPLICIT_VR
            begin = row + 1
