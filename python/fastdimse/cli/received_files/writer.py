"""Files of events that were taken in: written as they come, renamed when they are whole."""

import errno
import io
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from fastdimse import ReceivedEvents, decode_data_sets
from fastdimse._lock import is_at, try_lock

from ..row_files.json_objects import DATA_SETS, UNREAD
from ..row_files.read import RowFormat, RowsOut, plain_schema, shorten
from ..row_files.rows import InputError
from ..terminal import note, plural

_PART = ".part"
# So many data sets of a batch that can't be read are told one by one.
_TOLD = 10
# What stands in a file that is not whole yet: Parquet can't be read before its end is there.
_SUFFIXES = {RowFormat.NDJSON: ".ndjson", RowFormat.ARROW: ".arrows", RowFormat.PARQUET: ".arrows"}
# On Windows no open file is renamed: there its lock ends a moment before.
_RENAMES_CLOSED_FILES_ONLY = os.name == "nt"
_WHOLE = (".parquet", ".arrows", ".ndjson")


class ReceivedFiles:
    """Files of events that were taken in, in a folder.

    What has been written is there after a kill: a file ends in ``.part`` until it is whole, and
    :meth:`recover` makes whole ones of those that were left. Who writes a file has it locked, so
    that several processes can write to one folder.

    Parameters
    ----------
    folder : pathlib.Path
        The folder.
    chosen : RowFormat
        The format, but CSV.
    events : int
        A file has at most about so many.
    seconds : float
        A file is whole after so long.
    sync : bool, optional
        Let what is written outlive the power too, not only the process.
    structured : bool, optional
        Write data sets by their attributes, in NDJSON. One that can't be read stays bytes.

    Attributes
    ----------
    events : int
        How many events were written.
    files : int
        How many files are whole.
    failure : OSError or None
        Why no more can be written.

    Raises
    ------
    InputError
        If no file can be made in the folder.
    """

    def __init__(
        self,
        folder: Path,
        chosen: RowFormat,
        *,
        events: int,
        seconds: float,
        sync: bool = False,
        structured: bool = False,
    ) -> None:
        if structured and chosen is not RowFormat.NDJSON:
            raise InputError("the attributes of data sets are written to NDJSON alone")
        self.events = 0
        self.files = 0
        self.failure: OSError | None = None
        self._folder = folder
        self._chosen = chosen
        self._most = events
        self._seconds = seconds
        self._sync = sync
        self._structured = structured
        self._lock = threading.Lock()
        self._file: int | None = None
        self._path = folder
        # What is to be written to the file next, all of it or nothing.
        self._sink = io.BytesIO()
        self._rows: RowsOut | None = None
        self._in_file = 0
        self._is_torn = self._is_closed = False
        self._begun = 0.0
        self._named = datetime.min.replace(tzinfo=UTC)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                try_lock(file.fileno())
        except OSError as error:
            text = f"{folder}: no file can be made and locked there: {error.strerror}"
            raise InputError(text) from error

    @property
    def current(self) -> str:
        """The name of the file that is written."""
        return "" if self._file is None else self._path.name

    def recover(self) -> list[str]:
        """Make whole files of those that a run left that was killed, and tell what there was."""
        told = []
        for suffix in sorted(set(_SUFFIXES.values())):
            for part in sorted(self._folder.glob(f"events-*{suffix}{_PART}")):
                try:
                    held = part.open("rb+")
                except FileNotFoundError:
                    # Its process, or another one that found it, made it whole just now.
                    continue
                with held:
                    told += self._recover(part, held)
        return told

    def _recover(self, part: Path, held: BinaryIO) -> list[str]:
        if not try_lock(held.fileno()):
            return [f"{part.name}: another process writes it"]
        if not is_at(part, held.fileno()):
            return []
        if _RENAMES_CLOSED_FILES_ONLY:
            held.close()
        for suffix in _WHOLE:
            _aside(part.with_suffix("").with_suffix(suffix)).unlink(missing_ok=True)
        is_arrow = part.with_suffix("").suffix == ".arrows"
        events, left = self._recover_arrow(part) if is_arrow else (_recover_lines(part), "")
        return [f"{part.name}: {plural(events, 'event')} of a run that did not end{left}"]

    def _recover_arrow(self, part: Path) -> tuple[int, str]:
        table, end = _read_stream(part)
        left = part.stat().st_size - end
        whole = part.with_suffix("")
        # A run can have been killed when it had made the whole file.
        is_there = any(whole.with_suffix(suffix).exists() for suffix in _WHOLE)
        if table is not None and not is_there:
            if self._chosen is RowFormat.PARQUET:
                _write_aside(whole.with_suffix(".parquet"), table, pyarrow.parquet.write_table)
            else:
                _write_aside(whole, table, _write_stream)
        count = 0 if table is None else int(table.num_rows)
        if left == 0:
            part.unlink()
            return count, ""
        # Mostly half a batch, which was not answered; but what has been damaged was.
        damaged = part.with_suffix(".damaged")
        os.replace(part, damaged)
        return count, f"; {plural(left, 'byte')} behind them can't be read, see {damaged.name}"

    def write(self, received: ReceivedEvents) -> None:
        """Write events; when it returns they are in the file.

        Raises
        ------
        OSError
            If they can't be written. Then none of them is, and no more will be.
        Exception
            If they can't be written in this format. Then none of them is, and others can be.
        """
        table = pa.table(received)
        table = table.cast(plain_schema(table.schema))
        if self._structured:
            table = _with_attributes(table)
        with self._lock:
            if self.failure is not None:
                raise self.failure
            if self._is_closed:
                raise OSError(f"{self._folder}: the run has ended")
            try:
                self._write(table)
            except OSError as error:
                self.failure = error
                raise
            self.events += table.num_rows
            self._in_file += table.num_rows
            if self._in_file >= self._most:
                self._finish()

    def _write(self, table: Any) -> None:
        if self._file is None:
            self._open(table.schema)
        try:
            if self._rows is not None:
                self._rows.write(table)
            else:
                # Each batch may have other attributes.
                RowsOut(self._sink, self._path.name, RowFormat.NDJSON, table.schema).write(table)
        except BaseException:
            self._abandon()
            raise
        self._flush()
        assert self._file is not None
        if not is_at(self._path, self._file):
            raise OSError(f"{self._path}: it was removed or renamed while it was written")

    def _abandon(self) -> None:
        """End a file whose writer may have written a part of a batch to the sink."""
        assert self._file is not None
        self._sink.seek(0)
        self._sink.truncate()
        self._rows = None
        if self._in_file:
            self._finish()
        else:
            self._close_file()
            self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        assert self._file is not None
        end = os.lseek(self._file, 0, os.SEEK_END)
        left = memoryview(self._sink.getvalue())
        try:
            while left:
                left = left[os.write(self._file, left) :]
            if self._sync:
                os.fsync(self._file)
        except BaseException:
            # A part of a batch is of no use.
            self._is_torn = True
            os.ftruncate(self._file, end)
            self._is_torn = False
            raise
        finally:
            self._sink.seek(0)
            self._sink.truncate()

    def _open(self, schema: Any) -> None:
        while self._file is None:
            self._path = self._folder / f"{self._name()}{_SUFFIXES[self._chosen]}{_PART}"
            self._file = _create(self._path)
        if self._sync:
            _sync_folder(self._folder)
        self._in_file, self._begun = 0, time.monotonic()
        if self._chosen is not RowFormat.NDJSON:
            # By this suffix it is a stream, whose end is not needed.
            self._rows = RowsOut(self._sink, "events.arrows", RowFormat.ARROW, schema)

    def _name(self) -> str:
        """Return a name behind that of the file before, also where the clock was set back."""
        self._named = max(datetime.now(UTC), self._named + timedelta(microseconds=1))
        return self._named.strftime("events-%Y%m%dT%H%M%S.%fZ")

    def rotate(self) -> None:
        """Make the file whole, if it has been written for long enough."""
        with self._lock:
            if self._file is not None and time.monotonic() - self._begun >= self._seconds:
                self._finish()

    def close(self) -> None:
        """Make the last file whole, and write no more."""
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._finish()

    def _finish(self) -> None:
        assert self._file is not None
        try:
            if self._is_torn:
                raise OSError(f"{self._path}: half a batch is at its end")
            if self._rows is not None:
                self._rows.close()
                self._flush()
            os.fsync(self._file)
            self._make_whole()
        except (OSError, pa.ArrowException) as error:
            # All of it is in the file still, which the next run makes whole.
            self.failure = error if isinstance(error, OSError) else OSError(shorten(error))
        else:
            self.files += 1
        finally:
            # The lock ends here: another process must not find the file before it is whole.
            self._rows = None
            self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _make_whole(self) -> None:
        if _RENAMES_CLOSED_FILES_ONLY:
            self._close_file()
        whole = self._path.with_suffix("")
        if self._chosen is RowFormat.PARQUET:
            with pa.memory_map(str(self._path)) as source:
                table = pa.ipc.open_stream(source).read_all()
                _write_aside(whole.with_suffix(".parquet"), table, pyarrow.parquet.write_table)
            self._path.unlink()
        else:
            os.replace(self._path, whole)
        _sync_folder(self._folder)


