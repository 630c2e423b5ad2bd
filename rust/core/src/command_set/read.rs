//! Reads command sets: Implicit VR Little Endian, and Explicit VR Little Endian, which some peers
//! send.

use dicom_core::VR;

use crate::command_set::elements::*;
use crate::command_set::write::{CommandSet, HEADER, Value};
use crate::field::{Field, Kind};
use crate::rejection::{Reason, Rejection};
use crate::standard::vr::has_long_length;

impl<'a> CommandSet<'a> {
    /// Reads a command set as pynetdicom does: unknown elements are skipped, the last of repeated
    /// elements counts, the order and the group length are ignored, fewer than eight bytes at the
    /// end are ignored, and Explicit VR is accepted.
    ///
    /// ```
    /// use fastdimse_core::command_set::{CommandSet, Value};
    /// use fastdimse_core::field::{Field, Kind};
    /// let mut sent = CommandSet::new(Kind::Request, false);
    /// sent.set(Field::MessageID, Value::Us(7));
    /// let mut bytes = Vec::new();
    /// sent.write(&mut bytes);
    /// assert_eq!(CommandSet::read(&bytes).unwrap().event().unwrap(), sent);
    /// ```
    pub fn read(bytes: &'a [u8]) -> Result<Message<'a>, Rejection> {
        // The offset of a missing element is the end of the command set.
        Message::from_elements(RawElements::read(bytes)?).map_err(|rejection| {
            match rejection.offset {
                Some(_) => rejection,
                None => rejection.at(bytes.len()),
            }
        })
    }
}

/// A command set after reading. It lives on the stack while one message is read; a box would cost
/// more than its size.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// An N-EVENT-REPORT.
    Event {
        /// Its command set.
        command_set: CommandSet<'a>,
        /// Fields with several values, and the number of values. The first value counts.
        several: Vec<(Field, usize)>,
    },
    /// An N-ACTION.
    Action {
        /// Its command set.
        command_set: CommandSet<'a>,
        /// Fields with several values, and the number of values. The first value counts.
        several: Vec<(Field, usize)>,
    },
    /// Another DIMSE message.
    Other {
        /// Its Command Field.
        command_field: u16,
        /// Message ID, if present.
        message_id: Option<u16>,
        /// Message ID Being Responded To, if present.
        answered: Option<u16>,
        /// Status, if present.
        status: Option<u16>,
        /// Whether a data set follows.
        data_set: bool,
    },
}

impl<'a> Message<'a> {
    /// The command set, if the message is an N-EVENT-REPORT.
    pub fn event(self) -> Result<CommandSet<'a>, Rejection> {
        match self {
            Self::Event { command_set, .. } => Ok(command_set),
            other => Err(Rejection::new(Reason::CommandField(other.command_field()))),
        }
    }

    /// The command set, if the message is an N-ACTION.
    pub fn action(self) -> Result<CommandSet<'a>, Rejection> {
        match self {
            Self::Action { command_set, .. } => Ok(command_set),
            other => Err(Rejection::new(Reason::NotAnAction(other.command_field()))),
        }
    }

    /// The Command Field.
    pub fn command_field(&self) -> u16 {
        match self {
            Self::Event { command_set, .. } | Self::Action { command_set, .. } => {
                command_set.kind.command_field()
            }
            Self::Other { command_field, .. } => *command_field,
        }
    }

    /// The name of the message (PS3.7 E.1).
    pub fn name(&self) -> &'static str {
        message_name(self.command_field())
    }

    /// Whether a data set follows.
    pub fn data_set(&self) -> bool {
        match self {
            Self::Event { command_set, .. } | Self::Action { command_set, .. } => {
                command_set.data_set
            }
            Self::Other { data_set, .. } => *data_set,
        }
    }

    fn from_elements(raw: RawElements<'a>) -> Result<Self, Rejection> {
        raw.value(GROUP_LENGTH)?;
        let (command_field, count) = raw.value(COMMAND_FIELD)?;
        if count > 1 {
            return Err(Rejection::new(Reason::SeveralCommandFields(count)));
        }
        let command_field =
            command_field.us().ok_or_else(|| missing("Command Field (0000,0100)"))?;
        if raw.found[DATA_SET_TYPE].is_none() {
            return Err(missing("Command Data Set Type (0000,0800)"));
        }
        let data_set_type = raw.value(DATA_SET_TYPE)?;
        let data_set = data_set_type != (Value::Us(NO_DATA_SET), 1);
        let Some(kind) = Kind::from_command_field(command_field) else {
            let number = |field| {
                let is_it = |element: &Element| element.source == Source::Field(field);
                raw.value(ELEMENTS.iter().position(is_it)?).ok()?.0.us()
            };
            return Ok(Self::Other {
                command_field,
                message_id: number(Field::MessageID),
                answered: number(Field::MessageIDBeingRespondedTo),
                status: number(Field::Status),
                data_set,
            });
        };
        // Two loops, since the places of the elements of an event are known to the compiler.
        match Kind::of_event(command_field) {
            Some(kind) => {
                let (command_set, several) =
                    raw.values(kind, data_set, ELEMENTS.iter().enumerate())?;
                Ok(Self::Event { command_set, several })
            }
            None => {
                let places = ACTION_ELEMENTS.iter().map(|one| place(one.number));
                let elements = places.flatten().zip(&ACTION_ELEMENTS);
                let (command_set, several) = raw.values(kind, data_set, elements)?;
                Ok(Self::Action { command_set, several })
            }
        }
    }
}

