"""Output files that appear when they are complete."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import InputError
from .inputs import PIPE


def check_outputs(inputs: Sequence[str], outputs: Mapping[str, str | None]) -> None:
    """Raise `InputError` for an output that would replace an input, or another output.

    Parameters
    ----------
    inputs : Sequence[str]
        The input files, or `PIPE`.
    outputs : Mapping[str, str or None]
        The output files by the names of their options.
    """
    names = {os.path.realpath(path): "the input" for path in inputs if path != PIPE}
    for option, path in outputs.items():
        # Devices are written, not replaced.
        if path is None or path == PIPE or (os.path.exists(path) and not os.path.isfile(path)):
            continue
        other = names.setdefault(os.path.realpath(path), f"the file of {option}")
        if other != f"the file of {option}":
            raise InputError(f"{option}: {path} is also {other}: name another file")


@contextmanager
def atomic_output(path: str) -> Iterator[BinaryIO]:
    """Open an output that replaces `path` when the block ends without an exception.

    Parameters
    ----------
    path : str
        A file, or `PIPE` for standard output. A device or a named pipe is written directly: a
        file must not replace it.

    Yields
    ------
    BinaryIO
        The output. It is removed when the block raises, and the previous file at `path` stays.
    """
    if path == PIPE:
        if sys.stdout.isatty():
            raise InputError("binary output to a terminal: use -o FILE, or redirect it")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path).resolve()
    if target.is_dir():
        raise InputError(f"{path}: must be a file, not a directory")
    if target.exists() and not target.is_file():
        with target.open("wb") as sink:
            yield sink
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as sink:
            yield sink
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except FileNotFoundError:
        raise InputError(f"{path}: its directory does not exist") from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
