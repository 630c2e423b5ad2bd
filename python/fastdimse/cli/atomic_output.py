"""Outputs that appear whole or not at all."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .row_files.read import PIPE
from .row_files.rows import InputError


@contextmanager
def whole_output(path: str) -> Iterator[BinaryIO]:
    """Open an output that takes the place of `path` when the block ends well.

    Parameters
    ----------
    path : str
        A file, or `PIPE` for standard output. A device or a named pipe is written as it
        is: another file must not take its place.

    Yields
    ------
    BinaryIO
        What to write to. When the block raises, it is removed, and what was at `path`
        before is still there.
    """
    if path == PIPE:
        if sys.stdout.isatty():
            raise InputError("binary output on a terminal: -o FILE, or pipe it on")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path).resolve()
    if target.is_dir():
        raise InputError(f"{path}: a directory, not a file")
    if target.exists() and not target.is_file():
        with target.open("wb") as sink:
            yield sink
        return
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with aside.open("xb") as sink:
            yield sink
        if target.exists():
            shutil.copymode(target, aside)
        os.replace(aside, target)
    except FileNotFoundError:
        raise InputError(f"{path}: its directory does not exist") from None
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()
