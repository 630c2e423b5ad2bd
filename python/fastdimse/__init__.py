"""DICOM events at the speed of Rust.

:class:`N_EVENT_REPORT` is pynetdicom's class of that name with a codec of its own;
:func:`encode_events`, :func:`encode_batches`, :func:`decode_events` and :func:`validate_events`
are for streams of events, as Arrow columns.
"""

from fastdimse._core import (
    ColumnError,
    DecodedEvents,
    DecodeError,
    EncodedBatches,
    EncodedEvents,
    EncodeError,
    EventError,
    Rejection,
    Rejections,
    __version__,
    decode_events,
    encode_batches,
    encode_events,
    validate_events,
)
from fastdimse._primitive import N_EVENT_REPORT

__all__ = [
    "N_EVENT_REPORT",
    "ColumnError",
    "DecodeError",
    "DecodedEvents",
    "EncodeError",
    "EncodedBatches",
    "EncodedEvents",
    "EventError",
    "Rejection",
    "Rejections",
    "__version__",
    "decode_events",
    "encode_batches",
    "encode_events",
    "validate_events",
]
