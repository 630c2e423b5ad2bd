"""``fastdimse receive``: events taken in and written to files."""

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

from .data_sets import DataSets
from .received_files.writer import ReceivedFiles
from .row_files.read import RowFormat, shorten
from .row_files.rows import InputError, refused_values
from .terminal import LiveTable, note, plural, printable
from .tls_options import Ca, Certificate, Key, server_tls

# How what the listener says of an event begins that it refused.
_REFUSED = "an event was refused with Status"
# The most reasons that are told apart: peers choose their texts.
_MOST_REASONS = 100
# Seconds between two looks at what came in.
_LOOK = 0.1
_SUCCESS = 0x0000
# What can't be written, the sender keeps (PS3.7 C.5).
_PROCESSING_FAILURE = 0x0110


def receive(
    port: Annotated[int, typer.Argument(help="The port; 0 is any that is free.", min=0, max=65535)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "0.0.0.0",
    row_format: Annotated[
        RowFormat, typer.Option("--format", "-f", help="The format of the files; not CSV.")
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
        typer.Option("--calling-ae", help="Who may call, all if not given; can be repeated."),
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

    Files in DIR are whole, except the one that ends in .part. When this is killed, what is
    in that file is not lost: the next run makes a whole file of it. Several processes can
    write to DIR at the same time. Ctrl-C ends the associations and makes the last file
    whole; a second Ctrl-C leaves at once. With --certificate connections are secure; with
    --ca the peer needs a certificate of its authorities.

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
    answers = _Answers(files)
    begin = time.monotonic()
    with _signals() as is_told_to_end:
        with refused_values():
            listener = listen(
                port,
                host=host,
                batch_handler=answers.to,
                called_ae=called_ae,
                calling_aes=calling_aes,
                window=window,
                max_connections=max_connections,
                idle_timeout=idle_timeout,
                tls=secure,
            )
        try:
            note(f"listens on {host}:{listener.port}")
            _watch(listener, files, failures, stop_after, is_told_to_end)
        finally:
            _count(listener, failures)
            listener.close()
            files.close()
            _summarize(files, failures, time.monotonic() - begin, out)
            answers.summarize()
    if files.failure is not None:
        raise files.failure


class _Answers:
    """Statuses of events: Success when they are written."""

    def __init__(self, files: ReceivedFiles) -> None:
        self._files = files
        self._refused: Counter[str] = Counter()

    def to(self, received: ReceivedEvents) -> int:
        """Write events, and return their Status."""
        try:
            self._files.write(received)
        except OSError as error:
            # It ends the run, which says so.
            self._refused[str(error)] += len(received)
            return _PROCESSING_FAILURE
        except Exception as error:
            why = f"{type(error).__name__}: {shorten(error)}"
            if why not in self._refused:
                note(f"events that can't be written are answered with 0110H: {why}")
            self._refused[why] += len(received)
            return _PROCESSING_FAILURE
        return _SUCCESS

    def summarize(self) -> None:
        """Say how many events were not taken."""
        for why, count in self._refused.most_common():
            print(printable(f"{plural(count, 'event')} answered with 0110H: {why}"))


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Note signals instead of raising them: a file must not be left in the middle of its end.

    What is given says whether one has come. The next one is raised.
    """
    told = []

    def note_signal(number: int, frame: FrameType | None) -> None:
        told.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {
        number: signal.signal(number, note_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(told)
    finally:
        restore()


def _watch(
    listener: Listener,
    files: ReceivedFiles,
    failures: Counter[str],
    stop_after: int | None,
    is_told_to_end: Callable[[], bool],
) -> None:
    with LiveTable() as shown:
        while files.failure is None and (stop_after is None or files.events < stop_after):
            if is_told_to_end():
                return
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
        reason = line.partition(": ")[2]
        if reason.startswith(_REFUSED):
            # What is behind the Status is different for each event.
            reason = reason.partition(": ")[0]
        if reason not in failures:
            if len(failures) < _MOST_REASONS:
                note(line)
            else:
                reason = "other reasons"
        failures[reason] += 1


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
        if reason.startswith(_REFUSED):
            reason = reason.removeprefix("an event was ")
            print(printable(f"{plural(count, 'event')} {reason}"))
        else:
            print(printable(f"{plural(count, 'association')} failed: {reason}"))
