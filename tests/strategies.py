"""Strategies for input of users and peers, from usual to unusual values."""

import enum
import io
import random
import re
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary
from pydicom.multival import MultiValue
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom import sop_class


class Text(str):
    """A subclass of ``str``."""


class Octets(bytes):
    """A subclass of ``bytes``."""


class Number(int):
    """A subclass of ``int``."""


class Event(enum.IntEnum):
    """Event types of Storage Commitment (PS3.4 J.3.3)."""

    SUCCESSFUL = 1
    FAILURES_EXIST = 2


class Flag(enum.IntFlag):
    """Flags that are ``int``."""

    ON = 1
    HIGH = 0x8000


class Stream(io.BytesIO):
    """A subclass of ``io.BytesIO``."""


class FalseStream(io.BytesIO):
    """A stream that is false."""

    def __bool__(self) -> bool:
        return False


def _seeked(data: bytes) -> io.BytesIO:
    stream = io.BytesIO(data)
    stream.seek(len(data) // 2)
    return stream


def _closed() -> io.BytesIO:
    stream = io.BytesIO(b"gone")
    stream.close()
    return stream


def _private_uid() -> UID:
    uid = UID("1.2.826.0.1.3680043.9.3811.1")
    if hasattr(uid, "set_private_encoding"):  # since pydicom 3
        uid.set_private_encoding(False, True)
    return uid


LONGEST_UID = "1.2." + "3" * 60
"""A UID of 64 characters, the maximum (PS3.5 9.1)."""

ODD_UIDS: list[Any] = [
    "",
    " ",
    "1",
    "0",
    "1.0",
    "1.02",
    "1.2.",
    ".1.2",
    "1..2",
    "1.2.a",
    " 1.2.3 ",
    "1.2.3\n",
    "1.2.3\t",
    "1.2.3\x00",
    "1.2\x003",
    "1.2\\1.3",
    "\xa01.2.3",
    "1.2.3\u2003",
    "1.2.٣",
    "1.2.\ud800",
    "é",
    "x" * 64,
    "x" * 65,
    LONGEST_UID,
    LONGEST_UID + "3",
    LONGEST_UID + " ",
    LONGEST_UID + "\x00",
    b"",
    b"1.2.3",
    b"1.2.3\x00",
    b"1.2.3\x00\x00",
    b" 1.2.3 ",
    b"1.2.\xe9",
    b"\xff\xfe1.2",
    LONGEST_UID.encode(),
    LONGEST_UID.encode() + b"3",
    Octets(b"1.2.3"),
    Octets(b"1.2.\xe9"),
    Text("1.2.840.10008.1.20.1"),
    Text("not a UID"),
    Text(""),
    UID("1.2.840.10008.1.20.1"),
    UID(""),
    UID("1.2.a", validation_mode=0),
    UID(LONGEST_UID + "3", validation_mode=0),
    _private_uid(),
    generate_uid(entropy_srcs=["fastdimse"]),
    ExplicitVRLittleEndian,
    sop_class.StorageCommitmentPushModel,
    sop_class.Printer,
    sop_class.SOPClass("1.2.3"),
    bytearray(b"1.2.3"),
    memoryview(b"1.2.3"),
    ["1.2.3"],
    ("1.2.3", "1.2.4"),
    MultiValue(UID, ["1.2.3", "1.2.4"]),
]

ODD_NUMBERS: list[Any] = [
    True,
    False,
    0,
    1,
    -1,
    65534,
    65535,
    65536,
    2**31,
    2**63,
    2**70,
    -(2**70),
    Number(7),
    Number(-7),
    Number(2**70),
    Event.FAILURES_EXIST,
    Flag.ON,
    Flag.HIGH,
    np.int64(3),
    np.uint16(3),
    np.int8(-3),
    np.bool_(True),
    np.float64(1.0),
    1.0,
    1.5,
    float("nan"),
    float("inf"),
    1j,
    "1",
    "0x01",
    b"1",
    [1],
    [],
    [1, 2, 3],
    [1, 65536],
    [1, "a"],
    [None],
    [True],
    [1.0],
    (),
    (1, 2),
    {1: 2},
    {1, 2},
    MultiValue(int, [1, 2]),
    MultiValue(int, []),
    np.array([1, 2], dtype="uint16"),
    range(2),
]

ODD_STREAMS: list[Any] = [
    io.BytesIO(),
    io.BytesIO(b"\x08\x00\x95\x11\x02\x00\x00\x001\x00"),
    io.BytesIO(b"odd"),
    _seeked(b"in the middle"),
    _closed(),
    Stream(b"a subclass"),
    Stream(),
    FalseStream(b"false"),
    io.BufferedReader(io.BytesIO(b"buffered")),  # type: ignore[arg-type]
    io.StringIO("text"),
    b"bytes",
    bytearray(b"bytes"),
]

ODD_COMMENTS: list[Any] = [
    "",
    " ",
    "no such instance",
    "odd",
    "ends with a space ",
    " begins with one",
    "x" * 64,
    "x" * 65,
    "two\\values",
    "\\",
    "line\nfeed",
    "nul\x00",
    "é",
    "日本",
    "\ud800",
    "\x1b$B",
    Text("a subclass"),
    b"",
    b"bytes",
    b"odd",
    b"two\\values",
    b"\xe9",
    b"nul\x00",
    Octets(b"a subclass"),
    [],
    ["one"],
    ["one", "two"],
    ["é", "日本"],
    [b"one", b"two"],
    ["one", 2],
    [""],
    ["", ""],
    [None],
    ("one", "two"),
    MultiValue(str, ["one", "two"]),
    UID("1.2.3"),
]

ANYTHING = [None, object(), Ellipsis, int, *ODD_UIDS, *ODD_NUMBERS, *ODD_STREAMS, *ODD_COMMENTS]

_arcs = st.one_of(st.just("0"), st.integers(1, 10**12).map(str))
uids = (
    st.lists(_arcs, min_size=1, max_size=8)
    .map(lambda arcs: ".".join(["1", *arcs])[:64])
    .map(lambda uid: uid.rstrip("."))
)
"""Conformant UIDs."""


@st.composite
def uids_of_every_length(draw: st.DrawFn) -> str:
    """Conformant UIDs of 1 to 64 characters, with components of any length."""
    length = draw(st.integers(1, 64))
    characters = list(str(draw(st.integers(10**63, 10**64 - 1))))[:length]
    for place in draw(st.sets(st.integers(1, 62), max_size=31)):
        if place < length - 1 and "." not in characters[place - 1 : place + 2]:
            characters[place] = "."
    components = "".join(characters).split(".")
    return ".".join(re.sub("^0(?=.)", "9", component) for component in components)


_near_uids = st.text(alphabet="012.9 \x00\né", max_size=70)
odd_uids = st.one_of(
    uids,
    uids.map(str.encode),
    uids.map(UID),
    st.sampled_from(ODD_UIDS),
    _near_uids,
    _near_uids.map(str.encode),
    st.text(max_size=12),
    st.binary(max_size=70),
)

unsigned_shorts = st.one_of(
    st.integers(0, 65535), st.sampled_from([0, 1, 0x00FF, 0x0100, 0x0111, 65535])
)
odd_numbers = st.one_of(unsigned_shorts, st.integers(), st.sampled_from(ODD_NUMBERS))

# Only attributes that accept every value are set to these.
nested = st.recursive(
    st.sampled_from([None, 1, 0, True, "", "a", b"", b"b"]),
    lambda inner: st.lists(inner, max_size=2) | st.lists(inner, max_size=2).map(tuple),
    max_leaves=3,
) | st.sampled_from([{}, set(), range(0), range(2), [{}], [set()]])

odd_streams = st.one_of(
    st.sampled_from(ODD_STREAMS), st.binary(max_size=40).map(io.BytesIO), st.none()
)
odd_comments = st.one_of(
    st.text(max_size=70),
    st.text(alphabet=st.characters(max_codepoint=0xFF), max_size=70),
    st.binary(max_size=70),
    st.sampled_from(ODD_COMMENTS),
    st.lists(st.one_of(st.text(max_size=5), st.binary(max_size=5)), max_size=3),
    nested,
)
anything = st.sampled_from(ANYTHING)

ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "MessageID": odd_numbers,
    "MessageIDBeingRespondedTo": odd_numbers,
    "AffectedSOPClassUID": odd_uids,
    "AffectedSOPInstanceUID": odd_uids,
    "EventTypeID": odd_numbers,
    "EventInformation": odd_streams,
    "EventReply": odd_streams,
    "Status": odd_numbers,
    "ErrorComment": odd_comments,
    "ErrorID": odd_numbers | nested,
}
"""Values for each attribute of an N-EVENT-REPORT, besides `anything`."""

