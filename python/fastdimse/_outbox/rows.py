"""Batches and outcomes that an outbox stores and returns."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fastdimse._core import EventBatch


class Group(NamedTuple):
    """Rows of a batch that are due to the same peers.

    Attributes
    ----------
    peers : tuple of int
        Numbers of the peers.
    rows : sequence of int
        The rows, in ascending order.
    """

    peers: tuple[int, ...]
    rows: Sequence[int]


class PutOptions(NamedTuple):
    """Options that are stored with events.

    Attributes
    ----------
    transfer_syntax : str
        Transfer syntax UID of data sets that are bytes.
    enforce_uid_conformance : bool
        Whether UIDs must be conformant.
    source : str or None
        Name of the source of the events.
    """

    transfer_syntax: str
    enforce_uid_conformance: bool = True
    source: str | None = None


class RejectedRow(Protocol):
    """A row that cannot be sent."""

    @property
    def field(self) -> str | None:
        """The name of the field, if it is known."""

    @property
    def code(self) -> str:
        """The code of the rejection."""

    @property
    def reason(self) -> str:
        """The reason."""


class DueBatch(NamedTuple):
    """A batch with events that are due to a peer.

    Attributes
    ----------
    numbers : sequence of int
        Numbers of the events of the batch, in ascending order.
    events : EventBatch
        All events of the batch.
    rows : sequence of int
        Rows of the events that are due.
    transfer_syntax : str
        Transfer syntax UID of data sets that are bytes.
    enforce_uid_conformance : bool
        Whether UIDs must be conformant.
    """

    numbers: Sequence[int]
    events: EventBatch
    rows: Sequence[int]
    transfer_syntax: str
    enforce_uid_conformance: bool

    @property
    def first(self) -> int:
        """Number of the first event of the batch, which identifies the batch."""
        return self.numbers[0]

    @property
    def last(self) -> int:
        """Number of the last event of the batch."""
        return self.numbers[-1]


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


class PeerOutcome(NamedTuple):
    """An outcome that was not taken.

    Attributes
    ----------
    sequence : int
        Position of the outcome in the order in which outcomes were recorded.
    peer : str
        Name of the peer.
    outcome : Outcome
        The outcome.
    """

    sequence: int
    peer: str
    outcome: Outcome


class Stored(NamedTuple):
    """Events that were stored.

    Attributes
    ----------
    numbers : range
        Numbers of the events.
    due : dict of int to int
        Number of these events that are due, by the number of the peer.
    rejected : dict of int to list of str
        Codes of the rows that cannot be sent, because their values do not fit the columns, by the
        number of the peer.
    """

    numbers: range
    due: dict[int, int]
    rejected: dict[int, list[str]]
