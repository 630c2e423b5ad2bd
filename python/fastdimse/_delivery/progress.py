"""A snapshot of the delivery to one peer."""

from collections.abc import Mapping
from typing import NamedTuple

from fastdimse._core import Peer


class Progress(NamedTuple):
    """Progress of the delivery to one peer.

    Attributes
    ----------
    peer : Peer
        The peer.
    state : str
        Current activity. *idle*: no event is due. *queued*: a thread will open an association.
        *connecting*: a thread opens one. *sending*: events are sent. *waiting*: for the next
        attempt. *refused*, *given up*, *failed* and *closed*: no more events are sent.
    due : int
        Number of events that have no outcome yet.
    answered : int
        Number of events that have a Status as their outcome, since the delivery was opened.
    statuses : Mapping of int to int
        Number of these events by Status.
    failures : Mapping of str to int
        Number of events that cannot be sent to this peer, by failure code.
    median, percentile_99 : float or None
        Median and 99th percentile of the last 1,000 latencies, in seconds. ``None`` before the
        first response.
    attempts : int
        Number of attempts to open an association, including successful ones.
    failure : str or None
        Reason for the last failure, or the Status for which events are sent again.

    Examples
    --------
    >>> from fastdimse import Delivery, Peer, listen
    >>> with listen(0, host="localhost") as listener:
    ...     with Delivery(Peer("localhost", listener.port)) as delivery:
    ...         [progress] = delivery.progress()
    >>> progress.due, progress.answered
    (0, 0)
    """

    peer: Peer
    state: str
    due: int
    answered: int
    statuses: Mapping[int, int]
    failures: Mapping[str, int]
    median: float | None
    percentile_99: float | None
    attempts: int
    failure: str | None
