"""``fastdimse encode``: rows to a P-DATA stream, or to a capture."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, BinaryIO

import typer

from fastdimse import EncodedEvents, encode_batches, encode_capture

from .atomic_output import whole_output
from .data_sets import IMPLICIT_VR
from .rejections import Rejects, open_rejects
from .row_files.read import (
    CAPTURE_COLUMNS,
    EVENT_COLUMNS,
    PIPE,
    RowFormat,
    capture_format,
    open_rows,
    refuse_row_suffix,
)
from .row_files.rows import ArrowRows, InputError, MappedRows
from .terminal import note, plural, progress


class Framing(StrEnum):
    """What stands around a command set in a stream."""

    P_DATA = "p-data"
    COMMAND_SET = "command-set"


def _of_captures(text: str) -> Any:
    return typer.Option(help=f"{text}, where a row does not say so.", rich_help_panel="Captures")


def encode(
    rows: Annotated[
        str, typer.Argument(metavar="IN", help="Parquet, Arrow, NDJSON or CSV; - is stdin.")
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="The stream, - is stdout; or a capture, by the suffix .pcap or .pcapng.",
        ),
    ],
    row_format: Annotated[
        RowFormat | None,
        typer.Option("--format", "-f", help="The format of IN; by its suffix if not given."),
    ] = None,
    context_id: Annotated[
        int,
        typer.Option(
            help="Presentation context ID, where a row has none of its own; "
            "in a capture each SOP class has its own."
        ),
    ] = 1,
    max_pdu_length: Annotated[
        int, typer.Option(help="The receiver's maximum PDU length; 0 is no limit.")
    ] = 16382,
    framing: Annotated[
        Framing, typer.Option(help="Complete P-DATA-TF PDUs, or bare command sets.")
    ] = Framing.P_DATA,
    rejects: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the rejected rows' numbers and reasons."),
    ] = None,
    lenient_uids: Annotated[
        bool, typer.Option("--lenient-uids", help="Accept UIDs against PS3.5 9.1.")
    ] = False,
    calling_ae: Annotated[str, _of_captures("AE title of who sends events")] = "EVENT-SCP",
    called_ae: Annotated[str, _of_captures("AE title of who answers")] = "EVENT-SCU",
    source: Annotated[str, _of_captures("IP address of who sends events")] = "192.0.2.1",
    destination: Annotated[str, _of_captures("IP address of who answers")] = "192.0.2.2",
    transfer_syntax: Annotated[
        str,
        typer.Option(
            metavar="UID",
            help="What data sets given by their attributes are written in, Implicit or Explicit "
            "VR Little Endian; in a capture that of all, where a row does not say so.",
        ),
    ] = IMPLICIT_VR,
) -> None:
    """Encode rows of events as a P-DATA stream, or as a capture that Wireshark opens.

    A row is a response where MessageIDBeingRespondedTo is not null, else a request; in a
    capture a request with a Status has its response with it. Data sets (EventInformation,
    EventReply) are given by their attributes: objects in NDJSON, structs in Parquet and
    Arrow, with DICOM keywords; or encoded: bytes, base64 in NDJSON and CSV. Bad rows are
    left out and reported, and the exit code is 1. Rows are counted from 0.

    Example: fastdimse encode events.parquet -o events.bin --rejects bad.csv
    """
    if out != PIPE:
        refuse_row_suffix(out)
    format = capture_format(out)
    if format is not None and framing is not Framing.P_DATA:
        raise InputError("a capture has complete PDUs: leave out --framing")
    with (
        open_rows(rows, row_format, CAPTURE_COLUMNS if format else EVENT_COLUMNS) as events,
        whole_output(out) as sink,
        open_rejects(rejects) as rejected,
        progress("encoding", events.total) as advanced,
    ):
        events.advanced = advanced
        common = {
            "max_pdu_length": max_pdu_length,
            "enforce_uid_conformance": not lenient_uids,
            "transfer_syntax": transfer_syntax,
        }
        if format is None:
            done = _write_stream(
                events, sink, rejected, context_id=context_id, framing=framing.value, **common
            )
        else:
            done = _write_capture(
                events,
                sink,
                rejected,
                format=format,
                calling_ae=calling_ae,
                called_ae=called_ae,
                source=source,
                destination=destination,
                **common,
            )
    _summarize(rejected, rejects, done)


@contextmanager
def refusals(events: ArrowRows | MappedRows) -> Iterator[None]:
    """Let wrong columns and options leave as `InputError`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if events.failure is not None:
            raise
        raise InputError(str(error)) from error


def _write_stream(
    events: ArrowRows | MappedRows, sink: BinaryIO, rejected: Rejects, **options: Any
) -> str:
    """Encode in bounded memory."""
    messages = written = 0
    for encoded in _batches(events, **options):
        sink.write(encoded)
        messages += len(encoded)
        written += encoded.nbytes
        rejected.add(encoded.rejected)
    return f"{plural(messages, 'message')}, {plural(written, 'byte')}"


def _batches(events: ArrowRows | MappedRows, **options: Any) -> Iterator[EncodedEvents]:
    with refusals(events):
        yield from encode_batches(events, on_invalid="skip", **options)


def _write_capture(
    events: ArrowRows | MappedRows, sink: BinaryIO, rejected: Rejects, **options: Any
) -> str:
    with refusals(events):
        capture = encode_capture(events, on_invalid="skip", **options)
    sink.write(capture)
    rejected.add(capture.rejected)
    packets = plural(capture.packets, "packet")
    return f"{plural(events.read - len(capture.rejected), 'row')}, {packets}"


def _summarize(rejected: Rejects, file: str | None, done: str) -> None:
    if file is None:
        rejected.show()
    note(f"{done} encoded; {plural(rejected.count, 'row')} rejected")
    if rejected.count:
        raise typer.Exit(1)
