"""The error of an outbox."""


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
