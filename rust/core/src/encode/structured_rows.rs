//! Structured data sets of the rows of a table, encoded when their messages are: to where they stand
//! in the stream, so that none is copied.

use crate::data_set::encode::DataSetColumns;
use crate::data_set::encode::DataSetEncoder;
use crate::encode::template::Shape;
use crate::event_columns::StructuredColumn;
use crate::field::Field;
use crate::memory::Memory;
use crate::rejection::{Reason, Rejection};

/// The data sets of a column on their way into bytes.
#[derive(Debug)]
pub struct StructuredRows<'a> {
    /// Which column they are of.
    pub field: Field,
    columns: &'a DataSetColumns,
    encoder: DataSetEncoder<'a>,
    /// The data set of a row that is judged alone.
    alone: Option<Memory>,
    length: usize,
}

impl<'a> StructuredRows<'a> {
    /// The rows of a column.
    pub fn new(column: &'a StructuredColumn) -> Self {
        let StructuredColumn { field, columns, options } = column;
        let encoder = DataSetEncoder::new(columns, *options);
        Self { field: *field, columns, encoder, alone: None, length: 0 }
    }

    /// Adds to the shapes of the rows from `first` on which of them have a data set. One without
    /// any element counts here.
    pub fn add_to(&self, shapes: &mut [Shape], first: usize) {
        for (row, shape) in shapes.iter_mut().enumerate() {
            if !self.columns.is_null(first + row) {
                *shape = shape.with(self.field);
            }
        }
    }

    /// Writes the data set of a row, which must not be null, to the beginning of `out`; returns its
    /// length, or nothing where it is wrong.
    #[inline(always)]
    pub fn write(&mut self, row: usize, out: &mut [u8]) -> Option<usize> {
        self.encoder.encode(row, out).ok()
    }

    /// Encodes the data set of a row alone.
    pub fn encode(&mut self, row: usize) -> Result<(), Rejection> {
        self.length = 0;
        if !self.columns.is_null(row) {
            let most = self.columns.most_bytes();
            let out = self.alone.get_or_insert_with(|| Memory::new(most)).bytes();
            self.length = self
                .encoder
                .encode(row, out)
                .map_err(|error| Rejection::new(Reason::DataSet(error)).field(self.field))?;
        }
        Ok(())
    }

    /// The data set that was encoded alone last.
    pub fn encoded(&self) -> &[u8] {
        self.alone.as_ref().map_or(&[], |memory| &memory.as_ref()[..self.length])
    }
}
