//! Rows that are Python objects: primitives or mappings, read from an iterator in batches.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, NullArray, RecordBatch};
use fastdimse_core::encode::message_id_of_row;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::{Reason, Rejection};
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyMapping};

use crate::arrow::error::arrow_error;
use crate::arrow::import::is_arrow;
use crate::errors::ColumnError;
use crate::input::columns::{Batch, ColumnSet};
use crate::input::primitives;
use crate::interrupts::interruptible;
use crate::primitive::slots::Service;

/// Rows of an iterator.
pub struct RowObjects {
    iterator: Py<PyIterator>,
    /// The expected number of rows, 0 if unknown.
    count: usize,
    /// The columns that rows may have.
    accepted: &'static dyn ColumnSet,
    /// What happens to a row that cannot be read: with [`Retry`] it is rejected, and the rows beside it
    /// are read. Otherwise its exception is raised.
    retry: Option<Retry>,
}

/// The objects that are needed to read the rows of a batch again, one by one.
#[derive(Default)]
struct Retry {
    /// The rows of the last batch.
    last: Vec<Py<PyAny>>,
    /// Rows that are read one by one, since they cannot be read together.
    single: VecDeque<Py<PyAny>>,
    /// The exception of the iterator. It is raised after the rows before it have been read.
    raised: Option<PyErr>,
}

/// What the iterator has next.
pub enum Next<'py> {
    /// A batch of rows.
    Batch(Batch),
    /// An Arrow table: the iterator has tables.
    Table(Bound<'py, PyAny>),
}

impl RowObjects {
    /// The rows of an iterator, about `count` of them, 0 if unknown.
    pub fn new(iterator: Py<PyIterator>, count: usize, accepted: &'static dyn ColumnSet) -> Self {
        Self { iterator, count, accepted, retry: None }
    }

    /// The iterator, and the columns of its rows.
    pub fn source(&self, py: Python<'_>) -> (Py<PyIterator>, &'static dyn ColumnSet) {
        (self.iterator.clone_ref(py), self.accepted)
    }

