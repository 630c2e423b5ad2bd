"""Partial files: created and locked by one process, replaced by a complete file.

A partial file ends in ``.part``. Its process has it locked, so that several processes can write to
one directory.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastdimse._lock import is_at, try_lock

from ..row_files.formats import RowFormat

PART = ".part"
# The suffix before `PART`. Parquet cannot be read without its end, so a partial file is a stream.
PARTIAL_SUFFIXES = {
    RowFormat.NDJSON: ".ndjson",
    RowFormat.ARROW: ".arrows",
    RowFormat.PARQUET: ".arrows",
}
COMPLETE_SUFFIXES = (".parquet", ".arrows", ".ndjson")
# Windows does not rename an open file: the lock is released a moment before the file is renamed.
MUST_CLOSE_BEFORE_RENAME = os.name == "nt"


def create_partial(path: Path) -> int | None:
    """Create and lock a file; return None where the name is in use."""
    if any(path.with_suffix("").with_suffix(suffix).exists() for suffix in COMPLETE_SUFFIXES):
        return None
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    try:
        # A process that recovers files can have found the file unlocked, and removed it.
        if try_lock(file) and is_at(path, file):
            return file
    except BaseException:
        path.unlink()
        os.close(file)
        raise
    os.close(file)
    return None


def sync_directory(directory: Path) -> None:
    """Write the names of files to the disk, where the system supports that."""
    if os.name == "nt":
        return
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        # Some file systems do not sync directories.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def temporary_path(path: Path) -> Path:
    """Return the path of the temporary file that becomes `path`."""
    return path.with_suffix(f"{path.suffix}.aside")


def write_atomically(path: Path, table: Any, write: Callable[[Any, Path], object]) -> None:
    """Write a file that appears at `path` when it is complete and on the disk."""
    temporary = temporary_path(path)
    try:
        write(table, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
