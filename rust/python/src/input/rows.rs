//! Rows that are mappings, converted to a record batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;
use fastdimse_core::rejection::{Rejection, keep_first_of_row};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyMapping, PyString};

use crate::arrow::error::arrow_error;
use crate::input::columns::{Batch, ColumnSet, MappedColumn, unknown_column};
use crate::input::sparse::dense;
use crate::input::values::from_iterator;
use crate::interrupts::interruptible;

/// The `first` row and those after it, at most `max_rows`, as a batch; `done` rows were read before. Rows
/// may have the columns of `accepted`.
pub fn to_batch<'py>(
    first: Bound<'py, PyAny>,
    rest: &Bound<'py, PyIterator>,
    max_rows: usize,
    done: u64,
    accepted: &dyn ColumnSet,
) -> PyResult<Batch> {
    let py = first.py();
    let mut found = ByName::default();
    let objects = [Ok(first)].into_iter().chain(rest.clone().take(max_rows - 1));
    for (row, object) in (done..).zip(interruptible(py, objects)) {
        let object = object?;
        let mapping = accepted.row(&object)?.ok_or_else(|| {
            let found = object.get_type().to_string();
            PyTypeError::new_err(format!(
                "row {row} must be a mapping like the rows before it, not {found}"
            ))
        })?;
        found.add(row, &mapping)?;
    }
    let found_rows = found.rows;
    let mut columns = Vec::new();
    let mut rejected: Vec<Rejection> = Vec::new();
    for (name, values) in found.columns {
        let none = || py.None().into_bound(py);
        let values = dense(found.rows, values).map(|value| value.unwrap_or_else(none));
        let column = match accepted.field(&name) {
            Some(field) => from_iterator(field, values.map(Ok), done, &mut rejected)?,
            None => {
                let values: Vec<_> = values.collect();
                match accepted.column(&name, PyList::new(py, values)?.as_any())? {
                    Some(MappedColumn::Array(column) | MappedColumn::Repeated(column)) => column,
                    None => return Err(unknown_column(&name, accepted)),
                }
            }
        };
        columns.push((name, column, true));
    }
    keep_first_of_row(&mut rejected);
    if columns.is_empty() {
        let options = RecordBatchOptions::new().with_row_count(Some(found_rows));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema, Vec::new(), &options);
        return Ok((batch.map_err(arrow_error)?, rejected));
    }
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(arrow_error)?;
    Ok((batch, rejected))
}

/// The present values of a column, each with its row.
type Values<'py> = Vec<(usize, Bound<'py, PyAny>)>;

/// Columns in the order in which their names first occur, with their present values.
#[derive(Default)]
struct ByName<'py> {
    columns: Vec<(String, Values<'py>)>,
    numbers: HashMap<String, usize>,
    rows: usize,
}

impl<'py> ByName<'py> {
    fn add(&mut self, row: u64, mapping: &Bound<'py, PyMapping>) -> PyResult<()> {
        for item in mapping.items()? {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let name = name.cast_into::<PyString>().map_err(|_| {
                PyTypeError::new_err(format!("row {row}: the names of fields must be str"))
            })?;
            let number = self.number(name.to_str()?);
            let values = &mut self.columns[number].1;
            // A mapping that is not a dict may contain a name twice. The last value counts.
            match values.last_mut().filter(|(row, _)| *row == self.rows) {
                Some((_, last)) => *last = value,
                None => values.push((self.rows, value)),
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.columns.len();
        self.columns.push((name.to_owned(), Vec::new()));
        self.numbers.insert(name.to_owned(), number);
        number
    }
}
