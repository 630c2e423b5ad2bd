"""Batches and outcomes that an outbox returns."""

from typing import NamedTuple

from fastdimse._core import EventBatch


class DueBatch(NamedTuple):
    """A batch with events that are due to a peer.

    Attributes
    ----------
    first : int
        Number of the first event of the batch.
    events : EventBatch
        All events of the batch.
    rows : list of int
        Rows of the events that are due.
    transfer_syntax : str
        Transfer syntax UID of data sets that are bytes.
    enforce_uid_conformance : bool
        Whether UIDs must be conformant.
    """

    first: int
    events: EventBatch
    rows: list[int]
    transfer_syntax: str
    enforce_uid_conformance: bool

    @property
    def last(self) -> int:
        """Number of the last event of the batch."""
        return self.first + len(self.events) - 1


class Outcome(NamedTuple):
    """Outcome of sending an event to a peer.

    Attributes
    ----------
    event : int
        Number of the event.
    message_id, status, time, latency : int or None
        Same as the columns of :class:`fastdimse.Outcomes`, times in nanoseconds.
    failure, reason : str or None
        Same as the columns of :class:`fastdimse.Outcomes`.
    """

    event: int
    message_id: int | None
    status: int | None
    time: int | None
    latency: int | None
    failure: str | None
    reason: str | None


class Stored(NamedTuple):
    """Events that were stored.

    Attributes
    ----------
    numbers : range
        Numbers of the events.
    rejected : list of Outcome
        Outcomes of rows that cannot be sent, because their values do not fit the columns.
    """

    numbers: range
    rejected: list[Outcome]
