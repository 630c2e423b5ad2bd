"""What the standard says about events (PS3.4) and their statuses (PS3.7), and events made by it.

:data:`SOP_CLASSES` is the table: SOP Classes, the types of their events, their attributes. A
function for each kind of event makes a row of it, or columns of many::

    from fastdimse import encode_events, events

    row = events.storage_commitment(transaction_uid, committed, failed)
    encode_events([row])

A row is a mapping of the event's fields by keyword; its *EventInformation* is a mapping of
attributes by keyword, in which a sequence is a list of such mappings. Where a parameter is a
column, a sequence of values or an Arrow array, so is the result: a mapping of columns, in which
*EventInformation* is an Arrow array of structs if pyarrow is installed, and a list of mappings
otherwise.
"""

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
    SOP_CLASSES,
    STATUSES,
    Attribute,
    EventType,
    SOPClass,
    Status,
    event_type,
    sop_class,
    status,
)

__all__ = [
    "SOP_CLASSES",
    "STATUSES",
    "Attribute",
    "EventType",
    "SOPClass",
    "Status",
    "event_type",
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
