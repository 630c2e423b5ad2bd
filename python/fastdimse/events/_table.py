"""The table: SOP Classes, the types of their events, their attributes, and statuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastdimse._core import (
    describe_status,
    standard_sop_classes,
    standard_statuses,
    status_category,
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of the event information, or of an item in it.

    Attributes
    ----------
    tag : int
        Its tag, for example ``0x00081195``.
    keyword : str
        Its keyword.
    usage : str
        Its usage as the table of the standard has it: that of the receiver (SCU), a slash, that
        of the sender (SCP). Numbers are those of PS3.4 5.4.2.2, letters those of H.2.4.
    condition : str or None
        When it is there, if its usage depends on that.
    mandatory : bool
        Whether the sender must always give it.
    items : tuple of Attribute
        The attributes of its items, if it is a sequence and the standard lists them.
    """

    tag: int
    keyword: str
    usage: str
    condition: str | None
    mandatory: bool
    items: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of events of a SOP Class. As text it is its name.

    Attributes
    ----------
    id : int
        The Event Type ID.
    name : str
        The Event Type Name.
    attributes : tuple of Attribute
        The attributes of its event information.
    """

    id: int
    name: str
    attributes: tuple[Attribute, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SOPClass:
    """A SOP Class that uses N-EVENT-REPORT. As text it is its name.

    Attributes
    ----------
    uid : str
        Its UID, which an association negotiates.
    affected_sop_class_uid : str
        The Affected SOP Class UID of its events.
    name : str
        Its name.
    section, table : str
        Where in PS3.4 its events are.
    well_known_instance : str or None
        The SOP Instance of all its events, if it has one.
    event_types : tuple of EventType
        The types of its events, by ascending ID.
    """

    uid: str
    affected_sop_class_uid: str
    name: str
    section: str
    table: str
    well_known_instance: str | None
    event_types: tuple[EventType, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Status:
    """A status of a response. As text it is its code with its name.

    Attributes
    ----------
    code : int
        The value of the element.
    category : str
        ``"Success"``, ``"Warning"``, ``"Failure"``, ``"Cancel"``, ``"Pending"`` or
        ``"Unknown"`` (PS3.7 Annex C).
    name : str or None
        Its name, if the standard gives it one.
    listed : bool
        Whether PS3.7 10.1.1.1.8 lists it for N-EVENT-REPORT.
    """

    code: int
    category: str
    name: str | None
    listed: bool

    def __str__(self) -> str:
        return describe_status(self.code)


def _attributes(rows: tuple[Any, ...]) -> tuple[Attribute, ...]:
    return tuple(
        Attribute(tag, keyword, usage, condition, mandatory, _attributes(items))
        for tag, keyword, usage, condition, mandatory, items in rows
    )


def _event_types(rows: tuple[tuple[int, str, tuple[Any, ...]], ...]) -> tuple[EventType, ...]:
    return tuple(EventType(id, name, _attributes(attributes)) for id, name, attributes in rows)


SOP_CLASSES: tuple[SOPClass, ...] = tuple(
    SOPClass(uid, affected, name, section, table, instance, _event_types(rows))
    for uid, affected, name, section, table, instance, rows in standard_sop_classes()
)
"""The SOP Classes of PS3.4 that use N-EVENT-REPORT, by their place there."""

STATUSES: tuple[Status, ...] = tuple(Status(*row) for row in standard_statuses())
"""The statuses that PS3.7 Annex C names, by ascending code."""

_classes = {uid: one for one in SOP_CLASSES for uid in (one.uid, one.affected_sop_class_uid)}
_statuses = {one.code: one for one in STATUSES}


def sop_class(uid: str) -> SOPClass | None:
    """Return what the standard says about the events of a SOP Class.

    Parameters
    ----------
    uid : str
        The UID that an association negotiates, or the one that events have.

    Returns
    -------
    SOPClass or None
        ``None`` if it is not in the table.

    Examples
    --------
    >>> from fastdimse import events
    >>> print(events.sop_class("1.2.840.10008.5.1.4.34.6.1"))
    Unified Procedure Step - Event SOP Class
    """
    return _classes.get(uid)


def event_type(sop_class_uid: str, event_type_id: int) -> EventType | None:
    """Return the type of an event.

    Parameters
    ----------
    sop_class_uid : str
        The SOP Class.
    event_type_id : int
        The Event Type ID.

    Returns
    -------
    EventType or None
        ``None`` if the SOP Class is not in the table, or has no such events.

    Examples
    --------
    >>> from fastdimse import events
    >>> print(events.event_type("1.2.840.10008.1.20.1", 1))
    Storage Commitment Request Successful
    """
    known = sop_class(sop_class_uid)
    types = () if known is None else known.event_types
    return next((one for one in types if one.id == event_type_id), None)


def status(code: int) -> Status:
    """Return the status with a code, be it one that the standard names or not.

    Parameters
    ----------
    code : int
        The value of the element Status, 0 to 65535.

    Returns
    -------
    Status
        Its name, or by the ranges of PS3.7 Annex C at least its category.

    Examples
    --------
    >>> from fastdimse import events
    >>> print(events.status(0x0112), events.status(0x0112).category, sep=": ")
    0x0112 No such SOP Instance: Failure
    >>> print(events.status(0xA700))
    0xA700 Failure
    """
    return _statuses.get(code) or Status(code, status_category(code), None, False)
