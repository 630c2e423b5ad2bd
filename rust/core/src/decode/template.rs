//! Recognizes messages with the layout of an earlier message.
//!
//! Most messages differ from the last one only in their values: the Message ID, a UID of the same
//! length, the length of the data set. All other bytes, from the header of the PDU to the data set,
//! are equal. A template has these bytes, and which of them are values. Comparing them takes a fifth
//! of the instructions of reading the elements one by one.
//!
//! A template is made of a message that [`complete_message::read`] has read. A message that matches
//! it has the same elements with the same lengths, so that function would return the same result,
//! which tests compare.

use std::ops::Range;

use crate::command_set::{ELEMENTS, Source, Vr};
use crate::decode::complete_message::{self, CompleteMessage};
use crate::decode::row::{Fields, Origin, Row, Span, place_of};
use crate::decode::views::LONGEST;
use crate::field::{Field, Kind};
use crate::uid::MAX_LENGTH;

/// The length of the registers that the comparison is compiled for.
const BLOCK: usize = 32;
/// The maximum number of blocks up to the data set.
const BLOCKS: usize = 8;
/// The number of blocks of a usual message, with UIDs of up to 68 characters together.
const USUAL_BLOCKS: usize = 5;
/// The bytes of a message that are read at once: those of all blocks, and those of a number that
/// begins in the last one. An offset of one byte plus 4 is always inside, without a check.
const WINDOW: usize = BLOCK * BLOCKS + 4;
type Window = [u8; WINDOW];
/// The headers of a PDU and of a PDV.
const HEADERS: usize = 12;
/// The header of an element: its tag and its length.
const ELEMENT_HEADER: usize = 8;
/// The number of templates.
const SLOTS: usize = 8;
/// The fields of UIDs.
pub const UIDS: [Field; 2] = [Field::AffectedSOPClassUID, Field::AffectedSOPInstanceUID];

/// The templates of a stream. Requests, responses, and messages with UIDs of other lengths have
/// templates of their own.
#[derive(Debug, Default)]
pub struct Templates {
    slots: [Option<Box<Template>>; SLOTS],
}

impl Templates {
    /// The message whose first PDU begins at `at`, if there is a template for it.
    #[inline(always)]
    pub fn find<'a>(&'a self, stream: &'a [u8], at: usize) -> Option<SimilarMessage<'a>> {
        let window = stream.get(at..)?.first_chunk()?;
        self.slots[slot(window)].as_ref()?.read(window, at, stream.len())
    }

    /// Reads a message of any usual form, and keeps a template for messages like it.
    #[inline(never)]
    pub fn read(&mut self, stream: &[u8], at: usize) -> Option<CompleteMessage> {
        let found = complete_message::read(stream, at)?;
        if let Some(window) = stream[at..].first_chunk()
            && let Some(template) = Template::new(window, &found)
        {
            self.slots[slot(window)] = Some(Box::new(template));
        }
        Some(found)
    }
}

/// The slot of a message: by the length of its first PDU and the length of its first UID.
#[inline(always)]
fn slot(window: &Window) -> usize {
    const FIRST_LENGTH: usize = HEADERS + 12 + 4;
    (window[5] ^ window[FIRST_LENGTH].wrapping_mul(3)) as usize / 2 % SLOTS
}

/// What a message must have in 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// The bytes of the first message.
    expected: [u8; BLOCK],
    /// The bits of the bytes that must be equal.
    equal: [u8; BLOCK],
    /// The bits of the bytes that must be characters of a plain UID.
    uid: [u8; BLOCK],
}

/// The layout of a message.
#[derive(Debug)]
pub struct Template {
    /// In blocks after the message, no byte is compared.
    blocks: [Block; BLOCKS],
    /// Whether only the first [`USUAL_BLOCKS`] are in use.
    is_usual: bool,
    kind: Kind,
    context_id: u8,
    /// The fields of the command set, the presentation context ID and the data set.
    fields: Fields,
    numbers: [NumberPlace; Field::NUMBERS.len()],
    number_count: usize,
    /// The places of [`UIDS`]. A message with one of them has no template.
    uids: Option<[UidPlace; UIDS.len()]>,
    /// The number of bytes before the data set, or of the message.
    length: u8,
    data_set: bool,
}

/// The place of a number.
#[derive(Debug, Clone, Copy, Default)]
struct NumberPlace {
    /// The index of the field in [`Field::NUMBERS`].
    number: u8,
    offset: u8,
}

