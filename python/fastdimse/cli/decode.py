"""``fastdimse decode``: a P-DATA stream, or a capture, to a table or to rows."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from fastdimse import CapturedEvents, Rejections

from . import options
from .atomic_output import check_outputs
from .capture_summary import Summary
from .decoded_input import DecodedInput
from .decoded_rows import open_rows
from .delivery_plot import picture_format
from .errors import InputError
from .event_filters import event_filters
from .event_rows import event_rows
from .exit_codes import ExitCode
from .inputs import PIPE, input_name
from .latency_picture import LatencyPicture
from .options import (
    DataSetForm,
    EncodedSyntax,
    EventFilter,
    FailedFilter,
    Framing,
    FramingOption,
    LatencyFilter,
    PeerFilter,
    Rejects,
    SinceFilter,
    StatusFilter,
    UnansweredFilter,
    UntilFilter,
    flag,
    in_range,
)
from .printed_events import PrintedEvents
from .rejections import open_rejections
from .row_files.formats import RowFormat, reject_row_suffix
from .row_files.formats import row_format as format_of
from .terminal import error_line, note, progress

# Codes of a stream that ends within a PDU or a message.
_INCOMPLETE_STREAM = ("truncated", "stream-ends")
_HEAD = 100


def decode(
    stream: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="A P-DATA stream, or a capture (pcap, pcapng); - for standard input."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="Write rows to this file, or to standard output (-), and print no lines.",
        ),
    ] = None,
    row_format: Annotated[
        RowFormat | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="Format of OUT: parquet, arrow, ndjson or csv. Default: by the suffix.",
        ),
    ] = None,
    as_json: Annotated[
        bool, flag("--json", "Write NDJSON to standard output: -o - -f ndjson.")
    ] = False,
    full: Annotated[
        bool, flag("--full", "Print all fields and the data sets of each event.")
    ] = False,
    only_summary: Annotated[
        bool,
        flag("--summary", "Print only a summary: by peer and SOP class, failures, faults."),
    ] = False,
    head: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=in_range(0),
            help="Print at most this many events; with --summary, rows of each table. 0: no limit. "
            f"Default: {_HEAD} events, no limit for standard input; 20 rows.",
        ),
    ] = None,
    names: Annotated[
        bool,
        flag("--names", "Add columns of names to OUT. Printed events always have names."),
    ] = False,
    actions: Annotated[
        bool,
        flag("--actions", "Write the N-ACTION messages of a capture to OUT, not its events."),
    ] = False,
    peers: PeerFilter = None,
    statuses: StatusFilter = None,
    kinds: EventFilter = None,
    unanswered: UnansweredFilter = False,
    failed: FailedFilter = False,
    slower_than: LatencyFilter = None,
    since: SinceFilter = None,
    until: UntilFilter = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the latency over time by peer in this file (.svg or .png). Needs the extra "
            "picture.",
        ),
    ] = None,
    data_sets: Annotated[
        DataSetForm | None,
        typer.Option(
            metavar="FORM",
            help="Data sets in OUT: bytes (default), structured (attributes by keyword), or, in "
            "NDJSON, dicom-json (DICOM JSON model).",
            rich_help_panel=options.DATA_SETS,
        ),
    ] = None,
    transfer_syntax: EncodedSyntax = None,
    framing: FramingOption = Framing.P_DATA,
    rejects: Rejects = None,
) -> None:
    """Decode the N-EVENT-REPORT messages of a stream or a capture: a line for each, or rows.

    A stream is one direction of an association, as it was received. PDUs and messages of other
    kinds are skipped. A capture is recognized by its content; each of its rows is an event with its
    response. The lines of a capture also show actions (N-ACTION) with their responses. Input that
    cannot be decoded is omitted and reported, and the exit code is 1.

    Lines fit the width of the terminal. In a pipe, the width is that of COLUMNS, or 100. A short
    summary follows them. Rows contain the bytes of data sets (base64 in NDJSON and CSV) unless
    --data-sets selects another form.

    Example: fastdimse decode capture.pcap --unanswered --failed
    """
    reject_row_suffix(stream)
    if as_json and (out is not None or row_format is not None):
        raise InputError("--json cannot be used with --out or --format")
    if out is None and not as_json:
        for given, option in (
            (row_format, "--format"),
            (actions or None, "--actions"),
            (data_sets, "--data-sets"),
        ):
            if given is not None:
                raise InputError(f"{option} requires --out or --json: it applies to rows only")
    if actions and (names or data_sets not in (None, DataSetForm.BYTES)):
        raise InputError("--actions cannot be used with --names, and only with --data-sets bytes")
    if as_json:
        out, row_format = PIPE, RowFormat.NDJSON
    chosen = None if out is None else format_of(out, row_format)
    if data_sets is DataSetForm.DICOM_JSON and chosen is not RowFormat.NDJSON:
        raise InputError("--data-sets dicom-json requires NDJSON")
    if full and (out is not None or only_summary):
        raise InputError("--full cannot be used with --out, --json or --summary")
    filters = event_filters(
        peers=peers or (),
        statuses=statuses or (),
        events=kinds or (),
        unanswered=unanswered,
        failed=failed,
        slower_than=slower_than,
        since=since,
        until=until,
    )
    if head is not None:
        head = min(head, sys.maxsize)
    if picture is not None:
        picture_format(picture)
    check_outputs(
        [stream],
        {
            "--out": out,
            "--rejects": rejects,
            "--picture": None if picture is None else str(picture),
        },
    )
    form = data_sets or DataSetForm.BYTES
    # Only NDJSON can have other attributes in each batch.
    at_once = form is DataSetForm.STRUCTURED and chosen is not RowFormat.NDJSON
    with DecodedInput(stream, framing, form, transfer_syntax, at_once=at_once) as source:
        if not source.is_capture:
            filters.check_stream()
            for is_given, option in ((actions, "--actions"), (picture is not None, "--picture")):
                if is_given:
                    raise InputError(f"{option} can only be used for a capture")
        printer = PrintedEvents(
            captured=source.is_capture,
            full=full,
            limit=head if head is not None else 0 if stream == PIPE else _HEAD,
            at_once=stream == PIPE,
            transfer_syntax=transfer_syntax,
        )
        drawing = None if picture is None else LatencyPicture(picture)
        summary = Summary(captured=source.is_capture, filtered=bool(filters))
        with_bar = out is not None or only_summary
        bar = progress("decoding", None, on_stdout=out == PIPE) if with_bar else nullcontext()
        output = (
            nullcontext()
            if out is None or chosen is None
            else open_rows(
                out,
                chosen,
                actions=actions,
                names=names,
                form=form,
                transfer_syntax=transfer_syntax,
            )
        )
        interrupted: ExitCode | None = None
        last: Rejections | None = None
        try:
            with (
                bar as advanced,
                open_rejections(rejects, faults=source.is_capture) as rejected,
                output as rows,
            ):
                try:
                    for batch in source:
                        decoded = batch.decoded
                        if isinstance(decoded, CapturedEvents):
                            rejected.add(decoded.faults)
                        else:
                            last = decoded.rejected or last
                            rejected.add(decoded.rejected)
                        tables = event_rows(decoded, transfer_syntax)
                        masks = filters.masks(tables)
                        kept = [one.filter(mask) for one, mask in zip(tables, masks, strict=True)]
                        summary.add(decoded, tables, kept)
                        if drawing is not None:
                            drawing.add(kept)
                        if rows is not None:
                            part = 1 if actions else 0
                            rows.write(batch, tables[part], masks[part])
                        elif not only_summary:
                            printer.add(kept)
                        if advanced is not None:
                            advanced(len(decoded))
                except (KeyboardInterrupt, SystemExit) as error:
                    # A growing capture ends so. Of another input the output is removed.
                    code = getattr(error, "code", ExitCode.INTERRUPTED)
                    if stream != PIPE or code not in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
                        raise
                    interrupted = ExitCode(code)
        except KeyboardInterrupt:
            interrupted = ExitCode.INTERRUPTED
    if drawing is not None:
        drawing.draw()
    if out is None and not only_summary:
        printer.end()
    if only_summary or out is None:
        # After lines, --head is the number of these.
        limit = head if only_summary or head == 0 else None
        to = sys.stderr if out == PIPE else sys.stdout
        summary.print(to, short=not only_summary, limit=limit)
    else:
        note(summary.counts())
        if rejects is None:
            summary.print_faults(sys.stderr)
    for text in filters.unmatched_peers():
        note(text)
    if not source.is_capture:
        if rejects is None:
            rejected.show(counted="message")
        _report_incomplete_stream(stream, last)
    if interrupted is not None:
        raise typer.Exit(interrupted)
    if rejected.count:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _report_incomplete_stream(path: str, rejections: Rejections | None) -> None:
    if not rejections:
        return
    last = rejections[len(rejections) - 1]
    if last.code in _INCOMPLETE_STREAM:
        error_line(f"{input_name(path)}: incomplete from byte {last.offset}: {last.reason}")
