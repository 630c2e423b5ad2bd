"""Events to be sent: rows of a file, or the requests of a stream or a capture."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from fastdimse import DecodeError, decode_capture, decode_events

from .data_sets import IMPLICIT_VR
from .decode import open_stream
from .row_files.read import (
    EVENT_COLUMNS,
    P_DATA_SUFFIXES,
    RowFormat,
    capture_format,
    open_rows,
    plain_schema,
)
from .row_files.rows import ArrowRows, InputError, MappedRows
from .terminal import plural

# What a request has (PS3.7 10.1.1): a capture's rows have their answers beside it.
_OF_A_REQUEST = [
    *("MessageID", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID"),
    "EventInformation",
]


class Requests(NamedTuple):
    """Events to be sent.

    Attributes
    ----------
    parts : iterator of tuple
        The events, with the UID of the transfer syntax of their data sets where those are bytes.
    total : int or None
        How many there are, where that is known.
    left_out : list of str
        What of the file is not sent, and why.
    rows : ArrowRows or MappedRows or None
        The rows, where the file has rows.
    """

    parts: Iterator[tuple[Any, str]]
    total: int | None
    left_out: list[str]
    rows: ArrowRows | MappedRows | None = None


@contextmanager
def open_requests(
    path: str, given: RowFormat | None, transfer_syntax: str | None
) -> Iterator[Requests]:
    """Open the events of a file, or of standard input.

    Parameters
    ----------
    path : str
        The file, or `PIPE`.
    given : RowFormat, optional
        Its format, if it has rows; by its suffix if not given.
    transfer_syntax : str, optional
        The UID of the transfer syntax of data sets that are bytes; Implicit VR Little Endian if
        not given. A capture says it itself.

    Yields
    ------
    Requests
        The events.
    """
    syntax = transfer_syntax or IMPLICIT_VR
    if given is None and Path(path).suffix.lower() in P_DATA_SUFFIXES:
        with open_stream(path) as stream:
            yield _of_stream(path, stream, syntax)
    elif given is None and capture_format(path) is not None:
        if transfer_syntax is not None:
            raise InputError("a capture says its transfer syntaxes itself: leave the option out")
        with open_stream(path) as capture:
            yield _of_capture(capture)
    else:
        with open_rows(path, given, EVENT_COLUMNS) as rows:
            yield Requests(iter([(rows, syntax)]), rows.total, [], rows)


def _of_stream(path: str, stream: Any, syntax: str) -> Requests:
    try:
        decoded = decode_events(stream, on_invalid="skip")
    except DecodeError as error:
        raise InputError(f"{path}: {error}") from error
    table = pa.table(decoded)
    table = table.cast(plain_schema(table.schema))
    requests = table.filter(pa.compute.is_null(table["MessageIDBeingRespondedTo"]))
    left_out = [str(one) for one in decoded.rejected]
    if responses := table.num_rows - requests.num_rows:
        left_out.append(f"{plural(responses, 'response')}: only requests are sent")
    part = requests.select(_OF_A_REQUEST)
    return Requests(iter([(part, syntax)]), part.num_rows, left_out)


def _of_capture(capture: Any) -> Requests:
    decoded = decode_capture(capture, on_invalid="skip")
    table = pa.table(decoded)
    left_out = [str(one) for one in decoded.faults]
    return Requests(_in_one_syntax(table), table.num_rows, left_out)


def _in_one_syntax(table: Any) -> Iterator[tuple[Any, str]]:
    """Cut a table where the transfer syntax changes."""
    syntaxes = table["TransferSyntaxUID"].to_pylist()
    begin = 0
    for row, syntax in enumerate(syntaxes):
        if row + 1 == len(syntaxes) or syntaxes[row + 1] != syntax:
            part = table.slice(begin, row + 1 - begin).select(_OF_A_REQUEST)
            yield part, syntax or IMPLICIT_VR
            begin = row + 1
