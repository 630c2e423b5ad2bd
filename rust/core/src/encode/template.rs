//! What the messages of many rows have in common: written once, then copied and filled in.
//!
//! Rows of the same SOP class and the same fields differ only in a few numbers, the instance UID
//! and the data set. A template is what [`CommandSet::write`] makes of one of them, cut at the
//! instance UID.

use crate::columns::cell::Cell;
use crate::columns::integers::NO_NUMBER;
use crate::command_set::{CommandSet, ELEMENTS, Source};
use crate::encode::options::Options;
use crate::field::{Field, Kind};
use crate::options::Framing;
use crate::pdu::write::{COMMAND, HEADERS, LAST, headers};

/// The most that stands in front of the instance UID: the headers of a PDU and its PDV, Command
/// Group Length, a class UID of 64 characters, six numbers, and the instance UID's own header.
const FRONT: usize = (HEADERS + 12 + (8 + 64) + 6 * 10 + 8).next_multiple_of(16);
/// As much of it as most messages have.
const MOST_FRONTS: usize = 96;
/// What stands behind it: Event Type ID and the headers of the data set's PDU.
const BACK: usize = (10 + HEADERS).next_multiple_of(16);
/// Room for a message without its data set, and for what is written beyond its end for the sake of
/// copies of fixed length. It is so much that the compiler sees that no position, which is a `u8`,
/// and no UID behind one lies outside.
pub const ROOM: usize = 512;

/// Which fields a row has, and its presentation context. Rows of one shape and one SOP class are
/// good or bad alike, but for what [`crate::encode`] checks in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(u32);

impl Shape {
    /// The shape of rows that have no fields.
    pub const NONE: Self = Self(0);

    /// Whether there is such a field.
    pub fn has(self, field: Field) -> bool {
        self.0 >> field as u32 & 1 != 0
    }

    /// The same with a field.
    pub fn with(self, field: Field) -> Self {
        Self(self.0 | 1 << field as u32)
    }

    /// The same without a field.
    pub fn without(self, field: Field) -> Self {
        Self(self.0 & !(1 << field as u32))
    }

    /// Adds to the shapes of some rows which of them have a number.
    pub fn add_numbers(shapes: &mut [Self], field: Field, numbers: &[u32]) {
        for (shape, &number) in shapes.iter_mut().zip(numbers) {
            shape.0 |= match field {
                // A context is a part of the shape itself, 0 where there is none. What can't be one
                // is never that of a template.
                Field::PresentationContextID if number == NO_NUMBER => 0,
                Field::PresentationContextID => (number.min(0xfffe) + 1) << 16,
                _ => u32::from(number != NO_NUMBER) << field as u32,
            };
        }
    }

    /// The same for text and data sets.
    pub fn add_cells(shapes: &mut [Self], field: Field, cells: &[Cell<'_>]) {
        // A data set of no bytes is none: neither its length nor that of null is above 0 then.
        let least = if Field::DATA_SETS.contains(&field) { 0 } else { -1 };
        for (shape, cell) in shapes.iter_mut().zip(cells) {
            // That of null is the largest there is, -1 as a signed number.
            shape.0 |= u32::from(cell.length() as isize > least) << field as u32;
        }
    }
}

/// The numbers of a row that its message carries.
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

/// A message without what differs from row to row.
#[derive(Debug)]
pub struct Template<'a> {
    shape: Shape,
    class: Cell<'a>,
    /// Request or response.
    pub kind: Kind,
    /// The column of its data set, if it has one.
    pub data_set: Option<Field>,
    front: [u8; FRONT],
    front_len: u8,
    back: [u8; BACK],
    back_len: u8,
    /// How much of the front and of the back belongs to the command set.
    command_set: usize,
    places: Places,
}

