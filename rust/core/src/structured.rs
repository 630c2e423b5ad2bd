//! Structured data sets in tables of events: encoded before the events are, where that can't be done
//! with them, and decoded after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray, LargeBinaryArray, RecordBatch, StructArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field as Column, Schema};
use arrow_select::filter::filter_record_batch;

use crate::columns::SchemaError;
use crate::command_set::Field;
use crate::data_set_columns::DataSetColumns;
use crate::data_set_error::DataSetError;
use crate::data_set_schema::DataSetSchema;
use crate::decode::Decoded;
use crate::decode_data_set::decode_data_sets;
use crate::encode::OnInvalid;
use crate::encode_data_set::{DataSetEncoder, DataSetOptions};
use crate::error::{Reason, Rejection};
use crate::memory::Memory;
use crate::parts::side_by_side;
use crate::transfer_syntax::TransferSyntax;

/// The batch with its structured data sets encoded, and the rows for which that is not possible,
/// whose data sets are null then. Its first row is row `first_row` in messages.
pub fn encode_structured(
    batch: &RecordBatch,
    options: DataSetOptions,
    first_row: u64,
) -> Result<(RecordBatch, Vec<Rejection>), SchemaError> {
    let mut batch = batch.clone();
    let mut broken = Vec::new();
    for field in Field::DATA_SETS {
        let Some(column) = batch.column_by_name(field.keyword()) else { continue };
        let Some(data_sets) = column.as_struct_opt() else { continue };
        let (encoded, found) = encode_column(data_sets, field, options)?;
        batch = replaced(&batch, field, Arc::new(encoded));
        broken.extend(found.into_iter().map(|(row, error)| {
            Rejection::new(Reason::DataSet(error)).field(field).row(first_row + row as u64)
        }));
    }
    // What is found first in a row is what is said of it.
    broken.sort_by_key(|rejection| rejection.row);
    broken.dedup_by_key(|rejection| rejection.row);
    Ok((batch, broken))
}

/// Does the same with several batches, each with the number of its first row, in at most so many
/// threads.
pub fn encode_each_structured(
    batches: Vec<(RecordBatch, u64)>,
    options: DataSetOptions,
    threads: usize,
) -> Vec<Result<(RecordBatch, Vec<Rejection>), SchemaError>> {
    let threads = threads.min(batches.len());
    side_by_side(threads, batches.into_iter(), |(batch, first_row)| {
        encode_structured(&batch, options, first_row)
    })
}

/// Whether a batch has structured data sets.
pub fn is_structured(schema: &Schema) -> bool {
    Field::DATA_SETS.into_iter().any(|field| {
        let column = schema.column_with_name(field.keyword());
        matches!(column, Some((_, column)) if matches!(column.data_type(), DataType::Struct(_)))
    })
}

/// Encoded data sets, and what is wrong with those that could not be.
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

/// All rows but those with which something is wrong.
fn without(rows: usize, wrong: &[(usize, Box<DataSetError>)]) -> Option<NullBuffer> {
    let mut valid = BooleanBufferBuilder::new(rows);
    valid.append_n(rows, true);
    wrong.iter().for_each(|(row, _)| valid.set_bit(*row, false));
    (!wrong.is_empty()).then(|| NullBuffer::new(valid.finish()))
}

/// The batch with another column of a field.
pub fn replaced(batch: &RecordBatch, field: Field, column: ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(of, array)| {
        match of.name() == field.keyword() {
            true => {
                let data_type = column.data_type().clone();
                (Arc::new(Column::new(field.keyword(), data_type, true)), column.clone())
            }
            false => (of.clone(), array.clone()),
        }
    });
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("as many rows as before")
}

/// Which of the decoded data sets become structured, and how.
#[derive(Debug, Default)]
pub struct Structure {
    /// The transfer syntax that they are in.
    pub syntax: TransferSyntax,
    /// The columns, and the schema of each where one is given.
    pub columns: Vec<(Field, Option<DataSetSchema>)>,
}

