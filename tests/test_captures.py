"""Captures are read and written: damaged packets and rows of every kind, without Wireshark."""

import datetime as dt
import io
import mmap
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

import pcap
from fastdimse import (
    ColumnError,
    DecodeError,
    EncodeError,
    Fault,
    decode_capture,
    encode_capture,
)
from oracle import decode_stream, split_pdus
from strategies import COLUMNS, comments, data_sets, rows, uids, unsigned_shorts
from test_bulk_encode import EVENTS, rows_of, to_oracle, to_ours

REAL = Path(__file__).parent.parent / "examples" / "orthanc-storage-commitment.pcap"
SOP_CLASS = "1.2.840.10008.1.20.1"
# The elements after the group length at the start of command sets (PS3.7 E.1).
REQUEST, RESPONSE = (b"\x00\x00\x00\x01\x02\x00\x00\x00\x00" + high for high in (b"\x01", b"\x81"))
EVENT = {
    "MessageID": [7],
    "AffectedSOPClassUID": [SOP_CLASS],
    "AffectedSOPInstanceUID": ["1.2.3"],
    "EventTypeID": [1],
    "EventInformation": [b"information"],
    "Status": [0x0110],
    "ErrorComment": ["no such event"],
    "ErrorID": [3],
    "EventReply": [b"reply"],
}
ASSOCIATE_OR_RELEASE = (b"\x01\x00", b"\x02\x00", b"\x05\x00", b"\x06\x00")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Table = list[dict[str, Any]]


def read(capture: Any) -> Table:
    """Return the rows of a capture, with times as numbers."""
    table = pa.table(decode_capture(capture))
    for name in ("Time", "Latency"):
        numbers = table[name].cast(pa.int64())
        table = table.set_column(table.column_names.index(name), name, numbers)
    found: Table = table.to_pylist()
    return found


def without(table: Table, *names: str) -> Table:
    """Return rows without some columns."""
    return [{name: row[name] for name in row if name not in names} for row in table]


PACKETS = pcap.read(REAL.read_bytes())


def write(packets: list[pcap.Packet]) -> bytes:
    """Return a .pcap file of packets with times in nanoseconds."""
    return pcap.write(packets, unit=1)


# -------------------------------------------------------- formats of files and frames


SLL = bytes(6) + bytes(8) + b"\x08\x00"
SLL2 = b"\x08\x00" + bytes(18)
VLAN = bytes(12) + b"\x81\x00\x00\x07\x08\x00"
QINQ = bytes(12) + b"\x88\xa8\x00\x05\x81\x00\x00\x07\x08\x00"


@pytest.mark.parametrize(
    ("link", "header"),
    [
        (pcap.RAW, b""),
        (228, b""),
        (12, b""),
        (pcap.LOOPBACK, b"\x02\x00\x00\x00"),
        (108, b"\x00\x00\x00\x02"),
        (pcap.LINUX_COOKED, SLL),
        (pcap.LINUX_COOKED_2, SLL2),
        (pcap.ETHERNET, VLAN),
        (pcap.ETHERNET, QINQ),
    ],
)
def test_link_layers(link, header):
    whole = read(pcap.write(PACKETS))
    assert len(whole) == 24
    assert read(pcap.write(pcap.with_header(PACKETS, header), link=link)) == whole


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_orders_and_units_of_time(order):
    whole = read(pcap.write(PACKETS))
    assert read(pcap.write(PACKETS, order=order)) == whole
    finer = [replace(packet, time=packet.time + 7) for packet in PACKETS]
    later = [{**row, "Time": row["Time"] + 7} for row in whole]
    assert read(pcap.write(finer, order=order, unit=1)) == later
    assert read(pcap.pcapng(PACKETS, order=order)) == whole
    assert read(pcap.pcapng(finer, order=order, resolution=9)) == later
    assert read(pcap.pcapng(finer, order=order, resolution=6)) == whole
    # Two sections with different byte orders.
    other = "<" if order == ">" else ">"
    both = pcap.pcapng(PACKETS[:300], order=order) + pcap.pcapng(PACKETS[300:], order=other)
    assert read(both) == whole


def test_any_buffer(tmp_path):
    file = pcap.write(PACKETS)
    whole = read(file)
    path = tmp_path / "capture.pcap"
    path.write_bytes(file)
    with path.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        assert read(mapped) == whole
    for buffer in (bytearray(file), memoryview(b"?" + file)[1:], io.BytesIO(file).getbuffer()):
        assert read(buffer) == whole
    for other in ("text", 7, None):
        with pytest.raises(TypeError):
            decode_capture(other)