def _create(path: Path) -> int | None:
    """Make a file and lock it; None where there is one, or another process took it."""
    if any(path.with_suffix("").with_suffix(suffix).exists() for suffix in _WHOLE):
        return None
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    try:
        # One that looks for files of killed runs can have found and removed it.
        if try_lock(file) and is_at(path, file):
            return file
    except BaseException:
        path.unlink()
        os.close(file)
        raise
    os.close(file)
    return None


def _sync_folder(folder: Path) -> None:
    """Let names of files outlive the power, where the system can do that."""
    if os.name == "nt":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        # Not every file system syncs directories by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def _read_stream(part: Path) -> tuple[Any, int]:
    """Return what can be read of a stream of Arrow, None if nothing can, and where that ends."""
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
            # Of the system's errors none is about what is in the file.
            if getattr(error, "errno", None) is not None:
                raise
    return (pa.Table.from_batches(batches) if batches else None), end


def _write_stream(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)


def _aside(path: Path) -> Path:
    return path.with_suffix(f"{path.suffix}.aside")


def _write_aside(path: Path, table: Any, write: Callable[[Any, Path], object]) -> None:
    """Write a file that is there when it is whole, on the disk."""
    aside = _aside(path)
    try:
        write(table, aside)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _recover_lines(part: Path) -> int:
    text = part.read_bytes()
    end = text.rfind(b"\n") + 1
    if end < len(text):
        os.truncate(part, end)
    if end:
        os.replace(part, part.with_suffix(""))
    else:
        part.unlink()
    _sync_folder(part.parent)
    return text.count(b"\n")


