//! Reads the TCP segment of a packet.

use std::net::{IpAddr, SocketAddr};

use etherparse::{Ipv6ExtensionSlice, LaxIpSlice, LenSource, TcpSlice, ip_number};
use pcap_parser::Linktype;

use crate::read::encapsulation::{Layer, Part, is_tunnel_port, is_tunnel_protocol};
use crate::read::packets::Packet;
use crate::read::skipped::{Protocol, SkipReason};

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
    /// The sequence number of its first byte.
    pub sequence: u32,
    /// The acknowledgement number.
    pub acknowledged: Option<u32>,
    /// Whether it opens the connection.
    pub syn: bool,
    /// Whether it is the last segment of the sender.
    pub fin: bool,
    /// Whether it resets the connection.
    pub rst: bool,
    /// The captured payload.
    pub payload: &'a [u8],
    /// The number of payload bytes that were not captured.
    pub cut: u32,
}

/// The content of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// Any other packet.
    Skipped(SkipReason),
}

/// The maximum number of headers before a TCP header: enough for eight tunnels.
const MAX_HEADERS: usize = 32;

/// The TCP segment of a packet, if it has one.
pub fn content<'a>(packet: &Packet<'a>) -> Content<'a> {
    match plain_ip(packet).and_then(plain_segment) {
        Some(segment) => Content::Tcp(segment),
        None => any_content(packet),
    }
}

/// The IP packet after a header of the most frequent kinds.
fn plain_ip<'a>(packet: &Packet<'a>) -> Option<&'a [u8]> {
    let (type_at, header) = match packet.link {
        Linktype::ETHERNET => (12, 14),
        Linktype::LINUX_SLL => (14, 16),
        Linktype::LINUX_SLL2 => (0, 20),
        Linktype::RAW => return Some(packet.data),
        _ => return None,
    };
    let ip = packet.data.get(header..)?;
    matches!(packet.data[type_at..], [0x08, 0x00, ..] | [0x86, 0xdd, ..]).then_some(ip)
}

/// The TCP segment of an IP packet without options, extensions and fragments. Returns the same as
/// [`ip`] in an eighth of the instructions, or `None`.
#[inline]
fn plain_segment(ip: &[u8]) -> Option<Segment<'_>> {
    let (source, destination, header, total): (IpAddr, IpAddr, usize, usize) = match ip.first()? {
        0x45 => {
            let fields: &[u8; 20] = ip.first_chunk()?;
            let is_fragment = number(fields, 6) & 0x3fff != 0;
            if is_fragment || fields[9] != ip_number::TCP.0 {
                return None;
            }
            let address = |at: usize| IpAddr::from([0, 1, 2, 3].map(|byte| fields[at + byte]));
            (address(12), address(16), fields.len(), number(fields, 2).into())
        }
        0x60..=0x6f => {
            let fields: &[u8; 40] = ip.first_chunk()?;
            // A packet without a length has an option, or was not segmented yet.
            let length = number(fields, 4);
            if length == 0 || fields[6] != ip_number::TCP.0 {
                return None;
            }
            let [source, destination] = [8, 24].map(|at| {
                let address: [u8; 16] = *fields[at..].first_chunk().expect("16 bytes");
                IpAddr::from(address)
            });
            (source, destination, fields.len(), fields.len() + usize::from(length))
        }
        _ => return None,
    };
    let tcp = ip.get(header..total.min(ip.len()))?;
    let fields: &[u8; 20] = tcp.first_chunk()?;
    let payload_at = usize::from(fields[12] >> 4) * 4;
    if payload_at < fields.len() {
        return None;
    }
    let flags = fields[13];
    Some(Segment {
        source: (source, number(fields, 0)).into(),
        destination: (destination, number(fields, 2)).into(),
        sequence: long_number(fields, 4),
        acknowledged: (flags & 0x10 > 0).then_some(long_number(fields, 8)),
        syn: flags & 0x02 > 0,
        fin: flags & 0x01 > 0,
        rst: flags & 0x04 > 0,
        payload: tcp.get(payload_at..)?,
        cut: total.saturating_sub(ip.len()) as u32,
    })
}

#[inline]
fn number<const N: usize>(fields: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([fields[at], fields[at + 1]])
}

