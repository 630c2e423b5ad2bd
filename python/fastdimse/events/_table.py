"""Tables of the standard: SOP Classes, types of their events, attributes, and Statuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fastdimse._core import (
    describe_failure_reason,
    describe_status,
    standard_failure_reasons,
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
        Tag, for example ``0x00081195``.
    keyword : str
        Keyword.
    usage : str
        Usage as in the table of the standard: that of the receiver (SCU), a slash, that of the
        sender (SCP). PS3.4 5.4.2.2 defines the numbers, PS3.4 H.2.4 the letters.
    condition : str or None
        Condition under which the attribute is present, for conditional usages.
    mandatory : bool
        Whether the sender must always provide the attribute.
    items : tuple of Attribute
        Attributes of the items of a sequence, if the standard lists them.

    Examples
    --------
    >>> from fastdimse import events
    >>> event_type = events.event_type("1.2.840.10008.1.20.1", 1)
    >>> event_type.attributes[0].keyword, event_type.attributes[0].mandatory
    ('TransactionUID', True)
    """

    tag: int
    keyword: str
    usage: str
    condition: str | None
    mandatory: bool
    items: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of events of a SOP Class. ``str`` returns its name.

    Attributes
    ----------
    id : int
        Event Type ID.
    name : str
        Event Type Name.
    attributes : tuple of Attribute
        Attributes of the event information.

    Examples
    --------
    >>> from fastdimse import events
    >>> events.event_type("1.2.840.10008.1.20.1", 2).id
    2
    """

    id: int
    name: str
    attributes: tuple[Attribute, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SOPClass:
    """A SOP Class that uses N-EVENT-REPORT. ``str`` returns its name.

    Attributes
    ----------
    uid : str
        SOP Class UID, the abstract syntax of presentation contexts.
    affected_sop_class_uid : str
        Affected SOP Class UID of its events.
    name : str
        Name.
    section, table : str
        Section and table of PS3.4 that define its events.
    well_known_instance : str or None
        UID of the well-known SOP Instance of its events, if there is one.
    event_types : tuple of EventType
        Types of its events, by ascending ID.

    Examples
    --------
    >>> from fastdimse import events
    >>> [str(one) for one in events.sop_class("1.2.840.10008.5.1.1.16").event_types]
    ['Normal', 'Warning', 'Failure']
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
    """The Status of a response. ``str`` returns its code and name.

    Attributes
    ----------
    code : int
        Value of the element Status.
    category : str
        ``"Success"``, ``"Warning"``, ``"Failure"``, ``"Cancel"``, ``"Pending"`` or
        ``"Unknown"`` (PS3.7 Annex C).
    name : str or None
        Name in the standard, if there is one.
    listed : bool
        Whether PS3.7 10.1.1.1.8 lists the Status for N-EVENT-REPORT.

    Examples
    --------
    >>> from fastdimse import events
    >>> events.status(0x0110).name
    'Processing Failure'
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

STATUSES: tuple[Status, ...] = tuple(Status(*row) for row in standard_statuses())

FAILURE_REASONS: Mapping[int, str] = MappingProxyType(dict(standard_failure_reasons()))

_classes = {uid: one for one in SOP_CLASSES for uid in (one.uid, one.affected_sop_class_uid)}
_statuses = {one.code: one for one in STATUSES}


def sop_classes_in_table(table: str) -> list[SOPClass]:
    """Return the SOP Classes whose events a table of PS3.4 defines."""
    return [one for one in SOP_CLASSES if one.table == table]


def sop_class(uid: str) -> SOPClass | None:
    """Return the SOP Class with a UID, and the types of its events.

    Parameters
    ----------
    uid : str
        SOP Class UID, or Affected SOP Class UID of its events.

    Returns
    -------
    SOPClass or None
        ``None`` if the UID is not in :data:`SOP_CLASSES`.

    Examples
    --------
    >>> from fastdimse import events
    >>> print(events.sop_class("1.2.840.10008.5.1.4.34.6.1"))
    Unified Procedure Step - Event SOP Class
    """
    return _classes.get(uid)


def event_type(sop_class_uid: str, event_type_id: int) -> EventType | None:
    """Return the event type with an ID.

    Parameters
    ----------
    sop_class_uid : str
        SOP Class UID, or Affected SOP Class UID of the event.
    event_type_id : int
        Event Type ID.

    Returns
    -------
    EventType or None
        ``None`` if the SOP Class is not in :data:`SOP_CLASSES`, or has no event type with this ID.

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
    """Return the Status with a code.

    Parameters
    ----------
    code : int
        Value of the element Status, 0 to 65535.

    Returns
    -------
    Status
        A code without a name in the standard has a category by the ranges of PS3.7 Annex C.

    Examples
    --------
    >>> from fastdimse import events
    >>> print(events.status(0x0112), events.status(0x0112).category, sep=": ")
    0x0112 No such SOP Instance: Failure
    >>> print(events.status(0xA700))
    0xA700 Failure
    """
    return _statuses.get(code) or Status(code, status_category(code), None, False)


def failure_reason(code: int) -> str:
    """Return a Failure Reason (0008,1197) with its name.

    Parameters
    ----------
    code : int
        Failure Reason of an instance that is not committed, 0 to 65535.

    Returns
    -------
    str
        Code and name, in the form of the *StatusName* of outcomes.

    Examples
    --------
    >>> from fastdimse import events
    >>> events.failure_reason(0x0112)
    '0x0112 No such object instance'
    """
    return describe_failure_reason(code)