/// The place of a UID.
#[derive(Debug, Clone, Copy)]
struct UidPlace {
    start: u8,
    /// The place of the last byte: a character, or a null byte as padding (PS3.5 9.4).
    last: u8,
}

impl Template {
    /// The template of a message, if there is one for its form.
    fn new(window: &Window, message: &CompleteMessage) -> Option<Self> {
        let CompleteMessage { row, data_set, end } = message;
        let length = data_set.map_or(*end, |span| span.start) - row.begin;
        let command_set_end = length.checked_sub(if data_set.is_some() { HEADERS } else { 0 })?;
        // The data set must be in a PDU of its own.
        let pdu_length = u32::from_be_bytes(*window[2..].first_chunk()?) as usize;
        if length >= BLOCK * BLOCKS || pdu_length + 6 != command_set_end {
            return None;
        }
        let mut template = Self {
            blocks: [Block { expected: [0; BLOCK], equal: [0; BLOCK], uid: [0; BLOCK] }; BLOCKS],
            is_usual: length <= BLOCK * USUAL_BLOCKS,
            kind: row.kind,
            context_id: row.context_id,
            fields: row.fields.of_message(data_set.map(|_| data_set_field(row.kind))),
            numbers: Default::default(),
            number_count: 0,
            uids: None,
            length: length as u8,
            data_set: data_set.is_some(),
        };
        let (expected, _) = window.as_chunks::<BLOCK>();
        for (block, expected) in template.blocks.iter_mut().zip(expected) {
            block.expected = *expected;
        }
        template.set_bytes(0..length, u8::MAX, 0);
        template.set_fields(window, command_set_end)?;
        if data_set.is_some() {
            // The lengths of the PDU and of the PDV.
            template.set_bytes(command_set_end + 2..command_set_end + 10, 0, 0);
        }
        Some(template)
    }

    /// Finds the values of the elements.
    fn set_fields(&mut self, window: &Window, end: usize) -> Option<()> {
        let mut uids = [None; UIDS.len()];
        let mut at = HEADERS;
        while at < end {
            let [_, _, number @ .., a, b, _, _] = window[at..].first_chunk::<ELEMENT_HEADER>()?;
            let number = u16::from_le_bytes(*number);
            let element = ELEMENTS.iter().find(|element| element.number == number)?;
            let start = at + ELEMENT_HEADER;
            at = start + u16::from_le_bytes([*a, *b]) as usize;
            match (element.source, element.vr) {
                (Source::Field(field), Vr::Us) => {
                    let number = place_of(field, &Field::NUMBERS) as u8;
                    self.numbers[self.number_count] = NumberPlace { number, offset: start as u8 };
                    self.number_count += 1;
                    self.set_bytes(start..at, 0, 0);
                }
                (Source::Field(field), Vr::Ui) => {
                    // 65 bytes are only valid with padding, and one byte only without.
                    if !(2..=MAX_LENGTH).contains(&(at - start)) {
                        return None;
                    }
                    let last = at - 1;
                    let place = UidPlace { start: start as u8, last: last as u8 };
                    uids[place_of(field, &UIDS)] = Some(place);
                    self.set_bytes(start..last, 0, u8::MAX);
                    self.set_bytes(last..at, 0, 0);
                }
                _ => {}
            }
        }
        self.uids = match uids {
            [Some(class), Some(instance)] => Some([class, instance]),
            [None, None] => None,
            _ => return None,
        };
        Some(())
    }

    fn set_bytes(&mut self, bytes: Range<usize>, equal: u8, uid: u8) {
        for at in bytes {
            let block = &mut self.blocks[at / BLOCK];
            (block.equal[at % BLOCK], block.uid[at % BLOCK]) = (equal, uid);
        }
    }

