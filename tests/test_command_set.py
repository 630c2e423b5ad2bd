"""One message at a time: `encode_command_set`, `encode_p_data` and `decode_command_set`."""

import io
import mmap
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.dimse_primitives import N_EVENT_REPORT as ORACLE

from fastdimse import N_EVENT_REPORT, DecodeError
from oracle import (
    decode_command_set,
    encode_command_set,
    encode_p_data,
    keep_configuration,
    observe,
    primitive,
)
from strategies import (
    COLUMNS,
    broken_bytes,
    command_sets,
    context_ids,
    max_pdu_lengths,
    rows,
    write_element,
)

STREAMS = ("EventInformation", "EventReply")
REQUEST = {
    "MessageID": 7,
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": 1,
}
RESPONSE = {
    "MessageIDBeingRespondedTo": 7,
    "Status": 0x0110,
    "ErrorComment": "processing failure",
    "ErrorID": 3,
}
ELEMENTS = {0x0000, 0x0002, 0x0902, 0x1000}
US_ELEMENTS = {0x0100, 0x0110, 0x0120, 0x0800, 0x0900, 0x0903, 0x1002}
ELEMENTS |= US_ELEMENTS
VRS = {0x0000: b"UL", 0x0002: b"UI", 0x0902: b"LO", 0x1000: b"UI"}
"""The VRs of PS3.7 E.1 other than US."""


def both(row: dict[str, Any]) -> tuple[N_EVENT_REPORT, ORACLE]:
    """Return a row as primitive of fastdimse and of pynetdicom."""
    held = {
        name: io.BytesIO(value) if name in STREAMS else value
        for name, value in row.items()
        if value is not None
    }
    ours = N_EVENT_REPORT()
    for name, value in held.items():
        setattr(ours, name, value)
    return ours, primitive(**held)


@given(row=rows, context_id=context_ids, max_pdu_length=max_pdu_lengths)
def test_encode_as_pynetdicom(row: dict[str, Any], context_id: int, max_pdu_length: int) -> None:
    ours, oracle = both(row)
    assert ours.encode_command_set() == encode_command_set(oracle)
    encoded = ours.encode_p_data(context_id, max_pdu_length)
    assert encoded == encode_p_data(oracle, context_id, max_pdu_length)


def test_encode_p_data_has_pynetdicoms_defaults() -> None:
    ours, oracle = both({**REQUEST, "EventInformation": b"x" * 40_000})
    assert ours.encode_p_data() == encode_p_data(oracle, 1, 16382)


@given(row=rows)
def test_decode_is_the_inverse_of_encode(row: dict[str, Any]) -> None:
    ours, _ = both(row)
    data_set = row["EventInformation"] or row["EventReply"]
    decoded = N_EVENT_REPORT.decode_command_set(ours.encode_command_set(), data_set)
    for name in COLUMNS:
        value = getattr(decoded, name)
        if name in STREAMS:
            assert (value and value.getvalue()) == data_set
        else:
            assert value == row[name]


# Decoding any bytes.


def _elements(command_set: bytes) -> list[tuple[int, int, bytes]] | None:
    """Yield Implicit or Explicit VR elements (PS3.5 7.1): tag, value length, all bytes.

    ``None`` if a value exceeds the end or has undefined length.
    """
    explicit = command_set[4:6].isalpha() and command_set[4:6].isupper()
    at, found = 0, []
    while at + 8 <= len(command_set):
        group, number, length = struct.unpack_from("<HHI", command_set, at)
        vr, begin = command_set[at + 4 : at + 6], at + 8
        if (group, number) == (0xFFFE, 0xE00D):
            break
        if explicit and vr.isalpha() and vr.isupper():
            if vr in LONG_VRS:
                if at + 12 > len(command_set):
                    return None
                length, begin = struct.unpack_from("<I", command_set, at + 8)[0], at + 12
            else:
                length = length >> 16
        if begin + length > len(command_set):
            return None
        found.append((group << 16 | number, length, command_set[at : begin + length]))
        at = begin + length
    return found


LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT"}
LONG_VRS |= {b"UV"}
"""VRs with a length of four bytes (PS3.5 7.1.2)."""


def stricter(command_set: bytes) -> bool:
    """Return whether fastdimse rejects a command set that pynetdicom can accept.

    The only cases are a value that exceeds the end, one of undefined length, an incomplete US, and
    an Explicit VR other than the standard's.
    """
    elements = _elements(command_set)
    if elements is None:
        return True
    explicit = command_set[4:6].isalpha() and command_set[4:6].isupper()
    # The last of repeated elements counts.
    last = {tag: (length, encoded) for tag, length, encoded in elements}
    return any(
        (tag in US_ELEMENTS and length % 2)
        or (explicit and tag in ELEMENTS and encoded[4:6] != VRS.get(tag, b"US"))
        for tag, (length, encoded) in last.items()
    )


