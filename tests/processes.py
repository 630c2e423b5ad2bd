"""Programs that a test runs beside itself: their lines awaited, ended by their own process id."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

SECONDS = 30.0
"""How long a slow machine may take for one step."""


def resident(pid: int | str = "self") -> int:
    """Return how many bytes of memory a process has, of Linux's own accounts."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Program:
    """A Python program that runs, and the lines that it has written so far."""

    def __init__(self, path: Path, *arguments: object) -> None:
        self._name = path.name
        self._process = subprocess.Popen(
            [sys.executable, str(path), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._read = {"stdout": 0, "stderr": 0}
        self._heard: list[Any] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._gather, args=(name, getattr(self._process, name)))
            for name in self._lines
        ]
        for reader in self._readers:
            reader.start()

    def _gather(self, name: str, stream: IO[str]) -> None:
        for line in stream:
            with self._news:
                self._lines[name].append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def __str__(self) -> str:
        written = [f"{name}: {line}" for name, lines in self._lines.items() for line in lines]
        return "\n".join([f"{self._name}, exit code {self._process.poll()}", *written])

    def line(self, stream: str = "stdout") -> str:
        """Return its next line, once that is there."""
        end = time.monotonic() + SECONDS
        with self._news:
            while len(self._lines[stream]) == self._read[stream]:
                reading = any(reader.is_alive() for reader in self._readers)
                assert reading, f"no more lines\n{self}"
                assert time.monotonic() < end, f"no line within {SECONDS:g} s\n{self}"
                self._news.wait(0.1)
            self._read[stream] += 1
            return self._lines[stream][self._read[stream] - 1]

    def find(self, pattern: str, stream: str = "stderr") -> re.Match[str]:
        """Read its lines until one has the pattern."""
        while True:
            found = re.search(pattern, self.line(stream))
            if found:
                return found

    def port(self) -> int:
        """Return the port on which it says that it listens."""
        return int(self.find(r"listens on \S+:(\d+)$")[1])

    def tell(self, **command: Any) -> None:
        """Write a line of JSON to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def hear(self, key: str) -> Any:
        """Return the next line of JSON on its standard output that has a key.

        Its threads write in no certain order: others are kept for later.
        """
        for heard in self._heard:
            if key in heard:
                self._heard.remove(heard)
                return heard
        while True:
            heard = json.loads(self.line())
            if key in heard:
                return heard
            self._heard.append(heard)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        try:
            code = self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it doesn't end\n{self}") from None
        for reader in self._readers:
            reader.join(SECONDS)
        return code

    def close(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self.ended()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def running(path: Path, *arguments: object) -> Iterator[Program]:
    """Run a program, and show what it wrote if the test fails."""
    program = Program(path, *arguments)
    try:
        yield program
    finally:
        program.close()
        print(program)
