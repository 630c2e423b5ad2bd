"""The SQLite database of a list of subscriptions."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastdimse._sqlite import checksum, keep, track, untrack

from ._errors import SubscriptionsError

# "fdup": `file` and the tools of SQLite show this number as the type of the database.
_APPLICATION_ID = 0x66647570
_VERSION = 1

# Seconds to wait while another process writes.
_BUSY_TIMEOUT = 30

# instances: each UPS of the worklist, with its attributes as JSON.
# global_subscriptions: the Global Subscription State of each AE that has one (PS3.4 CC.2.3.1).
#   `filter` has the matching keys as JSON, or is null.
# subscriptions: the UPS Subscription State of each AE and UPS that is not "Not Subscribed".
# initial_reports: initial UPS State Reports that are due. The attributes of the UPS are read when
#   they are sent.
# checksum: of the other columns of the row in their order.
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE instances (
    uid TEXT PRIMARY KEY, attributes TEXT NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE global_subscriptions (
    ae_title TEXT PRIMARY KEY, lock INTEGER NOT NULL, filter TEXT, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE subscriptions (
    uid TEXT, ae_title TEXT, lock INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (uid, ae_title)
) WITHOUT ROWID;
CREATE INDEX subscriptions_of_ae ON subscriptions (ae_title);
CREATE TABLE initial_reports (
    uid TEXT, ae_title TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (uid, ae_title)
) WITHOUT ROWID;
"""
_COLUMNS = {
    "instances": ("uid", "attributes"),
    "global_subscriptions": ("ae_title", "lock", "filter"),
    "subscriptions": ("uid", "ae_title", "lock"),
    "initial_reports": ("uid", "ae_title"),
}
_COUNT_WITHOUT_INSTANCE = """
    SELECT count(*) FROM (
        SELECT uid FROM subscriptions UNION ALL SELECT uid FROM initial_reports
    ) WHERE uid NOT IN (SELECT uid FROM instances)
"""


class Database:
    """Transactions on the database, from several threads and processes.

    Parameters
    ----------
    path : str, os.PathLike or None
        Path of the file. With ``None``, the database is in memory.

    Raises
    ------
    SubscriptionsError
        If the file cannot be opened, is not a list of subscriptions, or is damaged.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._name = "memory" if path is None else os.fsdecode(path)
        if not self._name:
            raise ValueError("path must be the name of a file, not an empty string")
        self._path = None if path is None else Path(os.path.abspath(self._name))
        self._lock = threading.RLock()
        self._is_closed = False
        self._connection: sqlite3.Connection | None = None
        try:
            with self._errors("cannot open the subscriptions"):
                self._prepare(self._connected())
        except BaseException:
            self.close()
            raise
        track(self)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Read in a ``with`` block."""
        with self._errors("cannot read the subscriptions"):
            yield self._connected()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Write in a ``with`` block, in one transaction that is on disk at the end of the block."""
        with self._errors("cannot write the subscriptions"):
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._is_closed = True
            untrack(self)
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def after_fork(self) -> None:
        """Keep the connection of the parent process open, and connect again when needed."""
        # Another thread of the parent may have held the lock.
        self._lock = threading.RLock()
        if self._path is not None:
            keep(self._connection)
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._is_closed:
            raise SubscriptionsError(f"{self._name}: the list of subscriptions is closed")
        if self._connection is None:
            connection = sqlite3.connect(
                ":memory:" if self._path is None else self._path,
                timeout=_BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            connection.create_function("checksum", -1, checksum, deterministic=True)
            self._connection = connection
        return self._connection

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Hold the lock, and raise errors of SQLite as `SubscriptionsError`."""
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise SubscriptionsError(f"{self._name}: {what}: {error}") from error
        except UnicodeDecodeError as error:
            # Damaged text: SQLite quotes it in its own errors.
            raise self._damaged("text that is not UTF-8") from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Create the tables of a new database, or check those of an old one."""

        def one(query: str) -> Any:
            return connection.execute(query).fetchone()[0]

        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # Another process may create the tables at the same time.
        connection.execute("BEGIN IMMEDIATE")
        try:
            application = one("PRAGMA application_id")
            if application == 0 and one("SELECT count(*) FROM sqlite_schema") == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
            elif application != _APPLICATION_ID:
                raise SubscriptionsError(
                    f"{self._name}: not a list of subscriptions, but a database of another "
                    "application"
                )
            elif (version := one("PRAGMA user_version")) != _VERSION:
                raise SubscriptionsError(
                    f"{self._name}: the list of subscriptions has version {version}, but this "
                    f"fastdimse reads version {_VERSION}"
                )
            else:
                self._check(one)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _check(self, one: Any) -> None:
        if (found := one("PRAGMA integrity_check(1)")) != "ok":
            raise self._damaged(str(found))
        for table, columns in _COLUMNS.items():
            query = (
                f"SELECT count(*) FROM {table} WHERE checksum IS NOT checksum({', '.join(columns)})"
            )
            if count := one(query):
                raise self._damaged(f"rows of table {table} with a wrong checksum: {count}")
        if count := one(_COUNT_WITHOUT_INSTANCE):
            raise self._damaged(f"rows of a UPS that is not in table instances: {count}")

    def _damaged(self, what: str) -> SubscriptionsError:
        return SubscriptionsError(
            f"{self._name}: the list of subscriptions is damaged: {what}; "
            "restore the file from a backup, or use a new one"
        )