fn missing(what: &'static str) -> Rejection {
    Rejection::new(Reason::MissingElement(what))
}

const GROUP_LENGTH: usize = 0;

const COMMAND_FIELD: usize = 2;

const DATA_SET_TYPE: usize = 5;

/// The number of different elements in the tables.
const PLACES: usize = 14;

/// The place of an element among those of the tables. An element of [`ELEMENTS`] has the place of its
/// row.
fn place(number: u16) -> Option<usize> {
    match number {
        0x0003 => Some(11),
        0x1001 => Some(12),
        0x1008 => Some(13),
        _ => ELEMENTS.iter().position(|row| row.number == number),
    }
}

/// The elements of the tables as found in the bytes. The last one counts if an element occurs twice.
struct RawElements<'a> {
    found: [Option<Raw<'a>>; PLACES],
}

/// The command set of a message, and its fields with several values.
type ReadValues<'a> = (CommandSet<'a>, Vec<(Field, usize)>);

#[derive(Clone, Copy)]
struct Raw<'a> {
    offset: usize,
    vr: Option<[u8; 2]>,
    value: &'a [u8],
}

impl<'a> RawElements<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let mut found = [None; PLACES];
        // The first element shows the encoding. Explicit VR has two capital letters in bytes 4 and
        // 5; as an implicit length they would be more than 16 kB.
        let explicit = bytes.get(4..6).is_some_and(|vr| vr.iter().all(u8::is_ascii_uppercase));
        let mut at = 0;
        while let Some(header) = Header::read(bytes, at, explicit)? {
            // pydicom ends a data set at an Item Delimitation Item.
            if (header.group, header.element) == (0xFFFE, 0xE00D) {
                break;
            }
            let value = header.value(bytes)?;
            if let Some(place) = header.place() {
                found[place] = Some(Raw { offset: at, vr: header.vr, value });
            }
            at = header.value_at + value.len();
        }
        Ok(Self { found })
    }

    /// The values of a message of this kind, whose elements have these places.
    #[inline]
    fn values(
        &self,
        kind: Kind,
        data_set: bool,
        elements: impl Iterator<Item = (usize, &'static Element)>,
    ) -> Result<ReadValues<'a>, Rejection> {
        let mut command_set = CommandSet::new(kind, data_set);
        let mut several = Vec::new();
        for (place, element) in elements {
            if let Source::Field(field) = element.source {
                let (value, count) =
                    self.value_as(place, element.vr).map_err(|error| error.field(field))?;
                command_set.set(field, value);
                if count > 1 {
                    several.push((field, count));
                }
            }
        }
        Ok((command_set, several))
    }

    /// The first value of the element in a row of [`ELEMENTS`], and its value multiplicity.
    fn value(&self, row: usize) -> Result<(Value<'a>, usize), Rejection> {
        self.value_as(row, ELEMENTS[row].vr)
    }

    fn value_as(&self, place: usize, vr: Vr) -> Result<(Value<'a>, usize), Rejection> {
        let Some(raw) = &self.found[place] else { return Ok((Value::Absent, 0)) };
        raw.check_vr(vr)?;
        match vr {
            Vr::Us => raw.us(),
            Vr::Ui => Ok(raw.uid()),
            Vr::Lo => Ok(raw.text()),
            Vr::Ul => raw.ul(),
        }
    }
}

impl<'a> Raw<'a> {
    fn check_vr(&self, vr: Vr) -> Result<(), Rejection> {
        match self.vr {
            Some(found) if found != *vr.name().as_bytes() => {
                let found = crate::excerpt::excerpt(&found);
                Err(Rejection::new(Reason::ValueVr { vr: vr.name(), found }).at(self.offset))
            }
            _ => Ok(()),
        }
    }

