//! Primitives, ours and pynetdicom's, made into columns.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, UInt16Builder};
use arrow_array::types::{ByteArrayType, LargeBinaryType, LargeUtf8Type};
use arrow_array::{ArrayRef, GenericByteArray, NullArray, RecordBatch};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use fastdimse_core::command_set::{CommandSet, Field, Value};
use fastdimse_core::error::{Reason, Rejection};
use fastdimse_core::memory::Memory;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyIterator;

use crate::codec::{HeldEvent, Refused};
use crate::data_set::data_set_bytes;
use crate::events::{Batch, arrow_error};
use crate::primitive::{DIMSEPrimitive, as_plain};

/// The next primitives, at most `most`, as a batch; the rows before them were `done`, and about
/// `count` are expected.
pub fn to_batch(
    primitives: &Bound<'_, PyIterator>,
    most: usize,
    done: u64,
    count: usize,
) -> PyResult<Option<Batch>> {
    let mut rows = Rows::new(count);
    for primitive in primitives.clone().take(most) {
        rows.push(&primitive?, done + rows.count as u64)?;
    }
    if rows.count == 0 { Ok(None) } else { rows.finish().map(Some) }
}

/// Columns while primitives are added to them.
struct Rows {
    numbers: [UInt16Builder; Field::NUMBERS.len()],
    texts: [Strings<LargeUtf8Type>; Field::TEXTS.len()],
    data_sets: [Strings<LargeBinaryType>; Field::DATA_SETS.len()],
    count: usize,
    broken: Vec<Rejection>,
}

impl Rows {
    fn new(expected: usize) -> Self {
        Self {
            numbers: std::array::from_fn(|_| UInt16Builder::with_capacity(0)),
            texts: std::array::from_fn(|_| Strings::new(expected)),
            data_sets: std::array::from_fn(|_| Strings::new(expected)),
            count: 0,
            broken: Vec::new(),
        }
    }

    fn push(&mut self, primitive: &Bound<'_, PyAny>, row: u64) -> PyResult<()> {
        let py = primitive.py();
        // Most primitives are plain: read in one borrow and with no attribute looked up, they take
        // a third of the time.
        if let Some(plain) = as_plain(primitive) {
            let plain = plain.try_borrow()?;
            if let Some(command_set) = plain.command_set(py) {
                let stream = plain.data_set.as_ref().map(|stream| stream.bind(py));
                return self.push_event(&command_set, stream, row);
            }
        } else if !is_primitive(primitive)? {
            return Err(PyTypeError::new_err(format!(
                "row {row} is {}, not a primitive: an N_EVENT_REPORT of fastdimse or pynetdicom",
                primitive.get_type().name()?
            )));
        }
        match HeldEvent::of(primitive) {
            Ok(event) => {
                let command_set = event.command_set(event.data_set.is_some());
                self.push_event(&command_set, event.data_set.as_ref(), row)
            }
            Err((field, Refused::Rule(reason))) => {
                self.broken.push(Rejection::new(reason).field(field).row(row));
                self.count += 1;
                Ok(())
            }
            Err((_, Refused::Raised(error))) => Err(error),
        }
    }

    #[inline]
    fn push_event(
        &mut self,
        command_set: &CommandSet<'_>,
        stream: Option<&Bound<'_, PyAny>>,
        row: u64,
    ) -> PyResult<()> {
        let kind = command_set.kind;
        for (column, field) in self.numbers.iter_mut().zip(Field::NUMBERS) {
            match command_set.get(field) {
                Value::Us(number) if kind.carries(field) => {
                    if column.len() < self.count {
                        column.append_nulls(self.count - column.len());
                    }
                    column.append_value(number);
                }
                Value::UsMany(values) if !values.is_empty() => {
                    let text = format!("{values:?} are several values, a column has one");
                    let reason = Reason::Value(text.into());
                    self.broken.push(Rejection::new(reason).field(field).row(row));
                }
                _ => {}
            }
        }
        for (column, field) in self.texts.iter_mut().zip(Field::TEXTS) {
            if let Value::Text(text) = command_set.get(field) {
                if text.is_ascii() {
                    column.push(self.count, text);
                } else {
                    let text: String = text.iter().copied().map(char::from).collect();
                    column.push(self.count, text.as_bytes());
                }
            }
        }
        if let Some(stream) = stream {
            let at = usize::from(Field::DATA_SETS[1] == kind.data_set());
            self.data_sets[at].push(self.count, data_set_bytes(stream)?.as_bytes());
        }
        self.count += 1;
        Ok(())
    }

