"""The error of an outbox."""

import sqlite3


class OutboxError(OSError):
    """The outbox cannot be opened, read or written, or is damaged.

    Examples
    --------
    >>> from fastdimse import Delivery, OutboxError, Peer
    >>> try:
    ...     Delivery(Peer("localhost", 104), outbox="missing-folder/events.outbox")
    ... except OutboxError as error:
    ...     print(error)
    missing-folder/events.outbox: cannot open the outbox: No such file or directory
    """

    @property
    def is_temporary(self) -> bool:
        """Whether a later attempt can succeed: the disk is full or did not accept a write."""
        cause = self.__cause__
        # The lowest byte of an extended result code is the primary one.
        code = cause.sqlite_errorcode & 0xFF if isinstance(cause, sqlite3.Error) else None
        return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
