//! Iterables of Arrow tables: lists and generators of record batches, `ParquetFile.iter_batches()`.

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, Schema};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyIterator;

use crate::arrow::error::arrow_error;
use crate::arrow::import::{batches, is_arrow};
use crate::errors::{ColumnError, Error};
use crate::input::columns::ColumnSet;
use crate::input::pandas::without_index;
use crate::input::selection::Selection;

/// Tables that are read one after the other.
pub struct Tables {
    tables: Py<PyIterator>,
    /// The table that is read.
    reader: Box<dyn RecordBatchReader + Send>,
    /// The columns of every table that are read.
    columns: Vec<String>,
    /// The number of tables that were begun.
    count: usize,
    accepted: &'static dyn ColumnSet,
}

impl Tables {
    /// The `first` table and those after it.
    pub fn new(
        first: &Bound<'_, PyAny>,
        tables: Py<PyIterator>,
        accepted: &'static dyn ColumnSet,
    ) -> PyResult<Self> {
        let reader = without_index(batches(first)?).map_err(arrow_error)?;
        accepted.check_names(&reader.schema())?;
        let columns = read_columns(&reader.schema(), accepted);
        Ok(Self { tables, reader, columns, count: 1, accepted })
    }

    /// The next batch, and how to read its columns.
    pub fn next(&mut self, py: Python<'_>) -> PyResult<Option<(RecordBatch, Option<Selection>)>> {
        loop {
            py.check_signals()?;
            // Detached, since the reader of another library may need the GIL.
            let batch: Option<Result<RecordBatch, ArrowError>> = py.detach(|| self.reader.next());
            if let Some(batch) = batch.transpose().map_err(arrow_error)? {
                let selection = Selection::new(&batch.schema(), self.accepted);
                return Ok(Some((batch, selection)));
            }
            match self.tables.bind(py).clone().next() {
                Some(table) => self.begin(&table?)?,
                None => return Ok(None),
            }
        }
    }

    fn begin(&mut self, table: &Bound<'_, PyAny>) -> PyResult<()> {
        self.count += 1;
        let count = self.count;
        if !is_arrow(table)? {
            return Err(PyTypeError::new_err(format!(
                "batch {count} must be an Arrow table like the batches before it, not {}",
                table.get_type().name()?
            )));
        }
        let reader = without_index(batches(table)?).map_err(arrow_error)?;
        let found = read_columns(&reader.schema(), self.accepted);
        let different = |column: &String, text: String| {
            Err(Error::Column { column: column.clone(), text: format!("batch {count} {text}") }
                .into())
        };
        if let Some(column) = self.columns.iter().find(|column| !found.contains(column)) {
            let text = format!("has no column '{column}', which the batches before it have");
            return different(column, text);
        }
        if let Some(column) = found.iter().find(|column| !self.columns.contains(column)) {
            let text =
                format!("has the column '{column}', which the batches before it do not have");
            return different(column, text);
        }
        self.accepted.check_names(&reader.schema()).map_err(|error| {
            let py = table.py();
            if !error.is_instance_of::<ColumnError>(py) {
                return error;
            }
            let column = error.value(py).getattr("column").and_then(|column| column.extract());
            let text = format!("batch {count}: {}", error.value(py));
            Error::Column { column: column.unwrap_or_default(), text }.into()
        })?;
        self.reader = reader;
        Ok(())
    }
}

fn read_columns(schema: &Schema, accepted: &dyn ColumnSet) -> Vec<String> {
    let names = schema.fields().iter().map(|column| column.name());
    names.filter(|name| accepted.reads(name)).cloned().collect()
}
