"""The outbox: a SQLite database, in a file or in memory, of events that are to be delivered."""

from .outbox import DueBatch, Outbox, OutboxError, Outcome, Stored

__all__ = ["DueBatch", "Outbox", "OutboxError", "Outcome", "Stored"]
