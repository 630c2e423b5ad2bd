//! A decoded event before it becomes a row: its fields as spans of the stream.

use crate::field::{Field, Kind};

/// The number of events of a block: few enough for the CPU's first-level cache.
pub const BLOCK_ROWS: usize = 128;

/// The bytes that a span is a part of.
// As long as a register: a padding of the span would be copied with it, in parts that the next copy
// has to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum Origin {
    /// The stream.
    #[default]
    Stream,
    /// The joined fragments.
    Joined,
}

/// A part of the stream or of the joined fragments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The bytes that it is a part of.
    pub origin: Origin,
    /// Its offset.
    pub start: usize,
    /// Its length.
    pub length: usize,
}

impl Span {
    /// Whether the span is in the joined fragments.
    #[inline(always)]
    pub fn is_joined(self) -> bool {
        self.origin == Origin::Joined
    }
}

/// The set of fields that an event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields(u16);

impl Fields {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(u16::MAX);

    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The fields of a message with these fields in its command set, and this field of a data set.
    #[inline(always)]
    pub fn of_message(self, data_set: Option<Field>) -> Self {
        let fields = self.with(Field::PresentationContextID);
        data_set.map_or(fields, |field| fields.with(field))
    }

    #[inline(always)]
    pub fn has(self, field: Field) -> bool {
        self.0 >> field as u16 & 1 != 0
    }

    #[inline(always)]
    pub fn with(self, field: Field) -> Self {
        Self(self.0 | 1 << field as u16)
    }
}

/// An event after its command set was read. Its data set may still follow.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Request or response.
    pub kind: Kind,
    /// The offset of its first PDU.
    pub begin: usize,
    /// The presentation context ID.
    pub context_id: u8,
    /// The fields it has.
    pub fields: Fields,
    /// The numbers, by field.
    pub numbers: [u16; Field::ALL.len()],
    texts: [Span; Field::TEXTS.len()],
}

impl Row {
    /// An event without fields.
    #[inline(always)]
    pub fn new(kind: Kind, begin: usize, context_id: u8) -> Self {
        let numbers = [0; Field::ALL.len()];
        let texts = [Span::default(); Field::TEXTS.len()];
        Self { kind, begin, context_id, fields: Fields::NONE, numbers, texts }
    }

    /// Sets a number.
    #[inline(always)]
    pub fn set_number(&mut self, field: Field, number: u16) {
        self.numbers[field as usize] = number;
        self.fields = self.fields.with(field);
    }

    /// Sets a text, which must be ASCII or UTF-8.
    #[inline(always)]
    pub fn set_text(&mut self, field: Field, text: Span) {
        self.texts[place_of(field, &Field::TEXTS)] = text;
        self.fields = self.fields.with(field);
    }

    /// The row after its texts have been moved, and its offset by `by` bytes to the front.
    pub fn moved(mut self, by: usize, mut text: impl FnMut(Span) -> Span) -> Self {
        for field in Field::TEXTS {
            if let Some(span) = self.text(field) {
                self.set_text(field, text(span));
            }
        }
        self.begin = self.begin.wrapping_sub(by);
        self
    }

    /// The text of a field.
    #[inline(always)]
    pub fn text(&self, field: Field) -> Option<Span> {
        self.fields.has(field).then(|| self.texts[place_of(field, &Field::TEXTS)])
    }
}

#[cfg(test)]
impl PartialEq for Row {
    /// Absent fields have no value to compare.
    fn eq(&self, other: &Self) -> bool {
        let same_numbers = Field::NUMBERS.map(|field| self.number(field) == other.number(field));
        let same_texts = Field::TEXTS.map(|field| self.text(field) == other.text(field));
        (self.kind, self.begin, self.context_id, self.fields)
            == (other.kind, other.begin, other.context_id, other.fields)
            && same_numbers.iter().chain(&same_texts).all(|same| *same)
    }
}

#[cfg(test)]
impl Row {
    /// The number of a field.
    pub fn number(&self, field: Field) -> Option<u16> {
        self.fields.has(field).then_some(self.numbers[field as usize])
    }
}

/// The index of a field in a list.
#[inline(always)]
pub fn place_of(field: Field, fields: &[Field]) -> usize {
    fields.iter().position(|one| *one == field).expect("it is one of them")
}

/// The rows of a block that have a field.
pub enum Present<'a> {
    Always,
    Never,
    Sometimes(&'a [Fields], Field),
}

/// The fields that some rows have.
#[derive(Debug, Clone, Copy)]
pub struct Presence {
    /// The fields that all rows have.
    pub all: Fields,
    /// The fields that at least one row has.
    pub any: Fields,
}

impl Presence {
    /// Which of the rows have a field; `rows` are the fields of each.
    pub fn of(self, field: Field, rows: &[Fields]) -> Present<'_> {
        match (self.any.has(field), self.all.has(field)) {
            (false, _) => Present::Never,
            (true, true) => Present::Always,
            (true, false) => Present::Sometimes(rows, field),
        }
    }
}
