"""The class that users know."""

from __future__ import annotations

import copyreg

from fastdimse._core import DIMSEPrimitive, register_primitive

# typing would take longer to import than all of this; type checkers believe the name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self, SupportsIndex


@register_primitive
class N_EVENT_REPORT(DIMSEPrimitive):  # noqa: N801 - the standard's and pynetdicom's name
    r"""Represents a N-EVENT-REPORT primitive (PS3.7 10.1.1).

    +------------------------------------------+---------+----------+
    | Parameter                                | Req/ind | Rsp/conf |
    +==========================================+=========+==========+
    | Message ID                               | M       | \-       |
    +------------------------------------------+---------+----------+
    | Message ID Being Responded To            | \-      | M        |
    +------------------------------------------+---------+----------+
    | Affected SOP Class UID                   | M       | U(=)     |
    +------------------------------------------+---------+----------+
    | Affected SOP Instance UID                | M       | U(=)     |
    +------------------------------------------+---------+----------+
    | Event Type ID                            | M       | C(=)     |
    +------------------------------------------+---------+----------+
    | Event Information                        | U       | \-       |
    +------------------------------------------+---------+----------+
    | Event Reply                              | \-      | C        |
    +------------------------------------------+---------+----------+
    | Status                                   | \-      | M        |
    +------------------------------------------+---------+----------+

    M is mandatory, C conditional, U the user's option; (=) has the request's value.

    Attributes
    ----------
    MessageID : int or None
        Tells this request from others that have no response yet, 0 to 65535.
    MessageIDBeingRespondedTo : int or None
        The Message ID of the request that this responds to. It makes the message a response.
    AffectedSOPClassUID : pydicom.uid.UID or None
        The SOP Class that the event is of; may be set from ``str`` and ``bytes`` too.
    AffectedSOPInstanceUID : pydicom.uid.UID or None
        The SOP Instance that the event is of; may be set from ``str`` and ``bytes`` too.
    EventTypeID : int or None
        The type of the event, as the SOP Class defines it.
    EventInformation : io.BytesIO or None
        The encoded data set of a request.
    EventReply : io.BytesIO or None
        The encoded data set of a response; the same slot as *EventInformation*.
    Status : int or None
        The outcome that a response tells, 0x0000 for success (PS3.7 Annex C).
    ErrorComment : str or None
        What went wrong, in a response: at most 64 characters.
    ErrorID : int or None
        A number for what went wrong, in a response.

    Examples
    --------
    >>> from fastdimse import N_EVENT_REPORT
    >>> event = N_EVENT_REPORT()
    >>> event.MessageID = 7
    >>> event.AffectedSOPClassUID = "1.2.840.10008.1.20.1"
    >>> event.AffectedSOPInstanceUID = "1.2.840.10008.1.20.1.1"
    >>> event.EventTypeID = 1
    >>> event.is_valid_request
    True
    >>> event.AffectedSOPClassUID.name
    'Storage Commitment Push Model SOP Class'
    >>> len(event.encode_p_data(context_id=1, max_pdu_length=16382))
    122
    """

    STATUS_OPTIONAL_KEYWORDS: tuple[str, ...] = (
        "AffectedSOPClassUID",
        "AffectedSOPInstanceUID",
        "EventTypeID",
        "ErrorComment",
        "ErrorID",
    )
    """Keywords that a status may carry besides Status itself (PS3.7 Annex C)."""

    REQUEST_KEYWORDS: tuple[str, ...] = (
        "MessageID",
        "AffectedSOPClassUID",
        "EventTypeID",
        "AffectedSOPInstanceUID",
    )
    """Keywords without which there is no valid request."""

    RESPONSE_KEYWORDS: tuple[str, ...] = ("MessageIDBeingRespondedTo", "Status")
    """Keywords without which there is no valid response."""

    # pynetdicom's association keeps these on every primitive that it receives or sends.
    _context_id: int | None = None
    _dataset_path: Any = None
    _dataset_file: Any = None

    def __reduce_ex__(
        self, protocol: SupportsIndex
    ) -> tuple[Callable[..., Self], tuple[type[Self]], Any]:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]
