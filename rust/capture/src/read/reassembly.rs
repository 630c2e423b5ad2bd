//! Reassembles one direction of a TCP connection, in the order of sequence numbers (RFC 9293 3.4).

use std::collections::BTreeMap;

use crate::read::segments::Segment;

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
#[derive(Debug, Default, PartialEq, Eq)]
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

/// Contiguous captured bytes. The marks state when each packet was captured.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

impl Piece {
    fn append(&mut self, payload: &[u8], seen: CaptureTime) {
        self.marks.push(Mark { at: self.bytes.len(), frame: seen.frame, complete: seen });
        self.bytes.extend_from_slice(payload);
    }

    fn memory(&self) -> usize {
        /// The headers of the vectors, and a part of a node of the tree.
        const OVERHEAD: usize = 128;
        self.bytes.len() + self.marks.len() * size_of::<Mark>() + OVERHEAD
    }

    /// Removes the bytes before index `from`.
    fn trim(&mut self, from: usize) {
        self.bytes.drain(..from);
        let first = self.marks.partition_point(|mark| mark.at <= from).saturating_sub(1);
        self.marks.drain(..first);
        self.marks.iter_mut().for_each(|mark| mark.at = mark.at.saturating_sub(from));
    }
}

/// One direction of a connection. Positions are extended sequence numbers.
#[derive(Debug, Default)]
pub struct Half {
    /// The sequence number of the SYN.
    pub syn: Option<u32>,
    /// The position of the first byte after the SYN.
    begin: Option<u64>,
    /// The first byte after the SYN.
    first_byte: Option<u8>,
    /// The lowest and the highest position. Sequence numbers are extended from the highest.
    lowest: Option<u64>,
    highest: Option<u64>,
    /// The known end of the stream: the highest position that was sent or acknowledged.
    end: u64,
    /// The highest acknowledged position.
    acknowledged: u64,
    /// The position of the FIN.
    fin: Option<u64>,
    /// The bytes from `next` on, if there are no other pieces.
    in_order: Piece,
    next: u64,
    /// The pieces by position, without overlaps, while they are not all in order.
    pieces: BTreeMap<u64, Piece>,
    /// The memory of `pieces`.
    memory: usize,
    /// The position of the first byte of the first run; `None` before it was taken.
    origin: Option<u64>,
    /// When all bytes that were taken were captured.
    complete: Option<CaptureTime>,
    /// The segments that were not captured completely.
    pub cut: CutSegments,
}

/// Segments without their last bytes, because of a snapshot length.
#[derive(Debug, Default, Clone, Copy)]
pub struct CutSegments {
    /// Their number.
    pub segments: u64,
    /// The number of the first packet.
    pub first_frame: u64,
    /// The number of missing bytes in the direction.
    pub missing: u64,
    /// The number of gaps in the direction.
    pub gaps: u64,
}

/// The origin of positions, so far from 0 that no position is before it.
const ORIGIN: u64 = 1 << 40;

impl Half {
    /// Extends a sequence number, which repeats after 4 GiB, to a position.
    fn place(&mut self, sequence: u32) -> u64 {
        let highest = *self.highest.get_or_insert(ORIGIN + u64::from(sequence));
        let ahead = sequence.wrapping_sub(highest as u32) as i32;
        let place = highest.saturating_add_signed(ahead.into());
        self.highest = Some(highest.max(place));
        place
    }

    /// Adds a segment. Its payload is dropped if it is not wanted.
    pub fn add(&mut self, seen: CaptureTime, segment: &Segment<'_>, wants_payload: bool) {
        let mut at = self.place(segment.sequence);
        if segment.syn {
            self.syn = Some(segment.sequence);
            at += 1;
            if self.origin.is_none() && self.begin.is_none() {
                self.begin = Some(at);
                self.first_byte = self.captured(at);
            }
        }
        self.lowest = Some(self.lowest.map_or(at, |lowest| lowest.min(at)));
        if !segment.payload.is_empty() {
            if self.begin == Some(at) && self.first_byte.is_none() {
                self.first_byte = Some(self.captured(at).unwrap_or(segment.payload[0]));
            }
            if wants_payload {
                self.fill(at, segment.payload, seen);
            }
        }
        if segment.cut > 0 {
            if self.cut.segments == 0 {
                self.cut.first_frame = seen.frame;
            }
            self.cut.segments += 1;
        }
        let end = at + segment.payload.len() as u64 + u64::from(segment.cut);
        if end > at {
            self.end = self.end.max(end);
        }
        if segment.fin {
            self.fin = Some(end);
        }
    }

