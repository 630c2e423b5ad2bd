"""``fastdimse receive``: receive events, and write them to files."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.table import Table

from fastdimse import Listener, ReceivedEvents, listen

from .errors import InputError, invalid_options
from .options import (
    ASSOCIATION,
    FILES,
    Certificate,
    ClientCa,
    DataSetForm,
    Key,
    flag,
    in_range,
    server_tls,
)
from .received_files.writer import ReceivedFiles
from .row_files.formats import RowFormat
from .row_files.read import first_line
from .terminal import LiveTable, note, plural, printable

# The beginning of a listener's text about an event that it refused.
_REFUSED = "an event was refused with Status"
# Maximum number of different reasons to count: a peer can choose their text.
_MAX_REASONS = 100
# Seconds between two updates.
_UPDATE_INTERVAL = 0.1
_SUCCESS = 0x0000
# The sender keeps an event with this Status (PS3.7 C.5).
_PROCESSING_FAILURE = 0x0110


def receive(
    port: Annotated[
        int,
        typer.Argument(
            metavar="PORT",
            callback=in_range(0, 65535),
            help="Port to listen on. 0: a free port.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Directory to write files to.")
    ],
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Local address to listen on.")
    ] = "0.0.0.0",
    row_format: Annotated[
        RowFormat,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="Format of the files: parquet, arrow or ndjson.",
            rich_help_panel=FILES,
        ),
    ] = RowFormat.PARQUET,
    rotate_events: Annotated[
        int,
        typer.Option(
            metavar="N",
            callback=in_range(1),
            help="Complete a file when it has about this many events.",
            rich_help_panel=FILES,
        ),
    ] = 1_000_000,
    rotate_seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            callback=in_range(0.1),
            help="Complete a file after this time.",
            rich_help_panel=FILES,
        ),
    ] = 3600.0,
    data_sets: Annotated[
        DataSetForm,
        typer.Option(
            metavar="FORM",
            help="Data sets in the files: bytes, or, in NDJSON, structured (attributes by "
            "keyword).",
            rich_help_panel=FILES,
        ),
    ] = DataSetForm.BYTES,
    sync: Annotated[
        bool,
        flag("--sync", "Sync events to the disk before responding.", FILES),
    ] = False,
    stop_after: Annotated[
        int | None,
        typer.Option(metavar="N", callback=in_range(1), help="Exit after this many events."),
    ] = None,
    called_ae: Annotated[
        str | None,
        typer.Option(
            metavar="AE",
            help="Local AE title that peers must call. Default: any.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = None,
    calling_aes: Annotated[
        list[str] | None,
        typer.Option(
            "--calling-ae",
            metavar="AE",
            help="AE title of an accepted peer. Repeatable. Default: any.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = None,
    window: Annotated[
        int,
        typer.Option(
            metavar="N",
            callback=in_range(0, 65535),
            help="Maximum number of outstanding requests to accept from a peer. 0: no limit.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = 0,
    max_connections: Annotated[
        int,
        typer.Option(
            metavar="N",
            callback=in_range(1),
            help="Maximum number of open connections.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = 256,
    idle_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Abort an association after this time without a message.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = 60.0,
    ca: ClientCa = None,
    certificate: Certificate = None,
    key: Key = None,
) -> None:
    """Receive events and write them to files; respond when an event is in a file.

    A file ends in .part until it is complete. If the process is killed, the next run recovers the
    events of that file. Several processes can write to DIR at the same time.

    Ctrl-C (or SIGTERM) closes the associations, completes the last file and exits with code 0. A
    second signal exits immediately.

    Example: fastdimse receive 11112 -o events
    """
    if row_format is RowFormat.CSV:
        raise InputError("--format must be parquet, arrow or ndjson, not csv")
    if data_sets is DataSetForm.DICOM_JSON:
        raise InputError("--data-sets must be bytes or structured, not dicom-json")
    secure = server_tls(ca, certificate, key)
    files = ReceivedFiles(
        out,
        row_format,
        events=rotate_events,
        seconds=rotate_seconds,
        sync=sync,
        structured=data_sets is DataSetForm.STRUCTURED,
    )
    for line in files.recover():
        note(line)
    failures: Counter[str] = Counter()
    handler = _Handler(files)
    begin = time.monotonic()
    with _signals() as is_signalled:
        with invalid_options():
            listener = listen(
                port,
                host=host,
                batch_handler=handler.write,
                called_ae=called_ae,
                calling_aes=calling_aes,
                window=window,
                max_connections=max_connections,
                idle_timeout=idle_timeout,
                tls=secure,
            )
        try:
            note(f"listening on {host}:{listener.port}")
            _watch(listener, files, failures, stop_after, is_signalled)
        finally:
            _count_failures(listener, failures)
            listener.close()
            files.close()
            _print_summary(files, failures, time.monotonic() - begin, out)
            handler.print_summary()
    if files.failure is not None:
        raise files.failure


class _Handler:
    """Writes events, and returns their Status: Success when they are in a file."""

    def __init__(self, files: ReceivedFiles) -> None:
        self._files = files
        self._refused: Counter[str] = Counter()

    def write(self, received: ReceivedEvents) -> int:
        """Write events, and return their Status."""
        try:
            self._files.write(received)
        except OSError as error:
            # The main thread reports this error and ends the run.
            self._refused[str(error)] += len(received)
            return _PROCESSING_FAILURE
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            if reason not in self._refused:
                note(f"events that cannot be written get Status 0110H: {reason}")
            self._refused[reason] += len(received)
            return _PROCESSING_FAILURE
        return _SUCCESS

    def print_summary(self) -> None:
        """Print the number of events that were not written."""
        for reason, count in self._refused.most_common():
            print(printable(f"{plural(count, 'event')} with Status 0110H: {reason}"))


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Record the first signal instead of raising it, which could interrupt a write.

    Yields a function that returns whether a signal was received. The second signal has its usual
    effect.
    """
    received = []

    def record(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        restore()


def _watch(
    listener: Listener,
    files: ReceivedFiles,
    failures: Counter[str],
    stop_after: int | None,
    is_signalled: Callable[[], bool],
) -> None:
    with LiveTable() as live:
        while files.failure is None and (stop_after is None or files.events < stop_after):
            if is_signalled():
                return
            time.sleep(_UPDATE_INTERVAL)
            files.rotate()
            _count_failures(listener, failures)
            live.show(files.events, lambda rate: _table(listener, files, failures, rate))
    if stop_after is not None:
        # Peers get their last responses and can release their associations.
        end = time.monotonic() + 1
        while listener.connections and time.monotonic() < end:
            time.sleep(0.01)


def _count_failures(listener: Listener, failures: Counter[str]) -> None:
    for line in listener.take_failures():
        reason = line.partition(": ")[2]
        if reason.startswith(_REFUSED):
            # The text after the Status differs for each event.
            reason = reason.partition(": ")[0]
        if reason not in failures:
            if len(failures) < _MAX_REASONS:
                note(line)
            else:
                reason = "other reasons"
        failures[reason] += 1


def _table(listener: Listener, files: ReceivedFiles, failures: Counter[str], rate: float) -> Table:
    table = Table()
    for heading in ("events", "events/s", "connections", "failures", "files"):
        table.add_column(heading, justify="right")
    table.add_column("current file", overflow="fold")
    table.add_row(
        f"{files.events:,}",
        f"{rate:,.0f}",
        f"{listener.connections:,}",
        f"{failures.total():,}",
        f"{files.files:,}",
        files.current,
    )
    return table


def _print_summary(files: ReceivedFiles, failures: Counter[str], seconds: float, out: Path) -> None:
    in_files = f"{plural(files.events, 'event')} in {plural(files.files, 'file')} of {out}"
    print(printable(f"{in_files}, {seconds:,.1f} s"))
    for reason, count in failures.most_common():
        if reason.startswith(_REFUSED):
            reason = reason.removeprefix("an event was ")
            print(printable(f"{plural(count, 'event')} {reason}"))
        else:
            print(printable(f"{plural(count, 'association')} failed: {reason}"))
