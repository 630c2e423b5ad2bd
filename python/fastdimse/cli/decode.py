"""``fastdimse decode``: a P-DATA stream, or a capture, to rows."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute
import typer

from fastdimse import (
    CapturedActions,
    CapturedEvents,
    DecodedEvents,
    DecodeError,
    Faults,
    Rejections,
    decode_capture,
    decode_events,
)

from . import options
from .atomic_output import atomic_output
from .dicom_json import to_dicom_json
from .errors import InputError
from .event_table import CAPTURED, DECODED, print_events, with_actions, with_names
from .exit_codes import ExitCode
from .inputs import PIPE, input_name, read_input
from .options import (
    IMPLICIT_VR,
    DataSetForm,
    EncodedSyntax,
    Framing,
    FramingOption,
    Head,
    Rejects,
    flag,
)
from .rejections import open_rejections
from .row_files.columns import DATA_SETS
from .row_files.formats import RowFormat, reject_row_suffix
from .row_files.formats import row_format as format_of
from .row_files.read import first_line
from .row_files.write import RowWriter
from .terminal import error_line, note, plural, progress

# Codes of a stream that ends within a PDU or a message.
_INCOMPLETE_STREAM = ("truncated", "stream-ends")

_Framing = Literal["p-data", "command-set"]


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
            help="Write rows to this file, or to standard output (-), and print no table.",
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
    head: Head = 100,
    names: Annotated[
        bool,
        flag("--names", "Add the columns EventTypeName and StatusName to OUT."),
    ] = False,
    actions: Annotated[
        bool,
        flag("--actions", "Write the N-ACTION messages of a capture to OUT, not its events."),
    ] = False,
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
    """Decode the N-EVENT-REPORT messages of a stream or a capture to a table, or to rows.

    A stream is one direction of an association, as it was received. PDUs and messages of other
    kinds are skipped. A capture is recognized by its content; each of its rows is an event with its
    response. The table of a capture also shows actions (N-ACTION) with their responses. Input that
    cannot be decoded is omitted and reported, and the exit code is 1.

    The table shows data sets (EventInformation, EventReply) by their attributes. Rows contain their
    bytes (base64 in NDJSON and CSV) unless --data-sets selects another form.

    Example: fastdimse decode events.bin -o events.parquet
    """
    reject_row_suffix(stream)
    if as_json and (out is not None or row_format is not None):
        raise InputError("--json cannot be used with --out or --format")
    if out is None and not as_json:
        for given, option in (
            (row_format, "--format"),
            (names or None, "--names"),
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
    data = read_input(stream)
    with progress("decoding", None):
        decoded, events = _decode(data, framing.value, data_sets, transfer_syntax)
    found = decoded.faults if isinstance(decoded, CapturedEvents) else decoded.rejected
    with open_rejections(rejects, faults=isinstance(found, Faults)) as rejected:
        rejected.add(found)
        if out is not None and chosen is not None:
            rows = with_names(events) if names else events
            if actions:
                rows = _actions(decoded)
            _write(rows, out, chosen, DATA_SETS if data_sets is DataSetForm.DICOM_JSON else ())
    if out is not None:
        note(_summary(decoded, events))
    elif isinstance(decoded, CapturedEvents):
        print_events(with_actions(events, decoded.actions), head, CAPTURED, None)
        print(_summary(decoded, events))
    else:
        print_events(events, head, DECODED, transfer_syntax or IMPLICIT_VR)
        print(_summary(decoded, events))
    if rejects is None:
        rejected.show(counted="message")
    if isinstance(found, Rejections):
        _report_incomplete_stream(stream, found)
    if rejected.count:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _decode(
    data: bytes, framing: _Framing, form: DataSetForm | None, transfer_syntax: str | None
) -> tuple[CapturedEvents | DecodedEvents, Any]:
    """Decode a capture or a stream; return it, and its rows as they are written."""
    given: Literal["binary", "structured"] = (
        "binary" if form in (None, DataSetForm.BYTES) else "structured"
    )
    decoded: CapturedEvents | DecodedEvents
    try:
        decoded = decode_capture(data, event_information=given, event_reply=given)
    except DecodeError as error:
        if error.code != "not-a-capture":
            raise
        decoded = _decode_stream(data, framing, given, transfer_syntax)
    else:
        if transfer_syntax is not None:
            raise InputError("--transfer-syntax cannot be used for a capture, which states its own")
    events = pa.table(decoded)
    if form is DataSetForm.DICOM_JSON:
        events = _with_dicom_json(events, _encoded(data, decoded, framing), transfer_syntax)
    return decoded, _without_empty_structs(events)


def _decode_stream(
    data: bytes,
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


def _encoded(data: bytes, decoded: CapturedEvents | DecodedEvents, framing: _Framing) -> Any:
    """Return the encoded data sets of the same rows, with their transfer syntaxes if known."""
    if isinstance(decoded, CapturedEvents):
        return pa.table(decode_capture(data)).select([*DATA_SETS, "TransferSyntaxUID"])
    encoded = decode_events(data, framing=framing, on_invalid="skip")
    kept = pa.compute.is_in(pa.array(encoded.offsets), value_set=pa.array(decoded.offsets))
    columns = {name: pa.table(encoded).column(name).cast(pa.binary()) for name in DATA_SETS}
    return pa.table(columns).filter(kept)


def _with_dicom_json(events: Any, encoded: Any, transfer_syntax: str | None) -> Any:
    """Return the events with data sets as DICOM JSON text; null where a data set is invalid."""
    syntaxes = (
        encoded.column("TransferSyntaxUID").to_pylist()
        if "TransferSyntaxUID" in encoded.column_names
        else [transfer_syntax] * encoded.num_rows
    )
    for name in DATA_SETS:
        valid = events.column(name).is_valid().to_pylist()
        rows = zip(encoded.column(name).to_pylist(), valid, syntaxes, strict=True)
        texts = [to_dicom_json(one, syntax) if is_valid else None for one, is_valid, syntax in rows]
        index = events.column_names.index(name)
        events = events.set_column(index, name, pa.array(texts, pa.string()))
    return events


def _without_empty_structs(events: Any) -> Any:
    """Return columns of structs without fields as bytes: Parquet does not support them."""
    for name in DATA_SETS:
        column = events.column(name)
        if pa.types.is_struct(column.type) and column.type.num_fields == 0:
            values = [None if one is None else b"" for one in column.to_pylist()]
            index = events.column_names.index(name)
            events = events.set_column(index, name, pa.array(values, pa.binary()))
    return events


def _write(events: Any, path: str, chosen: RowFormat, json_columns: Sequence[str]) -> None:
    text = chosen in (RowFormat.NDJSON, RowFormat.CSV)
    output = nullcontext(sys.stdout.buffer) if path == PIPE and text else atomic_output(path)
    with (
        output as sink,
        progress("writing", events.num_rows, on_stdout=path == PIPE) as advanced,
    ):
        rows = RowWriter(sink, path, chosen, events.schema, json_columns)
        try:
            rows.write(events, advanced)
            rows.close()
        except pa.ArrowException as error:
            raise InputError(
                f"{path}: cannot be written as {chosen}: {first_line(error)}"
            ) from error


def _actions(decoded: CapturedEvents | DecodedEvents) -> Any:
    if isinstance(decoded, DecodedEvents):
        raise InputError("--actions can only be used for a capture")
    return pa.table(decoded.actions)


def _summary(decoded: CapturedEvents | DecodedEvents, events: Any) -> str:
    others = sum(decoded.skipped.values())
    kinds = ", ".join(f"{name} {n:,}" for name, n in decoded.skipped.items())
    return f"{_counts(decoded, events)}, {plural(others, 'other PDU')} skipped" + (
        f" ({kinds})" if kinds else ""
    )


def _counts(decoded: CapturedEvents | DecodedEvents, events: Any) -> str:
    requests = events.column("MessageIDBeingRespondedTo").null_count
    responses = len(decoded) - requests
    if isinstance(decoded, DecodedEvents):
        return f"{plural(requests, 'request')}, {plural(responses, 'response')}"
    outstanding = events.column("Latency").null_count - responses
    return (
        f"{plural(requests, 'event')}, {outstanding:,} without a response"
        + (f", {plural(responses, 'response')} without a request" if responses else "")
        + _count_of_actions(decoded.actions)
        + f"; {plural(decoded.associations, 'association')} in "
        f"{plural(decoded.streams, 'TCP stream')} of {plural(decoded.packets, 'packet')}"
    )


def _count_of_actions(actions: CapturedActions) -> str:
    if not len(actions):
        return ""
    outstanding = sum(response is None for _, response in actions)
    return f"; {plural(len(actions), 'action')}, {outstanding:,} without a response"


def _report_incomplete_stream(path: str, rejections: Rejections) -> None:
    if not rejections:
        return
    last = rejections[len(rejections) - 1]
    if last.code in _INCOMPLETE_STREAM:
        error_line(f"{input_name(path)}: incomplete from byte {last.offset}: {last.reason}")
