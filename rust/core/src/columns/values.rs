//! The values of a block of consecutive rows of a column of byte strings.

use std::iter::zip;

use crate::columns::bytes::ByteColumn;
use crate::columns::cell::{Cell, WINDOW};

/// The maximum number of rows of a block. A block is small enough for the CPU's first-level cache.
pub const ROWS: usize = 128;

/// The values of consecutive rows of a column.
#[derive(Debug, Default)]
pub struct Values<'a> {
    /// The buffer from the first value on, if the values are adjacent.
    bytes: &'a [u8],
    /// The offset of each value in `bytes`, and the end of the last one; empty if the values are in
    /// `cells`.
    offsets: Vec<u32>,
    /// The values in other layouts.
    cells: Vec<Cell<'a>>,
}

impl<'a> Values<'a> {
    /// Reads `rows` rows of `column`, beginning with row `first`.
    pub fn fill(&mut self, column: &'a ByteColumn, first: usize, rows: usize) {
        match column.adjacent(first, rows, &mut self.offsets) {
            Some(bytes) => self.bytes = bytes,
            None => {
                self.offsets.clear();
                self.cells.resize(rows, Cell::NULL);
                column.fill(first, &mut self.cells);
            }
        }
    }

    /// The value of a row; null for a column without rows.
    #[inline(always)]
    pub fn cell(&self, row: usize) -> Cell<'a> {
        match self.offsets.get(row..row + 2) {
            Some(&[start, end]) => {
                Cell::new(self.bytes, start as usize, end.wrapping_sub(start) as usize)
            }
            _ => self.cells.get(row).copied().unwrap_or(Cell::NULL),
        }
    }

    /// The values of all rows, if they are adjacent.
    #[inline(always)]
    pub fn adjacent(&self) -> Option<Adjacent<'a, '_>> {
        let Self { bytes, offsets, .. } = self;
        (!offsets.is_empty()).then_some(Adjacent { bytes, offsets })
    }

    /// The cells of all rows, if the values are not adjacent.
    pub fn cells(&self) -> Option<&[Cell<'a>]> {
        self.offsets.is_empty().then_some(&self.cells)
    }

    /// Whether all rows have the same value.
    pub fn are_equal(&self) -> bool {
        match self.adjacent() {
            Some(values) => values.are_equal(),
            None => self.cells.iter().all(|cell| cell.is_equal(self.cells[0])),
        }
    }

    /// The length of the longest value; `usize::MAX` if a row is null.
    pub fn longest(&self) -> usize {
        match self.adjacent() {
            Some(values) => values.lengths().fold(0, u32::max) as usize,
            None => self.cells.iter().fold(0, |longest, cell| longest.max(cell.length())),
        }
    }
}

/// Values without null that follow each other in one buffer.
#[derive(Debug, Clone, Copy)]
pub struct Adjacent<'a, 'v> {
    /// The buffer from the first value on.
    pub bytes: &'a [u8],
    /// The offset of each value in `bytes`, and the end of the last one.
    pub offsets: &'v [u32],
}

impl<'a> Adjacent<'a, '_> {
    /// Only the first value.
    pub fn first(self) -> Self {
        Self { offsets: &self.offsets[..self.offsets.len().min(2)], ..self }
    }

    /// The value of a row and the bytes after it, if the buffer has 64 bytes from there on, and the
    /// length of the value.
    #[inline(always)]
    pub fn window(&self, row: usize) -> Option<(&'a [u8; WINDOW], usize)> {
        let &[start, end] = self.offsets.get(row..row + 2)? else { return None };
        let window = self.bytes.get(start as usize..start as usize + WINDOW)?.first_chunk()?;
        Some((window, end.wrapping_sub(start) as usize))
    }

    /// The length of each value.
    #[inline(always)]
    pub fn lengths(&self) -> impl Iterator<Item = u32> {
        zip(self.offsets, &self.offsets[1..]).map(|(start, end)| end.wrapping_sub(*start))
    }

    /// Whether all values are equal. They then have one length, and repeat with this period, which
    /// one comparison of memory finds: a sixth of the instructions of a comparison for each value.
    pub fn are_equal(&self) -> bool {
        let &[start, end, ..] = self.offsets else { return true };
        let length = end.wrapping_sub(start);
        if !self.lengths().fold(true, |all, other| all & (other == length)) {
            return false;
        }
        let (period, all) = (length as usize, self.offsets[self.offsets.len() - 1] as usize);
        self.bytes[..all - period] == self.bytes[period..all]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, DictionaryArray, LargeStringArray, StringArray, StringViewArray,
        types::Int8Type,
    };
    use proptest::prelude::*;

    use super::*;

    /// The columns of the texts in every layout.
    fn columns(texts: &[Option<String>]) -> Vec<ByteColumn> {
        let text = |array: ArrayRef| ByteColumn::text(&array).unwrap();
        let bytes = texts.iter().map(|text| text.as_ref().map(String::as_bytes));
        let binary: ArrayRef = Arc::new(BinaryArray::from_iter(bytes));
        let texts = || texts.iter().map(|text| text.as_deref());
        vec![
            text(Arc::new(StringArray::from_iter(texts()))),
            text(Arc::new(LargeStringArray::from_iter(texts()))),
            text(Arc::new(StringViewArray::from_iter(texts()))),
            text(Arc::new(DictionaryArray::<Int8Type>::from_iter(texts()))),
            ByteColumn::binary(&binary).unwrap(),
        ]
    }

    proptest! {
        #[test]
        fn every_layout_has_the_values_of_the_column(
            texts in prop::collection::vec(prop::option::weighted(0.95, "[0-9]{0,2}"), 1..60),
            first in 0_usize..60,
        ) {
            let first = first % texts.len();
            for column in columns(&texts) {
                let mut values = Values::default();
                for (first, rows) in [(first, texts.len() - first), (0, first)] {
                    values.fill(&column, first, rows);
                    let expected = &texts[first..first + rows];
                    let found: Vec<_> = (0..rows).map(|row| values.cell(row).bytes()).collect();
                    let bytes = |text: &Option<String>| text.clone().map(String::into_bytes);
                    let expected_bytes: Vec<_> = expected.iter().map(bytes).collect();
                    let found: Vec<_> = found.iter().map(|of| of.map(<[u8]>::to_vec)).collect();
                    prop_assert_eq!(&found, &expected_bytes);
                    let are_equal = expected.iter().all(|text| *text == expected[0]);
                    prop_assert_eq!(values.are_equal(), are_equal);
                    let length = |text: &Option<String>| text.as_ref().map_or(usize::MAX, String::len);
                    prop_assert_eq!(values.longest(), expected.iter().map(length).max().unwrap_or(0));
                }
            }
        }
    }
}
