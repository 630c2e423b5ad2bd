//! Reads received PDUs and PDVs (PS3.8 9.3) without copying them.

use crate::pdu::write::{COMMAND, LAST, PDU_HEADER};
use crate::rejection::{Reason, Rejection};

/// The names of the PDU types 01H to 07H.
pub const NAMES: [&str; 7] = [
    "A-ASSOCIATE-RQ",
    "A-ASSOCIATE-AC",
    "A-ASSOCIATE-RJ",
    "P-DATA-TF",
    "A-RELEASE-RQ",
    "A-RELEASE-RP",
    "A-ABORT",
];

const P_DATA: u8 = 0x04;

/// The next part of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A fragment of a message.
    Pdv(Pdv<'a>),
    /// A PDU that is not P-DATA-TF: its index in [`NAMES`].
    Other(usize),
}

/// A presentation data value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pdv<'a> {
    /// The offset of the PDU.
    pub pdu_at: usize,
    /// The offset of the PDV.
    pub at: usize,
    /// The presentation context ID.
    pub context_id: u8,
    control: u8,
    /// The offset of the fragment.
    pub fragment_at: usize,
    /// The fragment.
    pub fragment: &'a [u8],
}

impl Pdv<'_> {
    /// Whether the fragment belongs to the command set. Only two bits of the control header count
    /// (PS3.8 E.2).
    pub fn is_command(&self) -> bool {
        self.control & COMMAND != 0
    }

    /// Whether it is the last fragment.
    pub fn is_last(&self) -> bool {
        self.control & LAST != 0
    }
}

/// Iterates over the PDVs and other PDUs of one direction of a stream. Iteration ends after an
/// error in the framing of a PDU, since the next PDU cannot be found. After an invalid PDV the rest
/// of its PDU is skipped.
#[derive(Debug, Clone)]
pub struct Pdus<'a> {
    stream: &'a [u8],
    at: usize,
    pdu_at: usize,
    pdu_end: usize,
}

impl<'a> Pdus<'a> {
    /// Starts at the first byte, which must begin a PDU.
    pub fn new(stream: &'a [u8]) -> Self {
        Self { stream, at: 0, pdu_at: 0, pdu_end: 0 }
    }

    /// The offset of the next PDU, if the current one was read completely.
    pub fn next_at(&self) -> Option<usize> {
        (self.at >= self.pdu_end).then_some(self.at)
    }

    /// Continues at `at`, where a PDU begins.
    pub fn continue_at(&mut self, at: usize) {
        self.at = at;
        self.pdu_end = at;
    }

    fn next_pdu(&mut self) -> Option<Result<Option<usize>, Rejection>> {
        let at = self.at;
        let rest = &self.stream[at..];
        let kind = *rest.first()?;
        if !(1..=7).contains(&kind) {
            return Some(Err(self.stop(Reason::PduType(kind), at)));
        }
        let Some(&[_, _, l0, l1, l2, l3]) = rest.first_chunk::<PDU_HEADER>() else {
            return Some(Err(self.truncated("header of a PDU", at, PDU_HEADER as u64)));
        };
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let needed = PDU_HEADER as u64 + u64::from(length);
        if needed > rest.len() as u64 {
            return Some(Err(self.truncated(NAMES[usize::from(kind) - 1], at, needed)));
        }
        self.pdu_at = at;
        self.pdu_end = at + needed as usize;
        if kind == P_DATA {
            self.at = at + PDU_HEADER;
            return Some(Ok(None));
        }
        self.at = self.pdu_end;
        Some(Ok(Some(usize::from(kind) - 1)))
    }

    fn next_pdv(&mut self) -> Result<Pdv<'a>, Rejection> {
        let at = self.at;
        let pdu = &self.stream[at..self.pdu_end];
        let length = pdu.first_chunk().map_or(0, |&length| u32::from_be_bytes(length));
        let left = pdu.len().saturating_sub(4);
        let Some([context_id, control, fragment @ ..]) =
            pdu.get(4..).and_then(|rest| rest.get(..length as usize))
        else {
            self.at = self.pdu_end;
            return Err(Rejection::new(Reason::PdvLength { length, left }).at(at));
        };
        self.at = at + 4 + length as usize;
        let (context_id, control) = (*context_id, *control);
        Ok(Pdv { pdu_at: self.pdu_at, at, context_id, control, fragment_at: at + 6, fragment })
    }

    fn truncated(&mut self, what: &'static str, at: usize, needed: u64) -> Rejection {
        let found = (self.stream.len() - at) as u64;
        self.stop(Reason::Truncated { what, needed, found }, at)
    }

    fn stop(&mut self, reason: Reason, at: usize) -> Rejection {
        self.at = self.stream.len();
        self.pdu_end = self.at;
        Rejection::new(reason).at(at)
    }
}

impl<'a> Iterator for Pdus<'a> {
    type Item = Result<Item<'a>, Rejection>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.at < self.pdu_end {
                return Some(self.next_pdv().map(Item::Pdv));
            }
            match self.next_pdu()? {
                Ok(None) => {}
                Ok(Some(other)) => return Some(Ok(Item::Other(other))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_pdvs_in_a_pdu_and_other_pdus() {
        let stream =
            b"\x05\0\0\0\0\x04\0\0\0\0\x04\0\0\0\0\x0e\0\0\0\x03\x01\x03c\0\0\0\x03\x01\x02d";
        let items: Vec<_> = Pdus::new(stream).map(Result::unwrap).collect();
        assert_eq!(items[0], Item::Other(4));
        let Item::Pdv(command) = items[1] else { panic!("a PDV") };
        let Item::Pdv(data) = items[2] else { panic!("a PDV") };
        assert!(command.is_command() && command.is_last() && !data.is_command());
        assert_eq!((command.fragment, data.fragment), (b"c".as_slice(), b"d".as_slice()));
        assert_eq!(items.len(), 3);
    }

    #[test]
    fn a_truncated_stream_reports_its_offset() {
        let mut pdus = Pdus::new(b"\x05\0\0\0\0\0\x04\0\0\0\0\x09abc");
        assert_eq!(pdus.next(), Some(Ok(Item::Other(4))));
        let error = pdus.next().unwrap().unwrap_err();
        assert_eq!(error.offset, Some(6));
        assert_eq!(pdus.next(), None);
    }

    #[test]
    fn a_pdv_that_overruns_its_pdu_leaves_the_next_pdu_readable() {
        let mut pdus = Pdus::new(b"\x04\0\0\0\0\x06\0\0\0\xff\x01\x03\x05\0\0\0\0\0");
        assert_eq!(pdus.next().unwrap().unwrap_err().offset, Some(6));
        assert_eq!(pdus.next(), Some(Ok(Item::Other(4))));
    }
}