# ---------------------------------------------------- lost, repeated and reordered packets


ORDERS = st.permutations(range(614))


@settings(max_examples=20)
@given(order=ORDERS, again=st.lists(st.integers(0, 613), max_size=50))
def test_order_and_copies_do_not_matter(order, again):
    """Packets can be in any order, and repeated."""
    copies = [replace(PACKETS[index], time=PACKETS[index].time + 10**9) for index in again]
    mangled = [*(PACKETS[index] for index in order), *copies]
    found = decode_capture(write(mangled))
    assert len(found.faults) == 0
    numbers = ("Frame", "Association")
    assert without(read(write(mangled)), *numbers) == without(read(write(PACKETS)), *numbers)


@settings(max_examples=20)
@given(data=st.data())
def test_other_segmentation(data):
    """Segments are divided in other ways, overlap, and have sequence numbers that wrap around."""
    by = data.draw(st.integers(0, 2**32 - 1))
    mangled = []
    for packet in PACKETS:
        moved = packet.moved(by)
        length = len(packet.payload)
        if not length or packet.flags & pcap.SYN:
            mangled.append(moved)
            continue
        cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=2)))
        for begin, end in zip([0, *cuts], [*cuts, length], strict=True):
            overlap = data.draw(st.integers(0, begin))
            mangled.append(moved.part(overlap, end))
    assert without(read(write(mangled)), "Frame") == without(read(write(PACKETS)), "Frame")
    assert len(decode_capture(write(mangled)).faults) == 0


def messages(packets: list[pcap.Packet], field: bytes) -> dict[int, pcap.Packet]:
    """Return the packets with a message by the port of Orthanc."""
    port = 0 if field == REQUEST else 1
    return {packet.ports[port]: packet for packet in packets if field in packet.payload}


def check_remaining_messages(left: list[pcap.Packet]) -> None:
    """Check that each message in the remaining packets is read, with its response if present.

    Each message of the real capture is in one packet, except the headers of the first PDU of a
    request: Orthanc sends these twelve bytes in a packet before it.
    """
    whole = {row["SourcePort"]: row for row in read(write(PACKETS))}
    found = decode_capture(write(left))
    kept = {
        port: packet
        for port, packet in messages(left, REQUEST).items()
        if any(one.ports[0] == port and len(one.payload) == 12 for one in left)
    }
    answers = messages(left, RESPONSE)
    read_left = read(write(left))
    requests = {row["SourcePort"]: row for row in read_left if row["MessageID"] is not None}
    alone = {row["DestinationPort"]: row for row in read_left if row["MessageID"] is None}
    assert set(requests) == set(kept)
    assert set(alone) == set(answers) - set(kept)
    same = [*COLUMNS, "Time", "Latency", "PresentationContextID", "SourceAddress"]
    unanswered = dict.fromkeys(["Latency", "Status", "ErrorComment", "ErrorID", "EventReply"])
    for port, row in requests.items():
        expected = whole[port] if port in answers else {**whole[port], **unanswered}
        assert {name: row[name] for name in same} == {name: expected[name] for name in same}
    for port, row in alone.items():
        assert (row["MessageIDBeingRespondedTo"], row["Status"]) == (1, 0)
        assert row["Time"] == answers[port].time
        assert row["AffectedSOPInstanceUID"] == whole[port]["AffectedSOPInstanceUID"]
    codes_found = {fault.code for fault in found.faults}
    actions_alone = [pair for pair in found.actions if pair[0] is None]
    assert ("no-request" in codes_found) == bool(alone or actions_alone)
    assert ("no-association" in codes_found) == (found.associations == 0)
    ends = {end for fault in found.faults for end in (fault.source, fault.destination)}
    for port in set(whole) - set(requests):
        assert f"127.0.0.1:{port}" in ends or not is_visibly_lost(left, port)


def is_visibly_lost(left: list[pcap.Packet], port: int) -> bool:
    """Return whether the remaining packets show that there was a request from a port.

    They do not if the capture ends before it, or if no packet identifies the stream as DICOM.
    """
    [begin] = [
        packet.numbers[0]
        for packet in PACKETS
        if packet.ports[0] == port and len(packet.payload) == 12
    ]
    association = [packet for packet in left if port in packet.ports]
    is_dicom = any(
        packet.payload.startswith(ASSOCIATE_OR_RELEASE) or RESPONSE in packet.payload
        for packet in association
    )
    known = [
        packet.numbers[0] + len(packet.payload) if packet.ports[0] == port else packet.numbers[1]
        for packet in association
    ]
    return is_dicom and max(known) > begin


