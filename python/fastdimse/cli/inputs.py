"""Input files, and standard input."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO

from .errors import InputError

PIPE = "-"
"""The path that means standard input or standard output."""


def input_name(path: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if path == PIPE else path


def standard_input() -> BinaryIO:
    """Return standard input, which a parent process can have closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed")
    return sys.stdin.buffer


@contextmanager
def open_input(path: str, *, seekable: bool) -> Iterator[BinaryIO]:
    """Open a file, or standard input.

    Parameters
    ----------
    path : str
        The file, or `PIPE`.
    seekable : bool
        Whether the caller seeks. A pipe is then copied to a temporary file, not to memory: it
        may be larger than that.
    """
    with nullcontext(standard_input()) if path == PIPE else open(path, "rb") as source:
        if not seekable or (path != PIPE and source.seekable()):
            yield source
            return
        with tempfile.TemporaryFile() as file:
            shutil.copyfileobj(source, file)
            file.seek(0)
            yield file


def read_input(path: str) -> bytes:
    """Return the bytes of a file, or of standard input."""
    with open_input(path, seekable=False) as source:
        return source.read()
