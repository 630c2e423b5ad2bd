"""Locks of open files, which end with the process that holds them."""

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Windows locks bytes, which nobody else can read then: one far behind those of most files.
_LOCKED_BYTE = 0x7FFF_FFFE


def try_lock(descriptor: int) -> bool:
    """Lock an open file, and return whether no other open file has the lock.

    The lock is of the open file: another name of the file has the same lock. It ends when the
    descriptor is closed, or when its process ends in whatever way. On Windows it is of one byte,
    behind what is read and written.

    Parameters
    ----------
    descriptor : int
        The open file.

    Raises
    ------
    OSError
        If the file system has no locks.
    """
    if fcntl is None:
        return _try_lock_byte(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock_byte(descriptor: int) -> bool:
    import msvcrt

    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except PermissionError:
        return False
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)
    return True


def is_at(path: str | os.PathLike[str], descriptor: int) -> bool:
    """Return whether a path is still the name of an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
