//! Reads the messages of an association one by one.

use crate::command_set::{CommandSet, Value, number_of};
use crate::decode::complete_message::CompleteMessage;
use crate::decode::one_message::command_set_of;
use crate::decode::row::Span;
use crate::decode::template::{SimilarMessage, Templates, UIDS};
use crate::field::Field;
use crate::pdu::write::{COMMAND, HEADERS, LAST, PDV_HEADER};

/// The tag and the length of an element (PS3.5 7.1.3).
const ELEMENT_HEADER: usize = 8;

/// A message that is complete in the bytes that were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeMessage<'a> {
    /// The presentation context ID.
    pub context_id: u8,
    /// The command set.
    pub command_set: CommandSet<'a>,
    /// The bytes of the command set.
    pub command_set_bytes: &'a [u8],
    /// The data set, which may be empty.
    pub data_set: Option<&'a [u8]>,
    /// All PDUs of the message, which have nothing else.
    pub pdus: &'a [u8],
}

/// Reads messages that are complete and of the usual form, which nearly all are. Most of them are
/// recognized by an earlier message.
#[derive(Debug, Default)]
pub struct MessageReader {
    templates: Templates,
}

impl MessageReader {
    /// The N-EVENT-REPORT with which the bytes begin. `None` if it is incomplete, or has not the usual
    /// form, or is another message: [`Pdus`](crate::pdu::read::Pdus) and [`CommandSet::read`] have all
    /// rules.
    ///
    /// ```
    /// use fastdimse_core::command_set::{CommandSet, Value};
    /// use fastdimse_core::decode::MessageReader;
    /// use fastdimse_core::field::{Field, Kind};
    /// use fastdimse_core::pdu::write::{MaxPduLength, write_message};
    /// let mut sent = CommandSet::new(Kind::Request, true);
    /// sent.set(Field::MessageID, Value::Us(7));
    /// let (mut pdus, max) = (Vec::new(), MaxPduLength::UNLIMITED);
    /// write_message(&mut pdus, 1, max, |out| sent.write(out), b"data");
    /// let mut reader = MessageReader::default();
    /// let found = reader.read(&pdus).unwrap();
    /// assert_eq!((found.command_set, found.data_set), (sent, Some(&b"data"[..])));
    /// assert_eq!(reader.read(&pdus[..pdus.len() - 1]), None);
    /// ```
    #[inline]
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Option<WholeMessage<'a>> {
        match self.templates.find(bytes, 0) {
            Some(similar) => similar_message(bytes, &similar),
            None => complete_message(bytes, &self.templates.read(bytes, 0)?),
        }
    }
}

/// The Message ID of a message with a command set in one fragment, whose elements are in the order of
/// their tags: all that this crate encodes, except those in several fragments.
pub fn message_id(pdus: &[u8]) -> Option<u16> {
    // Its tag in the order of the bytes: the group, which is 0, and the element (PS3.7 E.1).
    const MESSAGE_ID: u32 = (number_of(Field::MessageID) as u32) << 16;
    let [.., control] = *pdus.first_chunk::<HEADERS>()?;
    if control & (COMMAND | LAST) != COMMAND | LAST {
        return None;
    }
    let mut at = HEADERS;
    loop {
        let header = u64::from_le_bytes(*pdus.get(at..)?.first_chunk()?);
        let (tag, length) = (header as u32, (header >> 32) as usize);
        at += ELEMENT_HEADER;
        if tag >= MESSAGE_ID {
            let value = u16::from_le_bytes(*pdus.get(at..)?.first_chunk()?);
            return (tag == MESSAGE_ID && length == 2).then_some(value);
        }
        at += length;
    }
}

// Inlined: a copy of a command set takes as long as reading it.
#[inline(always)]
fn similar_message<'a>(bytes: &'a [u8], found: &SimilarMessage<'_>) -> Option<WholeMessage<'a>> {
    let context_id = found.context_id();
    let Parts { command_set_bytes, data_set, pdus } =
        parts(bytes, context_id, found.data_set(), found.end())?;
    let mut command_set = CommandSet::new(found.kind(), data_set.is_some());
    for (number, value) in found.numbers() {
        command_set.set(Field::NUMBERS[number], Value::Us(value));
    }
    if let Some(spans) = found.uids() {
        for (field, span) in UIDS.into_iter().zip(spans) {
            command_set.set(field, Value::Text(part(bytes, span)?));
        }
    }
    Some(WholeMessage { context_id, command_set, command_set_bytes, data_set, pdus })
}

#[inline(never)]
fn complete_message<'a>(bytes: &'a [u8], found: &CompleteMessage) -> Option<WholeMessage<'a>> {
    let context_id = found.row.context_id;
    let Parts { command_set_bytes, data_set, pdus } =
        parts(bytes, context_id, found.data_set, found.end)?;
    let command_set = command_set_of(&found.row, data_set.is_some(), bytes)?;
    Some(WholeMessage { context_id, command_set, command_set_bytes, data_set, pdus })
}

