//! Reassembles TCP streams: retransmissions, reordering, gaps, both directions.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use crate::read::packets::Packet;
use crate::read::segments::Segment;

/// A TCP connection.
#[derive(Debug)]
pub struct Connection<'a> {
    /// The number of the connection, as Wireshark's `tcp.stream`.
    pub number: u32,
    /// The sender of the first captured packet, and the other end.
    pub ends: [SocketAddr; 2],
    /// The number of the first packet in the file.
    first_frame: u64,
    /// Whether it was reset.
    reset: bool,
    /// The directions of both ends.
    halves: [Half<'a>; 2],
}

/// One direction of a connection as captured.
#[derive(Debug, Default)]
struct Half<'a> {
    /// The sequence number of the SYN.
    syn: Option<u32>,
    /// The position of the first byte after the SYN.
    begin: Option<u64>,
    /// The lowest and the highest position. Sequence numbers are extended from the highest.
    lowest: Option<u64>,
    highest: Option<u64>,
    /// The captured pieces by position, without overlaps.
    pieces: BTreeMap<u64, Piece<'a>>,
    /// The known end of the stream: the highest position that was sent or acknowledged.
    end: u64,
    /// The position of the FIN.
    fin: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    bytes: &'a [u8],
    seen: CaptureTime,
}

/// When a packet was captured: ordered by time, then by number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaptureTime {
    /// In nanoseconds since 1970 (UTC).
    pub time: i64,
    /// The number of the packet, from 1.
    pub frame: u64,
}

/// The packet that carried a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The index of its first byte.
    pub at: usize,
    /// The number of the packet in the file.
    pub frame: u64,
    /// When all bytes up to the last one of the packet were captured.
    pub complete: CaptureTime,
}

/// The mark of the byte at `at`.
pub fn mark_of(marks: &[Mark], at: usize) -> Option<&Mark> {
    marks[..marks.partition_point(|mark| mark.at <= at)].last()
}

/// A contiguous part of one direction.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// Its offset in the direction.
    pub offset: u64,
    /// The number of missing bytes before it.
    pub missing: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The packets, in byte order.
    pub marks: Vec<Mark>,
}

/// One reassembled direction.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream {
    /// Whether its beginning was captured.
    pub begins: bool,
    /// The contiguous parts.
    pub runs: Vec<Run>,
    /// The number of missing bytes at its end.
    pub missing: u64,
}

/// The connections, while packets are added in the order of their times.
#[derive(Debug, Default)]
pub struct Connections<'a> {
    all: Vec<Connection<'a>>,
    /// The last connection between two endpoints. Ports may be reused.
    last: HashMap<[SocketAddr; 2], usize>,
}

impl<'a> Connections<'a> {
    /// Adds the segment of a packet.
    pub fn add(&mut self, packet: &Packet<'a>, segment: &Segment<'a>) {
        let mut key = [segment.source, segment.destination];
        key.sort();
        let known = self.last.get(&key).copied().filter(|&known| self.all[known].contains(segment));
        let index = known.unwrap_or(self.all.len());
        if known.is_none() {
            self.all.push(Connection::new(segment, packet.frame));
            self.last.insert(key, index);
        }
        self.all[index].add(packet, segment);
    }

    /// All connections, in the order of their first packets in the file.
    pub fn finish(mut self) -> Vec<Connection<'a>> {
        self.all.sort_by_key(|connection| connection.first_frame);
        for (number, connection) in self.all.iter_mut().enumerate() {
            connection.number = number as u32;
        }
        self.all
    }
}

/// The maximum distance of a late SYN after data.
const LATE: u64 = 1 << 16;

impl<'a> Connection<'a> {
    fn new(segment: &Segment<'_>, frame: u64) -> Self {
        Self {
            number: 0,
            ends: [segment.source, segment.destination],
            first_frame: frame,
            reset: false,
            halves: Default::default(),
        }
    }

    fn side(&self, source: SocketAddr) -> usize {
        usize::from(self.ends[0] != source)
    }

    fn closed(&self) -> bool {
        self.reset || self.halves.iter().all(|half| half.fin.is_some())
    }

    /// Whether a segment belongs to this connection, and not to a new one on the same ports.
    fn contains(&self, segment: &Segment<'_>) -> bool {
        let half = &self.halves[self.side(segment.source)];
        match (half.syn, half.lowest) {
            _ if !segment.syn => true,
            (Some(syn), _) => syn == segment.sequence,
            (None, _) if self.closed() => false,
            (None, None) => true,
            (None, Some(lowest)) => {
                u64::from((lowest as u32).wrapping_sub(segment.sequence)) < LATE
            }
        }
    }

