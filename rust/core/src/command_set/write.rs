//! The values of a command set, and their encoding: Implicit VR Little Endian in tag order (PS3.7
//! 6.3.1).

use crate::command_set::elements::*;
use crate::field::{Field, Kind};

/// Length of the tag and the value length (PS3.5 7.1.3).
pub const HEADER: usize = 8;

/// The value of an element, without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Value<'a> {
    /// No element.
    #[default]
    Absent,
    /// One US.
    Us(u16),
    /// Several US values, or an element with an empty value.
    UsMany(&'a [u16]),
    /// The bytes of a UI or LO.
    Text(&'a [u8]),
}

impl<'a> Value<'a> {
    fn encoded_len(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Us(_) => HEADER + 2,
            Self::UsMany(values) => HEADER + 2 * values.len(),
            Self::Text(text) => HEADER + text.len().next_multiple_of(2),
        }
    }

    /// The number, if the value is one.
    pub fn us(self) -> Option<u16> {
        match self {
            Self::Us(value) => Some(value),
            Self::UsMany(values) => values.first().copied(),
            _ => None,
        }
    }

    /// The text, if the value is text.
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The command set of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandSet<'a> {
    /// The kind of message.
    pub kind: Kind,
    /// Whether Command Data Set Type announces a data set.
    pub data_set: bool,
    values: [Value<'a>; Field::COUNT],
}

impl<'a> CommandSet<'a> {
    /// A command set without values.
    #[inline]
    pub fn new(kind: Kind, data_set: bool) -> Self {
        Self { kind, data_set, values: [Value::Absent; Field::COUNT] }
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, field: Field) -> Value<'a> {
        self.values[field as usize]
    }

    /// Sets the value of a field.
    #[inline]
    pub fn set(&mut self, field: Field, value: Value<'a>) {
        self.values[field as usize] = value;
    }

    /// The number of bytes that [`CommandSet::write`] appends.
    pub fn encoded_len(&self) -> usize {
        self.kind.elements().iter().map(|element| self.element_len(element)).sum()
    }

    /// The length of one element; 0 if the command set does not have it.
    pub fn element_len(&self, element: &Element) -> usize {
        match element.source {
            Source::GroupLength => HEADER + 4,
            Source::CommandField | Source::DataSetType => HEADER + 2,
            Source::Field(_) if element.usage(self.kind) == Usage::Absent => 0,
            Source::Field(field) => self.get(field).encoded_len(),
        }
    }

    /// Appends the command set, Implicit VR Little Endian.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_as(self.kind.command_field(), out);
    }

    /// Writes the command set to the start of `out`, and returns its length; `None` if `out` is too
    /// short. In one pass, unlike [`CommandSet::write`].
    ///
    /// ```
    /// use fastdimse_core::command_set::{CommandSet, Value};
    /// use fastdimse_core::field::{Field, Kind};
    /// let mut command_set = CommandSet::new(Kind::Request, false);
    /// command_set.set(Field::MessageID, Value::Us(7));
    /// let (mut appended, mut written) = (Vec::new(), [0; 256]);
    /// command_set.write(&mut appended);
    /// let length = command_set.write_to(&mut written).unwrap();
    /// assert_eq!(written[..length], appended);
    /// assert_eq!(command_set.write_to(&mut written[..length - 1]), None);
    /// ```
    #[inline]
    pub fn write_to(&self, out: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        // Unrolled over the tables: a third of the instructions of a loop.
        macro_rules! write {
            ($table:ident $responds:literal $($row:literal)*) => {{
                $(at += self.write_element(const { &$table[$row] }, $responds, out.get_mut(at..)?)?;)*
            }};
        }
        const { assert!(ELEMENTS.len() == 11 && ACTION_ELEMENTS.len() == 13) };
        match self.kind {
            Kind::Request => write!(ELEMENTS false 0 1 2 3 4 5 6 7 8 9 10),
            Kind::Response => write!(ELEMENTS true 0 1 2 3 4 5 6 7 8 9 10),
            Kind::ActionRequest => write!(ACTION_ELEMENTS false 0 1 2 3 4 5 6 7 8 9 10 11 12),
            Kind::ActionResponse => write!(ACTION_ELEMENTS true 0 1 2 3 4 5 6 7 8 9 10 11 12),
        }
        let group_length = (at - GROUP_LENGTH_END) as u32;
        *out[HEADER..].first_chunk_mut()? = group_length.to_le_bytes();
        Some(at)
    }

    /// Writes one element of a request or a response, and returns its length.
    #[inline(always)]
    fn write_element(&self, element: &Element, responds: bool, out: &mut [u8]) -> Option<usize> {
        let usage = if responds { element.response } else { element.request };
        let value = match element.source {
            Source::GroupLength => {
                // Its value follows when all elements are written.
                *out.first_chunk_mut()? = GROUP_LENGTH;
                return Some(GROUP_LENGTH_END);
            }
            Source::CommandField => Value::Us(self.kind.command_field()),
            Source::DataSetType => Value::Us(if self.data_set { DATA_SET } else { NO_DATA_SET }),
            Source::Field(_) if usage == Usage::Absent => return Some(0),
            Source::Field(field) => self.get(field),
        };
        Some(match value {
            Value::Absent => 0,
            Value::Us(number) => {
                *out.first_chunk_mut()? = number_bytes(element.number, number);
                HEADER + 2
            }
            Value::Text(text) => write_text(element, text, out)?,
            Value::UsMany(values) => write_numbers(element, values, out)?,
        })
    }

    /// Appends the elements with the Command Field of another message.
    pub fn write_as(&self, command_field: u16, out: &mut Vec<u8>) {
        let length = self.encoded_len();
        out.reserve(length);
        for element in self.kind.elements() {
            match element.source {
                // Command Group Length is the length of all following elements (PS3.7 E.1).
                Source::GroupLength => {
                    let group_length = (length - self.element_len(element)) as u32;
                    write_element(out, element, &group_length.to_le_bytes());
                }
                Source::CommandField => write_us(out, element, &[command_field]),
                Source::DataSetType => {
                    let value = if self.data_set { DATA_SET } else { NO_DATA_SET };
                    write_us(out, element, &[value]);
                }
                Source::Field(_) if element.usage(self.kind) == Usage::Absent => {}
                Source::Field(field) => write_value(out, element, self.get(field)),
            }
        }
    }
}

