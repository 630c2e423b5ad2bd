"""Everything put in place, and taken back."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ._association import replace_association
from ._logging import replace_logging
from ._messages import replace_codec
from ._patches import Patches
from ._primitive_class import replace_class
from ._transport import replace_writes
from ._upper_layer import replace_upper_layer

# 2.1.1 says of itself that it is 2.1.0; they differ in the timers of Windows.
TESTED_VERSIONS = ("2.0.2", "2.1.0", "2.1.1", "3.0.4")
"""The versions of pynetdicom whose inner parts are known."""

_lock = threading.RLock()
_patches: Patches | None = None
_asked_for = False  # by install(), until uninstall()
_blocks = 0  # of installed(), open in whatever thread


def is_installed() -> bool:
    """Return whether pynetdicom runs on fastdimse."""
    return _patches is not None


def install() -> None:
    """Let pynetdicom run on fastdimse.

    Associations that exist already keep their sockets as they are. Calling this again changes
    nothing.

    Warns
    -----
    UserWarning
        If the version of pynetdicom is not one of :data:`TESTED_VERSIONS`: then only the class is
        put in place, not the codec and the wire.

    Raises
    ------
    ImportError
        If there is no pynetdicom.

    Examples
    --------
    >>> import pynetdicom.dimse_primitives
    >>> import fastdimse.pynetdicom
    >>> with fastdimse.pynetdicom.installed():
    ...     pynetdicom.dimse_primitives.N_EVENT_REPORT is fastdimse.N_EVENT_REPORT
    True
    """
    global _asked_for
    with _lock:
        _put_in_place()
        _asked_for = True


def uninstall() -> None:
    """Leave pynetdicom as it was before :func:`install`."""
    global _asked_for
    with _lock:
        _asked_for = False
        _take_back()


@contextmanager
def installed() -> Iterator[None]:
    """Let pynetdicom run on fastdimse inside a ``with`` block.

    Inside a block of another :func:`installed`, or after :func:`install`, it changes nothing.
    Blocks may be open in several threads: the last one takes it back.
    """
    global _blocks
    with _lock:
        _put_in_place()
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks and not _asked_for:
                _take_back()


def _put_in_place() -> None:
    global _patches
    if _patches is not None:
        return
    import pynetdicom

    version = pynetdicom.__version__
    patches = Patches()
    try:
        replace_class(patches)
        if version in TESTED_VERSIONS:
            replace_codec(patches)
            replace_logging(patches)
            replace_writes(patches)
            replace_upper_layer(patches)
            replace_association(patches, is_installed)
    except BaseException:
        patches.undo()
        raise
    _patches = patches
    if version not in TESTED_VERSIONS:
        tested = ", ".join(TESTED_VERSIONS)
        warnings.warn(
            f"pynetdicom {version} is not one of the versions that fastdimse knows ({tested}): "
            "its N_EVENT_REPORT is replaced, its codec and its sockets are left as they are",
            stacklevel=3,
        )


def _take_back() -> None:
    global _patches
    if _patches is not None:
        _patches.undo()
        _patches = None
