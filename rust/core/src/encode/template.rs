//! The common part of the messages of many rows: written once, then copied and completed.
//!
//! Rows of the same SOP class and the same fields differ only in a few numbers, the instance UID
//! and the data set. A template is the output of [`CommandSet::write`] for one of them, divided at
//! the instance UID and, if it has one, at the Error Comment.

use std::ops::Range;

use crate::columns::cell::{Cell, WINDOW};
use crate::columns::integers::NO_NUMBER;
use crate::columns::values::Values;
use crate::command_set::{CommandSet, ELEMENTS, Source};
use crate::encode::options::Options;
use crate::field::{Field, Kind};
use crate::options::Framing;
use crate::pdu::write::{COMMAND, HEADERS, LAST, headers};

/// The maximum length before the instance UID: the headers of a PDU and its PDV, Command Group
/// Length, a class UID of 64 characters, six numbers, and the header of the instance UID.
const FRONT: usize = (HEADERS + 12 + (8 + 64) + 6 * 10 + 8).next_multiple_of(16);
/// The length that is enough for most messages.
const MOST_FRONTS: usize = 96;
/// The length between the Error Comment and the instance UID: Error ID, and the header of the UID.
const MIDDLE: usize = (10_usize + 8).next_multiple_of(16);
/// The length after the instance UID: Event Type ID, and the headers of the PDU of the data set.
const BACK: usize = (10 + HEADERS).next_multiple_of(16);
/// Room for a message without its data set, and for the excess of copies of fixed length. It is
/// large enough for the compiler to see that no position, which is a `u8`, and no text after a
/// position is out of bounds.
pub const ROOM: usize = 1024;

/// The fields of a row, and its presentation context ID. Rows of one shape and one SOP class are
/// valid or invalid alike, except for what [`crate::encode`] checks in each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(u32);

impl Shape {
    /// The shape of a row without fields.
    pub const NONE: Self = Self(0);

    /// Whether the row has a field.
    pub fn has(self, field: Field) -> bool {
        self.0 >> field as u32 & 1 != 0
    }

    /// The shape with a field.
    pub fn with(self, field: Field) -> Self {
        Self(self.0 | 1 << field as u32)
    }

    /// The shape without a field.
    pub fn without(self, field: Field) -> Self {
        Self(self.0 & !(1 << field as u32))
    }

    /// Adds a numeric field to the shapes of the rows that have it.
    pub fn add_numbers(shapes: &mut [Self], field: Field, numbers: &[u32]) {
        for (shape, &number) in shapes.iter_mut().zip(numbers) {
            shape.0 |= match field {
                // A presentation context ID is part of the shape; 0 if there is none. No template
                // has an invalid one.
                Field::PresentationContextID if number == NO_NUMBER => 0,
                Field::PresentationContextID => (number.min(0xfffe) + 1) << 16,
                _ => u32::from(number != NO_NUMBER) << field as u32,
            };
        }
    }

    /// Adds a text field or a data set field to the shapes of the rows that have it.
    pub fn add_values(shapes: &mut [Self], field: Field, values: &Values<'_>) {
        // A data set of zero bytes counts as absent: its length, like that of null, is not above 0.
        let least = if Field::DATA_SETS.contains(&field) { 0 } else { -1 };
        let bit = 1 << field as u32;
        if let Some(values) = values.adjacent() {
            for (shape, length) in shapes.iter_mut().zip(values.lengths()) {
                shape.0 |= if i64::from(length) > least { bit } else { 0 };
            }
            return;
        }
        for (shape, cell) in shapes.iter_mut().zip(values.cells().unwrap_or_default()) {
            // The length of null is the largest number, which is -1 as a signed number.
            shape.0 |= if cell.length() as i64 > least { bit } else { 0 };
        }
    }

    /// Whether all rows have the same shape.
    pub fn are_equal(shapes: &[Self]) -> bool {
        shapes.iter().fold(0, |differences, shape| differences | (shape.0 ^ shapes[0].0)) == 0
    }
}

/// The numbers that the message of a row carries.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    /// Message ID, or Message ID Being Responded To.
    pub message_id: u16,
    /// Event Type ID.
    pub event_type: u16,
    /// Status.
    pub status: u16,
    /// Error ID.
    pub error_id: u16,
}

/// A text that the message of a row carries.
#[derive(Debug, Clone, Copy)]
pub struct Text<'t> {
    /// The text and the bytes after it.
    pub window: &'t [u8; WINDOW],
    /// The length, at most 64.
    pub length: usize,
}

