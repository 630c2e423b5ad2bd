"""Failure Reasons of instances that are not committed (PS3.3 C.14.1.1)."""

from fastdimse import events

PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
DUPLICATE_TRANSACTION_UID = 0x0131

FAILURE_REASONS = events.FAILURE_REASONS
"""The Failure Reasons of PS3.3 C.14.1.1, and their names."""


def describe_failure_reason(reason: int) -> str:
    """Return a Failure Reason with its name.

    Parameters
    ----------
    reason : int
        The Failure Reason (0008,1197).

    Returns
    -------
    str
        The Failure Reason, in the form of the *StatusName* of outcomes.

    Examples
    --------
    >>> from fastdimse.storage_commitment import describe_failure_reason
    >>> describe_failure_reason(0x0112)
    '0x0112 No such object instance'
    """
    return events.failure_reason(reason)
