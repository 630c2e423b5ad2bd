"""Encoding and decoding with pynetdicom, by the steps of its associations."""

from pynetdicom.dimse_messages import N_EVENT_REPORT_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA


def encode_message(event: N_EVENT_REPORT) -> list[P_DATA]:
    """Encode a request as `DIMSEServiceProvider.send_msg` does."""
    message = N_EVENT_REPORT_RQ()
    message.primitive_to_message(event)
    return list(message.encode_msg(1, 16382))


def encode_p_data(event: N_EVENT_REPORT) -> bytes:
    """Encode a request as `DIMSEServiceProvider.send_msg` and the upper layer do."""
    encoded = b""
    for p_data in encode_message(event):
        pdu = P_DATA_TF()
        pdu.from_primitive(p_data)
        encoded += pdu.encode()
    return encoded


def decode_message(command_set: bytes, data_set: bytes) -> N_EVENT_REPORT:
    """Decode a message as `DIMSEServiceProvider.receive_primitive` does."""
    p_data = P_DATA()
    p_data.presentation_data_value_list.append((1, b"\x03" + command_set))
    p_data.presentation_data_value_list.append((1, b"\x02" + data_set))
    message = DIMSEMessage()
    message.decode_msg(p_data)
    return message.message_to_primitive()


def decode_pdus(stream: bytes) -> list[N_EVENT_REPORT]:
    """Decode a stream of PDUs to messages, each PDU by way of its primitive."""
    events = []
    message = DIMSEMessage()
    at = 0
    while at < len(stream):
        end = at + 6 + int.from_bytes(stream[at + 2 : at + 6], "big")
        pdu = P_DATA_TF()
        pdu.decode(stream[at:end])
        if message.decode_msg(pdu.to_primitive()):
            events.append(message.message_to_primitive())
            message = DIMSEMessage()
        at = end
    return events
