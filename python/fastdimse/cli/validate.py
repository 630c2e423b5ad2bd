"""``fastdimse validate``: which rows could not be encoded, and why."""

import sys
from typing import Annotated, Any

import pyarrow as pa
import typer

from fastdimse import Rejections, validate_events

from .data_sets import IMPLICIT_VR
from .row_files.read import PIPE, RowFormat, RowsOut, open_rows
from .row_files.rows import ArrowRows, InputError, MappedRows
from .terminal import note, plural, print_table, progress, rejection_table


def validate(
    rows: Annotated[
        str, typer.Argument(metavar="IN", help="Parquet, Arrow, NDJSON or CSV; - is stdin.")
    ],
    row_format: Annotated[
        RowFormat | None,
        typer.Option("--format", "-f", help="The format of IN; by its suffix if not given."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object a line for each rejection.")
    ] = False,
    head: Annotated[
        int, typer.Option(min=0, help="The most rejections in the table; 0 is all.")
    ] = 100,
    lenient_uids: Annotated[
        bool, typer.Option("--lenient-uids", help="Accept UIDs against PS3.5 9.1.")
    ] = False,
    transfer_syntax: Annotated[
        str,
        typer.Option(
            metavar="UID",
            help="What data sets given by their attributes are to be written in, Implicit or "
            "Explicit VR Little Endian.",
        ),
    ] = IMPLICIT_VR,
    standard: Annotated[
        bool, typer.Option("--standard", help="Hold events to PS3.4 too: types, attributes.")
    ] = False,
) -> None:
    """Check rows of events without encoding them.

    The exit code is 0 when every row is good, 1 when one is not. Rows are counted from 0.

    Example: fastdimse validate events.csv --json
    """
    with (
        open_rows(rows, row_format) as source,
        progress("checking", source.total) as advanced,
    ):
        source.advanced = advanced
        rejections = _checked(
            source,
            check="standard" if standard else "form",
            enforce_uid_conformance=not lenient_uids,
            transfer_syntax=transfer_syntax,
        )
    if as_json:
        table = pa.table(rejections)
        RowsOut(sys.stdout.buffer, PIPE, RowFormat.NDJSON, table.schema).write(table)
        sys.stdout.buffer.flush()
    elif rejections:
        count = min(head or len(rejections), len(rejections))
        print_table(rejection_table([rejections[i] for i in range(count)]), sys.stdout)
        if count < len(rejections):
            print(f"and {len(rejections) - count:,} more; --head 0 shows all")
    note(f"{plural(source.read, 'row')}, {len(rejections):,} rejected")
    if rejections:
        raise typer.Exit(1)


def _checked(source: ArrowRows | MappedRows, **options: Any) -> Rejections:
    """Check the rows; wrong columns and options leave as `InputError`."""
    try:
        return validate_events(source, **options)
    except (TypeError, ValueError) as error:
        if source.failure is not None:
            raise
        raise InputError(str(error)) from error
