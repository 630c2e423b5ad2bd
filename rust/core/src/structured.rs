//! Structured data sets in tables of events: encoded before the events are, decoded after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, LargeBinaryArray, RecordBatch, StructArray};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field as Column, Schema};

use crate::columns::SchemaError;
use crate::command_set::Field;
use crate::data_set_columns::DataSetColumns;
use crate::data_set_error::DataSetError;
use crate::data_set_schema::DataSetSchema;
use crate::decode_data_set::{DecodedDataSets, decode_data_sets};
use crate::encode_data_set::{DataSetEncoder, DataSetOptions};
use crate::error::{Reason, Rejection};
use crate::memory::Memory;
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

/// Whether a batch has structured data sets.
pub fn is_structured(schema: &Schema) -> bool {
    Field::DATA_SETS.into_iter().any(|field| {
        let column = schema.column_with_name(field.keyword());
        matches!(column, Some((_, column)) if matches!(column.data_type(), DataType::Struct(_)))
    })
}

fn encode_column(
    data_sets: &StructArray,
    field: Field,
    options: DataSetOptions,
) -> Result<(LargeBinaryArray, Vec<(usize, Box<DataSetError>)>), SchemaError> {
    let columns = DataSetColumns::new(data_sets, field.keyword())?;
    let mut encoder = DataSetEncoder::new(&columns, options);
    let mut wrong = Vec::new();
    let mut bytes = Memory::new(columns.most_bytes());
    let mut ends = Memory::new((columns.rows + 1) * 8);
    let mut valid = NullBufferBuilder::new(columns.rows);
    let out = bytes.bytes();
    let (offsets, _) = ends.bytes().as_chunks_mut();
    offsets[0] = 0_i64.to_ne_bytes();
    let mut at = 0;
    for (row, end) in (0..columns.rows).zip(&mut offsets[1..]) {
        let written = match columns.is_null(row) {
            true => None,
            false => match encoder.encode(row, &mut out[at..]) {
                Ok(length) => Some(length),
                Err(error) => {
                    wrong.push((row, error));
                    None
                }
            },
        };
        at += written.unwrap_or(0);
        valid.append(written.is_some());
        *end = (at as i64).to_ne_bytes();
    }
    let ends = ends.into_buffer((columns.rows + 1) * 8);
    let offsets = OffsetBuffer::new(ScalarBuffer::new(ends, 0, columns.rows + 1));
    Ok((LargeBinaryArray::new(offsets, bytes.into_buffer(at), valid.finish()), wrong))
}

fn replaced(batch: &RecordBatch, field: Field, column: ArrayRef) -> RecordBatch {
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

/// The batch with the data sets of a column decoded, the rows whose data sets are wrong, with where in
/// `stream` that is, and how many elements a given schema left out.
pub fn decode_structured(
    batch: &RecordBatch,
    field: Field,
    stream: &Buffer,
    syntax: TransferSyntax,
    schema: Option<&DataSetSchema>,
) -> (RecordBatch, Vec<(usize, Rejection)>, BTreeMap<String, u64>) {
    let data_sets = batch[field.keyword()].as_binary_view();
    let DecodedDataSets { rows, wrong, left_out } = decode_data_sets(data_sets, syntax, schema);
    let wrong = wrong.into_iter().map(|(row, error)| {
        let data_set = data_sets.value(row);
        let offset = error.offset;
        let rejection = Rejection::new(Reason::DataSet(error)).field(field);
        // A data set that was joined from fragments has no one place in the stream.
        let start = (data_set.as_ptr() as usize).checked_sub(stream.as_ptr() as usize);
        let start = start.filter(|start| start + data_set.len() <= stream.len());
        let rejection = match (start, offset) {
            (Some(start), Some(offset)) => rejection.at(start + offset),
            (Some(start), None) => rejection.at(start),
            (None, _) => rejection,
        };
        (row, rejection)
    });
    let wrong = wrong.collect();
    let path = |name: String| format!("{}.{name}", field.keyword());
    let left_out = left_out.into_iter().map(|(name, count)| (path(name), count)).collect();
    (replaced(batch, field, Arc::new(rows)), wrong, left_out)
}
