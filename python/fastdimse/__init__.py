"""Encode, decode, send and receive DICOM events (N-EVENT-REPORT, PS3.7 10.1.1).

:class:`N_EVENT_REPORT` and :class:`N_ACTION` are drop-in replacements for pynetdicom's classes of
these names.
:func:`encode_events`, :func:`encode_batches`, :func:`decode_events` and :func:`validate_events`
process streams of events as Arrow columns, and :func:`encode_messages` and
:func:`decode_messages` process events row for row. :func:`decode_data_sets` decodes columns of
data sets.
:func:`decode_capture` and :func:`encode_capture` read and write captures of network packets.
:func:`connect` opens an association to send events and to request actions. :class:`Delivery` sends
events to peers until they respond. :func:`listen` receives events and actions.

The module :mod:`fastdimse.events` lists and creates the events of the standard. Other modules
must be imported by name: ``fastdimse.aio`` has associations, listeners and deliveries for asyncio,
``fastdimse.ups`` subscriptions to the events of unified procedure steps,
``fastdimse.pynetdicom`` speeds up applications of pynetdicom, and ``fastdimse.polars``,
``fastdimse.duckdb``, ``fastdimse.datafusion``, ``fastdimse.ray`` and ``fastdimse.spark`` encode and
decode messages in these engines.
"""

from fastdimse._core import (
    TLS,
    AcceptedAssociation,
    Association,
    AssociationError,
    CaptureBatches,
    CapturedActions,
    CapturedEvents,
    ColumnError,
    DecodedBatches,
    DecodedDataSets,
    DecodedEvents,
    DecodeError,
    EncodedBatches,
    EncodedCapture,
    EncodedEvents,
    EncodeError,
    EventError,
    Fault,
    Faults,
    Listener,
    ListenerCounters,
    MessageColumns,
    MessageSchema,
    Outcomes,
    Peer,
    ReceivedEvents,
    ReceivedRequest,
    Rejection,
    Rejections,
    __version__,
    connect,
    decode_batches,
    decode_capture,
    decode_capture_batches,
    decode_data_sets,
    decode_events,
    decode_messages,
    echo,
    encode_batches,
    encode_capture,
    encode_events,
    encode_messages,
    listen,
    message_schema,
    validate_events,
)
from fastdimse._primitive import N_ACTION, N_EVENT_REPORT

# Not imported from typing: that import would take longer than all others here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastdimse._delivery import Delivery, DeliveryError, Progress
    from fastdimse._outbox import OutboxError

__all__ = [
    "N_ACTION",
    "N_EVENT_REPORT",
    "TLS",
    "AcceptedAssociation",
    "Association",
    "AssociationError",
    "CaptureBatches",
    "CapturedActions",
    "CapturedEvents",
    "ColumnError",
    "DecodeError",
    "DecodedBatches",
    "DecodedDataSets",
    "DecodedEvents",
    "Delivery",
    "DeliveryError",
    "EncodeError",
    "EncodedBatches",
    "EncodedCapture",
    "EncodedEvents",
    "EventError",
    "Fault",
    "Faults",
    "Listener",
    "ListenerCounters",
    "MessageColumns",
    "MessageSchema",
    "OutboxError",
    "Outcomes",
    "Peer",
    "Progress",
    "ReceivedEvents",
    "ReceivedRequest",
    "Rejection",
    "Rejections",
    "__version__",
    "connect",
    "decode_batches",
    "decode_capture",
    "decode_capture_batches",
    "decode_data_sets",
    "decode_events",
    "decode_messages",
    "echo",
    "encode_batches",
    "encode_capture",
    "encode_events",
    "encode_messages",
    "events",
    "listen",
    "message_schema",
    "validate_events",
]


# Names that are imported when they are first used, and their modules.
_LAZY = {
    "events": "events",
    "Delivery": "_delivery",
    "DeliveryError": "_delivery",
    "OutboxError": "_outbox",
    "Progress": "_delivery",
}


def __getattr__(name: str) -> "Any":
    if name not in _LAZY:
        raise AttributeError(f"module 'fastdimse' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"fastdimse.{_LAZY[name]}")
    found = module if name == "events" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY} - {"TYPE_CHECKING"})
