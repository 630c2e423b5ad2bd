//! Primitives of fastdimse and pynetdicom, converted to a record batch.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::types::{ByteArrayType, LargeBinaryType, LargeUtf8Type};
use arrow_array::{ArrayRef, GenericByteArray, NullArray, RecordBatch, UInt16Array};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use fastdimse_core::command_set::Value;
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::memory::Memory;
use fastdimse_core::rejection::{Reason, Rejection};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyIterator;

use crate::arrow::error::arrow_error;
use crate::input::columns::{Batch, ColumnSet, is_event};
use crate::input::rows;
use crate::interrupts::interruptible;
use crate::primitive::attributes::{ElementError, ElementValue, MessageValues};
use crate::primitive::latin_1;
use crate::primitive::slots::{DIMSEPrimitive, Service, as_plain};
use crate::primitive::stream::{data_set_bytes, slot_bytes};

/// The `first` primitive and those after it, at most `max_rows`, as a batch; `done` rows were read before,
/// and about `count` are expected. Rows may be mappings instead, with the columns of `accepted`.
pub fn to_batch<'py>(
    first: Bound<'py, PyAny>,
    rest: &Bound<'py, PyIterator>,
    max_rows: usize,
    done: u64,
    count: usize,
    accepted: &dyn ColumnSet,
) -> PyResult<Batch> {
    if accepted.row(&first)?.is_some() {
        return rows::to_batch(first, rest, max_rows, done, accepted);
    }
    if accepted.service() == Service::Action {
        return Err(PyTypeError::new_err(format!(
            "row {done} is {}, not an action: an N_ACTION of fastdimse or pynetdicom, or a mapping",
            first.get_type().name()?
        )));
    }
    let mut rows = PrimitiveColumns::new(count);
    rows.push(&first, done)?;
    for primitive in interruptible(rest.py(), rest.clone().take(max_rows - 1)) {
        rows.push(&primitive?, done + rows.count as u64)?;
    }
    rows.finish()
}

/// Columns to which primitives are appended.
struct PrimitiveColumns {
    numbers: [Numbers; Field::NUMBERS.len()],
    texts: [Strings<LargeUtf8Type>; Field::TEXTS.len()],
    data_sets: [Strings<LargeBinaryType>; Field::DATA_SETS.len()],
    count: usize,
    rejected: Vec<Rejection>,
}

impl PrimitiveColumns {
    fn new(expected: usize) -> Self {
        Self {
            numbers: Default::default(),
            texts: std::array::from_fn(|_| Strings::new(expected)),
            data_sets: std::array::from_fn(|_| Strings::new(expected)),
            count: 0,
            rejected: Vec::new(),
        }
    }

    fn push(&mut self, primitive: &Bound<'_, PyAny>, row: u64) -> PyResult<()> {
        // Most primitives are plain. Reading them in one access, without attribute lookups and reference
        // counts, takes a third of the time.
        if let Some(plain) = as_plain(primitive, Service::EventReport) {
            if self.push_plain(plain)? {
                return Ok(());
            }
        } else if !is_event(primitive)? {
            return Err(PyTypeError::new_err(format!(
                "row {row} is {}, not a primitive: an N_EVENT_REPORT of fastdimse or pynetdicom",
                primitive.get_type().name()?
            )));
        }
        match MessageValues::read(primitive, Service::EventReport) {
            Ok(event) => self.push_values(&event, row)?,
            Err((field, ElementError::Invalid(reason))) => {
                self.rejected.push(Rejection::new(reason).field(field).row(row));
            }
            Err((_, ElementError::Raised(error))) => return Err(error),
        }
        self.count += 1;
        Ok(())
    }

    /// Appends a primitive without unusual values; returns whether it did.
    #[inline]
    fn push_plain(&mut self, primitive: &Bound<'_, DIMSEPrimitive>) -> PyResult<bool> {
        let py = primitive.py();
        let pushed = DIMSEPrimitive::with_slots(primitive, |slots| {
            let (command_set, data_set) = slots.command_set(py)?;
            let kind = command_set.kind;
            for (column, field) in self.numbers.iter_mut().zip(Field::NUMBERS) {
                if let Value::Us(number) = command_set.get(field)
                    && kind.carries(field)
                {
                    column.push(self.count, number);
                }
            }
            for (column, field) in self.texts.iter_mut().zip(Field::TEXTS) {
                if let Value::Text(text) = command_set.get(field)
                    && kind.carries(field)
                {
                    column.push(self.count, text);
                }
            }
            Some((kind, data_set.cloned()))
        })?;
        let Some((kind, data_set)) = pushed else { return Ok(false) };
        if let Some(data_set) = data_set {
            self.push_data_set(kind, slot_bytes(&data_set)?.as_bytes());
        }
        self.count += 1;
        Ok(true)
    }

    fn push_values(&mut self, event: &MessageValues<'_>, row: u64) -> PyResult<()> {
        for (column, field) in self.numbers.iter_mut().zip(Field::NUMBERS) {
            match event.get(field) {
                ElementValue::Us(number) => column.push(self.count, *number),
                ElementValue::UsMany(values) if !values.is_empty() => {
                    let text = format!("{values:?} are several values, but a column has one");
                    let reason = Reason::Value(text.into());
                    self.rejected.push(Rejection::new(reason).field(field).row(row));
                }
                _ => {}
            }
        }
        for (column, field) in self.texts.iter_mut().zip(Field::TEXTS) {
            match event.get(field) {
                ElementValue::Str(text) => column.push(self.count, text.to_str()?.as_bytes()),
                ElementValue::Bytes(text) => {
                    column.push(self.count, latin_1::decode(text).as_bytes());
                }
                _ => {}
            }
        }
        if let Some(stream) = &event.data_set {
            self.push_data_set(event.kind, data_set_bytes(stream)?.as_bytes());
        }
        Ok(())
    }

