//! Computes the lengths of messages before they are written.

use std::ops::Range;

use crate::columns::cell::Cell;
use crate::columns::integers::NO_NUMBER;
use crate::encode::block::ROWS;
use crate::encode::options::Options;
use crate::event_columns::EventColumns;
use crate::field::Field;
use crate::options::Framing;
use crate::pdu::write::HEADERS;

/// Command Group Length, Command Field, Command Data Set Type and a Message ID, which every message
/// has (PS3.7 10.3.1).
const ALWAYS: usize = 12 + 10 + 10 + 10;
/// The length of an element with a number.
const NUMBER: usize = 10;
/// The length of the header of an element with text.
const HEADER: usize = 8;
/// The optional numeric fields.
const NUMBERS: [Field; 3] = [Field::EventTypeID, Field::Status, Field::ErrorID];

/// Computes the lengths of up to one block of rows.
pub struct Lengths<'a> {
    command_sets: [usize; ROWS],
    data_sets: [usize; ROWS],
    numbers: [u32; ROWS],
    cells: [Cell<'a>; ROWS],
}

impl<'a> Lengths<'a> {
    /// Empty buffers for a block.
    pub fn new() -> Self {
        Self {
            command_sets: [0; ROWS],
            data_sets: [0; ROWS],
            numbers: [NO_NUMBER; ROWS],
            cells: [Cell::NULL; ROWS],
        }
    }

    /// The total length of the messages of up to [`ROWS`] rows, if all are valid. An invalid row
    /// counts with the values it has.
    pub fn total(
        &mut self,
        columns: &'a EventColumns,
        rows: Range<usize>,
        options: &Options,
    ) -> usize {
        self.command_sets = [ALWAYS; ROWS];
        for field in NUMBERS {
            if let Some(column) = columns.integers(field) {
                let numbers = &mut self.numbers[..rows.len()];
                column.fill(rows.start, numbers);
                for (length, &number) in self.command_sets.iter_mut().zip(&*numbers) {
                    *length += if number == NO_NUMBER { 0 } else { NUMBER };
                }
            }
        }
        for field in Field::TEXTS {
            if let Some(column) = columns.cells(field) {
                let cells = &mut self.cells[..rows.len()];
                column.fill(rows.start, cells);
                for (length, cell) in self.command_sets.iter_mut().zip(&*cells) {
                    let text = HEADER + (cell.length().wrapping_add(1) & !1);
                    *length += if cell.is_null() { 0 } else { text };
                }
            }
        }
        let command_sets = &self.command_sets[..rows.len()];
        let Options { framing, max_pdu_length, .. } = *options;
        if framing == Framing::CommandSet {
            return command_sets.iter().sum();
        }
        self.data_sets = [0; ROWS];
        for field in Field::DATA_SETS {
            if let Some(column) = columns.cells(field) {
                let cells = &mut self.cells[..rows.len()];
                column.fill(rows.start, cells);
                for (length, cell) in self.data_sets.iter_mut().zip(&*cells) {
                    *length += if cell.is_null() { 0 } else { cell.length() };
                }
            }
        }
        let most = max_pdu_length.fragment();
        let framed = |length| match length {
            0 => 0,
            // The usual case, without a division.
            _ if length <= most => HEADERS + length,
            _ => max_pdu_length.framed_len(length),
        };
        let lengths = command_sets.iter().zip(&self.data_sets);
        lengths.map(|(&command_set, &data_set)| framed(command_set) + framed(data_set)).sum()
    }
}
