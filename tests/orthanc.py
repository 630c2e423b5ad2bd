"""Debian's Orthanc as an independent peer: start, queries over its REST API, end."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

AE_TITLE = "ORTHANC"
SECONDS = 30.0
"""Seconds that a slow machine may need for one step."""


def program() -> str | None:
    """Return the path of Orthanc, which Debian installs in a directory of system programs."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which("Orthanc", path=places)


def until(what: str, ask: Callable[[], Value | None], seconds: float = SECONDS) -> Value:
    """Repeat a query until it has a result."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def free_ports(count: int) -> list[int]:
    """Return free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


class Orthanc:
    """A running Orthanc.

    Attributes
    ----------
    port : int
        Port for associations.
    version : str
        Version, for messages of assertions.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int, http_port: int):
        self._log = folder / "log"
        self._process = process
        self._url = f"http://127.0.0.1:{http_port}"
        # Requests to this machine do not use the proxy of the environment.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.port = port
        self.version = ""

    def __str__(self) -> str:
        return f"Orthanc {self.version}"

    def log(self, start: int = 0) -> str:
        """Return the log from a position."""
        return self._log.read_bytes()[start:].decode(errors="replace")

    def log_size(self) -> int:
        """Return the size of the log."""
        return self._log.stat().st_size

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Return the response of the REST API: GET without a body, POST with one.

        A body of bytes is posted as it is, any other as JSON.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, method=method)
        try:
            with self._open(request, timeout=SECONDS) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            message = f"{self}: {error} at {path}: {error.read().decode()}\n{self.log()}"
            raise AssertionError(message) from error
        return json.loads(text) if text else None

    def know(self, ae_title: str, port: int) -> None:
        """Register an application on this machine by its AE title."""
        self.ask(f"/modalities/{ae_title}", [ae_title, "127.0.0.1", port], method="PUT")

    def reported(self, transaction: str) -> dict[str, Any]:
        """Wait for the report of a transaction, and return the state of its job."""

        def ended() -> dict[str, Any] | None:
            for job in self.ask("/jobs?expand"):
                its_own = job["Content"].get("TransactionUid") == transaction
                if its_own and job["State"] in ("Success", "Failure"):
                    return dict(job)
            return None

        return until(f"{self}: the report of transaction {transaction}", ended)

    def has_started(self) -> bool:
        """Wait for the REST API; return whether it was available before the process ended."""

        def state() -> str | None:
            if self._process.poll() is not None:
                return "ended"
            try:
                self.version = self.ask("/system")["Version"]
            except OSError:
                return None
            return "started"

        return until(f"Orthanc's start\n{self.log()}", state) == "started"


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Run Orthanc in a folder."""
    executable = program()
    assert executable is not None
    # Another process can use a port before Orthanc opens it.
    for attempt in range(3):
        orthanc = start(executable, folder / f"orthanc-{attempt}")
        try:
            if orthanc.has_started():
                yield orthanc
                return
        finally:
            # Orthanc need not end in order, because its folder is deleted too.
            orthanc._process.kill()
            orthanc._process.wait()
    raise AssertionError(f"Orthanc does not start\n{orthanc.log()}")


def start(executable: str, folder: Path) -> Orthanc:
    """Start Orthanc on free ports."""
    folder.mkdir()
    port, http_port = free_ports(2)
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "Plugins": [],
    }
    (folder / "configuration.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [executable, "--verbose", str(folder / "configuration.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Orthanc(folder, process, port, http_port)
