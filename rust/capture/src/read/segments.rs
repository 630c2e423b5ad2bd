//! Reads the TCP segment of a packet.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, LenSource, TransportSlice, ip_number};
use pcap_parser::Linktype;

use crate::read::packets::Packet;

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
    /// A fragment of an IP packet, which may contain a TCP segment.
    IpFragment,
    /// A packet with incomplete headers.
    HeadersCut,
    /// Any other packet.
    Other,
    /// A packet of an unsupported link layer.
    UnknownLink,
}

/// The TCP segment of a packet, if it has one.
pub fn content<'a>(packet: &Packet<'a>) -> Content<'a> {
    let data = packet.data;
    let sliced = match packet.link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(data).ok(),
        // The header is an address family in the byte order of the capturing machine. IP has its
        // own version field.
        Linktype::NULL | Linktype::LOOP => data.get(4..).and_then(from_ip),
        // The EtherType is the last field of version 1 of the cooked header, and the first one of
        // version 2.
        Linktype::LINUX_SLL => from_ether_type(data, 14, 16),
        Linktype::LINUX_SLL2 => from_ether_type(data, 0, 20),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | RAW_OF_BSD | RAW_OF_OPENBSD => {
            from_ip(data)
        }
        _ => return Content::UnknownLink,
    };
    let Some(sliced) = sliced else { return without_segment(packet) };
    match segment(&sliced, packet.cut) {
        Some(content) => content,
        None if sliced.stop_err.is_some() => without_segment(packet),
        None => Content::Other,
    }
}

fn without_segment<'a>(packet: &Packet<'_>) -> Content<'a> {
    if packet.cut > 0 { Content::HeadersCut } else { Content::Other }
}

const RAW_OF_BSD: Linktype = Linktype(12);
const RAW_OF_OPENBSD: Linktype = Linktype(14);

fn from_ip(data: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    LaxSlicedPacket::from_ip(data).ok()
}

fn from_ether_type(data: &[u8], type_at: usize, header: usize) -> Option<LaxSlicedPacket<'_>> {
    let &[high, low] = data.get(type_at..)?.first_chunk()?;
    let ether_type = EtherType(u16::from_be_bytes([high, low]));
    Some(LaxSlicedPacket::from_ether_type(ether_type, data.get(header..)?))
}

/// `None` without a complete IP header and TCP header.
fn segment<'a>(sliced: &LaxSlicedPacket<'a>, packet_cut: u32) -> Option<Content<'a>> {
    let (source, destination, ip, announced) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(v4)) => {
            let header = v4.header();
            let before = header.slice().len()
                + v4.extensions().auth.map_or(0, |authentication| authentication.slice().len());
            let announced = usize::from(header.total_len()).saturating_sub(before);
            let (source, destination) = (header.source_addr(), header.destination_addr());
            (IpAddr::V4(source), IpAddr::V4(destination), v4.payload(), announced)
        }
        Some(LaxNetSlice::Ipv6(v6)) => {
            let header = v6.header();
            let before = v6.extensions().slice().len();
            let announced = usize::from(header.payload_length()).saturating_sub(before);
            let (source, destination) = (header.source_addr(), header.destination_addr());
            (IpAddr::V6(source), IpAddr::V6(destination), v6.payload(), announced)
        }
        Some(LaxNetSlice::Arp(_)) => return Some(Content::Other),
        None => return None,
    };
    if ip.ip_number != ip_number::TCP {
        return Some(Content::Other);
    }
    if ip.fragmented {
        return Some(Content::IpFragment);
    }
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
    let cut = match ip.len_source {
        _ if ip.incomplete => announced.saturating_sub(ip.payload.len()) as u32,
        // A packet that was passed to the network card before segmentation has no length of its
        // own.
        LenSource::Slice => packet_cut,
        _ => 0,
    };
    let (source_port, destination_port) = (tcp.source_port(), tcp.destination_port());
    Some(Content::Tcp(Segment {
        source: (source, source_port).into(),
        destination: (destination, destination_port).into(),
        sequence: tcp.sequence_number(),
        acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
        cut,
    }))
}
