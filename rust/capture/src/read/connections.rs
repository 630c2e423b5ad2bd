//! The TCP connections of a capture.

use std::collections::HashMap;
use std::net::SocketAddr;

use ahash::RandomState;

use crate::read::reassembly::{CaptureTime, Half};
use crate::read::segments::Segment;

/// A TCP connection.
#[derive(Debug)]
pub struct Connection<T> {
    /// The number of the connection, as Wireshark's `tcp.stream`.
    pub number: u32,
    /// The sender of the first captured packet, and the other end.
    pub ends: [SocketAddr; 2],
    /// The directions of both ends.
    pub halves: [Half; 2],
    /// What is read from its streams.
    pub content: T,
    /// The number of the first packet in the file.
    first_frame: u64,
    /// The number of the last packet.
    pub last_frame: u64,
    /// Whether it was reset.
    reset: bool,
    /// Whether another connection has the same ports now.
    pub is_replaced: bool,
    /// Whether it is in [`Connections::changed`].
    is_changed: bool,
    /// Whether its payload is dropped.
    pub is_ignored: bool,
    /// Whether it is known to be an association.
    pub is_association: bool,
}

/// The connections, while segments are added in the order of their times. Connections have indexes,
/// which are used again.
#[derive(Debug)]
pub struct Connections<T> {
    all: Vec<Option<Connection<T>>>,
    free: Vec<usize>,
    /// The last connection between two endpoints. Ports may be reused.
    last: HashMap<[SocketAddr; 2], usize, RandomState>,
    /// The endpoints of the last segment, and their connection.
    recent: Option<([SocketAddr; 2], usize)>,
    /// The connections with new segments, and those of them that are new.
    changed: Vec<usize>,
    new: Vec<usize>,
    /// The number of connections so far.
    count: u32,
}

impl<T> Default for Connections<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            free: Vec::new(),
            last: HashMap::default(),
            recent: None,
            changed: Vec::new(),
            new: Vec::new(),
            count: 0,
        }
    }
}

fn sorted(source: SocketAddr, destination: SocketAddr) -> [SocketAddr; 2] {
    if source <= destination { [source, destination] } else { [destination, source] }
}

impl<T: Default> Connections<T> {
    /// Adds a segment.
    pub fn add(&mut self, seen: CaptureTime, segment: &Segment<'_>) {
        let ends = [segment.source, segment.destination];
        let known = match self.recent {
            Some((recent, index)) if recent == ends || recent == [ends[1], ends[0]] => Some(index),
            _ => self.last.get(&sorted(ends[0], ends[1])).copied(),
        };
        let known = known.filter(|&known| {
            let contains = self.get(known).contains(segment);
            if !contains {
                self.get_mut(known).is_replaced = true;
                self.change(known);
            }
            contains
        });
        let index = known.unwrap_or_else(|| self.open(ends, seen.frame));
        self.recent = Some((ends, index));
        if !self.get(index).is_changed {
            self.change(index);
        }
        self.get_mut(index).add(seen, segment);
    }

    fn open(&mut self, ends: [SocketAddr; 2], frame: u64) -> usize {
        let index = self.free.pop().unwrap_or(self.all.len());
        if index == self.all.len() {
            self.all.push(None);
        }
        self.all[index] = Some(Connection::new(ends, frame));
        self.last.insert(sorted(ends[0], ends[1]), index);
        self.new.push(index);
        index
    }

    fn change(&mut self, index: usize) {
        let connection = self.get_mut(index);
        if !connection.is_changed {
            connection.is_changed = true;
            self.changed.push(index);
        }
    }
}

impl<T> Connections<T> {
    /// The connection with an index.
    pub fn get(&self, index: usize) -> &Connection<T> {
        self.all[index].as_ref().expect("the connection is open")
    }

    /// The connection with an index.
    pub fn get_mut(&mut self, index: usize) -> &mut Connection<T> {
        self.all[index].as_mut().expect("the connection is open")
    }

    /// Whether there is a connection with an index.
    pub fn contains(&self, index: usize) -> bool {
        self.all.get(index).is_some_and(Option::is_some)
    }

    /// Numbers the new connections, in the order of their first packets in the file. Returns their
    /// number.
    pub fn number_new(&mut self) -> u64 {
        let mut new = std::mem::take(&mut self.new);
        new.sort_by_key(|&index| self.get(index).first_frame);
        for &index in &new {
            self.get_mut(index).number = self.count;
            self.count = self.count.wrapping_add(1);
        }
        new.len() as u64
    }

    /// The connections that have changed since the last call, by number.
    pub fn take_changed(&mut self) -> Vec<usize> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|&index| self.contains(index));
        for &index in &changed {
            self.get_mut(index).is_changed = false;
        }
        changed.sort_by_key(|&index| self.get(index).number);
        changed
    }

    /// All connections, by number.
    pub fn indexes(&self) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.all.len()).filter(|&one| self.contains(one)).collect();
        all.sort_by_key(|&index| self.get(index).number);
        all
    }

    /// The number of connections.
    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Forgets a connection.
    pub fn remove(&mut self, index: usize) {
        let connection = self.all[index].take().expect("the connection is open");
        self.free.push(index);
        self.recent = None;
        let key = sorted(connection.ends[0], connection.ends[1]);
        if self.last.get(&key) == Some(&index) {
            self.last.remove(&key);
        }
    }
}

