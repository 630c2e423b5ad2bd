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

from fastdimse import N_ACTION, N_EVENT_REPORT, DecodeError
from oracle import (
    decode_command_set,
    encode_command_set,
    encode_p_data,
    keep_configuration,
    observe,
    primitive,
)
from services import EACH_SERVICE, Service
from strategies import broken_bytes, context_ids, max_pdu_lengths, write_element

RESPONSE = {
    "MessageIDBeingRespondedTo": 7,
    "Status": 0x0110,
    "ErrorComment": "processing failure",
    "ErrorID": 3,
}


def request(service: Service) -> dict[str, Any]:
    """Return the attributes of a request."""
    return {
        "MessageID": 7,
        service.sop_class: "1.2.840.10008.1.20.1",
        service.sop_instance: "1.2.840.10008.1.20.1.1",
        service.type_id: 1,
    }


def both(service: Service, row: dict[str, Any]) -> tuple[Any, Any]:
    """Return a row as primitive of fastdimse and of pynetdicom."""
    held = {
        name: io.BytesIO(value) if name in service.streams else value
        for name, value in row.items()
        if value is not None
    }
    ours = service.ours()
    for name, value in held.items():
        setattr(ours, name, value)
    return ours, primitive(service.oracle, **held)


@EACH_SERVICE
@given(data=st.data(), context_id=context_ids, max_pdu_length=max_pdu_lengths)
def test_encode_as_pynetdicom(
    service: Service, data: st.DataObject, context_id: int, max_pdu_length: int
) -> None:
    ours, oracle = both(service, data.draw(service.rows))
    assert ours.encode_command_set() == encode_command_set(oracle)
    encoded = ours.encode_p_data(context_id, max_pdu_length)
    assert encoded == encode_p_data(oracle, context_id, max_pdu_length)


@EACH_SERVICE
def test_encode_p_data_has_pynetdicoms_defaults(service: Service) -> None:
    ours, oracle = both(service, {**request(service), service.information: b"x" * 40_000})
    assert ours.encode_p_data() == encode_p_data(oracle, 1, 16382)


@EACH_SERVICE
@given(data=st.data())
def test_decode_is_the_inverse_of_encode(service: Service, data: st.DataObject) -> None:
    row = data.draw(service.rows)
    ours, _ = both(service, row)
    data_set = row.get(service.information) or row.get(service.reply)
    decoded = service.ours.decode_command_set(ours.encode_command_set(), data_set)
    for name in service.attributes:
        value = getattr(decoded, name)
        if name in service.streams:
            assert (value and value.getvalue()) == data_set
        else:
            assert value == row.get(name)


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


def stricter(service: Service, command_set: bytes) -> bool:
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
    vrs = service.elements
    return any(
        (vrs.get(tag) == b"US" and length % 2)
        or (explicit and tag in vrs and encoded[4:6] != vrs[tag])
        for tag, (length, encoded) in last.items()
    )


def known_elements_of(service: Service, command_set: bytes) -> bytes:
    """Return the command set without elements that the service does not have.

    pynetdicom raises if pydicom cannot convert one of them; fastdimse does not read them.
    """
    elements = _elements(command_set) or []
    return b"".join(encoded for tag, _, encoded in elements if tag in service.elements)


def _same_attributes(service: Service, ours: Any, oracle: Any, data_set: bytes | None) -> None:
    for name in service.attributes:
        one, other = getattr(ours, name), getattr(oracle, name)
        if name in service.streams:
            assert (one and one.getvalue()) == data_set
            assert other.getvalue() == (data_set or b"")
        else:
            assert (type(one), one) == (type(other), other), name


def _compare_decoding(service: Service, command_set: bytes, data_set: bytes | None) -> None:
    oracle = observe(decode_command_set, command_set, data_set)
    # pynetdicom ignores a data set that the command set excludes; fastdimse rejects it.
    accepted = isinstance(oracle.value, service.oracle)
    if accepted and not getattr(oracle.value, service.information).getvalue():
        data_set = None
    ours = observe(service.ours.decode_command_set, command_set, data_set)
    if ours.raised is None:
        if oracle.raised is not None:
            known = known_elements_of(service, command_set)
            oracle = observe(decode_command_set, known, data_set)
        assert oracle.raised is None, oracle.error
        assert not stricter(service, command_set)
        assert isinstance(oracle.value, service.oracle)
        _same_attributes(service, ours.value, oracle.value, data_set)
        of_class = [log for log in oracle.logs if log[0].startswith("pynetdicom")]
        assert [log for log in ours.logs if log[0].startswith("pynetdicom")] == of_class
        return
    assert type(ours.raised) is DecodeError, repr(ours.raised)
    if not isinstance(ours.raised, DecodeError):
        return
    assert ours.raised.offset is None or 0 <= ours.raised.offset <= len(command_set)
    assert ours.raised.code
    if isinstance(oracle.value, service.oracle):
        assert stricter(service, command_set), ours.error
        assert type(ours.raised.offset) is int


