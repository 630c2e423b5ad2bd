//! The packets without a TCP segment that could be read, by reason.

use std::collections::BTreeMap;
use std::fmt;

use etherparse::IpNumber;

use crate::fault::{Fault, FaultKind};

/// Why a packet has no TCP segment that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// A fragment of an IP packet, which may contain a TCP segment.
    IpFragment,
    /// The packet was not captured completely, and its headers end after the captured part.
    HeadersCut,
    /// A packet of an unsupported link layer.
    LinkType(i32),
    /// A header that is invalid or longer than the packet.
    Malformed,
    /// Another protocol than TCP, possibly inside a tunnel.
    Protocol(Protocol, Option<Tunnel>),
    /// Too many headers before a TCP segment.
    Nesting,
    /// Any reason after many different ones.
    Other,
}

/// A protocol that contains no TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// The protocol of an IP packet.
    Ip(u8),
    /// The EtherType of a frame.
    EtherType(u16),
    /// An IEEE 802.2 frame without an EtherType.
    Llc,
    /// The protocol of a PPP frame.
    Ppp(u16),
    /// An MPLS packet of neither IP nor Ethernet.
    Mpls,
}

/// A protocol that carries packets of other protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of protocols")]
pub enum Tunnel {
    EtherIp,
    Erspan,
    Geneve,
    Gre,
    IpInIp,
    Mpls,
    Pppoe,
    Vxlan,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IpFragment => f.write_str("IP fragment"),
            Self::HeadersCut => f.write_str("incomplete headers"),
            Self::LinkType(number) => {
                write!(f, "link type {number}")?;
                link_type_name(number).map_or(Ok(()), |name| write!(f, " ({name})"))
            }
            Self::Malformed => f.write_str("malformed headers"),
            Self::Protocol(protocol, None) => write!(f, "{protocol}"),
            Self::Protocol(protocol, Some(tunnel)) => write!(f, "{protocol} in {tunnel}"),
            Self::Nesting => f.write_str("too many nested headers"),
            Self::Other => f.write_str("other reasons"),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ip(number) => match IpNumber(number).keyword_str() {
                Some(name) => f.write_str(name),
                None => write!(f, "IP protocol {number}"),
            },
            Self::EtherType(number) => match ether_type_name(number) {
                Some(name) => f.write_str(name),
                None => write!(f, "EtherType 0x{number:04x}"),
            },
            Self::Llc => f.write_str("LLC"),
            // Protocols that configure a link (RFC 1661).
            Self::Ppp(0x8000..) => f.write_str("PPP control"),
            Self::Ppp(number) => write!(f, "PPP protocol 0x{number:04x}"),
            Self::Mpls => f.write_str("MPLS without IP"),
        }
    }
}

/// The names of frequent link types without IP packets that could be read.
fn link_type_name(number: i32) -> Option<&'static str> {
    Some(match number {
        6 => "IEEE802_5",
        10 => "FDDI",
        105 => "IEEE802_11",
        107 => "FRELAY",
        119 => "IEEE802_11_PRISM",
        127 => "IEEE802_11_RADIOTAP",
        187 => "BLUETOOTH_HCI_H4",
        189 => "USB_LINUX",
        192 => "PPI",
        195 => "IEEE802_15_4_WITHFCS",
        201 => "BLUETOOTH_HCI_H4_WITH_PHDR",
        220 => "USB_LINUX_MMAPPED",
        239 => "NFLOG",
        249 => "USBPCAP",
        252 => "WIRESHARK_UPPER_PDU",
        253 => "NETLINK",
        258 => "PKTAP",
        _ => return None,
    })
}