@settings(max_examples=30)
@given(lost=st.sets(st.integers(0, 613), max_size=100))
def test_lost_packets(lost):
    left = [packet for index, packet in enumerate(PACKETS) if index not in lost]
    check_remaining_messages(left)


@settings(max_examples=20)
@given(begin=st.integers(0, 614), end=st.integers(0, 614))
def test_capture_of_a_part(begin, end):
    check_remaining_messages(PACKETS[begin:end])


@settings(max_examples=20)
@given(length=st.integers(54, 1500))
def test_a_short_snapshot_length(length):
    cut = [packet.cut(length) for packet in PACKETS]
    whole = [packet for packet, short in zip(PACKETS, cut, strict=True) if packet == short]
    found = decode_capture(write(cut))
    requests = {row["Time"] for row in read(write(cut)) if row["MessageID"] is not None}
    assert requests == {packet.time for packet in messages(whole, REQUEST).values()}
    cuts = [fault for fault in found.faults if fault.code == "snapshot-length"]
    cut_short = [short for short in cut if short.length > max(length, 66)]
    if length >= 74:
        assert len(cut_short) > 0
        # One fault for each direction has the number of its segments.
        directions = {(packet.ports) for packet in cut_short}
        assert len(cuts) == len(directions)
        segments = sum(int(fault.reason.split()[0]) for fault in cuts)
        assert segments == len(cut_short)
        assert {fault.code for fault in found.faults} <= {"snapshot-length", "no-request"}
    else:
        # The options of TCP are not captured either.
        assert "headers-cut" in {fault.code for fault in found.faults}


def test_positions_of_faults():
    """The only faults are a lost response and a lost part of a request."""
    whole = read(write(PACKETS))
    lost_request, lost_answer = whole[2], whole[5]
    answer = messages(PACKETS, RESPONSE)[lost_answer["SourcePort"]]
    gone = [PACKETS[lost_request["Frame"] - 1], answer]
    found = decode_capture(write([packet for packet in PACKETS if packet not in gone]))
    streams = {lost_request["Association"], lost_answer["Association"]}
    assert {fault.stream for fault in found.faults} == streams
    in_answer = [one for one in found.faults if one.stream == lost_answer["Association"]]
    [fault] = in_answer
    assert fault.code == "missing-bytes"
    assert str(len(answer.payload)) in fault.reason
    assert fault.source == f"127.0.0.1:{answer.ports[0]}"
    assert fault.destination == f"127.0.0.1:{answer.ports[1]}"
    # The first byte of the stream has the number 1.
    [syn] = [
        packet for packet in PACKETS if packet.ports == answer.ports and packet.flags & pcap.SYN
    ]
    assert fault.offset == answer.numbers[0] - syn.numbers[0] - 1
    assert str(fault).startswith(f"stream {fault.stream} from {fault.source}")
    assert repr(fault) == f"<Fault: {fault}>"
    table = pa.table(found.faults)
    assert table.to_pylist() == [
        {name: getattr(fault, name) for name in table.column_names} for fault in found.faults
    ]
    with pytest.raises(DecodeError) as caught:
        decode_capture(
            write([packet for packet in PACKETS if packet not in gone]), on_invalid="raise"
        )
    error = caught.value
    first = found.faults[0]
    assert (error.code, error.reason, error.offset) == (first.code, first.reason, first.offset)
    assert (error.stream, error.frame, error.row) == (first.stream, first.frame, None)
    assert str(error) == str(first)
    assert pa.table(error.events) == pa.table(found)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (b"", "not-a-capture"),
        (b"no capture at all", "not-a-capture"),
        (b"\xd4\xc3\xb2\xa1", "not-a-capture"),
        (pcap.write([]), "no-association"),
        (pcap.write([])[:-1] + b"\0" + b"\0" * 15, "file-ends"),
        (b"\x0a\x0d\x0d\x0a", "file-ends"),
        (b"\x0a\x0d\x0d\x0a" + b"\x1c\0\0\0" + bytes(20), "no-packet"),
        (pcap.write([pcap.Packet(0, b"?" * 60, 60)], link=147), "link-type"),
        (pcap.write([pcap.Packet(0, b"E" + b"?" * 7, 60)], link=pcap.RAW), "headers-cut"),
        (
            pcap.write(
                [pcap.Packet(0, b"E\0\0\x28\0\0\x20\0\x40\x06" + bytes(30), 40)], link=pcap.RAW
            ),
            "ip-fragments",
        ),
    ],
)
def test_files_without_dicom(file, code):
    if code == "not-a-capture":
        for on_invalid in ("skip", "raise"):
            with pytest.raises(DecodeError, match="not a capture") as caught:
                decode_capture(file, on_invalid=on_invalid)
            assert (caught.value.code, caught.value.events) == (code, None)
        return
    found = decode_capture(file)
    assert len(found) == 0
    assert [fault.code for fault in found.faults if fault.code != "no-association"] == [
        one for one in (code,) if one != "no-association"
    ]
    assert "no-association" in {fault.code for fault in found.faults}
    assert all(isinstance(fault, Fault) for fault in found.faults)
    assert pa.table(found.faults).num_rows == len(found.faults)