data_sets = st.none() | st.binary(min_size=1)


@EACH_SERVICE
@given(data=st.data(), data_set=data_sets, enforced=...)
def test_decode_as_pynetdicom(
    service: Service, data: st.DataObject, data_set: bytes | None, enforced: bool
) -> None:
    command_set = data.draw(service.command_sets)
    with keep_configuration():
        _config.ENFORCE_UID_CONFORMANCE = enforced
        _compare_decoding(service, command_set, data_set)


@EACH_SERVICE
@given(data=st.data(), data_set=data_sets)
def test_decode_broken_bytes(service: Service, data: st.DataObject, data_set: bytes | None) -> None:
    _compare_decoding(service, data.draw(broken_bytes(service.command_sets)), data_set)


@EACH_SERVICE
@given(command_set=st.binary(max_size=200))
def test_decode_any_bytes(service: Service, command_set: bytes) -> None:
    _compare_decoding(service, command_set, None)


def encoded(service: Service, row: dict[str, Any]) -> bytes:
    """Encode the command set of a row with pynetdicom."""
    return encode_command_set(primitive(service.oracle, **row))


@pytest.mark.parametrize("kind", [request, lambda service: RESPONSE], ids=["request", "response"])
@EACH_SERVICE
def test_truncated_at_every_byte(service: Service, kind: Any) -> None:
    whole = encoded(service, kind(service))
    for length in range(len(whole)):
        _compare_decoding(service, whole[:length], None)


@pytest.mark.parametrize("kind", [request, lambda service: RESPONSE], ids=["request", "response"])
@EACH_SERVICE
def test_every_byte_changed(service: Service, kind: Any) -> None:
    whole = encoded(service, kind(service))
    for at in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(whole)
            changed[at] ^= change
            _compare_decoding(service, bytes(changed), None)


def us(number: int, *values: int) -> bytes:
    """Return an element of VR US."""
    value = struct.pack(f"<{len(values)}H", *values)
    return write_element((0, number, b"US", value), explicit=False)


def ui(number: int, value: bytes) -> bytes:
    """Return an element of VR UI."""
    return write_element((0, number, b"UI", value), explicit=False)


def minimal(service: Service) -> bytes:
    """Return the minimum of a request: Command Field and Command Data Set Type."""
    return us(0x0100, service.command_fields[0]) + us(0x0800, 0x0101)


GROUP_LENGTH = write_element((0, 0, b"UL", b"\xff\xff\xff\xff"), explicit=False)


@pytest.mark.parametrize(
    "elements",
    [
        b"",
        us(0x0110, 1) + us(0x0110, 2),
        us(0x0110, 1, 2, 3),
        us(0x0110),
        us(0x1002, 9) + us(0x1008, 9) + us(0x0110, 1),
        GROUP_LENGTH,
        ui(0x1000, b"1.2.3\\1.2.4\x00") + ui(0x1001, b"1.2.3\\1.2.4\x00"),
        ui(0x1000, b"  1.2.3 ") + ui(0x1001, b"  1.2.3 "),
        ui(0x1000, b"") + ui(0x1001, b""),
        ui(0x1000, b"\x00\x00") + ui(0x1001, b"\x00\x00"),
        ui(0x1000, b"1.02.x") + ui(0x1001, b"1.02.x"),
        ui(0x0002, b"1.2") + ui(0x0003, b"1.3\x00"),
        us(0x0900, 0) + us(0x0120, 5),
    ],
)
@EACH_SERVICE
def test_accepted_as_by_pynetdicom(service: Service, elements: bytes) -> None:
    for command_set in (elements + minimal(service), minimal(service) + elements):
        assert isinstance(service.ours.decode_command_set(command_set), service.ours)
        _compare_decoding(service, command_set, None)


@EACH_SERVICE
def test_incomplete_header_at_the_end_is_ignored(service: Service) -> None:
    command_set = minimal(service) + b"\x00\x00\x02\x10\x02\x00\x00"
    assert isinstance(service.ours.decode_command_set(command_set), service.ours)
    _compare_decoding(service, command_set, None)


@EACH_SERVICE
def test_response_with_a_private_status(service: Service) -> None:
    command_set = us(0x0100, service.command_fields[1]) + us(0x0800, 0) + us(0x0900, 0xC000)
    assert service.ours.decode_command_set(command_set).Status == 0xC000
    _compare_decoding(service, command_set, None)


