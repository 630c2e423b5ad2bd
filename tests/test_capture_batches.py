"""Captures decoded chunk by chunk: the same as at once, as soon as possible, in bounded memory."""

import gzip
import io
import itertools
import os
import re
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastdimse
import pcap
from fastdimse import DecodeError, decode_capture, decode_capture_batches, encode_capture

ROOT = Path(__file__).parent.parent
REAL = ROOT / "examples" / "orthanc-storage-commitment.pcap"
LARGE = ROOT / "benches" / "large_capture.py"
CLASS, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
MEGABYTE = 1_000_000


def events(count: int, **columns: Any) -> bytes:
    table = {
        "AffectedSOPClassUID": CLASS,
        "AffectedSOPInstanceUID": INSTANCE,
        "EventTypeID": [1 + row % 2 for row in range(count)],
        "EventInformation": [bytes(row * 97 % 3000) or None for row in range(count)],
        "Status": [None if row % 7 == 3 else 0x0110 for row in range(count)],
        "CallingAETitle": [f"SCP-{row % 3}" for row in range(count)],
    }
    return bytes(encode_capture(table | columns, max_pdu_length=1000))


def joined(parts: Iterable[fastdimse.CapturedEvents]) -> tuple[Any, ...]:
    """Return the rows, actions, faults and counts of parts, in an order of their own."""
    rows, actions, faults = [], [], []
    counts: Counter[str] = Counter()
    for part in parts:
        table = pa.table(part)
        assert table["Time"].to_pylist() == sorted(table["Time"].to_pylist())
        rows += table.to_pylist()
        actions += pa.table(part.actions).to_pylist()
        faults += [str(fault) for fault in part.faults]
        counts.update(packets=part.packets, streams=part.streams, associations=part.associations)
        counts.update(part.skipped)
        counts.update(part.skipped_packets)
        for (request, response), row in zip(part, table.to_pylist(), strict=True):
            assert (request is not None) == (row["MessageID"] is not None)
            assert getattr(response, "Status", None) == row["Status"]
    rows, actions = (
        sorted(one, key=lambda row: (row["Time"], row["Frame"], row["Association"], str(row)))
        for one in (rows, actions)
    )
    return rows, actions, sorted(faults), counts


def lost(packets: list[pcap.Packet], every: int) -> list[pcap.Packet]:
    return [packet for at, packet in enumerate(packets) if at % every]


def repeated(packets: list[pcap.Packet], every: int) -> list[pcap.Packet]:
    copies = [[packet] * (1 + (at % every == 0)) for at, packet in enumerate(packets)]
    return list(itertools.chain(*copies))


def overlapping(packets: list[pcap.Packet], every: int) -> list[pcap.Packet]:
    """Send some payloads again in two parts, the second one first."""
    found = []
    for at, packet in enumerate(packets):
        length = len(packet.payload)
        if at % every == 0 and length > 2:
            found += [packet.part(length // 2, length), packet.part(0, length // 2 + 1)]
        found.append(packet)
    return found


def reset(packets: list[pcap.Packet], every: int) -> list[pcap.Packet]:
    """Insert resets that the hosts ignore."""
    copies = [
        [packet] if at % every or not packet.payload else [packet.reset(), packet]
        for at, packet in enumerate(packets)
    ]
    return list(itertools.chain(*copies))


def with_a_damaged_pdv(file: bytes) -> bytes:
    """Damage the PDV length of a command set, whose data set then has no message."""
    data_set = file.index(bytes([4, 0]), 40_000)
    at = next(
        at
        for at in range(data_set, len(file) - 12)
        if file[at : at + 3] == b"\x04\0\0" and file[at + 11] == 3 and file[at + 6] == 0
    )
    return file[: at + 9] + bytes([file[at + 9] ^ 0xC8]) + file[at + 10 :]


PACKETS = {
    name: pcap.read(file) for name, file in [("real", REAL.read_bytes()), ("own", events(60))]
}
FILES = {"real": REAL.read_bytes(), "own": events(60)} | {
    f"{name}, {change.__name__}, {every}": pcap.write(change(packets, every))
    for name, packets in PACKETS.items()
    for change in (lost, repeated, overlapping, reset)
    for every in (5, 31, 64)
}
FILES |= {
    "truncated": REAL.read_bytes()[:60_003],
    "begins inside": pcap.write(PACKETS["own"][40:]),
    "snapshot length": pcap.write(packet.cut(120) for packet in PACKETS["own"]),
    "pcapng": pcap.pcapng(PACKETS["real"]) + pcap.pcapng(PACKETS["own"], order=">"),
    "big endian": pcap.write(PACKETS["real"], order=">", unit=1),
    "damaged PDV": with_a_damaged_pdv(REAL.read_bytes()),
    "gzip": gzip.compress(REAL.read_bytes()),
    "raw IP": pcap.write(pcap.with_header(PACKETS["real"], b""), link=pcap.RAW),
}
WHOLE = {name: joined([decode_capture(file)]) for name, file in FILES.items()}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [61, 4099, 70_000, 10**9])
def test_the_batches_of_any_chunks_are_the_whole(name, size):
    assert joined(decode_capture_batches(FILES[name], chunk_size=size)) == WHOLE[name]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7])
