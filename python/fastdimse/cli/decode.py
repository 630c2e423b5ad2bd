"""``fastdimse decode``: a P-DATA stream, or a capture, to rows."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute
import typer

from fastdimse import (
    CapturedEvents,
    DecodedEvents,
    DecodeError,
    Faults,
    Rejections,
    decode_capture,
    decode_events,
)

from .atomic_output import whole_output
from .data_sets import IMPLICIT_VR, DataSets, to_dicom_json
from .encode import Framing
from .event_table import CAPTURED, DECODED, print_events, with_names
from .rejections import open_rejects
from .row_files.json_objects import DATA_SETS
from .row_files.read import PIPE, RowFormat, RowsOut, refuse_row_suffix, shorten
from .row_files.read import row_format as format_of
from .row_files.rows import InputError
from .terminal import error_line, note, plural, progress

# The rules that only the end of a stream breaks.
_BROKEN_OFF = ("truncated", "stream-ends")


def decode(
    stream: Annotated[
        str,
        typer.Argument(metavar="IN", help="A stream, or a capture (.pcap, .pcapng); - is stdin."),
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="OUT", help="Rows to a file; - is stdout."),
    ] = None,
    row_format: Annotated[
        RowFormat | None, typer.Option("--format", "-f", help="Of OUT; else by its suffix.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Rows as NDJSON on standard output.")
    ] = False,
    head: Annotated[int, typer.Option(min=0, help="The most rows in the table; 0 is all.")] = 100,
    names: Annotated[
        bool,
        typer.Option(
            "--names", help="Columns EventTypeName and StatusName in OUT; the table has the names."
        ),
    ] = False,
    data_sets: Annotated[
        DataSets | None,
        typer.Option(
            help="What data sets are in OUT: their bytes, the default; their attributes by "
            "keyword; or, in NDJSON, the DICOM JSON model. The table shows attributes."
        ),
    ] = None,
    transfer_syntax: Annotated[
        str | None,
        typer.Option(
            metavar="UID",
            help="What a stream's data sets are read in: Implicit VR Little Endian, the default, "
            "or Explicit VR Little Endian. A capture says it itself.",
        ),
    ] = None,
    framing: Annotated[
        Framing, typer.Option(help="Complete P-DATA-TF PDUs, or bare command sets.")
    ] = Framing.P_DATA,
    rejects: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write what could not be read, where, and why."),
    ] = None,
) -> None:
    """Decode the N-EVENT-REPORT messages of a stream or a capture: a table, or rows in a file.

    One direction of an association is read as it was captured: other PDUs and messages
    are stepped over. A capture of packets is known by its content; each of its rows is an
    event with its answer. What can't be read is left out and reported, and the exit code
    is 1. The table shows the data sets (EventInformation, EventReply) by their attributes;
    rows have them as bytes, base64 in NDJSON and CSV, or as --data-sets says.

    Example: fastdimse decode events.bin -o events.parquet
    """
    refuse_row_suffix(stream)
    if as_json and (out is not None or row_format is not None):
        raise InputError("--json is NDJSON on standard output: leave out -o and --format")
    if out is None and row_format is not None:
        raise InputError("--format is of the rows that -o OUT writes: give -o, or -o -")
    if names and out is None and not as_json:
        raise InputError("--names is of the rows that -o or --json write: the table has the names")
    if data_sets is not None and out is None and not as_json:
        raise InputError("--data-sets is of the rows that -o or --json write: the table has all")
    if as_json:
        out, row_format = PIPE, RowFormat.NDJSON
    chosen = None if out is None else format_of(out, row_format)
    if data_sets is DataSets.DICOM_JSON and chosen is not RowFormat.NDJSON:
        raise InputError("--data-sets dicom-json is JSON: write NDJSON")
    with open_stream(stream) as data:
        with progress("decoding", None):
            decoded, events = _decoded(data, framing.value, data_sets, transfer_syntax)
        found = decoded.faults if isinstance(decoded, CapturedEvents) else decoded.rejected
        with open_rejects(rejects, faults=isinstance(found, Faults)) as rejected:
            rejected.add(found)
            if out is not None and chosen is not None:
                rows = with_names(events) if names else events
                _write(rows, out, chosen, DATA_SETS if data_sets is DataSets.DICOM_JSON else ())
    if out is not None:
        note(_counts(decoded, events))
    elif isinstance(decoded, CapturedEvents):
        print_events(events, head, CAPTURED, None)
        print(_counts(decoded, events))
    else:
        print_events(events, head, DECODED, transfer_syntax or IMPLICIT_VR)
        print(_counts(decoded, events))
    if rejects is None:
        rejected.show(first="message")
    if isinstance(found, Rejections):
        _say_where_broken_off(stream, found)
    if rejected.count:
        raise typer.Exit(1)


_Framing = Literal["p-data", "command-set"]


def _decoded(
    data: Any, framing: _Framing, data_sets: DataSets | None, transfer_syntax: str | None
) -> tuple[CapturedEvents | DecodedEvents, Any]:
    """Decode a capture, or else a stream; return it, and its rows as they are to be written."""
    given: Literal["binary", "structured"] = (
        "binary" if data_sets in (None, DataSets.BYTES) else "structured"
    )
    decoded: CapturedEvents | DecodedEvents
    try:
        decoded = decode_capture(data, event_information=given, event_reply=given)
    except DecodeError as error:
        if error.code != "not-a-capture":
            raise
        decoded = _decoded_stream(data, framing, given, transfer_syntax)
    else:
        if transfer_syntax is not None:
            raise InputError("a capture says its transfer syntaxes: leave out --transfer-syntax")
    events = pa.table(decoded)
    if data_sets is DataSets.DICOM_JSON:
        events = _with_dicom_json(events, _encoded(data, decoded, framing), transfer_syntax)
    return decoded, _without_empty_structs(events)


def _decoded_stream(
    data: Any,
    framing: _Framing,
    given: Literal["binary", "structured"],
    transfer_syntax: str | None,
) -> DecodedEvents:
    try:
        return decode_events(
            data,
            framing=framing,
            on_invalid="skip",
            event_information=given,
            event_reply=given,
            transfer_syntax=transfer_syntax or IMPLICIT_VR,
        )
    except DecodeError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error


def _encoded(data: Any, decoded: CapturedEvents | DecodedEvents, framing: _Framing) -> Any:
    """Return the data sets of the same rows as bytes, beside their transfer syntaxes if known."""
    if isinstance(decoded, CapturedEvents):
        return pa.table(decode_capture(data)).select([*DATA_SETS, "TransferSyntaxUID"])
    encoded = decode_events(data, framing=framing, on_invalid="skip")
    kept = pa.compute.is_in(pa.array(encoded.offsets), value_set=pa.array(decoded.offsets))
    columns = {name: pa.table(encoded).column(name).cast(pa.binary()) for name in DATA_SETS}
    return pa.table(columns).filter(kept)


def _with_dicom_json(events: Any, encoded: Any, transfer_syntax: str | None) -> Any:
    """Return the events with those data sets that can be read as DICOM JSON, a text of it."""
    syntaxes = (
        encoded.column("TransferSyntaxUID").to_pylist()
        if "TransferSyntaxUID" in encoded.column_names
        else [transfer_syntax] * encoded.num_rows
    )
    for name in DATA_SETS:
        readable = events.column(name).is_valid().to_pylist()
        rows = zip(encoded.column(name).to_pylist(), readable, syntaxes, strict=True)
        texts = [to_dicom_json(one, syntax) if is_read else None for one, is_read, syntax in rows]
        index = events.column_names.index(name)
        events = events.set_column(index, name, pa.array(texts, pa.string()))
    return events


def _without_empty_structs(events: Any) -> Any:
    """Return data sets as bytes of which none has an attribute: Parquet has no such structs."""
    for name in DATA_SETS:
        column = events.column(name)
        if pa.types.is_struct(column.type) and column.type.num_fields == 0:
            values = [None if one is None else b"" for one in column.to_pylist()]
            index = events.column_names.index(name)
            events = events.set_column(index, name, pa.array(values, pa.binary()))
    return events


@contextmanager
def open_stream(path: str) -> Iterator[Any]:
    """Give the bytes of a file, or of `PIPE`."""
    with nullcontext(sys.stdin.buffer) if path == PIPE else open(path, "rb") as file:
        data = file.read()
    yield data


def _write(events: Any, path: str, chosen: RowFormat, json_columns: Sequence[str]) -> None:
    text = chosen in (RowFormat.NDJSON, RowFormat.CSV)
    sink_of = nullcontext(sys.stdout.buffer) if path == PIPE and text else whole_output(path)
    with (
        sink_of as sink,
        progress("writing", events.num_rows, on_stdout=path == PIPE) as advanced,
    ):
        rows = RowsOut(sink, path, chosen, events.schema, json_columns)
        try:
            rows.write(events, advanced)
            rows.close()
        except pa.ArrowException as error:
            raise InputError(f"{path}: can't be written as {chosen}: {shorten(error)}") from error


def _counts(decoded: CapturedEvents | DecodedEvents, events: Any) -> str:
    others = sum(decoded.skipped.values())
    kinds = ", ".join(f"{name} {n:,}" for name, n in decoded.skipped.items())
    return f"{_read(decoded, events)}, {plural(others, 'other PDU')} stepped over" + (
        f" ({kinds})" if kinds else ""
    )


def _read(decoded: CapturedEvents | DecodedEvents, events: Any) -> str:
    requests = events.column("MessageIDBeingRespondedTo").null_count
    if isinstance(decoded, DecodedEvents):
        return f"{plural(requests, 'request')}, {plural(len(decoded) - requests, 'response')}"
    alone = len(decoded) - requests
    return (
        f"{plural(requests, 'event')}, {events.column('Latency').null_count - alone:,} unanswered"
        + (f", {plural(alone, 'answer')} alone" if alone else "")
        + f"; {plural(decoded.associations, 'association')} in "
        f"{plural(decoded.streams, 'TCP stream')} of {plural(decoded.packets, 'packet')}"
    )


def _say_where_broken_off(path: str, rejections: Rejections) -> None:
    """Say at which byte the stream ends that should go on."""
    if not rejections:
        return
    last = rejections[len(rejections) - 1]
    if last.code in _BROKEN_OFF:
        name = "standard input" if path == PIPE else path
        error_line(f"{name} breaks off at byte {last.offset}: {last.reason}")
