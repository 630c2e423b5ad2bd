"""Events of printers and print jobs (PS3.4 H)."""

from __future__ import annotations

from typing import Any

from ._event import Event, Type, event
from ._table import sop_classes_in_table

(_PRINTER,) = sop_classes_in_table("H.4-16")
(_PRINT_JOB,) = sop_classes_in_table("H.4-14")


def printer(
    event_type: Type,
    *,
    printer_status_info: str | Any = None,
    film_destination: str | Any = None,
    printer_name: str | Any = None,
) -> Event:
    """Return the event of a printer whose state has changed (PS3.4 H.4.6.2.1).

    Parameters
    ----------
    event_type : str, int or EventType, or column of these
        ``"Normal"``, ``"Warning"`` or ``"Failure"``, or its Event Type ID.
    printer_status_info : str or column of str, optional
        Defined term such as ``"SUPPLY LOW"``. Required in a warning and in a failure.
    film_destination : str or column of str, optional
        Destination of the film.
    printer_name : str or column of str, optional
        Name of the printer.

    Returns
    -------
    dict
        A row, or columns if a parameter is a column.

    Raises
    ------
    EncodeError
        If a row lacks an attribute that the standard requires. Columns are not checked: use
        ``validate_events(columns, check="standard")``.
    ValueError
        If the SOP Class has no such event type, or the columns have different lengths.

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
    """Return the event of a print job whose state has changed (PS3.4 H.4.5.2.1).

    Parameters
    ----------
    event_type : str, int or EventType, or column of these
        ``"Pending"``, ``"Printing"``, ``"Done"`` or ``"Failure"``, or its Event Type ID.
    sop_instance_uid : str or column of str
        SOP Instance UID of the print job.
    execution_status_info : str or column of str
        Defined term such as ``"NORMAL"``.
    film_session_label : str or column of str, optional
        Label of the film session.
    printer_name : str or column of str, optional
        Name of the printer.

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
