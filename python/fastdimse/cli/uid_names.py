"""Names of UIDs, if pydicom is installed."""

from functools import cache

from .terminal import printable


@cache
def uid_name(uid: str) -> str:
    """Return the name of a UID in PS3.6, or the UID if it has none."""
    try:
        from pydicom.config import IGNORE
        from pydicom.uid import UID
    except ImportError:
        return printable(uid)
    return printable(UID(uid, IGNORE).name)


def uid_with_name(uid: str) -> str:
    """Return the UID, followed by its name if it has one."""
    name = uid_name(uid)
    return name if name == printable(uid) else f"{printable(uid)} {name}"
