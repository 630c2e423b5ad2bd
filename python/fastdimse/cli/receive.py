"""``fastdimse receive``: receive events, and write them to files."""

import logging
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fastdimse import Listener, ReceivedEvents, listen

from .errors import InputError, invalid_options
from .exit_codes import ExitCode
from .options import (
    ASSOCIATION,
    FILES,
    OPERATION,
    Certificate,
    ClientCa,
    Key,
    flag,
    in_range,
    server_tls,
)
from .received_files.writer import ReceivedFiles
from .row_files.formats import RowFormat
from .row_files.read import first_line
from .service.log_lines import LOG, NOTICE, LogFormat, LogLines
from .service.systemd import Heartbeat, notify
from .terminal import LiveTable, plural, print_json, print_line

if TYPE_CHECKING:
    from .service.metrics import MetricsServer

# The beginning of a listener's text about a request that it refused.
_REFUSED = re.compile(r"an (event|action) was refused with Status")
# Maximum number of different reasons to count: a peer can choose their text.
_MAX_REASONS = 100
_OTHER_REASONS = "other reasons"
# Seconds between two updates.
_UPDATE_INTERVAL = 0.1
# Seconds between two attempts to write after a failure.
_PROBE_INTERVAL = 1.0
# Seconds after which the same reason is logged again.
_REPEAT_INTERVAL = 60.0
_SUCCESS = 0x0000
# The sender keeps an event with this Status (PS3.7 C.5).
_PROCESSING_FAILURE = 0x0110


class ReceivedFormat(StrEnum):
    """The formats of files: those of rows that can be recovered."""

    PARQUET = "parquet"
    ARROW = "arrow"
    NDJSON = "ndjson"


class ReceivedForm(StrEnum):
    """The form of data sets in files."""

    BYTES = "bytes"
    STRUCTURED = "structured"


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
        ReceivedFormat,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="Format of the files: parquet, arrow or ndjson.",
            rich_help_panel=FILES,
        ),
    ] = ReceivedFormat.PARQUET,
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
        ReceivedForm,
        typer.Option(
            metavar="FORM",
            help="Data sets in the files: bytes, or, in NDJSON, structured (attributes by "
            "keyword).",
            rich_help_panel=FILES,
        ),
    ] = ReceivedForm.BYTES,
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
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            metavar="",
            help="Log each association and each completed file too.",
            rich_help_panel=OPERATION,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            metavar="",
            help="Log errors of the receiver only, not problems of peers.",
            rich_help_panel=OPERATION,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        flag("--json", "Print the summary as a JSON object on standard output.", OPERATION),
    ] = False,
    log_format: Annotated[
        LogFormat,
        typer.Option(
            metavar="FORMAT",
            help="Format of the lines on standard error: text or json.",
            rich_help_panel=OPERATION,
        ),
    ] = LogFormat.TEXT,
    give_up_after: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            callback=in_range(0),
            help="Exit when no event could be written for this time. Until then, events get "
            "Status 0110H. inf: never.",
            rich_help_panel=OPERATION,
        ),
    ] = 0.0,
    metrics: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            callback=in_range(0, 65535),
            help="Serve /metrics for Prometheus and /health on this port. Requires the extra "
            "metrics.",
            rich_help_panel=OPERATION,
        ),
    ] = None,
    metrics_host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            help="Local address for --metrics.",
            rich_help_panel=OPERATION,
        ),
    ] = "localhost",
) -> None:
    """Receive events and write them to files; respond when an event is in a file.

    A file ends in .part until it is complete. If the process is killed, the next run recovers the
    events of that file. Several processes can write to DIR at the same time.

    Ctrl-C (or SIGTERM) closes the associations, completes the last file and exits with code 0. A
    second signal exits immediately. SIGHUP completes the file and begins a new one.

    Example: fastdimse receive 11112 -o events
    """
    if verbose and quiet:
        raise InputError("--verbose and --quiet cannot be combined")
    secure = server_tls(ca, certificate, key)
    level = logging.INFO if verbose else logging.ERROR if quiet else NOTICE
    with ExitStack() as stack:
        signals = stack.enter_context(_signals())
        stack.enter_context(LogLines(log_format, level))
        try:
            files = ReceivedFiles(
                out,
                RowFormat(row_format),
                events=rotate_events,
                seconds=rotate_seconds,
                sync=sync,
                structured=data_sets is ReceivedForm.STRUCTURED,
                retries=give_up_after > 0,
            )
            for line in files.recover():
                LOG.log(NOTICE, "%s", line, extra={"fields": {"kind": "recovered"}})
            server = _metrics_server(metrics, metrics_host, files)
            if server is not None:
                stack.callback(server.close)
            handler = _Handler(files)
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
            if server is not None:
                server.watch(listener)
            text = f"listening on {host}:{listener.port}"
            fields = {"kind": "listening", "host": host, "port": listener.port}
            LOG.log(NOTICE, "%s", text, extra={"fields": fields})
            run = _Run(
                listener, files, handler, signals, log_format, give_up_after, as_json=as_json
            )
            run.run(stop_after, out, show=not quiet)
            if files.failure is not None:
                raise files.failure
        except (InputError, OSError) as error:
            if log_format is LogFormat.TEXT or isinstance(error, BrokenPipeError):
                raise
            LOG.error("%s", error, extra={"fields": {"kind": "error"}})
            raise typer.Exit(ExitCode.ERROR) from error