    /// The other side has received all bytes before a sequence number.
    pub fn acknowledge(&mut self, sequence: u32) {
        self.acknowledged = self.place(sequence).max(self.acknowledged);
        self.end = self.acknowledged.max(self.end);
    }

    /// Adds the new bytes of a payload. The first of two copies counts.
    fn fill(&mut self, begin: u64, payload: &[u8], seen: CaptureTime) {
        let taken = if self.origin.is_some() { self.next.saturating_sub(begin) } else { 0 };
        let begin = begin + taken;
        let Some(payload) = payload.get(usize::try_from(taken).unwrap_or(usize::MAX)..) else {
            return;
        };
        if self.pieces.is_empty() {
            if self.in_order.bytes.is_empty() && self.origin.is_none() {
                self.next = begin;
            }
            let end = self.next + self.in_order.bytes.len() as u64;
            if (self.next..=end).contains(&begin) {
                let new = payload.get((end - begin) as usize..).unwrap_or_default();
                if !new.is_empty() {
                    self.in_order.append(new, seen);
                }
                return;
            }
            self.set_aside();
        }
        self.fill_gaps(begin, payload, seen);
    }

    /// The bytes that seemed to be in order are not the next ones.
    fn set_aside(&mut self) {
        if !self.in_order.bytes.is_empty() {
            let piece = std::mem::take(&mut self.in_order);
            self.memory += piece.memory();
            self.pieces.insert(self.next, piece);
        }
    }

    fn fill_gaps(&mut self, begin: u64, payload: &[u8], seen: CaptureTime) {
        let end = begin + payload.len() as u64;
        let before = self.pieces.range(..=begin).next_back();
        let mut at =
            before.map_or(begin, |(&at, before)| begin.max(at + before.bytes.len() as u64));
        while at < end {
            let (next, beyond) = match self.pieces.range(at..end).next() {
                Some((&next, piece)) => (next, next + piece.bytes.len() as u64),
                None => (end, end),
            };
            if next > at {
                self.insert(at, &payload[(at - begin) as usize..(next - begin) as usize], seen);
            }
            at = beyond;
        }
    }

    fn insert(&mut self, at: u64, payload: &[u8], seen: CaptureTime) {
        let before = self.pieces.range_mut(..at).next_back();
        if let Some((&begin, piece)) = before
            && begin + piece.bytes.len() as u64 == at
        {
            piece.append(payload, seen);
            self.memory += payload.len() + size_of::<Mark>();
            return;
        }
        let mut piece = Piece::default();
        piece.append(payload, seen);
        self.memory += piece.memory();
        self.pieces.insert(at, piece);
    }

    /// The byte at a position, if it waits.
    fn captured(&self, at: u64) -> Option<u8> {
        if let Some(index) = at.checked_sub(self.next)
            && let Some(byte) = self.in_order.bytes.get(index as usize)
        {
            return Some(*byte);
        }
        let (&begin, piece) = self.pieces.range(..=at).next_back()?;
        piece.bytes.get((at - begin) as usize).copied()
    }

