//! The values of one decoded column while it grows.

use std::marker::PhantomData;
use std::mem;

use arrow_buffer::{
    ArrowNativeType, MutableBuffer, NullBuffer, NullBufferBuilder, ScalarBuffer, ToByteSlice,
};

use crate::decode::row::BLOCK_ROWS;
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
        let start = self.length * size_of::<T>();
        let bytes = values.to_byte_slice();
        let end = start + bytes.len();
        if end > self.memory.bytes().len() {
            self.memory.grow(start, end.max(total * size_of::<T>()));
        }
        self.memory.bytes()[start..end].copy_from_slice(bytes);
        self.length += values.len();
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
}

impl<T> Default for Nullable<T> {
    fn default() -> Self {
        Self { values: ColumnValues::default(), valid: NullBufferBuilder::new(0), missing: 0 }
    }
}

impl<T: ArrowNativeType> Nullable<T> {
    /// Appends values to a column that may grow to `total` values.
    pub fn extend(&mut self, values: &[T], present: &Present<'_>, total: usize) {
        match present {
            Present::Never => self.extend_nulls(values.len(), total),
            Present::Always => {
                self.begin(total);
                self.values.extend(values, total);
                self.valid.append_n_non_nulls(values.len());
            }
            Present::Sometimes(fields, field) => {
                self.begin(total);
                let mut found = [T::default(); BLOCK_ROWS];
                for ((found, value), fields) in found.iter_mut().zip(values).zip(*fields) {
                    let has = fields.has(*field);
                    self.valid.append(has);
                    if has {
                        *found = *value;
                    }
                }
                self.values.extend(&found[..values.len()], total);
            }
        }
    }

    /// Appends a later column; `change` maps its values.
    pub fn append(&mut self, later: Self, total: usize, change: Option<&dyn Fn(T) -> T>) {
        if later.missing > 0 {
            return self.extend_nulls(later.missing, total);
        }
        let (values, valid) = later.finish();
        if values.is_empty() {
            return;
        }
        self.begin(total);
        match change {
            None => self.values.extend(&values, total),
            Some(change) => {
                let values: Vec<T> = values.iter().map(|&value| change(value)).collect();
                self.values.extend(&values, total);
            }
        }
        match valid {
            None => self.valid.append_n_non_nulls(values.len()),
            Some(valid) => self.valid.append_buffer(&valid),
        }
    }

    pub fn extend_nulls(&mut self, rows: usize, total: usize) {
        if self.values.length == 0 {
            self.missing += rows;
        } else {
            self.values.extend(&vec![T::default(); rows], total);
            self.valid.append_n_nulls(rows);
        }
    }

    /// Writes the counted leading nulls.
    pub fn begin(&mut self, total: usize) {
        let rows = mem::take(&mut self.missing);
        self.values.extend(&vec![T::default(); rows], total);
        self.valid.append_n_nulls(rows);
    }

    pub fn finish(mut self) -> (ScalarBuffer<T>, Option<NullBuffer>) {
        if self.missing == 0 {
            return (self.values.finish(), self.valid.finish());
        }
        let zeros = MutableBuffer::from_len_zeroed(self.missing * size_of::<T>());
        (ScalarBuffer::from(zeros), Some(NullBuffer::new_null(self.missing)))
    }
}