def test_chunks_of_few_bytes(size):
    file = events(7)
    assert joined(decode_capture_batches(file, chunk_size=size)) == joined([decode_capture(file)])
    compressed = gzip.compress(file)
    assert joined(decode_capture_batches(compressed, chunk_size=size * 50)) == joined(
        [decode_capture(file)]
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(FILES)))
def test_random_chunks(data, name):
    file = FILES[name]
    cuts = data.draw(st.lists(st.integers(0, len(file)), max_size=12).map(sorted))
    bounds = itertools.pairwise([0, *cuts, len(file)])
    chunks = [file[begin:end] for begin, end in bounds]
    assert joined(decode_capture_batches(iter(chunks))) == WHOLE[name]


@pytest.mark.parametrize("name", ["real", "own"])
@pytest.mark.parametrize("every", [5, 31])
def test_resets_that_the_hosts_ignore(name, every):
    rows, *_ = WHOLE[name]
    changed, _, faults, _ = WHOLE[f"{name}, reset, {every}"]
    assert faults == []
    assert [one["Status"] for one in changed] == [one["Status"] for one in rows]
    assert [one["Latency"] for one in changed] == [one["Latency"] for one in rows]


def test_a_fragment_of_a_damaged_message_is_not_part_of_the_last_one():
    """The messages before the damaged one keep their frames and their responses."""
    found, expected = ((one[0], one[1]) for one in (WHOLE["damaged PDV"], WHOLE["real"]))
    for some, all_rows in zip(found, expected, strict=True):
        for row in some:
            same = [one for one in all_rows if one["Frame"] == row["Frame"]]
            assert same == [row] or row["Status"] is None or row["MessageID"] is None
    assert WHOLE["damaged PDV"][2]


def test_structured_event_information():
    whole = decode_capture(REAL.read_bytes(), event_information="structured")
    parts = decode_capture_batches(REAL, event_information="structured", chunk_size=5000)
    found = [row["EventInformation"] for part in parts for row in pa.table(part).to_pylist()]
    expected = pa.table(whole)["EventInformation"].to_pylist()
    uids = [row["TransactionUID"] for row in expected]
    assert [row["TransactionUID"] for row in found] == uids


class Source:
    """A file whose `read1` returns what was written, and records the sizes."""

    def __init__(self, *parts: Any) -> None:
        self.parts = list(parts)

    def read1(self, size: int) -> bytes:
        part = self.parts.pop(0) if self.parts else b""
        if isinstance(part, BaseException):
            raise part
        assert len(part) <= size
        return bytes(part)

    def read(self, size: int) -> bytes:
        raise AssertionError("read waits for more data than there is")


