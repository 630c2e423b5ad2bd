"""Locks of open files, which end with the process that has them."""

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Windows locks bytes, and other processes cannot read them: lock a byte beyond the end of most
# files.
_LOCKED_BYTE = 0x7FFF_FFFE


def try_lock(descriptor: int) -> bool:
    """Lock an open file, if no other open file has the lock.

    The lock belongs to the open file: all names of the file share it. It ends when the descriptor
    is closed or its process ends. On Windows one byte is locked, after the contents of the file.

    Parameters
    ----------
    descriptor : int
        Descriptor of the open file.

    Returns
    -------
    bool
        Whether the file is locked now.

    Raises
    ------
    OSError
        If the file system does not support locks.
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
    """Return whether a path still names an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