    /// Reads the message at `begin` of a stream of `end` bytes.
    #[inline(always)]
    fn read<'a>(
        &'a self,
        window: &'a Window,
        begin: usize,
        end: usize,
    ) -> Option<SimilarMessage<'a>> {
        if !self.matches(window) || self.uids.is_some_and(|uids| !end_well(uids, window)) {
            return None;
        }
        let mut message = SimilarMessage { template: self, window, begin, data_set_length: 0 };
        if self.data_set {
            let pdu = u32::from_be_bytes(chunk(window, self.length.wrapping_sub(10))) as usize;
            let pdv = u32::from_be_bytes(chunk(window, self.length.wrapping_sub(6))) as usize;
            let length = pdv.wrapping_sub(2);
            if length > LONGEST || pdu != pdv + 4 || length > end - message.data_set_start() {
                return None;
            }
            message.data_set_length = length;
        }
        Some(message)
    }

    #[inline(always)]
    fn numbers(&self) -> &[NumberPlace] {
        &self.numbers[..self.number_count.min(Field::NUMBERS.len())]
    }

    // The number of blocks is fixed, so that the loop is unrolled and its result stays in a register.
    #[inline(always)]
    fn matches(&self, window: &Window) -> bool {
        match self.is_usual {
            true => self.matches_in::<USUAL_BLOCKS>(window),
            false => self.matches_in::<BLOCKS>(window),
        }
    }

    // Without branches, so that it is compiled to vector instructions: those of the caller, in which
    // this is inlined.
    #[inline(always)]
    fn matches_in<const COUNT: usize>(&self, window: &Window) -> bool {
        let (found, _) = window.as_chunks::<BLOCK>();
        let mut wrong = [0; BLOCK];
        for (block, found) in self.blocks[..COUNT].iter().zip(found) {
            for at in 0..BLOCK {
                let differs = (found[at] ^ block.expected[at]) & block.equal[at];
                // 0 for a digit, a full stop and a `/`, as in `complete_message`.
                let above = found[at].wrapping_sub(b'.').saturating_sub(b'9' - b'.');
                wrong[at] |= differs | above & block.uid[at];
            }
        }
        wrong.iter().fold(0, |any, one| any | one) == 0
    }
}

/// Whether each last byte is a character of a plain UID, or padding.
#[inline(always)]
fn end_well(uids: [UidPlace; UIDS.len()], window: &Window) -> bool {
    // A table takes fewer instructions than comparisons.
    static ENDS: [bool; 256] = {
        let mut ends = [false; 256];
        ends[0] = true;
        let mut character = b'.';
        while character <= b'9' {
            ends[character as usize] = true;
            character += 1;
        }
        ends
    };
    let [first, second] = uids.map(|uid| ENDS[window[uid.last as usize] as usize]);
    first & second
}

impl UidPlace {
    /// The length without padding.
    #[inline(always)]
    fn length(self, window: &Window) -> usize {
        let is_character = window[self.last as usize] != 0;
        self.last.wrapping_sub(self.start) as usize + usize::from(is_character)
    }
}

/// A message with the layout of an earlier one.
pub struct SimilarMessage<'a> {
    template: &'a Template,
    window: &'a Window,
    begin: usize,
    /// 0 without a data set.
    data_set_length: usize,
}

impl SimilarMessage<'_> {
    /// The offset of its first PDU.
    #[inline(always)]
    pub fn begin(&self) -> usize {
        self.begin
    }

    /// The offset of the next PDU.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.data_set_start() + self.data_set_length
    }

    /// Request or response.
    #[inline(always)]
    pub fn kind(&self) -> Kind {
        self.template.kind
    }

    /// The presentation context ID.
    #[inline(always)]
    pub fn context_id(&self) -> u8 {
        self.template.context_id
    }

    /// The fields that it has, with the presentation context ID and the data set.
    #[inline(always)]
    pub fn fields(&self) -> Fields {
        self.template.fields
    }

    /// Each number, and the index of its field in [`Field::NUMBERS`].
    #[inline(always)]
    pub fn numbers(&self) -> impl Iterator<Item = (usize, u16)> {
        self.template.numbers().iter().map(|place| {
            (place.number as usize, u16::from_le_bytes(chunk(self.window, place.offset)))
        })
    }

    /// The UIDs, in the order of [`UIDS`], if the message has both.
    #[inline(always)]
    pub fn uids(&self) -> Option<[Span; UIDS.len()]> {
        let places = self.template.uids?;
        Some(places.map(|place| {
            let start = self.begin + place.start as usize;
            Span { origin: Origin::Stream, start, length: place.length(self.window) }
        }))
    }

    /// The data set.
    #[inline(always)]
    pub fn data_set(&self) -> Option<Span> {
        let (start, length) = (self.data_set_start(), self.data_set_length);
        self.template.data_set.then_some(Span { origin: Origin::Stream, start, length })
    }

    #[inline(always)]
    fn data_set_start(&self) -> usize {
        self.begin + self.template.length as usize
    }

    /// The command set as a row.
    pub fn row(&self) -> Row {
        let mut row = Row::new(self.kind(), self.begin, self.context_id());
        for (number, value) in self.numbers() {
            row.set_number(Field::NUMBERS[number], value);
        }
        for (field, span) in UIDS.into_iter().zip(self.uids().into_iter().flatten()) {
            row.set_text(field, span);
        }
        row
    }
}

