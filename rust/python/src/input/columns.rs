//! The columns that a table of events may have.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field as Column, Schema, SchemaRef};
use fastdimse_core::rejection::Rejection;
use pyo3::prelude::*;

use crate::errors::Error;
use crate::input::arrow::import::{array, is_arrow};

/// A batch, and the rows of it that could not become columns, which are null there.
pub type Batch = (RecordBatch, Vec<Rejection>);

/// The columns that a table may have.
pub trait ColumnSet: Sync {
    /// Checks the names of a table's columns.
    fn check_names(&self, schema: &SchemaRef) -> PyResult<()>;

    /// Makes an array of the values of a column that is none of an event's; `None` where there is
    /// no such column.
    fn column(&self, name: &str, values: &Bound<'_, PyAny>) -> PyResult<Option<MappedColumn>>;
}

/// A column of a mapping, before all lengths are known.
pub enum MappedColumn {
    /// A value for each row.
    Array(ArrayRef),
    /// A value for every row.
    Repeated(ArrayRef),
}

/// Unknown columns are refused by their names, whatever their values are.
pub fn unknown_column(name: &str, accepted: &dyn ColumnSet) -> PyErr {
    let schema = Schema::new(vec![Column::new(name, arrow_schema::DataType::Null, true)]);
    match accepted.check_names(&Arc::new(schema)) {
        Err(error) => error,
        Ok(()) => {
            Error::Column { column: name.to_owned(), text: format!("unknown column '{name}'") }
                .into()
        }
    }
}

/// An Arrow array of the Python object `values`, if it is one; `name` is what errors call it.
pub fn arrow_array(values: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<ArrayRef>> {
    is_arrow(values)?.then(|| array(values, name)).transpose()
}
