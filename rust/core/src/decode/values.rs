//! The values of one decoded column while it grows.

use std::marker::PhantomData;
use std::mem;

use arrow_buffer::{
    ArrowNativeType, Buffer, MutableBuffer, NullBuffer, NullBufferBuilder, ScalarBuffer,
    ToByteSlice,
};

use crate::decode::row::Present;
use crate::memory::Memory;

/// Values of a column, in reused memory.
#[derive(Debug)]
pub struct ColumnValues<T> {
    memory: Memory,
    pub length: usize,
    of: PhantomData<T>,
}

impl<T> Default for ColumnValues<T> {
    fn default() -> Self {
        Self { memory: Memory::new(0), length: 0, of: PhantomData }
    }
}

impl<T: ArrowNativeType> ColumnValues<T> {
    /// Appends values to a column that may grow to `total` values.
    pub fn extend(&mut self, values: &[T], total: usize) {
        self.extend_with(values.len(), total, |out| out.copy_from_slice(values.to_byte_slice()));
    }

    /// Appends `count` values, whose bytes `write` sets, to a column that may grow to `total` values.
    fn extend_with(&mut self, count: usize, total: usize, write: impl FnOnce(&mut [u8])) {
        let start = self.length * size_of::<T>();
        let end = start + count * size_of::<T>();
        if end > self.memory.bytes().len() {
            self.memory.grow(start, end.max(total * size_of::<T>()));
        }
        write(&mut self.memory.bytes()[start..end]);
        self.length += count;
    }

    pub fn finish(self) -> ScalarBuffer<T> {
        let buffer = self.memory.into_buffer(self.length * size_of::<T>());
        ScalarBuffer::new(buffer, 0, self.length)
    }
}

/// A column with nulls. Leading nulls are only counted, since most columns of a stream are empty.
#[derive(Debug)]
pub struct Nullable<T> {
    values: ColumnValues<T>,
    valid: NullBufferBuilder,
    /// The number of rows before the first value.
    missing: usize,
    /// The number of values before that of the first row.
    before: usize,
}

impl<T: ArrowNativeType> Nullable<T> {
    /// A column without rows, with this number of values before that of the first row.
    pub fn new(before: usize) -> Self {
        let valid = NullBufferBuilder::new(0);
        Self { values: ColumnValues::default(), valid, missing: 0, before }
    }

    /// Whether all rows are null.
    fn is_null(&self) -> bool {
        self.values.length == 0
    }

    /// Appends values to a column that may grow to `total` values.
    pub fn extend(&mut self, values: &[T], present: &Present<'_>, total: usize) {
        let write = |out: &mut [u8]| out.copy_from_slice(values.to_byte_slice());
        self.extend_with(values.len(), present, total, write);
    }

    /// Appends `count` values to a column that may grow to `total` values. `write` sets their bytes,
    /// unless all rows of the column are null.
    pub fn extend_with(
        &mut self,
        count: usize,
        present: &Present<'_>,
        total: usize,
        write: impl FnOnce(&mut [u8]),
    ) {
        if self.is_null() {
            if matches!(present, Present::Never) {
                self.missing += count;
                return;
            }
            let missing = mem::take(&mut self.missing);
            self.values.extend(&vec![T::default(); self.before + missing], total + self.before);
            self.valid.append_n_nulls(missing);
        }
        self.values.extend_with(count, total + self.before, write);
        match present {
            Present::Never => self.valid.append_n_nulls(count),
            Present::Always => self.valid.append_n_non_nulls(count),
            Present::Sometimes(fields, field) => {
                fields.iter().for_each(|fields| self.valid.append(fields.has(*field)));
            }
        }
    }

    /// The finished values, and which of them are not null.
    pub fn finish(mut self, nulls: &mut Nulls) -> (ScalarBuffer<T>, Option<NullBuffer>) {
        if !self.is_null() {
            return (self.values.finish(), self.valid.finish());
        }
        let zeros = nulls.zeros((self.before + self.missing) * size_of::<T>());
        (ScalarBuffer::from(zeros), nulls.valid(self.missing))
    }
}

/// The buffers of the columns without a value. All columns of a batch share them.
#[derive(Debug, Default)]
pub struct Nulls {
    zeros: Buffer,
    valid: Option<NullBuffer>,
}

impl Nulls {
    fn zeros(&mut self, bytes: usize) -> Buffer {
        if self.zeros.len() < bytes {
            self.zeros = MutableBuffer::from_len_zeroed(bytes).into();
        }
        self.zeros.slice_with_length(0, bytes)
    }

    fn valid(&mut self, rows: usize) -> Option<NullBuffer> {
        (rows > 0).then(|| {
            let valid = self.valid.take().filter(|valid| valid.len() == rows);
            self.valid.insert(valid.unwrap_or_else(|| NullBuffer::new_null(rows))).clone()
        })
    }
}
