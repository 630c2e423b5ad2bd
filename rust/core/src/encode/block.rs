//! A block of rows, read from columns of any layout into one form. It is small enough for the CPU's
//! first-level cache.

use crate::columns::cell::Cell;
use crate::columns::integers::{NO_NUMBER, OUT_OF_RANGE};
use crate::columns::values::Values;
use crate::encode::structured_rows::StructuredRows;
use crate::encode::template::Shape;
use crate::event_columns::EventColumns;
use crate::field::Field;
use crate::rejection::Rejection;
use crate::uid::masks::{all_conformant, conformant_each};

pub use crate::columns::values::ROWS;

const NUMBERS: usize = Field::COUNTS.0;
const CELLS: usize = Field::COUNTS.1;

/// The numbers of a column that the table does not have.
static NO_NUMBERS: [u32; ROWS] = [NO_NUMBER; ROWS];

/// A block of rows.
pub struct Block<'a> {
    columns: &'a EventColumns,
    /// The fields that every row has.
    common: Shape,
    /// The row of the columns with which the block begins.
    pub first: usize,
    /// The number of rows.
    pub rows: usize,
    /// As many numbers as the largest block has rows, so that small tables initialize few; empty for
    /// a column that the table does not have.
    numbers: [Vec<u32>; NUMBERS],
    values: [Values<'a>; CELLS],
    /// Whether any number is out of range.
    any_out_of_range: bool,
    /// Whether all rows have the same fields and the same SOP class, conformant instance UIDs, and
    /// no number out of range. Such a block is a fourth of the instructions of a check of each row.
    pub is_uniform: bool,
    /// The fields of each row.
    pub shapes: [Shape; ROWS],
    /// For each row, whether the instance UID is null or conforms to PS3.5 9.1.
    pub conformant: [bool; ROWS],
    /// The structured data sets.
    pub structured: Vec<StructuredRows<'a>>,
}

impl<'a> Block<'a> {
    /// An empty block for up to `rows` rows, at most [`ROWS`].
    pub fn new(columns: &'a EventColumns, rows: usize) -> Self {
        let in_all =
            |field: &Field| columns.cells(*field).is_some_and(|cells| !cells.may_be_null());
        let common = Field::TEXTS.into_iter().filter(in_all).fold(Shape::NONE, Shape::with);
        let mut numbers = [const { Vec::new() }; NUMBERS];
        for field in Field::ALL {
            if columns.integers(field).is_some() {
                numbers[field.place()] = vec![NO_NUMBER; rows];
            }
        }
        Self {
            columns,
            common,
            first: 0,
            rows: 0,
            numbers,
            values: Default::default(),
            any_out_of_range: false,
            is_uniform: false,
            shapes: [Shape::NONE; ROWS],
            conformant: [false; ROWS],
            structured: columns.structured().iter().map(StructuredRows::new).collect(),
        }
    }

    /// Reads `rows` rows, beginning with row `first`.
    pub fn take(&mut self, first: usize, rows: usize) {
        (self.first, self.rows, self.any_out_of_range) = (first, rows, false);
        self.shapes = [self.common; ROWS];
        for field in Field::ALL {
            if let Some(column) = self.columns.integers(field) {
                let numbers = &mut self.numbers[field.place()][..rows];
                column.fill(first, numbers);
                self.any_out_of_range |= numbers.contains(&OUT_OF_RANGE);
                Shape::add_numbers(&mut self.shapes, field, numbers);
            }
            if let Some(column) = self.columns.cells(field) {
                let values = &mut self.values[field.place()];
                values.fill(column, first, rows);
                if !self.common.has(field) {
                    Shape::add_values(&mut self.shapes, field, values);
                }
            }
        }
        for data_sets in &self.structured {
            data_sets.add_to(&mut self.shapes[..rows], first);
        }
        let all_conformant = self.check_uids();
        self.is_uniform = all_conformant
            && !self.any_out_of_range
            && Shape::are_equal(&self.shapes[..rows])
            && self.values(Field::AffectedSOPClassUID).are_equal();
    }

    /// Checks the instance UIDs, and returns whether all are conformant or null.
    fn check_uids(&mut self) -> bool {
        let uids = &self.values[Field::AffectedSOPInstanceUID.place()];
        let conformant = &mut self.conformant[..self.rows];
        // Whether a UID may be null is checked with the shape of the row.
        let may_be = |uid: Cell<'_>, conformant| conformant | uid.is_null();
        let cells = match (uids.adjacent(), uids.cells()) {
            (Some(uids), _) if all_conformant(uids) => return self.all_are_conformant(),
            (None, Some([])) => return self.all_are_conformant(),
            (None, Some(cells)) => cells,
            _ => &std::array::from_fn::<_, ROWS, _>(|row| uids.cell(row))[..self.rows],
        };
        conformant_each(cells, conformant, may_be);
        conformant.iter().all(|conformant| *conformant)
    }

    fn all_are_conformant(&mut self) -> bool {
        self.conformant[..self.rows].fill(true);
        true
    }

    /// The number of a row: its value, [`NO_NUMBER`] or [`OUT_OF_RANGE`].
    #[inline(always)]
    pub fn number(&self, field: Field, row: usize) -> u32 {
        self.numbers[field.place()].get(row).copied().unwrap_or(NO_NUMBER)
    }

    /// The integer of a row as the column has it, whatever its range.
    pub fn integer(&self, field: Field, row: usize) -> Option<i128> {
        self.columns.integer(field, self.first + row)
    }

    /// The text or the data set of a row.
    #[inline(always)]
    pub fn cell(&self, field: Field, row: usize) -> Cell<'a> {
        self.values[field.place()].cell(row)
    }

    /// Whether the data sets of this field are structured. Structured fields have no cells.
    pub fn is_structured(&self, field: Field) -> bool {
        self.structured.iter().any(|data_sets| data_sets.field == field)
    }

    /// Encodes the structured data sets of a row that is checked alone. A data set without elements
    /// then counts as absent.
    pub fn encode_structured(&mut self, row: usize) -> Result<(), Rejection> {
        for data_sets in &mut self.structured {
            data_sets.encode(self.first + row)?;
            if data_sets.encoded().is_empty() {
                self.shapes[row] = self.shapes[row].without(data_sets.field);
            }
        }
        Ok(())
    }

    /// The data set of a row; for a structured field, the data set of the row that was encoded
    /// last.
    pub fn data_set(&self, field: Field, row: usize) -> Option<&[u8]> {
        match self.structured.iter().find(|data_sets| data_sets.field == field) {
            Some(data_sets) => Some(data_sets.encoded()),
            None => self.cell(field, row).bytes(),
        }
    }

    /// Whether a number of the row is out of range.
    #[inline(always)]
    pub fn out_of_range(&self, row: usize) -> bool {
        let is_out_of_range = |numbers: &Vec<u32>| numbers.get(row) == Some(&OUT_OF_RANGE);
        self.any_out_of_range && self.numbers.iter().any(is_out_of_range)
    }

    /// Whether the table has a column of this numeric field.
    pub fn has(&self, field: Field) -> bool {
        self.columns.has(field)
    }

    /// The texts or the data sets of all rows.
    #[inline(always)]
    pub fn values(&self, field: Field) -> &Values<'a> {
        &self.values[field.place()]
    }

    /// The numbers of all rows.
    #[inline(always)]
    pub fn numbers_of(&self, field: Field) -> &[u32] {
        match &self.numbers[field.place()][..] {
            [] => &NO_NUMBERS[..self.rows],
            numbers => &numbers[..self.rows],
        }
    }
}