def _metrics_server(port: int | None, host: str, files: ReceivedFiles) -> "MetricsServer | None":
    if port is None:
        return None
    try:
        from .service.metrics import MetricsServer
    except ImportError as error:
        if error.name is None or not error.name.startswith("prometheus_client"):
            raise
        text = "--metrics requires prometheus-client: pip install 'fastdimse[metrics]'"
        raise InputError(text) from error
    server = MetricsServer(host, port, files)
    fields = {"kind": "metrics", "host": host, "port": server.port}
    text = f"metrics at http://{host}:{server.port}/metrics"
    LOG.log(NOTICE, "%s", text, extra={"fields": fields})
    return server


class _Handler:
    """Writes events, and returns their Status: Success when they are in a file."""

    def __init__(self, files: ReceivedFiles) -> None:
        self._files = files
        self._logged: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        """The number of events that were not written, by reason."""

    def write(self, received: ReceivedEvents) -> int:
        """Write events, and return their Status."""
        try:
            self._files.write(received)
        except OSError as error:
            # The error is logged where it occurs, or it ends the run.
            # Without the name of the file: each attempt has another one.
            unnamed = error if error.errno is None else OSError(error.errno, error.strerror)
            self._count(str(unnamed), len(received))
            return _PROCESSING_FAILURE
        except Exception as error:
            reason = self._count(f"{type(error).__name__}: {first_line(error)}", len(received))
            now = time.monotonic()
            if now - self._logged.get(reason, -_REPEAT_INTERVAL) >= _REPEAT_INTERVAL:
                self._logged[reason] = now
                fields = {"kind": "unwritable", "reason": reason, "events": len(received)}
                text = "events that cannot be written get Status 0110H: %s"
                LOG.error(text, reason, extra={"fields": fields})
            return _PROCESSING_FAILURE
        return _SUCCESS

    def _count(self, reason: str, events: int) -> str:
        if reason not in self.refused and len(self.refused) >= _MAX_REASONS:
            reason = _OTHER_REASONS
        self.refused[reason] += events
        return reason


class _Signals:
    """Signals that the process has received."""

    def __init__(self) -> None:
        self.stop: str | None = None
        """The name of the signal that ends the run."""
        self.rotate = False
        """Whether a new file is requested; the reader resets it."""


