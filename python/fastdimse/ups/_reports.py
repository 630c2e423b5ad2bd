"""The events that a new or changed UPS requires (PS3.4 CC.2.4.3)."""

from collections.abc import Iterator
from typing import Any, TypeAlias

from fastdimse import events

from ._attributes import Attributes

Row: TypeAlias = dict[str, Any]
"""An event as a row: its fields by keyword."""

REQUIRED = ("ProcedureStepState", "InputReadinessState")
"""Attributes that every UPS has: a UPS State Report needs them."""

_PROGRESS = "ProcedureStepProgressInformationSequence"
_REPORTED_PROGRESS = (
    "ProcedureStepProgressDescription",
    "ProcedureStepCommunicationsURISequence",
)
_STATIONS = "ScheduledStationNameCodeSequence"
_PERFORMERS = "ScheduledHumanPerformersSequence"


def state_report(uid: str, attributes: Attributes) -> Row:
    """Return the UPS State Report of the current state of a UPS."""
    reason: Attributes = {}
    if attributes["ProcedureStepState"] == "CANCELED":
        reason = _first_item(attributes, _PROGRESS)
    return events.ups_state_report(
        uid,
        procedure_step_state=attributes["ProcedureStepState"],
        input_readiness_state=attributes["InputReadinessState"],
        reason_for_cancellation=reason.get("ReasonForCancellation"),
        discontinuation_reasons=reason.get("ProcedureStepDiscontinuationReasonCodeSequence"),
    )


def events_of_new(uid: str, attributes: Attributes) -> list[Row]:
    """Return the events of a UPS that was created."""
    rows = [state_report(uid, attributes)]
    if attributes.get(_STATIONS) or attributes.get(_PERFORMERS):
        rows.extend(_assigned(uid, attributes))
    return rows


def events_of_change(uid: str, before: Attributes, after: Attributes) -> list[Row]:
    """Return the events of a UPS whose attributes were changed."""
    rows = []
    if any(before.get(keyword) != after.get(keyword) for keyword in REQUIRED):
        rows.append(state_report(uid, after))
    if any(before.get(keyword) != after.get(keyword) for keyword in (_STATIONS, _PERFORMERS)):
        rows.extend(_assigned(uid, after))
    old, new = (_first_item(attributes, _PROGRESS) for attributes in (before, after))
    is_reported = any(old.get(keyword) != new.get(keyword) for keyword in _REPORTED_PROGRESS)
    if is_reported or _percent(old) != _percent(new):
        rows.append(
            events.ups_progress_report(
                uid,
                progress=new.get("ProcedureStepProgress"),
                description=new.get("ProcedureStepProgressDescription"),
                parameters=new.get("ProcedureStepProgressParametersSequence"),
                contacts=new.get("ProcedureStepCommunicationsURISequence"),
            )
        )
    return rows


def _assigned(uid: str, attributes: Attributes) -> Iterator[Row]:
    """Yield a UPS Assigned event for each performer: the organization is that of one performer."""
    stations = attributes.get(_STATIONS) or None
    for performer in attributes.get(_PERFORMERS) or [{}]:
        yield events.ups_assigned(
            uid,
            scheduled_station_names=stations,
            human_performers=performer.get("HumanPerformerCodeSequence"),
            human_performer_organization=performer.get("HumanPerformerOrganization"),
        )


def _percent(progress: Attributes) -> Any:
    """Return the progress as a number: it can be 40 or 40.0, as DS or as a number."""
    value = progress.get("ProcedureStepProgress")
    try:
        return value if value is None else float(value)
    except (TypeError, ValueError):
        return value


def _first_item(attributes: Attributes, keyword: str) -> Attributes:
    items = attributes.get(keyword) or [{}]
    first: Attributes = items[0]
    return first
