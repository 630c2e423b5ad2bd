//! The columns of decoded events.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};

use crate::decode::layout::{CellLayout, FIELDS, Layout, Source, place};
use crate::decode::row::BLOCK_ROWS;
use crate::decode::row::{Fields, Origin, Present, Row, Span};
use crate::decode::sink::EventSink;
use crate::decode::values::{ColumnValues, Nullable};
use crate::field::Field;
use crate::pdu::read::Pdv;

/// The schema of decoded events.
pub fn schema(layout: Layout) -> SchemaRef {
    let columns = Field::ALL.map(|field| {
        let data_type = match FIELDS.contains(&field) {
            true => layout.data_type(field),
            // Some engines do not have unsigned integers.
            false => DataType::Int32,
        };
        Column::new(field.keyword(), data_type, true)
    });
    Arc::new(Schema::new(columns.to_vec()))
}

/// A batch of decoded actions with the names of their fields.
pub fn columns_of_actions(batch: &RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().map(|column| {
        match Field::from_keyword(column.name()).map(Field::with_meaning_in_actions) {
            Some(field) => Arc::new(column.as_ref().clone().with_name(field.keyword())),
            None => column.clone(),
        }
    });
    let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, batch.columns().to_vec()).expect("only names changed")
}

/// The fields that are numbers in columns.
const NUMBERS: [Field; 6] = [
    Field::MessageID,
    Field::MessageIDBeingRespondedTo,
    Field::EventTypeID,
    Field::Status,
    Field::ErrorID,
    Field::PresentationContextID,
];

/// A block of decoded events. An absent number is 0, and an absent value has a span without bytes.
#[derive(Debug)]
struct RowBlock {
    rows: usize,
    fields: [Fields; BLOCK_ROWS],
    numbers: [[i32; BLOCK_ROWS]; NUMBERS.len()],
    spans: [[Span; BLOCK_ROWS]; FIELDS.len()],
    offsets: [i64; BLOCK_ROWS],
}

impl Default for RowBlock {
    fn default() -> Self {
        Self {
            rows: 0,
            fields: [Fields::NONE; BLOCK_ROWS],
            numbers: [[0; BLOCK_ROWS]; NUMBERS.len()],
            spans: [[Span::default(); BLOCK_ROWS]; FIELDS.len()],
            offsets: [0; BLOCK_ROWS],
        }
    }
}

impl RowBlock {
    /// Which of these rows have a field.
    fn present(&self, field: Field, rows: Range<usize>) -> Present<'_> {
        let fields = &self.fields[rows];
        if fields.iter().fold(Fields::ALL, |all, &one| all.and(one)).has(field) {
            Present::Always
        } else if fields.iter().any(|one| one.has(field)) {
            Present::Sometimes(fields, field)
        } else {
            Present::Never
        }
    }
}

/// The columns while events are added.
#[derive(Debug)]
pub struct DecodedColumns<'a, L: CellLayout> {
    stream: &'a Buffer,
    block: Box<RowBlock>,
    batch: BatchColumns<L>,
    /// The batches before `batch`.
    finished: Vec<RecordBatch>,
    offsets: ColumnValues<i64>,
    joined: Vec<u8>,
}

/// The columns of a batch.
#[derive(Debug)]
struct BatchColumns<L: CellLayout> {
    rows: usize,
    numbers: [Nullable<i32>; NUMBERS.len()],
    cells: [Nullable<L::Cell>; FIELDS.len()],
    bytes: L,
}

impl<L: CellLayout> BatchColumns<L> {
    fn new(stream: &Buffer) -> Self {
        Self {
            rows: 0,
            numbers: NUMBERS.map(|_| Nullable::new(0)),
            cells: FIELDS.map(|_| Nullable::new(L::BEFORE)),
            bytes: L::new(stream),
        }
    }

