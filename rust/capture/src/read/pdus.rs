//! Joins the readable PDUs of all streams, and maps bytes back to the packets that carried them.

use fastdimse_core::pdu::read::{Item, Pdus};
use fastdimse_core::pdu::write::{COMMAND, LAST, PDU_HEADER, PDV_HEADER};
use fastdimse_core::rejection::{Reason, Rejection};
use memchr::memmem;

use crate::read::tcp::{Mark, Run, mark_of};

/// Separates the parts, so that no message continues in the next part: an A-ASSOCIATE-RJ, which
/// never follows a message.
pub const SEPARATOR: [u8; 10] = [3, 0, 0, 0, 0, 4, 0, 1, 1, 1];

/// Complete PDUs without gaps, from one direction of a stream.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Its offset in the joined bytes.
    at: usize,
    /// Its direction.
    direction: usize,
    /// Its offset in the direction.
    offset: u64,
    /// Whether a fault follows it.
    truncated: bool,
}

/// All readable PDUs.
#[derive(Debug, Default)]
pub struct Readable {
    /// The PDUs, with a [`SEPARATOR`] after each part.
    pub bytes: Vec<u8>,
    parts: Vec<Part>,
    marks: Vec<Mark>,
    /// The beginning of the first PDU of each message, and the end of its last fragment.
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
    /// Whether a fault follows its part.
    pub truncated: bool,
}

impl Readable {
    /// Adds the readable PDUs of a run, beginning with the PDU at byte `from`, and returns the
    /// fault that ends them.
    pub fn add(&mut self, direction: usize, run: &Run, from: usize) -> Vec<Rejection> {
        let mut wrong = Vec::new();
        let mut from = Some(from);
        while let Some(begin) = from {
            let rest = &run.bytes[begin..];
            let (complete, found) = self.add_messages(rest);
            if complete > 0 {
                self.add_part(direction, run, begin, begin + complete, found.is_some());
            }
            let Some(rejection) = found else { break };
            wrong.push(rejection.shifted(begin));
            let next = begin + complete + 1;
            from = next_message(&run.bytes, next);
        }
        wrong
    }

    /// The number of bytes of `rest` that are complete PDUs, and the fault after them.
    fn add_messages(&mut self, rest: &[u8]) -> (usize, Option<Rejection>) {
        let base = self.bytes.len();
        let mut in_command = false;
        for item in Pdus::new(rest) {
            match item {
                Ok(Item::Pdv(pdv)) => {
                    let end = base + pdv.fragment_at + pdv.fragment.len();
                    if pdv.is_command() && !in_command {
                        self.messages.push((base + pdv.pdu_at, end));
                    } else if let Some(last) = self.messages.last_mut() {
                        last.1 = end;
                    }
                    in_command = pdv.is_command() && !pdv.is_last();
                }
                Ok(Item::Other(_)) => in_command = false,
                Err(Rejection { reason: Reason::PdvLength { .. }, .. }) => in_command = false,
                Err(rejection) => {
                    let complete = rejection.offset.map_or(0, |offset| offset as usize);
                    return (complete, Some(rejection));
                }
            }
        }
        (rest.len(), None)
    }

    fn add_part(&mut self, direction: usize, run: &Run, begin: usize, end: usize, truncated: bool) {
        let at = self.bytes.len();
        self.parts.push(Part { at, direction, offset: run.offset + begin as u64, truncated });
        let first = run.marks.partition_point(|mark| mark.at <= begin).saturating_sub(1);
        let marks = run.marks[first..].iter().take_while(|mark| mark.at < end);
        self.marks.extend(marks.map(|mark| Mark { at: at + mark.at.max(begin) - begin, ..*mark }));
        self.bytes.extend_from_slice(&run.bytes[begin..end]);
        self.bytes.extend_from_slice(&SEPARATOR);
    }

    /// The number of parts, which is the number of separators.
    pub fn parts(&self) -> u64 {
        self.parts.len() as u64
    }

