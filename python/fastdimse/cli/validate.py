"""``fastdimse validate``: rows that cannot be encoded, and the reasons."""

import sys
from typing import Annotated, Any

import typer

from fastdimse import validate_events

from .exit_codes import ExitCode
from .inputs import PIPE
from .options import (
    IMPLICIT_VR,
    Head,
    IgnoreColumns,
    InputFormat,
    LenientUIDs,
    RowsIn,
    StructuredSyntax,
    flag,
)
from .rejections import rejection_table, rejections_as_rows, with_unreadable
from .row_files.formats import RowFormat
from .row_files.rows import invalid_rows
from .row_files.several import open_all_rows
from .row_files.write import RowWriter
from .terminal import note, plural, print_line, print_table, progress


def validate(
    rows: RowsIn,
    row_format: InputFormat = None,
    as_json: Annotated[bool, flag("--json", "Print each rejection as a JSON object.")] = False,
    head: Head = 100,
    lenient_uids: LenientUIDs = False,
    ignore_columns: IgnoreColumns = False,
    transfer_syntax: StructuredSyntax = IMPLICIT_VR,
    standard: Annotated[
        bool,
        flag(
            "--standard",
            "Also report deviations from PS3.4: event types of the SOP class and their required "
            "attributes.",
        ),
    ] = False,
) -> None:
    """Check rows of events without encoding them.

    Several files are read as one: in the given order, and sorted by name in a folder.

    The exit code is 0 if all rows are valid, and 1 otherwise. Rows are counted from 0, over all
    files.

    Example: fastdimse validate events.csv --json
    """
    with (
        open_all_rows(rows, row_format, ignore_others=ignore_columns) as source,
        progress("checking", source.total) as advanced,
        invalid_rows(source),
    ):
        source.advanced = advanced
        found = validate_events(
            source,
            check="standard" if standard else "form",
            enforce_uid_conformance=not lenient_uids,
            transfer_syntax=transfer_syntax,
            other_columns="ignore" if ignore_columns else "raise",
        )
    rejections: Any = with_unreadable(found, source) if source.is_text else found
    if as_json:
        table = rejections_as_rows(rejections, source)
        RowWriter(sys.stdout.buffer, PIPE, RowFormat.NDJSON, table.schema).write(table)
        sys.stdout.buffer.flush()
    elif rejections:
        count = min(head or len(rejections), len(rejections))
        shown = [rejections[i] for i in range(count)]
        print_table(rejection_table(shown, rows=source), sys.stdout)
        if count < len(rejections):
            print_line(f"{len(rejections) - count:,} more; --head 0 prints all")
    note(f"{plural(source.read, 'row')}, {len(rejections):,} rejected")
    if rejections:
        raise typer.Exit(ExitCode.INCOMPLETE)
