"""``fastdimse decode``: a P-DATA stream, or a capture, to rows."""

import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Literal

import pyarrow as pa
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

from .encode import Framing
from .events import CAPTURED, DECODED, print_events, with_names
from .files import PIPE, InputError, RowFormat, RowsOut, refuse_row_suffix
from .files import row_format as format_of
from .output import whole_output
from .rejects import open_rejects
from .report import error_line, note, plural, progress

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
    is 1. In NDJSON and CSV the data sets (EventInformation, EventReply) are base64.

    Example: fastdimse decode events.bin -o events.parquet
    """
    refuse_row_suffix(stream)
    if as_json and (out is not None or row_format is not None):
        raise InputError("--json is NDJSON on standard output: leave out -o and --format")
    if out is None and row_format is not None:
        raise InputError("--format is of the rows that -o OUT writes: give -o, or -o -")
    if names and out is None and not as_json:
        raise InputError("--names is of the rows that -o or --json write: the table has the names")
    if as_json:
        out, row_format = PIPE, RowFormat.NDJSON
    with _open_stream(stream) as data:
        with progress("decoding", None):
            decoded = _decoded(data, framing.value)
        events = pa.table(decoded)
        found = decoded.broken if isinstance(decoded, CapturedEvents) else decoded.rejected
        with open_rejects(rejects, faults=isinstance(found, Faults)) as rejected:
            rejected.add(found)
            if out is not None:
                rows = with_names(events) if names else events
                _write(rows, out, format_of(out, row_format))
    if out is None:
        print_events(events, head, CAPTURED if isinstance(decoded, CapturedEvents) else DECODED)
        print(_counts(decoded, events))
    else:
        note(_counts(decoded, events))
    if rejects is None:
        rejected.show(first="message")
    if isinstance(found, Rejections):
        _say_where_broken_off(stream, found)
    if rejected.count:
        raise typer.Exit(1)


def _decoded(
    data: Any, framing: Literal["p-data", "command-set"]
) -> CapturedEvents | DecodedEvents:
    """Decode a capture, or else a stream."""
    try:
        return decode_capture(data)
    except DecodeError as error:
        if error.code != "not-a-capture":
            raise
    return decode_events(data, framing=framing, on_invalid="skip")


@contextmanager
def _open_stream(path: str) -> Iterator[Any]:
    if path == PIPE:
        yield sys.stdin.buffer.read()
        return
    with open(path, "rb") as file:
        # An empty file, and a pipe by name, can't be mapped.
        try:
            data: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):
            data = file.read()
        yield data


def _write(events: Any, path: str, chosen: RowFormat) -> None:
    text = chosen in (RowFormat.NDJSON, RowFormat.CSV)
    sink_of = nullcontext(sys.stdout.buffer) if path == PIPE and text else whole_output(path)
    with (
        sink_of as sink,
        progress("writing", events.num_rows, on_stdout=path == PIPE) as advanced,
    ):
        rows = RowsOut(sink, path, chosen, events.schema)
        rows.write(events, advanced)
        rows.close()


def _counts(decoded: CapturedEvents | DecodedEvents, events: Any) -> str:
    others = sum(decoded.stepped_over.values())
    kinds = ", ".join(f"{name} {n:,}" for name, n in decoded.stepped_over.items())
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
