"""Python programs that tests run as processes: their output, input and end."""

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
"""Seconds that a slow machine may need for one step."""


def resident(pid: int | str = "self") -> int:
    """Return the resident memory of a process in bytes (Linux)."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Program:
    """A running Python program, and the lines that it has printed."""

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
        """The process ID."""
        return self._process.pid

    def __str__(self) -> str:
        written = [f"{name}: {line}" for name, lines in self._lines.items() for line in lines]
        return "\n".join([f"{self._name}, exit code {self._process.poll()}", *written])

    def line(self, stream: str = "stdout") -> str:
        """Wait for the next line, and return it."""
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
        """Read lines until one matches the pattern."""
        while True:
            found = re.search(pattern, self.line(stream))
            if found:
                return found

    def port(self) -> int:
        """Return the port that the program prints."""
        return int(self.find(r"listens on \S+:(\d+)$")[1])

    def tell(self, **command: Any) -> None:
        """Write a line of JSON to standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def hear(self, key: str) -> Any:
        """Return the next line of JSON on standard output that has a key.

        Other lines are kept, because the order of lines of several threads is not fixed.
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
        """Send a signal to the process."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end of the process, and return the exit code."""
        try:
            code = self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the process does not end\n{self}") from None
        for reader in self._readers:
            reader.join(SECONDS)
        return code

    def close(self) -> None:
        """Kill the process if it runs, and close its streams."""
        self._process.kill()
        self.ended()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def running(path: Path, *arguments: object) -> Iterator[Program]:
    """Run a program, and show its output if the test fails."""
    program = Program(path, *arguments)
    try:
        yield program
    finally:
        program.close()
        print(program)