ACTION_ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "MessageID": odd_numbers,
    "MessageIDBeingRespondedTo": odd_numbers,
    "RequestedSOPClassUID": odd_uids,
    "RequestedSOPInstanceUID": odd_uids,
    "AffectedSOPClassUID": odd_uids,
    "AffectedSOPInstanceUID": odd_uids,
    "ActionTypeID": odd_numbers,
    "ActionInformation": odd_streams,
    "ActionReply": odd_streams,
    "Status": odd_numbers,
    "ErrorComment": odd_comments,
    "ErrorID": odd_numbers | nested,
}
"""Values for each attribute of an N-ACTION, besides `anything`."""

max_pdu_lengths = st.one_of(
    st.sampled_from([0, 7, 8, 12, 16, 64, 100, 16382, 2**31, 2**32 - 1]), st.integers(7, 200)
)
context_ids = st.integers(0, 127).map(lambda n: 2 * n + 1)


def values_of(attribute: str) -> st.SearchStrategy[Any]:
    """Values for an attribute: `None`, its proper values, and any others."""
    fitting = (ATTRIBUTES | ACTION_ATTRIBUTES)[attribute]
    return st.one_of(fitting, fitting, st.none(), anything)


# Rows of a table that can be encoded.

comments = st.text(
    alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"),
    max_size=64,
).map(str.strip)
data_sets = st.one_of(st.none(), st.binary(min_size=1, max_size=60))