def known_elements_of(command_set: bytes) -> bytes:
    """Return the command set without elements that N-EVENT-REPORT does not have.

    pynetdicom raises if pydicom cannot convert one of them; fastdimse does not read them.
    """
    elements = _elements(command_set) or []
    return b"".join(encoded for tag, _, encoded in elements if tag in ELEMENTS)


def _same_attributes(ours: N_EVENT_REPORT, oracle: ORACLE, data_set: bytes | None) -> None:
    for name in COLUMNS:
        one, other = getattr(ours, name), getattr(oracle, name)
        if name in STREAMS:
            assert (one and one.getvalue()) == data_set
            assert other.getvalue() == (data_set or b"")
        else:
            assert (type(one), one) == (type(other), other), name


def _compare_decoding(command_set: bytes, data_set: bytes | None) -> None:
    oracle = observe(decode_command_set, command_set, data_set)
    # pynetdicom ignores a data set that the command set excludes; fastdimse rejects it.
    if isinstance(oracle.value, ORACLE) and not oracle.value.EventInformation.getvalue():
        data_set = None
    ours = observe(N_EVENT_REPORT.decode_command_set, command_set, data_set)
    if ours.raised is None:
        if oracle.raised is not None:
            oracle = observe(decode_command_set, known_elements_of(command_set), data_set)
        assert oracle.raised is None, oracle.error
        assert not stricter(command_set)
        assert isinstance(oracle.value, ORACLE)
        _same_attributes(ours.value, oracle.value, data_set)
        of_class = [log for log in oracle.logs if log[0].startswith("pynetdicom")]
        assert [log for log in ours.logs if log[0].startswith("pynetdicom")] == of_class
        return
    assert type(ours.raised) is DecodeError, repr(ours.raised)
    if not isinstance(ours.raised, DecodeError):
        return
    assert ours.raised.offset is None or 0 <= ours.raised.offset <= len(command_set)
    assert ours.raised.code
    if isinstance(oracle.value, ORACLE):
        assert stricter(command_set), ours.error
        assert type(ours.raised.offset) is int


@given(command_set=command_sets(), data_set=st.none() | st.binary(min_size=1), enforced=...)
def test_decode_as_pynetdicom(command_set: bytes, data_set: bytes | None, enforced: bool) -> None:
    with keep_configuration():
        _config.ENFORCE_UID_CONFORMANCE = enforced
        _compare_decoding(command_set, data_set)


@given(command_set=broken_bytes(command_sets()), data_set=st.none() | st.binary(min_size=1))
def test_decode_broken_bytes(command_set: bytes, data_set: bytes | None) -> None:
    _compare_decoding(command_set, data_set)


@given(command_set=st.binary(max_size=200))
def test_decode_any_bytes(command_set: bytes) -> None:
    _compare_decoding(command_set, None)


def encoded(row: dict[str, Any]) -> bytes:
    """Encode the command set of a row with pynetdicom."""
    return encode_command_set(primitive(**row))


@pytest.mark.parametrize("row", [REQUEST, RESPONSE], ids=["request", "response"])
def test_truncated_at_every_byte(row: dict[str, Any]) -> None:
    whole = encoded(row)
    for length in range(len(whole)):
        _compare_decoding(whole[:length], None)


@pytest.mark.parametrize("row", [REQUEST, RESPONSE], ids=["request", "response"])
def test_every_byte_changed(row: dict[str, Any]) -> None:
    whole = encoded(row)
    for at in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(whole)
            changed[at] ^= change
            _compare_decoding(bytes(changed), None)


def us(number: int, *values: int) -> bytes:
    """Return an element of VR US."""
    value = struct.pack(f"<{len(values)}H", *values)
    return write_element((0, number, b"US", value), explicit=False)


def ui(number: int, value: bytes) -> bytes:
    """Return an element of VR UI."""
    return write_element((0, number, b"UI", value), explicit=False)


MINIMAL = us(0x0100, 0x0100) + us(0x0800, 0x0101)
"""The minimum of a request: Command Field and Command Data Set Type."""


@pytest.mark.parametrize(
    "command_set",
    [
        MINIMAL,
        MINIMAL + us(0x0110, 1) + us(0x0110, 2),
        MINIMAL + us(0x0110, 1, 2, 3),
        MINIMAL + us(0x0110),
        us(0x1002, 9) + us(0x0110, 1) + MINIMAL,
        write_element((0, 0, b"UL", b"\xff\xff\xff\xff"), explicit=False) + MINIMAL,
        MINIMAL + ui(0x1000, b"1.2.3\\1.2.4\x00"),
        MINIMAL + ui(0x1000, b"  1.2.3 "),
        MINIMAL + ui(0x1000, b""),
        MINIMAL + ui(0x1000, b"\x00\x00"),
        MINIMAL + ui(0x1000, b"1.02.x"),
        MINIMAL + b"\x00\x00\x02\x10\x02\x00\x00",
        MINIMAL + us(0x0900, 0) + us(0x0120, 5),
        us(0x0100, 0x8100) + us(0x0800, 0) + us(0x0900, 0xC000),
    ],
)
def test_accepted_as_by_pynetdicom(command_set: bytes) -> None:
    assert isinstance(N_EVENT_REPORT.decode_command_set(command_set), N_EVENT_REPORT)
    _compare_decoding(command_set, None)


