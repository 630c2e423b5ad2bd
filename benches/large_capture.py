"""Measure `decode_capture_batches` on a large capture, made while it is decoded, or on a file.

`python benches/large_capture.py SIZE` decodes about SIZE bytes from a generator: the capture is
never in memory and never on a disk. `--file PATH` writes it to a file first, and decodes the file.
With `--tshark`, tshark reads the same file, for comparison.

The capture has many associations at the same time, each with events, responses, and C-STORE
requests with images.
"""

import argparse
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fastdimse
from peak_memory import peak_memory

FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)
RECORD, IP, TCP = struct.Struct("<IIII"), struct.Struct(">BBHHHBBHII"), struct.Struct(">HHIIBBHHH")
SYN, FIN, PUSH, ACK = 2, 1, 8, 16
SEGMENT = 1448
OPEN_ASSOCIATIONS = 50
EVENTS = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": [1] * 100,
    "Status": [0] * 99 + [None],
    "EventInformation": [bytes(400)] * 100,
}


def payloads() -> list[tuple[bool, bytes]]:
    """Return the payloads of one association, each with whether the acceptor sends it."""
    packets = bytes(fastdimse.encode_capture(EVENTS))[24:]
    found = []
    while packets:
        length = struct.unpack_from("<I", packets, 8)[0]
        frame, packets = packets[16 : 16 + length], packets[16 + length :]
        ip = frame[14:]
        at = 20 + (ip[32] >> 4) * 4
        payload = ip[at : struct.unpack_from(">H", ip, 2)[0]]
        if payload:
            found.append((struct.unpack_from(">H", ip, 20)[0] == 104, payload))
    image = store_request(200_000)
    middle = len(found) // 2
    found[middle:middle] = [
        (False, image[at : at + SEGMENT]) for at in range(0, len(image), SEGMENT)
    ]
    return found


def store_request(size: int) -> bytes:
    """Return a C-STORE request with a data set of `size` bytes."""
    elements = [
        (0x0002, b"1.2.840.10008.5.1.4.1.1.7\0"),
        (0x0100, b"\x01\0"),
        (0x0110, b"\x07\0"),
        (0x0700, b"\0\0"),
        (0x0800, b"\0\0"),
        (0x1000, b"1.2.3.4\0"),
    ]
    parts = [struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements]
    command = b"".join(parts)
    command = struct.pack("<HHII", 0, 0, 4, len(command)) + command
    pdus = [(3, command)]
    pdus += [(0 if at + 16000 < size else 2, bytes(16000)) for at in range(0, size, 16000)]
    return b"".join(
        struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, 1, control) + data
        for control, data in pdus
    )


def association(number: int, script: list[tuple[bool, bytes]]) -> Iterator[bytes]:
    """Yield the IP packets of one association."""
    client = (0x0A000000 + number // 60000, 1024 + number % 60000)
    ends = [client, (0xC0000201, 104)]
    sequence = [1000, 5000]

    def packet(side: int, flags: int, payload: bytes = b"") -> bytes:
        (source, port), (target, target_port) = ends[side], ends[1 - side]
        ip = IP.pack(0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0, source, target)
        tcp = TCP.pack(
            port, target_port, sequence[side], sequence[1 - side], 0x50, flags, 65535, 0, 0
        )
        sequence[side] += len(payload) + (flags & 3 != 0)
        return ip + tcp + payload

    yield packet(0, SYN)
    yield packet(1, SYN | ACK)
    for side, payload in script:
        yield packet(int(side), PUSH | ACK, payload)
    yield packet(0, FIN | ACK)
    yield packet(1, FIN | ACK)
    yield packet(0, ACK)


def capture(size: int) -> Iterator[bytes]:
    """Yield a capture of about `size` bytes, in chunks."""
    script = payloads()
    yield FILE_HEADER
    made, number, clock = 0, 0, 0
    chunk = bytearray()
    while made < size:
        running = [association(number + at, script) for at in range(OPEN_ASSOCIATIONS)]
        number += OPEN_ASSOCIATIONS
        while running:
            for one in list(running):
                packet = next(one, None)
                if packet is None:
                    running.remove(one)
                    continue
                clock += 10
                seconds, fraction = divmod(clock, 1_000_000)
                chunk += RECORD.pack(seconds, fraction, len(packet), len(packet)) + packet
            if len(chunk) > 1 << 20:
                made += len(chunk)
                yield bytes(chunk)
                chunk.clear()
    yield bytes(chunk)


def main() -> None:
    """Decode a capture, and print what was found and the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", type=float)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--tshark", action="store_true")
    options = parser.parse_args()
    if options.tshark and options.file is None:
        parser.error("--tshark needs --file")
    size = int(options.size)
    if options.file is None:
        batches = fastdimse.decode_capture_batches(capture(size))
    else:
        with options.file.open("wb") as file:
            file.writelines(capture(size))
        size = options.file.stat().st_size
        batches = fastdimse.decode_capture_batches(options.file)
    before = peak_memory()
    counts = dict.fromkeys(["events", "associations", "packets", "faults"], 0)
    begin = time.perf_counter()
    for batch in batches:
        counts["events"] += len(batch)
        counts["associations"] += batch.associations
        counts["packets"] += batch.packets
        counts["faults"] += len(batch.faults)
    decoding = time.perf_counter() - begin
    found = " ".join(f"{name}={count}" for name, count in counts.items())
    growth = (peak_memory() - before) / 1e6
    print(f"bytes={size} {found} seconds={decoding:.2f} growth_mb={growth:.0f}")
    if options.file is not None:
        print(f"{size / decoding / 1e6:.0f} MB/s", file=sys.stderr)
    if options.tshark:
        command = ["tshark", "-r", str(options.file), "-Y", "dicom", "-T", "fields"]
        begin = time.perf_counter()
        subprocess.run([*command, "-e", "frame.number"], stdout=subprocess.DEVNULL, check=True)
        tshark = time.perf_counter() - begin
        print(f"tshark: {tshark:.2f} seconds, {tshark / decoding:.1f} times", file=sys.stderr)


if __name__ == "__main__":
    main()
