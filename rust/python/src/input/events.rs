//! The input of users, read as record batches.

use std::sync::{Mutex, MutexGuard};

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use fastdimse_core::rejection::{Rejection, keep_first_of_row};
use fastdimse_core::schema_error::SchemaError;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyMapping, PyString, PyTuple};

use crate::arrow::error::arrow_error;
use crate::arrow::import::{batches, is_arrow};
use crate::errors::Error;
use crate::input::columns::{Batch, ColumnSet};
use crate::input::mapping::from_mapping;
use crate::input::pandas::without_index;
use crate::input::row_objects::{Next, RowObjects};
use crate::input::selection::Selection;
use crate::input::sources::arrow_source;
use crate::input::tables::Tables;
use crate::primitive::slots::Service;

/// Input that is read one batch at a time.
pub enum Events {
    /// An Arrow table or stream, or a mapping of columns.
    Arrow {
        /// The source.
        reader: Box<dyn RecordBatchReader + Send>,
        /// The rest of the batch that was read last.
        rest: Option<RecordBatch>,
        /// Rejected rows, in order.
        rejected: Vec<Rejection>,
        /// The columns that are read, if there are others.
        selection: Option<Selection>,
    },
    /// An iterable of Arrow tables.
    Tables {
        /// The tables.
        tables: Tables,
        /// The rest of the batch that was read last.
        rest: Option<(RecordBatch, Option<Selection>)>,
    },
    /// An iterable of primitives or of mappings, or of Arrow tables before the first is read.
    Objects(RowObjects),
}

impl Events {
    /// Determines the kind of input, which may have these columns; the first row has the number
    /// `first_row`.
    pub fn new(
        events: &Bound<'_, PyAny>,
        accepted: &'static dyn ColumnSet,
        first_row: u64,
    ) -> PyResult<Self> {
        if is_arrow(events)? {
            let reader = without_index(batches(events)?).map_err(arrow_error)?;
            accepted.check_names(&reader.schema())?;
            let selection = Selection::new(&reader.schema(), accepted);
            return Ok(Self::Arrow { reader, rest: None, rejected: Vec::new(), selection });
        }
        if let Ok(columns) = events.cast::<PyMapping>() {
            let (batch, rejected) = from_mapping(columns, accepted, first_row)?;
            accepted.check_names(&batch.schema())?;
            let schema = batch.schema();
            let selection = Selection::new(&schema, accepted);
            let reader = Box::new(RecordBatchIterator::new([Ok(batch)], schema));
            return Ok(Self::Arrow { reader, rest: None, rejected, selection });
        }
        let bytes = events.is_instance_of::<PyBytes>() || events.is_instance_of::<PyByteArray>();
        if bytes || events.is_instance_of::<PyString>() {
            return Err(not_rows(events, accepted)?);
        }
        // Lists and iterators are none: their attributes need not be looked up.
        let is_plain = events.is_instance_of::<PyList>() || events.is_instance_of::<PyTuple>();
        if !is_plain && let Some(source) = arrow_source(events, accepted)? {
            return Self::new(&source, accepted, first_row);
        }
        // One primitive is one row.
        if !is_plain && accepted.is_primitive(events)? {
            return Self::new(PyList::new(events.py(), [events])?.as_any(), accepted, first_row);
        }
        match events.try_iter() {
            Ok(primitives) => {
                let count = match (events.cast::<PyList>(), events.cast::<PyTuple>()) {
                    (Ok(list), _) => list.len(),
                    (_, Ok(tuple)) => tuple.len(),
                    _ => 0,
                };
                Ok(Self::Objects(RowObjects::new(primitives.unbind(), count, accepted)))
            }
            Err(_) => Err(not_rows(events, accepted)?),
        }
    }

    /// Whether the input is finite without running Python code.
    pub fn is_table(&self) -> bool {
        matches!(self, Self::Arrow { .. })
    }

    /// From now on, rejects each row of an iterable that cannot be read, instead of raising its exception.
    pub fn reject_rows(&mut self) {
        if let Self::Objects(rows) = self {
            rows.reject_rows();
        }
    }

    /// The next batch, converted. If its columns are in error, and it is of an iterable whose rows are
    /// rejected, its rows are converted one by one.
    pub fn next_with<T: Send>(
        &mut self,
        py: Python<'_>,
        max_rows: usize,
        done: u64,
        convert: impl Fn(Batch) -> Result<T, SchemaError> + Sync,
    ) -> PyResult<Option<T>> {
        while let Some(mut batch) = self.next(py, max_rows, done)? {
            loop {
                let error = match py.detach(|| convert(batch)) {
                    Ok(converted) => return Ok(Some(converted)),
                    Err(error) => Error::Schema(error).into(),
                };
                let Self::Objects(rows) = self else { return Err(error) };
                match rows.retry(py, error, done)? {
                    Some(rejected) => batch = rejected,
                    None => break,
                }
            }
        }
        Ok(None)
    }

