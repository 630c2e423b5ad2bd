"""Make pynetdicom use the message classes, the codec and the network code of fastdimse.

One line before the first association is enough::

    import fastdimse.pynetdicom

    fastdimse.pynetdicom.install()

:func:`install` replaces, and :func:`uninstall` restores:

- the classes ``N_EVENT_REPORT`` and ``N_ACTION`` in every module of pynetdicom that has them;
- the codec of their messages. Handlers still find ``command_set``, which is decoded when
  it is first read;
- the writes to the network: a message is sent in one write, and new connections have TCP_NODELAY;
- the TCP acknowledgements, on Linux: parts of a PDU or message are acknowledged at once;
- the steps of P-DATA that no handler observes, and the threads that send messages and serve events;
- the sleeps of threads that poll: a thread wakes when it has something to do, and polls less often
  when it is idle.
"""

from . import _installation
from ._installation import install, installed, is_installed, uninstall

__all__ = ["TESTED_VERSIONS", "install", "installed", "is_installed", "uninstall"]

TESTED_VERSIONS: tuple[str, ...] = _installation.TESTED_VERSIONS
"""The versions of pynetdicom that were tested. :func:`install` replaces the codec and the network
code of these only."""