/// Decoded events with structured data sets.
#[derive(Debug)]
pub struct StructuredEvents {
    /// The events. Those whose data sets are wrong are rejected too.
    pub decoded: Decoded,
    /// The same rows with structured data sets.
    pub structured: RecordBatch,
    /// How many elements of data sets given schemas left out, by their paths.
    pub omitted: BTreeMap<String, u64>,
}

/// Decodes the data sets of events that were decoded from `stream`.
pub fn decode_structured(
    mut decoded: Decoded,
    stream: &Buffer,
    structure: &Structure,
    on_invalid: OnInvalid,
) -> StructuredEvents {
    let mut structured = decoded.events.clone();
    let mut wrong: BTreeMap<usize, Rejection> = BTreeMap::new();
    let mut omitted = BTreeMap::new();
    for (field, schema) in &structure.columns {
        let data_sets = decoded.events[field.keyword()].as_binary_view();
        let found = decode_data_sets(data_sets, structure.syntax, schema.as_ref());
        omitted.extend(found.left_out_of(*field));
        for (row, error) in found.wrong {
            let begin = decoded.offsets[row] as usize;
            let rejection = placed(error, data_sets.value(row), stream, begin);
            wrong.entry(row).or_insert(rejection.field(*field));
        }
        structured = replaced(&structured, *field, Arc::new(found.rows));
    }
    if !wrong.is_empty() {
        let kept = reject(&mut decoded, wrong, on_invalid);
        structured = filter_record_batch(&structured, &kept).expect("as many rows as before");
    }
    StructuredEvents { decoded, structured, omitted }
}

/// What is wrong with a data set, and where in `stream`. One that was joined from fragments, or is
/// so short that Arrow keeps it in its view, has no place there: its message's beginning serves.
fn placed(error: Box<DataSetError>, data_set: &[u8], stream: &Buffer, begin: usize) -> Rejection {
    let start = (data_set.as_ptr() as usize).wrapping_sub(stream.as_ptr() as usize);
    let lies = start.checked_add(data_set.len()).is_some_and(|end| end <= stream.len());
    let at = if lies { start + error.offset.unwrap_or(0) } else { begin };
    Rejection::new(Reason::DataSet(error)).at(at)
}

/// Takes rows out of the events, and returns which were kept.
fn reject(
    decoded: &mut Decoded,
    wrong: BTreeMap<usize, Rejection>,
    on_invalid: OnInvalid,
) -> BooleanArray {
    let rows = decoded.events.num_rows();
    let first = *wrong.keys().next().expect("a row is wrong");
    let keep = |row: usize| match on_invalid {
        OnInvalid::Raise => row < first,
        OnInvalid::Skip => !wrong.contains_key(&row),
    };
    let kept: BooleanArray = (0..rows).map(|row| Some(keep(row))).collect();
    let numbers = numbers(rows, &decoded.rejected);
    decoded.events = filter_record_batch(&decoded.events, &kept).expect("as many rows as before");
    let offsets = decoded.offsets.iter().enumerate();
    decoded.offsets = offsets.filter(|(row, _)| kept.value(*row)).map(|(_, at)| *at).collect();
    let found = wrong.into_iter().map(|(row, rejection)| rejection.row(numbers[row]));
    match on_invalid {
        OnInvalid::Raise => decoded.rejected = found.take(1).collect(),
        OnInvalid::Skip => {
            decoded.rejected.extend(found);
            decoded.rejected.sort_by_key(|rejection| rejection.row);
        }
    }
    kept
}

/// The number in the stream of each of the events, between those that were rejected.
fn numbers(rows: usize, rejected: &[Rejection]) -> Vec<u64> {
    let mut rejected = rejected.iter().filter_map(|rejection| rejection.row).peekable();
    let mut next = 0;
    let mut number = || {
        while rejected.next_if_eq(&next).is_some() {
            next += 1;
        }
        next += 1;
        next - 1
    };
    (0..rows).map(|_| number()).collect()
}
