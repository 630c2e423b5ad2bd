"""Storage of events until they are delivered: a SQLite database, in a file or in memory."""

from .errors import OutboxError
from .outbox import Outbox
from .rows import DueBatch, Group, Outcome, PeerOutcome, PutOptions, RejectedRow, Stored
from .schema import BY_COLUMN

__all__ = [
    "BY_COLUMN",
    "DueBatch",
    "Group",
    "Outbox",
    "OutboxError",
    "Outcome",
    "PeerOutcome",
    "PutOptions",
    "RejectedRow",
    "Stored",
]

# `repr`, `help` and pickles name the public path.
OutboxError.__module__ = "fastdimse"
