"""Names of events for the terminal: SOP classes, event types, Statuses, peers."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute

from fastdimse import events as standard

from .terminal import printable
from .uid_names import uid_name

_SUFFIX = " SOP Class"

# A short name of each SOP class, the prefix of its event types that repeats it, and the name that
# replaces both where a line is short.
_SHORT = {
    "1.2.840.10008.1.20.1": ("Storage Commitment", "Storage Commitment Request ", "Commitment"),
    "1.2.840.10008.3.1.2.3.5": ("MPPS Notification", "Performed Procedure Step ", "MPPS"),
    "1.2.840.10008.5.1.1.14": ("Print Job", "", "Print Job"),
    "1.2.840.10008.5.1.1.16": ("Printer", "", "Printer"),
    "1.2.840.10008.5.1.4.34.6.1": ("UPS Event", "UPS ", "UPS"),
    "1.2.840.10008.5.1.4.34.6.4": ("UPS Event", "UPS ", "UPS"),
    "1.2.840.10008.5.1.4.34.8": ("RT Conventional Verification", "", "RT Conv."),
    "1.2.840.10008.5.1.4.34.9": ("RT Ion Verification", "", "RT Ion"),
}
# The event type with failed instances.
_FAILURES_EXIST = "Complete - Failures Exist"


@cache
def class_name(uid: str | None) -> str:
    """Return the name of a SOP class without "SOP Class"; an empty text for None."""
    if uid is None:
        return ""
    found = standard.sop_class(uid)
    name = uid_name(uid) if found is None else found.name
    return name.removesuffix(_SUFFIX)


@cache
def short_class_name(uid: str | None) -> str:
    """Return a short name of a SOP class."""
    found = None if uid is None else _SHORT.get(uid)
    return class_name(uid) if found is None else found[0]


@cache
def shortest_class_name(uid: str | None) -> str:
    """Return the shortest name of a SOP class, which is that of `event_label`."""
    found = None if uid is None else _SHORT.get(uid)
    return class_name(uid) if found is None else found[2]


CLASS_NAMES = (class_name, short_class_name, shortest_class_name)
"""The functions that return names of SOP classes, from long to short names."""


@cache
def event_name(uid: str | None, event_type_id: int | None, *, is_action: bool) -> str:
    """Return the name of an event type; "N-ACTION" and the number for an action."""
    if is_action:
        return f"N-ACTION {'' if event_type_id is None else event_type_id}".rstrip()
    if event_type_id is None:
        return ""
    found = None if uid is None else standard.event_type(uid, event_type_id)
    return f"type {event_type_id}" if found is None else found.name


@cache
def short_event_name(uid: str | None, event_type_id: int | None, *, is_action: bool) -> str:
    """Return the name of an event type without the name of its SOP class."""
    prefix = "" if uid is None or uid not in _SHORT else _SHORT[uid][1]
    name = event_name(uid, event_type_id, is_action=is_action).removeprefix(prefix)
    return "Failures Exist" if name == _FAILURES_EXIST else name


@cache
def event_label(uid: str | None, event_type_id: int | None, *, is_action: bool) -> str:
    """Return one short name of the SOP class and the event type."""
    name = short_event_name(uid, event_type_id, is_action=is_action).removesuffix(" Exist")
    return f"{shortest_class_name(uid)} {name}".strip()


@cache
def status_name(code: int) -> str:
    """Return the name of a Status, or its category if the standard has no name for it."""
    found = standard.status(code)
    return found.name or found.category


@cache
def status_category(code: int) -> str:
    """Return the category of a Status, for example "Failure"."""
    return standard.status(code).category


def status_text(code: int) -> str:
    """Return a Status with its code and its name."""
    return str(standard.status(code))


@cache
def failure_reason_name(reason: int | None) -> str:
    """Return a Failure Reason with its name."""
    return "no Failure Reason" if reason is None else standard.failure_reason(reason)


def addresses(event: Mapping[str, Any]) -> str:
    """Return the addresses and ports of the sender and the receiver of an event."""
    return f"{_address(event, 'Source')} → {_address(event, 'Destination')}"


def _address(event: Mapping[str, Any], side: str) -> str:
    address, port = event[f"{side}Address"], event[f"{side}Port"]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def with_peers(events: Any) -> Any:
    """Return the events with the columns From and To: AE titles, or addresses if they are unknown.

    The rows do not state which side requested the association. It is taken to be the one with the
    higher port: the other one listens on a port that is configured.
    """
    if "SourcePort" not in events.column_names:
        # A stream is one direction of an association.
        for name in ("From", "To"):
            events = events.append_column(name, pa.array([""] * events.num_rows, pa.string()))
        return events
    port, other = events.column("SourcePort"), events.column("DestinationPort")
    from_called = pa.compute.fill_null(pa.compute.less(port, other), False)
    titles = (events.column("CalledAETitle"), events.column("CallingAETitle"))
    sender = pa.compute.if_else(from_called, *titles)
    receiver = pa.compute.if_else(from_called, *reversed(titles))
    for name, title, address in (
        ("From", sender, "SourceAddress"),
        ("To", receiver, "DestinationAddress"),
    ):
        events = events.append_column(
            name, pa.compute.coalesce(title, events.column(address), pa.scalar("?"))
        )
    return events


def with_names(events: Any, failure_reasons: Any) -> Any:
    """Return the events with columns of names of event types, Statuses and Failure Reasons.

    Parameters
    ----------
    events : pyarrow.Table
        The events.
    failure_reasons : pyarrow.ChunkedArray
        The Failure Reasons of each event, as lists. Their column of names has each name once.
    """
    names = {
        f"{uid} {one.id}": one.name
        for sop_class in standard.SOP_CLASSES
        for uid in (sop_class.uid, sop_class.affected_sop_class_uid)
        for one in sop_class.event_types
    }
    of_class = events.column("AffectedSOPClassUID").cast(pa.string())
    of_type = events.column("EventTypeID").cast(pa.string())
    keys = pa.compute.binary_join_element_wise(of_class, of_type, " ")
    statuses = {one.code: one.name for one in standard.STATUSES}
    reasons = [
        "; ".join(dict.fromkeys(map(_failure_reason, some))) or None
        for some in failure_reasons.to_pylist()
    ]
    return (
        events.append_column("EventTypeName", _look_up(keys, names))
        .append_column("StatusName", _look_up(events.column("Status").cast(pa.int64()), statuses))
        .append_column("FailureReasonNames", pa.array(reasons, pa.string()))
    )


def _failure_reason(reason: int | None) -> str:
    """Return the name of a Failure Reason, or its code if the standard has no name for it."""
    if reason is None:
        return "no Failure Reason"
    return standard.FAILURE_REASONS.get(reason) or f"0x{reason:04X}"


def _look_up(keys: Any, names: Mapping[Any, str | None]) -> Any:
    places = pa.compute.index_in(keys, value_set=pa.array(list(names)))
    return pa.array(list(names.values()), pa.string()).take(places.combine_chunks())


def title(text: str | None) -> str:
    """Return an AE title or an address for the terminal."""
    return "?" if text is None else printable(text)