def stream_of(*pdus: bytes, answers: bytes = b"") -> bytes:
    """Return a TCP connection: SYN, a segment for each PDU, then the responses."""
    ends = [(b"\x0a\0\0\x01", 1024), (b"\x0a\0\0\x02", 104)]
    due = [100, 200]
    found = []

    def send(side: int, flags: int, payload: bytes = b"") -> None:
        (source, source_port), (destination, destination_port) = ends[side], ends[1 - side]
        ip = struct.pack(">BBHIBBH", 0x45, 0, 40 + len(payload), 0, 64, pcap.TCP, 0)
        tcp = struct.pack(
            ">HHIIBBHI", source_port, destination_port, due[side], 0, 0x50, flags, 9999, 0
        )
        data = ip + source + destination + tcp + payload
        found.append(pcap.Packet(len(found) * 10**6, data, len(data)))
        due[side] += len(payload) + (flags & pcap.SYN != 0)

    send(0, pcap.SYN)
    send(1, pcap.SYN | pcap.ACK)
    for pdu in pdus:
        send(0, pcap.ACK, pdu)
    if answers:
        send(1, pcap.ACK, answers)
    return pcap.write(found, link=pcap.RAW)


def associate(**options: Any) -> tuple[bytes, bytes, bytes, bytes]:
    """Return A-ASSOCIATE-RQ, A-ASSOCIATE-AC, and the messages of an event and its response."""
    written = pcap.read(bytes(encode_capture(EVENT, **options)))
    request, accept, *rest = (packet.payload for packet in written if packet.payload)
    sent = b"".join(part for part in rest[:-2] if REQUEST in part or b"information" in part)
    answered = b"".join(rest[:-2])[len(sent) :]
    return request, accept, sent, answered


def test_faults_inside_an_association():
    request, accept, sent, answered = associate()
    good = read(stream_of(request, sent, answers=accept + answered))
    assert [(row["MessageID"], row["Status"]) for row in good] == [(7, 0x0110)]

    def codes(file: bytes) -> list[str]:
        return [fault.code for fault in decode_capture(file).faults]

    # Invalid bytes between two messages.
    assert codes(stream_of(request, b"\xffgarbage", sent)) == ["pdu-type"]
    assert len(read(stream_of(request, b"\xffgarbage", sent))) == 1
    # A request without a response, and an incomplete one.
    release = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
    command = next(split_pdus(sent))
    assert codes(stream_of(request, command, release)) == ["association-ends"]
    assert codes(stream_of(request, command)) == ["stream-ends"]
    assert codes(stream_of(request, sent[:-1])) == ["truncated"]
    # A response to another request, and one whose fields differ from its request.
    assert codes(stream_of(request, answers=accept + answered)) == ["no-request"]
    [fault] = decode_capture(
        stream_of(request, sent.replace(b"1.2.3\0", b"1.2.4\0"), answers=accept + answered)
    ).faults
    assert (fault.code, fault.field) == ("differs", "AffectedSOPInstanceUID")
    assert "'1.2.3'" in fault.reason
    assert "'1.2.4'" in fault.reason
    # An invalid item in the A-ASSOCIATE-AC; the AE titles and the events are read.
    broken = accept.replace(b"\x40\x00", b"\x49\x00", 1)
    found = decode_capture(stream_of(request, sent, answers=broken + answered))
    assert [fault.code for fault in found.faults] == ["associate"]
    [row] = pa.table(found).to_pylist()
    assert (row["CallingAETitle"], row["TransferSyntaxUID"]) == ("EVENT-SCP", None)
    # Fields that are not significant are no faults.
    unknown = accept.replace(b"\x55\x00", b"\x77\x00", 1)
    assert unknown != accept
    assert codes(stream_of(request, sent, answers=unknown + answered)) == []
    # Streams of other protocols are ignored.
    assert codes(stream_of(b"GET / HTTP/1.1\r\n", answers=b"HTTP/1.1 404\r\n")) == [
        "no-association"
    ]


