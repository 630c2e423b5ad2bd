"""Events of machine verifications in radiotherapy (PS3.4 DD)."""

from __future__ import annotations

from typing import Any

from ._event import Event, arrow, columns_of, either, event, is_column
from ._table import SOP_CLASSES

_CONVENTIONAL, _ION = (one for one in SOP_CLASSES if one.table == "DD.3.2.5-1")
_PENDING, _DONE = _CONVENTIONAL.event_types


def machine_verification(
    sop_instance_uid: str | Any,
    treatment_verification_status: str | Any = None,
    *,
    ion: bool = False,
) -> Event:
    """Return the event that a machine verification is pending or done (PS3.4 DD.3.2.5).

    Parameters
    ----------
    sop_instance_uid : str
        The verification.
    treatment_verification_status : str, optional
        ``"VERIFIED"``, ``"VERIFIED_OVR"`` or ``"NOT_VERIFIED"``; ``None`` while it is pending.
    ion : bool, optional
        Whether it is of RT Ion Machine Verification, not RT Conventional Machine
        Verification.

    Returns
    -------
    dict
        A row; columns where one of the parameters is a column.

    Examples
    --------
    >>> from fastdimse import events
    >>> row = events.machine_verification("1.2.3", "VERIFIED")
    >>> row["EventTypeID"], row["EventInformation"]
    (2, {'TreatmentVerificationStatus': 'VERIFIED'})
    """
    status = treatment_verification_status
    if is_column(status):
        status = columns_of({"status": status}, {})["status"]
        event_type: Any = _event_types(status)
    else:
        event_type = _PENDING if status is None else _DONE
    elements = {"TreatmentVerificationStatus": status}
    return event(_ION if ion else _CONVENTIONAL, event_type, sop_instance_uid, elements, {})


def _event_types(status: Any) -> Any:
    """Return the event type of each row: it is done where there is a status."""
    is_done = [one is not None for one in status] if arrow() is None else status.is_valid()
    return either(is_done, _DONE, _PENDING)
