"""A SQLite database with one commit for all threads that write at the same time."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

from fastdimse._sqlite import keep, track, untrack

from ._errors import StorageCommitmentError

T = TypeVar("T")

# Seconds to wait while another process writes.
_BUSY_TIMEOUT = 30

# Pages of the write-ahead log that are copied to the database together, with a sync.
_CHECKPOINT_PAGES = 4000


class Schema(NamedTuple):
    """The tables of a database, and the number that identifies its application."""

    application_id: int
    version: int
    tables: str


class _Write(Generic[T]):
    """A function that writes, and its result."""

    def __init__(self, function: Callable[[sqlite3.Connection], T], is_statement: bool) -> None:
        self.function = function
        self.is_statement = is_statement
        self.is_done = False
        self.result: T
        self.error: BaseException | None = None


class Database:
    """A SQLite database, in a file or in memory.

    Several processes can use the file at the same time.

    Parameters
    ----------
    path : str, os.PathLike or None
        The file. With ``None``, the database is in memory.
    schema : Schema
        Its tables.
    sync : bool
        Whether a write is on disk when it returns. Otherwise it survives the end of the process at
        once, and a power failure a little later.

    Raises
    ------
    StorageCommitmentError
        If the file cannot be opened, or is not a database with these tables.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, schema: Schema, *, sync: bool = True
    ) -> None:
        self._name = "memory" if path is None else os.fsdecode(path)
        self._path = None if path is None else os.path.realpath(self._name)
        self._is_of_parent = False
        self._lock = threading.Lock()
        self._queue_lock = threading.Lock()
        self._writes: list[_Write[Any]] = []
        self._connection: sqlite3.Connection | None = None
        with self._locked("cannot open the database"):
            self._connection = connection = sqlite3.connect(
                ":memory:" if self._path is None else f"{Path(self._path).as_uri()}?mode=rwc",
                uri=self._path is not None,
                timeout=_BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            track(self)
            try:
                self._prepare(connection, schema, sync)
            except BaseException:
                connection.close()
                raise

    def __str__(self) -> str:
        """Return the name of the file as it was given."""
        return self._name

    def _prepare(self, connection: sqlite3.Connection, schema: Schema, sync: bool) -> None:
        # With a write-ahead log, readers do not block writers, and a transaction survives the end
        # of this process without a sync.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        # Two processes may create the tables at the same time.
        connection.execute("BEGIN IMMEDIATE")
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        [tables] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application == 0 and tables == 0:
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {schema.version}")
            for statement in schema.tables.split(";"):
                connection.execute(statement)
        elif application != schema.application_id:
            raise StorageCommitmentError(f"{self}: a database of another application")
        elif version != schema.version:
            raise StorageCommitmentError(
                f"{self}: the database has version {version}, but this fastdimse reads version "
                f"{schema.version}"
            )
        connection.execute("COMMIT")
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise self.damaged(found)

    def damaged(self, what: str) -> StorageCommitmentError:
        """Return the error of a damaged database."""
        return StorageCommitmentError(
            f"{self}: the database is damaged: {what}; restore the file from a backup, or use a "
            "new one"
        )

    def check_process(self) -> None:
        """Raise `StorageCommitmentError` in a child of the process that opened the database."""
        if self._is_of_parent:
            raise StorageCommitmentError(
                f"{self}: the parent process opened this database; open it again in this process"
            )

    def after_fork(self) -> None:
        """Keep the connection of the parent process from being closed in this one."""
        self._is_of_parent = True
        untrack(self)
        keep(self._connection)

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._locked("cannot read the database"):
            return self._connected().execute(query, values).fetchall()

    def write(
        self, function: Callable[[sqlite3.Connection], T], *, is_statement: bool = False
    ) -> T:
        """Call a function that writes, and return its result when the write is on disk.

        Functions of several threads share a transaction, and so one sync. If a function raises,
        its changes are undone, and those of the others are not.

        Parameters
        ----------
        function : callable
            The function.
        is_statement : bool, default False
            Whether it executes one statement only. Each further statement, also to begin and end a
            transaction, gives other threads the interpreter.
        """
        self.check_process()
        own = _Write(function, is_statement)
        with self._queue_lock:
            self._writes.append(own)
        # The first thread writes for those that wait for it.
        with self._locked("cannot write to the database"):
            if not own.is_done:
                with self._queue_lock:
                    writes, self._writes = self._writes, []
                self._write(writes)
        if own.error is not None:
            raise own.error
        return own.result

    def _write(self, writes: list[_Write[Any]]) -> None:
        try:
            connection = self._connected()
            if len(writes) == 1 and writes[0].is_statement:
                self._run(connection, writes[0], is_alone=True)
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                for write in writes:
                    self._run(connection, write, is_alone=len(writes) == 1)
                is_undone = len(writes) == 1 and writes[0].error is not None
                connection.execute("ROLLBACK" if is_undone else "COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except BaseException as error:
            # The threads that wait must not take a write that was undone for a success.
            for write in writes:
                write.error = write.error or self._translated(error, "cannot write to the database")
        finally:
            for write in writes:
                write.is_done = True

    @staticmethod
    def _run(connection: sqlite3.Connection, write: _Write[Any], *, is_alone: bool) -> None:
        if not is_alone:
            connection.execute("SAVEPOINT one")
        try:
            write.result = write.function(connection)
        except sqlite3.Error:
            raise
        except BaseException as error:
            write.error = error
            if not is_alone:
                connection.execute("ROLLBACK TO one")
        if not is_alone:
            connection.execute("RELEASE one")

    def close(self) -> None:
        """Close the database."""
        untrack(self)
        if self._is_of_parent:
            return
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageCommitmentError(f"{self}: the database is closed")
        return self._connection

    def _translated(self, error: BaseException, what: str) -> BaseException:
        if isinstance(error, sqlite3.Error):
            return StorageCommitmentError(f"{self}: {what}: {error}")
        return error

    def _locked(self, what: str) -> "_Locked":
        """Return a context that holds the lock, and raises errors of SQLite as our own."""
        # Before the lock: another thread may have held it when this process was forked.
        self.check_process()
        return _Locked(self._lock, f"{self}: {what}")


class _Locked:
    """A lock in a ``with`` block, whose errors of SQLite become `StorageCommitmentError`.

    A function with `contextmanager` takes several times as long.
    """

    def __init__(self, lock: threading.Lock, what: str) -> None:
        self._lock, self._what = lock, what

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise StorageCommitmentError(f"{self._what}: {error}") from error