#[inline]
fn long_number<const N: usize>(fields: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]])
}

/// The TCP segment of a packet with any headers.
#[cold]
fn any_content<'a>(packet: &Packet<'a>) -> Content<'a> {
    let layer = Layer::Link(packet.link);
    let mut part = Part { layer, data: packet.data, cut: packet.cut, tunnel: None };
    for _ in 0..MAX_HEADERS {
        let next = match part.layer {
            Layer::Ip => match plain_segment(part.data)
                .map_or_else(|| ip(&part), |plain| Ok(IpPayload::Tcp(plain)))
            {
                Ok(IpPayload::Tcp(segment)) => return Content::Tcp(segment),
                Ok(IpPayload::Tunnel(inner)) => Ok(inner),
                Err(reason) => Err(reason),
            },
            _ => part.payload(),
        };
        part = match next {
            Ok(next) => next,
            Err(reason) => return Content::Skipped(reason),
        };
    }
    Content::Skipped(SkipReason::Nesting)
}

/// The payload of an IP packet.
#[derive(Debug, PartialEq, Eq)]
enum IpPayload<'a> {
    Tcp(Segment<'a>),
    Tunnel(Part<'a>),
}

/// Reads any IP packet.
fn ip<'a>(part: &Part<'a>) -> Result<IpPayload<'a>, SkipReason> {
    let (ip, error) = LaxIpSlice::from_slice(part.data).map_err(|_| part.incomplete())?;
    let payload = ip.payload();
    let announced = match &ip {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            let before = header.slice().len()
                + v4.extensions().auth.map_or(0, |authentication| authentication.slice().len());
            usize::from(header.total_len()).saturating_sub(before)
        }
        LaxIpSlice::Ipv6(v6) => {
            usize::from(v6.header().payload_length()).saturating_sub(v6.extensions().slice().len())
        }
    };
    let cut = match payload.len_source {
        _ if payload.incomplete => announced.saturating_sub(payload.payload.len()) as u32,
        // A packet that was passed to the network card before segmentation has no length of its
        // own.
        LenSource::Slice => part.cut,
        _ => 0,
    };
    let protocol = payload.ip_number;
    let inner = Part {
        layer: Layer::IpProtocol(protocol.0),
        data: payload.payload,
        cut,
        tunnel: part.tunnel,
    };
    if error.is_some() {
        return Err(inner.incomplete());
    }
    match protocol {
        ip_number::TCP if payload.fragmented => Err(SkipReason::IpFragment),
        ip_number::TCP => {
            let tcp = TcpSlice::from_slice(payload.payload).map_err(|_| inner.incomplete())?;
            Ok(IpPayload::Tcp(Segment {
                source: (ip.source_addr(), tcp.source_port()).into(),
                destination: (ip.destination_addr(), tcp.destination_port()).into(),
                sequence: tcp.sequence_number(),
                acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
                syn: tcp.syn(),
                fin: tcp.fin(),
                rst: tcp.rst(),
                payload: tcp.payload(),
                cut,
            }))
        }
        ip_number::UDP => udp(inner, payload.fragmented, is_first_fragment(&ip)),
        tunnel if is_tunnel_protocol(tunnel.0) && payload.fragmented => Err(SkipReason::IpFragment),
        // The function rejects protocols that are no tunnels.
        _ => inner.payload().map(IpPayload::Tunnel),
    }
}

