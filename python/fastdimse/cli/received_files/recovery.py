"""Recovery: complete the partial files of processes that were killed."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from fastdimse._lock import is_at, try_lock

from ..row_files.formats import RowFormat
from ..terminal import plural
from .partial_files import (
    COMPLETE_SUFFIXES,
    MUST_CLOSE_BEFORE_RENAME,
    PART,
    PARTIAL_SUFFIXES,
    sync_directory,
    temporary_path,
    write_atomically,
)


def recover_files(directory: Path, chosen: RowFormat) -> list[str]:
    """Complete the partial files in a directory that no process has locked.

    Parameters
    ----------
    directory : pathlib.Path
        The directory.
    chosen : RowFormat
        The format of the complete files, where a partial file is an Arrow stream.

    Returns
    -------
    list of str
        A line for each partial file.
    """
    lines = []
    for suffix in sorted(set(PARTIAL_SUFFIXES.values())):
        for part in sorted(directory.glob(f"events-*{suffix}{PART}")):
            lines += recover_file(part, chosen, "a run that was killed")
    return lines


def recover_file(part: Path, chosen: RowFormat, writer: str) -> list[str]:
    """Complete a partial file of `writer` if no process has it locked; return lines about it."""
    try:
        opened = part.open("rb+")
    except FileNotFoundError:
        # Another process has just completed it.
        return []
    with opened:
        return _recover(part, opened, chosen, writer)


def _recover(part: Path, opened: BinaryIO, chosen: RowFormat, writer: str) -> list[str]:
    if not try_lock(opened.fileno()):
        return [f"{part.name}: in use by another process"]
    if not is_at(part, opened.fileno()):
        return []
    if MUST_CLOSE_BEFORE_RENAME:
        opened.close()
    for suffix in COMPLETE_SUFFIXES:
        temporary_path(part.with_suffix("").with_suffix(suffix)).unlink(missing_ok=True)
    is_arrow = part.with_suffix("").suffix == ".arrows"
    events, rest = _recover_arrow(part, chosen) if is_arrow else (_recover_lines(part), "")
    return [f"{part.name}: recovered {plural(events, 'event')} of {writer}{rest}"]


def _recover_arrow(part: Path, chosen: RowFormat) -> tuple[int, str]:
    table, end = _read_stream(part)
    rest = part.stat().st_size - end
    complete = part.with_suffix("")
    # The process can have been killed after it had written the complete file.
    exists = any(complete.with_suffix(suffix).exists() for suffix in COMPLETE_SUFFIXES)
    if table is not None and not exists:
        if chosen is RowFormat.PARQUET:
            path = complete.with_suffix(".parquet")
            write_atomically(path, table, pyarrow.parquet.write_table)
        else:
            write_atomically(complete, table, _write_stream)
    count = 0 if table is None else int(table.num_rows)
    if rest == 0:
        part.unlink()
        return count, ""
    # Usually part of a batch without a response, but damaged bytes may be of events with one.
    damaged = part.with_suffix(".damaged")
    os.replace(part, damaged)
    return count, f"; {plural(rest, 'byte')} after them cannot be read, see {damaged.name}"


def _read_stream(part: Path) -> tuple[Any, int]:
    """Return the readable batches of an Arrow stream, None if there are none, and their end."""
    batches, end = [], 0
    with pa.OSFile(str(part)) as file:
        try:
            reader = pa.ipc.open_stream(file)
            end = file.tell()
            while True:
                batches.append(reader.read_next_batch())
                end = file.tell()
        except StopIteration:
            end = file.tell()
        except (pa.ArrowException, OSError, EOFError) as error:
            # An error with a number is of the system, not of the content.
            if getattr(error, "errno", None) is not None:
                raise
    return (pa.Table.from_batches(batches) if batches else None), end


def _write_stream(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)


def _recover_lines(part: Path) -> int:
    text = part.read_bytes()
    end = text.rfind(b"\n") + 1
    if end < len(text):
        os.truncate(part, end)
    if end:
        os.replace(part, part.with_suffix(""))
    else:
        part.unlink()
    sync_directory(part.parent)
    return text.count(b"\n")