    /// Takes the bytes that follow those taken before. Takes bytes after a gap only if `is_lost`.
    pub fn take(&mut self, is_lost: bool) -> Option<Run> {
        loop {
            let (at, is_in_order) = self.first()?;
            let origin = *self.origin.get_or_insert(self.begin.unwrap_or(at));
            // A keep-alive repeats a byte, even the one before the first.
            let expected = if self.complete.is_some() { self.next } else { origin };
            if at > expected && !is_lost {
                self.set_aside();
                self.next = expected;
                return None;
            }
            let mut piece = match is_in_order {
                true => std::mem::take(&mut self.in_order),
                false => self.pieces.pop_first().expect("the first piece").1,
            };
            if !is_in_order {
                self.memory -= piece.memory();
            }
            let before = usize::try_from(expected.saturating_sub(at)).unwrap_or(usize::MAX);
            if before >= piece.bytes.len() {
                self.next = expected;
                continue;
            }
            if before > 0 {
                piece.trim(before);
            }
            let at = at.max(expected);
            self.next = at + piece.bytes.len() as u64;
            for mark in &mut piece.marks {
                let complete = self.complete.map_or(mark.complete, |one| one.max(mark.complete));
                self.complete = Some(complete);
                mark.complete = complete;
            }
            let (offset, missing) = (at - origin, at - expected);
            return Some(Run { offset, missing, bytes: piece.bytes, marks: piece.marks });
        }
    }

    /// The position of the first bytes that wait, and whether they are in order.
    fn first(&self) -> Option<(u64, bool)> {
        if !self.in_order.bytes.is_empty() {
            return Some((self.next, true));
        }
        self.pieces.first_key_value().map(|(&at, _)| (at, false))
    }

    /// Drops all bytes that wait.
    pub fn clear(&mut self) {
        self.in_order = Piece::default();
        self.pieces = BTreeMap::new();
        self.memory = 0;
    }

    /// Whether the SYN was captured.
    pub fn begins(&self) -> bool {
        self.begin.is_some()
    }

    /// The first byte of the stream, if it was captured.
    pub fn first_byte(&self) -> Option<u8> {
        self.first_byte
    }

    /// Whether the FIN was captured.
    pub fn has_fin(&self) -> bool {
        self.fin.is_some()
    }

    /// The lowest position, as a sequence number.
    pub fn lowest(&self) -> Option<u32> {
        self.lowest.map(|lowest| lowest as u32)
    }

    /// Whether all bytes up to the FIN were taken.
    pub fn is_complete(&self) -> bool {
        let taken = if self.origin.is_some() { Some(self.next) } else { self.begin };
        self.first().is_none() && self.fin.is_some_and(|fin| taken.is_some_and(|at| at >= fin))
    }

    /// Whether bytes are missing after those that were taken.
    pub fn has_gap(&self) -> bool {
        !self.pieces.is_empty() || self.lacks_acknowledged_bytes()
    }

    /// Whether the other side has received bytes after those that were taken. An acknowledgement of
    /// one more byte may acknowledge a FIN.
    fn lacks_acknowledged_bytes(&self) -> bool {
        let next = if self.origin.is_some() { Some(self.next) } else { self.begin.or(self.lowest) };
        next.is_some_and(|next| self.acknowledged > next + 1)
    }

    /// The memory of the bytes that wait for missing bytes before them.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Whether the receiver has acknowledged missing bytes. Such bytes are not sent again.
    pub fn waits_in_vain(&self) -> bool {
        let first = self.pieces.first_key_value();
        first.map_or(self.lacks_acknowledged_bytes(), |(&at, _)| at <= self.acknowledged)
    }