def _with_attributes(table: Any) -> Any:
    """Return the events with their data sets by their attributes.

    A data set that can't be read is told on standard error. Its bytes are in a column beside.
    """
    for name in DATA_SETS:
        column = table.column(name)
        if column.null_count == len(column):
            continue
        attributes, wrong = _attributes(column, table.column("TransferSyntaxUID"))
        index = table.column_names.index(name)
        if wrong:
            _tell(table, name, wrong)
            unread = pa.compute.if_else(_is_in(wrong, column), column, None)
            table = table.append_column(name + UNREAD, unread)
        table = table.set_column(index, name, attributes)
    return table


def _attributes(column: Any, syntaxes: Any) -> tuple[Any, dict[int, str]]:
    """Return data sets by their attributes, and why those that are null then can't be read."""
    decoded = decode_data_sets(column, transfer_syntax=syntaxes, on_invalid="skip")
    wrong = {}
    for one in decoded.rejected:
        assert one.row is not None
        wrong[one.row] = one.reason if one.field is None else f"{one.field}: {one.reason}"
    try:
        return pa.array(decoded), wrong
    except pa.ArrowInvalid as error:
        # pyarrow's types are not nested as deep as data sets may be.
        deep = dict.fromkeys(_too_deep(column, syntaxes), shorten(error))
        column = pa.compute.if_else(_is_in(deep, column), None, column)
        attributes, wrong = _attributes(column, syntaxes)
        return attributes, wrong | deep


def _too_deep(column: Any, syntaxes: Any, first: int = 0) -> list[int]:
    """Return the rows, the first of which is `first`, with data sets that pyarrow can't have."""
    try:
        pa.array(decode_data_sets(column, transfer_syntax=syntaxes, on_invalid="skip"))
    except pa.ArrowInvalid:
        if len(column) == 1:
            return [first]
        half = len(column) // 2
        return [
            *_too_deep(column[:half], syntaxes[:half], first),
            *_too_deep(column[half:], syntaxes[half:], first + half),
        ]
    return []


def _is_in(rows: Iterable[int], column: Any) -> Any:
    return pa.compute.is_in(pa.array(range(len(column))), value_set=pa.array(rows, pa.int64()))


def _tell(table: Any, name: str, wrong: dict[int, str]) -> None:
    """Tell which data sets of a column can't be read, and why."""
    for row, reason in islice(sorted(wrong.items()), _TOLD):
        [event] = table.slice(row, 1).to_pylist()
        note(
            f"association {event['Association']} from {event['CallingAETitle']} at "
            f"{event['SourceAddress']}:{event['SourcePort']}: the {name} of MessageID "
            f"{event['MessageID']} is written as bytes: {reason}"
        )
    if len(wrong) > _TOLD:
        note(f"and so are {plural(len(wrong) - _TOLD, 'more data set')}")
