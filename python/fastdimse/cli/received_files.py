"""Files of events that were taken in: written as they come, renamed when they are whole."""

import io
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from fastdimse import ReceivedEvents, decode_data_sets

from .files import RowFormat, RowsOut, plain_schema, shorten
from .json_objects import DATA_SETS
from .report import plural
from .rows import InputError

_PART = ".part"
# What stands in a file that is not whole yet: Parquet can't be read before its end is there.
_SUFFIXES = {RowFormat.NDJSON: ".ndjson", RowFormat.ARROW: ".arrows", RowFormat.PARQUET: ".arrows"}


class ReceivedFiles:
    """Files of events that were taken in, in a folder.

    What has been written is there after a kill: a file ends in ``.part`` until it is whole, and
    :meth:`recover` makes whole ones of those that were left.

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
        Let what is written outlive the power too.
    structured : bool, optional
        Write data sets by their attributes, in NDJSON.

    Attributes
    ----------
    events : int
        How many events were written.
    files : int
        How many files are whole.
    failure : OSError or None
        Why no more can be written.
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
        self._begun = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def current(self) -> str:
        """The name of the file that is written."""
        return "" if self._file is None else self._path.name

    def recover(self) -> list[str]:
        """Make whole files of those that a run left that was killed, and tell what there was."""
        told = []
        for part in sorted(self._folder.glob(f"*{_PART}")):
            if part.with_suffix("").suffix == ".arrows":
                events = self._recover_arrow(part)
            else:
                events = _recover_lines(part)
            told.append(f"{part.name}: {plural(events, 'event')} of a run that did not end")
        return told

    def _recover_arrow(self, part: Path) -> int:
        batches = []
        with part.open("rb") as file:
            try:
                reader = pa.ipc.open_stream(file)
                while True:
                    batches.append(reader.read_next_batch())
            except (StopIteration, pa.ArrowException, OSError, EOFError):
                # What was being written when the run was killed was not answered.
                pass
        if not batches:
            part.unlink()
            return 0
        table = pa.Table.from_batches(batches)
        whole = part.with_suffix("")
        if self._chosen is RowFormat.PARQUET:
            _write_parquet(table, whole.with_suffix(".parquet"))
            part.unlink()
        else:
            again = whole.with_suffix(".arrows.again")
            with pa.OSFile(str(again), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
                out.write_table(table)
            os.replace(again, whole)
            part.unlink()
        return int(table.num_rows)

    def write(self, received: ReceivedEvents) -> None:
        """Write events; when it returns they are in the file.

        Raises
        ------
        OSError
            If they can't be written. Then none of them is, and no more will be.
        """
        table = pa.table(received)
        table = table.cast(plain_schema(table.schema))
        if self._structured:
            table = _with_attributes(table)
        with self._lock:
            if self.failure is not None:
                raise self.failure
            try:
                self._write(table)
            except (OSError, pa.ArrowException) as error:
                self.failure = error if isinstance(error, OSError) else OSError(shorten(error))
                raise self.failure from error
            self.events += table.num_rows
            self._in_file += table.num_rows
            if self._in_file >= self._most:
                self._finish()

    def _write(self, table: Any) -> None:
        if self._file is None:
            self._open(table.schema)
        if self._rows is not None:
            self._rows.write(table)
        else:
            # Each batch may have other attributes.
            RowsOut(self._sink, self._path.name, RowFormat.NDJSON, table.schema).write(table)
        self._flush()

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
            os.ftruncate(self._file, end)
            raise
        finally:
            self._sink.seek(0)
            self._sink.truncate()

    def _open(self, schema: Any) -> None:
        suffix = _SUFFIXES[self._chosen]
        name = datetime.now(UTC).strftime("events-%Y%m%dT%H%M%S.%fZ")
        self._path = self._folder / f"{name}{suffix}{_PART}"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._in_file, self._begun = 0, time.monotonic()
        if self._chosen is not RowFormat.NDJSON:
            # By this suffix it is a stream, whose end is not needed.
            self._rows = RowsOut(self._sink, "events.arrows", RowFormat.ARROW, schema)

    def rotate(self) -> None:
        """Make the file whole, if it has been written for long enough."""
        with self._lock:
            if self._file is not None and time.monotonic() - self._begun >= self._seconds:
                self._finish()

    def close(self) -> None:
        """Make the last file whole."""
        with self._lock:
            if self._file is not None:
                self._finish()

    def _finish(self) -> None:
        assert self._file is not None
        try:
            try:
                if self._rows is not None:
                    self._rows.close()
                    self._flush()
                os.fsync(self._file)
            finally:
                os.close(self._file)
                self._file, self._rows = None, None
            whole = self._path.with_suffix("")
            if self._chosen is RowFormat.PARQUET:
                with pa.memory_map(str(self._path)) as source:
                    table = pa.ipc.open_stream(source).read_all()
                _write_parquet(table, whole.with_suffix(".parquet"))
                self._path.unlink()
            else:
                os.replace(self._path, whole)
        except OSError as error:
            # All of it is in the file still, which the next run makes whole.
            self.failure = error
            return
        self.files += 1


def _write_parquet(table: Any, path: Path) -> None:
    """Write a file that is there when it is whole."""
    aside = path.with_suffix(".parquet.aside")
    try:
        pyarrow.parquet.write_table(table, aside)
        os.replace(aside, path)
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
    return text.count(b"\n")


def _with_attributes(table: Any) -> Any:
    """Return the events with those data sets by their attributes that can be read so."""
    for name in DATA_SETS:
        column = table.column(name)
        if column.null_count == len(column):
            continue
        decoded = decode_data_sets(
            column, transfer_syntax=table.column("TransferSyntaxUID"), on_invalid="skip"
        )
        if len(decoded.rejected) == 0:
            index = table.column_names.index(name)
            table = table.set_column(index, name, pa.array(decoded))
    return table
