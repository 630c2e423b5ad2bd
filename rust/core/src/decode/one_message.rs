//! One command set of the usual form, read by the fast path of streams.

use crate::command_set::{CommandSet, Value};
use crate::decode::complete_message;
use crate::decode::row::{Origin, Row, Span};
use crate::decode::template::UIDS;
use crate::field::Field;

/// Reads the command set of an N-EVENT-REPORT whose elements are those of the table in the order of
/// the table, with one value each, an Error Comment excluded, and UIDs without other characters than
/// digits, full stops and slashes; `None` for any other bytes, which [`CommandSet::read`] reads.
///
/// ```
/// use fastdimse_core::command_set::{CommandSet, Value};
/// use fastdimse_core::decode::read_usual_command_set;
/// use fastdimse_core::field::{Field, Kind};
/// let mut sent = CommandSet::new(Kind::Request, false);
/// sent.set(Field::MessageID, Value::Us(7));
/// let mut bytes = Vec::new();
/// sent.write(&mut bytes);
/// assert_eq!(read_usual_command_set(&bytes), Some(sent));
/// assert_eq!(read_usual_command_set(&bytes[..9]), None);
/// ```
#[inline]
pub fn read_usual_command_set(bytes: &[u8]) -> Option<CommandSet<'_>> {
    let all = Span { origin: Origin::Stream, start: 0, length: bytes.len() };
    let (row, data_set) = complete_message::read_command_set(bytes, all, 0, 0)?;
    command_set_of(&row, data_set, bytes)
}

/// The command set of a row without an Error Comment.
#[inline]
pub fn command_set_of<'a>(row: &Row, data_set: bool, bytes: &'a [u8]) -> Option<CommandSet<'a>> {
    let mut command_set = CommandSet::new(row.kind, data_set);
    for field in Field::NUMBERS {
        if row.fields.has(field) {
            command_set.set(field, Value::Us(row.numbers[field as usize]));
        }
    }
    for field in UIDS {
        if let Some(Span { start, length, .. }) = row.text(field) {
            command_set.set(field, Value::Text(bytes.get(start..start + length)?));
        }
    }
    Some(command_set)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command_set::Message;
    use crate::field::Kind;
    use crate::uid::is_conformant;

    /// The safe twin is [`CommandSet::read`], which has all rules.
    fn agrees_with_the_rules(bytes: &[u8]) {
        let Some(command_set) = read_usual_command_set(bytes) else { return };
        let several = vec![];
        assert_eq!(CommandSet::read(bytes), Ok(Message::Event { command_set, several }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_usual_form_is_read_as_by_the_rules(
            response: bool,
            uid in prop_oneof!["[0-9./]{0,66}", "[ -~\0\t]{0,20}", "[12](\\.[1-9]{1,4}){1,8}"],
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let kind = if response { Kind::Response } else { Kind::Request };
            let mut command_set = CommandSet::new(kind, true);
            command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.840.10008.1.20.1"));
            command_set.set(Field::AffectedSOPInstanceUID, Value::Text(uid.as_bytes()));
            for field in [Field::MessageID, Field::MessageIDBeingRespondedTo, Field::Status] {
                command_set.set(field, Value::Us(513));
            }
            let mut bytes = Vec::new();
            command_set.write(&mut bytes);
            let usual = read_usual_command_set(&bytes);
            assert!(usual.is_some() || !is_conformant(uid.as_bytes()), "{uid:?}");
            agrees_with_the_rules(&bytes);
            agrees_with_the_rules(&bytes[..cut.index(bytes.len())]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            agrees_with_the_rules(&bytes);
        }
    }
}
