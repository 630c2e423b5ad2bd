"""The common part of the SQLite databases: checksums of rows, and connections after a fork.

SQLite allows a child process no use of the connections that its parent had when it forked, not even
to close them.
"""

import os
import sqlite3
import weakref
import zlib
from typing import Any, Protocol


class Database(Protocol):
    """A database that is open in this process."""

    def after_fork(self) -> None:
        """Pass the connection of the parent process to `keep`, in the child."""


_OPEN: "weakref.WeakSet[Database]" = weakref.WeakSet()
_OF_PARENT: list[sqlite3.Connection | None] = []


def track(database: Database) -> None:
    """Call `after_fork` of the database in a child process."""
    _OPEN.add(database)


def untrack(database: Database) -> None:
    """Forget a database that is closed, or of no use in this process."""
    _OPEN.discard(database)


def keep(connection: sqlite3.Connection | None) -> None:
    """Keep a connection of the parent process from being closed in this one."""
    _OF_PARENT.append(connection)


def checksum(*values: Any) -> int:
    """Return the checksum of the values of a row."""
    return zlib.crc32(repr(values).encode())


def _after_fork() -> None:
    for database in list(_OPEN):
        database.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