    /// Appends rows of a block, to columns that may grow to `total` rows.
    fn extend(&mut self, block: &RowBlock, rows: Range<usize>, source: Source<'_>, total: usize) {
        self.rows += rows.len();
        for (place, field) in NUMBERS.into_iter().enumerate() {
            let values = &block.numbers[place][rows.clone()];
            self.numbers[place].extend(values, &block.present(field, rows.clone()), total);
        }
        let growth = total as f64 / self.rows as f64;
        let mut cells = [L::Cell::default(); BLOCK_ROWS];
        for (place, field) in FIELDS.into_iter().enumerate() {
            let (spans, cells) = (&block.spans[place][rows.clone()], &mut cells[..rows.len()]);
            let present = block.present(field, rows.clone());
            // Most columns of most streams are empty.
            if self.cells[place].is_null() && matches!(present, Present::Never) {
                self.cells[place].extend_nulls(rows.len());
                continue;
            }
            self.bytes.extend(place, source, spans, growth, cells);
            self.cells[place].extend(cells, &present, total);
        }
    }

    fn finish(self, stream: &Buffer, joined: &mut Vec<u8>) -> RecordBatch {
        let numbers = self.numbers.map(|column| {
            let (values, valid) = column.finish();
            Arc::new(PrimitiveArray::<Int32Type>::new(values, valid)) as ArrayRef
        });
        let cells = self.cells.map(Nullable::finish);
        let others = self.bytes.finish(stream, joined, cells);
        let columns = Field::ALL.map(|field| {
            let number = NUMBERS.iter().position(|one| *one == field);
            number.map_or_else(|| others[place(field)].clone(), |at| numbers[at].clone())
        });
        RecordBatch::try_new(schema(L::LAYOUT), columns.to_vec()).expect("the columns fit")
    }
}

impl<'a, L: CellLayout> DecodedColumns<'a, L> {
    /// Columns without rows; `joined` are the bytes of a message that began before the stream.
    pub fn new(stream: &'a Buffer, joined: Vec<u8>) -> Self {
        Self {
            stream,
            block: Box::default(),
            batch: BatchColumns::new(stream),
            finished: Vec::new(),
            offsets: ColumnValues::default(),
            joined,
        }
    }

    /// Moves rows of the block into the columns, which may grow to `total` rows. If a batch would be
    /// too large, the rows are divided.
    fn add_rows(&mut self, rows: Range<usize>, total: usize) {
        let spans = self.block.spans.iter().flat_map(|spans| &spans[rows.clone()]);
        let bytes: usize = spans.map(|span| span.length).sum();
        if bytes > L::MOST_BYTES - self.batch.bytes.bytes() {
            self.end_batch();
        }
        if bytes > L::MOST_BYTES && rows.len() > 1 {
            let middle = rows.start.midpoint(rows.end);
            self.add_rows(rows.start..middle, total);
            return self.add_rows(middle..rows.end, total);
        }
        let before = self.offsets.length - self.batch.rows;
        let of_batch = total.saturating_sub(before).max(self.batch.rows + rows.len());
        let source = Source { stream: self.stream, joined: &self.joined };
        self.batch.extend(&self.block, rows.clone(), source, of_batch);
        self.offsets.extend(&self.block.offsets[rows], total);
    }

    /// Begins a new batch. The block keeps its rows.
    fn end_batch(&mut self) {
        let batch = mem::replace(&mut self.batch, BatchColumns::new(self.stream));
        if batch.rows > 0 {
            self.finished.push(batch.finish(self.stream, &mut self.joined));
        }
    }

    #[inline(always)]
    fn set_span(&mut self, field: Field, span: Option<Span>) {
        self.block.spans[place(field)][self.block.rows] = span.unwrap_or_default();
    }

    /// Ends the rows: another part of the stream follows, or none.
    fn end_rows(&mut self) {
        self.flush(self.rows());
        self.end_batch();
    }

