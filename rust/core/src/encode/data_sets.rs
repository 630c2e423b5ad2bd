//! Encodes structured data sets into a column of bytes, before the events are encoded.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{LargeBinaryArray, RecordBatch, StructArray};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, OffsetBuffer, ScalarBuffer};

use crate::data_set::encode::DataSetColumns;
use crate::data_set::encode::{DataSetEncoder, DataSetOptions};
use crate::data_set::error::DataSetError;
use crate::event_columns::replaced;
use crate::field::Field;
use crate::memory::Memory;
use crate::rejection::{Reason, Rejection, keep_first_of_row};
use crate::schema_error::SchemaError;
use crate::threads::run_in_threads;

/// Returns the batch with its structured data sets encoded, and the rejected rows, whose data sets
/// are null. The first row of the batch has the number `first_row`.
pub fn encode_structured(
    batch: &RecordBatch,
    options: DataSetOptions,
    first_row: u64,
) -> Result<(RecordBatch, Vec<Rejection>), SchemaError> {
    let mut batch = batch.clone();
    let mut known = Vec::new();
    for field in Field::ALL_DATA_SETS {
        let Some(column) = batch.column_by_name(field.keyword()) else { continue };
        let Some(data_sets) = column.as_struct_opt() else { continue };
        let (encoded, found) = encode_column(data_sets, field, options)?;
        batch = replaced(&batch, field, Arc::new(encoded));
        known.extend(found.into_iter().map(|(row, error)| {
            Rejection::new(Reason::DataSet(error)).field(field).row(first_row + row as u64)
        }));
    }
    keep_first_of_row(&mut known);
    Ok((batch, known))
}

/// Encodes several batches, each with the number of its first row, in up to `threads` threads.
pub fn encode_each_structured(
    batches: Vec<(RecordBatch, u64)>,
    options: DataSetOptions,
    threads: usize,
) -> Vec<Result<(RecordBatch, Vec<Rejection>), SchemaError>> {
    let threads = threads.min(batches.len());
    run_in_threads(threads, batches.into_iter(), |(batch, first_row)| {
        encode_structured(&batch, options, first_row)
    })
}

/// Encoded data sets, and the errors by row.
type EncodedColumn = (LargeBinaryArray, Vec<(usize, Box<DataSetError>)>);

fn encode_column(
    data_sets: &StructArray,
    field: Field,
    options: DataSetOptions,
) -> Result<EncodedColumn, SchemaError> {
    let columns = DataSetColumns::new(data_sets, field.keyword())?;
    let mut encoder = DataSetEncoder::new(&columns, options);
    let mut bytes = Memory::new(columns.most_bytes());
    let mut ends = Memory::new((columns.rows + 1) * 8);
    let (offsets, _) = ends.bytes().as_chunks_mut();
    offsets[0] = 0_i64.to_ne_bytes();
    let wrong = encoder.encode_rows(0..columns.rows, bytes.bytes(), &mut offsets[1..]);
    let length = i64::from_ne_bytes(offsets[columns.rows]) as usize;
    let ends = ends.into_buffer((columns.rows + 1) * 8);
    let offsets = OffsetBuffer::new(ScalarBuffer::new(ends, 0, columns.rows + 1));
    let nulls = NullBuffer::union(columns.nulls(), without(columns.rows, &wrong).as_ref());
    Ok((LargeBinaryArray::new(offsets, bytes.into_buffer(length), nulls), wrong))
}

/// A null buffer with these rows null.
fn without(rows: usize, wrong: &[(usize, Box<DataSetError>)]) -> Option<NullBuffer> {
    let mut valid = BooleanBufferBuilder::new(rows);
    valid.append_n(rows, true);
    wrong.iter().for_each(|(row, _)| valid.set_bit(*row, false));
    (!wrong.is_empty()).then(|| NullBuffer::new(valid.finish()))
}
