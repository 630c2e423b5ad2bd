"""The data sets of requests and reports (PS3.4 Tables J.3-1 and J.3-2).

`attributes` of a received request decodes every attribute, with pydicom. A provider that receives
thousands of requests in a second needs one UID and two sequences. Data sets that have nothing else,
as most have, are read here.
"""

import re
import struct
from typing import Any

EXPLICIT_VR = "1.2.840.10008.1.2.1"
_UNDEFINED = b"\xff\xff\xff\xff"
_SEQUENCES = (
    (b"\x08\x00\x99\x11", "ReferencedSOPSequence"),
    (b"\x08\x00\x98\x11", "FailedSOPSequence"),
)
# An even number of bytes: digits and full stops, and a null byte at the end.
_UID = rb"([0-9.]{1,64}\0?)"
# Lengths of two bytes as they are encoded. The length of a UID is at most 64.
_LENGTHS = [struct.pack("<H", length) for length in range(66)]
_long = struct.Struct("<I").unpack_from
_MAX_NAMES = 1000


class _Syntax:
    """Patterns of the elements in a transfer syntax."""

    def __init__(self, uid: bytes, sequence: bytes, reason: bytes) -> None:
        def element(tag: bytes) -> bytes:
            return tag + uid + _UID

        self.sequence_header = 12 if sequence else 8
        self.transaction = re.compile(element(rb"\x08\x00\x95\x11"), re.DOTALL)
        self.sequence_vr = sequence
        item = (
            rb"\xfe\xff\x00\xe0(.{4})"
            + element(rb"\x08\x00\x50\x11")
            + element(rb"\x08\x00\x55\x11")
            + rb"(?:\x08\x00\x97\x11"
            + reason
            + rb"(..))?(\xfe\xff\x0d\xe0\0\0\0\0)?"
        )
        self.item = re.compile(item, re.DOTALL)


_IMPLICIT = _Syntax(rb"(..)\0\0", b"", rb"\x02\0\0\0")
_EXPLICIT = _Syntax(rb"UI(..)", b"SQ\0\0", rb"US\x02\0")

# SOP Class UIDs occur again and again.
_names: dict[bytes, str] = {}


def information_of(received: Any, data_set: Any) -> dict[str, Any]:
    """Return the attributes of a request or a report that storage commitment needs.

    Parameters
    ----------
    received : ReceivedRequest
        The request.
    data_set : io.BytesIO or None
        Its Action Information or Event Information.

    Returns
    -------
    dict of str to object
        *TransactionUID*, *ReferencedSOPSequence* and *FailedSOPSequence*, if the data set has them,
        as in the `attributes` of the request.
    """
    if data_set is None:
        return {}
    syntax = _EXPLICIT if received.transfer_syntax == EXPLICIT_VR else _IMPLICIT
    found = _read(data_set.getvalue(), syntax)
    # An error in the data set is an exception of the complete decoder.
    return found if found is not None else received.attributes or {}


def _read(data: bytes, syntax: _Syntax) -> dict[str, Any] | None:
    """Return the attributes, or None for a data set that the complete decoder must read."""
    match = syntax.transaction.match(data)
    if match is None or _LENGTHS[len(match[2])] != match[1]:
        return None
    found: dict[str, Any] = {"TransactionUID": match[2].rstrip(b"\0").decode()}
    at, end = match.end(), len(data)
    # Elements are in the order of their tags: the failed ones are first.
    for tag, name in reversed(_SEQUENCES):
        if data[at : at + 4] != tag:
            continue
        begin = at + syntax.sequence_header
        if data[at + 4 : begin - 4] != syntax.sequence_vr or begin > end:
            return None
        [length] = _long(data, begin - 4)
        if begin + length > end:
            # This includes sequences of undefined length.
            return None
        items = _items(data, begin, begin + length, syntax)
        if items is None:
            return None
        found[name] = items
        at = begin + length
    return found if at == end else None


def _items(data: bytes, at: int, end: int, syntax: _Syntax) -> list[dict[str, Any]] | None:
    items: list[dict[str, Any]] = []
    match = syntax.item.match
    while at < end:
        found = match(data, at, end)
        if found is None:
            return None
        length, class_length, sop_class, instance_length, instance, reason, delimiter = (
            found.groups()
        )
        size = 16 + len(sop_class) + len(instance)
        item: dict[str, Any] = {
            "ReferencedSOPClassUID": _names.get(sop_class) or _name(sop_class),
            "ReferencedSOPInstanceUID": instance.rstrip(b"\0").decode(),
        }
        if reason is not None:
            size += 10
            item["FailureReason"] = reason[0] | reason[1] << 8
        if (
            _LENGTHS[len(sop_class)] != class_length
            or _LENGTHS[len(instance)] != instance_length
            or (length != _UNDEFINED if delimiter else length != size.to_bytes(4, "little"))
        ):
            return None
        items.append(item)
        at = found.end()
    return items


def _name(value: bytes) -> str:
    name = value.rstrip(b"\0").decode()
    if len(_names) < _MAX_NAMES:
        _names[value] = name
    return name