    #[inline]
    fn push_data_set(&mut self, kind: Kind, data_set: &[u8]) {
        for (column, field) in self.data_sets.iter_mut().zip(Field::DATA_SETS) {
            if kind.data_set() == field {
                column.push(self.count, data_set);
            }
        }
    }

    fn finish(self) -> PyResult<Batch> {
        let rows = self.count;
        let mut columns: Vec<(Field, Option<ArrayRef>)> = Vec::with_capacity(Field::ALL.len());
        for (column, field) in self.numbers.into_iter().zip(Field::NUMBERS) {
            columns.push((field, column.finish(rows)));
        }
        for (column, field) in self.texts.into_iter().zip(Field::TEXTS) {
            columns.push((field, column.finish(rows).map_err(arrow_error)?));
        }
        for (column, field) in self.data_sets.into_iter().zip(Field::DATA_SETS) {
            columns.push((field, column.finish(rows).map_err(arrow_error)?));
        }
        let columns = columns.into_iter().filter_map(|(field, array)| match array {
            None if REQUIRED.contains(&field) => Some((field, Arc::new(NullArray::new(rows)) as _)),
            array => array.map(|array| (field, array)),
        });
        let columns = columns.map(|(field, array)| (field.keyword(), array));
        let batch = RecordBatch::try_from_iter(columns).map_err(arrow_error)?;
        Ok((batch, self.rejected))
    }
}

/// Columns that are present even without values: those required of a table, and the Message ID, which would
/// be numbered if the column were absent.
const REQUIRED: [Field; 4] = [
    Field::MessageID,
    Field::AffectedSOPClassUID,
    Field::AffectedSOPInstanceUID,
    Field::EventTypeID,
];

/// A column of numbers. Nulls after its last value are not stored.
#[derive(Default)]
struct Numbers {
    values: Vec<u16>,
    nulls: Nulls,
}

impl Numbers {
    /// Appends the value of row number `rows`.
    #[inline]
    fn push(&mut self, rows: usize, value: u16) {
        if self.values.len() < rows {
            self.skip_to(rows);
        }
        self.values.push(value);
    }

    #[cold]
    fn skip_to(&mut self, rows: usize) {
        self.nulls.fill(self.values.len(), rows);
        self.values.resize(rows, 0);
    }

    /// An array of `rows` rows; `None` without values.
    fn finish(mut self, rows: usize) -> Option<ArrayRef> {
        if self.values.is_empty() {
            return None;
        }
        self.skip_to(rows);
        Some(Arc::new(UInt16Array::new(self.values.into(), self.nulls.0.finish())))
    }
}

/// A column of byte strings. Nulls after its last value are not stored. Its memory is reused: with new pages
/// each time, a row would take a tenth longer.
struct Strings<T> {
    expected: usize,
    memory: Memory,
    length: usize,
    /// The offset at which each value ends, after a 0.
    ends: Vec<i64>,
    nulls: Nulls,
    kind: PhantomData<T>,
}

impl<T: ByteArrayType<Offset = i64>> Strings<T> {
    /// A column of about `expected` rows.
    fn new(expected: usize) -> Self {
        let (memory, nulls) = (Memory::new(0), Nulls::default());
        Self { expected, memory, length: 0, ends: Vec::new(), nulls, kind: PhantomData }
    }

    /// Appends the value of row number `rows`.
    #[inline]
    fn push(&mut self, rows: usize, value: &[u8]) {
        if self.ends.len() <= rows {
            self.skip_to(rows);
        }
        let end = self.length + value.len();
        match self.memory.bytes().get_mut(self.length..end) {
            Some(room) => room.copy_from_slice(value),
            None => self.grow_for(value),
        }
        self.length = end;
        self.ends.push(end as i64);
    }

    #[cold]
    fn skip_to(&mut self, rows: usize) {
        if self.ends.is_empty() {
            self.ends.reserve(self.expected + 1);
            self.ends.push(0);
        }
        self.nulls.fill(self.ends.len() - 1, rows);
        self.ends.resize(rows + 1, self.length as i64);
    }

    /// Reserves memory for the expected rows, assuming the average length so far: untouched pages cost
    /// nothing.
    #[cold]
    fn grow_for(&mut self, value: &[u8]) {
        let end = self.length + value.len();
        let all = (end / self.ends.len() + 1).saturating_mul(self.expected).min(MAX_RESERVED);
        self.memory.grow(self.length, 2 * end.max(all));
        self.memory.bytes()[self.length..end].copy_from_slice(value);
    }

    /// An array of `rows` rows; `None` without values.
    fn finish(mut self, rows: usize) -> Result<Option<ArrayRef>, ArrowError> {
        if self.ends.is_empty() {
            return Ok(None);
        }
        self.skip_to(rows);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        let values = self.memory.into_buffer(self.length);
        let array = GenericByteArray::<T>::try_new(offsets, values, self.nulls.0.finish())?;
        Ok(Some(Arc::new(array)))
    }
}

/// The maximum number of bytes to reserve in advance.
const MAX_RESERVED: usize = 64 << 20;

/// The null rows of a column. Only nulls are recorded: most columns have none, or long runs.
struct Nulls(NullBufferBuilder);

impl Default for Nulls {
    fn default() -> Self {
        Self(NullBufferBuilder::new(0))
    }
}

impl Nulls {
    /// Records that rows up to `begin` have values and those from `begin` to `end` are null.
    fn fill(&mut self, begin: usize, end: usize) {
        self.0.append_n_non_nulls(begin - self.0.len());
        // The builder stores bits from the first null on, so it must not be called without a null.
        if begin < end {
            self.0.append_n_nulls(end - begin);
        }
    }
}
