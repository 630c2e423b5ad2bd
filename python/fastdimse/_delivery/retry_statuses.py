"""Statuses for which an event is sent again."""

from collections.abc import Iterable

from fastdimse._core import describe_status, status_category

# Processing failure and Resource limitation (PS3.7 C.5): the peer did not accept the event, and
# may accept it later. Other failures mean that this event is wrong for the peer.
RETRY_STATUSES = (0x0110, 0x0213)


def check_retry_statuses(statuses: int | Iterable[int]) -> frozenset[int]:
    """Return the statuses as a set.

    Raises
    ------
    ValueError
        If one of them means that the peer has accepted the event.
    """
    checked = frozenset([statuses] if isinstance(statuses, int) else statuses)
    for status in checked:
        if status_category(status) in ("Success", "Warning"):
            raise ValueError(
                f"retry_statuses must not contain {describe_status(status)}: "
                "with this Status the peer has accepted the event"
            )
    return checked