_sizes = st.one_of(st.integers(0, 300), st.sampled_from([16376, 65536]), st.integers(0, 120_000))
large_data_sets = st.builds(
    lambda size, seed: random.Random(seed).randbytes(size), _sizes, st.integers(0, 9)
)
"""Data sets of 0 to 120 kB, mostly not drawn byte by byte."""


def requests(
    uids: st.SearchStrategy[str], data_sets: st.SearchStrategy[bytes | None]
) -> st.SearchStrategy[dict[str, Any]]:
    """Requests with these UIDs and data sets."""
    return st.fixed_dictionaries(
        {
            "MessageID": unsigned_shorts,
            "AffectedSOPClassUID": uids,
            "AffectedSOPInstanceUID": uids,
            "EventTypeID": unsigned_shorts,
            "EventInformation": data_sets,
        }
    ).map(_filled)


def responses(
    uids: st.SearchStrategy[str], data_sets: st.SearchStrategy[bytes | None]
) -> st.SearchStrategy[dict[str, Any]]:
    """Responses with these UIDs and data sets."""
    return st.fixed_dictionaries(
        {
            "MessageIDBeingRespondedTo": unsigned_shorts,
            "AffectedSOPClassUID": st.none() | uids,
            "AffectedSOPInstanceUID": st.none() | uids,
            "EventTypeID": st.none() | unsigned_shorts,
            "EventReply": data_sets,
            "Status": unsigned_shorts,
            "ErrorComment": st.none() | comments.filter(bool),
            "ErrorID": st.none() | unsigned_shorts,
        }
    ).map(_filled)


