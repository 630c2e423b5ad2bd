"""The class `N_EVENT_REPORT`."""

from __future__ import annotations

import copyreg

from fastdimse._core import DIMSEPrimitive, register_primitive

# Not imported from typing, whose import is slow. Type checkers know the name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self, SupportsIndex


@register_primitive
class N_EVENT_REPORT(DIMSEPrimitive):  # noqa: N801 - the standard's and pynetdicom's name
    r"""An N-EVENT-REPORT message: a request or a response (PS3.7 10.1.1).

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

    M: mandatory, C: conditional, U: user option, (=): same value as in the request.

    Attributes
    ----------
    MessageID : int or None
        Message ID of a request, 0 to 65535. Unique among the requests without a response.
    MessageIDBeingRespondedTo : int or None
        Message ID of the request to which this message is the response, 0 to 65535. A message with
        this attribute is a response.
    AffectedSOPClassUID : pydicom.uid.UID or None
        SOP Class UID of the event. Accepts ``str``, ``bytes`` and ``pydicom.uid.UID``.
    AffectedSOPInstanceUID : pydicom.uid.UID or None
        SOP Instance UID of the event. Accepts ``str``, ``bytes`` and ``pydicom.uid.UID``.
    EventTypeID : int or None
        Type of the event, as the SOP Class defines it.
    EventInformation : io.BytesIO or None
        Encoded data set of a request.
    EventReply : io.BytesIO or None
        Encoded data set of a response. Same value as *EventInformation*.
    Status : int or None
        Status of a response, for example 0x0000 for *Success* (PS3.7 Annex C).
    ErrorComment : str or None
        Description of the error in a response, at most 64 characters.
    ErrorID : int or None
        Error code of the application in a response.

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

    __module__ = "fastdimse"

    STATUS_OPTIONAL_KEYWORDS: tuple[str, ...] = (
        "AffectedSOPClassUID",
        "AffectedSOPInstanceUID",
        "EventTypeID",
        "ErrorComment",
        "ErrorID",
    )
    """Keywords of the elements that a response can have with its Status (PS3.7 Annex C)."""

    REQUEST_KEYWORDS: tuple[str, ...] = (
        "MessageID",
        "AffectedSOPClassUID",
        "EventTypeID",
        "AffectedSOPInstanceUID",
    )
    """Keywords of the attributes that a valid request must have."""

    RESPONSE_KEYWORDS: tuple[str, ...] = ("MessageIDBeingRespondedTo", "Status")
    """Keywords of the attributes that a valid response must have."""

    # pynetdicom's association sets these on every primitive that it sends or receives.
    _context_id: int | None = None
    _dataset_path: Any = None
    _dataset_file: Any = None

    def __reduce_ex__(
        self, protocol: SupportsIndex
    ) -> tuple[Callable[..., Self], tuple[type[Self]], Any]:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]
