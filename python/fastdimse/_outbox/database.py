"""The SQLite database of an outbox."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastdimse._sqlite import checksum, keep, track, untrack

from .errors import OutboxError
from .locked_file import LockedFile
from .schema import (
    APPLICATION_ID,
    CHECKED_COLUMNS,
    COUNT_INCONSISTENT,
    SCHEMA,
    VERSION,
)

# Seconds to wait while a reader of the file blocks a write.
_BUSY_TIMEOUT = 30


class Database:
    """Transactions on the database of an outbox.

    Parameters
    ----------
    file : LockedFile
        The file, which this locks.

    Raises
    ------
    OutboxError
        If the file cannot be opened, is not an outbox, is damaged, or is in use.
    """

    def __init__(self, file: LockedFile) -> None:
        self.file = file
        self._is_closed = False
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        try:
            file.lock()
            track(self)
            with self._outbox_errors("cannot open the outbox"):
                self._prepare()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Read in a ``with`` block, also after `close`."""
        with self._outbox_errors("cannot read the outbox"):
            yield self._connected()

    @contextmanager
    def write(self, *, sync: bool) -> Iterator[sqlite3.Connection]:
        """Write in a ``with`` block, in one transaction.

        Parameters
        ----------
        sync : bool
            Whether the transaction must be on disk at the end of the block. Otherwise it survives
            the end of the process at once, and a power failure a little later.
        """
        with self._outbox_errors("cannot write to the outbox"):
            if self._is_closed:
                raise OutboxError(f"{self.file}: cannot write to the outbox: it is closed")
            self.file.check_path()
            connection = self._connected()
            connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if sync:
                self.file.check_path()

    def one(self, query: str, *values: Any) -> Any:
        """Return the first value of the first row that a query returns, or None."""
        found = self._connected().execute(query, values).fetchone()
        return None if found is None else found[0]

    def damaged(self, what: str) -> OutboxError:
        """Return the error of a damaged outbox."""
        return OutboxError(
            f"{self.file}: the outbox is damaged: {what}; "
            "restore the file from a backup, or use a new one"
        )

    def close(self) -> None:
        """Let other processes lock the file. It can still be read."""
        if self.file.is_of_parent:
            return
        with self._lock:
            self._is_closed = True
            untrack(self)
            # First the connection: closing any descriptor of the file ends the locks of SQLite.
            self._disconnect()
            self.file.unlock()

    def after_fork(self) -> None:
        """Keep the connection of the parent process from being closed in this one."""
        untrack(self)
        keep(self._connection)

    def _connected(self) -> sqlite3.Connection:
        self.file.check_process()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        path = self.file.path
        # A file that was removed is not created again.
        mode = "rw" if self.file.identity is not None else "rwc"
        connection = sqlite3.connect(
            ":memory:" if path is None else f"{Path(path).as_uri()}?mode={mode}",
            uri=path is not None,
            timeout=_BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.create_function("checksum", -1, checksum, deterministic=True)
        return connection

    def _disconnect(self) -> None:
        if self.file.path is not None and self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _outbox_errors(self, what: str) -> Iterator[None]:
        """Hold the lock, and raise errors of SQLite and of the file system as `OutboxError`."""
        # Before the lock: another thread may have held it when this process was forked.
        self.file.check_process()
        try:
            with self._lock:
                yield
                if self._is_closed:
                    self._disconnect()
        except OutboxError:
            raise
        except sqlite3.Error as error:
            raise OutboxError(f"{self.file}: {what}: {error}") from error
        except OSError as error:
            raise OutboxError(f"{self.file}: {what}: {error.strerror}") from error

    def _prepare(self) -> None:
        """Create the tables of a new database, or check those of an old one."""
        application = self.one("PRAGMA application_id")
        version = self.one("PRAGMA user_version")
        is_new = application == 0 and self.one("SELECT count(*) FROM sqlite_schema") == 0
        if not is_new and application != APPLICATION_ID:
            raise OutboxError(f"{self.file}: not an outbox, but a database of another application")
        if not is_new and version != VERSION:
            raise OutboxError(
                f"{self.file}: the outbox has version {version}, but this fastdimse reads version "
                f"{VERSION}: deliver its events with the fastdimse that wrote it"
            )
        # With a write-ahead log, readers do not block writers, and a transaction survives the end
        # of this process without a sync.
        self._connected().execute("PRAGMA journal_mode = WAL")
        if is_new:
            self._connected().executescript(SCHEMA)
        else:
            self._check()
        if self.file.path is not None:
            self.file.identity = os.stat(self.file.path)

    def _check(self) -> None:
        """Raise `OutboxError` if the tables are not as they were written."""
        if (found := self.one("PRAGMA quick_check(1)")) != "ok":
            raise self.damaged(str(found))
        for table, columns in CHECKED_COLUMNS.items():
            query = (
                f"SELECT count(*) FROM {table} WHERE checksum IS NOT checksum({', '.join(columns)})"
            )
            if count := self.one(query):
                raise self.damaged(f"rows of table {table} with a wrong checksum: {count}")
        if count := self.one(COUNT_INCONSISTENT):
            raise self.damaged(f"rows that are inconsistent with other tables: {count}")
