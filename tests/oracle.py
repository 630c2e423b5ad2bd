"""pynetdicom as the oracle: encoding, decoding, and the observable outcome of any call."""

import logging
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import _config, dimse_messages
from pynetdicom.dimse_messages import (
    N_ACTION_RQ,
    N_ACTION_RSP,
    N_EVENT_REPORT_RQ,
    N_EVENT_REPORT_RSP,
    DIMSEMessage,
)
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

P_DATA_TF_TYPE = 0x04
"""The PDU type of P-DATA-TF (PS3.8 9.3.5)."""


@dataclass(frozen=True)
class Outcome:
    """Everything that a caller can observe of a call.

    Attributes
    ----------
    value : object
        Return value, ``None`` if the call raised.
    raised : BaseException or None
        Exception, if the call raised one.
    logs : tuple of tuple
        Logger, level, text and type of the logged exception, from WARNING.
    warnings : tuple of tuple
        Category and text.
    """

    value: Any
    raised: BaseException | None
    logs: tuple[tuple[str, str, str, type | None], ...]
    warnings: tuple[tuple[type[Warning], str], ...]

    @property
    def error(self) -> tuple[type, str] | None:
        """Type and text of the exception."""
        return None if self.raised is None else (type(self.raised), str(self.raised))


class _Records(logging.Handler):
    """Stores log records while it has a list."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


# Before pynetdicom 2.1 this logger did not have the name of its module; fastdimse's has.
_LOGGERS = {dimse_messages.LOGGER.name: dimse_messages.__name__}

_RECORDS = _Records()
logging.getLogger().addHandler(_RECORDS)


def _shown(record: logging.LogRecord) -> tuple[str, str, str, type | None]:
    exception = record.exc_info[0] if record.exc_info else None
    logger = _LOGGERS.get(record.name, record.name)
    return logger, record.levelname, record.getMessage(), exception


def observe(call: Callable[..., Any], *args: Any) -> Outcome:
    """Call, and return everything that can be observed."""
    _RECORDS.kept = []
    value, raised = None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = call(*args)
        except Exception as error:
            raised = error
    return Outcome(
        value,
        raised,
        tuple(_shown(record) for record in _RECORDS.kept),
        tuple((warning.category, str(warning.message)) for warning in caught),
    )


@contextmanager
def keep_configuration() -> Iterator[None]:
    """Restore pynetdicom's configuration at the end."""
    enforced, codecs = _config.ENFORCE_UID_CONFORMANCE, _config.CODECS
    validators = dict(_config.VALIDATORS)
    try:
        yield
    finally:
        _config.ENFORCE_UID_CONFORMANCE, _config.CODECS = enforced, codecs
        _config.VALIDATORS.clear()
        _config.VALIDATORS.update(validators)


def _to_message(primitive: Any) -> DIMSEMessage:
    responds = getattr(primitive, "MessageIDBeingRespondedTo", None) is not None
    if isinstance(primitive, N_ACTION):
        message = N_ACTION_RSP() if responds else N_ACTION_RQ()
    else:
        message = N_EVENT_REPORT_RSP() if responds else N_EVENT_REPORT_RQ()
    message.primitive_to_message(primitive)
    return message


def encode_pdvs(primitive: Any, context_id: int, max_pdu_length: int) -> list[P_DATA]:
    """Encode a primitive to P-DATA primitives of pynetdicom with one PDV each."""
    return list(_to_message(primitive).encode_msg(context_id, max_pdu_length))


def encode_p_data(primitive: Any, context_id: int = 1, max_pdu_length: int = 16382) -> bytes:
    """Encode a primitive to P-DATA-TF PDUs with pynetdicom."""
    encoded = b""
    for p_data in encode_pdvs(primitive, context_id, max_pdu_length):
        pdu = P_DATA_TF()
        pdu.from_primitive(p_data)
        encoded += pdu.encode()
    return encoded


def encode_command_set(primitive: Any) -> bytes:
    """Encode the command set of a primitive with pynetdicom."""
    [(_, value)] = encode_pdvs(primitive, 1, 0)[0].presentation_data_value_list
    return value[1:]


def decode_command_set(command_set: bytes, data_set: bytes | None = None) -> Any:
    """Decode a command set and its data set to a primitive of pynetdicom."""
    p_data = P_DATA()
    p_data.presentation_data_value_list.append((1, b"\x03" + command_set))
    if data_set is not None:
        p_data.presentation_data_value_list.append((1, b"\x02" + data_set))
    message = DIMSEMessage()
    message.decode_msg(p_data)
    return message.message_to_primitive()


def split_pdus(stream: bytes) -> Iterator[bytes]:
    """Yield the PDUs of a stream by their lengths (PS3.8 9.3.1)."""
    at = 0
    while at < len(stream):
        end = at + 6 + struct.unpack_from(">I", stream, at + 2)[0]
        yield stream[at:end]
        at = end


def decode_stream(stream: bytes) -> list[Any]:
    """Decode every DIMSE message of a stream of PDUs with pynetdicom."""
    primitives = []
    message = DIMSEMessage()
    for encoded in split_pdus(stream):
        if encoded[0] != P_DATA_TF_TYPE:
            continue
        pdu = P_DATA_TF()
        pdu.decode(encoded)
        if message.decode_msg(pdu.to_primitive()):
            primitives.append(message.message_to_primitive())
            message = DIMSEMessage()
    return primitives


def primitive(cls: Any = N_EVENT_REPORT, **values: Any) -> Any:
    """Return a primitive of a class of pynetdicom with these attributes."""
    made = cls()
    for name, value in values.items():
        setattr(made, name, value)
    return made