COLUMNS = (
    "MessageID",
    "MessageIDBeingRespondedTo",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "EventTypeID",
    "EventInformation",
    "EventReply",
    "Status",
    "ErrorComment",
    "ErrorID",
)


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in COLUMNS}


rows = requests(uids, data_sets) | responses(uids, data_sets)
"""A request or a response, with every column."""

action_rows = st.fixed_dictionaries(
    {
        "MessageID": unsigned_shorts,
        "RequestedSOPClassUID": uids,
        "RequestedSOPInstanceUID": uids,
        "ActionTypeID": unsigned_shorts,
        "ActionInformation": data_sets,
    }
) | st.fixed_dictionaries(
    {
        "MessageIDBeingRespondedTo": unsigned_shorts,
        "AffectedSOPClassUID": st.none() | uids,
        "AffectedSOPInstanceUID": st.none() | uids,
        "ActionTypeID": st.none() | unsigned_shorts,
        "ActionReply": data_sets,
        "Status": unsigned_shorts,
        "ErrorComment": st.none() | comments.filter(bool),
        "ErrorID": st.none() | unsigned_shorts,
    }
)
"""A request or a response of N-ACTION, with the attributes that it can have."""

_any_uids = uids_of_every_length()
_any_data_sets = st.none() | large_data_sets
wide_rows = requests(_any_uids, _any_data_sets) | responses(_any_uids, _any_data_sets)
"""Requests and responses with UIDs of every length and data sets of every size."""


# Command sets, valid and invalid.

Element = tuple[int, int, bytes, bytes]
"""Group, element, explicit VR, value."""

ELEMENTS = {
    0x0000: b"UL",
    0x0002: b"UI",
    0x0100: b"US",
    0x0110: b"US",
    0x0120: b"US",
    0x0800: b"US",
    0x0900: b"US",
    0x0902: b"LO",
    0x0903: b"US",
    0x1000: b"UI",
    0x1002: b"US",
}
"""The elements of N-EVENT-REPORT and their VRs (PS3.7 10.3.1 and E.1)."""

ACTION_ELEMENTS = {
    **{number: vr for number, vr in ELEMENTS.items() if number != 0x1002},
    0x0003: b"UI",
    0x1001: b"UI",
    0x1008: b"US",
}
"""The elements of N-ACTION and their VRs (PS3.7 10.3.5 and E.1)."""

_VR = ELEMENTS | ACTION_ELEMENTS
_OTHER_COMMAND_FIELDS = [0x0030, 0x8030, 0x0001, 0x0140, 0xFFFF]

_us_values = st.one_of(
    st.binary(min_size=2, max_size=2),
    st.binary(min_size=2, max_size=2),
    st.binary(max_size=7),
    st.lists(st.binary(min_size=2, max_size=2), max_size=3).map(b"".join),
)
_ui_values = st.one_of(
    uids.map(str.encode),
    uids.map(lambda uid: uid.encode() + b"\x00" * (len(uid) % 2)),
    st.lists(uids, min_size=2, max_size=3).map(lambda several: "\\".join(several).encode()),
    st.text(alphabet="01. \\\x00\t\xa0\x85a", max_size=12).map(lambda text: text.encode("latin-1")),
    st.sampled_from([uid for uid in ODD_UIDS if type(uid) is bytes]),
)
_lo_values = st.one_of(
    st.text(alphabet="ab \\\x00\n\x1bé\xff", max_size=12).map(lambda text: text.encode("latin-1")),
    st.binary(max_size=66),
)
_command_fields = st.sampled_from([0x0100, 0x8100, 0x0130, 0x8130, *_OTHER_COMMAND_FIELDS]).map(
    lambda value: struct.pack("<H", value)
)
_data_set_types = st.sampled_from([b"\x01\x01", b"\x01\x00", b"\x00\x00", b"\x02\x01"])


