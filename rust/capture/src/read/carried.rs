//! Keeps the messages of requests without a response from one batch to the next, without the bytes of
//! their streams.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take;

/// Rows of messages, each with a key.
#[derive(Debug, Default)]
pub struct CarriedRows {
    /// For each key, the batch and the row in it.
    places: Vec<(u64, usize)>,
    free: Vec<usize>,
    batches: BTreeMap<u64, CarriedBatch>,
    /// The number of the next batch.
    next: u64,
}

#[derive(Debug)]
struct CarriedBatch {
    rows: RecordBatch,
    /// The key of each row; `None` for a row that was taken.
    keys: Vec<Option<usize>>,
    /// The number of rows with a key.
    count: usize,
}

impl CarriedRows {
    /// Adds rows of a batch, and returns their keys.
    pub fn add(&mut self, messages: &RecordBatch, rows: &[usize]) -> Vec<usize> {
        if rows.is_empty() {
            return Vec::new();
        }
        let indexes: UInt64Array = rows.iter().map(|&row| row as u64).collect();
        let columns = messages.columns().iter();
        let columns = columns.map(|column| take(column, &indexes, None).expect("the rows exist"));
        let rows = compact(messages.schema(), columns.collect());
        let keys: Vec<usize> = (0..indexes.len()).map(|_| self.new_key()).collect();
        self.push(rows, keys.clone());
        keys
    }

    fn new_key(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.places.push((0, 0));
            self.places.len() - 1
        })
    }

    /// Joins batches of about the same size, so that there are few.
    fn push(&mut self, mut rows: RecordBatch, mut keys: Vec<usize>) {
        while let Some(last) = self.batches.last_entry()
            && last.get().count <= 2 * keys.len()
        {
            let last = last.remove();
            let (kept, kept_keys) = last.remaining();
            let joined = concat_batches(&rows.schema(), [&kept, &rows]).expect("equal columns");
            rows = compact(joined.schema(), joined.columns().to_vec());
            keys = [kept_keys, keys].concat();
        }
        for (row, &key) in keys.iter().enumerate() {
            self.places[key] = (self.next, row);
        }
        let count = keys.len();
        let keys = keys.into_iter().map(Some).collect();
        self.batches.insert(self.next, CarriedBatch { rows, keys, count });
        self.next += 1;
    }

    /// Takes the rows with these keys, in this order.
    pub fn take(&mut self, keys: &[usize]) -> Option<RecordBatch> {
        if keys.is_empty() {
            return None;
        }
        let mut used: Vec<(u64, &RecordBatch)> = Vec::new();
        let mut indexes = Vec::with_capacity(keys.len());
        for &key in keys {
            let (batch, row) = self.places[key];
            let place = used.iter().position(|&(other, _)| other == batch);
            let place = place.unwrap_or_else(|| {
                used.push((batch, &self.batches[&batch].rows));
                used.len() - 1
            });
            indexes.push((place, row));
        }
        let batches: Vec<&RecordBatch> = used.iter().map(|&(_, batch)| batch).collect();
        let taken = interleave_record_batch(&batches, &indexes).expect("equal columns");
        keys.iter().for_each(|&key| self.remove(key));
        Some(taken)
    }

    fn remove(&mut self, key: usize) {
        let (number, row) = self.places[key];
        let batch = self.batches.get_mut(&number).expect("the batch of the key");
        batch.keys[row] = None;
        batch.count -= 1;
        self.free.push(key);
        let (count, rows) = (batch.count, batch.keys.len());
        if count == 0 {
            self.batches.remove(&number);
        } else if count < rows / 4 {
            let (rows, keys) = self.batches.remove(&number).expect("the batch").remaining();
            for (row, &key) in keys.iter().enumerate() {
                self.places[key] = (number, row);
            }
            let keys = keys.into_iter().map(Some).collect();
            self.batches.insert(number, CarriedBatch { rows, keys, count });
        }
    }
}

impl CarriedBatch {
    /// The rows with a key, and their keys.
    fn remaining(self) -> (RecordBatch, Vec<usize>) {
        let kept = self.keys.iter().enumerate().filter(|(_, key)| key.is_some());
        let indexes: UInt64Array = kept.map(|(row, _)| row as u64).collect();
        let columns = self.rows.columns().iter();
        let columns = columns.map(|column| take(column, &indexes, None).expect("the rows exist"));
        let rows = compact(self.rows.schema(), columns.collect());
        (rows, self.keys.into_iter().flatten().collect())
    }
}

/// Copies the values of views, which would keep the bytes of all rows alive.
fn compact(schema: SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    let columns = columns.into_iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()) as ArrayRef,
        _ => column,
    });
    RecordBatch::try_new(schema, columns.collect()).expect("the same columns")
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryViewArray, Int32Array};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn batch(numbers: &[i32]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("number", DataType::Int32, false),
            Field::new("bytes", DataType::BinaryView, false),
        ]);
        let bytes = numbers.iter().map(|number| number.to_string().repeat(20));
        let bytes: BinaryViewArray = bytes.map(|text| Some(text.into_bytes())).collect();
        let numbers = Int32Array::from(numbers.to_vec());
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(bytes)]).unwrap()
    }

    #[test]
    fn rows_are_kept_until_they_are_taken() {
        let mut carried = CarriedRows::default();
        let mut keys = Vec::new();
        for start in 0..100 {
            let numbers: Vec<i32> = (start * 10..start * 10 + 10).collect();
            let rows: Vec<usize> = (0..10).step_by(3).collect();
            keys.extend(carried.add(&batch(&numbers), &rows));
            if start % 3 == 0 {
                let taken = carried.take(&[keys.remove(0), keys.pop().unwrap()]).unwrap();
                assert_eq!(taken.num_rows(), 2);
            }
        }
        assert!(carried.batches.len() < 12, "{}", carried.batches.len());
        let taken = carried.take(&keys).unwrap();
        let numbers = taken["number"].as_primitive::<arrow_array::types::Int32Type>();
        assert!(numbers.values().is_sorted());
        for (number, bytes) in numbers.values().iter().zip(taken["bytes"].as_binary_view().iter()) {
            assert_eq!(bytes.unwrap(), number.to_string().repeat(20).as_bytes());
        }
        assert!(carried.batches.is_empty());
        assert_eq!(carried.take(&[]), None);
    }
}
