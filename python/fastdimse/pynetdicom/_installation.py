"""Applies all patches of pynetdicom, and reverts them."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ._association import replace_association
from ._logging import replace_logging
from ._messages import replace_codec
from ._patches import Patches
from ._primitive_class import replace_classes
from ._services import replace_service_threads
from ._status import replace_status
from ._transport import replace_writes
from ._upper_layer import replace_upper_layer

# 2.1.1 reports itself as 2.1.0. They differ in the timers on Windows.
TESTED_VERSIONS = ("2.0.2", "2.1.0", "2.1.1", "3.0.4")

_lock = threading.RLock()
_patches: Patches | None = None
# Whether `install` was called, and `uninstall` was not.
_is_permanent = False
# Number of `with installed()` blocks that are open in any thread.
_open_blocks = 0


def is_installed() -> bool:
    """Return whether pynetdicom runs on fastdimse.

    Returns
    -------
    bool
        ``True`` after :func:`install`, and in a block of :func:`installed`.

    Examples
    --------
    >>> import fastdimse.pynetdicom
    >>> fastdimse.pynetdicom.is_installed()
    False
    """
    return _patches is not None


def install() -> None:
    """Let pynetdicom run on fastdimse.

    Call this before the first association: existing associations keep the options of their sockets.
    Further calls have no effect.

    Raises
    ------
    ImportError
        If pynetdicom is not installed.

    Warns
    -----
    UserWarning
        If the version of pynetdicom is not one of :data:`TESTED_VERSIONS`. Then only the classes
        are replaced, not the codec and the network code.

    Examples
    --------
    >>> import pynetdicom.dimse_primitives
    >>> import fastdimse.pynetdicom
    >>> with fastdimse.pynetdicom.installed():
    ...     pynetdicom.dimse_primitives.N_EVENT_REPORT is fastdimse.N_EVENT_REPORT
    True
    """
    global _is_permanent
    with _lock:
        _apply()
        _is_permanent = True


def uninstall() -> None:
    """Restore pynetdicom as it was before :func:`install`.

    Examples
    --------
    >>> import fastdimse.pynetdicom
    >>> fastdimse.pynetdicom.install()
    >>> fastdimse.pynetdicom.uninstall()
    >>> fastdimse.pynetdicom.is_installed()
    False
    """
    global _is_permanent
    with _lock:
        _is_permanent = False
        _revert()


@contextmanager
def installed() -> Iterator[None]:
    """Let pynetdicom run on fastdimse in a ``with`` block.

    Blocks can be nested, and open in several threads. The end of the last block restores
    pynetdicom, unless :func:`install` was called.

    Raises
    ------
    ImportError
        If pynetdicom is not installed.

    Warns
    -----
    UserWarning
        Same as :func:`install`.

    Examples
    --------
    >>> import fastdimse.pynetdicom
    >>> with fastdimse.pynetdicom.installed():
    ...     fastdimse.pynetdicom.is_installed()
    True
    """
    global _open_blocks
    with _lock:
        _apply()
        _open_blocks += 1
    try:
        yield
    finally:
        with _lock:
            _open_blocks -= 1
            if not _open_blocks and not _is_permanent:
                _revert()


def _apply() -> None:
    global _patches
    if _patches is not None:
        return
    try:
        import pynetdicom
    except ImportError as error:
        raise ImportError(
            "fastdimse.pynetdicom needs pynetdicom: pip install pynetdicom", name="pynetdicom"
        ) from error

    version = pynetdicom.__version__
    patches = Patches()
    try:
        replace_classes(patches)
        if version in TESTED_VERSIONS:
            replace_codec(patches)
            replace_logging(patches)
            replace_writes(patches)
            replace_upper_layer(patches)
            replace_service_threads(patches)
            replace_association(patches, is_installed)
            replace_status(patches)
    except BaseException:
        patches.revert()
        raise
    _patches = patches
    if version not in TESTED_VERSIONS:
        tested = ", ".join(TESTED_VERSIONS)
        warnings.warn(
            f"pynetdicom {version} is not one of the tested versions ({tested}): "
            "only its classes N_EVENT_REPORT and N_ACTION are replaced, not its codec and its "
            "network code",
            stacklevel=3,
        )


def _revert() -> None:
    global _patches
    if _patches is not None:
        _patches.revert()
        _patches = None
