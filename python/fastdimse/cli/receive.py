"""``fastdimse receive``: events taken in and written to files."""

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fastdimse import Listener, listen

from .data_sets import DataSets
from .files import RowFormat
from .received_files import ReceivedFiles
from .report import LiveTable, note, plural, printable
from .rows import InputError, refused_values
from .security import Ca, Certificate, Key, server_tls

# Seconds between two looks at what came in.
_LOOK = 0.1


def receive(
    port: Annotated[int, typer.Argument(help="The port; 0 is any that is free.", min=0, max=65535)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "0.0.0.0",
    row_format: Annotated[
        RowFormat, typer.Option("--format", "-f", help="Of the files; but CSV.")
    ] = RowFormat.PARQUET,
    rotate_events: Annotated[
        int, typer.Option(min=1, help="A file has at most about so many events.")
    ] = 1_000_000,
    rotate_seconds: Annotated[
        float, typer.Option(min=0.1, help="A file is whole after so long.")
    ] = 3600.0,
    data_sets: Annotated[
        DataSets, typer.Option(help="What data sets are: bytes, or in NDJSON structured.")
    ] = DataSets.BYTES,
    sync: Annotated[
        bool, typer.Option("--sync", help="Answer when events are on the disk, not only in files.")
    ] = False,
    stop_after: Annotated[
        int | None, typer.Option(min=1, metavar="EVENTS", help="Take in so many, and end.")
    ] = None,
    called_ae: Annotated[
        str | None, typer.Option(help="The AE title by which this end must be called.")
    ] = None,
    calling_aes: Annotated[
        list[str] | None,
        typer.Option("--calling-ae", help="Who may call, if not all may; may be there again."),
    ] = None,
    window: Annotated[
        int, typer.Option(min=0, max=65535, help="How many events may be unanswered; 0 is any.")
    ] = 0,
    max_connections: Annotated[int, typer.Option(min=1, help="How many may be open.")] = 256,
    idle_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the next event may take.")
    ] = 60.0,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
) -> None:
    """Take events in and write them to files, each answered when it has been written.

    Files in DIR are whole, but the one that ends in .part: what is in it is not lost
    when this is killed, the next run makes a whole file of it. Ctrl-C ends the
    associations and makes the last file whole. With --certificate connections are
    secure; with --ca who connects needs a certificate of its authorities.

    Example: fastdimse receive 11112 -o events
    """
    if row_format is RowFormat.CSV:
        raise InputError("CSV is not written here: Parquet, Arrow or NDJSON")
    if data_sets is DataSets.DICOM_JSON:
        raise InputError("--data-sets is bytes or structured here")
    secure = server_tls(ca, certificate, key)
    files = ReceivedFiles(
        out,
        row_format,
        events=rotate_events,
        seconds=rotate_seconds,
        sync=sync,
        structured=data_sets is DataSets.STRUCTURED,
    )
    for line in files.recover():
        note(line)
    failures: Counter[str] = Counter()
    begin = time.monotonic()
    with refused_values():
        listener = listen(
            port,
            host=host,
            batch_handler=files.write,
            called_ae=called_ae,
            calling_aes=calling_aes,
            window=window,
            max_connections=max_connections,
            idle_timeout=idle_timeout,
            tls=secure,
        )
    try:
        with suppress(KeyboardInterrupt, SystemExit):
            note(f"listens on {host}:{listener.port}")
            _watch(listener, files, failures, stop_after)
    finally:
        _count(listener, failures)
        listener.close()
        files.close()
        _summarize(files, failures, time.monotonic() - begin, out)
    if files.failure is not None:
        raise files.failure


def _watch(
    listener: Listener, files: ReceivedFiles, failures: Counter[str], stop_after: int | None
) -> None:
    with LiveTable() as shown:
        while files.failure is None and (stop_after is None or files.events < stop_after):
            time.sleep(_LOOK)
            files.rotate()
            _count(listener, failures)
            shown.show(files.events, lambda rate: _table(listener, files, failures, rate))
    if stop_after is not None:
        # Those who sent have their answers before the end of their associations.
        end = time.monotonic() + 1
        while listener.connections and time.monotonic() < end:
            time.sleep(0.01)


def _count(listener: Listener, failures: Counter[str]) -> None:
    for line in listener.take_failures():
        # What stands in front is which association it was.
        failures[line.partition(": ")[2]] += 1


def _table(listener: Listener, files: ReceivedFiles, failures: Counter[str], rate: float) -> Table:
    table = Table()
    for heading in ("events", "events/s", "connections", "failures", "files"):
        table.add_column(heading, justify="right")
    table.add_column("now", overflow="fold")
    table.add_row(
        f"{files.events:,}",
        f"{rate:,.0f}",
        f"{listener.connections:,}",
        f"{failures.total():,}",
        f"{files.files:,}",
        files.current,
    )
    return table


def _summarize(files: ReceivedFiles, failures: Counter[str], seconds: float, out: Path) -> None:
    in_files = f"{plural(files.events, 'event')} in {plural(files.files, 'file')} of {out}"
    print(printable(f"{in_files}, {seconds:,.1f} s"))
    for reason, count in failures.most_common():
        print(printable(f"{plural(count, 'association')} failed: {reason}"))
