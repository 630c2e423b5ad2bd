"""Events of performed procedure steps (PS3.4 F.9) and unified procedure steps (PS3.4 CC)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from ._event import (
    Event,
    Item,
    Sequences,
    columns_of,
    data_set,
    data_sets,
    event,
    is_column,
    one_item_each,
)
from ._print import Type
from ._table import SOP_CLASSES

_MPPS = next(one for one in SOP_CLASSES if one.table == "F.9.2-1")
_UPS = next(one for one in SOP_CLASSES if one.table == "CC.2.4-1")
_STATE_REPORT, _CANCEL_REQUESTED, _PROGRESS_REPORT, _SCP_STATUS_CHANGE, _ASSIGNED = _UPS.event_types

Code: TypeAlias = tuple[str, ...] | Mapping[str, Any]
"""A coded entry: value, scheme designator, meaning and if need be scheme version, in the order of
:class:`pydicom.sr.coding.Code`; or a mapping of its attributes."""

Codes: TypeAlias = Iterable[Code] | Any
"""Coded entries; in columns a column of them."""

_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning", "CodingSchemeVersion")


def _code(code: Code) -> Item:
    if isinstance(code, Mapping):
        return dict(code)
    if isinstance(code, str) or not 3 <= len(code) <= 4:
        raise ValueError(f"{code!r} is no code: it must be (value, scheme designator, meaning)")
    return {
        keyword: value for keyword, value in zip(_CODE, code, strict=False) if value is not None
    }


def mpps_notification(event_type: Type, sop_instance_uid: str | Any) -> Event:
    """Return the event that a modality performed procedure step has changed (PS3.4 F.9.2).

    Parameters
    ----------
    event_type : str or int or EventType
        For example ``"Performed Procedure Step Completed"``, or its ID.
    sop_instance_uid : str
        The performed procedure step.

    Returns
    -------
    dict
        A row, or columns where one of the parameters is a column. These events have no
        event information.

    Examples
    --------
    >>> from fastdimse import encode_events, events
    >>> columns = events.mpps_notification(4, ["1.2.3", "1.2.4"])
    >>> len(encode_events(columns))
    2
    """
    return event(_MPPS, event_type, sop_instance_uid, {}, {})


def ups_state_report(
    sop_instance_uid: str | Any,
    *,
    procedure_step_state: str | Any,
    input_readiness_state: str | Any,
    reason_for_cancellation: str | Any = None,
    discontinuation_reasons: Codes | None = None,
) -> Event:
    """Return the event that the state of a unified procedure step has changed (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str
        The procedure step.
    procedure_step_state : str
        ``"SCHEDULED"``, ``"IN PROGRESS"``, ``"CANCELED"`` or ``"COMPLETED"``.
    input_readiness_state : str
        ``"INCOMPLETE"``, ``"UNAVAILABLE"`` or ``"READY"``.
    reason_for_cancellation : str, optional
        Why it was cancelled.
    discontinuation_reasons : iterable of tuple or mapping, optional
        The same as codes: value, scheme designator and meaning.

    Returns
    -------
    dict
        A row; columns where one of the parameters, codes aside, is a column. Codes are then a
        column too, of what they are in a row.

    Raises
    ------
    EncodeError
        As for :func:`printer`.

    Examples
    --------
    >>> from fastdimse import events
    >>> row = events.ups_state_report(
    ...     "1.2.3",
    ...     procedure_step_state="CANCELED",
    ...     input_readiness_state="READY",
    ...     discontinuation_reasons=[("110513", "DCM", "Discontinued for unspecified reason")],
    ... )
    >>> [reason] = row["EventInformation"]["ProcedureStepDiscontinuationReasonCodeSequence"]
    >>> reason["CodeMeaning"]
    'Discontinued for unspecified reason'
    """
    elements = {
        "ProcedureStepState": procedure_step_state,
        "InputReadinessState": input_readiness_state,
        "ReasonForCancellation": reason_for_cancellation,
    }
    codes = {"ProcedureStepDiscontinuationReasonCodeSequence": (discontinuation_reasons, _code)}
    return event(_UPS, _STATE_REPORT.id, sop_instance_uid, elements, codes)


def ups_cancel_requested(
    sop_instance_uid: str | Any,
    *,
    requesting_ae: str | Any,
    reason_for_cancellation: str | Any = None,
    discontinuation_reasons: Codes | None = None,
    contact_uri: str | Any = None,
    contact_display_name: str | Any = None,
) -> Event:
    """Return the event that someone asks for the end of a unified procedure step (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str
        The procedure step.
    requesting_ae : str
        Who asks.
    reason_for_cancellation, discontinuation_reasons, contact_uri, contact_display_name : optional
        What the request has of these; codes as for :func:`ups_state_report`.

    Returns
    -------
    dict
        A row, or columns, as of :func:`ups_state_report`.

    Examples
    --------
    >>> from fastdimse import events
    >>> events.ups_cancel_requested("1.2.3", requesting_ae="CONSOLE")["EventInformation"]
    {'RequestingAE': 'CONSOLE'}
    """
    elements = {
        "RequestingAE": requesting_ae,
        "ReasonForCancellation": reason_for_cancellation,
        "ContactURI": contact_uri,
        "ContactDisplayName": contact_display_name,
    }
    codes = {"ProcedureStepDiscontinuationReasonCodeSequence": (discontinuation_reasons, _code)}
    return event(_UPS, _CANCEL_REQUESTED.id, sop_instance_uid, elements, codes)


def _contact(contact: tuple[str, str | None] | Item) -> Item:
    if isinstance(contact, Mapping):
        return dict(contact)
    uri, name = contact
    return {"ContactURI": uri} | ({} if name is None else {"ContactDisplayName": name})


def ups_progress_report(
    sop_instance_uid: str | Any,
    *,
    progress: float | str | Any = None,
    description: str | Any = None,
    parameters: Iterable[Item] | Any = None,
    contacts: Iterable[tuple[str, str | None] | Item] | Any = None,
) -> Event:
    """Return the event that a unified procedure step goes on (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str
        The procedure step.
    progress : float or str, optional
        How much is done, in percent.
    description : str, optional
        The same in words.
    parameters : iterable of mapping, optional
        Content items.
    contacts : iterable of tuple or mapping, optional
        Where to ask: URI, and display name or ``None``.

    Returns
    -------
    dict
        A row, or columns, as of :func:`ups_state_report`.

    Examples
    --------
    >>> from fastdimse import events
    >>> events.ups_progress_report("1.2.3", progress=40)["EventInformation"]
    {'ProcedureStepProgressInformationSequence': [{'ProcedureStepProgress': 40}]}
    """
    elements = {
        "ProcedureStepProgress": progress,
        "ProcedureStepProgressDescription": description,
    }
    sequences: Sequences = {
        "ProcedureStepProgressParametersSequence": (parameters, dict),
        "ProcedureStepCommunicationsURISequence": (contacts, _contact),
    }
    if any(map(is_column, (sop_instance_uid, progress, description))):
        found = columns_of({"sop_instance_uid": sop_instance_uid, **elements}, sequences)
        items = one_item_each(data_sets(elements, sequences, found))
    else:
        items = [data_set(elements, sequences)]
    progress_information = {"ProcedureStepProgressInformationSequence": (items, dict)}
    return event(_UPS, _PROGRESS_REPORT.id, sop_instance_uid, {}, progress_information)


def ups_scp_status_change(
    sop_instance_uid: str | Any,
    *,
    scp_status: str | Any,
    subscription_list_status: str | Any,
    unified_procedure_step_list_status: str | Any,
) -> Event:
    """Return the event that a manager of unified procedure steps stops or starts (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str
        The procedure step that is subscribed to. PS3.4 does not say what a global subscriber
        gets here.
    scp_status : str
        ``"RESTARTED"`` or ``"GOING DOWN"``.
    subscription_list_status, unified_procedure_step_list_status : str
        ``"WARM START"`` or ``"COLD START"``.

    Returns
    -------
    dict
        A row; columns where one of the parameters is a column.

    Examples
    --------
    >>> from fastdimse import events
    >>> row = events.ups_scp_status_change(
    ...     "1.2.3",
    ...     scp_status="RESTARTED",
    ...     subscription_list_status="WARM START",
    ...     unified_procedure_step_list_status="WARM START",
    ... )
    >>> row["EventTypeID"]
    4
    """
    elements = {
        "SCPStatus": scp_status,
        "SubscriptionListStatus": subscription_list_status,
        "UnifiedProcedureStepListStatus": unified_procedure_step_list_status,
    }
    return event(_UPS, _SCP_STATUS_CHANGE.id, sop_instance_uid, elements, {})


def ups_assigned(
    sop_instance_uid: str | Any,
    *,
    scheduled_station_names: Codes | None = None,
    human_performers: Codes | None = None,
    human_performer_organization: str | Any = None,
) -> Event:
    """Return the event that a unified procedure step has someone to perform it (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str
        The procedure step.
    scheduled_station_names, human_performers : iterable of tuple or mapping, optional
        Who performs it, as codes: value, scheme designator and meaning.
    human_performer_organization : str, optional
        Whose performers they are.

    Returns
    -------
    dict
        A row, or columns, as of :func:`ups_state_report`.

    Examples
    --------
    >>> from fastdimse import events
    >>> row = events.ups_assigned("1.2.3", scheduled_station_names=[("CT1", "99LOCAL", "CT 1")])
    >>> row["EventInformation"]["ScheduledStationNameCodeSequence"][0]["CodeValue"]
    'CT1'
    """
    codes = {
        "ScheduledStationNameCodeSequence": (scheduled_station_names, _code),
        "HumanPerformerCodeSequence": (human_performers, _code),
    }
    elements = {"HumanPerformerOrganization": human_performer_organization}
    return event(_UPS, _ASSIGNED.id, sop_instance_uid, elements, codes)
