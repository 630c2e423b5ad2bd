"""The classes `N_EVENT_REPORT` and `N_ACTION`."""

from __future__ import annotations

from fastdimse._core import ActionPrimitive, EventReportPrimitive, register_primitive


@register_primitive
class N_EVENT_REPORT(EventReportPrimitive):  # noqa: N801 - the standard's and pynetdicom's name
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

    The attributes can also be keywords of the constructor, which sets them in the given order. A
    keyword that is not an attribute raises ``TypeError``.

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

    The response, with keywords:

    >>> response = N_EVENT_REPORT(MessageIDBeingRespondedTo=event.MessageID, Status=0x0000)
    >>> response.is_valid_response
    True
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


@register_primitive
class N_ACTION(ActionPrimitive):  # noqa: N801 - the standard's and pynetdicom's name
    r"""An N-ACTION message: a request or a response (PS3.7 10.1.4).

    +------------------------------------------+---------+----------+
    | Parameter                                | Req/ind | Rsp/conf |
    +==========================================+=========+==========+
    | Message ID                               | M       | \-       |
    +------------------------------------------+---------+----------+
    | Message ID Being Responded To            | \-      | M        |
    +------------------------------------------+---------+----------+
    | Requested SOP Class UID                  | M       | \-       |
    +------------------------------------------+---------+----------+
    | Requested SOP Instance UID               | M       | \-       |
    +------------------------------------------+---------+----------+
    | Action Type ID                           | M       | C(=)     |
    +------------------------------------------+---------+----------+
    | Action Information                       | U       | \-       |
    +------------------------------------------+---------+----------+
    | Affected SOP Class UID                   | \-      | U        |
    +------------------------------------------+---------+----------+
    | Affected SOP Instance UID                | \-      | U        |
    +------------------------------------------+---------+----------+
    | Action Reply                             | \-      | C        |
    +------------------------------------------+---------+----------+
    | Status                                   | \-      | M        |
    +------------------------------------------+---------+----------+

    M: mandatory, C: conditional, U: user option, (=): same value as in the request.

    The attributes can also be keywords of the constructor, which sets them in the given order. A
    keyword that is not an attribute raises ``TypeError``.

    Attributes
    ----------
    MessageID : int or None
        Message ID of a request, 0 to 65535. Unique among the requests without a response.
    MessageIDBeingRespondedTo : int or None
        Message ID of the request to which this message is the response, 0 to 65535. A message with
        this attribute is a response.
    RequestedSOPClassUID : pydicom.uid.UID or None
        SOP Class UID of a request. Accepts ``str``, ``bytes`` and ``pydicom.uid.UID``.
    RequestedSOPInstanceUID : pydicom.uid.UID or None
        SOP Instance UID of a request. Accepts ``str``, ``bytes`` and ``pydicom.uid.UID``.
    ActionTypeID : int or None
        Type of the action, as the SOP Class defines it.
    ActionInformation : io.BytesIO or None
        Encoded data set of a request.
    AffectedSOPClassUID : pydicom.uid.UID or None
        SOP Class UID of a response. Accepts ``str``, ``bytes`` and ``pydicom.uid.UID``.
    AffectedSOPInstanceUID : pydicom.uid.UID or None
        SOP Instance UID of a response. Accepts ``str``, ``bytes`` and ``pydicom.uid.UID``.
    ActionReply : io.BytesIO or None
        Encoded data set of a response. Same value as *ActionInformation*.
    Status : int or None
        Status of a response, for example 0x0000 for *Success* (PS3.7 Annex C).
    ErrorComment : str or None
        Description of the error in a response, at most 64 characters.
    ErrorID : int or None
        Error code of the application in a response.

    Examples
    --------
    A request for storage commitment (PS3.4 J.3.2):

    >>> from fastdimse import N_ACTION
    >>> action = N_ACTION(MessageID=7, ActionTypeID=1)
    >>> action.RequestedSOPClassUID = "1.2.840.10008.1.20.1"
    >>> action.RequestedSOPInstanceUID = "1.2.840.10008.1.20.1.1"
    >>> action.is_valid_request
    True
    >>> action.msg_type
    'N-ACTION'
    >>> len(action.encode_p_data(context_id=1, max_pdu_length=16382))
    122
    """

    __module__ = "fastdimse"

    STATUS_OPTIONAL_KEYWORDS: tuple[str, ...] = (
        "ErrorComment",
        "ErrorID",
        "AttributeIdentifierList",
    )
    """Keywords of the elements that a response can have with its Status (PS3.7 Annex C)."""

    REQUEST_KEYWORDS: tuple[str, ...] = (
        "MessageID",
        "RequestedSOPClassUID",
        "RequestedSOPInstanceUID",
        "ActionTypeID",
    )
    """Keywords of the attributes that a valid request must have."""

    RESPONSE_KEYWORDS: tuple[str, ...] = ("MessageIDBeingRespondedTo", "Status")
    """Keywords of the attributes that a valid response must have."""
