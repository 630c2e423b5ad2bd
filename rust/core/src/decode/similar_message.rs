//! The fastest path: reads messages that are like an earlier one of the stream.
//!
//! Most messages of a stream differ in a few values only: numbers, the instance UID and the data
//! set. A comparison with an earlier message of the same length replaces reading the elements, which
//! takes twice as long. Other messages are read by [`crate::decode::complete_message`].

use crate::command_set::{ELEMENTS, Source, Vr};
use crate::decode::complete_message::{self, CompleteMessage, read_data_set, uid};
use crate::decode::row::{Origin, Row, Span, place_of};
use crate::field::Field;
use crate::pdu::write::{HEADERS, PDU_HEADER};

/// The maximum length of the headers and the command set of a message that is compared.
const MOST: usize = 256;

/// The number of bytes that are compared at once.
const LANE: usize = 16;

/// The number of shapes of messages: those of different lengths have different places.
const SHAPES: usize = 64;

/// The number of messages of a place that are unlike its shape, before it is replaced.
const MOST_MISSES: u8 = 32;

/// The shapes of the messages that were read.
#[derive(Debug)]
pub struct SimilarMessages {
    shapes: [Option<Box<Shape>>; SHAPES],
}

impl Default for SimilarMessages {
    fn default() -> Self {
        Self { shapes: [const { None }; SHAPES] }
    }
}

impl SimilarMessages {
    /// Reads the message whose first PDU begins at `at`, if it is like an earlier one. Its end may be
    /// after that of its row.
    #[inline(always)]
    pub fn read(&self, stream: &[u8], at: usize) -> Option<CompleteMessage> {
        self.shapes[place(stream, at)?].as_ref()?.read(stream, at)
    }

    /// Reads a message that is unlike an earlier one, as [`complete_message::read`] does.
    // Apart from the other function, whose result thereby stays in registers.
    #[inline(never)]
    pub fn read_other(&mut self, stream: &[u8], at: usize) -> Option<CompleteMessage> {
        let found = complete_message::read(stream, at)?;
        match &mut self.shapes[place(stream, at)?] {
            Some(shape) if shape.misses < MOST_MISSES => shape.misses += 1,
            shape => *shape = Shape::new(stream, at, &found).map(Box::new).or(shape.take()),
        }
        Some(found)
    }
}

/// The place of the shape of a message: the low byte of the length of its PDU, which is even.
#[inline(always)]
fn place(stream: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(*stream.get(at + 5)? >> 1) % SHAPES)
}

/// A message without the values that differ from message to message.
#[derive(Debug)]
struct Shape {
    /// The row of the message, as if it began at 0.
    row: Row,
    has_data_set: bool,
    /// The length of the headers and the command set.
    length: usize,
    /// The length of the PDU with its header.
    pdu_length: usize,
    /// The bytes, with zeros in the place of values.
    bytes: [u8; MOST],
    /// Zeros in the place of values, and ones in all other places.
    mask: [u8; MOST],
    /// Where the numbers of [`Field::NUMBERS`] are; 0 if there is none.
    numbers: [usize; Field::NUMBERS.len()],
    /// The value of the instance UID with its padding.
    instance: Span,
    misses: u8,
}

impl Shape {
    /// The shape of a message at `at`. `None` if it is too long, or has no instance UID.
    fn new(stream: &[u8], at: usize, message: &CompleteMessage) -> Option<Self> {
        let headers = stream.get(at..at + HEADERS)?;
        let length = u32::from_be_bytes(headers[6..].first_chunk().copied()?) as usize - 2;
        let message_bytes = stream.get(at..at + HEADERS + length)?;
        if message_bytes.len() > MOST {
            return None;
        }
        let (mut bytes, mut mask) = ([0; MOST], [0; MOST]);
        bytes[..message_bytes.len()].copy_from_slice(message_bytes);
        mask[..message_bytes.len()].fill(u8::MAX);
        let (mut numbers, mut instance) = ([0; Field::NUMBERS.len()], None);
        let mut element_at = HEADERS;
        while let Some(&[0, 0, low, high, a, b, c, d]) =
            message_bytes.get(element_at..).and_then(<[u8]>::first_chunk)
        {
            let number = u16::from_le_bytes([low, high]);
            let value = element_at + 8;
            let end = value + u32::from_le_bytes([a, b, c, d]) as usize;
            let element = ELEMENTS.iter().find(|element| element.number == number)?;
            let differs = match (element.source, element.vr) {
                (Source::Field(field), Vr::Us) => {
                    numbers[place_of(field, &Field::NUMBERS)] = value;
                    true
                }
                (Source::Field(Field::AffectedSOPInstanceUID), _) => {
                    instance =
                        Some(Span { origin: Origin::Stream, start: value, length: end - value });
                    true
                }
                _ => false,
            };
            if differs {
                bytes[value..end].fill(0);
                mask[value..end].fill(0);
            }
            element_at = end;
        }
        let row = message.row.at(0_usize.wrapping_sub(at));
        Some(Self {
            row,
            has_data_set: message.data_set.is_some(),
            length: message_bytes.len(),
            pdu_length: PDU_HEADER
                + u32::from_be_bytes([headers[2], headers[3], headers[4], headers[5]]) as usize,
            bytes,
            mask,
            numbers,
            instance: instance?,
            misses: 0,
        })
    }

