"""Messages written byte by byte (PS3.7 E.1, PS3.8 9.3.5), without checks of a library."""

import struct

EVENT_RQ, EVENT_RSP, ECHO_RQ, ACTION_RQ = 0x0100, 0x8100, 0x0030, 0x0130
"""Command Fields."""
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 E.2)."""


def element(number: int, value: bytes) -> bytes:
    """Return an element of group 0000, with its value padded with NUL."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    """Return an element of VR US."""
    return element(number, struct.pack("<H", value))


def command_set(
    message_id: int | None,
    instance: str,
    sop_class: str,
    command: int = EVENT_RQ,
    *,
    data: bool = False,
) -> bytes:
    """Return a command set; *data* states whether a data set follows."""
    elements = element(0x0002, sop_class.encode()) + us(0x0100, command)
    if message_id is not None:
        elements += us(0x0120 if command & 0x8000 else 0x0110, message_id)
    elements += us(0x0800, 0 if data else 0x0101)
    if command & 0x8000:
        elements += us(0x0900, 0)
    elements += element(0x1000, instance.encode()) + us(0x1002, 1)
    return element(0x0000, struct.pack("<I", len(elements))) + elements


def pdv(fragment: bytes, control: int, context_id: int = 1) -> bytes:
    """Return a PDV."""
    return struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment


def pdvs(content: bytes, kind: int, sizes: list[int]) -> list[bytes]:
    """Return a command set or data set in fragments of these sizes, which can be zero."""
    cut = []
    for size in sizes:
        cut.append(pdv(content[:size], kind))
        content = content[size:]
    return [*cut, pdv(content, kind | LAST)]


def pdu(*body: bytes) -> bytes:
    """Return a P-DATA-TF PDU of these PDVs."""
    joined = b"".join(body)
    return struct.pack(">BBI", 4, 0, len(joined)) + joined
