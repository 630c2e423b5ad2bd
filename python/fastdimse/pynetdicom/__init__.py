"""A seat inside pynetdicom: its own associations run on our class and our codec.

One line, before the first association is made::

    import fastdimse.pynetdicom

    fastdimse.pynetdicom.install()

What is put in place, and taken back by :func:`uninstall`:

- ``N_EVENT_REPORT`` in every module of pynetdicom that has it.
- N-EVENT-REPORT messages are encoded and decoded by the core. ``command_set`` is made when
  someone looks at it.
- A message leaves in one write, and TCP_NODELAY is set on new connections.
- A thread that would sleep wakes when there is something to do, and sleeps longer when there is
  nothing.
"""

from ._installation import TESTED_VERSIONS, install, installed, is_installed, uninstall

__all__ = ["TESTED_VERSIONS", "install", "installed", "is_installed", "uninstall"]
