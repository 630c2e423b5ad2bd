//! UIDs of data sets, read and checked in blocks of rows.

use crate::columns::cell::Cell;
use crate::columns::cell::WINDOW;
use crate::columns::values::{ROWS, Values};
use crate::data_set::encode::columns::{DataSetColumns, ElementColumn, ElementValues};
use crate::data_set::header::HeaderForm;
use crate::uid::masks::{all_conformant, conformant_each};

const HEADER: usize = 8;
/// The length that one write of a UID may touch. It is large enough for the compiler to see that
/// any 7-bit length is in bounds. The next element overwrites the excess.
pub const ROOM: usize = HEADER + 128;

/// A UID ready to write: its header and its bytes.
#[derive(Debug, Clone, Copy)]
struct Uid<'c> {
    header: [u8; HEADER],
    window: &'c [u8; WINDOW],
    length: u32,
    takes: u32,
}

impl<'c> Uid<'c> {
    /// No UID: writes nothing.
    const NONE: Self = Self { header: [0; HEADER], window: &[0; WINDOW], length: 0, takes: 0 };
    /// A UID for the slow path: not conformant, or at the end of its buffer.
    const OTHER: Self = Self { takes: u8::MAX as u32, ..Self::NONE };

    #[inline(always)]
    fn new(cell: Cell<'c>, conformant: bool, form: HeaderForm, beginning: u64) -> Self {
        match cell.window() {
            Some(window) if conformant => {
                let padded = cell.length().next_multiple_of(2);
                let header = form.header(beginning, padded as u16);
                let (length, takes) = (cell.length() as u32, (HEADER + padded) as u32);
                Self { header, window, length, takes }
            }
            _ if cell.is_null() => Self::NONE,
            _ => Self::OTHER,
        }
    }

    /// Writes the element and returns its length, if the fast path applies. The length is known in
    /// advance and the copy has a fixed size: half the instructions.
    #[inline(always)]
    fn write(&self, out: &mut [u8; ROOM]) -> Option<usize> {
        if self.takes == Self::OTHER.takes {
            return None;
        }
        out[..HEADER].copy_from_slice(&self.header);
        out[HEADER..HEADER + WINDOW].copy_from_slice(self.window);
        out[HEADER + (self.length & 0x7f) as usize] = 0;
        Some((self.takes & 0x7f) as usize)
    }
}

/// A block of rows of a UID column.
#[derive(Debug)]
struct UidColumn<'c> {
    /// The header of an element of length 0, and what it grows by for each byte, as numbers.
    header: (u64, u64),
    values: Values<'c>,
    form: Form,
    /// The UIDs of a block in [`Form::Gathered`].
    uids: Vec<Uid<'c>>,
}

/// The form in which the UIDs of a block are.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// All UIDs are equal, as SOP classes mostly are: the element of each, and its length. It takes
    /// a third of the instructions of [`Form::Adjacent`].
    Equal([u8; HEADER + WINDOW], usize),
    /// All UIDs are conformant and adjacent in their buffer: they are written without being gathered
    /// before, which takes two thirds of the instructions.
    Adjacent,
    /// Any UIDs.
    Gathered,
}

impl<'c> UidColumn<'c> {
    fn fill(&mut self, column: &'c ElementColumn, first: usize, rows: usize, form: HeaderForm) {
        let ElementValues::Uids(of) = &column.values else { return };
        self.values.fill(of, first, rows);
        self.form = Form::Gathered;
        if let Some(uids) = self.values.adjacent() {
            let are_equal = uids.are_equal();
            if all_conformant(if are_equal { uids.first() } else { uids }) {
                let (form, first) = (Form::Adjacent, uids.window(0));
                let equal = |(window, length)| self.element(window, length);
                self.form = first.filter(|_| are_equal).map_or(form, equal);
                return;
            }
        }
        self.gather(column.beginning, rows, form);
    }

    fn element(&self, window: &[u8; WINDOW], length: usize) -> Form {
        let mut out = [0; ROOM];
        let taken = write_uid(window, length, self.header, &mut out);
        let mut element = [0; HEADER + WINDOW];
        element.copy_from_slice(&out[..HEADER + WINDOW]);
        Form::Equal(element, taken)
    }

    fn gather(&mut self, beginning: u64, rows: usize, form: HeaderForm) {
        let cells: [_; ROWS] = std::array::from_fn(|row| match row < rows {
            true => self.values.cell(row),
            false => Cell::NULL,
        });
        let uid = |cell, conformant| Uid::new(cell, conformant, form, beginning);
        self.uids.resize(rows, Uid::NONE);
        conformant_each(&cells[..rows], &mut self.uids, uid);
    }

    /// Writes the element of a row to the beginning of `out`, and returns its length, if the fast
    /// path applies.
    #[inline(always)]
    fn write(&self, place: usize, out: &mut [u8; ROOM]) -> Option<usize> {
        match &self.form {
            Form::Equal(element, taken) => {
                out[..HEADER + WINDOW].copy_from_slice(element);
                Some(*taken)
            }
            Form::Adjacent => {
                let (window, length) = self.values.adjacent()?.window(place)?;
                Some(write_uid(window, length, self.header, out))
            }
            Form::Gathered => self.write_gathered(place, out),
        }
    }

    // A separate function, so that the loop over the other forms has all registers.
    #[inline(never)]
    fn write_gathered(&self, place: usize, out: &mut [u8; ROOM]) -> Option<usize> {
        self.uids.get(place)?.write(out)
    }
}

