//! The columns of received events: the event, the time, and the peer.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use fastdimse_core::decode;
use fastdimse_core::decode::{DecodeOptions, Layout, decode};
use fastdimse_core::field::Field;
use fastdimse_core::options::{Framing, OnInvalid};

use crate::receive::receiver::{Chunk, Origin};

/// The schema of received events.
pub fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let mut columns = vec![
        Arc::new(Column::new("Time", time, false)),
        Arc::new(Column::new("SourceAddress", DataType::Utf8, false)),
        Arc::new(Column::new("SourcePort", DataType::Int32, false)),
        Arc::new(Column::new("CallingAETitle", DataType::Utf8, false)),
        Arc::new(Column::new("CalledAETitle", DataType::Utf8, false)),
        Arc::new(Column::new("Association", DataType::Int64, false)),
        Arc::new(Column::new("TransferSyntaxUID", DataType::Utf8, true)),
    ];
    columns.extend(decode::columns::schema(Layout::Plain).fields().iter().cloned());
    Arc::new(Schema::new(columns))
}

/// Converts received events to columns: one row for each event, with the columns of [`schema`], in
/// at least one batch.
pub fn received(chunks: &[Chunk]) -> Vec<RecordBatch> {
    let parts: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.bytes.as_slice()).collect();
    let options = DecodeOptions {
        framing: Framing::PData,
        on_invalid: OnInvalid::Skip,
        layout: Layout::Plain,
    };
    let decoded = decode(&Buffer::from_vec(parts.concat()), options);
    debug_assert_eq!(decoded.rejected, [], "an event without a row is rejected on arrival");
    let begins: Vec<usize> = parts
        .iter()
        .scan(0, |end, part| {
            *end += part.len();
            Some(*end - part.len())
        })
        .collect();
    let of = |&offset: &i64| begins.partition_point(|&begin| begin <= offset as usize) - 1;
    let mut chunk_of_row = decoded.offsets.iter().map(of);
    let batches = decoded.events.iter().map(|events| {
        let of_rows = chunk_of_row.by_ref().take(events.num_rows());
        columns(events, &of_rows.map(|number| &chunks[number]).collect::<Vec<_>>())
    });
    batches.collect()
}

/// The columns of events, each with its chunk.
fn columns(events: &RecordBatch, chunks: &[&Chunk]) -> RecordBatch {
    let time = |chunk: &&Chunk| {
        let since = chunk.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as i64
    };
    let times = TimestampNanosecondArray::from_iter_values(chunks.iter().map(time));
    let origins = || chunks.iter().map(|chunk| &*chunk.origin);
    let texts = |of: &dyn Fn(&Origin) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(origins().map(of)))
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        texts(&|origin| origin.peer.ip().to_string()),
        Arc::new(Int32Array::from_iter_values(origins().map(|one| i32::from(one.peer.port())))),
        texts(&|origin| origin.accepted.calling.clone()),
        texts(&|origin| origin.accepted.called.clone()),
        Arc::new(Int64Array::from_iter_values(origins().map(|one| one.number as i64))),
        transfer_syntaxes(events, chunks),
    ];
    columns.extend(events.columns().iter().cloned());
    RecordBatch::try_new(schema(), columns).expect("the columns fit the schema")
}

fn transfer_syntaxes(events: &RecordBatch, chunks: &[&Chunk]) -> ArrayRef {
    let contexts = events[Field::PresentationContextID.keyword()].as_primitive::<Int32Type>();
    let uid = |(row, chunk): (usize, &&Chunk)| {
        let context = contexts.is_valid(row).then(|| contexts.value(row) as u8)?;
        let known = chunk.origin.accepted.contexts.get(&context);
        known.map(|context| context.transfer_syntax.uid())
    };
    Arc::new(chunks.iter().enumerate().map(uid).collect::<StringArray>())
}
