"""Events of performed procedure steps (PS3.4 F.9) and unified procedure steps (PS3.4 CC)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._event import (
    Event,
    Sequences,
    Type,
    columns_of,
    data_set,
    data_sets,
    event,
    is_column,
    one_item_each,
)
from ._items import Codes, Item, code_item, item_from
from ._table import sop_classes_in_table

(_MPPS,) = sop_classes_in_table("F.9.2-1")
(_UPS,) = sop_classes_in_table("CC.2.4-1")
_STATE_REPORT, _CANCEL_REQUESTED, _PROGRESS_REPORT, _SCP_STATUS_CHANGE, _ASSIGNED = _UPS.event_types


def mpps_notification(event_type: Type, sop_instance_uid: str | Any) -> Event:
    """Return the event of a modality performed procedure step that has changed (PS3.4 F.9.2).

    Parameters
    ----------
    event_type : str, int or EventType, or column of these
        Event type, for example ``"Performed Procedure Step Completed"``, or its Event Type ID.
    sop_instance_uid : str or column of str
        SOP Instance UID of the performed procedure step.

    Returns
    -------
    dict
        A row, or columns if a parameter is a column. The events have no event information.

    Raises
    ------
    ValueError
        If the SOP Class has no such event type, or the columns have different lengths.

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
    """Return the event of a unified procedure step whose state has changed (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str or column of str
        SOP Instance UID of the procedure step.
    procedure_step_state : str or column of str
        ``"SCHEDULED"``, ``"IN PROGRESS"``, ``"CANCELED"`` or ``"COMPLETED"``.
    input_readiness_state : str or column of str
        ``"INCOMPLETE"``, ``"UNAVAILABLE"`` or ``"READY"``.
    reason_for_cancellation : str or column of str, optional
        Reason for the cancellation, as text.
    discontinuation_reasons : iterable of tuple or mapping, or column of these, optional
        Reasons for the cancellation, as codes: (Code Value, Coding Scheme Designator, Code
        Meaning), with an optional Coding Scheme Version, or a mapping of attributes.

    Returns
    -------
    dict
        A row, or columns if a parameter other than the codes is a column. In columns, the codes
        must be a column of lists too.

    Raises
    ------
    EncodeError
        If a row lacks an attribute that the standard requires. Columns are not checked: use
        ``validate_events(columns, check="standard")``.
    TypeError
        If codes are not a column, but other parameters are.
    ValueError
        If a code has too few or too many values, or the columns have different lengths.

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
    codes = {"ProcedureStepDiscontinuationReasonCodeSequence": (discontinuation_reasons, code_item)}
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
    """Return the event of a request to cancel a unified procedure step (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str or column of str
        SOP Instance UID of the procedure step.
    requesting_ae : str or column of str
        AE title of the requester.
    reason_for_cancellation : str or column of str, optional
        Reason for the request, as text.
    discontinuation_reasons : iterable of tuple or mapping, or column of these, optional
        Reasons for the request, as codes. Same as for :func:`ups_state_report`.
    contact_uri : str or column of str, optional
        URI of a contact.
    contact_display_name : str or column of str, optional
        Name of the contact.

    Returns
    -------
    dict
        A row or columns, same as :func:`ups_state_report`.

    Raises
    ------
    EncodeError, TypeError, ValueError
        Same as :func:`ups_state_report`.

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
    codes = {"ProcedureStepDiscontinuationReasonCodeSequence": (discontinuation_reasons, code_item)}
    return event(_UPS, _CANCEL_REQUESTED.id, sop_instance_uid, elements, codes)


_contact = item_from("ContactURI", "ContactDisplayName", optional=1)


def ups_progress_report(
    sop_instance_uid: str | Any,
    *,
    progress: float | str | Any = None,
    description: str | Any = None,
    parameters: Iterable[Item] | Any = None,
    contacts: Iterable[tuple[str, str | None] | Item] | Any = None,
) -> Event:
    """Return the event of the progress of a unified procedure step (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str or column of str
        SOP Instance UID of the procedure step.
    progress : float or str, or column of these, optional
        Progress in percent.
    description : str or column of str, optional
        Description of the progress.
    parameters : iterable of mapping, or column of these, optional
        Content items that describe the progress.
    contacts : iterable of tuple or mapping, or column of these, optional
        Contacts: (Contact URI, Contact Display Name), in which the name can be ``None`` or left
        out, or a mapping of attributes.

    Returns
    -------
    dict
        A row or columns, same as :func:`ups_state_report`.

    Raises
    ------
    EncodeError, TypeError, ValueError
        Same as :func:`ups_state_report`.

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
    """Return the event of an SCP of unified procedure steps that stops or starts (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str or column of str
        SOP Instance UID of a procedure step with a subscription. PS3.4 does not define the value
        for global subscriptions.
    scp_status : str or column of str
        ``"RESTARTED"`` or ``"GOING DOWN"``.
    subscription_list_status : str or column of str
        ``"WARM START"`` or ``"COLD START"``.
    unified_procedure_step_list_status : str or column of str
        ``"WARM START"`` or ``"COLD START"``.

    Returns
    -------
    dict
        A row, or columns if a parameter is a column.

    Raises
    ------
    EncodeError, ValueError
        Same as :func:`printer`.

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
    """Return the event of a unified procedure step that was assigned to performers (PS3.4 CC.2.4).

    Parameters
    ----------
    sop_instance_uid : str or column of str
        SOP Instance UID of the procedure step.
    scheduled_station_names : iterable of tuple or mapping, or column of these, optional
        Stations, as codes. Same as for :func:`ups_state_report`.
    human_performers : iterable of tuple or mapping, or column of these, optional
        Persons or groups of persons, as codes. Same as for :func:`ups_state_report`.
    human_performer_organization : str or column of str, optional
        Organization of the performers.

    Returns
    -------
    dict
        A row or columns, same as :func:`ups_state_report`.

    Raises
    ------
    EncodeError, TypeError, ValueError
        Same as :func:`ups_state_report`.

    Examples
    --------
    >>> from fastdimse import events
    >>> row = events.ups_assigned("1.2.3", scheduled_station_names=[("CT1", "99LOCAL", "CT 1")])
    >>> row["EventInformation"]["ScheduledStationNameCodeSequence"][0]["CodeValue"]
    'CT1'
    """
    codes = {
        "ScheduledStationNameCodeSequence": (scheduled_station_names, code_item),
        "HumanPerformerCodeSequence": (human_performers, code_item),
    }
    elements = {"HumanPerformerOrganization": human_performer_organization}
    return event(_UPS, _ASSIGNED.id, sop_instance_uid, elements, codes)
