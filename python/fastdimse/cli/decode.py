"""``fastdimse decode``: a P-DATA stream to rows."""

import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Annotated, Any, Literal

import pyarrow as pa
import typer
from rich.table import Table
from rich.text import Text

from fastdimse import DecodedEvents, Rejections, decode_events

from .encode import Framing
from .files import PIPE, InputError, RowFormat, RowsOut, refuse_row_suffix
from .files import row_format as format_of
from .output import whole_output
from .rejects import open_rejects
from .report import error_line, note, plural, print_table, printable, progress

# The rules that only the end of a stream breaks.
_BROKEN_OFF = ("truncated", "stream-ends")


def decode(
    stream: Annotated[str, typer.Argument(metavar="IN", help="A stream, as captured; - is stdin.")],
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
    framing: Annotated[
        Framing, typer.Option(help="Complete P-DATA-TF PDUs, or bare command sets.")
    ] = Framing.P_DATA,
    rejects: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write where bad messages are, and why."),
    ] = None,
) -> None:
    """Decode the N-EVENT-REPORT messages of a stream: a table, or rows in a file.

    One direction of an association is read as it was captured: other PDUs and messages
    are stepped over. Bad messages are left out and reported, and the exit code is 1. In
    NDJSON and CSV the data sets (EventInformation, EventReply) are base64.

    Example: fastdimse decode events.bin -o events.parquet
    """
    refuse_row_suffix(stream)
    if as_json and (out is not None or row_format is not None):
        raise InputError("--json is NDJSON on standard output: leave out -o and --format")
    if out is None and row_format is not None:
        raise InputError("--format is of the rows that -o OUT writes: give -o, or -o -")
    if as_json:
        out, row_format = PIPE, RowFormat.NDJSON
    with _open_stream(stream) as data:
        with progress("decoding", None):
            decoded = decode_events(data, framing=framing.value, on_invalid="skip")
        events = pa.table(decoded)
        with open_rejects(rejects) as rejected:
            rejected.add(decoded.rejected)
            if out is not None:
                _write(events, out, format_of(out, row_format))
    if out is None:
        _print_events(events, head)
        print(_counts(decoded, events))
    else:
        note(_counts(decoded, events))
    if rejects is None:
        rejected.show(first="message")
    _say_where_broken_off(stream, decoded.rejected)
    if rejected.count:
        raise typer.Exit(1)


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


def _print_events(events: Any, head: int) -> None:
    table = Table()
    headings: tuple[tuple[str, Literal["left", "right"]], ...] = (
        ("kind", "left"),
        ("Message ID", "right"),
        ("SOP class", "left"),
        ("SOP instance", "left"),
        ("Event Type", "right"),
        ("Status", "right"),
        ("data set", "right"),
    )
    for heading, justify in headings:
        table.add_column(heading, justify=justify, overflow="fold")
    shown = min(head or events.num_rows, events.num_rows)
    for event in events.slice(0, shown).to_pylist():
        table.add_row(*(Text(cell) for cell in _cells(event)))
    print_table(table, sys.stdout)
    if shown < events.num_rows:
        print(f"and {plural(events.num_rows - shown, 'more event')}; --head 0 shows all")


def _cells(event: dict[str, Any]) -> tuple[str, ...]:
    """Return an event as the table shows it."""
    answers = event["MessageIDBeingRespondedTo"]
    data_set = event["EventInformation"] if answers is None else event["EventReply"]
    status = event["Status"]
    return (
        "request" if answers is None else "response",
        _text(event["MessageID"] if answers is None else answers),
        _named(event["AffectedSOPClassUID"]),
        _text(event["AffectedSOPInstanceUID"]),
        _text(event["EventTypeID"]),
        "" if status is None else f"0x{status:04X}",
        "" if data_set is None else plural(len(data_set), "byte"),
    )


def _text(value: object) -> str:
    return "" if value is None else printable(str(value))


@cache
def _named(uid: str | None) -> str:
    """Return a SOP class UID with the name that pydicom knows for it."""
    if uid is None:
        return ""
    try:
        from pydicom.config import IGNORE
        from pydicom.uid import UID
    except ImportError:
        return printable(uid)
    name = UID(uid, IGNORE).name
    return printable(uid if name == uid else f"{uid} {name}")


def _counts(decoded: DecodedEvents, events: Any) -> str:
    requests = events.column("MessageIDBeingRespondedTo").null_count
    others = sum(decoded.stepped_over.values())
    kinds = ", ".join(f"{name} {n:,}" for name, n in decoded.stepped_over.items())
    return (
        f"{plural(requests, 'request')}, {plural(len(decoded) - requests, 'response')}, "
        f"{plural(others, 'other PDU')} stepped over"
    ) + (f" ({kinds})" if kinds else "")


def _say_where_broken_off(path: str, rejections: Rejections) -> None:
    """Say at which byte the stream ends that should go on."""
    if not rejections:
        return
    last = rejections[len(rejections) - 1]
    if last.code in _BROKEN_OFF:
        name = "standard input" if path == PIPE else path
        error_line(f"{name} breaks off at byte {last.offset}: {last.reason}")
