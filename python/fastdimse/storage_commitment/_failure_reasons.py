"""Failure Reasons of instances that are not committed (PS3.3 C.14.1.1)."""

from types import MappingProxyType

PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
DUPLICATE_TRANSACTION_UID = 0x0131

FAILURE_REASONS = MappingProxyType(
    {
        PROCESSING_FAILURE: "Processing failure",
        NO_SUCH_INSTANCE: "No such object instance",
        CLASS_INSTANCE_CONFLICT: "Class-instance conflict",
        0x0122: "Referenced SOP Class not supported",
        DUPLICATE_TRANSACTION_UID: "Duplicate Transaction UID",
        0x0213: "Resource limitation",
    }
)
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
    return f"0x{reason:04X} {FAILURE_REASONS.get(reason, 'Unknown Failure Reason')}"