    fn add(&mut self, packet: &Packet<'a>, segment: &Segment<'a>) {
        self.first_frame = self.first_frame.min(packet.frame);
        if segment.rst {
            // The sequence numbers of a reset are arbitrary.
            self.reset = true;
            return;
        }
        let side = self.side(segment.source);
        self.halves[side].add(packet, segment);
        if let Some(acknowledged) = segment.acknowledged {
            let other = &mut self.halves[1 - side];
            other.end = other.place(acknowledged).max(other.end);
        }
    }

    /// Whether a direction begins with anything but a PDU. Both directions of an association begin
    /// with one (PS3.8 9.3).
    pub fn begins_without_pdu(&self) -> bool {
        self.halves
            .iter()
            .any(|half| half.first_byte().is_some_and(|byte| !(1..=7).contains(&byte)))
    }

    /// The stream of the end `side`.
    pub fn stream(&mut self, side: usize) -> Stream {
        std::mem::take(&mut self.halves[side]).join()
    }
}

/// The origin of positions, so far from 0 that no position is before it.
const ORIGIN: u64 = 1 << 40;

impl<'a> Half<'a> {
    /// Extends a sequence number, which repeats after 4 GiB, to a position.
    fn place(&mut self, sequence: u32) -> u64 {
        let highest = *self.highest.get_or_insert(ORIGIN + u64::from(sequence));
        let ahead = sequence.wrapping_sub(highest as u32) as i32;
        let place = highest.saturating_add_signed(ahead.into());
        self.highest = Some(highest.max(place));
        place
    }

    fn add(&mut self, packet: &Packet<'a>, segment: &Segment<'a>) {
        let mut at = self.place(segment.sequence);
        if segment.syn {
            self.syn = Some(segment.sequence);
            at += 1;
            self.begin = Some(at);
        }
        self.lowest = Some(self.lowest.map_or(at, |lowest| lowest.min(at)));
        if !segment.payload.is_empty() {
            let seen = CaptureTime { time: packet.time, frame: packet.frame };
            self.fill(at, Piece { bytes: segment.payload, seen });
        }
        let end = at + segment.payload.len() as u64 + u64::from(segment.cut);
        if end > at {
            self.end = self.end.max(end);
        }
        if segment.fin {
            self.fin = Some(end);
        }
    }

    /// Adds the new bytes of a piece. The first of two copies counts.
    fn fill(&mut self, begin: u64, piece: Piece<'a>) {
        let end = begin + piece.bytes.len() as u64;
        let before = self.pieces.range(..=begin).next_back();
        let mut at =
            before.map_or(begin, |(&at, before)| begin.max(at + before.bytes.len() as u64));
        while at < end {
            let (next, beyond) = match self.pieces.range(at..end).next() {
                Some((&next, piece)) => (next, next + piece.bytes.len() as u64),
                None => (end, end),
            };
            if next > at {
                let bytes = &piece.bytes[(at - begin) as usize..(next - begin) as usize];
                self.pieces.insert(at, Piece { bytes, ..piece });
            }
            at = beyond;
        }
    }

    /// The first byte of the stream, if it was captured.
    fn first_byte(&self) -> Option<u8> {
        self.pieces.get(&self.begin?).map(|piece| piece.bytes[0])
    }

    fn join(self) -> Stream {
        let first = self.pieces.first_key_value().map(|(&at, _)| at);
        let origin = self.begin.or(first).or(self.lowest).unwrap_or(self.end);
        let mut runs: Vec<Run> = Vec::new();
        let mut expected = origin;
        let mut complete = None;
        for (&at, piece) in &self.pieces {
            // A keep-alive repeats a byte, even the one before the first.
            let before = usize::try_from(origin.saturating_sub(at)).unwrap_or(usize::MAX);
            let Some(bytes @ [_, ..]) = piece.bytes.get(before..) else { continue };
            let at = at.max(origin);
            if at > expected || runs.is_empty() {
                let (offset, missing) = (at - origin, at - expected);
                runs.push(Run { offset, missing, bytes: Vec::new(), marks: Vec::new() });
            }
            let run = runs.last_mut().expect("there is one now");
            let latest = complete.map_or(piece.seen, |before: CaptureTime| before.max(piece.seen));
            run.marks.push(Mark { at: run.bytes.len(), frame: piece.seen.frame, complete: latest });
            run.bytes.extend_from_slice(bytes);
            expected = at + bytes.len() as u64;
            complete = Some(latest);
        }
        let begins = self.begin.is_some();
        Stream { begins, runs, missing: self.missing_at_the_end(expected) }
    }

