//! UIDs of data sets, some rows at once: they are looked for and checked in blocks.

use crate::columns::{ByteColumn, Cell};
use crate::machine;

const ROWS: usize = 128;

/// Some rows of a column of UIDs.
// One by one they take half as many instructions again.
#[derive(Debug)]
pub struct UidBlock<'c> {
    first: usize,
    rows: usize,
    cells: [Cell<'c>; ROWS],
    conformant: [bool; ROWS],
}

impl Default for UidBlock<'_> {
    fn default() -> Self {
        Self { first: 0, rows: 0, cells: [Cell::NULL; ROWS], conformant: [false; ROWS] }
    }
}

impl<'c> UidBlock<'c> {
    /// The UID in a row of a column that has `rows`, and whether it is conformant to PS3.5 9.1.
    #[inline(always)]
    pub fn uid(&mut self, uids: &'c ByteColumn, rows: usize, row: usize) -> (Cell<'c>, bool) {
        let mut at = row.wrapping_sub(self.first);
        if at >= self.rows {
            self.fill(uids, rows, row);
            at = 0;
        }
        (self.cells[at], self.conformant[at])
    }

    #[inline(never)]
    fn fill(&mut self, uids: &'c ByteColumn, rows: usize, first: usize) {
        self.first = first;
        self.rows = ROWS.min(rows - first);
        let cells = &mut self.cells[..self.rows];
        uids.fill(first, cells);
        // Most often the SOP class is one for all.
        let (one, others) = (cells[0], &cells[1..]);
        if others.iter().all(|other| other.is_equal(one)) {
            let mut conformant = [false];
            machine::conformant(&[one], &mut conformant);
            self.conformant.fill(conformant[0]);
        } else {
            machine::conformant(cells, &mut self.conformant);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, StringArray, StringViewArray};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_row_is_found_whatever_the_order() {
        let text = |row: usize| match row % 300 {
            0..150 => Some("1.2.840.10008.1.20.1".to_owned()),
            150 => None,
            row => Some(format!("1.{}.{row}", if row % 7 == 0 { "02" } else { "2" })),
        };
        let texts: Vec<_> = (0..700).map(text).collect();
        let arrays: [ArrayRef; 2] = [
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(StringViewArray::from_iter(texts.iter().map(Option::as_ref))),
        ];
        for array in arrays {
            let column = ByteColumn::text(&array).unwrap();
            let mut block = UidBlock::default();
            for row in (0..700).chain((0..700).rev()).chain((0..700).map(|row| row * 331 % 700)) {
                let (cell, conformant) = block.uid(&column, 700, row);
                let expected = texts[row].as_ref().map(|text| text.as_bytes());
                assert_eq!(cell.bytes(), expected);
                assert_eq!(conformant, expected.is_some_and(|uid| crate::uid::check(uid).is_ok()));
            }
        }
    }
}