def _values(element: int) -> st.SearchStrategy[bytes]:
    special = {
        0x0000: st.binary(min_size=4, max_size=4) | st.binary(max_size=6),
        0x0100: _command_fields | _command_fields | _us_values,
        0x0800: _data_set_types | _data_set_types | _us_values,
        0x0902: _lo_values,
    }
    if element in special:
        return special[element]
    return _ui_values if _VR.get(element) == b"UI" else _us_values


_KNOWN = [number for number in ELEMENTS if number]
_UNKNOWN = [0x0001, 0x0003, 0x0600, 0x0700, 0x0901, 0x1001, 0x1005, 0x1008, 0x1021]
_OTHER_GROUPS = sorted({tag for tag in DicomDictionary if tag >> 16})[::97]


def _element(group: int, number: int) -> st.SearchStrategy[Element]:
    vr = st.just(_VR.get(number, b"US")) if group == 0 else st.just(b"LO")
    odd_vr = st.sampled_from([b"US", b"UI", b"LO", b"UN", b"OB", b"ZZ", b"SS"])
    values = _values(number) if group == 0 else st.binary(max_size=8)
    vrs = st.one_of(vr, vr, vr, vr, odd_vr)
    return st.tuples(st.just(group), st.just(number), vrs, values)


known_elements = st.sampled_from(_KNOWN).flatmap(lambda number: _element(0, number))
_group_0000_elements = st.sampled_from(_UNKNOWN).flatmap(lambda number: _element(0, number))
_other_elements = st.sampled_from(_OTHER_GROUPS).flatmap(
    lambda tag: _element(tag >> 16, tag & 0xFFFF)
)
odd_elements = st.one_of(known_elements, _group_0000_elements, _other_elements)


def write_element(element: Element, explicit: bool, length: int | None = None) -> bytes:
    """Return an element in Little Endian; `length` replaces the true length."""
    group, number, vr, value = element
    length = len(value) if length is None else length
    tag = struct.pack("<HH", group, number)
    if not explicit:
        return tag + struct.pack("<I", length) + value
    if vr in (b"OB", b"UN"):
        return tag + vr + b"\x00\x00" + struct.pack("<I", length) + value
    return tag + vr + struct.pack("<H", length & 0xFFFF) + value


@st.composite
def command_sets(
    draw: st.DrawFn,
    known: dict[int, bytes] = ELEMENTS,
    command_fields: tuple[int, int] = (0x0100, 0x8100),
) -> bytes:
    """Command sets: most of a valid message with these elements, some with other elements."""
    usual = [number for number in known if number]
    numbers = draw(st.sampled_from([usual, usual, [0x0100, 0x0800]]))
    elements = [draw(_element(0, number)) for number in numbers]
    if draw(st.sampled_from([True, True, False])):
        command_field = struct.pack("<H", draw(st.sampled_from(command_fields)))
        elements[numbers.index(0x0100)] = (0, 0x0100, b"US", command_field)
    if draw(st.booleans()):
        elements += draw(st.lists(odd_elements, max_size=3))
    if draw(st.booleans()):
        elements = draw(st.permutations(elements))
    if draw(st.booleans()):
        dropped = draw(st.integers(0, len(elements) - 1))
        elements.pop(dropped)
    explicit = draw(st.sampled_from([False, False, False, True]))
    encoded = b"".join(write_element(element, explicit) for element in elements)
    if draw(st.booleans()):
        group_length = (0, 0, b"UL", struct.pack("<I", len(encoded) + draw(st.integers(-1, 1))))
        encoded = write_element(group_length, explicit) + encoded
    return encoded


@st.composite
def broken_bytes(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with changes, truncations, insertions or deletions."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["change", "cut", "insert", "remove", "length"])):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(max_size=9))
            case "remove":
                del data[at : at + draw(st.integers(1, 9))]
            case "length":
                data[at : at + 4] = struct.pack("<I", draw(st.sampled_from([0xFFFFFFFF, 0, 65536])))
    return bytes(data)