@pytest.mark.parametrize(
    "command_set",
    [
        b"",
        us(0x0100, 0x0100),
        us(0x0800, 0x0101),
        us(0x0100) + us(0x0800, 0x0101),
        us(0x0100, 0x0100, 0x8100) + us(0x0800, 0x0101),
        write_element((0, 0, b"UL", b"\x10\x00"), explicit=False) + MINIMAL,
        MINIMAL + ui(0x1000, b"1." * 40),
        MINIMAL + ui(0x0002, b"\xff\xfe" * 40),
    ],
)
def test_rejected_as_by_pynetdicom(command_set: bytes) -> None:
    assert observe(decode_command_set, command_set).raised is not None
    with pytest.raises(DecodeError) as caught:
        N_EVENT_REPORT.decode_command_set(command_set)
    assert caught.value.reason


@pytest.mark.parametrize(
    ("command_set", "offset"),
    [
        (MINIMAL + us(0x0110, 1)[:-1], len(MINIMAL)),
        (MINIMAL + ui(0x1000, b"1.2.3\x00")[:-3], len(MINIMAL)),
        (MINIMAL + struct.pack("<HHI", 0, 0x1000, 0xFFFFFFFF) + b"1.2.3\x00", len(MINIMAL)),
        (MINIMAL + write_element((0, 0x0110, b"US", b"\x01"), explicit=False), len(MINIMAL)),
    ],
)
def test_stricter_than_pynetdicom(command_set: bytes, offset: int) -> None:
    with pytest.raises(DecodeError) as caught:
        N_EVENT_REPORT.decode_command_set(command_set)
    assert caught.value.offset == offset
    assert f"byte {offset}" in str(caught.value)


@pytest.mark.parametrize("command_field", [0x0030, 0x8030, 0x0001, 0x0130, 0x4242])
def test_other_message(command_field: int) -> None:
    command_set = us(0x0100, command_field) + us(0x0800, 0x0101)
    with pytest.raises(DecodeError, match="Command Field") as caught:
        N_EVENT_REPORT.decode_command_set(command_set)
    assert caught.value.code == "command-field"


def test_data_set_without_announcement() -> None:
    with pytest.raises(DecodeError, match="Command Data Set Type"):
        N_EVENT_REPORT.decode_command_set(MINIMAL, b"data set")


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview, np.frombuffer, mmap.mmap])
def test_decode_any_buffer(buffer: Any) -> None:
    command_set, data_set = encoded({**REQUEST, "EventInformation": io.BytesIO(b"x")}), b"data set"

    def held(data: bytes) -> Any:
        if buffer is np.frombuffer:
            return np.frombuffer(data, dtype="uint8")
        if buffer is mmap.mmap:
            mapped = mmap.mmap(-1, len(data))
            mapped[:] = data
            return mapped
        return buffer(data)

    decoded = N_EVENT_REPORT.decode_command_set(held(command_set), held(data_set))
    assert decoded.MessageID == 7
    assert decoded.EventInformation.getvalue() == data_set


@pytest.mark.parametrize("wrong", [None, "text", 7, [1, 2]])
def test_decode_rejects_other_types(wrong: Any) -> None:
    with pytest.raises(TypeError):
        N_EVENT_REPORT.decode_command_set(wrong)


def test_decode_keeps_the_stream_itself() -> None:
    stream = io.BytesIO(b"data set")
    command_set = encoded({**REQUEST, "EventInformation": stream})
    decoded = N_EVENT_REPORT.decode_command_set(command_set, stream)
    assert decoded.EventInformation is stream


def test_decode_without_data_set_has_no_stream() -> None:
    # A documented difference: pynetdicom has an empty stream there.
    assert N_EVENT_REPORT.decode_command_set(MINIMAL).EventInformation is None
    assert decode_command_set(MINIMAL).EventInformation.getvalue() == b""


def test_decode_returns_an_instance_of_the_subclass() -> None:
    class Storage(N_EVENT_REPORT):
        def __init__(self) -> None:
            super().__init__()
            self.made = True

        @property
        def MessageID(self) -> int | None:
            return super().MessageID

        @MessageID.setter
        def MessageID(self, value: int | None) -> None:
            N_EVENT_REPORT.MessageID.__set__(self, None if value is None else value + 1)

    decoded = Storage.decode_command_set(encoded(REQUEST))
    assert type(decoded) is Storage
    assert decoded.made
    assert decoded.MessageID == 8


def test_decoded_uids_are_uids() -> None:
    decoded = N_EVENT_REPORT.decode_command_set(encoded(REQUEST))
    assert type(decoded.AffectedSOPClassUID) is UID
    assert decoded.AffectedSOPClassUID.name == "Storage Commitment Push Model SOP Class"
    assert decoded.AffectedSOPClassUID is decoded.AffectedSOPClassUID