@pytest.mark.parametrize(
    "elements",
    [
        lambda service: b"",
        lambda service: us(0x0100, service.command_fields[0]),
        lambda service: us(0x0800, 0x0101),
        lambda service: us(0x0100) + us(0x0800, 0x0101),
        lambda service: us(0x0100, *service.command_fields) + us(0x0800, 0x0101),
        lambda service: (
            write_element((0, 0, b"UL", b"\x10\x00"), explicit=False) + minimal(service)
        ),
        lambda service: minimal(service) + ui(0x1000, b"1." * 40),
        lambda service: minimal(service) + ui(0x0002, b"\xff\xfe" * 40),
    ],
)
@EACH_SERVICE
def test_rejected_as_by_pynetdicom(service: Service, elements: Any) -> None:
    command_set = elements(service)
    assert observe(decode_command_set, command_set).raised is not None
    with pytest.raises(DecodeError) as caught:
        service.ours.decode_command_set(command_set)
    assert caught.value.reason


@pytest.mark.parametrize(
    "element",
    [
        us(0x0110, 1)[:-1],
        ui(0x1000, b"1.2.3\x00")[:-3],
        struct.pack("<HHI", 0, 0x1000, 0xFFFFFFFF) + b"1.2.3\x00",
        write_element((0, 0x0110, b"US", b"\x01"), explicit=False),
    ],
)
@EACH_SERVICE
def test_stricter_than_pynetdicom(service: Service, element: bytes) -> None:
    offset = len(minimal(service))
    with pytest.raises(DecodeError) as caught:
        service.ours.decode_command_set(minimal(service) + element)
    assert caught.value.offset == offset
    assert f"byte {offset}" in str(caught.value)


@pytest.mark.parametrize("command_field", [0x0030, 0x8030, 0x0001, 0x0140, 0x4242, None])
@EACH_SERVICE
def test_other_message(service: Service, command_field: int | None) -> None:
    # Without a number: a request of the other service.
    other = 0x0230 - service.command_fields[0] if command_field is None else command_field
    command_set = us(0x0100, other) + us(0x0800, 0x0101)
    with pytest.raises(DecodeError, match="Command Field") as caught:
        service.ours.decode_command_set(command_set)
    assert caught.value.code == "command-field"
    assert service.oracle().msg_type in caught.value.reason


@EACH_SERVICE
def test_data_set_without_announcement(service: Service) -> None:
    with pytest.raises(DecodeError, match="Command Data Set Type"):
        service.ours.decode_command_set(minimal(service), b"data set")


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview, np.frombuffer, mmap.mmap])
@EACH_SERVICE
def test_decode_any_buffer(service: Service, buffer: Any) -> None:
    row = {**request(service), service.information: io.BytesIO(b"x")}
    command_set, data_set = encoded(service, row), b"data set"

    def held(data: bytes) -> Any:
        if buffer is np.frombuffer:
            return np.frombuffer(data, dtype="uint8")
        if buffer is mmap.mmap:
            mapped = mmap.mmap(-1, len(data))
            mapped[:] = data
            return mapped
        return buffer(data)

    decoded = service.ours.decode_command_set(held(command_set), held(data_set))
    assert decoded.MessageID == 7
    assert getattr(decoded, service.information).getvalue() == data_set


@pytest.mark.parametrize("wrong", [None, "text", 7, [1, 2]])
@EACH_SERVICE
def test_decode_rejects_other_types(service: Service, wrong: Any) -> None:
    with pytest.raises(TypeError):
        service.ours.decode_command_set(wrong)


@EACH_SERVICE
def test_decode_keeps_the_stream_itself(service: Service) -> None:
    stream = io.BytesIO(b"data set")
    command_set = encoded(service, {**request(service), service.information: stream})
    decoded = service.ours.decode_command_set(command_set, stream)
    assert getattr(decoded, service.information) is stream


@EACH_SERVICE
def test_decode_without_data_set_has_no_stream(service: Service) -> None:
    # A documented difference: pynetdicom has an empty stream there.
    ours = service.ours.decode_command_set(minimal(service))
    assert getattr(ours, service.information) is None
    assert getattr(decode_command_set(minimal(service)), service.information).getvalue() == b""


@pytest.mark.parametrize("base", [N_EVENT_REPORT, N_ACTION])
def test_decode_returns_an_instance_of_the_subclass(base: Any) -> None:
    class Storage(base):
        def __init__(self) -> None:
            super().__init__()
            self.made = True

        @property
        def MessageID(self) -> int | None:
            return super().MessageID

        @MessageID.setter
        def MessageID(self, value: int | None) -> None:
            base.MessageID.__set__(self, None if value is None else value + 1)

    sent = base()
    sent.MessageID = 7
    decoded = Storage.decode_command_set(sent.encode_command_set())
    assert type(decoded) is Storage
    assert decoded.made
    assert decoded.MessageID == 8


@EACH_SERVICE
def test_decoded_uids_are_uids(service: Service) -> None:
    decoded = service.ours.decode_command_set(encoded(service, request(service)))
    uid = getattr(decoded, service.sop_class)
    assert type(uid) is UID
    assert uid.name == "Storage Commitment Push Model SOP Class"
    assert uid is getattr(decoded, service.sop_class)