/// The field of the data set of a message. Actions are in the columns of events.
#[inline(always)]
pub fn data_set_field(kind: Kind) -> Field {
    if kind.is_response() { Field::EventReply } else { Field::EventInformation }
}

/// The bytes at `offset`, which are always inside.
#[inline(always)]
fn chunk<const N: usize>(window: &Window, offset: u8) -> [u8; N] {
    const { assert!(u8::MAX as usize + N <= WINDOW) };
    let offset = offset as usize;
    *window[offset..offset + N].first_chunk().expect("it has this length")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::complete_message::tests::message;
    use crate::field::Kind;

    /// Room after a message, so that the window is complete.
    const ROOM: [u8; WINDOW] = [0x20; WINDOW];

    fn template(message: &[u8]) -> Option<Template> {
        let stream = [message, &ROOM].concat();
        let found = complete_message::read(&stream, 0).expect("a complete message");
        Template::new(stream.first_chunk().expect("a window"), &found)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn matches_avx2(template: &Template, window: &Window) -> bool {
        template.matches(window)
    }

    fn read(template: &Template, message: &[u8]) -> Option<CompleteMessage> {
        // At an offset that is not 0.
        let stream = [b"before", message, &ROOM].concat();
        let window = stream[6..].first_chunk().expect("a window");
        let found = template.read(window, 6, stream.len());
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            assert_eq!(unsafe { matches_avx2(template, window) }, template.matches(window));
        }
        let expected = complete_message::read(&stream, 6);
        let found = found.map(|found| CompleteMessage {
            row: found.row(),
            data_set: found.data_set(),
            end: found.end(),
        });
        if found.is_some() {
            assert_eq!(found, expected);
        }
        found
    }

    #[test]
    fn a_message_with_other_values_matches() {
        for (kind, data_set) in
            [(Kind::Request, &b"data"[..]), (Kind::Response, b"data"), (Kind::Request, b"")]
        {
            let template = template(&message(kind, b"1.2.3.4567", data_set, false)).unwrap();
            let longer = [data_set, &b" more"[..data_set.len()]].concat();
            for uid in [&b"1.2.3.4568"[..], b"2.25.98765", b"2.25.9876"] {
                assert!(read(&template, &message(kind, uid, &longer, false)).is_some());
            }
            for uid in [&b"1.2.3.45"[..], b"1.2.3.456700", b"1.2.3.456x", b"1.2.3.4 67"] {
                assert!(read(&template, &message(kind, uid, &longer, false)).is_none());
            }
        }
    }

    #[test]
    fn a_message_of_another_form_has_no_template() {
        let joined = message(Kind::Request, b"1.2.3", b"data", true);
        assert!(template(&joined).is_none());
        let longest = message(Kind::Request, &[b'1'; MAX_LENGTH], b"data", false);
        assert!(template(&longest).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_template_agrees_with_the_reader(
            response: bool,
            first in "[0-9./]{2,64}",
            second in prop_oneof!["[0-9./]{2,64}", "[ -~\0]{2,20}"],
            data_set in prop::collection::vec(any::<u8>(), 0..40),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let kind = if response { Kind::Response } else { Kind::Request };
            let Some(template) = template(&message(kind, first.as_bytes(), b"data", false)) else {
                return Ok(());
            };
            let mut found = message(kind, second.as_bytes(), &data_set, false);
            read(&template, &found);
            for (at, byte) in changes {
                let at = at.index(found.len());
                found[at] = byte;
            }
            read(&template, &found);
        }

        #[test]
        fn templates_do_not_change_the_result(
            messages in prop::collection::vec(
                (any::<bool>(), "[0-9.]{1,64}", 0..40_usize, any::<bool>()), 0..40,
            ),
        ) {
            let stream: Vec<u8> = messages
                .iter()
                .flat_map(|(response, uid, length, one_pdu)| {
                    let kind = if *response { Kind::Response } else { Kind::Request };
                    message(kind, uid.as_bytes(), &vec![b'.'; *length], *one_pdu)
                })
                .collect();
            let (mut templates, mut at) = (Templates::default(), 0);
            while let Some(expected) = complete_message::read(&stream, at) {
                let found = templates.find(&stream, at).map(|found| CompleteMessage {
                    row: found.row(),
                    data_set: found.data_set(),
                    end: found.end(),
                });
                let found = found.or_else(|| templates.read(&stream, at));
                at = expected.end;
                prop_assert_eq!(found, Some(expected));
            }
            prop_assert_eq!(at, stream.len());
        }
    }
}
