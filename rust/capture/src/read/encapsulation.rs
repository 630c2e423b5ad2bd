//! The headers before an IP packet: link layers, tags, labels, and tunnels.
//!
//! Each function removes one header. A packet inside a tunnel is read like any other: its connection
//! has the inner addresses, so the same addresses in two tunnels are one connection.

use etherparse::{LaxMacsecPayloadSlice, LaxMacsecSlice};
use pcap_parser::Linktype;

use crate::read::skipped::{Protocol, SkipReason, Tunnel};

/// The protocol of a part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The first header of a packet.
    Link(Linktype),
    /// An Ethernet frame.
    Ethernet,
    /// The payload of a frame with an EtherType.
    EtherType(u16),
    /// An IP packet of either version.
    Ip,
    /// MPLS labels.
    Mpls,
    /// A PPP frame, with or without its address and control fields.
    Ppp,
    /// The payload of an IP packet that is a tunnel of this protocol.
    IpProtocol(u8),
    /// The payload of a UDP datagram to this port.
    Udp(u16),
}

/// A part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its protocol.
    pub layer: Layer,
    /// The captured bytes.
    pub data: &'a [u8],
    /// The number of bytes that were not captured.
    pub cut: u32,
    /// The innermost tunnel around it.
    pub tunnel: Option<Tunnel>,
}

/// Protocols of IP (IANA protocol numbers).
pub const IPV4_IN_IP: u8 = 4;
/// IPv6 in IP.
pub const IPV6_IN_IP: u8 = 41;
/// Generic Routing Encapsulation.
pub const GRE: u8 = 47;
/// Ethernet in IP (RFC 3378).
pub const ETHER_IP: u8 = 97;
/// MPLS in IP (RFC 4023).
pub const MPLS_IN_IP: u8 = 137;

/// UDP ports. 8472 is Linux's default for VXLAN.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const VXLAN_GPE_PORT: u16 = 4790;
const GENEVE_PORT: u16 = 6081;
const MPLS_PORT: u16 = 6635;

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ETHERNET: u16 = 0x6558;
const MPLS: u16 = 0x8847;
const PPP: u16 = 0x880b;
/// Lower numbers are lengths, of a frame with an IEEE 802.2 header.
const FIRST_ETHER_TYPE: u16 = 0x0600;

/// Link types without a name in the crate.
const PPP_LINK: Linktype = Linktype(9);
const RAW_OF_BSD: Linktype = Linktype(12);
const RAW_OF_OPENBSD: Linktype = Linktype(14);
const PPP_HDLC: Linktype = Linktype(50);
const PPPOE_LINK: Linktype = Linktype(51);
const CISCO_HDLC: Linktype = Linktype(104);
const PPP_OF_PPPD: Linktype = Linktype(166);
const PPP_WITH_DIRECTION: Linktype = Linktype(204);

/// Whether UDP datagrams to a port can be tunnels.
pub fn is_tunnel_port(port: u16) -> bool {
    VXLAN_PORTS.contains(&port) || [VXLAN_GPE_PORT, GENEVE_PORT, MPLS_PORT].contains(&port)
}

/// Whether packets of an IP protocol are tunnels.
pub fn is_tunnel_protocol(protocol: u8) -> bool {
    [IPV4_IN_IP, IPV6_IN_IP, GRE, ETHER_IP, MPLS_IN_IP].contains(&protocol)
}

impl<'a> Part<'a> {
    /// Removes the header of any layer except IP.
    pub fn payload(&self) -> Result<Self, SkipReason> {
        match self.layer {
            Layer::Link(link) => self.link(link),
            Layer::Ethernet => self.after(Layer::EtherType(self.number(12)?), 14),
            Layer::EtherType(ether_type) => self.ether_type(ether_type),
            Layer::Ip => Ok(*self),
            Layer::Mpls => self.mpls(),
            Layer::Ppp => self.ppp(),
            Layer::IpProtocol(protocol) => self.ip_protocol(protocol),
            Layer::Udp(port) => self.udp(port),
        }
    }

    /// The reason why no header can be read here.
    pub fn incomplete(&self) -> SkipReason {
        if self.cut > 0 { SkipReason::HeadersCut } else { SkipReason::Malformed }
    }

    /// The reason that a protocol contains no TCP segment.
    pub fn without_segment(&self, protocol: Protocol) -> SkipReason {
        SkipReason::Protocol(protocol, self.tunnel)
    }

    fn after(self, layer: Layer, header: usize) -> Result<Self, SkipReason> {
        let data = self.data.get(header..).ok_or_else(|| self.incomplete())?;
        Ok(Self { layer, data, ..self })
    }

