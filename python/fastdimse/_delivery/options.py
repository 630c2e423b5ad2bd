"""Options of a delivery."""

from collections.abc import Callable
from typing import NamedTuple


class Options(NamedTuple):
    """Options of the delivery to each peer.

    Attributes
    ----------
    give_up_after : float or None
        Seconds without progress after which a peer is given up.
    longest_delay : float
        Maximum backoff delay between two attempts, in seconds.
    retry_statuses : frozenset of int
        Statuses for which an event is sent again.
    on_recorded : callable
        Called when outcomes have been recorded.
    """

    give_up_after: float | None
    longest_delay: float
    retry_statuses: frozenset[int]
    on_recorded: Callable[[], None]