fn ether_type_name(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0806 => "ARP",
        0x8035 => "RARP",
        0x8809 => "slow protocols (LACP)",
        0x8863 => "PPPoE discovery",
        0x888e => "EAPOL",
        0x8892 => "PROFINET",
        0x88cc => "LLDP",
        0x88e5 => "MACsec",
        0x88f7 => "PTP",
        0x8914 | 0x8906 => "FCoE",
        0x9000 => "loopback test",
        _ => return None,
    })
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EtherIp => "EtherIP",
            Self::Erspan => "ERSPAN",
            Self::Geneve => "GENEVE",
            Self::Gre => "GRE",
            Self::IpInIp => "IP-in-IP",
            Self::Mpls => "MPLS",
            Self::Pppoe => "PPPoE",
            Self::Vxlan => "VXLAN",
        })
    }
}

/// The maximum number of different reasons. A hostile capture has many.
const MAX_REASONS: usize = 256;

/// The numbers of skipped packets by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SkippedPackets {
    /// The number of packets, and the first of them.
    by_reason: BTreeMap<SkipReason, (u64, u64)>,
}

impl SkippedPackets {
    /// Counts a packet.
    pub fn add(&mut self, reason: SkipReason, frame: u64) {
        let full = self.by_reason.len() >= MAX_REASONS && !self.by_reason.contains_key(&reason);
        let reason = if full { SkipReason::Other } else { reason };
        self.by_reason.entry(reason).or_insert((0, frame)).0 += 1;
    }

    /// The reasons, with the number of packets and the first of them.
    pub fn iter(&self) -> impl Iterator<Item = (SkipReason, u64, u64)> {
        self.by_reason.iter().map(|(&reason, &(count, first))| (reason, count, first))
    }

    /// The numbers of packets by the text of the reason.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (reason, count, _) in self.iter() {
            *counts.entry(reason.to_string()).or_default() += count;
        }
        counts
    }

    /// The faults of packets that may contain a TCP segment.
    pub fn faults(&self) -> impl Iterator<Item = Fault> {
        self.iter().filter_map(|(reason, packets, first)| {
            let kind = match reason {
                SkipReason::IpFragment => FaultKind::IpFragments(packets),
                SkipReason::HeadersCut => FaultKind::HeadersCut(packets),
                SkipReason::LinkType(link) => FaultKind::LinkType { link, packets },
                _ => return None,
            };
            Some(Fault::file(kind, Some(first)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_up_to_a_maximum() {
        let mut skipped = SkippedPackets::default();
        for frame in 1..=1000 {
            skipped
                .add(SkipReason::Protocol(Protocol::EtherType(0x1000 + frame as u16), None), frame);
        }
        skipped.add(SkipReason::Protocol(Protocol::EtherType(0x1001), None), 1001);
        let counts = skipped.counts();
        assert_eq!(counts.len(), MAX_REASONS + 1);
        assert_eq!((counts["EtherType 0x1001"], counts["EtherType 0x1100"]), (2, 1));
        assert_eq!(counts["other reasons"], 1000 - MAX_REASONS as u64);
    }

    #[test]
    fn packets_that_may_contain_a_segment_are_faults() {
        let mut skipped = SkippedPackets::default();
        let reasons = [
            SkipReason::LinkType(105),
            SkipReason::IpFragment,
            SkipReason::Protocol(Protocol::Ip(17), Some(Tunnel::Vxlan)),
            SkipReason::IpFragment,
            SkipReason::LinkType(999),
        ];
        for (number, reason) in reasons.into_iter().enumerate() {
            skipped.add(reason, number as u64 + 1);
        }
        let faults: Vec<_> =
            skipped.faults().map(|fault| (fault.kind.code(), fault.frame.unwrap())).collect();
        assert_eq!(faults, [("ip-fragments", 2), ("link-type", 1), ("link-type", 5)]);
        let counts: Vec<_> = skipped.counts().into_iter().collect();
        let expected = [
            ("IP fragment", 2),
            ("UDP in VXLAN", 1),
            ("link type 105 (IEEE802_11)", 1),
            ("link type 999", 1),
        ];
        assert_eq!(counts, expected.map(|(reason, count)| (reason.to_owned(), count)));
    }
}