def test_repeated_message_ids():
    request, accept, sent, answered = associate()
    twice = stream_of(request, sent, sent, answers=accept + answered)
    first, second = read(twice)
    # The first request counts as lost when its Message ID is used again.
    assert (first["Status"], second["Status"]) == (None, 0x0110)
    requests = {**EVENT, "MessageID": [7] * 300}
    many = {name: values * 300 if len(values) == 1 else values for name, values in requests.items()}
    many["ErrorID"] = list(range(300))
    assert [row["ErrorID"] for row in read(encode_capture(many))] == list(range(300))


def test_rows_as_pynetdicom():
    """Each row has the values that pynetdicom decodes from the two streams."""
    streams: dict[tuple[int, int], bytes] = {}
    for packet in PACKETS:
        streams[packet.ports] = streams.get(packet.ports, b"") + packet.payload
    found = decode_capture(pcap.write(PACKETS))
    assert len(found) == len(list(found)) == 24
    for row, (request, response) in zip(pa.table(found).to_pylist(), found, strict=True):
        ports = (row["SourcePort"], row["DestinationPort"])
        [sent] = decode_stream(streams[ports])
        [answered] = decode_stream(streams[ports[::-1]])
        for name in COLUMNS:
            for ours, oracle in ((request, sent), (response, answered)):
                one, other = getattr(ours, name), getattr(oracle, name)
                if name in ("EventInformation", "EventReply"):
                    assert (one.getvalue() if one else b"") == other.getvalue()
                else:
                    assert one == other
    with pytest.raises(IndexError):
        found[24]
    request, response = found[-1]
    assert (request.MessageID, response.Status) == (1, 0)


# --------------------------------------------------------------------------------- writing


TITLES = st.text("ABCDEFGHIJ_0123456789", min_size=1, max_size=16)
V4, V6 = st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)


@st.composite
def associations(draw: st.DrawFn) -> dict[str, Any]:
    """The columns that the events of an association share."""
    addresses = draw(st.sampled_from([V4, V6]))
    ports = draw(st.lists(unsigned_shorts, min_size=2, max_size=2, unique=True))
    return {
        "SourceAddress": draw(addresses),
        "SourcePort": ports[0],
        "DestinationAddress": draw(addresses),
        "DestinationPort": ports[1],
        "CallingAETitle": draw(TITLES),
        "CalledAETitle": draw(TITLES),
    }


@st.composite
def captured(draw: st.DrawFn) -> Table:
    """Rows of a capture, in the order of their times."""
    ends = draw(
        st.lists(
            associations(),
            min_size=1,
            max_size=4,
            unique_by=lambda one: frozenset(
                [
                    (one["SourceAddress"], one["SourcePort"]),
                    (one["DestinationAddress"], one["DestinationPort"]),
                ]
            ),
        )
    )
    contexts = {
        (number, context): draw(uids)
        for number in range(len(ends))
        for context in draw(st.sets(st.integers(0, 127), min_size=1, max_size=3))
    }
    time, table = draw(st.integers(0, 2**61)), []
    for message_id in draw(st.lists(unsigned_shorts, min_size=1, max_size=12, unique=True)):
        time += draw(st.integers(1, 10**10))
        number, context = draw(st.sampled_from(sorted(contexts)))
        row = {
            **ends[number],
            "Association": number,
            "Time": time,
            "PresentationContextID": 2 * context + 1,
            "TransferSyntaxUID": contexts[number, context],
            "MessageID": message_id,
            "MessageIDBeingRespondedTo": None,
            "AffectedSOPClassUID": draw(uids),
            "AffectedSOPInstanceUID": draw(uids),
            "EventTypeID": draw(unsigned_shorts),
            "EventInformation": draw(data_sets),
            "Status": draw(st.none() | unsigned_shorts),
            "ErrorComment": None,
            "ErrorID": None,
            "EventReply": None,
            "Latency": None,
        }
        if draw(st.integers(0, 4)) == 0:
            # A response without a request.
            row["MessageIDBeingRespondedTo"], row["MessageID"] = message_id, None
            row["EventInformation"] = None
            row["Status"] = draw(unsigned_shorts)
        elif row["Status"] is not None:
            row["Latency"] = draw(st.integers(0, 10**12))
        if row["Status"] is not None:
            row["ErrorComment"] = draw(st.none() | comments.filter(bool))
            row["ErrorID"] = draw(st.none() | unsigned_shorts)
            row["EventReply"] = draw(data_sets)
        if draw(st.integers(0, 3)) == 0:
            # Both applications can send events.
            for name in ("Address", "Port"):
                row[f"Source{name}"], row[f"Destination{name}"] = (
                    row[f"Destination{name}"],
                    row[f"Source{name}"],
                )
        table.append(row)
    return table