/// The maximum distance of a late SYN after data.
const LATE: u32 = 1 << 16;

impl<T: Default> Connection<T> {
    fn new(ends: [SocketAddr; 2], frame: u64) -> Self {
        Self {
            number: 0,
            ends,
            halves: Default::default(),
            content: T::default(),
            first_frame: frame,
            last_frame: frame,
            reset: false,
            is_replaced: false,
            is_changed: false,
            is_ignored: false,
            is_association: false,
        }
    }
}

impl<T> Connection<T> {
    fn side(&self, source: SocketAddr) -> usize {
        usize::from(self.ends[0] != source)
    }

    /// Whether it was reset, or both sides have ended it.
    pub fn is_closed(&self) -> bool {
        self.reset || self.has_fins()
    }

    /// Whether both sides have ended it.
    pub fn has_fins(&self) -> bool {
        self.halves.iter().all(Half::has_fin)
    }

    /// Whether a segment belongs to this connection, and not to a new one on the same ports.
    fn contains(&self, segment: &Segment<'_>) -> bool {
        if !segment.syn {
            return true;
        }
        let half = &self.halves[self.side(segment.source)];
        match (half.syn, half.lowest()) {
            (Some(syn), _) => syn == segment.sequence,
            (None, _) if self.is_closed() => false,
            (None, None) => true,
            (None, Some(lowest)) => lowest.wrapping_sub(segment.sequence) < LATE,
        }
    }

    fn add(&mut self, seen: CaptureTime, segment: &Segment<'_>) {
        self.first_frame = self.first_frame.min(seen.frame);
        self.last_frame = self.last_frame.max(seen.frame);
        if segment.rst {
            // The sequence numbers of a reset are arbitrary.
            self.reset = true;
            return;
        }
        if !segment.payload.is_empty() {
            // The host has ignored the reset, for example one of an earlier connection.
            self.reset = false;
        }
        let side = self.side(segment.source);
        let half = &mut self.halves[side];
        half.add(seen, segment, !self.is_ignored);
        // Both directions of an association begin with a PDU (PS3.8 9.3).
        let is_undecided = !self.is_ignored && !self.is_association;
        if is_undecided && half.first_byte().is_some_and(|byte| !(1..=7).contains(&byte)) {
            self.is_ignored = true;
            self.halves.iter_mut().for_each(Half::clear);
        }
        if let Some(acknowledged) = segment.acknowledged {
            self.halves[1 - side].acknowledge(acknowledged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 49152);
    const SERVER: ([u8; 4], u16) = ([192, 0, 2, 2], 104);

    /// Sender, sequence number, flags (S, F, R), payload.
    type Sent<'a> = (([u8; 4], u16), u32, &'a str, &'a [u8]);

    fn connections(sent: &[Sent<'_>]) -> Connections<()> {
        let mut connections = Connections::default();
        for (number, &(source, sequence, flags, payload)) in sent.iter().enumerate() {
            let frame = number as u64 + 1;
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
            connections.add(CaptureTime { time: frame as i64 * 1000, frame }, &segment);
        }
        connections.number_new();
        connections
    }

    #[test]
    fn ports_are_reused() {
        let mut all = connections(&[
            (CLIENT, 7, "S", b""),
            (SERVER, 70, "S", b""),
            (CLIENT, 8, "", b"\x01first"),
            (CLIENT, 5000, "S", b""),
            (SERVER, 80, "S", b""),
            (CLIENT, 5001, "", b"\x01second"),
        ]);
        assert_eq!(all.indexes(), [0, 1]);
        assert!(all.get(0).is_replaced && !all.get(1).is_replaced);
        assert_eq!(all.get_mut(0).halves[0].take(true).unwrap().bytes, b"\x01first");
        assert_eq!(all.get_mut(1).halves[0].take(true).unwrap().bytes, b"\x01second");
        assert_eq!(all.get(1).number, 1);
        all.remove(0);
        assert_eq!((all.len(), all.take_changed()), (1, vec![1]));
    }

    #[test]
    fn a_syn_may_come_late_but_not_after_the_end() {
        let late: [Sent<'_>; 2] = [(CLIENT, 8, "", b"data"), (CLIENT, 7, "S", b"")];
        assert_eq!(connections(&late).len(), 1);
        let after: [Sent<'_>; 3] =
            [(CLIENT, 8, "", b"data"), (SERVER, 9, "R", b""), (CLIENT, 7, "S", b"")];
        assert_eq!(connections(&after).len(), 2);
    }

    #[test]
    fn the_payload_of_other_protocols_is_dropped() {
        let mut all = connections(&[(CLIENT, 7, "S", b""), (CLIENT, 8, "", b"GET / HTTP/1.1")]);
        assert!(all.get(0).is_ignored);
        assert_eq!(all.get_mut(0).halves[0].take(true), None);
    }
}
