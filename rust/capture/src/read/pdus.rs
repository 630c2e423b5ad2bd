//! Joins the complete messages of all streams, and maps bytes back to the packets that carried them.

use fastdimse_core::pdu::write::{COMMAND, LAST, PDU_HEADER, PDV_HEADER};
use memchr::memmem;

use crate::read::reassembly::Mark;

/// Separates the parts, so that no message continues in the next part: an A-ASSOCIATE-RJ, which
/// never follows a message.
pub const SEPARATOR: [u8; 10] = [3, 0, 0, 0, 0, 4, 0, 1, 1, 1];

/// The number of separators after a part. The first one ends a message, which is then invalid; its
/// data set would be skipped after it.
pub const SEPARATORS: usize = 2;

/// Complete PDUs without gaps, from one direction of a stream.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Its offset in the joined bytes.
    at: usize,
    /// Its direction.
    direction: usize,
    /// Its offset in the direction.
    offset: u64,
    /// Whether its last message is known to be incomplete.
    truncated: bool,
}

/// PDUs to join.
#[derive(Debug, Clone, Copy)]
pub struct PduBytes<'a> {
    /// The direction.
    pub direction: usize,
    /// The offset of `bytes` in the direction.
    pub offset: u64,
    /// The bytes with the PDUs.
    pub bytes: &'a [u8],
    /// The packets that carried them.
    pub marks: &'a [Mark],
    /// The beginning and the end of the PDUs.
    pub begin: usize,
    #[allow(missing_docs)]
    pub end: usize,
    /// The beginning of the first PDU of each message, and the end of its last fragment.
    pub messages: &'a [(usize, usize)],
    /// Whether the last message is known to be incomplete.
    pub truncated: bool,
}

/// The PDUs of all streams.
#[derive(Debug, Default)]
pub struct JoinedPdus {
    /// The PDUs, with [`SEPARATOR`]s after each part.
    pub bytes: Vec<u8>,
    parts: Vec<Part>,
    marks: Vec<Mark>,
    messages: Vec<(usize, usize)>,
}

/// The origin of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The direction.
    pub direction: usize,
    /// The offset in the direction.
    pub offset: u64,
    /// The packet that carried it.
    pub mark: Mark,
    /// Whether the last message of its part is known to be incomplete.
    pub truncated: bool,
}

impl JoinedPdus {
    /// Adds PDUs.
    pub fn add(&mut self, pdus: PduBytes<'_>) {
        let PduBytes { direction, offset, bytes, marks, begin, end, messages, truncated } = pdus;
        let at = self.bytes.len();
        self.parts.push(Part { at, direction, offset: offset + begin as u64, truncated });
        let first = marks.partition_point(|mark| mark.at <= begin).saturating_sub(1);
        let marks = marks[first..].iter().take_while(|mark| mark.at < end);
        self.marks.extend(marks.map(|mark| Mark { at: at + mark.at.max(begin) - begin, ..*mark }));
        let first = messages.partition_point(|message| message.0 < begin);
        let messages = messages[first..].iter().take_while(|message| message.0 < end);
        self.messages.extend(messages.map(|one| (at + one.0 - begin, at + one.1 - begin)));
        self.bytes.extend_from_slice(&bytes[begin..end]);
        for _ in 0..SEPARATORS {
            self.bytes.extend_from_slice(&SEPARATOR);
        }
    }

    /// The number of separators.
    pub fn separators(&self) -> u64 {
        (self.parts.len() * SEPARATORS) as u64
    }

    /// The origin of a byte.
    pub fn origin(&self, at: usize) -> Option<Origin> {
        self.origins().origin(at)
    }

    /// The origins of bytes in ascending order.
    pub fn origins(&self) -> Origins<'_> {
        Origins { joined: self, part: 0, mark: 0 }
    }

    /// The last byte of each message, given the beginnings of the messages in order.
    pub fn last_bytes(&self, begins: &[i64]) -> Vec<usize> {
        let mut messages = self.messages.iter().peekable();
        let last_byte = |&begin: &i64| {
            let begin = begin as usize;
            while messages.next_if(|&&(other, _)| other < begin).is_some() {}
            match messages.next_if(|&&(other, _)| other == begin) {
                Some(&(_, end)) => end.saturating_sub(1).max(begin),
                None => begin,
            }
        };
        begins.iter().map(last_byte).collect()
    }
}

/// Finds origins faster if bytes are in ascending order.
#[derive(Debug, Clone)]
pub struct Origins<'a> {
    joined: &'a JoinedPdus,
    part: usize,
    mark: usize,
}

impl Origins<'_> {
    /// The origin of a byte.
    pub fn origin(&mut self, at: usize) -> Option<Origin> {
        let JoinedPdus { parts, marks, .. } = self.joined;
        self.part = last_from(parts, self.part, at, |part| part.at)?;
        self.mark = last_from(marks, self.mark, at, |mark| mark.at)?;
        let part = &parts[self.part];
        let offset = part.offset + (at - part.at) as u64;
        let (direction, truncated) = (part.direction, part.truncated);
        Some(Origin { direction, offset, mark: marks[self.mark], truncated })
    }
}

/// The index of the last item that begins at `at` or before. Looks near `from` first.
fn last_from<T>(items: &[T], from: usize, at: usize, begin: impl Fn(&T) -> usize) -> Option<usize> {
    /// The number of items that are looked at one by one.
    const NEAR: usize = 8;
    if items.get(from).is_some_and(|item| begin(item) <= at) {
        let later = items[from + 1..].iter().take(NEAR);
        let passed = later.take_while(|item| begin(item) <= at).count();
        if passed < NEAR {
            return Some(from + passed);
        }
    }
    items.partition_point(|item| begin(item) <= at).checked_sub(1)
}

