//! The columns of received events: the event, the time, and the peer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt8Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt16Array, UInt64Array,
};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use fastdimse_core::decode;
use fastdimse_core::decode::decode;
use fastdimse_core::field::Field;
use fastdimse_core::options::{Framing, OnInvalid};

use crate::receive::receiver::{Chunk, Origin};

/// The schema of received events.
pub fn schema() -> SchemaRef {
    let text = || DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let mut columns = vec![
        Arc::new(Column::new("Time", time, false)),
        Arc::new(Column::new("SourceAddress", text(), false)),
        Arc::new(Column::new("SourcePort", DataType::UInt16, false)),
        Arc::new(Column::new("CallingAETitle", text(), false)),
        Arc::new(Column::new("CalledAETitle", text(), false)),
        Arc::new(Column::new("Association", DataType::UInt64, false)),
        Arc::new(Column::new("TransferSyntaxUID", text(), true)),
    ];
    columns.extend(decode::columns::schema().fields().iter().cloned());
    Arc::new(Schema::new(columns))
}

/// Converts received events to columns: one row for each event, with the columns of [`schema`].
pub fn received(chunks: &[Chunk]) -> RecordBatch {
    let parts: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.bytes.as_slice()).collect();
    let decoded = decode(&Buffer::from_vec(parts.concat()), Framing::PData, OnInvalid::Skip);
    let begins: Vec<usize> = parts
        .iter()
        .scan(0, |end, part| {
            *end += part.len();
            Some(*end - part.len())
        })
        .collect();
    let of = |&offset: &i64| begins.partition_point(|&begin| begin <= offset as usize) - 1;
    let rows = &decoded.offsets[..decoded.events.num_rows()];
    let places: Vec<usize> = rows.iter().map(of).collect();
    let chunk = || places.iter().map(|&place| &chunks[place]);
    let origin = || chunk().map(|chunk| &*chunk.origin);
    let time = |chunk: &Chunk| {
        let since = chunk.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as i64
    };
    let text = |of: &dyn Fn(&Origin) -> String| texts(chunks, &places, of);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(
            TimestampNanosecondArray::from_iter_values(chunk().map(time)).with_timezone("UTC"),
        ),
        text(&|origin| origin.peer.ip().to_string()),
        Arc::new(UInt16Array::from_iter_values(origin().map(|origin| origin.peer.port()))),
        text(&|origin| origin.accepted.calling.clone()),
        text(&|origin| origin.accepted.called.clone()),
        Arc::new(UInt64Array::from_iter_values(origin().map(|origin| origin.number))),
        transfer_syntaxes(&decoded.events, chunks, &places),
    ];
    columns.extend(decoded.events.columns().iter().cloned());
    debug_assert_eq!(decoded.rejected, [], "an event without a row is rejected on arrival");
    RecordBatch::try_new(schema(), columns).expect("the columns fit the schema")
}

/// A property of the association of each event, as a dictionary.
fn texts(chunks: &[Chunk], places: &[usize], of: &dyn Fn(&Origin) -> String) -> ArrayRef {
    let mut known: HashMap<String, i32> = HashMap::new();
    let mut values = Vec::new();
    let mut key = |chunk: &Chunk| {
        *known.entry(of(&chunk.origin)).or_insert_with_key(|text| {
            values.push(text.clone());
            values.len() as i32 - 1
        })
    };
    let keys: Vec<i32> = chunks.iter().map(&mut key).collect();
    let keys = Int32Array::from_iter_values(places.iter().map(|&place| keys[place]));
    Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(values))))
}

fn transfer_syntaxes(events: &RecordBatch, chunks: &[Chunk], places: &[usize]) -> ArrayRef {
    let contexts = events[Field::PresentationContextID.keyword()].as_primitive::<UInt8Type>();
    let uid = |(row, &place): (usize, &usize)| {
        let known = &chunks[place].origin.accepted.contexts;
        let context = contexts.is_valid(row).then(|| contexts.value(row))?;
        known.get(&context).map(|context| context.transfer_syntax.uid())
    };
    Arc::new(places.iter().enumerate().map(uid).collect::<DictionaryArray<Int32Type>>())
}