def test_sources(tmp_path):
    file = FILES["real"]
    path = tmp_path / "capture.pcap"
    path.write_bytes(file)
    halves = [file[:50_001], file[50_001:]]
    sources = [file, bytearray(file), memoryview(file), path, str(path), io.BytesIO(file)]
    for source in [*sources, iter(halves), Source(*halves)]:
        assert joined(decode_capture_batches(source)) == WHOLE["real"]
    with path.open("rb") as opened, path.open("rb", buffering=0) as unbuffered:
        assert joined(decode_capture_batches(opened, chunk_size=999)) == WHOLE["real"]
        assert joined(decode_capture_batches(unbuffered, chunk_size=999)) == WHOLE["real"]
    with pytest.raises(TypeError, match="source must be"):
        decode_capture_batches(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="chunk_size"):
        decode_capture_batches(file, chunk_size=0)


@pytest.mark.parametrize("file", [b"", b"a", bytes(30), b"\n\r\r", b"\xd4\xc3\xb2\xa1", b"x" * 99])
@pytest.mark.parametrize("size", [1, 1000])
def test_not_a_capture(file, size):
    batches = decode_capture_batches(file, chunk_size=size)
    with pytest.raises(DecodeError) as caught:
        next(batches)
    assert caught.value.code == "not-a-capture"
    assert list(batches) == []


@pytest.mark.parametrize("error", [OSError("lost"), KeyboardInterrupt()])
def test_after_an_exception_of_the_source_the_next_call_continues(error):
    file = FILES["own"]
    batches = decode_capture_batches(Source(file[:3001], error, file[3001:]))
    found: list[fastdimse.CapturedEvents] = []
    with pytest.raises(type(error)):
        deque(map(found.append, batches))
    assert joined([*found, *batches]) == WHOLE["own"]


def test_events_of_a_pipe_are_returned_before_it_ends():
    reading, writing = os.pipe()
    packets = PACKETS["own"]
    [first] = [row for row in WHOLE["own"][0] if row == WHOLE["own"][0][0]]
    responses = [at for at, packet in enumerate(packets) if packet.ports[0] == 104]
    # The third segment of the acceptor is the first response: SYN, A-ASSOCIATE-AC, response.
    answered = next(
        at for at in responses if packets[at].time >= int(first["Time"].value) + 500_000
    )
    beginning = len(pcap.write(packets[: answered + 1]))
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as pipe:
        pipe.write(FILES["own"][:beginning])
        batches = decode_capture_batches(source)
        batch = next(batches)
        assert pa.table(batch).to_pylist()[0] == first
        rest = threading.Thread(target=lambda: (pipe.write(FILES["own"][beginning:]), pipe.close()))
        rest.start()
        assert joined([batch, *batches]) == WHOLE["own"]
        rest.join()


def raw(packets: Iterable[bytes], step: int = 1) -> Iterable[bytes]:
    """Yield a capture of IP packets, in chunks."""
    yield pcap.write([], link=pcap.RAW)
    clock = 0
    chunk = bytearray()
    for packet in packets:
        clock += step
        seconds, fraction = divmod(clock, 10**6)
        for number in (seconds, fraction, len(packet), len(packet)):
            chunk += number.to_bytes(4, "little")
        chunk += packet
        if len(chunk) > MEGABYTE:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def segment(
    sequence: int, payload: bytes = b"", flags: int = pcap.ACK, port: int = 49152, host: int = 1
) -> bytes:
    ip = b"\x45\0" + (40 + len(payload)).to_bytes(2, "big") + b"\0\0\0\0\x40\x06\0\0"
    ip += (0x0A000000 + host).to_bytes(4, "big") + b"\xc0\0\x02\x01"
    tcp = port.to_bytes(2, "big") + b"\0\x68" + (sequence % 2**32).to_bytes(4, "big") + bytes(4)
    return ip + tcp + bytes([0x50, flags]) + b"\xff\xff\0\0\0\0" + payload


def opening() -> list[bytes]:
    """The beginning of an association, up to the A-ASSOCIATE-RQ."""
    packets = [packet.ip for packet in PACKETS["own"][:12]]
    request = next(packet for packet in PACKETS["own"] if packet.payload[:1] == b"\x01")
    assert packets
    return [segment(999, flags=pcap.SYN), segment(1000, request.payload)]


