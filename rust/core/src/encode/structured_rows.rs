//! Structured data sets of a table, encoded in place while the messages are written, so that none
//! is copied.

use crate::data_set::encode::DataSetColumns;
use crate::data_set::encode::{DataSetEncoder, DataSetWriter};
use crate::encode::template::Shape;
use crate::event_columns::StructuredColumn;
use crate::field::Field;
use crate::memory::Memory;
use crate::rejection::{Reason, Rejection};

/// Encodes the data sets of a column row by row.
#[derive(Debug)]
pub struct StructuredRows<'a> {
    /// The field of the column.
    pub field: Field,
    columns: &'a DataSetColumns,
    encoder: DataSetEncoder<'a>,
    /// The data set of a row that is checked alone.
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

    /// Adds the field to the shape of each row, beginning with row `first`, that has a data set, even
    /// one without elements.
    pub fn add_to(&self, shapes: &mut [Shape], first: usize) {
        for (row, shape) in shapes.iter_mut().enumerate() {
            if !self.columns.is_null(first + row) {
                *shape = shape.with(self.field);
            }
        }
    }

    /// A writer of the data sets between other bytes of `out`.
    #[inline(always)]
    pub fn writer<'o>(&'o mut self, out: &'o mut [u8]) -> DataSetWriter<'a, 'o> {
        self.encoder.writer(out)
    }

    /// Encodes the data set of a row that is checked alone.
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

    /// The data set that [`StructuredRows::encode`] encoded last.
    pub fn encoded(&self) -> &[u8] {
        self.alone.as_ref().map_or(&[], |memory| &memory.as_ref()[..self.length])
    }
}
