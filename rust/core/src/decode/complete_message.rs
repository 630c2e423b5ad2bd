//! The fast path: reads messages that are complete in the stream and have the usual form, which
//! nearly all have. Other messages are not errors: [`crate::decode::stream`] reads them.

use crate::command_set::{ELEMENTS, NO_DATA_SET, Source, Vr};
use crate::decode::row::{Origin, Row, Span};
use crate::decode::views::LONGEST;
use crate::field::Kind;
use crate::pdu::write::{COMMAND, LAST};
use crate::uid::MAX_LENGTH;
use crate::uid::masks::BLOCK;

/// A message.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub struct CompleteMessage {
    /// The command set.
    pub row: Row,
    /// The data set.
    pub data_set: Option<Span>,
    /// The offset of the next PDU.
    pub end: usize,
}

/// Reads the message whose first PDU begins at `at`: a command set in one PDV, and an announced
/// data set in another PDV of the same PDU or of the next one.
#[inline(always)]
pub fn read(stream: &[u8], at: usize) -> Option<CompleteMessage> {
    let pdu_end = end_of_pdu(stream, at)?;
    let (command_set, context_id) = pdv(stream, at + 6, pdu_end, COMMAND | LAST)?;
    let end = command_set.start + command_set.length;
    let (row, data_set) = read_command_set(stream, command_set, at, context_id)?;
    if !data_set {
        return (end == pdu_end).then_some(CompleteMessage { row, data_set: None, end });
    }
    let (at, pdu_end) =
        if end < pdu_end { (end, pdu_end) } else { (end + 6, end_of_pdu(stream, end)?) };
    let (data_set, _) = pdv(stream, at, pdu_end, LAST)?;
    let end = data_set.start + data_set.length;
    let taken = end == pdu_end && data_set.length <= LONGEST;
    taken.then_some(CompleteMessage { row, data_set: Some(data_set), end })
}

/// The number of bytes by which a message is recognized.
pub const COMMAND_SET_BEGINS: usize = 20;

/// Whether these bytes are the headers of a PDU and of a PDV with a command fragment, and the
/// header of Command Group Length. A data set may contain such bytes by chance or by intent.
pub fn begins_command_set(bytes: &[u8]) -> bool {
    match bytes {
        &[4, _, a, b, c, d, e, f, g, h, context_id, control, 0, 0, 0, 0, 4, 0, 0, 0, ..] => {
            let pdu = u32::from_be_bytes([a, b, c, d]);
            let pdv = u32::from_be_bytes([e, f, g, h]);
            context_id % 2 == 1 && control & COMMAND != 0 && pdv.saturating_add(4) <= pdu
        }
        _ => false,
    }
}

/// The end of the P-DATA-TF PDU at `at`.
#[inline(always)]
fn end_of_pdu(stream: &[u8], at: usize) -> Option<usize> {
    let &[4, _, a, b, c, d] = stream.get(at..)?.first_chunk()? else { return None };
    let end = (at + 6).saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
    (end <= stream.len()).then_some(end)
}

/// The fragment of the PDV at `at` and its presentation context ID, if the control header is as
/// given.
#[inline(always)]
fn pdv(stream: &[u8], at: usize, pdu_end: usize, kind: u8) -> Option<(Span, u8)> {
    let &[a, b, c, d, context_id, control] = stream.get(at..pdu_end)?.first_chunk()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let fits = length >= 2 && at + 4 + length <= pdu_end;
    let span = Span { origin: Origin::Stream, start: at + 6, length: length.wrapping_sub(2) };
    (fits && control & (COMMAND | LAST) == kind).then_some((span, context_id))
}