/// Tag and length of Command Group Length (0000,0000), with which every command set begins. An
/// A-RELEASE PDU contains the same bytes.
const GROUP_LENGTH: [u8; 8] = [0, 0, 0, 0, 4, 0, 0, 0];

/// The number of bytes at the end in which a message may begin that is not found yet.
pub const UNSEARCHED: usize = PDU_HEADER + PDV_HEADER + GROUP_LENGTH.len() - 1;

/// Searches for the next plausible beginning of a message, from byte `from` on: a P-DATA-TF PDU
/// with the beginning of a command set, or an A-RELEASE PDU at the end if the stream ends there.
pub fn next_message(stream: &[u8], from: usize, ends: bool) -> Option<usize> {
    let searched = stream.get(from..)?;
    let finder = memmem::Finder::new(&GROUP_LENGTH);
    // Patterns may overlap: each search begins one byte after the last match.
    let mut at = 0;
    while let Some(found) = finder.find(&searched[at..]) {
        let pattern = at + found;
        if let Some(begin) = begin_of_message(searched, pattern, ends) {
            return Some(from + begin);
        }
        at = pattern + 1;
    }
    None
}

/// The first byte of a PDU with [`GROUP_LENGTH`] at `pattern`.
fn begin_of_message(stream: &[u8], pattern: usize, ends: bool) -> Option<usize> {
    if let Some(begin) = pattern.checked_sub(PDU_HEADER + PDV_HEADER)
        && let [4, 0, p0, p1, p2, p3, v0, v1, v2, v3, context_id, control] = stream[begin..pattern]
    {
        let pdu = u32::from_be_bytes([p0, p1, p2, p3]);
        let pdv = u32::from_be_bytes([v0, v1, v2, v3]);
        let fits = pdv >= 10 && pdu.checked_sub(4).is_some_and(|most| pdv <= most);
        if fits && context_id % 2 == 1 && [COMMAND, COMMAND | LAST].contains(&control) {
            return Some(begin);
        }
    }
    let begin = pattern.checked_sub(1).filter(|_| ends)?;
    matches!(stream[begin..], [5 | 6, 0, 0, 0, 0, 4, 0, 0, 0, 0]).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::reassembly::CaptureTime;

    /// A P-DATA-TF PDU with one PDV.
    fn p_data(control: u8, fragment: &[u8]) -> Vec<u8> {
        let length = fragment.len() as u8;
        let header = [4, 0, 0, 0, 0, length + 6, 0, 0, 0, length + 2, 1, control];
        [&header[..], fragment].concat()
    }

    fn command() -> Vec<u8> {
        p_data(3, &[0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0])
    }

    const RELEASE: [u8; 10] = [5, 0, 0, 0, 0, 4, 0, 0, 0, 0];

    #[test]
    fn bytes_have_origins() {
        let complete = CaptureTime { time: 0, frame: 1 };
        let mark = |at| Mark { at, frame: 1 + at as u64, complete };
        let bytes = [b'x'; 100];
        let marks: Vec<Mark> = (0..100).step_by(10).map(mark).collect();
        let mut joined = JoinedPdus::default();
        let pdus = PduBytes {
            direction: 7,
            offset: 1000,
            bytes: &bytes,
            marks: &marks,
            begin: 5,
            end: 95,
            messages: &[(0, 4), (5, 40), (40, 95), (95, 100)],
            truncated: false,
        };
        joined.add(pdus);
        joined.add(PduBytes { direction: 8, begin: 15, end: 25, messages: &[(15, 25)], ..pdus });
        let first = 90 + SEPARATORS * SEPARATOR.len();
        assert_eq!(joined.bytes.len(), 2 * first - 80);
        assert_eq!(joined.last_bytes(&[0, 35, first as i64]), [34, 89, first + 9]);
        let mut origins = joined.origins();
        for at in [0, 4, 5, 89, first, first + 9, 6] {
            let found = origins.origin(at).unwrap();
            assert_eq!(Some(found), joined.origin(at));
            let (direction, source) = if at < first { (7, at + 5) } else { (8, at - first + 15) };
            assert_eq!((found.direction, found.offset), (direction, 1000 + source as u64));
            assert_eq!(found.mark.frame, 1 + source as u64 / 10 * 10);
        }
    }

    #[test]
    fn a_message_is_found_after_any_bytes() {
        for before in [&b""[..], b"\x04", b"\0\0\0\0\x04\0\0\0\0", &command()[1..20], &RELEASE] {
            let stream = [before, &command()].concat();
            assert_eq!(next_message(&stream, 0, true), Some(before.len()));
            // A message is found if its last bytes arrive later.
            let least = before.len() + UNSEARCHED + 1;
            assert_eq!(next_message(&stream[..least], 0, false), Some(before.len()));
            assert_eq!(next_message(&stream[..least - 1], 0, false), None);
        }
        assert_eq!(next_message(&RELEASE, 0, true), Some(0));
        assert_eq!(next_message(&RELEASE, 0, false), None);
        assert_eq!(next_message(&[&RELEASE[..], b"x"].concat(), 0, true), None);
        assert_eq!(next_message(b"", 1, true), None);
    }
}