/// Reads a UDP header, which only the first fragment of a packet has.
fn udp(datagram: Part<'_>, fragmented: bool, first: bool) -> Result<IpPayload<'_>, SkipReason> {
    let port = match datagram.data {
        [_, _, high, low, ..] if first => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    if !is_tunnel_port(port) {
        return Err(datagram.without_segment(Protocol::Ip(ip_number::UDP.0)));
    }
    if fragmented {
        return Err(SkipReason::IpFragment);
    }
    let [_, _, _, _, high, low, _, _, rest @ ..] = datagram.data else {
        return Err(datagram.incomplete());
    };
    // Zero if the packet was not segmented yet.
    let length = usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(8);
    let data = rest.get(..length).filter(|data| !data.is_empty()).unwrap_or(rest);
    Ok(IpPayload::Tunnel(Part { layer: Layer::Udp(port), data, ..datagram }))
}

/// Whether an IP packet is complete, or the first fragment.
fn is_first_fragment(ip: &LaxIpSlice<'_>) -> bool {
    match ip {
        LaxIpSlice::Ipv4(v4) => v4.header().fragments_offset().value() == 0,
        LaxIpSlice::Ipv6(v6) => v6.extensions().clone().into_iter().all(|extension| {
            !matches!(extension, Ipv6ExtensionSlice::Fragment(fragment)
                if fragment.fragment_offset().value() > 0)
        }),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    /// IP packets of both versions, with and without options and extensions.
    fn ip_packets() -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for payload in [&b""[..], b"payload", &[7; 1000]] {
            for options in [false, true] {
                let v4 = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
                let v6 = PacketBuilder::ipv6([1; 16], [2; 16], 64);
                for ip in [v4, v6] {
                    let tcp = ip.tcp(50_000, 104, 1_000_000, 5000).syn().ack(77);
                    let tcp = if options { tcp.options_raw(&[1; 12]).unwrap() } else { tcp };
                    let mut packet = Vec::new();
                    tcp.write(&mut packet, payload).unwrap();
                    packets.push(packet);
                }
            }
        }
        packets
    }

    /// The headers of `packet` with some bytes changed.
    fn changed(packet: &[u8], random: &mut impl FnMut() -> usize) -> Vec<u8> {
        let mut packet = packet.to_vec();
        for _ in 0..random() % 4 {
            let at = random() % packet.len().min(80);
            packet[at] = match random() % 4 {
                0 => packet[at] ^ (1 << (random() % 8)),
                1 => [0, 4, 5, 6, 0x45, 0x46, 0x60, 0xff][random() % 8],
                _ => random() as u8,
            };
        }
        match random() % 4 {
            0 => packet.truncate(random() % (packet.len() + 1)),
            1 => packet.extend([0; 6]),
            _ => {}
        }
        packet
    }

    #[test]
    fn plain_segments_are_read_as_any_other() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        let packets = ip_packets();
        let (mut plain, mut other) = (0, 0);
        for number in 0..200_000 {
            let packet = changed(&packets[number % packets.len()], &mut random);
            let cut = (random() % 3) as u32 * 100;
            let part = Part { layer: Layer::Ip, data: &packet, cut, tunnel: None };
            let slow = ip(&part);
            match plain_segment(&packet) {
                Some(segment) => {
                    plain += 1;
                    assert_eq!(slow, Ok(IpPayload::Tcp(segment)), "{packet:02x?}");
                }
                None => other += usize::from(matches!(slow, Ok(IpPayload::Tcp(_)))),
            }
        }
        // Most packets are plain, and some are read by the other function only.
        assert!(plain > 100_000 && other > 100, "{plain} {other}");
    }

    /// A complete Ethernet frame.
    fn content_of(data: &[u8]) -> Content<'_> {
        content(&Packet { frame: 1, time: 0, link: Linktype::ETHERNET, data, cut: 0 })
    }

    #[test]
    fn nesting_is_bounded() {
        let [.., inner] = &ip_packets()[..1] else { unreachable!("one packet") };
        let nested = |tunnels: usize| {
            let mut packet = inner.clone();
            for _ in 0..tunnels {
                // IPv4 with GRE.
                let total = (24 + packet.len()) as u16;
                let mut outer = vec![0x45, 0, (total >> 8) as u8, total as u8];
                outer.extend([0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
                outer.extend([0, 0, 8, 0]);
                packet = [outer, packet].concat();
            }
            [&[0; 12][..], &[8, 0], &packet].concat()
        };
        for tunnels in 0..=8 {
            let packet = nested(tunnels);
            assert!(matches!(content_of(&packet), Content::Tcp(_)), "{tunnels}");
        }
        assert_eq!(content_of(&nested(1000)), Content::Skipped(SkipReason::Nesting));
        // Labels and tags without an end.
        let labels = [&[0; 12][..], &[0x88, 0x47], &[0; 60_000]].concat();
        assert_eq!(content_of(&labels), Content::Skipped(SkipReason::Malformed));
        let tags = [&[0; 12][..], &[0x81, 0, 0, 0].repeat(1000)].concat();
        assert_eq!(content_of(&tags), Content::Skipped(SkipReason::Nesting));
    }
}