@contextmanager
def _signals() -> Iterator[_Signals]:
    """Record signals instead of raising them, which could interrupt a write.

    SIGHUP requests a new file. The first of the other signals ends the run, and the second has its
    usual effect.
    """
    signals = _Signals()

    def record(number: int, frame: FrameType | None) -> None:
        signals.stop = signal.Signals(number).name
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, previous[number])

    def rotate(number: int, frame: FrameType | None) -> None:
        signals.rotate = True

    handlers = {signal.SIGINT: record, signal.SIGTERM: record}
    if sys.platform != "win32":
        handlers[signal.SIGHUP] = rotate
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Run:
    """A run of the receiver, from the first connection to the summary."""

    def __init__(
        self,
        listener: Listener,
        files: ReceivedFiles,
        handler: _Handler,
        signals: _Signals,
        log_format: LogFormat,
        give_up_after: float,
        *,
        as_json: bool,
    ) -> None:
        self._listener = listener
        self._files = files
        self._handler = handler
        self._signals = signals
        self._format = log_format
        self._give_up_after = give_up_after
        self._as_json = as_json
        self._failures: Counter[str] = Counter()
        self._begin = time.monotonic()
        self._next_probe = 0.0

    def run(self, stop_after: int | None, out: Path, *, show: bool) -> None:
        """Watch the receiver until its end, close it, and print the summary."""
        try:
            notify("READY=1")
            self._watch(stop_after, show)
        finally:
            notify("STOPPING=1")
            self._count_failures()
            self._listener.close()
            self._files.close()
            self._summarize(out)

    def _watch(self, stop_after: int | None, show: bool) -> None:
        files, heartbeat = self._files, Heartbeat()
        with LiveTable(show=show) as live:
            while stop_after is None or files.events < stop_after:
                if self._signals.stop is not None:
                    fields = {"kind": "stopping", "signal": self._signals.stop}
                    LOG.info("stopping after %s", self._signals.stop, extra={"fields": fields})
                    return
                if self._signals.rotate:
                    self._signals.rotate = False
                    LOG.info("SIGHUP: a new file", extra={"fields": {"kind": "reload"}})
                    files.rotate(now=True)
                time.sleep(_UPDATE_INTERVAL)
                files.rotate()
                if self._has_given_up():
                    return
                self._count_failures()
                heartbeat.beat(f"{plural(files.events, 'event')} written")
                live.show(files.events, self._table)
        # Peers get their last responses and can release their associations.
        end = time.monotonic() + 1
        while self._listener.connections and time.monotonic() < end:
            time.sleep(0.01)

    def _has_given_up(self) -> bool:
        """Return whether events could not be written for too long; otherwise try again."""
        files, now = self._files, time.monotonic()
        if files.failure is not None and now - files.failed_at >= self._give_up_after:
            return True
        if now >= self._next_probe:
            self._next_probe = now + _PROBE_INTERVAL
            files.probe()
        return False

    def _count_failures(self) -> None:
        for line in self._listener.take_failures():
            reason = line.partition(": ")[2]
            if _REFUSED.match(reason):
                # The text after the Status differs for each request.
                reason = reason.partition(": ")[0]
            if reason not in self._failures and len(self._failures) >= _MAX_REASONS:
                reason = _OTHER_REASONS
            self._failures[reason] += 1

    def _table(self, rate: float) -> Table:
        table = Table()
        for heading in ("events", "events/s", "connections", "failures", "files"):
            table.add_column(heading, justify="right")
        table.add_column("current file", overflow="fold")
        table.add_row(
            f"{self._files.events:,}",
            f"{rate:,.0f}",
            f"{self._listener.connections:,}",
            f"{self._failures.total():,}",
            f"{self._files.files:,}",
            self._files.current,
        )
        return table

    def _summarize(self, out: Path) -> None:
        files, seconds = self._files, time.monotonic() - self._begin
        fields = {
            **{"events": files.events, "files": files.files, "seconds": seconds},
            **{"failures": dict(self._failures), "unwritten": dict(self._handler.refused)},
        }
        if self._format is LogFormat.JSON:
            LOG.log(NOTICE, "end of the run", extra={"fields": {"kind": "summary"} | fields})
        if self._as_json:
            print_json(fields)
        if self._as_json or self._format is LogFormat.JSON:
            return
        in_files = f"{plural(files.events, 'event')} in {plural(files.files, 'file')} of {out}"
        print_line(f"{in_files}, {seconds:,.1f} s")
        for reason, count in self._failures.most_common():
            if refused := _REFUSED.match(reason):
                reason = reason.removeprefix(f"an {refused[1]} was ")
                print_line(f"{plural(count, refused[1])} {reason}")
            else:
                print_line(f"{plural(count, 'association')} failed: {reason}")
        for reason, count in self._handler.refused.most_common():
            print_line(f"{plural(count, 'event')} with Status 0110H: {reason}")
