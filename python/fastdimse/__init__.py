"""DICOM events at the speed of Rust.

:class:`N_EVENT_REPORT` is pynetdicom's class of that name with a codec of its own;
:func:`encode_events`, :func:`encode_batches`, :func:`decode_events` and :func:`validate_events`
are for streams of events, as Arrow columns; :func:`decode_capture` and :func:`encode_capture` for
captures of associations, as Wireshark has them; :func:`decode_data_sets` for columns of data sets.
:func:`connect` opens associations to send events on, :class:`Delivery` sends them until they are
answered, :func:`listen` takes them in.
:mod:`fastdimse.events` has what the standard says about events.
"""

from fastdimse._core import (
    TLS,
    Association,
    AssociationError,
    CapturedEvents,
    ColumnError,
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
    Outcomes,
    Peer,
    ReceivedEvents,
    Rejection,
    Rejections,
    __version__,
    connect,
    decode_capture,
    decode_data_sets,
    decode_events,
    echo,
    encode_batches,
    encode_capture,
    encode_events,
    listen,
    validate_events,
)
from fastdimse._primitive import N_EVENT_REPORT

# typing and importlib would take longer to import than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastdimse._delivery import Delivery, DeliveryError, Progress
    from fastdimse._outbox import OutboxError

__all__ = [
    "N_EVENT_REPORT",
    "TLS",
    "Association",
    "AssociationError",
    "CapturedEvents",
    "ColumnError",
    "DecodeError",
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
    "OutboxError",
    "Outcomes",
    "Peer",
    "Progress",
    "ReceivedEvents",
    "Rejection",
    "Rejections",
    "__version__",
    "connect",
    "decode_capture",
    "decode_data_sets",
    "decode_events",
    "echo",
    "encode_batches",
    "encode_capture",
    "encode_events",
    "events",
    "listen",
    "validate_events",
]


# What most who encode and decode don't need, by its module.
_LATER = {
    "events": "events",
    "Delivery": "_delivery",
    "DeliveryError": "_delivery",
    "OutboxError": "_outbox",
    "Progress": "_delivery",
}


def __getattr__(name: str) -> "Any":
    if name not in _LATER:
        raise AttributeError(f"module 'fastdimse' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"fastdimse.{_LATER[name]}")
    found = module if name == "events" else getattr(module, name)
    globals()[name] = found
    return found