def with_addresses(table: Table) -> Table:
    """Return rows with parsed addresses, because an IPv6 address has several texts."""
    parsed = ("SourceAddress", "DestinationAddress")
    return [{**row, **{name: ip_address(row[name]) for name in parsed}} for row in table]


def as_columns(table: Table) -> dict[str, Any]:
    """Return rows as columns."""
    return {name: [row[name] for row in table] for name in table[0]}


@given(table=captured(), pdu_length=st.sampled_from([0, 8, 100, 16382]))
def test_decoding_inverts_encoding(table, pdu_length):
    capture = encode_capture(as_columns(table), format="pcapng", max_pdu_length=pdu_length)
    found = decode_capture(capture)
    assert {fault.code for fault in found.faults} <= {"no-request"}
    # Associations are numbered by their start.
    numbers: dict[int, int] = {}
    for row in table:
        row["Association"] = numbers.setdefault(row["Association"], len(numbers))
    assert with_addresses(without(read(capture), "Frame")) == with_addresses(table)
    assert (found.associations, found.streams, found.packets) == (
        capture.associations,
        len(numbers),
        capture.packets,
    )
    # The decoded rows can be written again, in each container.
    for way in (found, pa.table(found), pl.DataFrame(found)):
        again = encode_capture(way, format="pcapng", max_pdu_length=pdu_length)
        assert bytes(again) == bytes(capture)


@given(drawn=st.lists(rows, min_size=1, max_size=10))
def test_every_input_of_encode_events(drawn):
    columns = {name: [event[name] for event in drawn] for name in COLUMNS}
    expected = encode_capture(columns)
    for way in ([to_ours(event) for event in drawn], (to_oracle(event) for event in drawn)):
        assert bytes(encode_capture(way)) == bytes(expected)
    # The messages of both directions as pynetdicom decodes them.
    written = pcap.read(bytes(expected))
    for port, kind in (
        ("SourcePort", "MessageID"),
        ("DestinationPort", "MessageIDBeingRespondedTo"),
    ):
        stream = b"".join(
            packet.payload for packet in written if packet.ports[port == "DestinationPort"] != 104
        )
        sent = [event[kind] for event in drawn if event[kind] is not None]
        assert [getattr(message, kind) for message in decode_stream(stream)] == sent


def test_associate_pdus_as_pynetdicom():
    """Every field of the A-ASSOCIATE PDUs, as pynetdicom decodes it."""
    request, accept, _, _ = associate(
        calling_ae="CALLING",
        called_ae="CALLED",
        max_pdu_length=4096,
        transfer_syntax="1.2.840.10008.1.2.1",
    )
    for bytes_, kind in ((request, A_ASSOCIATE_RQ), (accept, A_ASSOCIATE_AC)):
        pdu = kind()
        pdu.decode(bytes_)
        assert pdu.encode() == bytes_
        primitive = pdu.to_primitive()
        assert primitive.calling_ae_title == "CALLING"
        assert primitive.called_ae_title == "CALLED"
        assert primitive.maximum_length_received == 4096
        items = {type(item).__name__: item for item in primitive.user_information}
        role = items["SCP_SCU_RoleSelectionNegotiation"]
        assert (role.sop_class_uid, role.scu_role, role.scp_role) == (SOP_CLASS, False, True)
        assert items["ImplementationClassUIDNotification"].implementation_class_uid.is_valid
        version = items["ImplementationVersionNameNotification"].implementation_version_name
        assert version.startswith("FASTDIMSE")
        proposed = primitive.presentation_context_definition_list
        [context] = proposed or primitive.presentation_context_definition_results_list
        assert (context.context_id, context.transfer_syntax) == (1, ["1.2.840.10008.1.2.1"])
        assert context.abstract_syntax == (SOP_CLASS if proposed else None)


TIME, SPAN = dt.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC), dt.timedelta(microseconds=77)
NANOSECONDS = (TIME - EPOCH) // dt.timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    ("time", "latency"),
    [
        ([TIME], [SPAN]),
        (TIME, SPAN),
        ([TIME.replace(tzinfo=None)], SPAN),
        ([TIME.astimezone(dt.timezone(dt.timedelta(hours=5)))], SPAN),
        ([NANOSECONDS], [77_000]),
        (NANOSECONDS, 77_000),
        (np.array([NANOSECONDS], "datetime64[ns]"), np.array([77], "timedelta64[us]")),
        (pa.array([TIME], pa.timestamp("us")), pa.array([SPAN], pa.duration("us"))),
        (pa.array([TIME], pa.timestamp("us", "Asia/Tokyo")), pa.array([77_000])),
        (pa.array([TIME.isoformat()]), pa.array([77_000], pa.int32())),
        (pl.Series([TIME]), pl.Series([SPAN])),
    ],
)
def test_times_of_every_kind(time, latency):
    [row] = read(encode_capture({**EVENT, "Time": time, "Latency": latency}))
    assert (row["Time"], row["Latency"]) == (NANOSECONDS, 77_000)