/// Reads a command set that has only elements of the table, in the table's order, with one value
/// each. Returns the event, and whether a data set follows.
#[inline(always)]
pub fn read_command_set(
    stream: &[u8],
    command_set: Span,
    begin: usize,
    context_id: u8,
) -> Option<(Row, bool)> {
    let end = command_set.start + command_set.length;
    let row = Row::new(Kind::Request, begin, context_id);
    let bytes = stream.get(..end)?;
    let at = command_set.start;
    let mut elements = Elements { bytes, at, row, kind: None, data_set_type: None };
    // Unrolled over the table: a fifth of the time of a loop.
    macro_rules! read {
        ($($row:literal)*) => { $(elements.read::<$row>()?;)* };
    }
    read!(0 1 2 3 4 5 6 7 8 9 10);
    const { assert!(ELEMENTS.len() == 11) };
    let Elements { at, mut row, kind, data_set_type, .. } = elements;
    row.kind = kind?;
    (at == end).then_some((row, data_set_type? != NO_DATA_SET))
}

/// The elements of a command set while they are read.
struct Elements<'a> {
    /// The stream up to the end of the command set.
    bytes: &'a [u8],
    at: usize,
    row: Row,
    kind: Option<Kind>,
    data_set_type: Option<u16>,
}

impl Elements<'_> {
    /// Reads the element of a row of the table, if it is the next element.
    #[inline(always)]
    fn read<const ROW: usize>(&mut self) -> Option<()> {
        let element = const { &ELEMENTS[ROW] };
        let Some(&header) = self.bytes.get(self.at..)?.first_chunk() else { return Some(()) };
        let header = u64::from_le_bytes(header);
        if header as u32 != u32::from(element.number) << 16 {
            return Some(());
        }
        let value =
            Span { origin: Origin::Stream, start: self.at + 8, length: (header >> 32) as usize };
        // A length that is too long yields no value.
        self.at = value.start.wrapping_add(value.length);
        match (element.source, element.vr) {
            (Source::GroupLength, _) if value.length == 4 => {}
            (Source::CommandField, _) => self.kind = Kind::of_event(self.us(value)?),
            (Source::DataSetType, _) => self.data_set_type = Some(self.us(value)?),
            (Source::Field(field), Vr::Us) => self.row.set_number(field, self.us(value)?),
            (Source::Field(field), Vr::Ui) => self.row.set_text(field, self.uid(value)?),
            // Free text is rare.
            _ => return None,
        }
        Some(())
    }

    #[inline(always)]
    fn us(&self, value: Span) -> Option<u16> {
        let number = self.bytes.get(value.start..)?.first_chunk()?;
        (value.length == 2).then_some(u16::from_le_bytes(*number))
    }

    /// A UID of digits and full stops, without its padding (PS3.5 6.2).
    #[inline(always)]
    fn uid(&self, value: Span) -> Option<Span> {
        let padded = self.bytes.get(value.start..)?.get(..value.length)?;
        // Before its characters are read: a length that is wrong may be that of many messages.
        if padded.len() > MAX_LENGTH + 1 {
            return None;
        }
        let uid = padded.strip_suffix(&[0]).unwrap_or(padded);
        (is_plain(uid) && uid.len() <= MAX_LENGTH).then_some(Span { length: uid.len(), ..value })
    }
}

/// Whether the text is not empty and has only `0` to `9`, `.` and `/`: nothing to strip, split or
/// convert. A block of 16 takes a few instructions, whatever its characters are.
#[inline(always)]
fn is_plain(text: &[u8]) -> bool {
    let above = |character: u8| character.wrapping_sub(b'.');
    let Some(last) = text.last_chunk::<BLOCK>() else {
        return !text.is_empty() && text.iter().all(|&one| above(one) <= above(b'9'));
    };
    let mut most = last.map(above);
    for block in text.as_chunks::<BLOCK>().0 {
        for (most, &character) in most.iter_mut().zip(block) {
            *most = above(character).max(*most);
        }
    }
    most.iter().fold(true, |plain, &one| plain & (one <= above(b'9')))
}

