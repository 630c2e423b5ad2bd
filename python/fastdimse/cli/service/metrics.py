"""Metrics for Prometheus, and the health of the service, over HTTP.

This module requires the extra `metrics`.
"""

import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from fastdimse import Listener

from ..errors import InputError
from ..received_files.writer import ReceivedFiles

# Series that exist from the start, so that their rates are known at the first event.
_ENDS = ("released", "aborted", "lost", "timeout", "fault", "stopped")
_REJECTIONS = ("called-ae", "calling-ae", "limit")
_STATUSES = (0x0000, 0x0110)
# Maximum number of requests at the same time.
_MAX_REQUESTS = 16


class MetricsServer:
    """An HTTP server with ``/metrics`` and ``/health``.

    Parameters
    ----------
    host, port : str, int
        The address to listen on.
    files : ReceivedFiles
        The files that the service writes.

    Attributes
    ----------
    port : int
        The TCP port.

    Raises
    ------
    InputError
        If the address and port cannot be bound.
    """

    def __init__(self, host: str, port: int, files: ReceivedFiles) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._service = _Service(files)
        registry.register(self._service)
        try:
            self._server = _server(host, port, registry, self._service)
        except OSError as error:
            text = f"--metrics: cannot listen on {host}:{port}: {error.strerror or error}"
            raise InputError(text) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def watch(self, listener: Listener) -> None:
        """Begin to report on a listener."""
        self._service.listener = listener

    def close(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()


class _Service(Collector):
    """The metrics of a listener and its files."""

    def __init__(self, files: ReceivedFiles) -> None:
        self.listener: Listener | None = None
        self._files = files

    def problem(self) -> str:
        """Return why the service is not healthy, or an empty string."""
        if self.listener is None or self.listener.closed:
            return "not listening"
        failure = self._files.failure
        return "" if failure is None else f"the last write failed: {failure}"

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the metrics are collected only when they are requested."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield _gauge("healthy", "1 if the service listens and the last write succeeded", self._up())
        files = self._files
        yield _counter("events_written", "Events written to files", files.events)
        yield _counter("files_completed", "Completed files (rotations)", files.files)
        yield _counter("write_failures", "Batches of events that were not written", files.failures)
        listener = self.listener
        if listener is None:
            return
        counters = listener.counters
        yield _gauge("open_connections", "Open connections", listener.connections)
        yield _counter("associations_accepted", "Accepted associations", counters.accepted)
        yield _counters(
            "associations_rejected",
            "Rejected associations, by reason",
            "reason",
            dict.fromkeys(_REJECTIONS, 0) | counters.rejected,
        )
        yield _counters(
            "associations_ended",
            "Ended associations, by reason",
            "reason",
            dict.fromkeys(_ENDS, 0) | counters.ended,
        )
        yield _counters(
            "connections_failed",
            "Connections that ended without an association request, by reason",
            "reason",
            counters.failed,
        )
        statuses = dict.fromkeys(_STATUSES, 0) | counters.statuses
        yield _counters(
            "events",
            "Received events, by the Status of their response",
            "status",
            {f"0x{status:04X}": count for status, count in statuses.items()},
        )
        yield _counter("received_bytes", "Bytes of received P-DATA-TF PDUs", counters.bytes)
        yield _counter("messages_ignored", "Ignored messages", counters.ignored)
        yield _counter(
            "log_records_omitted", "Omitted records of the log", counters.omitted_records
        )
        if counters.last_event_time is not None:
            text = "Time of the last received event, in seconds since 1970"
            yield _gauge("last_event_timestamp_seconds", text, counters.last_event_time)

    def _up(self) -> int:
        return 0 if self.problem() else 1


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fastdimse_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fastdimse_{name}", text, value=value)


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = CounterMetricFamily(f"fastdimse_{name}", text, labels=[label])
    for key, value in values.items():
        metric.add_metric([key], value)
    return metric


class _Server(ThreadingHTTPServer):
    """A server with a limited number of threads, which do not delay the exit."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._requests = threading.BoundedSemaphore(_MAX_REQUESTS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a request in a thread, or close it if there are too many."""
        if not self._requests.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._requests.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._requests.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection."""


def _server(host: str, port: int, registry: CollectorRegistry, service: _Service) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._respond(HTTPStatus.OK, encode(registry), content_type)
            elif path == "/health":
                problem = service.problem()
                status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
                self._respond(status, f"{problem or 'ok'}\n".encode(), "text/plain; charset=utf-8")
            else:
                text = b"/metrics or /health\n"
                self._respond(HTTPStatus.NOT_FOUND, text, "text/plain; charset=utf-8")

        do_HEAD = do_GET  # noqa: N815

        def _respond(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Do not log requests."""

    families = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)
    # A name such as localhost can have addresses of both versions; Prometheus and Docker use IPv4.
    family, *_, address = min(families, key=lambda one: one[0] != socket.AF_INET)

    class Server(_Server):
        address_family = family

    return Server(address[:2], Handler)