def test_default_times():
    columns = {**EVENT, "Time": [None, TIME, None], "MessageID": [1, 2, 3], "Status": None}
    columns = {
        name: values * 3 if isinstance(values, list) and len(values) == 1 else values
        for name, values in columns.items()
    }
    for name in ("ErrorComment", "ErrorID", "EventReply"):
        columns[name] = None
    times = [row["Time"] for row in read(encode_capture(columns))]
    assert times == [1_000_000, NANOSECONDS, NANOSECONDS + 1_000_000]


def test_message_ids_are_numbered():
    columns = {**EVENT, "AffectedSOPInstanceUID": ["1.2.3"] * 3}
    columns = {name: values * 3 if len(values) == 1 else values for name, values in columns.items()}
    del columns["MessageID"]
    columns["Status"] = [0, None, 0]
    for name in ("ErrorComment", "ErrorID", "EventReply"):
        columns[name] = None
    found = read(encode_capture(columns))
    assert [(row["MessageID"], row["Status"]) for row in found] == [(1, 0), (2, None), (3, 0)]


REJECTED: list[tuple[dict[str, Any], str, str | None, str]] = [
    ({"AffectedSOPInstanceUID": ["1.02"]}, "uid", "AffectedSOPInstanceUID", "1.02"),
    ({"Status": [70000]}, "out-of-range", "Status", "70000"),
    ({"ErrorComment": ["é"]}, "text", "ErrorComment", "é"),
    ({"Status": [None]}, "not-carried", "ErrorComment", "leave it null"),
    ({"PresentationContextID": [2]}, "context-id", "PresentationContextID", "2"),
    ({"Latency": [-1]}, "value", None, "Latency: -1 ns"),
    ({"Time": [-1]}, "value", None, "Time: -1 ns"),
    ({"Time": [2**32 * 10**9]}, "value", None, "Time: "),
    ({"SourceAddress": ["localhost"]}, "value", None, "SourceAddress: 'localhost' is not an IP"),
    ({"SourcePort": [65536]}, "value", None, "SourcePort: 65536 is not a port"),
    ({"SourceAddress": ["::1"]}, "value", None, "IPv4 address and the other an IPv6 address"),
    (
        {"SourceAddress": ["192.0.2.2"], "SourcePort": [104]},
        "value",
        None,
        "both ends have the same address and port",
    ),
    ({"CallingAETitle": [""]}, "value", None, "CallingAETitle: '' is not an AE title"),
    ({"CalledAETitle": ["A" * 17]}, "value", None, "CalledAETitle: 'AAAA"),
    ({"TransferSyntaxUID": ["1" * 65]}, "value", None, "TransferSyntaxUID: "),
]


@pytest.mark.parametrize(("change", "code", "field", "text"), REJECTED)
def test_rejected_rows(change, code, field, text):
    columns = {name: values * 2 for name, values in EVENT.items()}
    for name, values in change.items():
        columns[name] = [*values, EVENT.get(name, [None])[0]]
    with pytest.raises(EncodeError) as caught:
        encode_capture(columns)
    error = caught.value
    assert (error.row, error.code, error.field) == (0, code, field)
    assert text in str(error)
    capture = encode_capture(columns, on_invalid="skip")
    [rejection] = capture.rejected
    assert str(rejection) == str(error)
    assert len(read(capture)) == 1


def test_inconsistent_rows():
    def refused(change: dict[str, Any]) -> str:
        columns = {name: values * 2 for name, values in EVENT.items()}
        capture = encode_capture({**columns, **change}, on_invalid="skip")
        [rejection] = capture.rejected
        assert rejection.row == 1
        return rejection.reason

    association = {"Association": [5, 5]}
    assert "CallingAETitle: 'B', but 'A'" in refused({**association, "CallingAETitle": ["A", "B"]})
    assert "the same two ends" in refused({**association, "SourcePort": [1, 2]})
    assert "presentation context 1" in refused(
        {
            "PresentationContextID": 1,
            "TransferSyntaxUID": ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"],
        }
    )
    # Two associations at the same time between the same ports cannot be distinguished.
    assert "at the same time" in refused(
        {"Association": [1, 2], "SourcePort": 4000, "Time": [10**9, 10**9], "Latency": 10**6}
    )
    columns = {
        "AffectedSOPClassUID": [f"1.2.{number}" for number in range(129)],
        "AffectedSOPInstanceUID": "1.2.3",
        "EventTypeID": 1,
    }
    capture = encode_capture(columns, on_invalid="skip")
    assert [rejection.row for rejection in capture.rejected] == [128]
    assert "at most 128" in capture.rejected[0].reason