/// The bytes of a message.
struct Parts<'a> {
    command_set_bytes: &'a [u8],
    data_set: Option<&'a [u8]>,
    pdus: &'a [u8],
}

/// The parts of a message that ends at `end`, if both fragments have the same presentation context
/// (PS3.8 E.1).
#[inline(always)]
fn parts(bytes: &[u8], context_id: u8, data_set: Option<Span>, end: usize) -> Option<Parts<'_>> {
    let pdus = bytes.get(..end)?;
    let pdv_length = u32::from_be_bytes(*pdus.get(HEADERS - PDV_HEADER..)?.first_chunk()?);
    // The length of a PDV counts two bytes of its header (PS3.8 9.3.5.1).
    let command_set_bytes = pdus.get(HEADERS..)?.get(..(pdv_length as usize).checked_sub(2)?)?;
    let data_set = match data_set {
        Some(span) if *pdus.get(span.start.checked_sub(2)?)? != context_id => return None,
        Some(span) => Some(part(pdus, span)?),
        None => None,
    };
    Some(Parts { command_set_bytes, data_set, pdus })
}

#[inline(always)]
fn part(bytes: &[u8], span: Span) -> Option<&[u8]> {
    bytes.get(span.start..)?.get(..span.length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command_set::Message;
    use crate::field::Kind;
    use crate::pdu::read::{Item, Pdus};
    use crate::pdu::write::{MaxPduLength, write_message};

    /// A request or response.
    fn pdus(kind: Kind, id: u16, max_pdu_length: i128, data_set: &[u8]) -> Vec<u8> {
        let mut command_set = CommandSet::new(kind, !data_set.is_empty());
        for field in [Field::AffectedSOPClassUID, Field::RequestedSOPClassUID] {
            command_set.set(field, Value::Text(b"1.2.840.10008.1.20.1"));
        }
        for field in [Field::MessageID, Field::MessageIDBeingRespondedTo, Field::Status] {
            command_set.set(field, Value::Us(id));
        }
        let (mut out, max) = (Vec::new(), MaxPduLength::new(max_pdu_length).unwrap());
        write_message(&mut out, 1, max, |out| command_set.write(out), data_set);
        out
    }

    /// The Message ID by all rules, if the command set is in one fragment.
    fn id_by_the_rules(pdus: &[u8]) -> Option<u16> {
        let Some(Ok(Item::Pdv(pdv))) = Pdus::new(pdus).next() else { return None };
        match CommandSet::read(pdv.fragment).ok().filter(|_| pdv.is_command() && pdv.is_last())? {
            Message::Event { command_set, .. } | Message::Action { command_set, .. } => {
                command_set.get(Field::MessageID).us()
            }
            Message::Other { message_id, .. } => message_id,
        }
    }

    #[test]
    fn the_message_id_is_at_its_place() {
        for kind in [Kind::Request, Kind::ActionRequest, Kind::Response, Kind::ActionResponse] {
            for (max_pdu_length, data_set) in [(0, &b"data"[..]), (0, b""), (40, b"data")] {
                for id in [0, 7, u16::MAX] {
                    let pdus = pdus(kind, id, max_pdu_length, data_set);
                    let expected = id_by_the_rules(&pdus);
                    assert_eq!(message_id(&pdus), expected);
                    let is_complete = max_pdu_length == 0 && !kind.is_response();
                    assert_eq!(expected, is_complete.then_some(id));
                    (0..40).for_each(|end| assert_eq!(message_id(&pdus[..end]), None));
                }
            }
        }
    }

    #[test]
    fn both_fragments_have_one_presentation_context() {
        for similar in [false, true] {
            let mut reader = MessageReader::default();
            let mut message = pdus(Kind::Request, 7, 0, &[0; 300]);
            if similar {
                assert!(reader.read(&message).is_some());
            }
            let context_of_data_set = message.len() - 302;
            message[context_of_data_set] = 3;
            assert_eq!(reader.read(&message), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn a_similar_message_is_read_as_a_first_one(
            ids in prop::collection::vec((any::<bool>(), any::<u16>(), 0..300_usize), 1..6),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let kind = |response| if response { Kind::Response } else { Kind::Request };
            let messages = ids.iter().map(|&(response, id, length)| {
                pdus(kind(response), id, 0, &vec![b'x'; length])
            });
            let mut stream: Vec<u8> = messages.flatten().collect();
            for (at, byte) in changes {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let (mut reader, mut rest) = (MessageReader::default(), &stream[..]);
            while let Some(found) = reader.read(rest) {
                // Without a template.
                assert_eq!(MessageReader::default().read(rest), Some(found));
                rest = &rest[found.pdus.len()..];
            }
            assert_eq!(MessageReader::default().read(rest), None);
        }
    }
}
