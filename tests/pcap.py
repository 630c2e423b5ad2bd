"""Reading and writing of .pcap and .pcapng files without other tools."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

ETHERNET, RAW, LINUX_COOKED, LINUX_COOKED_2, LOOPBACK = 1, 101, 113, 276, 0
IPV4, TCP = 0x0800, 6
FIN, SYN, RST, PUSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_ETHERNET_HEADER = 14
_MAGIC = {1_000: 0xA1B2C3D4, 1: 0xA1B23C4D}


@dataclass(frozen=True)
class Packet:
    """A captured packet.

    Attributes
    ----------
    time : int
        Nanoseconds since 1970.
    data : bytes
        Captured bytes.
    length : int
        Length of the packet before it was truncated.
    """

    time: int
    data: bytes
    length: int

    @property
    def ip(self) -> bytes:
        """The IP packet in an Ethernet frame."""
        return self.data[_ETHERNET_HEADER:]

    @property
    def payload(self) -> bytes:
        """The payload of the TCP segment in an Ethernet frame with IPv4."""
        return self.ip[self._payload_at : struct.unpack_from(">H", self.ip, 2)[0]]

    @property
    def _tcp_at(self) -> int:
        return (self.ip[0] & 15) * 4

    @property
    def _payload_at(self) -> int:
        return self._tcp_at + (self.ip[self._tcp_at + 12] >> 4) * 4

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port."""
        source, destination = struct.unpack_from(">HH", self.ip, self._tcp_at)
        return source, destination

    @property
    def numbers(self) -> tuple[int, int]:
        """Sequence and acknowledgement number."""
        sequence, acknowledged = struct.unpack_from(">II", self.ip, self._tcp_at + 4)
        return sequence, acknowledged

    @property
    def flags(self) -> int:
        """TCP flags."""
        return self.ip[self._tcp_at + 13]

    def cut(self, length: int) -> "Packet":
        """The packet, truncated to a snapshot length."""
        return replace(self, data=self.data[:length])

    def moved(self, by: int) -> "Packet":
        """The packet with other sequence numbers, and with the old checksum."""
        sequence, acknowledged = ((number + by) % 2**32 for number in self.numbers)
        at = _ETHERNET_HEADER + self._tcp_at + 4
        return replace(
            self,
            data=self.data[:at] + struct.pack(">II", sequence, acknowledged) + self.data[at + 8 :],
        )

    def reset(self) -> "Packet":
        """A reset by its sender, with other sequence numbers: one of an earlier connection."""
        packet = self.part(0, 0).moved(0x7000_0000)
        at = _ETHERNET_HEADER + self._tcp_at + 13
        data = packet.data[:at] + bytes([RST]) + packet.data[at + 1 :]
        return replace(packet, data=data)

    def part(self, begin: int, end: int) -> "Packet":
        """A segment with a part of the payload."""
        header = bytearray(self.ip[: self._payload_at])
        struct.pack_into(">H", header, 2, self._payload_at + end - begin)
        sequence = (self.numbers[0] + begin) % 2**32
        struct.pack_into(">I", header, self._tcp_at + 4, sequence)
        data = self.data[:_ETHERNET_HEADER] + bytes(header) + self.payload[begin:end]
        return replace(self, data=data, length=len(data))


def read(file: bytes) -> list[Packet]:
    """Read the packets of a little-endian .pcap file."""
    [magic] = struct.unpack_from("<I", file)
    [unit] = [unit for unit, known in _MAGIC.items() if known == magic]
    packets, at = [], 24
    while at < len(file):
        seconds, units, captured, length = struct.unpack_from("<IIII", file, at)
        data = file[at + 16 : at + 16 + captured]
        packets.append(Packet(seconds * 10**9 + units * unit, data, length))
        at += 16 + captured
    return packets


def write(
    packets: Iterable[Packet], *, link: int = ETHERNET, unit: int = 1_000, order: str = "<"
) -> bytes:
    """Write a .pcap file with a unit of time in nanoseconds and a byte order."""
    file = struct.pack(f"{order}IHHiIII", _MAGIC[unit], 2, 4, 0, 0, 262_144, link)
    for packet in packets:
        seconds, rest = divmod(packet.time, 10**9)
        file += struct.pack(f"{order}IIII", seconds, rest // unit, len(packet.data), packet.length)
        file += packet.data
    return file


def with_header(packets: Iterable[Packet], header: bytes) -> Iterator[Packet]:
    """Return the IP packets with another header."""
    for packet in packets:
        data = header + packet.ip
        yield replace(packet, data=data, length=len(data))


def pcapng(
    packets: Iterable[Packet], *, order: str = "<", link: int = ETHERNET, resolution: int = 6
) -> bytes:
    """Write a .pcapng file; the unit of time is ten to the power of minus `resolution` seconds."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        length = struct.pack(f"{order}I", len(body) + 12)
        return struct.pack(f"{order}I", kind) + length + body + length

    file = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    option = struct.pack(f"{order}HHB3xHH", 9, 1, resolution, 0, 0)
    file += block(1, struct.pack(f"{order}HHI", link, 0, 0) + option)
    for packet in packets:
        units = packet.time // 10 ** (9 - resolution)
        header = struct.pack(
            f"{order}IIIII",
            0,
            units >> 32,
            units & 0xFFFFFFFF,
            len(packet.data),
            packet.length,
        )
        file += block(6, header + packet.data)
    return file
