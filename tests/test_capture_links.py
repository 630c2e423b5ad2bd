"""Captures with tunnels, other link layers and compression have the events of the plain capture."""

import gzip
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import pcap
import wireshark
from fastdimse import CapturedEvents, DecodeError, decode_capture, decode_capture_batches
from test_captures import PACKETS, REAL, read

Encapsulate = Callable[[bytes], bytes]
MACS = bytes.fromhex("001b21aabbcc 001b21ddeeff")
OUTER = (bytes([198, 51, 100, 1]), bytes([198, 51, 100, 2]))


# ----------------------------------------------------------------- writers of headers


def ethernet(kind: int, payload: bytes, macs: bytes = MACS) -> bytes:
    """Write an Ethernet frame."""
    return macs + struct.pack(">H", kind) + payload


def checksum(header: bytes) -> int:
    """Return the checksum of an IPv4 or GRE header (RFC 1071)."""
    total = sum(struct.unpack(f">{len(header) // 2}H", header[: len(header) // 2 * 2]))
    total += header[-1] << 8 if len(header) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    """Write an IPv4 packet between the ends of a tunnel."""
    fields = (0x45, 0, 20 + len(payload), 1, fragment, 64, protocol)
    source, destination = OUTER
    header = struct.pack(">BBHHHBB", *fields) + bytes(2) + source + destination
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ipv6(protocol: int, payload: bytes) -> bytes:
    """Write an IPv6 packet between the ends of a tunnel."""
    ends = b"".join(b"\x20\x01\x0d\xb8" + bytes(8) + one for one in OUTER)
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + ends + payload


def udp(port: int, payload: bytes) -> bytes:
    """Write a UDP datagram without a checksum in an IPv4 packet."""
    return ipv4(17, struct.pack(">HHHH", 50_000, port, 8 + len(payload), 0) + payload)


def in_ethernet(write: Encapsulate, kind: int = 0x0800) -> Encapsulate:
    """Return a writer of Ethernet frames with the packets of another writer."""
    return lambda ip: ethernet(kind, write(ip))


def gre(kind: int, payload: bytes, *, key: bool = False, summed: bool = False) -> bytes:
    """Write a GRE packet, with a sequence number if it has a key (RFC 2784, RFC 2890)."""
    flags = (0x3000 if key else 0) | (0x8000 if summed else 0)
    header = struct.pack(">HH", flags, kind) + (bytes(4) if summed else b"")
    header += struct.pack(">II", 7, 99) if key else b""
    if summed:
        header = header[:4] + struct.pack(">H", checksum(header + payload)) + header[6:]
    return ipv4(47, header + payload)


def mpls(*labels: int) -> bytes:
    """Write MPLS labels (RFC 3032)."""
    last = len(labels) - 1
    return b"".join(
        struct.pack(">I", label << 12 | (at == last) << 8 | 64) for at, label in enumerate(labels)
    )


def pppoe(payload: bytes, protocol: int = 0x0021) -> bytes:
    """Write session data of PPPoE (RFC 2516)."""
    return struct.pack(">BBHHH", 0x11, 0, 9, 2 + len(payload), protocol) + payload


def frame(ip: bytes) -> bytes:
    """Write the Ethernet frame inside a tunnel."""
    return ethernet(0x0800, ip)


VXLAN = struct.pack(">II", 0x08 << 24, 42 << 8)
GENEVE_OPTION = struct.pack(">HBB", 0x0102, 0x80, 1) + b"data"
ERSPAN_2 = struct.pack(">HHI", 1 << 12 | 100, 0x0064, 0)
ERSPAN_3 = struct.pack(">HHIHH", 2 << 12 | 100, 0x0064, 123_456, 0, 0)
ERSPAN_3_MORE = ERSPAN_3[:-1] + b"\x01" + bytes([0x0C << 2]) + bytes(7)

# Every writer adds the same number of bytes to all packets, in front of them.
ENCAPSULATIONS: dict[str, Encapsulate] = {
    "VLAN": in_ethernet(lambda ip: struct.pack(">HH", 100, 0x0800) + ip, 0x8100),
    "QinQ": in_ethernet(lambda ip: struct.pack(">HHHH", 100, 0x8100, 200, 0x0800) + ip, 0x88A8),
    "PPPoE": in_ethernet(pppoe, 0x8864),
    "PPPoE with MPLS": in_ethernet(lambda ip: pppoe(mpls(20, 21) + ip, 0x0281), 0x8864),
    "MPLS": in_ethernet(lambda ip: mpls(16) + ip, 0x8847),
    "MPLS labels": in_ethernet(lambda ip: mpls(16, 17, 18, 19) + ip, 0x8847),
    "MPLS with Ethernet": in_ethernet(lambda ip: mpls(16, 17) + bytes(4) + frame(ip), 0x8847),
    "VXLAN": in_ethernet(lambda ip: udp(4789, VXLAN + frame(ip))),
    "VXLAN on Linux": in_ethernet(lambda ip: udp(8472, VXLAN + frame(ip))),
    "VXLAN-GPE": in_ethernet(lambda ip: udp(4790, b"\x0c\0\0\1" + VXLAN[4:] + ip)),
    "VXLAN with VLAN": in_ethernet(
        lambda ip: udp(4789, VXLAN + ethernet(0x8100, struct.pack(">HH", 7, 0x0800) + ip))
    ),
    "GENEVE": in_ethernet(
        lambda ip: udp(6081, struct.pack(">HHI", 0, 0x6558, 42 << 8) + frame(ip))
    ),
    "GENEVE with options": in_ethernet(
        lambda ip: udp(6081, struct.pack(">HHI", 0x0200, 0x0800, 42 << 8) + GENEVE_OPTION + ip)
    ),
    "GRE": in_ethernet(lambda ip: gre(0x0800, ip)),
    "GRE with key and sequence": in_ethernet(lambda ip: gre(0x0800, ip, key=True)),
    "GRE with checksum": in_ethernet(lambda ip: gre(0x0800, ip, summed=True)),
    "GRE with all fields": in_ethernet(lambda ip: gre(0x0800, ip, key=True, summed=True)),
    "GRE with Ethernet": in_ethernet(lambda ip: gre(0x6558, frame(ip))),
    "ERSPAN I": in_ethernet(lambda ip: gre(0x88BE, frame(ip))),
    "ERSPAN II": in_ethernet(lambda ip: gre(0x88BE, ERSPAN_2 + frame(ip), key=True)),
    "ERSPAN III": in_ethernet(lambda ip: gre(0x22EB, ERSPAN_3 + frame(ip), key=True)),
    "ERSPAN III with a subheader": in_ethernet(
        lambda ip: gre(0x22EB, ERSPAN_3_MORE + frame(ip), key=True)
    ),
    "IP in IP": in_ethernet(lambda ip: ipv4(4, ip)),
    "IPv4 in IPv6": in_ethernet(lambda ip: ipv6(4, ip), 0x86DD),
    "IPv6 and GRE": in_ethernet(lambda ip: ipv6(47, bytes.fromhex("00000800") + ip), 0x86DD),
    "EtherIP": in_ethernet(lambda ip: ipv4(97, b"\x30\0" + frame(ip))),
    "MPLS in IP": in_ethernet(lambda ip: ipv4(137, mpls(16) + ip)),
    "MPLS in UDP": in_ethernet(lambda ip: udp(6635, mpls(16) + ip)),
    "SNAP": lambda ip: (
        MACS + struct.pack(">H", min(8 + len(ip), 1500)) + bytes.fromhex("aaaa030000000800") + ip
    ),
    "Backbone bridge": in_ethernet(lambda ip: bytes.fromhex("00000064") + frame(ip), 0x88E7),
    "MACsec": in_ethernet(lambda ip: bytes.fromhex("000000000001 0800") + ip, 0x88E5),
    "VXLAN in MPLS in PPPoE": in_ethernet(
        lambda ip: pppoe(mpls(16) + udp(4789, VXLAN + frame(gre(0x0800, ip))), 0x0281), 0x8864
    ),
}
OF_TSHARK = [
    name for name in ENCAPSULATIONS if name not in ("VXLAN on Linux", "MACsec", "ERSPAN I")
]
# Packets of link layers other than Ethernet.
LINKS: dict[str, tuple[int, Encapsulate]] = {
    "PPP": (9, lambda ip: bytes.fromhex("ff030021") + ip),
    "PPP with short headers": (9, lambda ip: b"\x21" + ip),
    "PPP in HDLC": (50, lambda ip: bytes.fromhex("ff030021") + ip),
    "Cisco HDLC as PPP": (50, lambda ip: bytes.fromhex("0f000800") + ip),
    "PPPoE": (51, pppoe),
    "Cisco HDLC": (104, lambda ip: bytes.fromhex("0f000800") + ip),
    "PPP of pppd": (166, lambda ip: bytes.fromhex("00ff030021") + ip),
    "PPP with direction": (204, lambda ip: bytes.fromhex("010021") + ip),
    "Linux cooked": (113, lambda ip: bytes.fromhex("0000 0001 0006 001b21aabbcc 0000 0800") + ip),
    "Linux cooked with VLAN": (
        113,
        lambda ip: bytes.fromhex("0000 0001 0006 001b21aabbcc 0000 8100 0064 0800") + ip,
    ),
    "Linux cooked 2 with MPLS": (
        276,
        lambda ip: struct.pack(">HHIHBB8s", 0x8847, 0, 1, 1, 0, 6, MACS[:8]) + mpls(16) + ip,
    ),
    "Linux cooked with GRE": (
        113,
        lambda ip: bytes.fromhex("0000 0001 0006 001b21aabbcc 0000 0800") + gre(0x0800, ip),
    ),
    "Raw IP in IP": (101, lambda ip: ipv4(4, ip)),
}


def encapsulated(
    encapsulate: Encapsulate, packets: list[pcap.Packet] = PACKETS
) -> list[pcap.Packet]:
    """Return packets with other headers before their IP headers."""
    made = []
    for packet in packets:
        data = encapsulate(packet.ip)
        made.append(replace(packet, data=data, length=len(data)))
    return made


def overhead(encapsulate: Encapsulate) -> int:
    """Return the number of bytes before an IP packet."""
    return len(encapsulate(PACKETS[0].ip)) - len(PACKETS[0].ip)


def faults(found: CapturedEvents) -> list[dict[str, object]]:
    """Return the rows of faults."""
    rows: list[dict[str, object]] = pa.table(found.faults).to_pylist()
    return rows


# ---------------------------------------------------------------------------- tunnels

ALL = {name: (pcap.ETHERNET, encapsulate) for name, encapsulate in ENCAPSULATIONS.items()}
ALL |= {f"link type: {name}": one for name, one in LINKS.items()}


@pytest.mark.parametrize("name", ALL)
def test_an_encapsulated_capture_has_the_same_events(name):
    link, encapsulate = ALL[name]
    file = pcap.write(encapsulated(encapsulate), link=link, unit=1)
    plain = pcap.write(PACKETS, unit=1)
    assert len(read(plain)) == 24
    assert read(file) == read(plain)
    found = decode_capture(file)
    assert (faults(found), found.skipped_packets) == ([], {})
    # A snapshot length leaves as much of each packet as one that is lower by the length of the
    # headers before it.
    length = 100
    cut = [packet.cut(length + overhead(encapsulate)) for packet in encapsulated(encapsulate)]
    file = pcap.write(cut, link=link, unit=1)
    plain = pcap.write([packet.cut(length + 14) for packet in PACKETS], unit=1)
    assert read(file) == read(plain)
    assert faults(decode_capture(file)) == faults(decode_capture(plain)) != []


@pytest.mark.parametrize("name", ALL)
def test_headers_that_were_not_captured_are_counted(name):
    """Every snapshot length below the end of the TCP header gives the same count."""
    link, encapsulate = ALL[name]
    packets = encapsulated(encapsulate, PACKETS[:1])
    end = overhead(encapsulate) + 40
    counted = []
    for length in range(end):
        found = decode_capture(pcap.write([packet.cut(length) for packet in packets], link=link))
        if found.skipped_packets in ({"UDP": 1}, {"UDP in MPLS": 1}):
            # Without the port, it could be any datagram.
            continue
        assert found.skipped_packets == {"incomplete headers": 1}, length
        assert [fault.code for fault in found.faults] == ["headers-cut", "no-association"]
        counted.append(length)
    assert len(counted) >= end - 4


@wireshark.needed
def test_wireshark_finds_the_same_messages(tmp_path):
    """Each association of the capture has another encapsulation, in one file."""
    streams: dict[frozenset[int], str] = {}
    packets = []
    for packet in PACKETS:
        ports = frozenset(packet.ports)
        name = streams.setdefault(ports, OF_TSHARK[len(streams) % len(OF_TSHARK)])
        packets += encapsulated(ENCAPSULATIONS[name], [packet])
    rest = OF_TSHARK[len(streams) :]
    assert len(rest) < 20
    # The remaining encapsulations, in a second copy of the first associations.
    again = {port: name for port, name in zip(streams, rest, strict=False)}
    for packet in PACKETS:
        name = again.get(frozenset(packet.ports))
        if name is not None:
            later = replace(packet.moved(2**31), time=packet.time + 10**12)
            packets += encapsulated(ENCAPSULATIONS[name], [later])
    file = tmp_path / "mixed.pcap"
    file.write_bytes(pcap.write(packets, unit=1))
    reports = [one for one in wireshark.messages(file) if one.command[0x0100] == 0x0100]
    expected = [(one.frame, one.time, one.stream, one.command[0x0110]) for one in reports]
    rows = [row for row in read(file.read_bytes()) if row["MessageID"] is not None]
    found = [(row["Frame"], row["Time"], row["Association"], row["MessageID"]) for row in rows]
    assert found == sorted(expected, key=lambda one: one[1])
    assert len(found) >= 24
    # Wireshark understands every header as it was meant.
    understood = wireshark.fields(
        file, "tcp.flags.syn == 1 && tcp.flags.ack == 0", "frame.protocols"
    )
    protocols = {one for [line] in understood for one in line.split(":")}
    assert protocols >= {
        *("vlan", "pppoes", "mpls", "vxlan", "geneve", "gre", "erspan", "ipv6", "etherip", "llc"),
        *("pwethcw", "ieee8021ah"),
    }


@wireshark.needed
@pytest.mark.parametrize("name", sorted(set(LINKS) - {"PPP of pppd"}))
def test_wireshark_finds_the_same_segments(name, tmp_path):
    link, encapsulate = LINKS[name]
    file = tmp_path / "link.pcap"
    file.write_bytes(pcap.write(encapsulated(encapsulate, PACKETS[:20]), link=link))
    assert len(wireshark.fields(file, "tcp", "tcp.stream")) == 20


# -------------------------------------------------------------------- skipped packets


SKIPPED: dict[str, bytes] = {
    "UDP": ethernet(0x0800, udp(53, bytes(12))),
    "ICMP": ethernet(0x0800, ipv4(1, bytes(8))),
    "ESP": ethernet(0x0800, ipv4(50, bytes(40))),
    "ARP": ethernet(0x0806, bytes(28)),
    "LLDP": ethernet(0x88CC, bytes(40)),
    "EtherType 0x1234": ethernet(0x1234, bytes(40)),
    "LLC": MACS + bytes.fromhex("0026 424203") + bytes(35),
    "PPPoE discovery": ethernet(0x8863, bytes.fromhex("1109000000000000")),
    "PPP control in PPPoE": ethernet(0x8864, pppoe(bytes(10), 0xC021)),
    "MACsec": ethernet(0x88E5, bytes.fromhex("0c0000000001") + bytes(60)),
    "ARP in VXLAN": ethernet(0x0800, udp(4789, VXLAN + ethernet(0x0806, bytes(28)))),
    "UDP in GRE": ethernet(0x0800, gre(0x0800, udp(53, bytes(12)))),
    "LLDP in ERSPAN": ethernet(
        0x0800, gre(0x88BE, ERSPAN_2 + ethernet(0x88CC, bytes(40)), key=True)
    ),
    "MPLS without IP": ethernet(0x8847, mpls(16) + b"\x10\0\0\x07" + bytes(24)),
    "malformed headers": ethernet(0x0800, b"\x41" + bytes(40)),
    "IP fragment": ethernet(0x0800, ipv4(47, bytes(60), fragment=0x2000)),
}


def test_skipped_packets_are_counted_by_reason(tmp_path):
    skipped = [
        pcap.Packet(PACKETS[0].time, data, len(data))
        for count, data in enumerate(SKIPPED.values(), 1)
        for _ in range(count)
    ]
    found = decode_capture(pcap.write([*skipped, *PACKETS]))
    assert len(found) == 24
    assert found.skipped_packets == {name: count for count, name in enumerate(SKIPPED, 1)}
    assert list(found.skipped_packets) == sorted(SKIPPED)
    [fault] = found.faults
    assert (fault.code, fault.frame) == ("ip-fragments", sum(range(1, len(SKIPPED))) + 1)
    for protocol in (2, 5):
        again = pickle.loads(pickle.dumps(found, protocol))
        assert again.skipped_packets == found.skipped_packets
    wireless = decode_capture(pcap.write(skipped[:3], link=105))
    assert wireless.skipped_packets == {"link type 105 (IEEE802_11)": 3}


def test_fragments_of_tunnels_are_reported():
    """Later fragments of UDP have no port, so only the first one can be known as VXLAN."""
    whole = udp(4789, VXLAN + frame(PACKETS[0].ip))[20:]
    first = ethernet(0x0800, ipv4(17, whole[:48], fragment=0x2000))
    second = ethernet(0x0800, ipv4(17, whole[48:], fragment=6))
    file = pcap.write([pcap.Packet(0, data, len(data)) for data in (first, second)])
    found = decode_capture(file)
    assert found.skipped_packets == {"IP fragment": 1, "UDP": 1}
    assert [fault.code for fault in found.faults] == ["ip-fragments", "no-association"]


# ----------------------------------------------------- compression, and Wireshark's tools


def zstd(data: bytes) -> bytes:
    """Compress by the library of pyarrow."""
    compressed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return compressed


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_compressed_captures(compress):
    file = REAL.read_bytes()
    plain = decode_capture(file)
    parts = b"".join(
        compress(part) for part in (file[:1000], b"", file[1000:50_000], file[50_000:])
    )
    for compressed in (compress(file), parts, compress(pcap.pcapng(PACKETS))):
        found = decode_capture(compressed)
        assert found.packets == plain.packets
        assert len(found) == len(plain)
        assert len(found.faults) == 0
    assert pa.table(decode_capture(compress(file))) == pa.table(plain)


@pytest.mark.parametrize(("compress", "name"), [(gzip.compress, "gzip"), (zstd, "Zstandard")])
def test_damaged_compression(compress, name):
    file = compress(REAL.read_bytes())
    whole = len(file)
    found = decode_capture(file + b"more")
    [fault] = found.faults
    assert (len(found), fault.code) == (24, "trailing-bytes")
    assert fault.reason == (
        f"the file is not {name} data from byte {whole} on: the rest of it is skipped"
    )
    assert len(decode_capture(file + bytes(512)).faults) == 0
    with pytest.raises(DecodeError) as caught:
        decode_capture(file + b"more", on_invalid="raise")
    assert caught.value.code == "trailing-bytes"
    file = b"".join(
        compress(part) for part in (REAL.read_bytes()[:60_000], REAL.read_bytes()[60_000:])
    )
    whole = len(file)
    ends = decode_capture(file[: whole - 20])
    reasons = {fault.code: fault.reason for fault in ends.faults}
    assert reasons["compression-ends"] == (
        f"the file ends inside its {name} data, after {whole - 20} bytes: it is incomplete"
    )
    damaged = file[: whole - 500] + bytes(100) + file[whole - 400 :]
    codes = {fault.code for fault in decode_capture(damaged).faults}
    assert "compression-damaged" in codes
    with pytest.raises(DecodeError) as caught:
        decode_capture(file[:8])
    assert caught.value.code == "compression-ends"
    with pytest.raises(DecodeError, match="not a capture") as caught:
        decode_capture(compress(b"no capture"))
    assert caught.value.code == "not-a-capture"


@wireshark.needed
def test_files_of_wiresharks_tools(tmp_path):
    """Rewritten captures have the same events; those with fewer bytes have named faults."""
    plain = read(REAL.read_bytes())

    def rewritten(*options: object, tool: str = "editcap") -> bytes:
        out = tmp_path / "out"
        wireshark.run(tool, *options, REAL, out)
        return out.read_bytes()

    for format in ("pcap", "nsecpcap", "pcapng", "modpcap"):
        assert read(rewritten("-F", format)) == plain, format
    assert read(rewritten("-F", "pcapng", "--inject-secrets", "tls," + str(REAL))) == plain
    # Half of the packets from a second interface.
    halves = []
    for name, half in (("a", "1-300"), ("b", "301-614")):
        halves.append(tmp_path / name)
        wireshark.run("editcap", "-F", "pcapng", "-r", REAL, halves[-1], half)
    merged = tmp_path / "merged"
    wireshark.run("mergecap", "-F", "pcapng", "-w", merged, *reversed(halves))
    assert read(merged.read_bytes()) == plain
    snapped = rewritten("-s", 120)
    assert read(snapped) == read(pcap.write([packet.cut(120) for packet in PACKETS]))
    snapshot = decode_capture(snapped)
    assert {fault.code for fault in snapshot.faults} == {"snapshot-length"}
    assert len(snapshot.faults) <= 2 * snapshot.associations
    # The link type is changed without the packets.
    wireless = decode_capture(rewritten("-T", "ieee-802-11"))
    assert wireless.skipped_packets == {"link type 105 (IEEE802_11)": 614}
    [fault, _] = wireless.faults
    assert (fault.code, fault.frame) == ("link-type", 1)


@wireshark.needed
def test_packets_of_text2pcap(tmp_path):
    """A dump of IP packets, with each kind of dummy header."""
    dump = tmp_path / "dump"
    dump.write_text("".join(f"0000 {packet.ip.hex(' ')}\n" for packet in PACKETS))
    out = tmp_path / "out"
    plain = [
        (row["CallingAETitle"], row["MessageID"], row["Status"]) for row in read(REAL.read_bytes())
    ]
    for options in (("-l", 101), ("-e", "0x0800"), ("-F", "pcapng", "-l", 228)):
        wireshark.run("text2pcap", "-q", *options, dump, out)
        rows = read(out.read_bytes())
        assert [(row["CallingAETitle"], row["MessageID"], row["Status"]) for row in rows] == plain


def test_the_example_is_plain_ethernet():
    assert {packet.data[12:14] for packet in PACKETS} == {b"\x08\x00"}
    assert Path(REAL).stat().st_size == len(pcap.write(PACKETS))


def test_compressed_captures_that_would_fill_the_memory():
    """A few bytes can decompress to any number of them."""
    header = REAL.read_bytes()[:24]
    file = gzip.compress(header + bytes(260 << 20), 1)
    with pytest.raises(DecodeError, match="decode_capture_batches") as caught:
        decode_capture(file)
    assert caught.value.code == "compression-limit"
    # Empty packets, of which nothing is kept.
    *_, last = decode_capture_batches(file)
    assert last.packets > 0
