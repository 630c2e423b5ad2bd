"""Storage of events until they are delivered: a SQLite database, in a file or in memory."""

from .errors import OutboxError
from .outbox import Outbox
from .rows import DueBatch, Outcome, Stored

__all__ = ["DueBatch", "Outbox", "OutboxError", "Outcome", "Stored"]

# `repr`, `help` and pickles name the public path.
OutboxError.__module__ = "fastdimse"
