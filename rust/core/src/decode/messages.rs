//! Decodes a column of messages: as many events as there are rows.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, GenericBinaryArray, OffsetSizeTrait, RecordBatch};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::nullif::nullif;

use crate::cache::load_messages_ahead;
use crate::decode::columns::{DecodedColumns, schema};
use crate::decode::data_sets::{Structure, WrongDataSets};
use crate::decode::layout::{CellLayout, Layout, Plain, Views};
use crate::decode::row::{Row, Span};
use crate::decode::sink::EventSink;
use crate::decode::stream::Decoder;
use crate::decode::template::Templates;
use crate::decode::views::plain;
use crate::options::OnInvalid;
use crate::pdu::read::Pdv;
use crate::registers::{Vectorized, in_widest_registers};
use crate::rejection::{Reason, Rejection};

/// The events of a column of messages.
#[derive(Debug)]
pub struct DecodedMessages {
    /// One row for each message, in at least one batch. A row without an event is null in all
    /// columns.
    pub events: Vec<RecordBatch>,
    /// The rows whose message is not null and cannot be decoded, in order.
    pub rejected: Vec<(usize, Rejection)>,
}

/// The schema of the events of messages.
pub fn messages_schema(structure: &Structure) -> SchemaRef {
    let structured = structure.columns.iter().map(|(field, attributes)| {
        let attributes = attributes.clone().unwrap_or_default();
        (field.keyword(), DataType::Struct(attributes.fields()))
    });
    let structured: BTreeMap<_, _> = structured.collect();
    let plain = schema(Layout::Plain);
    let columns =
        plain.fields().iter().map(|column| match structured.get(column.name().as_str()) {
            Some(data_type) => Arc::new(column.as_ref().clone().with_data_type(data_type.clone())),
            None => column.clone(),
        });
    Arc::new(Schema::new(columns.collect::<Vec<_>>()))
}

/// Decodes the messages of a column, each with its data set, in P-DATA-TF PDUs. Each structured
/// column must have a schema.
pub fn decode_messages<O: OffsetSizeTrait>(
    messages: &GenericBinaryArray<O>,
    structure: &Structure,
) -> DecodedMessages {
    if structure.columns.is_empty() {
        return decode_to::<Plain, O>(messages);
    }
    let DecodedMessages { events, mut rejected } = decode_to::<Views, O>(messages);
    let [events] = &events[..] else { unreachable!("columns of views have no maximum length") };
    let (mut structured, wrong, _) = structure.decode(events);
    if !wrong.is_empty() {
        structured = without(&structured, &wrong);
        rejected.extend(wrong.into_iter().map(|(row, (field, error))| {
            (row, Rejection::new(Reason::DataSet(error)).field(field))
        }));
        rejected.sort_by_key(|(row, _)| *row);
    }
    DecodedMessages { events: plain(structured), rejected }
}

/// The events, without these rows.
fn without(events: &RecordBatch, wrong: &WrongDataSets) -> RecordBatch {
    let mask: BooleanArray =
        (0..events.num_rows()).map(|row| Some(wrong.contains_key(&row))).collect();
    let columns = events.columns().iter();
    let columns = columns.map(|column| nullif(column, &mask).expect("columns of one length"));
    RecordBatch::try_new(events.schema(), columns.collect()).expect("as many rows as before")
}

fn decode_to<L: CellLayout, O: OffsetSizeTrait>(
    messages: &GenericBinaryArray<O>,
) -> DecodedMessages {
    in_widest_registers(Rows { messages, layout: PhantomData::<L> })
}

/// The rows of a column of messages.
struct Rows<'a, L, O: OffsetSizeTrait> {
    messages: &'a GenericBinaryArray<O>,
    layout: PhantomData<L>,
}

impl<L: CellLayout, O: OffsetSizeTrait> Vectorized for Rows<'_, L, O> {
    type Output = DecodedMessages;

    #[inline(always)]
    fn run(self) -> DecodedMessages {
        let messages = self.messages;
        let stream: &Buffer = messages.values();
        let mut columns = DecodedColumns::<L>::new(stream, Vec::new());
        let mut rejected = Vec::new();
        let mut templates = Templates::default();
        for (row, ends) in messages.offsets().windows(2).enumerate() {
            let message = ends[0].as_usize()..ends[1].as_usize();
            let is_valid = messages.is_valid(row);
            load_messages_ahead(stream, message.end, message.len());
            // Most messages are complete.
            let is_full = if is_valid
                && let Some(found) = templates.find(stream, message.start)
                && found.end() == message.end
            {
                columns.push_similar(&found)
            } else if is_valid
                && let Some(found) = templates.read(stream, message.start)
                && found.end == message.end
            {
                columns.push(&found.row, found.data_set)
            } else {
                match is_valid.then(|| decode_one(&mut columns, message)) {
                    Some(Ok((event, data_set))) => columns.push(&event, data_set),
                    Some(Err(rejection)) => {
                        rejected.push((row, rejection));
                        columns.push_null()
                    }
                    None => columns.push_null(),
                }
            };
            if is_full {
                columns.flush(messages.len());
            }
        }
        let (events, _) = columns.finish();
        DecodedMessages { events, rejected }
    }
}

/// Reads the only message in a part of the stream, by all rules.
#[cold]
fn decode_one<L: CellLayout>(
    columns: &mut DecodedColumns<'_, L>,
    message: Range<usize>,
) -> Result<(Row, Option<Span>), Rejection> {
    let stream = &columns.stream()[..message.end];
    let sink = OneEvent { columns, event: None, count: 0 };
    let mut decoder = Decoder::new(stream, OnInvalid::Skip, message.clone(), sink);
    decoder.read_pdus();
    decoder.end_stream();
    let (OneEvent { event, count, .. }, rejected, skipped) = decoder.into_parts();
    if let Some(rejection) = rejected.into_iter().next() {
        let offset = rejection.offset.map(|offset| offset - message.start as u64);
        return Err(Rejection { row: None, offset, ..rejection });
    }
    match event {
        Some(event) if count == 1 && skipped.is_empty() => Ok(event),
        _ => Err(Rejection::new(Reason::NotOneMessage { found: contents(count, &skipped) })),
    }
}

/// What bytes contain, for an error.
fn contents(events: usize, skipped: &BTreeMap<&'static str, u64>) -> Box<str> {
    let events = (events > 0).then(|| format!("{events} N-EVENT-REPORT"));
    let skipped = skipped.iter().map(|(name, count)| format!("{count} {name}"));
    let all: Vec<String> = events.into_iter().chain(skipped).collect();
    if all.is_empty() { "none".into() } else { all.join(" and ").into() }
}

/// Receives the event of a row before it becomes a row of the columns.
struct OneEvent<'c, 's, L: CellLayout> {
    columns: &'c mut DecodedColumns<'s, L>,
    event: Option<(Row, Option<Span>)>,
    count: usize,
}

impl<L: CellLayout> EventSink for OneEvent<'_, '_, L> {
    fn bytes(&self, span: Span) -> &[u8] {
        self.columns.bytes(span)
    }

    fn join(&mut self, before: Option<Span>, pdv: &Pdv<'_>) -> Span {
        self.columns.join(before, pdv)
    }

    fn text(&mut self, span: Span) -> Span {
        self.columns.text(span)
    }

    fn rows(&self) -> usize {
        self.count
    }

    fn push(&mut self, row: &Row, data_set: Option<Span>) -> bool {
        self.count += 1;
        self.event.get_or_insert((*row, data_set));
        false
    }

    fn flush(&mut self, _: usize) {}
}