    /// The next batch of at most `max_rows` rows, of which the first has the number `done`.
    pub fn next(&mut self, py: Python<'_>, max_rows: usize, done: u64) -> PyResult<Option<Batch>> {
        match self {
            Self::Objects(rows) => match rows.next(py, max_rows, done)? {
                None => Ok(None),
                Some(Next::Batch(batch)) => {
                    let selection = Selection::new(&batch.0.schema(), rows.accepted());
                    Ok(Some(selected(batch, selection.as_ref(), done)))
                }
                Some(Next::Table(first)) => {
                    let (tables, accepted) = rows.source(py);
                    let tables = Tables::new(&first, tables, accepted)?;
                    *self = Self::Tables { tables, rest: None };
                    self.next(py, max_rows, done)
                }
            },
            Self::Tables { tables, rest } => {
                let next = match rest.take() {
                    Some(next) => Some(next),
                    None => tables.next(py)?,
                };
                let Some((batch, selection)) = next else { return Ok(None) };
                let rows = batch.num_rows().min(max_rows);
                let read = selected((batch.slice(0, rows), Vec::new()), selection.as_ref(), done);
                if rows < batch.num_rows() {
                    *rest = Some((batch.slice(rows, batch.num_rows() - rows), selection));
                }
                Ok(Some(read))
            }
            Self::Arrow { reader, rest, rejected, selection } => {
                let batch = match rest.take() {
                    Some(batch) => Some(Ok(batch)),
                    None if reader.size_hint().1 == Some(0) => None,
                    // Detached, since the reader of another library may need the GIL.
                    None => {
                        py.check_signals()?;
                        py.detach(|| reader.next())
                    }
                };
                let Some(mut batch) = batch.transpose().map_err(arrow_error)? else {
                    return Ok(None);
                };
                let rows = batch.num_rows().min(max_rows);
                if rows < batch.num_rows() {
                    *rest = Some(batch.slice(rows, batch.num_rows() - rows));
                    batch = batch.slice(0, rows);
                }
                let end = done + rows as u64;
                let later = rejected.partition_point(|one| one.row.is_some_and(|row| row < end));
                let here = rejected.drain(..later).collect();
                Ok(Some(selected((batch, here), selection.as_ref(), done)))
            }
        }
    }
}

/// The columns of a batch that are read; its first row has the number `first_row`.
fn selected((batch, mut rejected): Batch, selection: Option<&Selection>, first_row: u64) -> Batch {
    let Some(selection) = selection else { return (batch, rejected) };
    let (batch, found) = selection.apply(&batch, first_row);
    if !found.is_empty() {
        rejected.extend(found);
        keep_first_of_row(&mut rejected);
    }
    (batch, rejected)
}

fn not_rows(events: &Bound<'_, PyAny>, accepted: &dyn ColumnSet) -> PyResult<PyErr> {
    let (rows, primitive) = match accepted.service() {
        Service::EventReport => ("events", "N_EVENT_REPORT"),
        Service::Action => ("actions", "N_ACTION"),
    };
    Ok(PyTypeError::new_err(format!(
        "{rows} must be an Arrow table or stream (anything with __arrow_c_stream__ or \
         __arrow_c_array__), a mapping of columns, a Dataset, a Scanner, a LazyFrame, or an \
         iterable of tables, {primitive} or mappings, not {}",
        events.get_type().name()?,
    )))
}

/// All remaining batches; the first row has the number `first_row`.
pub fn all_batches(py: Python<'_>, mut events: Events, first_row: u64) -> PyResult<Vec<Batch>> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut done = first_row;
    while let Some(batch) = events.next(py, usize::MAX, done)? {
        done += batch.0.num_rows() as u64;
        batches.push(batch);
    }
    Ok(batches)
}

/// Events that an iterator reads one batch at a time.
///
/// They are taken out while a batch is read: that may run Python code, which may call the iterator again.
pub struct RemainingEvents(Mutex<Option<(Events, u64)>>);

impl RemainingEvents {
    /// All of these events.
    pub fn new(events: Events) -> Self {
        Self(Mutex::new(Some((events, 0))))
    }

    /// The events, and how many rows of them were read; `None` after the last batch and after an error.
    pub fn take(&self) -> Option<(Events, u64)> {
        self.lock().take()
    }

    /// Puts the events back, of which `done` rows were read.
    pub fn put_back(&self, events: Events, done: u64) {
        *self.lock() = Some((events, done));
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Events, u64)>> {
        self.0.lock().expect("nothing panics while it is locked")
    }
}