    /// The columns that rows may have.
    pub fn accepted(&self) -> &'static dyn ColumnSet {
        self.accepted
    }

    /// From now on, rejects each row that cannot be read, instead of raising its exception.
    pub fn reject_rows(&mut self) {
        self.retry.get_or_insert_default();
    }

    /// The next batch of at most `max_rows` rows, of which the first has the number `done`.
    pub fn next<'py>(
        &mut self,
        py: Python<'py>,
        max_rows: usize,
        done: u64,
    ) -> PyResult<Option<Next<'py>>> {
        if let Some(retry) = &mut self.retry {
            if let Some(row) = retry.single.pop_front() {
                return self.read_single(py, row, done).map(|batch| Some(Next::Batch(batch)));
            }
            if let Some(error) = retry.raised.take() {
                return Err(error);
            }
        }
        let rest = self.iterator.bind(py).clone();
        let Some(first) = rest.clone().next() else { return Ok(None) };
        let first = first?;
        // Rows of tables of some libraries are mappings and Arrow data.
        if is_arrow(&first)? && first.cast::<PyMapping>().is_err() {
            return Ok(Some(Next::Table(first)));
        }
        if self.retry.is_some() {
            return self
                .read_together(py, first, max_rows, done)
                .map(|batch| Some(Next::Batch(batch)));
        }
        let expected = max_rows.min(self.count);
        primitives::to_batch(first, &rest, max_rows, done, expected, self.accepted)
            .map(|batch| Some(Next::Batch(batch)))
    }

    /// After a batch whose columns were in error: its rows are read one by one from now on. If it has one
    /// row only, that is the wrong one, which is returned as a rejected row.
    pub fn retry(&mut self, py: Python<'_>, error: PyErr, row: u64) -> PyResult<Option<Batch>> {
        let Some(retry) = &mut self.retry else { return Err(error) };
        let rows = std::mem::take(&mut retry.last);
        if rows.len() == 1 {
            return rejected_row(py, &error, row, self.accepted).map(Some);
        }
        retry.single.extend(rows);
        Ok(None)
    }

    fn read_together<'py>(
        &mut self,
        py: Python<'py>,
        first: Bound<'py, PyAny>,
        max_rows: usize,
        done: u64,
    ) -> PyResult<Batch> {
        let mut rows = vec![first];
        let mut raised = None;
        let rest = self.iterator.bind(py).clone();
        for row in interruptible(py, rest.take(max_rows - 1)) {
            match row {
                Ok(row) => rows.push(row),
                Err(error) if is_of_row(py, &error) => {
                    raised = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let read = self.read(py, &rows, done);
        let rows: Vec<Py<PyAny>> = rows.into_iter().map(Bound::unbind).collect();
        let retry = self.retry.get_or_insert_default();
        retry.raised = raised;
        match read {
            Ok(batch) => {
                retry.last = rows;
                Ok(batch)
            }
            Err(error) if !is_of_row(py, &error) => Err(error),
            Err(_) => {
                retry.single.extend(rows);
                let first = retry.single.pop_front().expect("there is at least one row");
                self.read_single(py, first, done)
            }
        }
    }

    fn read_single(&mut self, py: Python<'_>, row: Py<PyAny>, done: u64) -> PyResult<Batch> {
        let batch = match self.read(py, &[row.bind(py).clone()], done) {
            Ok((batch, rejected)) => (with_required(&batch, self.accepted)?, rejected),
            Err(error) if is_of_row(py, &error) => rejected_row(py, &error, done, self.accepted)?,
            Err(error) => return Err(error),
        };
        self.retry.get_or_insert_default().last = vec![row];
        Ok(batch)
    }

    fn read<'py>(&self, py: Python<'py>, rows: &[Bound<'py, PyAny>], done: u64) -> PyResult<Batch> {
        let rest = PyList::new(py, &rows[1..])?.try_iter()?;
        let count = rows.len();
        let (batch, rejected) =
            primitives::to_batch(rows[0].clone(), &rest, count, done, count, self.accepted)?;
        match self.accepted.row(&rows[0])? {
            Some(_) => Ok((with_message_ids(batch, done)?, rejected)),
            None => Ok((batch, rejected)),
        }
    }
}

/// A batch of mappings in which each row has a Message ID, if one has: a row without one would be
/// rejected because of the rows beside it. The first row has the number `done`.
fn with_message_ids(batch: RecordBatch, done: u64) -> PyResult<RecordBatch> {
    let name = Field::MessageID.keyword();
    let schema = batch.schema();
    let Ok(index) = schema.index_of(name) else { return Ok(batch) };
    let column = batch.column(index);
    let given = column.as_primitive_opt::<Int64Type>();
    if given.is_some_and(|given| given.null_count() == 0) {
        return Ok(batch);
    }
    let ids = (0..batch.num_rows()).map(|row| match given {
        Some(given) if given.is_valid(row) => given.value(row),
        _ => message_id_of_row(done + row as u64).into(),
    });
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column = if field.name() == name { ids.clone() } else { column.clone() };
        (field.name().as_str(), column, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).map_err(arrow_error)
}

/// Whether an exception can be that of a row: not an interrupt, nor a lack of memory.
fn is_of_row(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py) && !error.is_instance_of::<PyMemoryError>(py)
}

/// A batch with one row, which is rejected for the reason of an exception.
fn rejected_row(
    py: Python<'_>,
    error: &PyErr,
    row: u64,
    accepted: &dyn ColumnSet,
) -> PyResult<Batch> {
    let text = error.value(py).str()?.to_string_lossy().into_owned();
    // The row has its own column.
    let text = text.strip_prefix(&format!("row {row}, ")).unwrap_or(&text).into();
    let reason = match error.is_instance_of::<ColumnError>(py) {
        true => Reason::UnknownColumn(text),
        false => Reason::Value(text),
    };
    let rejected = vec![Rejection::new(reason).row(row)];
    let nulls = required(accepted).map(|field| (field.keyword(), null(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(nulls).map_err(arrow_error)?;
    Ok((batch, rejected))
}

/// A batch of one row with a null for each required field that it lacks: among other rows it would have
/// one, too.
fn with_required(batch: &RecordBatch, accepted: &dyn ColumnSet) -> PyResult<RecordBatch> {
    let schema = batch.schema();
    let given = schema.fields().iter().zip(batch.columns());
    let given = given.map(|(field, column)| (field.name().as_str(), column.clone(), true));
    let lacking =
        required(accepted).filter(|field| batch.column_by_name(field.keyword()).is_none());
    let lacking = lacking.map(|field| (field.keyword(), null(), true));
    RecordBatch::try_from_iter_with_nullable(given.chain(lacking)).map_err(arrow_error)
}

fn required(accepted: &dyn ColumnSet) -> impl Iterator<Item = Field> {
    match accepted.service() {
        Service::EventReport => Field::REQUIRED_OF_EVENTS,
        Service::Action => Field::REQUIRED_OF_ACTIONS,
    }
    .into_iter()
}

fn null() -> ArrayRef {
    Arc::new(NullArray::new(1))
}
