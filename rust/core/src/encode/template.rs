//! The common part of the messages of many rows: written once, then copied and completed.
//!
//! Rows of the same SOP class and the same fields differ only in a few numbers, the instance UID
//! and the data set. A template is the output of [`CommandSet::write`] for one of them, divided at
//! the instance UID.

use crate::columns::cell::Cell;
use crate::columns::integers::NO_NUMBER;
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
/// The length after the instance UID: Event Type ID, and the headers of the PDU of the data set.
const BACK: usize = (10 + HEADERS).next_multiple_of(16);
/// Room for a message without its data set, and for the excess of copies of fixed length. It is
/// large enough for the compiler to see that no position, which is a `u8`, and no UID after a
/// position is out of bounds.
pub const ROOM: usize = 512;

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
    pub fn add_cells(shapes: &mut [Self], field: Field, cells: &[Cell<'_>]) {
        // A data set of zero bytes counts as absent: its length, like that of null, is not above 0.
        let least = if Field::DATA_SETS.contains(&field) { 0 } else { -1 };
        for (shape, cell) in shapes.iter_mut().zip(cells) {
            // The length of null is the largest number, which is -1 as a signed number.
            shape.0 |= u32::from(cell.length() as isize > least) << field as u32;
        }
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

/// A message without the values that differ from row to row.
#[derive(Debug)]
pub struct Template<'a> {
    shape: Shape,
    class: Cell<'a>,
    /// Request or response.
    pub kind: Kind,
    /// The column of its data set, if the message has one.
    pub data_set: Option<Field>,
    front: [u8; FRONT],
    front_len: u8,
    back: [u8; BACK],
    back_len: u8,
    /// The length of the command set without the instance UID.
    command_set: usize,
    positions: Positions,
}

/// The positions of the values before and after the instance UID. A missing value has a position
/// that is overwritten later.
#[derive(Debug, Default)]
struct Positions {
    headers: u8,
    group_length: u8,
    message_id: u8,
    status: u8,
    error_id: u8,
    uid_length: u8,
    event_type: u8,
    data_set: u8,
}

impl<'a> Template<'a> {
    /// The template of a checked row without an Error Comment.
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
        let command_set = front.len() + back.len() - header;
        let front_len = front.len() as u8;
        let in_front = |place: Option<usize>| place.map_or(front_len, |place| place as u8);
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
            error_id: in_front(elements.error_id),
            uid_length: in_front(elements.has_uid.then(|| elements.uid_start - 4)),
            event_type: in_back(elements.event_type).unwrap_or(back.len() as u8),
            data_set,
        };
        Self {
            shape,
            class,
            kind: row.kind,
            data_set: (framed && row.data_set).then_some(row.kind.data_set()),
            front_len,
            front: padded(&front),
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

    /// The length of the command set of a row.
    #[inline(always)]
    pub fn command_set_len(&self, uid: usize) -> usize {
        self.command_set + uid.next_multiple_of(2)
    }

    /// Writes the message of a row up to its data set of `data_set` bytes, which follows in the
    /// same PDU, and returns the length. Bytes after it may be overwritten.
    ///
    /// The UID must have at most 64 characters. Copies of fixed length become a few loads and
    /// stores of registers: a third of the time of copies of exact length.
    #[inline(always)]
    pub fn write(
        &self,
        out: &mut [u8; ROOM],
        numbers: Numbers,
        uid: Cell<'_>,
        data_set: usize,
    ) -> usize {
        let positions = &self.positions;
        let length = if uid.is_null() { 0 } else { uid.length() };
        let padded = length.next_multiple_of(2);
        let command_set = self.command_set + padded;
        let put = |out: &mut [u8; ROOM], at: usize, bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(out, 0, &self.front[..MOST_FRONTS]);
        if usize::from(self.front_len) > MOST_FRONTS {
            put(out, MOST_FRONTS, &self.front[MOST_FRONTS..]);
        }
        let [high, low] = [6, 2].map(|more| ((command_set + more) as u32).to_be_bytes());
        put(out, positions.headers as usize + 2, &high);
        put(out, positions.headers as usize + 6, &low);
        // Command Group Length is the length of all following elements (PS3.7 E.1).
        put(out, positions.group_length as usize, &((command_set - 12) as u32).to_le_bytes());
        put(out, positions.message_id as usize, &numbers.message_id.to_le_bytes());
        put(out, positions.status as usize, &numbers.status.to_le_bytes());
        put(out, positions.error_id as usize, &numbers.error_id.to_le_bytes());
        put(out, positions.uid_length as usize, &(padded as u32).to_le_bytes());
        let uid_at = self.front_len as usize;
        match uid.window() {
            Some(window) => put(out, uid_at, window),
            None => put(out, uid_at, &uid.widened()),
        }
        // A UID is padded with NUL (PS3.5 6.2).
        let uid_end = uid_at + (length & 0x7f);
        out[uid_end] = 0;
        let back = uid_at + (padded & 0x7f);
        put(out, back, &self.back);
        put(out, back + (positions.event_type & 0x1f) as usize, &numbers.event_type.to_le_bytes());
        let [high, low] = [6, 2].map(|more| ((data_set + more) as u32).to_be_bytes());
        if self.back_len > positions.data_set {
            let headers = back + (positions.data_set & 0x1f) as usize;
            put(out, headers + 2, &high);
            put(out, headers + 6, &low);
        }
        back + self.back_len as usize
    }
}

/// Writes the length of the data set at `begin` into the headers before it, after the data set was
/// written.
#[inline(always)]
pub fn set_data_set_length(out: &mut [u8], begin: usize, length: usize) {
    let [high, low] = [6, 2].map(|more| ((length + more) as u32).to_be_bytes());
    out[begin - HEADERS + 2..][..4].copy_from_slice(&high);
    out[begin - HEADERS + 6..][..4].copy_from_slice(&low);
}

/// The positions of the elements of a command set.
#[derive(Default)]
struct ElementPositions {
    group_length: Option<usize>,
    message_id: Option<usize>,
    status: Option<usize>,
    error_id: Option<usize>,
    event_type: Option<usize>,
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
