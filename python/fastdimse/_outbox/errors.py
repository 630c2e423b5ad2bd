"""The error of an outbox."""


class OutboxError(OSError):
    """The outbox cannot be opened, read or written, or is damaged."""
