"""The events of the standard (PS3.4) and their Statuses (PS3.7), and functions that build events.

:data:`SOP_CLASSES` lists the SOP Classes with the types of their events and the attributes of each
type. A function for each kind of event builds one row, or columns of many rows::

    from fastdimse import encode_events, events

    row = events.storage_commitment(transaction_uid, committed, failed)
    encode_events([row])

A row is a mapping of the event's fields by keyword. Its *EventInformation* is a mapping of
attributes by keyword, in which a sequence is a list of such mappings. If a parameter is a column,
that is a sequence of values or an Arrow array, the result is a mapping of columns. Its
*EventInformation* is an Arrow array of structs if pyarrow is installed, and a list of mappings
otherwise.
"""

from collections.abc import Mapping

from . import _table
from ._machine_verification import machine_verification
from ._print import print_job, printer
from ._procedure_steps import (
    mpps_notification,
    ups_assigned,
    ups_cancel_requested,
    ups_progress_report,
    ups_scp_status_change,
    ups_state_report,
)
from ._storage_commitment import storage_commitment, storage_commitment_table
from ._table import (
    Attribute,
    EventType,
    SOPClass,
    Status,
    event_type,
    failure_reason,
    sop_class,
    status,
)

__all__ = [
    "FAILURE_REASONS",
    "SOP_CLASSES",
    "STATUSES",
    "Attribute",
    "EventType",
    "SOPClass",
    "Status",
    "event_type",
    "failure_reason",
    "machine_verification",
    "mpps_notification",
    "print_job",
    "printer",
    "sop_class",
    "status",
    "storage_commitment",
    "storage_commitment_table",
    "ups_assigned",
    "ups_cancel_requested",
    "ups_progress_report",
    "ups_scp_status_change",
    "ups_state_report",
]

SOP_CLASSES: tuple[SOPClass, ...] = _table.SOP_CLASSES
"""The SOP Classes of PS3.4 that use N-EVENT-REPORT, in the order of its sections.

:meta hide-value:
"""

FAILURE_REASONS: Mapping[int, str] = _table.FAILURE_REASONS
"""The Failure Reasons of PS3.3 C.14.1.1: their names by code.

:meta hide-value:
"""

STATUSES: tuple[Status, ...] = _table.STATUSES
"""The Statuses of PS3.7 Annex C, and of Unified Procedure Steps (PS3.4 CC.2), by ascending code.

:meta hide-value:
"""