    fn us(&self) -> Result<(Value<'a>, usize), Rejection> {
        match self.value {
            [] => Ok((Value::Absent, 0)),
            [low, high, rest @ ..] if rest.len() % 2 == 0 => {
                Ok((Value::Us(u16::from_le_bytes([*low, *high])), 1 + rest.len() / 2))
            }
            value => {
                let reason = Reason::ValueLength { length: value.len(), vr: "US" };
                Err(Rejection::new(reason).at(self.offset))
            }
        }
    }

    /// The group length. Only its length is checked; its value is ignored.
    fn ul(&self) -> Result<(Value<'a>, usize), Rejection> {
        match self.value.len() {
            length if length % 4 == 0 => Ok((Value::Absent, length / 4)),
            length => {
                let reason = Reason::ValueLength { length, vr: "UL" };
                Err(Rejection::new(reason).at(self.offset))
            }
        }
    }

    /// Text up to the first backslash, without the padding at its end (PS3.5 6.2).
    fn text(&self) -> (Value<'a>, usize) {
        let text = trim_end(self.value);
        let mut values = text.split(|&byte| byte == b'\\');
        let first = values.next().map_or(text, trim_end);
        (Value::Text(first), 1 + values.count())
    }

    /// A UID. pydicom strips white space from both ends of each value and NUL from the end of the
    /// last one; an empty UID counts as no value.
    fn uid(&self) -> (Value<'a>, usize) {
        let mut values = trim_end(self.value).split(|&byte| byte == b'\\');
        let first = values.next().map_or(&[][..], strip);
        let value = if first.is_empty() { Value::Absent } else { Value::Text(first) };
        (value, 1 + values.count())
    }
}

fn trim_end(text: &[u8]) -> &[u8] {
    let length = text.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |at| at + 1);
    &text[..length]
}

/// Strips Latin-1 white space from both ends, as Python's `str.strip` does.
fn strip(text: &[u8]) -> &[u8] {
    let white = |byte: &u8| matches!(byte, 0x09..=0x0d | 0x1c..=0x20 | 0x85 | 0xa0);
    let end = text.iter().rposition(|byte| !white(byte)).map_or(0, |at| at + 1);
    let start = text[..end].iter().position(|byte| !white(byte)).unwrap_or(end);
    &text[start..end]
}

struct Header {
    group: u16,
    element: u16,
    vr: Option<[u8; 2]>,
    length: u32,
    at: usize,
    value_at: usize,
}

impl Header {
    /// The header at `at`; `None` if fewer than eight bytes are left.
    fn read(bytes: &[u8], at: usize, explicit: bool) -> Result<Option<Self>, Rejection> {
        let Some(&[g0, g1, e0, e1, a, b, c, d]) = bytes.get(at..).and_then(<[u8]>::first_chunk)
        else {
            return Ok(None);
        };
        let group = u16::from_le_bytes([g0, g1]);
        let element = u16::from_le_bytes([e0, e1]);
        let explicit = explicit && a.is_ascii_uppercase() && b.is_ascii_uppercase();
        let (vr, length, value_at) = match [a, b] {
            vr if explicit && VR::from_binary(vr).is_some_and(has_long_length) => {
                let Some(&length) = bytes.get(at + HEADER..).and_then(<[u8]>::first_chunk) else {
                    let left = bytes.len() - at - HEADER;
                    let reason = Reason::ElementLength { group, element, length: 0, left };
                    return Err(Rejection::new(reason).at(at));
                };
                (Some(vr), u32::from_le_bytes(length), at + HEADER + 4)
            }
            vr if explicit => (Some(vr), u32::from(u16::from_le_bytes([c, d])), at + HEADER),
            _ => (None, u32::from_le_bytes([a, b, c, d]), at + HEADER),
        };
        Ok(Some(Self { group, element, vr, length, at, value_at }))
    }

