"""The files that one process writes: each batch is in a file when `write` returns."""

import io
import logging
import os
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from fastdimse import ReceivedEvents
from fastdimse._lock import is_at, try_lock

from ..errors import InputError
from ..row_files.columns import plain_schema
from ..row_files.formats import RowFormat
from ..row_files.read import first_line
from ..row_files.write import RowWriter
from ..terminal import plural
from .partial_files import (
    MUST_CLOSE_BEFORE_RENAME,
    PART,
    PARTIAL_SUFFIXES,
    create_partial,
    sync_directory,
    write_atomically,
)
from .recovery import recover_file, recover_files
from .structured import structure_data_sets

_LOG = logging.getLogger("fastdimse.receive")


class _FairLock:
    """A lock that a thread cannot get again while another one waits for it.

    Under load, the thread that writes batches would otherwise have the lock nearly all the time,
    and no file would be completed.
    """

    def __init__(self) -> None:
        self._next, self._lock = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


class ReceivedFiles:
    """Files of received events in a directory.

    Written events survive a kill: a file ends in ``.part`` until it is complete, and
    :meth:`recover` completes the partial files of processes that were killed.

    Parameters
    ----------
    directory : pathlib.Path
        The directory.
    chosen : RowFormat
        The format; not CSV.
    events : int
        Complete a file when it has this many events. A batch is not split.
    seconds : float
        Complete a file after this time.
    sync : bool, optional
        Sync each batch to the disk, so that it survives a power failure too.
    structured : bool, optional
        Write structured data sets. Requires NDJSON. A data set that cannot be decoded stays bytes.
    retries : bool, optional
        Write later events after a failure too, to another file. Without it, all later writes fail.

    Attributes
    ----------
    events : int
        The number of events written.
    files : int
        The number of complete files.
    failures : int
        The number of failed writes.
    failure : OSError or None
        The reason why the last write failed, or the last file could not be completed.
    failed_at : float
        The monotonic time of the first failure since the last successful write.

    Raises
    ------
    InputError
        If no file can be created and locked in the directory.
    """

    def __init__(
        self,
        directory: Path,
        chosen: RowFormat,
        *,
        events: int,
        seconds: float,
        sync: bool = False,
        structured: bool = False,
        retries: bool = False,
    ) -> None:
        if structured and chosen is not RowFormat.NDJSON:
            raise InputError("--data-sets structured requires --format ndjson")
        self.events = 0
        self.files = 0
        self.failures = 0
        self.failure: OSError | None = None
        self.failed_at = 0.0
        self._retries = retries
        # Partial files that could not be completed, and the size of the last batch that failed.
        self._incomplete: list[Path] = []
        self._failed_size = 0
        self._directory = directory
        self._chosen = chosen
        self._max_events = events
        self._seconds = seconds
        self._sync = sync
        self._structured = structured
        self._lock = _FairLock()
        self._file: int | None = None
        self._path = directory
        # The bytes of one batch, which are appended to the file in full or not at all.
        self._sink = io.BytesIO()
        self._rows: RowWriter | None = None
        self._events_in_file = 0
        self._ends_with_partial_batch = self._is_closed = False
        self._opened_at = 0.0
        self._name_time = datetime.min.replace(tzinfo=UTC)
        directory.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryFile(dir=directory) as file:
                try_lock(file.fileno())
        except OSError as error:
            text = f"{directory}: cannot create and lock a file there: {error.strerror}"
            raise InputError(text) from error

    @property
    def current(self) -> str:
        """The name of the partial file, or an empty string."""
        return "" if self._file is None else self._path.name

    def recover(self) -> list[str]:
        """Complete the partial files of processes that were killed; return a line for each."""
        return recover_files(self._directory, self._chosen)

    def write(self, received: ReceivedEvents) -> None:
        """Write events. They are in the file when this method returns.

        Raises
        ------
        OSError
            If the file cannot be written. None of the events is written, and later calls fail.
        Exception
            If these events cannot be converted to the format. None of them is written. Other events
            can be.
        """
        # `pyarrow.table` would import pandas if it is installed, while the first sender waits.
        table = pa.RecordBatchReader.from_stream(received).read_all()
        table = table.cast(plain_schema(table.schema))
        if self._structured:
            table = structure_data_sets(table)
        with self._lock:
            if self.failure is not None and not self._retries:
                raise self.failure
            if self._is_closed:
                raise OSError(f"{self._directory}: the run has ended")
            try:
                self._write(table)
            except OSError as error:
                self._fail(error)
                self._leave_file()
                raise
            except Exception:
                self.failures += 1
                raise
            self._succeed()
            self.events += table.num_rows
            self._events_in_file += table.num_rows
            if self._events_in_file >= self._max_events:
                self._complete()

    def _write(self, table: Any) -> None:
        if self._file is None:
            self._open(table.schema)
        try:
            if self._rows is not None:
                self._rows.write(table)
            else:
                # Batches may differ in their attributes, so each has a writer.
                RowWriter(self._sink, self._path.name, RowFormat.NDJSON, table.schema).write(table)
        except BaseException:
            self._abandon()
            raise
        self._flush()
        assert self._file is not None
        if not is_at(self._path, self._file):
            raise OSError(f"{self._path}: removed or renamed while in use")

    def _fail(self, error: OSError) -> None:
        self.failures += 1
        if self.failure is None:
            self.failed_at = time.monotonic()
        # Without another try, the error ends the run and is reported then.
        if self._retries and error.errno != getattr(self.failure, "errno", 0):
            text = "events cannot be written, and get Status 0110H: %s"
            fields = {"kind": "write-failed", "reason": str(error)}
            _LOG.error(text, error, extra={"fields": fields})
        self.failure = error

    def _succeed(self) -> None:
        if self.failure is None or self._incomplete:
            return
        self.failure = None
        seconds = time.monotonic() - self.failed_at
        text = "events can be written again, after %.1f s"
        _LOG.warning(text, seconds, extra={"fields": {"kind": "writable", "seconds": seconds}})

    def _leave_file(self) -> None:
        """End the file after a failed write. The next batch gets another file."""
        if self._file is None or not self._retries:
            return
        self._rows = None
        if self._events_in_file or not is_at(self._path, self._file):
            self._complete()
            return
        self._close_file()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def probe(self) -> None:
        """After a failure, find out whether events can be written again.

        Without it, a receiver whose senders wait for its recovery would not recover. It also
        completes the files that could not be completed.
        """
        with self._lock:
            if self._is_closed or (self.failure is None and not self._incomplete):
                return
            try:
                with tempfile.TemporaryFile(dir=self._directory, buffering=0) as file:
                    remaining = memoryview(bytes(max(self._failed_size, 1 << 16)))
                    while remaining:
                        remaining = remaining[file.write(remaining) :]
                    os.fsync(file.fileno())
                while self._incomplete:
                    for line in recover_file(self._incomplete[0], self._chosen, "this run"):
                        _LOG.warning("%s", line, extra={"fields": {"kind": "recovered"}})
                        self.files += 1
                    del self._incomplete[0]
            except OSError as error:
                self.failure = error
            else:
                self._succeed()

    def _abandon(self) -> None:
        """Discard the unflushed bytes of a failed writer, and end its file."""
        assert self._file is not None
        self._sink.seek(0)
        self._sink.truncate()
        self._rows = None
        if self._events_in_file:
            self._complete()
        else:
            self._close_file()
            self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        assert self._file is not None
        end = os.lseek(self._file, 0, os.SEEK_END)
        self._failed_size = len(self._sink.getbuffer())
        remaining = memoryview(self._sink.getvalue())
        try:
            while remaining:
                remaining = remaining[os.write(self._file, remaining) :]
            if self._sync:
                os.fsync(self._file)
        except BaseException:
            # Remove the part of the batch that was written.
            self._ends_with_partial_batch = True
            os.ftruncate(self._file, end)
            self._ends_with_partial_batch = False
            raise
        finally:
            self._sink.seek(0)
            self._sink.truncate()

    def _open(self, schema: Any) -> None:
        while self._file is None:
            self._path = self._directory / f"{self._name()}{PARTIAL_SUFFIXES[self._chosen]}{PART}"
            self._file = create_partial(self._path)
        self._events_in_file, self._opened_at = 0, time.monotonic()
        self._ends_with_partial_batch = False
        if self._sync:
            sync_directory(self._directory)
        if self._chosen is not RowFormat.NDJSON:
            # The suffix selects a stream, which is readable without its end.
            self._rows = RowWriter(self._sink, "events.arrows", RowFormat.ARROW, schema)

    def _name(self) -> str:
        """Return a name that sorts after the previous one, even if the clock was set back."""
        self._name_time = max(datetime.now(UTC), self._name_time + timedelta(microseconds=1))
        return self._name_time.strftime("events-%Y%m%dT%H%M%S.%fZ")

    def rotate(self, *, now: bool = False) -> None:
        """Complete the file if it has been open for long enough, or *now*."""
        with self._lock:
            if self._file is None:
                return
            if now or time.monotonic() - self._opened_at >= self._seconds:
                self._complete()

    def close(self) -> None:
        """Complete the last file. Later writes fail."""
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._complete()

    def _complete(self) -> None:
        assert self._file is not None
        try:
            if self._ends_with_partial_batch:
                raise OSError(f"{self._path}: ends with a partial batch")
            if self._rows is not None:
                self._rows.close()
                self._flush()
            os.fsync(self._file)
            self._replace_partial()
        except (OSError, pa.ArrowException) as error:
            # The partial file still has all events; `probe` or the next run completes it.
            self._fail(error if isinstance(error, OSError) else OSError(first_line(error)))
            self._incomplete.append(self._path)
        else:
            self.files += 1
            self._log_complete()
        finally:
            # Closing releases the lock: not before the file is complete, for other processes
            # recover an unlocked partial file.
            self._rows = None
            self._close_file()

    def _log_complete(self) -> None:
        events = plural(self._events_in_file, "event")
        name = self._path.with_suffix("").with_suffix(f".{self._suffix()}").name
        fields = {"kind": "rotated", "file": name, "events": self._events_in_file}
        _LOG.info("%s: complete, %s", name, events, extra={"fields": fields})

    def _suffix(self) -> str:
        return {RowFormat.PARQUET: "parquet", RowFormat.ARROW: "arrows"}.get(self._chosen, "ndjson")

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _replace_partial(self) -> None:
        if MUST_CLOSE_BEFORE_RENAME:
            self._close_file()
        complete = self._path.with_suffix("")
        if self._chosen is RowFormat.PARQUET:
            with pa.memory_map(str(self._path)) as source:
                table = pa.ipc.open_stream(source).read_all()
                path = complete.with_suffix(".parquet")
                write_atomically(path, table, pyarrow.parquet.write_table)
            self._path.unlink()
        else:
            os.replace(self._path, complete)
        sync_directory(self._directory)