    fn inside(self, tunnel: Tunnel) -> Self {
        Self { tunnel: Some(tunnel), ..self }
    }

    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], SkipReason> {
        let bytes = self.data.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().ok_or_else(|| self.incomplete())
    }

    fn number(&self, at: usize) -> Result<u16, SkipReason> {
        Ok(u16::from_be_bytes(self.bytes(at)?))
    }

    fn link(self, link: Linktype) -> Result<Self, SkipReason> {
        match link {
            Linktype::ETHERNET => self.after(Layer::Ethernet, 0),
            // The header is an address family in the byte order of the capturing machine. IP has its
            // own version field.
            Linktype::NULL | Linktype::LOOP => self.after(Layer::Ip, 4),
            // The EtherType is the last field of version 1 of the cooked header, and the first one
            // of version 2.
            Linktype::LINUX_SLL => self.after(Layer::EtherType(self.number(14)?), 16),
            Linktype::LINUX_SLL2 => self.after(Layer::EtherType(self.number(0)?), 20),
            Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | RAW_OF_BSD | RAW_OF_OPENBSD => {
                self.after(Layer::Ip, 0)
            }
            PPP_LINK => self.after(Layer::Ppp, 0),
            PPP_HDLC => match self.bytes(0)? {
                // The addresses of Cisco's HDLC, whose protocols are EtherTypes.
                [0x0f | 0x8f] => self.after(Layer::EtherType(self.number(2)?), 4),
                _ => self.after(Layer::Ppp, 0),
            },
            CISCO_HDLC => self.after(Layer::EtherType(self.number(2)?), 4),
            PPPOE_LINK => self.pppoe(),
            PPP_WITH_DIRECTION | PPP_OF_PPPD => self.after(Layer::Ppp, 1),
            _ => Err(SkipReason::LinkType(link.0)),
        }
    }

    fn ether_type(self, ether_type: u16) -> Result<Self, SkipReason> {
        match ether_type {
            IPV4 | IPV6 => self.after(Layer::Ip, 0),
            // VLAN tags.
            0x8100 | 0x88a8 | 0x9100 => self.after(Layer::EtherType(self.number(2)?), 4),
            MPLS | 0x8848 => self.after(Layer::Mpls, 0),
            0x8864 => self.pppoe(),
            ETHERNET => self.after(Layer::Ethernet, 0),
            PPP => self.after(Layer::Ppp, 0),
            // The service tag of a provider backbone bridge (IEEE 802.1Q 9.7).
            0x88e7 => self.after(Layer::Ethernet, 4),
            0x88e5 => self.macsec(),
            ..FIRST_ETHER_TYPE => match self.bytes(0)? {
                // SNAP with an EtherType (RFC 1042).
                [0xaa, 0xaa, 0x03, 0, 0, 0] => self.after(Layer::EtherType(self.number(6)?), 8),
                _ => Err(self.without_segment(Protocol::Llc)),
            },
            _ => Err(self.without_segment(Protocol::EtherType(ether_type))),
        }
    }

    fn macsec(self) -> Result<Self, SkipReason> {
        let macsec = LaxMacsecSlice::from_slice(self.data).map_err(|_| self.incomplete())?;
        match macsec.payload {
            LaxMacsecPayloadSlice::Unmodified(payload) => Ok(Self {
                layer: Layer::EtherType(payload.ether_type.0),
                data: payload.payload,
                ..self
            }),
            _ => Err(self.without_segment(Protocol::EtherType(0x88e5))),
        }
    }

    /// A PPPoE header (RFC 2516).
    fn pppoe(self) -> Result<Self, SkipReason> {
        let inside = self.inside(Tunnel::Pppoe);
        match self.bytes(0)? {
            // Version and type are 1, and the code of session data is 0.
            [0x11, 0] => inside.after(Layer::Ppp, 6),
            _ => Err(self.without_segment(Protocol::EtherType(0x8863))),
        }
    }

    /// A PPP header (RFC 1661, RFC 1662). Its first two bytes, and the first byte of its protocol,
    /// may be left out.
    fn ppp(self) -> Result<Self, SkipReason> {
        let at = match self.bytes(0)? {
            [0xff] if self.number(0)? == 0xff03 => 2,
            _ => 0,
        };
        let [first] = self.bytes(at)?;
        let (protocol, header) = match first & 1 {
            0 => (self.number(at)?, at + 2),
            _ => (first.into(), at + 1),
        };
        match protocol {
            0x0021 | 0x0057 => self.after(Layer::Ip, header),
            0x0281 | 0x0283 => self.after(Layer::Mpls, header),
            _ => Err(self.without_segment(Protocol::Ppp(protocol))),
        }
    }

    /// All labels of an MPLS packet (RFC 3032). The labels do not state the protocol after them.
    fn mpls(self) -> Result<Self, SkipReason> {
        let mut at = 0;
        while self.bytes::<3>(at)?[2] & 1 == 0 {
            at += 4;
        }
        let inside = self.inside(Tunnel::Mpls).after(Layer::Ethernet, at + 4)?;
        match inside.bytes(0)? {
            [0x40..=0x4f | 0x60..=0x6f] => Ok(Self { layer: Layer::Ip, ..inside }),
            // An associated channel of a pseudowire (RFC 4385).
            [0x10..=0x1f] => Err(self.without_segment(Protocol::Mpls)),
            // A control word, or an Ethernet address that begins with zeros.
            [0..=0x0f] => {
                let carries = |at| inside.number(at).is_ok_and(has_payload);
                let header = if carries(12) && !carries(16) { 0 } else { 4 };
                inside.after(Layer::Ethernet, header)
            }
            _ => Ok(inside),
        }
    }

    fn ip_protocol(self, protocol: u8) -> Result<Self, SkipReason> {
        match protocol {
            IPV4_IN_IP | IPV6_IN_IP => self.inside(Tunnel::IpInIp).after(Layer::Ip, 0),
            GRE => self.gre(),
            ETHER_IP => self.inside(Tunnel::EtherIp).after(Layer::Ethernet, 2),
            MPLS_IN_IP => self.after(Layer::Mpls, 0),
            _ => Err(self.without_segment(Protocol::Ip(protocol))),
        }
    }

    /// A GRE header (RFC 2784, RFC 2890, RFC 2637), with or without an ERSPAN header.
    fn gre(self) -> Result<Self, SkipReason> {
        let [flags, version] = self.bytes(0)?;
        let fields = [flags & 0x80, flags & 0x20, flags & 0x10, version & 0x80];
        let header = 4 + 4 * fields.iter().filter(|&&field| field > 0).count();
        // Version 1 is of PPTP. Routing fields are obsolete.
        if version & 0x07 > 1 || flags & 0x40 > 0 {
            return Err(self.without_segment(Protocol::Ip(GRE)));
        }
        let erspan = self.inside(Tunnel::Erspan);
        match self.number(2)? {
            // Type I has no header of its own, and no sequence numbers.
            0x88be if flags & 0x10 == 0 => erspan.after(Layer::Ethernet, header),
            0x88be => erspan.after(Layer::Ethernet, header + 8),
            0x22eb => {
                let more = self.bytes::<12>(header)?[11] & 1;
                erspan.after(Layer::Ethernet, header + 12 + 8 * usize::from(more))
            }
            ether_type => self.inside(Tunnel::Gre).after(Layer::EtherType(ether_type), header),
        }
    }

    fn udp(self, port: u16) -> Result<Self, SkipReason> {
        let other = self.without_segment(Protocol::Ip(17));
        match port {
            MPLS_PORT => self.after(Layer::Mpls, 0),
            GENEVE_PORT => {
                // The version and the length of the options (RFC 8926).
                let [first @ ..0x40, _, _, _] = self.bytes(0)? else { return Err(other) };
                let header = 8 + 4 * usize::from(first);
                self.inside(Tunnel::Geneve).after(Layer::EtherType(self.number(2)?), header)
            }
            // A valid network identifier (RFC 7348).
            _ if self.bytes::<8>(0)?[0] & 0x08 == 0 => Err(other),
            VXLAN_GPE_PORT => {
                // The next protocol, if the flag for it is set (draft-ietf-nvo3-vxlan-gpe).
                let layer = match self.bytes(0)? {
                    [flags, _, _, 1 | 2] if flags & 0x04 > 0 => Layer::Ip,
                    [flags, _, _, 5] if flags & 0x04 > 0 => Layer::Mpls,
                    [flags, _, _, 0 | 3] if flags & 0x04 > 0 => Layer::Ethernet,
                    [flags, ..] if flags & 0x04 > 0 => return Err(other),
                    _ => Layer::Ethernet,
                };
                self.inside(Tunnel::Vxlan).after(layer, 8)
            }
            _ => self.inside(Tunnel::Vxlan).after(Layer::Ethernet, 8),
        }
    }
}

/// Whether frames with an EtherType can contain an IP packet, or are common beside them.
fn has_payload(ether_type: u16) -> bool {
    matches!(ether_type, IPV4 | IPV6 | 0x0806 | 0x8100 | 0x88a8 | 0x8864 | MPLS)
}