    /// The place of the element in the tables.
    fn place(&self) -> Option<usize> {
        place(self.element).filter(|_| self.group == 0)
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Rejection> {
        let rest = &bytes[self.value_at..];
        rest.get(..self.length as usize).ok_or_else(|| {
            let Self { group, element, length, .. } = *self;
            let reason = Reason::ElementLength { group, element, length, left: rest.len() };
            Rejection::new(reason).at(self.at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CommandSet<'static> {
        let mut command_set = CommandSet::new(Kind::Request, true);
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.3"));
        command_set.set(Field::MessageID, Value::Us(7));
        command_set.set(Field::AffectedSOPInstanceUID, Value::Text(b"1.2.3.4"));
        command_set.set(Field::EventTypeID, Value::Us(2));
        command_set
    }

    fn written(command_set: &CommandSet<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        command_set.write(&mut out);
        out
    }

    #[test]
    fn table_is_in_tag_order_and_its_positions_hold() {
        assert!(ELEMENTS.is_sorted_by_key(|element| element.number));
        assert_eq!(ELEMENTS[GROUP_LENGTH].source, Source::GroupLength);
        assert_eq!(ELEMENTS[COMMAND_FIELD].source, Source::CommandField);
        assert_eq!(ELEMENTS[DATA_SET_TYPE].source, Source::DataSetType);
    }

    #[test]
    fn elements_of_both_tables_have_places() {
        assert!(ACTION_ELEMENTS.is_sorted_by_key(|element| element.number));
        for (row, element) in ELEMENTS.iter().enumerate() {
            assert_eq!(place(element.number), Some(row));
        }
        let mut places: Vec<usize> =
            ACTION_ELEMENTS.iter().map(|element| place(element.number).unwrap()).collect();
        places.dedup();
        assert_eq!(places.len(), ACTION_ELEMENTS.len());
        assert!(places.iter().all(|&place| place < PLACES));
        for number in [GROUP_LENGTH, COMMAND_FIELD, DATA_SET_TYPE] {
            assert!(places.contains(&number));
        }
    }

    #[test]
    fn reads_the_actions_that_it_writes() {
        for kind in [Kind::ActionRequest, Kind::ActionResponse] {
            let mut action = CommandSet::new(kind, true);
            for element in kind.elements() {
                if let Source::Field(field) = element.source
                    && kind.carries(field)
                {
                    let text = Value::Text(b"1.2.3");
                    action.set(field, if field.is_text() { text } else { Value::Us(513) });
                }
            }
            let bytes = written(&action);
            assert_eq!(bytes.len(), action.encoded_len());
            assert_eq!(CommandSet::read(&bytes).unwrap().action().unwrap(), action);
            let error = CommandSet::read(&bytes).unwrap().event().unwrap_err();
            assert_eq!(error.reason, Reason::CommandField(kind.command_field()));
        }
        let error = CommandSet::read(&written(&request())).unwrap().action().unwrap_err();
        assert_eq!(error.reason, Reason::NotAnAction(0x0100));
    }

    #[test]
    fn group_length_counts_the_rest() {
        let bytes = written(&request());
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
        assert_eq!(length, bytes.len() - 12);
        assert_eq!(bytes.len(), request().encoded_len());
    }

    #[test]
    fn a_request_omits_fields_of_responses() {
        let mut with_status = request();
        with_status.set(Field::Status, Value::Us(1));
        assert_eq!(written(&with_status), written(&request()));
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(CommandSet::read(&written(&request())).unwrap().event().unwrap(), request());
    }

    #[test]
    fn the_last_of_repeated_elements_counts() {
        let mut bytes = written(&request());
        let mut again = CommandSet::new(Kind::Request, false);
        again.set(Field::MessageID, Value::Us(8));
        bytes.extend_from_slice(&written(&again)[12..]);
        let read = CommandSet::read(&bytes).unwrap().event().unwrap();
        assert_eq!(read.get(Field::MessageID), Value::Us(8));
        assert!(!read.data_set);
    }

    #[test]
    fn a_truncated_command_set_is_an_error_or_incomplete() {
        let bytes = written(&request());
        for end in 0..bytes.len() {
            if let Ok(message) = CommandSet::read(&bytes[..end]) {
                assert_ne!(message.event().unwrap(), request());
            }
        }
    }

    #[test]
    fn several_values_are_reported() {
        let mut bytes = written(&request());
        bytes.extend_from_slice(b"\0\0\x02\0\x08\0\0\x001.2\\1.3 ");
        let Message::Event { command_set, several } = CommandSet::read(&bytes).unwrap() else {
            panic!("it is an event")
        };
        assert_eq!(command_set.get(Field::AffectedSOPClassUID), Value::Text(b"1.2"));
        assert_eq!(several, [(Field::AffectedSOPClassUID, 2)]);
    }

    #[test]
    fn explicit_vr_is_accepted() {
        let bytes = b"\0\0\0\x01US\x02\0\0\x01\0\0\0\x08US\x02\0\x01\x01\0\0\x10\x01US\x02\0\x07\0";
        let read = CommandSet::read(bytes).unwrap().event().unwrap();
        assert_eq!(read.get(Field::MessageID), Value::Us(7));
    }
}