/// Where in the front, or in the back, the values stand. What a template does not have stands where
/// the UID, or what comes behind the back, is written over it.
#[derive(Debug, Default)]
struct Places {
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
    /// The template of a row that was checked and has no Error Comment.
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
        let mut cut = Cut::default();
        let mut at = header;
        for element in &ELEMENTS {
            let length = row.element_len(element);
            cut.element(element.source, at, length);
            at += length;
        }
        let mut back = front.split_off(cut.uid_end);
        front.truncate(cut.uid_start);
        let command_set = front.len() + back.len() - header;
        let front_len = front.len() as u8;
        let in_front = |place: Option<usize>| place.map_or(front_len, |place| place as u8);
        let in_back = |place: Option<usize>| place.map(|place| (place - cut.uid_end) as u8);
        let data_set = back.len() as u8;
        if framed && row.data_set {
            back.extend(headers(context_id, LAST, 0));
        }
        let places = Places {
            headers: if framed { 0 } else { front_len },
            group_length: in_front(cut.group_length),
            message_id: in_front(cut.message_id),
            status: in_front(cut.status),
            error_id: in_front(cut.error_id),
            uid_length: in_front(cut.has_uid.then(|| cut.uid_start - 4)),
            event_type: in_back(cut.event_type).unwrap_or(back.len() as u8),
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
            places,
        }
    }

    /// Whether a row of this shape and class has this template.
    #[inline(always)]
    pub fn fits(&self, shape: Shape, class: Cell<'_>) -> bool {
        self.shape == shape && self.class.is_equal(class)
    }

    /// The length of a row's command set.
    #[inline(always)]
    pub fn command_set_len(&self, uid: usize) -> usize {
        self.command_set + uid.next_multiple_of(2)
    }

    /// Writes a row's message up to its data set, of which `data_set` bytes will follow in the same
    /// PDU, and returns its length. What comes next is written over the rest.
    ///
    /// The UID must have at most 64 characters.
    // Copies of fixed length become a few registers' loads and stores: a third of the time that
    // copies of the exact lengths take.
    #[inline(always)]
    pub fn write(
        &self,
        out: &mut [u8; ROOM],
        numbers: Numbers,
        uid: Cell<'_>,
        data_set: usize,
    ) -> usize {
        let places = &self.places;
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
        put(out, places.headers as usize + 2, &high);
        put(out, places.headers as usize + 6, &low);
        // Counts what comes after it (PS3.7 E.1).
        put(out, places.group_length as usize, &((command_set - 12) as u32).to_le_bytes());
        put(out, places.message_id as usize, &numbers.message_id.to_le_bytes());
        put(out, places.status as usize, &numbers.status.to_le_bytes());
        put(out, places.error_id as usize, &numbers.error_id.to_le_bytes());
        put(out, places.uid_length as usize, &(padded as u32).to_le_bytes());
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
        put(out, back + (places.event_type & 0x1f) as usize, &numbers.event_type.to_le_bytes());
        let [high, low] = [6, 2].map(|more| ((data_set + more) as u32).to_be_bytes());
        if self.back_len > places.data_set {
            let headers = back + (places.data_set & 0x1f) as usize;
            put(out, headers + 2, &high);
            put(out, headers + 6, &low);
        }
        back + self.back_len as usize
    }
}

/// Writes how long the data set is that begins at `begin` into the headers in front of it, where that
/// was not known before.
#[inline(always)]
pub fn set_data_set_length(out: &mut [u8], begin: usize, length: usize) {
    let [high, low] = [6, 2].map(|more| ((length + more) as u32).to_be_bytes());
    out[begin - HEADERS + 2..][..4].copy_from_slice(&high);
    out[begin - HEADERS + 6..][..4].copy_from_slice(&low);
}

/// Where a command set's elements stand.
#[derive(Default)]
struct Cut {
    group_length: Option<usize>,
    message_id: Option<usize>,
    status: Option<usize>,
    error_id: Option<usize>,
    event_type: Option<usize>,
    has_uid: bool,
    uid_start: usize,
    uid_end: usize,
}

impl Cut {
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
