//! The packets of a TCP connection (RFC 9293), from the handshake to the last acknowledgement.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader, TcpOptionElement};

/// A packet to write.
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    /// The time, in nanoseconds since 1970 (UTC).
    pub time: i64,
    /// The sender: end 0 or 1.
    pub side: usize,
    sequence: u32,
    acknowledged: Option<u32>,
    flags: Flags,
    payload: Cow<'a, [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flags {
    Syn,
    Ack,
    Push,
    Fin,
}

/// A connection while packets are added.
#[derive(Debug)]
pub struct Conversation<'a> {
    segment: usize,
    /// The next sequence number of each end.
    next: [u32; 2],
    /// The unacknowledged bytes of each end.
    in_flight: [usize; 2],
    packets: Vec<Packet<'a>>,
}

const WINDOW: u16 = u16::MAX;
/// A receiver acknowledges long before the window of the sender is full.
const ACKNOWLEDGED_AFTER: usize = WINDOW as usize / 4;

/// The payload of an Ethernet frame after the IP and TCP headers.
pub fn segment_size(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => 1460,
        IpAddr::V6(_) => 1440,
    }
}

impl<'a> Conversation<'a> {
    /// Opens a connection at `time`, by end 0. `number` determines its sequence numbers.
    pub fn open(number: u32, segment: u16, time: i64) -> Self {
        let first = number.wrapping_add(1).wrapping_mul(0x9e37_79b1);
        let mut opened = Self {
            segment: segment.into(),
            next: [first, !first],
            in_flight: [0; 2],
            packets: Vec::new(),
        };
        opened.push(0, Flags::Syn, Cow::Borrowed(&[]), time);
        opened.push(1, Flags::Syn, Cow::Borrowed(&[]), time);
        opened.push(0, Flags::Ack, Cow::Borrowed(&[]), time);
        opened
    }

    /// Sends bytes in separate segments.
    pub fn send(&mut self, side: usize, bytes: impl Into<Cow<'a, [u8]>>, time: i64) {
        match bytes.into() {
            Cow::Borrowed(bytes) => {
                for part in bytes.chunks(self.segment) {
                    self.send_part(side, part.into(), time);
                }
            }
            Cow::Owned(bytes) => {
                for part in bytes.chunks(self.segment) {
                    self.send_part(side, part.to_vec().into(), time);
                }
            }
        }
        let last = self.packets.iter_mut().rev().find(|packet| !packet.payload.is_empty());
        last.expect("something was sent").flags = Flags::Push;
    }

    fn send_part(&mut self, side: usize, part: Cow<'a, [u8]>, time: i64) {
        self.push(side, Flags::Ack, part, time);
        if self.in_flight[side] >= ACKNOWLEDGED_AFTER {
            self.push(1 - side, Flags::Ack, Cow::Borrowed(&[]), time);
        }
    }

    /// Closes the connection, beginning with end 0.
    pub fn close(mut self, time: i64) -> Vec<Packet<'a>> {
        self.push(0, Flags::Fin, Cow::Borrowed(&[]), time);
        self.push(1, Flags::Fin, Cow::Borrowed(&[]), time);
        self.push(0, Flags::Ack, Cow::Borrowed(&[]), time);
        self.packets
    }

    fn push(&mut self, side: usize, flags: Flags, payload: Cow<'a, [u8]>, time: i64) {
        let (sequence, other) = (self.next[side], 1 - side);
        // The first packet acknowledges nothing.
        let acknowledged = (!self.packets.is_empty()).then_some(self.next[other]);
        let counted = payload.len() as u32 + u32::from(matches!(flags, Flags::Syn | Flags::Fin));
        self.next[side] = sequence.wrapping_add(counted);
        self.in_flight[side] += payload.len();
        self.in_flight[other] = 0;
        self.packets.push(Packet { time, side, sequence, acknowledged, flags, payload });
    }
}

/// Locally administered addresses, which belong to no device.
const HARDWARE: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const HOPS: u8 = 64;

impl Packet<'_> {
    /// Appends the packet as an Ethernet frame. Both ends have the same IP version.
    pub fn write(&self, out: &mut Vec<u8>, ends: [SocketAddr; 2]) {
        let (from, to) = (ends[self.side], ends[1 - self.side]);
        let ethernet = PacketBuilder::ethernet2(HARDWARE[self.side], HARDWARE[1 - self.side]);
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), HOPS),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), HOPS),
            _ => unreachable!("both ends are of one IP version"),
        };
        let tcp = ip.tcp(from.port(), to.port(), self.sequence, WINDOW);
        self.flagged(tcp, from.ip())
            .write_to_vec(out, &self.payload)
            .expect("a segment fits its packet");
    }

    fn flagged(
        &self,
        tcp: PacketBuilderStep<TcpHeader>,
        from: IpAddr,
    ) -> PacketBuilderStep<TcpHeader> {
        let tcp = match self.acknowledged {
            Some(number) => tcp.ack(number),
            None => tcp,
        };
        match self.flags {
            Flags::Ack => tcp,
            Flags::Push => tcp.psh(),
            Flags::Fin => tcp.fin(),
            Flags::Syn => tcp
                .syn()
                .options(&[TcpOptionElement::MaximumSegmentSize(segment_size(from))])
                .expect("one option fits"),
        }
    }

    /// An estimate of its length in a file.
    pub fn length(&self) -> usize {
        // Headers of the file, Ethernet, IPv6, TCP with an option, and padding.
        32 + 14 + 40 + 24 + 3 + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_continue_and_all_data_is_acknowledged() {
        let bytes = vec![7; 100_000];
        let mut conversation = Conversation::open(3, 1460, 5);
        conversation.send(0, &bytes, 6);
        conversation.send(1, &b"answer"[..], 7);
        let packets = conversation.close(8);
        let mut next = [packets[0].sequence, packets[1].sequence];
        let mut sent = 0;
        for packet in &packets {
            assert_eq!(packet.sequence, next[packet.side]);
            assert!(packet.payload.len() <= 1460);
            let counted = matches!(packet.flags, Flags::Syn | Flags::Fin);
            next[packet.side] =
                next[packet.side].wrapping_add(packet.payload.len() as u32 + u32::from(counted));
            if packet.side == 0 {
                sent += packet.payload.len();
            } else {
                assert!(packet.acknowledged.is_some());
                sent = 0;
            }
            assert!(sent < WINDOW.into());
        }
        let last = packets.last().unwrap();
        assert_eq!(last.acknowledged, Some(next[1]));
        assert_eq!(packets.iter().filter(|packet| packet.flags == Flags::Push).count(), 2);
    }
}