    /// The offset of the end of the bytes that were taken, and the number of bytes missing after it.
    pub fn missing_at_the_end(&self) -> (u64, u64) {
        let origin = self.origin.or(self.begin).or(self.lowest).unwrap_or(self.end);
        let expected = if self.complete.is_some() { self.next } else { origin };
        let missing = match self.fin {
            Some(fin) => fin.saturating_sub(expected),
            // An acknowledgement of one more byte may acknowledge a FIN that was not captured.
            None => self.end.saturating_sub(expected).saturating_sub(1),
        };
        (expected - origin, missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequence number, flags (S, F), payload.
    type Sent<'a> = (u32, &'a str, &'a [u8]);

    fn half(sent: &[Sent<'_>]) -> Half {
        let mut half = Half::default();
        for (number, &sent) in sent.iter().enumerate() {
            add(&mut half, number as u64 + 1, sent);
        }
        half
    }

    fn add(half: &mut Half, frame: u64, (sequence, flags, payload): Sent<'_>) {
        let segment = Segment {
            source: ([192, 0, 2, 1], 49152).into(),
            destination: ([192, 0, 2, 2], 104).into(),
            sequence,
            acknowledged: None,
            syn: flags.contains('S'),
            fin: flags.contains('F'),
            rst: false,
            payload,
            cut: 0,
        };
        half.add(CaptureTime { time: frame as i64 * 1000, frame }, &segment, true);
    }

    /// All runs, with contiguous ones joined.
    fn runs(half: &mut Half) -> Vec<Run> {
        let mut all: Vec<Run> = Vec::new();
        while let Some(run) = half.take(true) {
            match all.last_mut().filter(|_| run.missing == 0) {
                Some(last) => {
                    let base = last.bytes.len();
                    last.marks
                        .extend(run.marks.iter().map(|one| Mark { at: one.at + base, ..*one }));
                    last.bytes.extend(run.bytes);
                }
                None => all.push(run),
            }
        }
        all
    }

    #[test]
    fn order_copies_and_overlaps_do_not_matter() {
        let mut half = half(&[
            (99, "S", b""),
            (103, "", b"defg"),
            (100, "", b"abc"),
            (99, "S", b""),
            (102, "", b"XXXXXXh"),
            (109, "F", b"i"),
            (99, "", b"\0"),
        ]);
        let all = runs(&mut half);
        let [run] = &all[..] else { panic!("{all:?}") };
        assert_eq!((run.bytes.as_slice(), run.missing), (&b"abcdefgXhi"[..], 0));
        assert_eq!(half.missing_at_the_end(), (10, 0));
        // The bytes of the second packet were usable only after the third one.
        let frames = |at| mark_of(&run.marks, at).map(|mark| (mark.frame, mark.complete.frame));
        assert_eq!([frames(0), frames(3), frames(7)], [Some((3, 3)), Some((2, 3)), Some((5, 5))]);
    }

    #[test]
    fn bytes_are_taken_while_segments_arrive() {
        let mut half = half(&[(99, "S", b""), (100, "", b"abc")]);
        assert_eq!(half.take(false).unwrap().bytes, b"abc");
        add(&mut half, 3, (106, "", b"ghi"));
        assert_eq!(half.take(false), None);
        assert!(half.memory() > 3);
        add(&mut half, 4, (101, "", b"XXdef"));
        let run = half.take(false).unwrap();
        assert_eq!((run.bytes.as_slice(), run.offset, run.missing), (&b"def"[..], 3, 0));
        let run = half.take(false).unwrap();
        assert_eq!((run.bytes.as_slice(), run.marks[0].complete.frame), (&b"ghi"[..], 4));
        assert_eq!((half.memory(), half.take(true)), (0, None));
        add(&mut half, 5, (109, "F", b"j"));
        assert!(!half.is_complete());
        assert_eq!(half.take(false).unwrap().offset, 9);
        assert!(half.is_complete());
    }

    #[test]
    fn sequence_numbers_wrap_around() {
        let sent: Vec<Sent<'_>> =
            (0..5).map(|n: u32| ((u32::MAX - 4).wrapping_add(3 * n), "", &b"abc"[..])).collect();
        let all = runs(&mut half(&[&[(u32::MAX - 5, "S", &b""[..])], &sent[..]].concat()));
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].bytes, b"abcabcabcabcabc");
    }

    #[test]
    fn gaps_separate_runs() {
        let mut one = half(&[(0, "S", b""), (11, "", b"later"), (30, "F", b"")]);
        let all = runs(&mut one);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].offset, all[0].missing), (10, 10));
        assert_eq!((one.begins(), one.missing_at_the_end()), (true, (15, 14)));
        let mut one = half(&[(50, "", b"a"), (60, "", b"b")]);
        assert!(!one.begins());
        let all = runs(&mut one);
        assert_eq!((all[1].offset, all[1].missing), (10, 9));
    }
}
