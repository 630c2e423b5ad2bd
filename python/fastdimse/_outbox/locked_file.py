"""The file of an outbox, locked by the process that delivers from it."""

import os
import stat
import sys
import threading
import weakref

from fastdimse._lock import is_at, try_lock

from .errors import OutboxError

# On Linux, `flock` and the locks of SQLite are independent: the file itself is locked, whatever
# link it is opened by. On other systems a file beside it is locked.
_LOCKS_ITSELF = sys.platform == "linux"

# The files that are locked by this process.
_LOCKED: "weakref.WeakSet[LockedFile]" = weakref.WeakSet()
_LOCKING = threading.Lock()


def _unlock_after_fork() -> None:
    """Release all locks in a child process: they would outlive the parent, which delivers."""
    global _LOCKING
    _LOCKING = threading.Lock()
    for file in list(_LOCKED):
        file.close_descriptor()
    _LOCKED.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)


def _absolute(name: str) -> str:
    """Return the path of a file without links, valid in any working directory."""
    if not name:
        raise ValueError("outbox must be the name of a file, not an empty string")
    path = os.path.realpath(name)
    if name.endswith(os.sep) or os.path.isdir(path):
        raise ValueError(f"outbox must be the name of a file: {name} is a directory")
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"outbox must be the name of a regular file: {name} is a device or a pipe")
    return path


class LockedFile:
    """A file that one process at a time can lock, or memory.

    Parameters
    ----------
    path : str, os.PathLike or None
        Path of the file. With ``None``, nothing is locked.

    Raises
    ------
    ValueError
        If the path is not that of a regular file.

    Attributes
    ----------
    path : str or None
        The absolute path, without links.
    identity : os.stat_result or None
        Device and inode of the file, once it exists.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._name = "memory" if path is None else os.fsdecode(path)
        self.path = None if path is None else _absolute(self._name)
        self.identity: os.stat_result | None = None
        self._process = os.getpid()
        self._descriptor: int | None = None

    def __str__(self) -> str:
        """Return the name of the file as it was given."""
        return self._name

    def lock(self) -> None:
        """Lock the file until it is unlocked, or this process ends.

        Raises
        ------
        OutboxError
            If the file cannot be opened, or is locked already.
        """
        with _LOCKING:
            self._lock()
            _LOCKED.add(self)

    def _lock(self) -> None:
        if self.path is None:
            return
        self._check_not_locked_here()
        # The locks of SQLite would also exclude processes that only read.
        locked = self.path if _LOCKS_ITSELF else f"{self.path}-lock"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        try:
            self._descriptor = os.open(locked, flags, 0o644 if _LOCKS_ITSELF else 0o600)
            if not try_lock(self._descriptor):
                raise OutboxError(
                    f"{self}: another process delivers from this outbox; "
                    "use one Delivery with several peers"
                )
            if not is_at(locked, self._descriptor):
                raise OutboxError(f"{self}: the file was removed while it was opened")
        except OutboxError:
            raise
        except OSError as error:
            raise OutboxError(f"{self}: cannot open the outbox: {error.strerror}") from error
        if _LOCKS_ITSELF:
            self.identity = os.fstat(self._descriptor)

    def _check_not_locked_here(self) -> None:
        # Before the file is opened: closing any descriptor of it would end the locks of SQLite.
        assert self.path is not None
        try:
            found = os.stat(self.path)
        except OSError:
            return
        for other in list(_LOCKED):
            if other.identity is not None and os.path.samestat(found, other.identity):
                raise OutboxError(
                    f"{self}: another Delivery of this process delivers from this outbox; "
                    "use one Delivery with several peers"
                )

    def unlock(self) -> None:
        """Let other processes lock the file."""
        _LOCKED.discard(self)
        self.close_descriptor()

    def close_descriptor(self) -> None:
        """Close the descriptor that has the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_of_parent(self) -> bool:
        """Whether a parent of this process opened the file."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raise `OutboxError` in a child of the process that opened the file."""
        if self.is_of_parent:
            raise OutboxError(
                f"{self}: the parent process opened this outbox and delivers from it; "
                "open a Delivery with another outbox in this process"
            )

    def check_path(self) -> None:
        """Raise `OutboxError` if the file is no longer at its path."""
        if self.path is None:
            return
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise OutboxError(f"{self}: the file was removed: {error.strerror}") from error
        if self.identity is not None and not os.path.samestat(found, self.identity):
            raise OutboxError(f"{self}: the file was replaced by another file")
        if (
            not _LOCKS_ITSELF
            and self._descriptor is not None
            and not is_at(f"{self.path}-lock", self._descriptor)
        ):
            raise OutboxError(f"{self}: the lock file {self.path}-lock was removed")