    /// The stream.
    pub fn stream(&self) -> &'a Buffer {
        self.stream
    }

    /// Takes the joined bytes. There are no rows yet that need them.
    pub fn take_joined(&mut self) -> Vec<u8> {
        mem::take(&mut self.joined)
    }

    /// Adds a row without an event. Returns whether the block is full.
    pub fn push_null(&mut self) -> bool {
        let at = self.block.rows;
        let block = &mut *self.block;
        block.fields[at] = Fields::NONE;
        block.numbers.iter_mut().for_each(|numbers| numbers[at] = 0);
        block.spans.iter_mut().for_each(|spans| spans[at] = Span::default());
        block.offsets[at] = 0;
        block.rows = at + 1;
        block.rows == BLOCK_ROWS
    }

    /// Appends the rows of a later part of the same stream.
    pub fn append(&mut self, mut later: Self) {
        self.end_rows();
        later.end_rows();
        self.finished.append(&mut later.finished);
        let total = self.rows() + later.rows();
        self.offsets.extend(&later.offsets.finish(), total);
    }

    /// The finished batches, and the offset of each event.
    pub fn finish(mut self) -> (Vec<RecordBatch>, ScalarBuffer<i64>) {
        self.end_rows();
        if self.finished.is_empty() {
            let none = BatchColumns::<L>::new(self.stream);
            self.finished.push(none.finish(self.stream, &mut self.joined));
        }
        (self.finished, self.offsets.finish())
    }
}

impl<L: CellLayout> EventSink for DecodedColumns<'_, L> {
    #[inline]
    fn bytes(&self, span: Span) -> &[u8] {
        Source { stream: self.stream, joined: &self.joined }.bytes(span)
    }

    fn rows(&self) -> usize {
        self.offsets.length + self.block.rows
    }

    // A single fragment stays where it is in the stream; several are copied together.
    fn join(&mut self, before: Option<Span>, pdv: &Pdv<'_>) -> Span {
        let length = pdv.fragment.len();
        let Some(before) = before else {
            return Span { origin: Origin::Stream, start: pdv.fragment_at, length };
        };
        let start = if before.is_joined() { before.start } else { self.joined.len() };
        if !before.is_joined() {
            let first = &self.stream[before.start..before.start + before.length];
            self.joined.extend_from_slice(first);
        }
        self.joined.extend_from_slice(pdv.fragment);
        Span { origin: Origin::Joined, start, length: before.length + length }
    }

    // Text that is not ASCII is read as Latin-1, as pydicom does.
    fn text(&mut self, span: Span) -> Span {
        let text = self.bytes(span);
        if text.is_ascii() {
            return span;
        }
        let text: String = text.iter().copied().map(char::from).collect();
        let start = self.joined.len();
        self.joined.extend_from_slice(text.as_bytes());
        Span { origin: Origin::Joined, start, length: text.len() }
    }

    #[inline(always)]
    fn push(&mut self, row: &Row, data_set: Option<Span>) -> bool {
        // Cheaper than a look-up for four kinds of messages. Actions are in the columns of events.
        let of_kind =
            if row.kind.is_response() { Field::EventReply } else { Field::EventInformation };
        for field in Field::TEXTS {
            self.set_span(field, row.text(field));
        }
        for field in Field::DATA_SETS {
            self.set_span(field, data_set.filter(|_| of_kind == field));
        }
        let mut fields = row.fields.with(Field::PresentationContextID);
        if data_set.is_some() {
            fields = fields.with(of_kind);
        }
        let at = self.block.rows;
        let block = &mut *self.block;
        for (column, field) in block.numbers.iter_mut().zip(NUMBERS) {
            column[at] = i32::from(match field {
                Field::PresentationContextID => u16::from(row.context_id),
                _ => row.numbers[field as usize],
            });
        }
        block.fields[at] = fields;
        block.offsets[at] = row.begin as i64;
        block.rows = at + 1;
        block.rows == BLOCK_ROWS
    }

    fn flush(&mut self, total: usize) {
        // An empty block would count as having every field.
        if self.block.rows == 0 {
            return;
        }
        self.add_rows(0..self.block.rows, total);
        self.block.rows = 0;
    }
}
