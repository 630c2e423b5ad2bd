"""Events of machine verifications in radiotherapy (PS3.4 DD)."""

from __future__ import annotations

from typing import Any

from ._event import Event, arrow, columns_of, either, event, is_column
from ._table import sop_classes_in_table

_CONVENTIONAL, _ION = sop_classes_in_table("DD.3.2.5-1")
_PENDING, _DONE = _CONVENTIONAL.event_types


def machine_verification(
    sop_instance_uid: str | Any,
    treatment_verification_status: str | Any = None,
    *,
    ion: bool = False,
) -> Event:
    """Return the event of a machine verification that is pending or done (PS3.4 DD.3.2.5).

    Parameters
    ----------
    sop_instance_uid : str or column of str
        SOP Instance UID of the machine verification.
    treatment_verification_status : str or column of str, optional
        ``"VERIFIED"``, ``"VERIFIED_OVR"`` or ``"NOT_VERIFIED"``. ``None`` while the verification
        is pending.
    ion : bool, default False
        Whether the SOP Class is RT Ion Machine Verification. The default is RT Conventional
        Machine Verification.

    Returns
    -------
    dict
        A row, or columns if a parameter is a column.

    Raises
    ------
    EncodeError
        If a row lacks an attribute that the standard requires.
    ValueError
        If the columns have different lengths.

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
    """Return a column of event types: done in rows with a status, else pending."""
    is_done = [one is not None for one in status] if arrow() is None else status.is_valid()
    return either(is_done, _DONE, _PENDING)
