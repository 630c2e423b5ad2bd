"""Events of printers and print jobs (PS3.4 H)."""

from __future__ import annotations

from typing import Any, TypeAlias

from ._event import Event, event
from ._table import SOP_CLASSES, EventType

_PRINTER = next(one for one in SOP_CLASSES if one.table == "H.4-16")
_PRINT_JOB = next(one for one in SOP_CLASSES if one.table == "H.4-14")

Type: TypeAlias = EventType | str | int | Any
"""A type of events: itself, its name or its ID; or a column."""


def printer(
    event_type: Type,
    *,
    printer_status_info: str | Any = None,
    film_destination: str | Any = None,
    printer_name: str | Any = None,
) -> Event:
    """Return the event that the state of a printer has changed (PS3.4 H.4.6.2.1).

    Parameters
    ----------
    event_type : str or int or EventType
        ``"Normal"``, ``"Warning"``, ``"Failure"``, or its ID.
    printer_status_info : str, optional
        A defined term such as ``"SUPPLY LOW"``; a warning and a failure must have it.
    film_destination : str, optional
        Where the film goes.
    printer_name : str, optional
        The printer.

    Returns
    -------
    dict
        A row; columns where one of the parameters is a column.

    Raises
    ------
    EncodeError
        If an attribute is missing that the standard asks for. Columns are not looked
        through: ``validate_events(columns, check="standard")`` does that.

    Examples
    --------
    >>> from fastdimse import events
    >>> row = events.printer("Warning", printer_status_info="SUPPLY LOW")
    >>> row["EventTypeID"], row["EventInformation"]
    (2, {'PrinterStatusInfo': 'SUPPLY LOW'})
    """
    elements = {
        "PrinterStatusInfo": printer_status_info,
        "FilmDestination": film_destination,
        "PrinterName": printer_name,
    }
    return event(_PRINTER, event_type, _PRINTER.well_known_instance, elements, {})


def print_job(
    event_type: Type,
    sop_instance_uid: str | Any,
    *,
    execution_status_info: str | Any,
    film_session_label: str | Any = None,
    printer_name: str | Any = None,
) -> Event:
    """Return the event that the state of a print job has changed (PS3.4 H.4.5.2.1).

    Parameters
    ----------
    event_type : str or int or EventType
        ``"Pending"``, ``"Printing"``, ``"Done"``, ``"Failure"``, or its ID.
    sop_instance_uid : str
        The print job.
    execution_status_info : str
        A defined term such as ``"NORMAL"``.
    film_session_label : str, optional
        The film session.
    printer_name : str, optional
        The printer.

    Returns
    -------
    dict
        A row; columns where one of the parameters is a column.

    Raises
    ------
    EncodeError
        As for :func:`printer`.

    Examples
    --------
    >>> from fastdimse import events
    >>> columns = events.print_job(
    ...     ["Printing", "Done"], "1.2.3", execution_status_info="NORMAL"
    ... )
    >>> columns["EventTypeID"].to_pylist()
    [2, 3]
    """
    elements = {
        "ExecutionStatusInfo": execution_status_info,
        "FilmSessionLabel": film_session_label,
        "PrinterName": printer_name,
    }
    return event(_PRINT_JOB, event_type, sop_instance_uid, elements, {})
