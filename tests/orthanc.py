"""Debian's Orthanc as a peer that nobody here wrote: started, asked over its REST API, ended."""

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
"""How long a slow machine may take for one step."""


def program() -> str | None:
    """Return where Orthanc is; Debian puts it among the system's programs."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which("Orthanc", path=places)


def until(what: str, ask: Callable[[], Value | None], seconds: float = SECONDS) -> Value:
    """Ask again and again until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
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
        Where it listens for associations.
    version : str
        For the messages of assertions.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int, http_port: int):
        self._log = folder / "log"
        self._process = process
        self._url = f"http://127.0.0.1:{http_port}"
        # A proxy of the environment is not asked for what is on this machine.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.port = port
        self.version = ""

    def __str__(self) -> str:
        return f"Orthanc {self.version}"

    def log(self, start: int = 0) -> str:
        """Return what it has logged, from a position on."""
        return self._log.read_bytes()[start:].decode(errors="replace")

    def log_size(self) -> int:
        """Return where its log ends."""
        return self._log.stat().st_size

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Return what the REST API answers: GET without a body, POST with one."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, method=method)
        try:
            with self._open(request, timeout=SECONDS) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            message = f"{self}: {error} at {path}: {error.read().decode()}\n{self.log()}"
            raise AssertionError(message) from error
        return json.loads(text) if text else None

    def know(self, ae_title: str, port: int) -> None:
        """Let it know an application on this machine, by its AE title."""
        self.ask(f"/modalities/{ae_title}", [ae_title, "127.0.0.1", port], method="PUT")

    def reported(self, transaction: str) -> dict[str, Any]:
        """Wait until it has reported a transaction, and return how that job of it ended."""

        def ended() -> dict[str, Any] | None:
            for job in self.ask("/jobs?expand"):
                its_own = job["Content"].get("TransactionUid") == transaction
                if its_own and job["State"] in ("Success", "Failure"):
                    return dict(job)
            return None

        return until(f"{self}: the report of transaction {transaction}", ended)

    def has_started(self) -> bool:
        """Wait for its REST API; return whether it came before the process ended."""

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
    """Run Orthanc in a folder of its own."""
    executable = program()
    assert executable is not None
    # Another process may take a port between our look and its start.
    for attempt in range(3):
        orthanc = start(executable, folder / f"orthanc-{attempt}")
        try:
            if orthanc.has_started():
                yield orthanc
                return
        finally:
            # Its folder goes too: there is nothing that it would have to put away.
            orthanc._process.kill()
            orthanc._process.wait()
    raise AssertionError(f"Orthanc does not start\n{orthanc.log()}")


def start(executable: str, folder: Path) -> Orthanc:
    """Start it on free ports."""
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