    fn finish(self) -> PyResult<Batch> {
        let rows = self.count;
        let mut columns: Vec<(Field, Option<ArrayRef>)> = Vec::with_capacity(Field::ALL.len());
        for (mut column, field) in self.numbers.into_iter().zip(Field::NUMBERS) {
            let empty = column.is_empty();
            if column.len() < rows {
                column.append_nulls(rows - column.len());
            }
            columns.push((field, (!empty).then(|| Arc::new(column.finish()) as _)));
        }
        for (column, field) in self.texts.into_iter().zip(Field::TEXTS) {
            columns.push((field, column.finish(rows).map_err(arrow_error)?));
        }
        for (column, field) in self.data_sets.into_iter().zip(Field::DATA_SETS) {
            columns.push((field, column.finish(rows).map_err(arrow_error)?));
        }
        let columns = columns.into_iter().filter_map(|(field, array)| match array {
            None if ALWAYS.contains(&field) => Some((field, Arc::new(NullArray::new(rows)) as _)),
            array => array.map(|array| (field, array)),
        });
        let columns = columns.map(|(field, array)| (field.keyword(), array));
        let batch = RecordBatch::try_from_iter(columns).map_err(arrow_error)?;
        Ok((batch, self.broken))
    }
}

/// The columns that are there even if they have no values: those of any table, and the Message ID,
/// which would be counted if there were none.
const ALWAYS: [Field; 4] = [
    Field::MessageID,
    Field::AffectedSOPClassUID,
    Field::AffectedSOPInstanceUID,
    Field::EventTypeID,
];

fn is_primitive(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.is_instance_of::<DIMSEPrimitive>()
        || object.hasattr(intern!(object.py(), "AffectedSOPInstanceUID"))?)
}

/// A column of byte strings, which is only as long as up to its last value; in memory that is used
/// again: with new pages each time a row would take a tenth longer.
struct Strings<T> {
    expected: usize,
    memory: Memory,
    /// Where each ends; before the first stands a 0.
    ends: Vec<i64>,
    nulls: NullBufferBuilder,
    kind: PhantomData<T>,
}

impl<T: ByteArrayType<Offset = i64>> Strings<T> {
    /// A column of about `expected` rows.
    fn new(expected: usize) -> Self {
        let (memory, nulls) = (Memory::new(0), NullBufferBuilder::new(0));
        Self { expected, memory, ends: Vec::new(), nulls, kind: PhantomData }
    }

    /// The value of the row behind the first `rows`.
    #[inline]
    fn push(&mut self, rows: usize, value: &[u8]) {
        if self.ends.len() <= rows {
            self.skip_to(rows);
        }
        let start = self.length();
        let end = start + value.len();
        if end > self.memory.bytes().len() {
            self.grow(end);
        }
        self.memory.bytes()[start..end].copy_from_slice(value);
        self.ends.push(end as i64);
        self.nulls.append_non_null();
    }

    fn length(&self) -> usize {
        self.ends.last().map_or(0, |&end| end as usize)
    }

    /// Adds nulls until there are `rows` rows.
    #[cold]
    fn skip_to(&mut self, rows: usize) {
        let end = self.length() as i64;
        self.ends.reserve(self.expected.max(rows) + 1);
        self.ends.resize(rows + 1, end);
        // Not for nothing: from the first null on each row has a bit.
        if self.nulls.len() < rows {
            self.nulls.append_n_nulls(rows - self.nulls.len());
        }
    }

    /// Makes room for `length` bytes, and for as many rows as are expected if they are like those
    /// until here: what is not touched of it costs nothing.
    #[cold]
    fn grow(&mut self, length: usize) {
        let rows = self.nulls.len() + 1;
        let all = (length / rows + 1).saturating_mul(self.expected).min(MOST_EXPECTED);
        let mut larger = Memory::new(2 * length.max(all));
        let used = self.length();
        larger.bytes()[..used].copy_from_slice(&self.memory.bytes()[..used]);
        self.memory = larger;
    }

    /// An array of `rows` rows, if there are values.
    fn finish(mut self, rows: usize) -> Result<Option<ArrayRef>, ArrowError> {
        if self.nulls.is_empty() {
            return Ok(None);
        }
        let length = self.length();
        self.skip_to(rows);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        let values = self.memory.into_buffer(length);
        let array = GenericByteArray::<T>::try_new(offsets, values, self.nulls.finish())?;
        Ok(Some(Arc::new(array)))
    }
}

/// The most bytes for which there is room before they come.
const MOST_EXPECTED: usize = 64 << 20;