impl Text<'_> {
    /// The text of a null cell.
    pub const NONE: Self = Self { window: &[0; WINDOW], length: 0 };

    /// The length of the value (PS3.7 6.3.1).
    #[inline(always)]
    fn padded(self) -> usize {
        self.length.next_multiple_of(2)
    }
}

/// A message without the values that differ from row to row.
#[derive(Debug)]
pub struct Template<'a> {
    shape: Shape,
    class: Cell<'a>,
    /// Request or response.
    pub kind: Kind,
    /// The column of its data set, if the message has one.
    pub data_set: Option<Field>,
    /// Whether the message has an Error Comment.
    pub has_comment: bool,
    /// Up to the Error Comment, or up to the instance UID.
    front: [u8; FRONT],
    front_len: u8,
    /// After the Error Comment, up to the instance UID.
    middle: [u8; MIDDLE],
    middle_len: u8,
    back: [u8; BACK],
    back_len: u8,
    /// The length of the command set without the instance UID and the Error Comment.
    command_set: usize,
    positions: Positions,
}

/// The positions of the values in the part of the message that has them. A missing value has a
/// position that is overwritten later.
#[derive(Debug, Default)]
struct Positions {
    headers: u8,
    group_length: u8,
    message_id: u8,
    status: u8,
    error_id: u8,
    comment_length: u8,
    uid_length: u8,
    event_type: u8,
    data_set: u8,
}

impl<'a> Template<'a> {
    /// The template of a checked row.
    pub fn new(
        shape: Shape,
        class: Cell<'a>,
        row: &CommandSet<'_>,
        context_id: u8,
        options: &Options,
    ) -> Self {
        let framed = options.framing == Framing::PData;
        let mut front = Vec::with_capacity(FRONT);
        if framed {
            front.extend(headers(context_id, COMMAND | LAST, 0));
        }
        let header = front.len();
        row.write(&mut front);
        let mut elements = ElementPositions::default();
        let mut at = header;
        for element in &ELEMENTS {
            let length = row.element_len(element);
            elements.element(element.source, at, length);
            at += length;
        }
        let mut back = front.split_off(elements.uid_end);
        front.truncate(elements.uid_start);
        let has_comment = elements.comment.is_some();
        let mut middle = Vec::new();
        let mut middle_start = 0;
        if let Some(comment) = elements.comment {
            middle = front.split_off(comment.end);
            front.truncate(comment.start);
            middle_start = comment.end;
        }
        let command_set = front.len() + middle.len() + back.len() - header;
        let (front_len, middle_len) = (front.len() as u8, middle.len() as u8);
        let in_front = |place: Option<usize>| place.map_or(front_len, |place| place as u8);
        // Error ID and the instance UID follow the Error Comment.
        let before_uid = |place: Option<usize>| match has_comment {
            true => place.map_or(middle_len, |place| (place - middle_start) as u8),
            false => in_front(place),
        };
        let in_back = |place: Option<usize>| place.map(|place| (place - elements.uid_end) as u8);
        let data_set = back.len() as u8;
        if framed && row.data_set {
            back.extend(headers(context_id, LAST, 0));
        }
        let positions = Positions {
            headers: if framed { 0 } else { front_len },
            group_length: in_front(elements.group_length),
            message_id: in_front(elements.message_id),
            status: in_front(elements.status),
            error_id: before_uid(elements.error_id),
            comment_length: front_len.saturating_sub(4),
            uid_length: before_uid(elements.has_uid.then(|| elements.uid_start - 4)),
            event_type: in_back(elements.event_type).unwrap_or(back.len() as u8),
            data_set,
        };
        Self {
            shape,
            class,
            kind: row.kind,
            data_set: (framed && row.data_set).then_some(row.kind.data_set()),
            has_comment,
            front_len,
            front: padded(&front),
            middle_len,
            middle: padded(&middle),
            back_len: back.len() as u8,
            back: padded(&back),
            command_set,
            positions,
        }
    }

    /// Whether the template fits a row of this shape and SOP class.
    #[inline(always)]
    pub fn fits(&self, shape: Shape, class: Cell<'_>) -> bool {
        self.shape == shape && self.class.is_equal(class)
    }

    /// The length of the longest command set of a row.
    #[inline(always)]
    pub fn longest_command_set(&self) -> usize {
        self.command_set + if self.has_comment { 2 * WINDOW } else { WINDOW }
    }

