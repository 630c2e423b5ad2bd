//! Structured data sets of the rows of a table, encoded when their messages are: to where they stand
//! in the stream, so that none is copied.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;

use crate::columns::SchemaError;
use crate::command_set::Field;
use crate::data_set_columns::DataSetColumns;
use crate::encode_data_set::{DataSetEncoder, DataSetOptions};
use crate::error::{Reason, Rejection};
use crate::memory::Memory;
use crate::template::Shape;

/// A column of structured data sets.
#[derive(Debug)]
pub struct StructuredColumn {
    /// Which column.
    pub field: Field,
    /// Its attributes.
    pub columns: DataSetColumns,
    /// How to encode its data sets.
    pub options: DataSetOptions,
}

impl StructuredColumn {
    /// Those of a batch.
    pub fn all(batch: &RecordBatch, options: DataSetOptions) -> Result<Vec<Self>, SchemaError> {
        let of = |field: Field| {
            let array = batch.column_by_name(field.keyword())?.as_struct_opt()?;
            let columns = DataSetColumns::new(array, field.keyword());
            Some(columns.map(|columns| Self { field, columns, options }))
        };
        Field::DATA_SETS.into_iter().filter_map(of).collect()
    }
}

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
