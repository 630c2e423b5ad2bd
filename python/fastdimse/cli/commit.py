"""``fastdimse commit``: request the storage commitment of DICOM files, and show the results."""

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fastdimse import AssociationError, Peer

from .errors import InputError, invalid_options
from .exit_codes import ExitCode
from .options import (
    ASSOCIATION,
    RESULTS,
    Ca,
    Certificate,
    Head,
    Host,
    Key,
    LocalAE,
    NoHostnameCheck,
    Passcode,
    PeerAE,
    Port,
    ServerName,
    Username,
    UseTLS,
    client_tls,
    flag,
    in_range,
)
from .terminal import note, plural, print_json, print_line, print_table, printable

_ORDER = ["failed", "late", "open", "committed"]
# Files that cannot be read to list, before only their number is printed.
_MAX_UNREADABLE = 20


def commit(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="DICOM files, or folders of them.")
    ],
    host: Host,
    port: Port,
    called_ae: PeerAE = "ANY-SCP",
    calling_ae: LocalAE = "COMMIT-SCU",
    listen_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            callback=in_range(0, 65535),
            help="Also listen on this port for reports on associations that the peer opens. The "
            "peer must have the local AE title, address and this port in its configuration.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", callback=in_range(0), help="Maximum time to wait for the reports."
        ),
    ] = 60.0,
    database: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep requests and reports in this file. The same command then waits for the "
            "reports of open requests, and does not request committed instances again.",
        ),
    ] = None,
    repeat: Annotated[
        bool, flag("--repeat", "Request all instances, including those committed in --database.")
    ] = False,
    max_references: Annotated[
        int,
        typer.Option(
            metavar="N",
            callback=in_range(1),
            help="Maximum number of instances of a transaction.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = 1000,
    head: Head = 50,
    as_json: Annotated[
        bool, flag("--json", "Print a JSON object for each instance instead of a table.", RESULTS)
    ] = False,
    tls: UseTLS = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    no_hostname_check: NoHostnameCheck = False,
    username: Username = None,
    passcode: Passcode = None,
) -> None:
    """Ask an archive to confirm that it stores DICOM files safely (storage commitment, PS3.4 J).

    The association remains open for the reports of the archive. Most archives report on an
    association of their own: see --listen-port.

    The exit code is 1 if an instance is not committed: failed, or without a report.

    Example: fastdimse commit study pacs.example.org 104 --called-ae PACS --listen-port 11112
    """
    from fastdimse import storage_commitment

    secure = client_tls(
        tls=tls,
        ca=ca,
        certificate=certificate,
        key=key,
        server_name=server_name,
        no_hostname_check=no_hostname_check,
    )
    with invalid_options():
        peer = Peer(
            host,
            port,
            role="scu",
            called_ae=called_ae,
            calling_ae=calling_ae,
            sop_classes=["1.2.840.10008.1.20.1"],
            tls=secure,
            username=username,
            passcode=passcode,
        )
    references = storage_commitment.read_references(paths)
    _print_unreadable(references.unreadable)
    if not references.references:
        raise InputError("no DICOM instances in " + ", ".join(map(str, paths)))
    count = plural(len(references.references), "instance")
    note(f"requesting commitment of {count} from {called_ae}@{host}:{port}")
    try:
        results = storage_commitment.commit(
            peer,
            references,
            database=database,
            port=listen_port,
            timeout=timeout,
            max_references=max_references,
            repeat=repeat,
        )
    except AssociationError as error:
        raise InputError(f"{called_ae}@{host}:{port}: {error}") from error
    if as_json:
        _print_json(results)
    else:
        _print_results(results, head)
    if set(results["State"]) != {"committed"}:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _print_unreadable(unreadable: dict[str, str]) -> None:
    for path, reason in list(unreadable.items())[:_MAX_UNREADABLE]:
        note(f"not requested: {path}: {reason}")
    if len(unreadable) > _MAX_UNREADABLE:
        note(f"not requested: {plural(len(unreadable) - _MAX_UNREADABLE, 'other file')}")


def _print_json(results: dict[str, list[Any]]) -> None:
    for row in _rows(results):
        for name in ("Requested", "Reported"):
            if row[name] is not None:
                row[name] = datetime.fromtimestamp(row[name] / 1e9, UTC).isoformat()
        row["File"] = str(row["File"])
        print_json(row)


def _rows(results: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [
        dict(zip(results, values, strict=True)) for values in zip(*results.values(), strict=True)
    ]


def _print_results(results: dict[str, list[Any]], head: int) -> None:
    rows = sorted(_rows(results), key=lambda row: _ORDER.index(row["State"]))
    shown = rows[:head] if head else rows
    table = Table()
    narrow = Table()
    for one, columns in (
        (table, ("file", "SOP Instance UID", "state", "reason")),
        (narrow, ("file", "state", "reason")),
    ):
        for name in columns:
            one.add_column(name, overflow="fold")
    for row in shown:
        cells = [row["File"], row["ReferencedSOPInstanceUID"], row["State"], row["Reason"] or ""]
        cells = [printable(str(cell)) for cell in cells]
        table.add_row(*cells)
        narrow.add_row(cells[0], *cells[2:])
    print_table(table, sys.stdout, narrow)
    if len(shown) < len(rows):
        print_line(f"... and {len(rows) - len(shown):,} more")
    counts = Counter(results["State"])
    summary = ", ".join(f"{counts[state]:,} {state}" for state in reversed(_ORDER) if counts[state])
    print_line(f"{plural(len(rows), 'instance')}: {summary}")