    /// Writes the message of a row up to its data set of `data_set` bytes, which follows in the
    /// same PDU, and returns the length. Bytes after it may be overwritten.
    ///
    /// The caller passes constants for `is_response` and for a `comment` of `None`, which only
    /// templates without one accept, so that their part of the code is removed: a tenth of the
    /// instructions. Copies of fixed length become a few loads and stores of registers: a third of
    /// the time of copies of exact length.
    #[inline(always)]
    pub fn write(
        &self,
        out: &mut [u8; ROOM],
        numbers: Numbers,
        is_response: bool,
        uid: Text<'_>,
        comment: Option<Text<'_>>,
        data_set: usize,
    ) -> usize {
        let positions = &self.positions;
        let command_set =
            self.command_set + uid.padded() + comment.map_or(0, |comment| comment.padded());
        let copy = |out: &mut [u8; ROOM], at: usize, bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
        };
        copy(out, 0, &self.front[..MOST_FRONTS]);
        if usize::from(self.front_len) > MOST_FRONTS {
            copy(out, MOST_FRONTS, &self.front[MOST_FRONTS..]);
        }
        copy(out, positions.headers as usize + 2, &lengths_in_headers(command_set));
        // Command Group Length is the length of all following elements (PS3.7 E.1).
        copy(out, positions.group_length as usize, &((command_set - 12) as u32).to_le_bytes());
        copy(out, positions.message_id as usize, &numbers.message_id.to_le_bytes());
        if is_response {
            copy(out, positions.status as usize, &numbers.status.to_le_bytes());
        }
        let (mut part, mut uid_at) = (0, self.front_len as usize);
        if let Some(comment) = comment {
            let padded = comment.padded();
            copy(out, positions.comment_length as usize, &(padded as u32).to_le_bytes());
            copy(out, uid_at, comment.window);
            // LO is padded with a space (PS3.5 6.2).
            out[uid_at + (comment.length & 0x7f)] = b' ';
            part = uid_at + (padded & 0x7f);
            copy(out, part, &self.middle);
            uid_at = part + (self.middle_len & 0x1f) as usize;
        }
        if is_response {
            let error_id = part + positions.error_id as usize;
            copy(out, error_id, &numbers.error_id.to_le_bytes());
        }
        let uid_length = part + positions.uid_length as usize;
        copy(out, uid_length, &(uid.padded() as u32).to_le_bytes());
        copy(out, uid_at, uid.window);
        // A UID is padded with NUL (PS3.5 6.2).
        out[uid_at + (uid.length & 0x7f)] = 0;
        let back = uid_at + (uid.padded() & 0x7f);
        copy(out, back, &self.back);
        let event_type = back + (positions.event_type & 0x1f) as usize;
        copy(out, event_type, &numbers.event_type.to_le_bytes());
        // Without a data set, what follows overwrites these lengths.
        let data_set_headers = back + (positions.data_set & 0x1f) as usize;
        copy(out, data_set_headers + 2, &lengths_in_headers(data_set));
        back + (self.back_len & 0x3f) as usize
    }
}

/// The lengths in the headers of a PDU with a single fragment of `length` bytes (PS3.8 9.3.5 and
/// 9.3.5.1), which are adjacent.
#[inline(always)]
fn lengths_in_headers(length: usize) -> [u8; 8] {
    ((length as u64 + 6) << 32 | (length as u64 + 2)).to_be_bytes()
}

/// Writes the length of the data set at `begin` into the headers before it, after the data set was
/// written.
#[inline(always)]
pub fn set_data_set_length(out: &mut [u8], begin: usize, length: usize) {
    out[begin - HEADERS + 2..][..8].copy_from_slice(&lengths_in_headers(length));
}

/// The positions of the elements of a command set.
#[derive(Default)]
struct ElementPositions {
    group_length: Option<usize>,
    message_id: Option<usize>,
    status: Option<usize>,
    error_id: Option<usize>,
    event_type: Option<usize>,
    comment: Option<Range<usize>>,
    has_uid: bool,
    uid_start: usize,
    uid_end: usize,
}

impl ElementPositions {
    fn element(&mut self, source: Source, at: usize, length: usize) {
        let value = (length > 0).then_some(at + 8);
        match source {
            Source::GroupLength => self.group_length = value,
            Source::Field(Field::MessageID | Field::MessageIDBeingRespondedTo) => {
                self.message_id = value.or(self.message_id);
            }
            Source::Field(Field::Status) => self.status = value,
            Source::Field(Field::ErrorComment) => {
                self.comment = value.map(|start| start..at + length);
            }
            Source::Field(Field::ErrorID) => self.error_id = value,
            Source::Field(Field::EventTypeID) => self.event_type = value,
            Source::Field(Field::AffectedSOPInstanceUID) => {
                self.has_uid = value.is_some();
                self.uid_start = value.unwrap_or(at);
                self.uid_end = at + length;
            }
            _ => {}
        }
    }
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}
