"""Replaces the codec of N-EVENT-REPORT and N-ACTION messages (PS3.7 10.1.1 and 10.1.4)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any
from weakref import WeakValueDictionary

from fastdimse._core import EncodeError, frame_message, read_message
from fastdimse._primitive import N_ACTION, N_EVENT_REPORT

from ._patches import Patches
from ._primitive_class import DATA_SETS


class EncodedCommandSet:
    """The encoded command set of a message whose attribute `command_set` was not read yet.

    Parameters
    ----------
    command_set : bytes
        The encoded command set.
    primitive : N_EVENT_REPORT, N_ACTION or None
        The primitive, if the message was received.
    """

    __slots__ = ("command_set", "primitive")

    def __init__(self, command_set: bytes, primitive: N_EVENT_REPORT | N_ACTION | None) -> None:
        self.command_set = command_set
        self.primitive = primitive


def unread_command_set(message: Any) -> EncodedCommandSet | None:
    """Return the encoded command set of a message, or None if `command_set` was read.

    A handler that has read it may have changed it.
    """
    if "command_set" in message.__dict__:
        return None
    encoded: EncodedCommandSet | None = message.__dict__.get("_fastdimse_encoded")
    return encoded


def replace_codec(patches: Patches) -> None:
    """Replace the methods of messages that encode and decode."""
    from pydicom.dataset import Dataset
    from pydicom.filereader import read_dataset
    from pynetdicom import dimse_messages, dsutils

    base = dimse_messages.DIMSEMessage
    requests, responses = (
        {cls: getattr(dimse_messages, cls.__name__ + kind) for cls in DATA_SETS}
        for kind in ("_RQ", "_RSP")
    )
    p_data = dimse_messages.P_DATA
    init, decode_msg, encode_msg = base.__init__, base.decode_msg, base.encode_msg
    to_primitive, to_message = base.message_to_primitive, base.primitive_to_message

    # The class of the primitive of each message.
    primitives = {message: cls for of in (requests, responses) for cls, message in of.items()}
    replaced = {base, *primitives}
    unread: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def make_command_set(message: Any) -> Any:
        encoded = message.__dict__.get("_fastdimse_encoded")
        if encoded is not None:
            command_set = read_dataset(BytesIO(encoded.command_set), True, True)
        else:
            # A new message has empty elements.
            command_set = Dataset()
            name = type(message).__name__.replace("_", "-")
            for keyword in dimse_messages._COMMAND_SET_KEYWORDS.get(name, ()):
                setattr(command_set, keyword, None)
        return message.__dict__.setdefault("command_set", command_set)

    def get_missing(self: Any, name: str) -> Any:
        if name == "command_set":
            return make_command_set(self)
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=self)

    def defer_command_set(message: Any, encoded: EncodedCommandSet | None) -> None:
        """Set the encoded command set of a message, to be decoded when it is first read."""
        message.__dict__.pop("command_set", None)
        message._fastdimse_encoded = encoded
        unread[id(message)] = message
        if base.__dict__.get("decode_msg") is not new_decode_msg:
            # Uninstalled in the meantime: `__getattr__` is gone.
            make_command_set(message)

    def make_all_command_sets() -> None:
        for reference in unread.valuerefs():
            message = reference()
            if message is not None:
                make_command_set(message)

    def new_init(self: Any) -> None:
        if type(self) not in replaced:
            init(self)
            return
        defer_command_set(self, None)
        self.context_id = None
        self.encoded_command_set = BytesIO()
        self.data_set = BytesIO()
        self._data_set_path = None
        self._data_set_file = None

    def new_to_message(self: Any, primitive: Any) -> None:
        cls = type(primitive)
        expects_response = type(self) is responses.get(cls)
        if (
            primitives.get(type(self)) is not cls
            or (primitive.MessageIDBeingRespondedTo is not None) != expects_response
            or primitive._dataset_path
        ):
            to_message(self, primitive)
            return
        encoded = None
        with suppress(EncodeError, TypeError):
            encoded = primitive.encode_command_set()
        if encoded is None:
            # pynetdicom reports the error.
            to_message(self, primitive)
            return
        self.data_set = getattr(primitive, DATA_SETS[cls])
        self._data_set_path = primitive._dataset_path
        defer_command_set(self, EncodedCommandSet(encoded, None))

    def new_encode_msg(self: Any, context_id: int, max_pdu_length: int) -> Iterator[Any]:
        encoded = unread_command_set(self)
        # pynetdicom raises the error if no fragment fits into a PDU.
        is_too_short = 0 < max_pdu_length < 7
        if encoded is None or self._data_set_path is not None or is_too_short:
            yield from encode_msg(self, context_id, max_pdu_length)
            return
        self.context_id = context_id
        data_set = b"" if self.data_set is None else self.data_set.getvalue()
        pdus = frame_message(encoded.command_set, data_set, context_id, max_pdu_length)
        for pdu in pdus:
            fragment = p_data()
            # The PDV follows the header of the PDU, and the length and context ID of the PDV.
            fragment.presentation_data_value_list.append((context_id, pdu[11:]))
            fragment._fastdimse_pdu = pdu
            yield fragment

    def new_decode_msg(self: Any, primitive: Any, assoc: Any = None) -> Any:
        pdvs = primitive.presentation_data_value_list if type(primitive) is p_data else []
        # pynetdicom logs at DEBUG that it decodes a command set.
        is_logged = dsutils.LOGGER.isEnabledFor(logging.DEBUG)
        if is_logged or not pdvs or type(self) is not base or self.encoded_command_set.tell():
            return decode_msg(self, primitive, assoc)
        context_id, data = pdvs[0]
        read = read_message(bytes(data[1:])) if data and data[0] & 3 == 3 else None
        if read is None:
            return decode_msg(self, primitive, assoc)
        read_primitive, data_set_follows = read
        encoded = bytes(data[1:])
        self.encoded_command_set.write(encoded)
        self.context_id = context_id
        is_request = read_primitive.MessageIDBeingRespondedTo is None
        self.__class__ = (requests if is_request else responses)[type(read_primitive)]
        defer_command_set(self, EncodedCommandSet(encoded, read_primitive))
        if not data_set_follows:
            return True
        rest = p_data()
        rest.presentation_data_value_list.extend(pdvs[1:])
        return decode_msg(self, rest, assoc)

    def new_to_primitive(self: Any) -> Any:
        encoded = unread_command_set(self)
        primitive = None if encoded is None else encoded.primitive
        if primitive is None:
            return to_primitive(self)
        setattr(primitive, DATA_SETS[type(primitive)], self.data_set)
        primitive._context_id = self.context_id
        primitive._dataset_path = self._data_set_path
        primitive._dataset_file = self._data_set_file
        return primitive

    patches.on_revert(make_all_command_sets)
    patches.attribute(base, "__getattr__", get_missing)
    patches.attribute(base, "__init__", new_init)
    patches.attribute(base, "decode_msg", new_decode_msg)
    for message in primitives:
        patches.attribute(message, "primitive_to_message", new_to_message)
        patches.attribute(message, "encode_msg", new_encode_msg)
        patches.attribute(message, "message_to_primitive", new_to_primitive)
