//! What users hand over as events, made into columns: Arrow tables and streams, mappings of
//! columns, and iterables of primitives, which have a file of their own.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, Int64Array, NullArray, RecordBatch, RecordBatchIterator,
    RecordBatchReader, StringArray, StructArray,
};
use arrow_schema::{Field as Column, Schema, SchemaRef};
use fastdimse_core::event_columns::check_names;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::{Reason, Rejection};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyFloat, PyInt, PyIterator, PyList, PyMapping, PyString, PyTuple,
};
use pyo3_arrow::ffi::{ArrayIterator, to_stream_pycapsule};

use crate::buffer::numbers;
use crate::errors::{column_error, schema_error};
use crate::input::arrow::check::{array, batches, is_arrow};
use crate::input::data_sets::columns as rows;
use crate::input::data_sets::reader::is_structured;
use crate::input::pandas::without_index;
use crate::input::primitives;
use crate::interrupts::interruptible;
use crate::primitive::stream::{bytes_io, data_set_bytes};

pub use crate::input::arrow::check::arrow_error;

/// Events on their way in, a batch at a time.
pub enum Events {
    /// Arrow batches.
    Arrow {
        /// Where they come from.
        reader: Box<dyn RecordBatchReader + Send>,
        /// What was left of the last one.
        rest: Option<RecordBatch>,
        /// Rows that could not become columns, in their order.
        broken: Vec<Rejection>,
    },
    /// Primitives.
    Primitives {
        /// Where they come from.
        primitives: Py<PyIterator>,
        /// About how many there are, 0 if that is not known.
        count: usize,
        /// What rows that are mappings may have.
        accepted: &'static dyn Columns,
    },
}

/// A batch, and the rows of it that could not become columns, which are null there.
pub type Batch = (RecordBatch, Vec<Rejection>);