#[cfg(test)]
pub(in crate::decode) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command_set::{CommandSet, Message, Value};
    use crate::field::Field;
    use crate::pdu::read::{Item, Pdus};
    use crate::pdu::write::{MaxPduLength, write_message};

    /// A message with all usual elements.
    pub(in crate::decode) fn message(
        kind: Kind,
        uid: &[u8],
        data_set: &[u8],
        one_pdu: bool,
    ) -> Vec<u8> {
        let mut command_set = CommandSet::new(kind, !data_set.is_empty());
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.840.10008.1.20.1"));
        command_set.set(Field::AffectedSOPInstanceUID, Value::Text(uid));
        command_set.set(Field::MessageID, Value::Us(7));
        command_set.set(Field::MessageIDBeingRespondedTo, Value::Us(8));
        command_set.set(Field::Status, Value::Us(0x0110));
        command_set.set(Field::EventTypeID, Value::Us(2));
        let mut out = Vec::new();
        let max = MaxPduLength::new(0).unwrap();
        write_message(&mut out, 1, max, |out| command_set.write(out), data_set);
        if one_pdu && !data_set.is_empty() {
            // Joins both PDUs: drops the second header and corrects the first length.
            let second = out.len() - data_set.len() - 12;
            out.drain(second..second + 6);
            let length = (out.len() - 6) as u32;
            out[2..6].copy_from_slice(&length.to_be_bytes());
        }
        out
    }

    /// The fast path must agree with [`Pdus`] and [`CommandSet::read`].
    fn agrees_with_the_rules(stream: &[u8], at: usize) -> bool {
        let Some(found) = read(stream, at) else { return false };
        let mut pdus = Pdus::new(&stream[at..]);
        let Some(Ok(Item::Pdv(pdv))) = pdus.next() else { panic!("a command set") };
        assert!(pdv.is_command() && pdv.is_last());
        assert_eq!((found.row.context_id, found.row.begin), (pdv.context_id, at));
        let Message::Event { command_set, several } = CommandSet::read(pdv.fragment).unwrap()
        else {
            panic!("an event")
        };
        assert_eq!((found.row.kind, several), (command_set.kind, vec![]));
        for field in Field::NUMBERS {
            assert_eq!(found.row.number(field), command_set.get(field).us(), "{field:?}");
        }
        for field in Field::TEXTS {
            let text = found.row.text(field);
            let text = text.map(|text| &stream[text.start..text.start + text.length]);
            assert_eq!(text, command_set.get(field).text(), "{field:?}");
            assert!(text.is_none_or(|text| text.is_ascii() && text.len() <= MAX_LENGTH));
        }
        assert_eq!(found.data_set.is_some(), command_set.data_set);
        if let Some(data_set) = found.data_set {
            let Some(Ok(Item::Pdv(pdv))) = pdus.next() else { panic!("a data set") };
            assert!(!pdv.is_command() && pdv.is_last());
            assert_eq!(&stream[data_set.start..data_set.start + data_set.length], pdv.fragment);
        }
        assert_eq!(pdus.next_at(), Some(found.end - at));
        true
    }

    #[test]
    fn messages_are_read_in_any_layout() {
        let uids: Vec<String> = (1..=64).map(|length| "1".repeat(length)).collect();
        for uid in &uids {
            for (kind, one_pdu) in [(Kind::Request, false), (Kind::Response, true)] {
                for data_set in [&b""[..], b"some data set"] {
                    let one = message(kind, uid.as_bytes(), data_set, one_pdu);
                    let stream = [&one[..], &one, b"\x05\0\0\0\0\x04\0\0\0\0"].concat();
                    assert!(agrees_with_the_rules(&stream, 0), "{uid} {kind} {data_set:?}");
                    assert!(agrees_with_the_rules(&stream, one.len()));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_fast_path_agrees_with_the_rules(
            response: bool,
            one_pdu: bool,
            uid in prop_oneof!["[0-9./]{1,66}", "[ -~\0\t]{1,20}"],
            data_set in prop::collection::vec(any::<u8>(), 0..40),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let kind = if response { Kind::Response } else { Kind::Request };
            let mut stream = message(kind, uid.as_bytes(), &data_set, one_pdu);
            agrees_with_the_rules(&stream, 0);
            agrees_with_the_rules(&stream[..cut.index(stream.len())], 0);
            for (at, byte) in changes {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            agrees_with_the_rules(&stream, 0);
        }
    }
}
