//! The columns of received events: the event, the time, and the peer.

use std::iter;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow_buffer::{Buffer, OffsetBuffer};
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
    let mut number = 0;
    let of = |&offset: &i64| {
        let is_next = |begin: &usize| *begin <= offset as usize;
        number += begins[number + 1..].iter().take_while(|begin| is_next(begin)).count();
        number
    };
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
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        texts(chunks, |origin| origin.peer.ip().to_string()),
        Arc::new(Int32Array::from_iter_values(origins().map(|one| i32::from(one.peer.port())))),
        texts(chunks, |origin| origin.accepted.calling.clone()),
        texts(chunks, |origin| origin.accepted.called.clone()),
        Arc::new(Int64Array::from_iter_values(origins().map(|one| one.number as i64))),
        transfer_syntaxes(events, chunks),
    ];
    columns.extend(events.columns().iter().cloned());
    RecordBatch::try_new(schema(), columns).expect("the columns fit the schema")
}

/// The text of the association of each row. Most rows have the association of the row before.
fn texts(chunks: &[&Chunk], of: impl Fn(&Origin) -> String) -> ArrayRef {
    let (mut values, mut lengths) = (String::new(), Vec::with_capacity(chunks.len()));
    for rows in chunks.chunk_by(|one, other| Arc::ptr_eq(&one.origin, &other.origin)) {
        let text = of(&rows[0].origin);
        values.push_str(&text.repeat(rows.len()));
        lengths.extend(iter::repeat_n(text.len(), rows.len()));
    }
    let values = values.into_bytes().into();
    Arc::new(StringArray::new(OffsetBuffer::from_lengths(lengths), values, None))
}

fn transfer_syntaxes(events: &RecordBatch, chunks: &[&Chunk]) -> ArrayRef {
    let contexts = events[Field::PresentationContextID.keyword()].as_primitive::<Int32Type>();
    let mut uids = StringBuilder::new();
    let (mut last, mut uid) = (None, None);
    for (context, chunk) in contexts.iter().zip(chunks) {
        let this = (context, Arc::as_ptr(&chunk.origin));
        if last != Some(this) {
            last = Some(this);
            let known = context.and_then(|id| chunk.origin.accepted.contexts.get(&(id as u8)));
            uid = known.map(|context| context.transfer_syntax.uid());
        }
        uids.append_option(uid);
    }
    Arc::new(uids.finish())
}