/// The columns that a table may have.
pub trait Columns: Sync {
    /// Checks the names of a table's columns.
    fn check_names(&self, py: Python<'_>, schema: &SchemaRef) -> PyResult<()>;

    /// Makes an array of the values of a column that is none of an event's; `None` where there is
    /// no such column.
    fn column(&self, name: &str, values: &Bound<'_, PyAny>) -> PyResult<Option<MappedColumn>>;
}

/// Those of events.
struct OfEvents;

impl Columns for OfEvents {
    fn check_names(&self, py: Python<'_>, schema: &SchemaRef) -> PyResult<()> {
        check_names(schema).map_err(|error| schema_error(py, &error))
    }

    fn column(&self, _: &str, _: &Bound<'_, PyAny>) -> PyResult<Option<MappedColumn>> {
        Ok(None)
    }
}

impl Events {
    /// Finds out what `events` is.
    pub fn of(events: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with_columns(events, &OfEvents)
    }

    /// The same, with these columns.
    pub fn with_columns(
        events: &Bound<'_, PyAny>,
        accepted: &'static dyn Columns,
    ) -> PyResult<Self> {
        let py = events.py();
        if is_arrow(events)? {
            let reader = without_index(batches(events)?).map_err(arrow_error)?;
            accepted.check_names(py, &reader.schema())?;
            return Ok(Self::Arrow { reader, rest: None, broken: Vec::new() });
        }
        if let Ok(columns) = events.cast::<PyMapping>() {
            let (batch, broken) = from_mapping(columns, accepted)?;
            accepted.check_names(py, &batch.schema())?;
            let schema = batch.schema();
            let reader = Box::new(RecordBatchIterator::new([Ok(batch)], schema));
            return Ok(Self::Arrow { reader, rest: None, broken });
        }
        let bytes = events.is_instance_of::<PyBytes>() || events.is_instance_of::<PyByteArray>();
        // A lazy frame, of polars or another library, can't be told from an iterable otherwise.
        let lazy = events.hasattr(intern!(py, "collect_schema"))?;
        if bytes || lazy || events.is_instance_of::<PyString>() {
            return Err(not_events(events, lazy)?);
        }
        match events.try_iter() {
            Ok(primitives) => {
                let count = match (events.cast::<PyList>(), events.cast::<PyTuple>()) {
                    (Ok(list), _) => list.len(),
                    (_, Ok(tuple)) => tuple.len(),
                    _ => 0,
                };
                Ok(Self::Primitives { primitives: primitives.unbind(), count, accepted })
            }
            Err(_) => Err(not_events(events, false)?),
        }
    }

    /// Whether it has an end that does not depend on Python code.
    pub fn is_table(&self) -> bool {
        matches!(self, Self::Arrow { .. })
    }

    /// The next batch of at most `most` rows; those before it were `done`.
    pub fn next(&mut self, py: Python<'_>, most: usize, done: u64) -> PyResult<Option<Batch>> {
        match self {
            Self::Primitives { primitives, count, accepted } => {
                let expected = most.min(*count);
                primitives::to_batch(primitives.bind(py), most, done, expected, *accepted)
            }
            Self::Arrow { reader, rest, broken } => {
                let batch = match rest.take() {
                    Some(batch) => Some(Ok(batch)),
                    // A reader may be another library's, or Python's: it takes the GIL if it
                    // needs it.
                    None => {
                        py.check_signals()?;
                        py.detach(|| reader.next())
                    }
                };
                let Some(batch) = batch.transpose().map_err(arrow_error)? else { return Ok(None) };
                let rows = batch.num_rows().min(most);
                if rows < batch.num_rows() {
                    *rest = Some(batch.slice(rows, batch.num_rows() - rows));
                }
                let end = done + rows as u64;
                let later = broken.partition_point(|one| one.row.is_some_and(|row| row < end));
                let here = broken.drain(..later).collect();
                Ok(Some((batch.slice(0, rows), here)))
            }
        }
    }
}

fn not_events(events: &Bound<'_, PyAny>, lazy: bool) -> PyResult<PyErr> {
    Ok(PyTypeError::new_err(format!(
        "events must be an Arrow table or stream (anything with __arrow_c_stream__ or \
         __arrow_c_array__), a mapping of columns or an iterable of N_EVENT_REPORT, not {}{}",
        events.get_type().name()?,
        if lazy { ": .collect() it first" } else { "" }
    )))
}

/// A column of a mapping, before all lengths are known.
pub enum MappedColumn {
    /// A value for each row.
    Array(ArrayRef),
    /// A value for every row.
    Repeated(ArrayRef),
}

fn from_mapping(columns: &Bound<'_, PyMapping>, accepted: &dyn Columns) -> PyResult<Batch> {
    let py = columns.py();
    let mut mapped = Vec::new();
    let mut broken = Vec::new();
    // What is wrong with a value that is there for every row.
    let mut everywhere = Vec::new();
    for item in columns.items()? {
        let (name, values): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let name: String = name
            .extract()
            .map_err(|_| PyTypeError::new_err("the keys of a mapping of columns must be str"))?;
        let column = match Field::from_keyword(&name) {
            Some(field) => from_values(field, &values, &mut broken, &mut everywhere)?,
            None => match accepted.column(&name, &values)? {
                Some(column) => column,
                None => return Err(unknown_column(py, &name, accepted)),
            },
        };
        mapped.push((name, column));
    }
    let rows = common_length(py, &mapped)?;
    let arrays = mapped.into_iter().map(|(name, column)| {
        let array = match column {
            MappedColumn::Array(array) => array,
            MappedColumn::Repeated(value) => repeat(&value, rows)?,
        };
        Ok((name, array))
    });
    let arrays: Vec<(String, ArrayRef)> = arrays.collect::<PyResult<_>>()?;
    for rejection in everywhere {
        broken.extend((0..rows as u64).map(|row| Rejection::clone(&rejection).row(row)));
    }
    broken.sort_by_key(|rejection: &Rejection| rejection.row);
    broken.dedup_by_key(|rejection| rejection.row);
    if arrays.is_empty() {
        return Ok((RecordBatch::new_empty(Arc::new(Schema::empty())), broken));
    }
    let nullable = arrays.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(nullable).map_err(arrow_error)?;
    Ok((batch, broken))
}

/// Unknown columns are refused by their names, whatever their values are.
pub fn unknown_column(py: Python<'_>, name: &str, accepted: &dyn Columns) -> PyErr {
    let schema = Schema::new(vec![Column::new(name, arrow_schema::DataType::Null, true)]);
    match accepted.check_names(py, &Arc::new(schema)) {
        Err(error) => error,
        Ok(()) => column_error(py, format!("unknown column '{name}'"), name),
    }
}

fn common_length(py: Python<'_>, mapped: &[(String, MappedColumn)]) -> PyResult<usize> {
    let mut lengths = mapped.iter().filter_map(|(name, column)| match column {
        MappedColumn::Array(array) => Some((name, array.len())),
        MappedColumn::Repeated(_) => None,
    });
    let Some((first, rows)) = lengths.next() else { return Ok(1) };
    match lengths.find(|(_, length)| *length != rows) {
        Some((name, length)) => {
            let text = format!("'{first}' has {rows} rows, but '{name}' has {length}");
            Err(column_error(py, text, name))
        }
        None => Ok(rows),
    }
}

fn repeat(value: &ArrayRef, rows: usize) -> PyResult<ArrayRef> {
    let indices = Int64Array::from(vec![0; rows]);
    arrow_select::take::take(value, &indices, None).map_err(arrow_error)
}

fn from_values(
    field: Field,
    values: &Bound<'_, PyAny>,
    broken: &mut Vec<Rejection>,
    everywhere: &mut Vec<Rejection>,
) -> PyResult<MappedColumn> {
    let py = values.py();
    if let Some(array) = arrow_array(values, field.keyword())? {
        return Ok(MappedColumn::Array(array));
    }
    let scalar = values.is_none()
        || values.is_instance_of::<PyString>()
        || values.is_instance_of::<PyBytes>()
        || values.is_instance_of::<PyInt>()
        || Field::DATA_SETS.contains(&field) && is_structured(values);
    if scalar {
        let one = [Ok(values.clone())].into_iter();
        return from_iterator(field, one, 0, everywhere).map(MappedColumn::Repeated);
    }
    // A numpy array of numbers is copied as it lies; one of objects is iterated over.
    if is_integer(field)
        && values.hasattr(intern!(py, "dtype"))?
        && let Some(array) = numbers(values)?
    {
        return Ok(MappedColumn::Array(array));
    }
    let Ok(iterator) = values.try_iter() else {
        return Err(PyTypeError::new_err(format!(
            "the column '{}' is {}, it must be an Arrow array, an iterable of values, or one \
             value for all rows",
            field.keyword(),
            values.get_type().name()?
        )));
    };
    from_iterator(field, interruptible(py, iterator), 0, broken).map(MappedColumn::Array)
}

/// An Arrow array of the Python object `values`, if it is one; `name` is what errors call it.
pub fn arrow_array(values: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<ArrayRef>> {
    is_arrow(values)?.then(|| array(values, name)).transpose()
}

fn is_integer(field: Field) -> bool {
    !Field::TEXTS.contains(&field) && !Field::DATA_SETS.contains(&field)
}

/// The values of a column, of which the first is of row `first`.
pub fn from_iterator<'py>(
    field: Field,
    values: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    first: u64,
    broken: &mut Vec<Rejection>,
) -> PyResult<ArrayRef> {
    let values = (first..).zip(values).map(|(row, value)| Ok((row, value?)));
    if is_integer(field) {
        return integers(field, values, broken);
    }
    if Field::TEXTS.contains(&field) {
        let texts = values.map(|value| value.and_then(|(row, value)| text(field, row, &value)));
        return Ok(Arc::new(texts.collect::<PyResult<StringArray>>()?));
    }
    let values: Vec<(u64, Bound<'py, PyAny>)> = values.collect::<PyResult<_>>()?;
    if values.iter().any(|(_, value)| is_structured(value)) {
        return rows::data_sets(field, values, broken);
    }
    let data_sets = values.iter().map(|(row, value)| data_set(field.keyword(), *row, value));
    let data_sets = data_sets.collect::<PyResult<Vec<Option<Vec<u8>>>>>()?;
    Ok(Arc::new(data_sets.into_iter().collect::<BinaryArray>()))
}

fn integers<'py>(
    field: Field,
    values: impl Iterator<Item = PyResult<(u64, Bound<'py, PyAny>)>>,
    broken: &mut Vec<Rejection>,
) -> PyResult<ArrayRef> {
    let mut numbers = Vec::new();
    for value in values {
        let (row, value) = value?;
        if value.is_none() {
            numbers.push(None);
            continue;
        }
        if value.is_instance_of::<PyFloat>() {
            return Err(wrong_value(field.keyword(), row, &value, "an int or None"));
        }
        match value.extract::<i64>() {
            Ok(number) => numbers.push(Some(number)),
            Err(_) if value.is_instance_of::<PyInt>() => {
                let reason = match value.extract::<i128>() {
                    Ok(number) => Reason::OutOfRange(number),
                    Err(_) => Reason::Value("it is outside 0 to 65535 (VR US)".into()),
                };
                broken.push(Rejection::new(reason).field(field).row(row));
                numbers.push(None);
            }
            Err(_) => return Err(wrong_value(field.keyword(), row, &value, "an int or None")),
        }
    }
    if numbers.iter().all(Option::is_none) {
        return Ok(Arc::new(NullArray::new(numbers.len())));
    }
    Ok(Arc::new(Int64Array::from(numbers)))
}

fn text(field: Field, row: u64, value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    match value.cast::<PyString>() {
        Ok(text) => Ok(Some(text.to_str()?.to_owned())),
        Err(_) => Err(wrong_value(field.keyword(), row, value, "a str or None")),
    }
}

/// The bytes of a value of a column of data sets.
pub fn data_set(name: &str, row: u64, value: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    if value.is_none() {
        return Ok(None);
    }
    if value.is_instance(bytes_io(value.py())?)? {
        return Ok(Some(data_set_bytes(value)?.as_bytes().to_vec()));
    }
    match pyo3::buffer::PyBuffer::<u8>::get(value) {
        Ok(buffer) => buffer.to_vec(value.py()).map(Some),
        Err(_) => Err(wrong_value(name, row, value, "bytes-like, io.BytesIO or None")),
    }
}

/// A value that a column can't have.
pub fn wrong_value(name: &str, row: u64, value: &Bound<'_, PyAny>, accepted: &str) -> PyErr {
    match value.get_type().name() {
        Ok(found) => PyTypeError::new_err(format!(
            "row {row} of the column '{name}' is {found}, it must be {accepted}"
        )),
        Err(error) => error,
    }
}

/// Hands a batch over as an Arrow stream of one.
pub fn export_batch<'py>(
    py: Python<'py>,
    batch: RecordBatch,
    requested_schema: Option<Bound<'py, pyo3::types::PyCapsule>>,
) -> PyResult<Bound<'py, pyo3::types::PyCapsule>> {
    let column = Arc::new(Column::new_struct("", batch.schema().fields().clone(), false));
    let array: ArrayRef = Arc::new(StructArray::from(batch));
    let reader = Box::new(ArrayIterator::new([Ok(array)], column));
    Ok(to_stream_pycapsule(py, reader, requested_schema)?)
}