    /// Reads the message at `at`, if it has this shape.
    #[inline(always)]
    fn read(&self, stream: &[u8], at: usize) -> Option<CompleteMessage> {
        let end = at + self.length;
        let compared = self.length.next_multiple_of(LANE);
        let bytes = stream.get(at..at + compared)?;
        let mut differing = [0; LANE];
        let known = self.bytes[..compared].as_chunks::<LANE>().0;
        let masks = self.mask[..compared].as_chunks::<LANE>().0;
        for ((bytes, known), mask) in bytes.as_chunks::<LANE>().0.iter().zip(known).zip(masks) {
            for lane in 0..LANE {
                differing[lane] |= bytes[lane] & mask[lane] ^ known[lane];
            }
        }
        if u128::from_ne_bytes(differing) != 0 {
            return None;
        }
        let mut row = self.row.at(at);
        let instance = Span { start: at + self.instance.start, ..self.instance };
        row.set_text(Field::AffectedSOPInstanceUID, uid(stream, instance)?);
        // Unrolled: with an index that is not constant, the row would not be in registers.
        macro_rules! read {
            ($($number:literal)*) => {
                $(if self.numbers[$number] != 0 {
                    let number = *bytes.get(self.numbers[$number]..)?.first_chunk()?;
                    row.set_number(const { Field::NUMBERS[$number] }, u16::from_le_bytes(number));
                })*
            };
        }
        read!(0 1 2 3 4);
        const { assert!(Field::NUMBERS.len() == 5) };
        if !self.has_data_set {
            return Some(CompleteMessage { row, data_set: None, end });
        }
        let (data_set, end) = read_data_set(stream, end, at + self.pdu_length)?;
        Some(CompleteMessage { row, data_set: Some(data_set), end })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command_set::{CommandSet, Value};
    use crate::field::Kind;
    use crate::pdu::write::{MaxPduLength, write_message};

    fn message(kind: Kind, uid: &[u8], numbers: [u16; 3], data_set: &[u8]) -> Vec<u8> {
        let mut command_set = CommandSet::new(kind, !data_set.is_empty());
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.840.10008.1.20.1"));
        command_set.set(Field::AffectedSOPInstanceUID, Value::Text(uid));
        command_set.set(Field::EventTypeID, Value::Us(numbers[0]));
        match kind {
            Kind::Request => command_set.set(Field::MessageID, Value::Us(numbers[1])),
            Kind::Response => {
                command_set.set(Field::MessageIDBeingRespondedTo, Value::Us(numbers[1]));
                command_set.set(Field::Status, Value::Us(numbers[2]));
            }
        }
        let mut out = Vec::new();
        let max = MaxPduLength::new(0).unwrap();
        write_message(&mut out, 1, max, |out| command_set.write(out), data_set);
        out
    }

    fn one() -> impl Strategy<Value = Vec<u8>> {
        let uid = prop_oneof!["[0-9.]{1,64}", "1[.]2[.][0-9]{4}", Just(String::new())];
        let data_set = prop::collection::vec(any::<u8>(), 0..20);
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2);
        (any::<bool>(), uid, any::<[u16; 3]>(), data_set, changes).prop_map(
            |(response, uid, numbers, data_set, changes)| {
                let kind = if response { Kind::Response } else { Kind::Request };
                let mut message = message(kind, uid.as_bytes(), numbers, &data_set);
                for (at, byte) in changes {
                    let at = at.index(message.len());
                    message[at] = byte;
                }
                message
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// A message is read as by the elements, whatever was read before it.
        #[test]
        fn messages_are_read_as_alone(
            messages in prop::collection::vec(one(), 1..80),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = messages.concat();
            stream.truncate(stream.len() - cut.index(30.min(stream.len())));
            let mut similar = SimilarMessages::default();
            let mut at = 0;
            for message in &messages {
                let alone = complete_message::read(&stream, at);
                let found = similar.read(&stream, at).or_else(|| similar.read_other(&stream, at));
                let shown = |found: &Option<CompleteMessage>| format!("{found:?}");
                prop_assert_eq!(shown(&found), shown(&alone));
                at += message.len();
            }
        }
    }

    #[test]
    fn similar_messages_have_one_shape() {
        let uids: Vec<String> = (1000..1100).map(|number| format!("1.2.{number}")).collect();
        let messages: Vec<Vec<u8>> = uids
            .iter()
            .map(|uid| message(Kind::Request, uid.as_bytes(), [1, 2, 3], b"ab"))
            .collect();
        let stream = messages.concat();
        let mut similar = SimilarMessages::default();
        for (number, message) in messages.iter().enumerate() {
            let at = number * message.len();
            assert_eq!(similar.read(&stream, at).is_some(), number > 0);
            assert!(similar.read_other(&stream, at).is_some());
        }
        let shapes: Vec<_> = similar.shapes.iter().flatten().collect();
        assert_eq!(shapes.len(), 1);
        assert!(shapes[0].read(&stream, 5 * messages[0].len()).is_some());
    }
}