REQUEST = len(next(packet for packet in PACKETS["own"] if packet.payload[:1] == b"\x01").payload)


def command(data_set: bool) -> bytes:
    """A P-DATA-TF with the command set of an event."""
    [pdu] = [
        packet.payload
        for packet in pcap.read(events(1, EventInformation=[b"ab" if data_set else None]))
        if packet.payload[:1] == b"\x04" and packet.ports[1] == 104 and packet.payload[11] & 1
    ]
    return pdu


def endless_gap(count: int) -> Iterable[bytes]:
    yield from opening()
    for at in range(count):
        yield segment(1000 + REQUEST + 10 + at * 1400, bytes(1400))


def endless_pdu(count: int) -> Iterable[bytes]:
    yield from opening()
    at = 1000 + REQUEST
    header = b"\x04\0\xff\xff\xff\xff"
    yield segment(at, header)
    for number in range(count):
        yield segment(at + 6 + number * 1400, bytes(1400))


def endless_message(count: int) -> Iterable[bytes]:
    yield from opening()
    at = 1000 + REQUEST
    begin = command(True)
    yield segment(at, begin)
    at += len(begin)
    fragment = b"\x04\0" + (1394).to_bytes(4, "big") + (1390).to_bytes(4, "big") + b"\x01\0"
    for number in range(count):
        yield segment(at + number * 1400, fragment + bytes(1388))


def many_syns(count: int) -> Iterable[bytes]:
    for number in range(count):
        yield segment(1, flags=pcap.SYN, port=1 + number % 60_000, host=number // 60_000)


def many_requests(count: int) -> Iterable[bytes]:
    """Requests without responses, on many associations."""
    pdu = bytearray(command(False))
    at = pdu.index(b"\0\0\x10\x01\x02\0\0\0") + 8
    begin = opening()[1][40:]
    for port in range(1, 1 + count // 1000):
        yield segment(999, flags=pcap.SYN, port=port)
        yield segment(1000, begin, port=port)
        sequence = 1000 + len(begin)
        for number in range(1000):
            pdu[at : at + 2] = number.to_bytes(2, "little")
            yield segment(sequence, bytes(pdu), port=port)
            sequence += len(pdu)


HOSTILE = {
    "gap": (endless_gap, 100_000, "missing-bytes"),
    "pdu": (endless_pdu, 150_000, "long-message"),
    "message": (endless_message, 150_000, "long-message"),
    "syns": (many_syns, 1_000_000, "too-many-streams"),
    "requests": (many_requests, 200_000, "too-many-requests"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_memory_of_hostile_captures(name):
    """Decode a hostile capture in a process of its own, and return the growth of its memory."""
    program = (
        "import sys; sys.path[:0] = ['tests', 'benches']\n"
        "import test_capture_batches as test\n"
        "from peak_memory import peak_memory\n"
        "make, count, code = test.HOSTILE[sys.argv[1]]\n"
        "before, codes, events = peak_memory(), set(), 0\n"
        "for part in test.decode_capture_batches(test.raw(make(count)), chunk_size=1 << 20):\n"
        "    codes.update(fault.code for fault in part.faults)\n"
        "    events += len(part)\n"
        "print(code in codes, (peak_memory() - before) // 10**6, events)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, name], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found, growth, count = done.stdout.split()
    assert found == "True"
    assert int(growth) < 300
    assert int(count) == (200_000 if name == "requests" else 0)


def test_memory_of_a_large_capture():
    """200 MB of many associations, with images that are skipped."""
    growth = []
    for size in ("20e6", "200e6"):
        done = subprocess.run(
            [sys.executable, str(LARGE), size], capture_output=True, text=True, check=True
        )
        found = dict(re.findall(r"(\w+)=([\d.]+)", done.stdout))
        assert int(found["events"]) == 100 * int(found["associations"])
        assert found["faults"] == "0"
        growth.append(float(found["growth_mb"]))
    assert growth[1] < growth[0] + 40