    /// The origin of a byte.
    pub fn place(&self, at: usize) -> Option<Origin> {
        let part = self.parts[..self.parts.partition_point(|part| part.at <= at)].last()?;
        let offset = part.offset + (at - part.at) as u64;
        let mark = *mark_of(&self.marks, at)?;
        Some(Origin { direction: part.direction, offset, mark, truncated: part.truncated })
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

/// Tag and length of Command Group Length (0000,0000), with which every command set begins. An
/// A-RELEASE PDU contains the same bytes.
const GROUP_LENGTH: [u8; 8] = [0, 0, 0, 0, 4, 0, 0, 0];

/// Searches for the next plausible beginning of a message, from byte `from` on: a P-DATA-TF PDU
/// with the beginning of a command set, or an A-RELEASE PDU at the end.
pub fn next_message(stream: &[u8], from: usize) -> Option<usize> {
    let searched = stream.get(from..)?;
    let finder = memmem::Finder::new(&GROUP_LENGTH);
    // Patterns may overlap: each search begins one byte after the last match.
    let mut at = 0;
    while let Some(found) = finder.find(&searched[at..]) {
        let pattern = at + found;
        if let Some(begin) = begin_of_message(searched, pattern) {
            return Some(from + begin);
        }
        at = pattern + 1;
    }
    None
}

/// The first byte of a PDU with [`GROUP_LENGTH`] at `pattern`.
fn begin_of_message(stream: &[u8], pattern: usize) -> Option<usize> {
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
    let begin = pattern.checked_sub(1)?;
    matches!(stream[begin..], [5 | 6, 0, 0, 0, 0, 4, 0, 0, 0, 0]).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::tcp::CaptureTime;

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

    fn run(bytes: Vec<u8>) -> Run {
        let complete = CaptureTime { time: 0, frame: 1 };
        let mark = |at| Mark { at, frame: 1 + at as u64, complete };
        let marks = (0..bytes.len()).step_by(10).map(mark).collect();
        Run { offset: 1000, missing: 0, bytes, marks }
    }

    #[test]
    fn messages_end_with_their_last_fragment() {
        let stream = [command(), p_data(0, b"da"), p_data(2, b"ta"), command(), RELEASE.to_vec()];
        let lengths: Vec<usize> = stream.iter().map(Vec::len).collect();
        let mut readable = Readable::default();
        assert_eq!(readable.add(7, &run(stream.concat()), 0), []);
        let second = lengths[..3].iter().sum::<usize>();
        assert_eq!(readable.last_bytes(&[0, second as i64]), [second - 1, second + lengths[3] - 1]);
        let place = readable.place(second).unwrap();
        assert_eq!((place.direction, place.offset, place.mark.at), (7, 1000 + second as u64, 50));
        assert!(readable.bytes.ends_with(&[&RELEASE[..], &SEPARATOR].concat()));
    }

    #[test]
    fn other_bytes_are_skipped_up_to_the_next_message() {
        let stream = [&command()[..], b"\xffgarbage\0\0\0\0\x04\0\0\0", &command()].concat();
        let mut readable = Readable::default();
        let wrong = readable.add(0, &run(stream.clone()), 0);
        assert_eq!(wrong, [Rejection::new(Reason::PduType(0xff)).at(command().len())]);
        assert_eq!(readable.parts(), 2);
        let second = stream.len() - command().len();
        let at = command().len() + SEPARATOR.len();
        assert_eq!(readable.place(at).unwrap().offset, 1000 + second as u64);
    }

    #[test]
    fn a_message_is_found_after_any_bytes() {
        for before in [&b""[..], b"\x04", b"\0\0\0\0\x04\0\0\0\0", &command()[1..20], &RELEASE] {
            let stream = [before, &command()].concat();
            assert_eq!(next_message(&stream, 0), Some(before.len()));
        }
        assert_eq!(next_message(&RELEASE, 0), Some(0));
        assert_eq!(next_message(&[&RELEASE[..], b"x"].concat(), 0), None);
        assert_eq!(next_message(b"", 1), None);
    }
}
