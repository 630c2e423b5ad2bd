"""``fastdimse encode``: rows to a P-DATA stream, or to a capture."""

from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

import typer

from fastdimse import EncodedEvents, encode_batches, encode_capture

from .atomic_output import atomic_output, check_outputs
from .errors import InputError
from .exit_codes import ExitCode
from .inputs import PIPE
from .options import (
    CAPTURES,
    ENCODING,
    IMPLICIT_VR,
    Framing,
    FramingOption,
    IgnoreColumns,
    InputFormat,
    LenientUIDs,
    Rejects,
    RowsIn,
    StructuredSyntax,
    flag,
)
from .rejections import RejectionLog, open_rejections
from .row_files.columns import CAPTURE_COLUMNS, EVENT_COLUMNS
from .row_files.formats import capture_format, reject_compression, reject_row_suffix
from .row_files.rows import ArrowRows, MappedRows, invalid_rows
from .row_files.several import open_all_rows
from .terminal import note, plural, print_json, progress


def _capture_option(metavar: str, help: str) -> Any:
    return typer.Option(
        metavar=metavar, help=f"{help}, for rows without one.", rich_help_panel=CAPTURES
    )


def encode(
    rows: RowsIn,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="The stream, or - for standard output; a capture, if the suffix is .pcap or "
            ".pcapng.",
        ),
    ],
    row_format: InputFormat = None,
    context_id: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Presentation context ID, for rows without one. In a capture, each SOP class has "
            "its own.",
            rich_help_panel=ENCODING,
        ),
    ] = 1,
    max_pdu_length: Annotated[
        int,
        typer.Option(
            metavar="BYTES",
            help="Maximum PDU length of the receiver. 0: no limit.",
            rich_help_panel=ENCODING,
        ),
    ] = 16382,
    framing: FramingOption = Framing.P_DATA,
    rejects: Rejects = None,
    lenient_uids: LenientUIDs = False,
    ignore_columns: IgnoreColumns = False,
    as_json: Annotated[
        bool, flag("--json", "Print the summary as a JSON object on standard output.")
    ] = False,
    calling_ae: Annotated[str, _capture_option("AE", "AE title of the sender")] = "EVENT-SCP",
    called_ae: Annotated[str, _capture_option("AE", "AE title of the receiver")] = "EVENT-SCU",
    source: Annotated[str, _capture_option("IP", "IP address of the sender")] = "192.0.2.1",
    destination: Annotated[str, _capture_option("IP", "IP address of the receiver")] = "192.0.2.2",
    transfer_syntax: StructuredSyntax = IMPLICIT_VR,
) -> None:
    """Encode rows of events as a P-DATA stream, or as a capture for Wireshark.

    A row with MessageIDBeingRespondedTo is a response; every other row is a request. In a capture,
    a request with a Status is followed by its response.

    Data sets (EventInformation, EventReply) are structured (objects in NDJSON, structs in Parquet
    and Arrow, with DICOM keywords) or encoded (bytes; base64 in NDJSON and CSV).

    Several files are read as one: in the given order, and sorted by name in a folder.

    Invalid rows are omitted and reported, and the exit code is 1. Rows are counted from 0, over all
    files.

    Example: fastdimse encode events.parquet -o events.bin --rejects bad.csv
    """
    if as_json and out == PIPE:
        raise InputError("--json cannot be used with -o -: both write to standard output")
    if out != PIPE:
        reject_row_suffix(out)
        reject_compression(out)
    format = capture_format(out)
    if format is not None and framing is not Framing.P_DATA:
        raise InputError("--framing command-set cannot be used for a capture")
    columns = CAPTURE_COLUMNS if format else EVENT_COLUMNS
    check_outputs(rows, {"--out": out, "--rejects": rejects})
    with (
        open_all_rows(rows, row_format, columns, ignore_others=ignore_columns) as events,
        atomic_output(out) as sink,
        open_rejections(rejects, rows=events) as rejected,
        progress("encoding", events.total) as advanced,
    ):
        events.advanced = advanced
        common = {
            "max_pdu_length": max_pdu_length,
            "enforce_uid_conformance": not lenient_uids,
            "transfer_syntax": transfer_syntax,
            "other_columns": "ignore" if ignore_columns else "raise",
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
    if rejects is None:
        rejected.show()
    if as_json:
        print_json({**done, "rejected": rejected.count})
    counts = ", ".join(plural(count, things.removesuffix("s")) for things, count in done.items())
    note(f"{counts} encoded; {plural(rejected.count, 'row')} rejected")
    if rejected.count:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _write_stream(
    events: ArrowRows | MappedRows, sink: BinaryIO, rejected: RejectionLog, **options: Any
) -> dict[str, int]:
    """Encode in bounded memory, and return counts."""
    messages = written = 0
    for encoded in _batches(events, **options):
        sink.write(encoded)
        messages += len(encoded)
        written += encoded.nbytes
        rejected.add(encoded.rejected)
    return {"messages": messages, "bytes": written}


def _batches(events: ArrowRows | MappedRows, **options: Any) -> Iterator[EncodedEvents]:
    with invalid_rows(events):
        yield from encode_batches(events, on_invalid="skip", **options)


def _write_capture(
    events: ArrowRows | MappedRows, sink: BinaryIO, rejected: RejectionLog, **options: Any
) -> dict[str, int]:
    with invalid_rows(events):
        capture = encode_capture(events, on_invalid="skip", **options)
    sink.write(capture)
    rejected.add(capture.rejected)
    rows = events.read - len(capture.rejected)
    return {"rows": rows, "packets": capture.packets}
