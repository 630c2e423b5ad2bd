"""``fastdimse encode``: rows to a P-DATA stream."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from fastdimse import EncodedEvents, encode_batches

from .files import PIPE, InputError, RowFormat, Rows, open_rows, refuse_row_suffix
from .output import whole_output
from .rejects import Rejects, open_rejects
from .report import note, plural, progress


class Framing(StrEnum):
    """What stands around a command set in a stream."""

    P_DATA = "p-data"
    COMMAND_SET = "command-set"


def encode(
    rows: Annotated[
        str, typer.Argument(metavar="IN", help="Parquet, Arrow, NDJSON or CSV; - is stdin.")
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="OUT", help="The stream; - is stdout.")
    ],
    row_format: Annotated[
        RowFormat | None, typer.Option("--format", "-f", help="Of IN; else by its suffix.")
    ] = None,
    context_id: Annotated[
        int,
        typer.Option(help="Presentation context ID, where a row has none of its own."),
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
) -> None:
    """Encode rows of events as a P-DATA stream.

    A row is a response where MessageIDBeingRespondedTo is not null, else a request. In
    NDJSON and CSV the data sets (EventInformation, EventReply) are base64. Bad rows are
    left out and reported, and the exit code is 1. Rows are counted from 0.

    Example: fastdimse encode events.parquet -o events.bin --rejects bad.csv
    """
    if out != PIPE:
        refuse_row_suffix(out)
    with (
        open_rows(rows, row_format) as source,
        whole_output(out) as sink,
        open_rejects(rejects) as rejected,
        progress("encoding", source.total) as advanced,
    ):
        source.advanced = advanced
        messages = written = 0
        for encoded in _encoded(
            source,
            context_id=context_id,
            max_pdu_length=max_pdu_length,
            framing=framing.value,
            enforce_uid_conformance=not lenient_uids,
        ):
            sink.write(encoded)
            messages += len(encoded)
            written += encoded.nbytes
            rejected.add(encoded.rejected)
    _summarize(rejected, rejects, f"{plural(messages, 'message')}, {plural(written, 'byte')}")


def _encoded(source: Rows, **keywords: Any) -> Iterator[EncodedEvents]:
    """Encode in bounded memory; wrong columns and options leave as `InputError`."""
    try:
        yield from encode_batches(source, on_invalid="skip", **keywords)
    except (TypeError, ValueError) as error:
        if source.failure is not None:
            raise
        raise InputError(str(error)) from error


def _summarize(rejected: Rejects, file: str | None, done: str) -> None:
    if file is None:
        rejected.show()
    note(f"{done} encoded; {plural(rejected.count, 'row')} rejected")
    if rejected.count:
        raise typer.Exit(1)