/// The end of the first element, Command Group Length.
const GROUP_LENGTH_END: usize = HEADER + 4;

/// Command Group Length with the value 0.
const GROUP_LENGTH: [u8; GROUP_LENGTH_END] = [0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];

/// Group 0000, element number, value length, all little endian.
#[inline(always)]
fn header_bytes(number: u16, length: usize) -> [u8; HEADER] {
    (u64::from(number) << 16 | (length as u64) << 32).to_le_bytes()
}

/// An element with one number.
#[inline(always)]
fn number_bytes(element: u16, number: u16) -> [u8; HEADER + 2] {
    let mut bytes = [0; HEADER + 2];
    bytes[..HEADER].copy_from_slice(&header_bytes(element, 2));
    bytes[HEADER..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Writes an element with padded text, and returns its length.
#[inline(always)]
fn write_text(element: &Element, text: &[u8], out: &mut [u8]) -> Option<usize> {
    let padded = text.len().next_multiple_of(2);
    let (header, out) = out.split_first_chunk_mut()?;
    *header = header_bytes(element.number, padded);
    let out = out.get_mut(..padded)?;
    if let Some(last) = out.last_mut() {
        *last = element.vr.padding();
    }
    out[..text.len()].copy_from_slice(text);
    Some(HEADER + padded)
}

/// Writes an element with any number of numbers, and returns its length.
fn write_numbers(element: &Element, values: &[u16], out: &mut [u8]) -> Option<usize> {
    let length = 2 * values.len();
    let (header, out) = out.split_first_chunk_mut()?;
    *header = header_bytes(element.number, length);
    for (room, value) in out.get_mut(..length)?.as_chunks_mut().0.iter_mut().zip(values) {
        *room = value.to_le_bytes();
    }
    Some(HEADER + length)
}

fn write_header(out: &mut Vec<u8>, element: &Element, length: usize) {
    out.extend_from_slice(&header_bytes(element.number, length));
}

fn write_element(out: &mut Vec<u8>, element: &Element, value: &[u8]) {
    write_header(out, element, value.len());
    out.extend_from_slice(value);
}

fn write_us(out: &mut Vec<u8>, element: &Element, values: &[u16]) {
    write_header(out, element, 2 * values.len());
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn write_value(out: &mut Vec<u8>, element: &Element, value: Value<'_>) {
    match value {
        Value::Absent => {}
        Value::Us(value) => write_us(out, element, &[value]),
        Value::UsMany(values) => write_us(out, element, values),
        Value::Text(text) => {
            write_header(out, element, text.len().next_multiple_of(2));
            out.extend_from_slice(text);
            if text.len() % 2 == 1 {
                out.push(element.vr.padding());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_writers_write_the_same() {
        let values = [
            Value::Absent,
            Value::Us(513),
            Value::UsMany(&[]),
            Value::UsMany(&[1, 2, 3]),
            Value::Text(b""),
            Value::Text(b"1.2"),
            Value::Text(b"1.23"),
        ];
        for kind in [Kind::Request, Kind::Response, Kind::ActionRequest, Kind::ActionResponse] {
            for first in 0..values.len() {
                let mut command_set = CommandSet::new(kind, first % 2 == 0);
                for (place, field) in kind.elements().iter().enumerate() {
                    if let Source::Field(field) = field.source {
                        command_set.set(field, values[(first + place) % values.len()]);
                    }
                }
                let mut appended = Vec::new();
                command_set.write(&mut appended);
                for room in 0..=appended.len() + 1 {
                    let mut written = vec![0xff; room];
                    let length = command_set.write_to(&mut written);
                    assert_eq!(length, (room >= appended.len()).then_some(appended.len()));
                    if let Some(length) = length {
                        assert_eq!(written[..length], appended);
                        assert!(written[length..].iter().all(|&byte| byte == 0xff));
                    }
                }
            }
        }
    }
}