def test_ports_are_reused():
    columns = {name: values * 3 for name, values in EVENT.items()}
    times = [1_000_000_000, 1_000_000_500, 1_000_001_000]
    capture = encode_capture(
        {**columns, "Association": [7, 8, 9], "SourcePort": 4000, "Time": times, "Latency": 500}
    )
    found = decode_capture(capture)
    assert (found.associations, len(found.faults)) == (3, 0)
    assert [row["Time"] for row in read(capture)] == times


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"format": "erf"}, ValueError, "'pcap' or 'pcapng'"),
        ({"on_invalid": "stop"}, ValueError, "'raise' or 'skip'"),
        ({"calling_ae": " " * 16}, EncodeError, "AE title"),
        ({"called_ae": "A\\B"}, EncodeError, "AE title"),
        ({"max_pdu_length": 6}, EncodeError, "max_pdu_length must be 0"),
        ({"transfer_syntax": ""}, EncodeError, "''"),
        ({"source": "host"}, ValueError, "source must be an IP address"),
        ({"source": ("192.0.2.1", 70000)}, ValueError, "source must be an IP address"),
        ({"source": "::1"}, EncodeError, "IPv6"),
        ({"destination": 7}, ValueError, "destination must be an IP address"),
    ],
)
def test_invalid_options(options, error, text):
    with pytest.raises(error, match=text.replace("'", ".")):
        encode_capture(EVENT, **options)


def test_invalid_columns():
    def without_column(name: str) -> dict[str, Any]:
        return {key: values for key, values in EVENT.items() if key != name}

    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: {**EVENT, "Unknown": [1]}, ColumnError, "unknown column 'Unknown'.*Latency"),
        (lambda: pa.table({**EVENT, "Unknown": [1]}), ColumnError, "unknown column 'Unknown'"),
        (lambda: without_column("EventTypeID"), ColumnError, "EventTypeID"),
        (
            lambda: {**EVENT, "Time": ["noon"]},
            TypeError,
            "row 0 of the column 'Time' must be .* not 'noon'",
        ),
        (lambda: {**EVENT, "Time": pa.array(["noon"])}, TypeError, "the column 'Time'"),
        (lambda: {**EVENT, "SourceAddress": [7]}, TypeError, "SourceAddress"),
        (lambda: {**EVENT, "SourcePort": ["x"]}, TypeError, "SourcePort"),
        (lambda: {**EVENT, "SourcePort": [1, 2]}, ColumnError, "SourcePort"),
        (lambda: b"bytes", TypeError, "events must be"),
    ]
    for events, error, text in cases:
        with pytest.raises(error, match=text):
            encode_capture(events())
    for events in ([], {name: [] for name in EVENT}, pa.table(EVENT).slice(0, 0)):
        capture = encode_capture(events)
        assert (capture.packets, capture.associations) == (0, 0)
        assert [fault.code for fault in decode_capture(capture).faults] == ["no-association"]


def test_buffer_protocol(tmp_path):
    capture = encode_capture(EVENT)
    path = tmp_path / "capture.pcap"
    with path.open("wb") as file:
        file.write(capture)
    assert (
        path.stat().st_size == capture.nbytes == len(bytes(capture)) == memoryview(capture).nbytes
    )
    assert memoryview(capture).readonly
    assert (
        repr(capture) == f"<EncodedCapture: {capture.packets} packets, 1 association, 0 rejected>"
    )
    assert repr(decode_capture(capture)) == "<CapturedEvents: 1 event in 1 association, 0 faults>"


def test_requests_and_responses_in_separate_rows():
    """Requests and responses in separate rows are joined when they are read."""
    found = read(encode_capture(EVENTS))
    assert [row["MessageID"] for row in found] == [7, None, 65535]
    both = {name: values[:2] for name, values in EVENTS.items()}
    both["MessageIDBeingRespondedTo"] = [None, 7]
    [row] = read(encode_capture(both))
    assert (row["MessageID"], row["Status"], row["Latency"]) == (7, 0x0110, 1_000_000)
    assert (row["EventInformation"], row["EventReply"]) == (b"information", b"reply")
    assert rows_of(both)[1]["ErrorComment"] == row["ErrorComment"]
