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
    pub fn new(kind: Kind, data_set: bool) -> Self {
        Self { kind, data_set, values: [Value::Absent; Field::COUNT] }
    }

    /// The value of a field.
    pub fn get(&self, field: Field) -> Value<'a> {
        self.values[field as usize]
    }

    /// Sets the value of a field.
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

fn write_header(out: &mut Vec<u8>, element: &Element, length: usize) {
    // Group 0000, element number, value length, all little endian.
    let tag_and_length = u64::from(element.number) << 16 | (length as u64) << 32;
    out.extend_from_slice(&tag_and_length.to_le_bytes());
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