    fn missing_at_the_end(&self, expected: u64) -> u64 {
        match self.fin {
            Some(fin) => fin.saturating_sub(expected),
            // An acknowledgement of one more byte may acknowledge a FIN that was not captured.
            None => self.end.saturating_sub(expected).saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use pcap_parser::Linktype;

    use super::*;

    const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 49152);
    const SERVER: ([u8; 4], u16) = ([192, 0, 2, 2], 104);

    /// Sender, sequence number, flags (S, F, R), payload.
    type Sent<'a> = (([u8; 4], u16), u32, &'a str, &'a [u8]);

    fn connections<'a>(sent: &[Sent<'a>]) -> Vec<Connection<'a>> {
        let mut connections = Connections::default();
        for (number, &(source, sequence, flags, payload)) in sent.iter().enumerate() {
            let frame = number as u64 + 1;
            let packet = Packet {
                frame,
                time: frame as i64 * 1000,
                link: Linktype::ETHERNET,
                data: &[],
                cut: 0,
            };
            let destination = if source == CLIENT { SERVER } else { CLIENT };
            let segment = Segment {
                source: source.into(),
                destination: destination.into(),
                sequence,
                acknowledged: None,
                syn: flags.contains('S'),
                fin: flags.contains('F'),
                rst: flags.contains('R'),
                payload,
                cut: 0,
            };
            connections.add(&packet, &segment);
        }
        connections.finish()
    }

    fn only_stream(sent: &[Sent<'_>]) -> Stream {
        let mut all = connections(sent);
        assert_eq!(all.len(), 1);
        all[0].stream(0)
    }

    #[test]
    fn order_copies_and_overlaps_do_not_matter() {
        let stream = only_stream(&[
            (CLIENT, 99, "S", b""),
            (CLIENT, 103, "", b"defg"),
            (CLIENT, 100, "", b"abc"),
            (CLIENT, 99, "S", b""),
            (CLIENT, 102, "", b"XXXXXXh"),
            (CLIENT, 109, "F", b"i"),
            (CLIENT, 99, "", b"\0"),
        ]);
        let [run] = &stream.runs[..] else { panic!("{stream:?}") };
        assert_eq!((run.bytes.as_slice(), run.missing, stream.missing), (&b"abcdefgXhi"[..], 0, 0));
        // The bytes of the second packet were usable only after the third one.
        let frames = |at| mark_of(&run.marks, at).map(|mark| (mark.frame, mark.complete.frame));
        assert_eq!([frames(0), frames(3), frames(7)], [Some((3, 3)), Some((2, 3)), Some((5, 5))]);
    }

    #[test]
    fn sequence_numbers_wrap_around() {
        let sent: Vec<Sent<'_>> = (0..5)
            .map(|n: u32| (CLIENT, (u32::MAX - 4).wrapping_add(3 * n), "", &b"abc"[..]))
            .collect();
        let stream = only_stream(&[&[(CLIENT, u32::MAX - 5, "S", &b""[..])], &sent[..]].concat());
        assert_eq!(stream.runs.len(), 1);
        assert_eq!(stream.runs[0].bytes, b"abcabcabcabcabc");
    }

    #[test]
    fn gaps_separate_runs() {
        let stream = only_stream(&[
            (CLIENT, 0, "S", b""),
            (CLIENT, 11, "", b"later"),
            (CLIENT, 30, "F", b""),
        ]);
        assert_eq!(stream.runs.len(), 1);
        assert_eq!((stream.runs[0].offset, stream.runs[0].missing), (10, 10));
        assert_eq!((stream.begins, stream.missing), (true, 14));
        let stream = only_stream(&[(CLIENT, 50, "", b"a"), (CLIENT, 60, "", b"b")]);
        assert!(!stream.begins);
        assert_eq!((stream.runs[1].offset, stream.runs[1].missing), (10, 9));
    }

    #[test]
    fn ports_are_reused() {
        let mut all = connections(&[
            (CLIENT, 7, "S", b""),
            (SERVER, 70, "S", b""),
            (CLIENT, 8, "", b"first"),
            (CLIENT, 5000, "S", b""),
            (SERVER, 80, "S", b""),
            (CLIENT, 5001, "", b"second"),
        ]);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].stream(0).runs[0].bytes, b"first");
        assert_eq!(all[1].stream(0).runs[0].bytes, b"second");
        assert_eq!(all[1].number, 1);
    }

    #[test]
    fn a_syn_may_come_late_but_not_after_the_end() {
        let late: [Sent<'_>; 2] = [(CLIENT, 8, "", b"data"), (CLIENT, 7, "S", b"")];
        assert_eq!(connections(&late).len(), 1);
        let after: [Sent<'_>; 3] =
            [(CLIENT, 8, "", b"data"), (SERVER, 9, "R", b""), (CLIENT, 7, "S", b"")];
        assert_eq!(connections(&after).len(), 2);
    }
}