/// Writes the element of a UID of `length` characters, at most 64, and returns its length. The copy
/// has a fixed size: half the instructions.
#[inline(always)]
fn write_uid(
    window: &[u8; WINDOW],
    length: usize,
    (header, per_byte): (u64, u64),
    out: &mut [u8; ROOM],
) -> usize {
    let padded = length.next_multiple_of(2) & 0x7f;
    out[..HEADER].copy_from_slice(&(header + padded as u64 * per_byte).to_le_bytes());
    out[HEADER..HEADER + WINDOW].copy_from_slice(window);
    out[HEADER + (length & 0x7f)] = 0;
    HEADER + padded
}

/// A block of rows of a run of UID columns. Reading UIDs one by one takes half as many instructions
/// again.
#[derive(Debug)]
pub struct UidBlock<'c> {
    columns: &'c [ElementColumn],
    /// The number of rows of the columns.
    all: usize,
    form: HeaderForm,
    first: usize,
    rows: usize,
    uids: Vec<UidColumn<'c>>,
}

impl<'c> UidBlock<'c> {
    /// An empty block for each run of UIDs, by index.
    pub fn all(columns: &'c DataSetColumns, form: HeaderForm) -> Vec<Self> {
        let mut blocks = Vec::new();
        Self::add(columns, form, &mut blocks);
        blocks
    }

    fn add(columns: &'c DataSetColumns, form: HeaderForm, blocks: &mut Vec<Self>) {
        for (at, element) in columns.elements.iter().enumerate() {
            if let Some(run) = element.uids {
                debug_assert_eq!(run.number, blocks.len());
                let run = &columns.elements[at..at + run.length];
                blocks.push(Self::new(run, columns.rows, form));
            }
            if let ElementValues::Items(_, items) = &element.values {
                Self::add(items, form, blocks);
            }
        }
    }

    fn new(columns: &'c [ElementColumn], all: usize, form: HeaderForm) -> Self {
        let empty = |column: &ElementColumn| UidColumn {
            header: form.numbers(column.beginning),
            values: Values::default(),
            form: Form::Gathered,
            uids: Vec::new(),
        };
        let uids = columns.iter().map(empty).collect();
        Self { columns, all, form, first: 0, rows: 0, uids }
    }

    /// Writes the UIDs of a row to the beginning of `out`, and returns the rest of `out`. UIDs are
    /// the most frequent elements. Returns `None`, for the slow path, if one is not conformant or
    /// lies at the end of its buffer, or if `out` ends early.
    #[inline(always)]
    pub fn write<'o>(&mut self, row: usize, mut out: &'o mut [u8]) -> Option<&'o mut [u8]> {
        let mut place = row.wrapping_sub(self.first);
        if place >= self.rows {
            self.fill(row);
            place = 0;
        }
        for uids in &self.uids {
            let taken = uids.write(place, out.first_chunk_mut()?)?;
            out = &mut out[taken..];
        }
        Some(out)
    }

    #[inline(never)]
    fn fill(&mut self, first: usize) {
        self.first = first;
        self.rows = ROWS.min(self.all - first);
        for (uids, column) in self.uids.iter_mut().zip(self.columns) {
            uids.fill(column, first, self.rows, self.form);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray, StringViewArray, StructArray};
    use arrow_schema::Field;

    use super::*;

    /// Transaction UID in Implicit VR Little Endian.
    fn element(uid: Option<&String>) -> Vec<u8> {
        let Some(uid) = uid else { return vec![] };
        let length = uid.len().next_multiple_of(2);
        let mut element = vec![0x08, 0, 0x95, 0x11, length as u8, 0, 0, 0];
        element.extend(uid.as_bytes());
        element.resize(8 + length, 0);
        element
    }

    #[test]
    fn every_row_is_found_in_any_order() {
        let text = |row: usize| match row % 300 {
            0..150 => Some("1.2.840.10008.1.20.1".to_owned()),
            150 => None,
            row => Some(format!("1.{}.{row}", if row % 7 == 0 { "02" } else { "2" })),
        };
        let form = HeaderForm::new(false);
        let texts: Vec<_> = (0..700).map(text).collect();
        let arrays: [ArrayRef; 2] = [
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(StringViewArray::from_iter(texts.iter().map(Option::as_ref))),
        ];
        for array in arrays {
            let name = Field::new("TransactionUID", array.data_type().clone(), true);
            let columns = StructArray::from(vec![(Arc::new(name), array)]);
            let columns = DataSetColumns::new(&columns, "EventInformation").unwrap();
            let (mut blocks, mut at_end) = (UidBlock::all(&columns, form), BTreeSet::new());
            for row in (0..700).chain((0..700).rev()).chain((0..700).map(|row| row * 331 % 700)) {
                let mut out = [0xaa; 2 * ROOM];
                let found = blocks[0].write(row, &mut out).map(|rest| rest.len());
                let found = found.map(|rest| out.len() - rest);
                match (found, texts[row].as_ref()) {
                    (None, Some(uid)) if crate::uid::check(uid.as_bytes()).is_ok() => {
                        at_end.insert(row);
                    }
                    (None, uid) => assert!(uid.is_some()),
                    (Some(length), uid) => assert_eq!(out[..length], element(uid), "{row}"),
                }
            }
            // The UIDs in the last 64 bytes of their buffer.
            assert!(at_end.len() < 10, "{at_end:?}");
        }
    }
}
