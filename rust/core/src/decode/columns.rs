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
use crate::decode::row::{Fields, Origin, Presence, Row, Span};
use crate::decode::sink::EventSink;
use crate::decode::template::{SimilarMessage, UIDS, data_set_field};
use crate::decode::values::{ColumnValues, Nullable, Nulls};
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

/// The index of the presentation context ID in [`NUMBERS`].
const CONTEXT_ID: usize = NUMBERS.len() - 1;

// Templates have the indices of numbers and of UIDs.
const _: () = {
    let mut at = 0;
    while at < CONTEXT_ID {
        assert!(NUMBERS[at] as u8 == Field::NUMBERS[at] as u8);
        at += 1;
    }
    assert!(UIDS[0] as u8 == FIELDS[0] as u8 && UIDS[1] as u8 == FIELDS[1] as u8);
};

/// A block of decoded events. An absent number is 0, and an absent value has a span without bytes,
/// after [`RowBlock::erase_absent`]: rows are added without them.
#[derive(Debug)]
struct RowBlock {
    rows: usize,
    /// The fields that a row of this block or of an earlier one has.
    written: Fields,
    fields: [Fields; BLOCK_ROWS],
    numbers: [[i32; BLOCK_ROWS]; NUMBERS.len()],
    spans: [[Span; BLOCK_ROWS]; FIELDS.len()],
    offsets: [i64; BLOCK_ROWS],
}

impl Default for RowBlock {
    fn default() -> Self {
        Self {
            rows: 0,
            written: Fields::NONE,
            fields: [Fields::NONE; BLOCK_ROWS],
            numbers: [[0; BLOCK_ROWS]; NUMBERS.len()],
            spans: [[Span::default(); BLOCK_ROWS]; FIELDS.len()],
            offsets: [0; BLOCK_ROWS],
        }
    }
}

impl RowBlock {
    /// Removes the values of earlier rows where a row has none. In most streams, all rows have the
    /// same fields, and nothing is to be done.
    fn erase_absent(&mut self, presence: Presence) {
        let rows = &self.fields[..self.rows];
        let partial = self.written.or(presence.any).without(presence.all);
        self.written = self.written.or(presence.any);
        for (column, field) in self.numbers.iter_mut().zip(NUMBERS) {
            if partial.has(field) {
                erase(column, rows, field);
            }
        }
        for (column, field) in self.spans.iter_mut().zip(FIELDS) {
            if partial.has(field) {
                erase(column, rows, field);
            }
        }
    }

    /// The fields that these rows have.
    fn presence(&self, rows: Range<usize>) -> Presence {
        let fields = &self.fields[rows];
        let all = fields.iter().fold(Fields::ALL, |all, &one| all.and(one));
        let any = fields.iter().fold(Fields::NONE, |any, &one| any.or(one));
        Presence { all, any }
    }

    /// The number of bytes of each column in these rows.
    fn lengths(&self, rows: Range<usize>, presence: Presence) -> [usize; FIELDS.len()] {
        std::array::from_fn(|place| match presence.any.has(FIELDS[place]) {
            true => self.spans[place][rows.clone()].iter().map(|span| span.length).sum(),
            false => 0,
        })
    }
}

/// Sets the values of rows that do not have the field to the absent value.
fn erase<T: Default>(column: &mut [T], rows: &[Fields], field: Field) {
    for (value, fields) in column.iter_mut().zip(rows) {
        if !fields.has(field) {
            *value = T::default();
        }
    }
}

/// Rows of a block that are added to a batch.
struct BlockRows<'a> {
    block: &'a RowBlock,
    rows: Range<usize>,
    presence: Presence,
    /// The number of bytes of each column.
    lengths: [usize; FIELDS.len()],
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
    fn extend(&mut self, rows: &BlockRows<'_>, source: Source<'_>, total: usize) {
        let BlockRows { block, ref rows, presence, lengths } = *rows;
        self.rows += rows.len();
        let fields = &block.fields[rows.clone()];
        for (place, field) in NUMBERS.into_iter().enumerate() {
            let values = &block.numbers[place][rows.clone()];
            self.numbers[place].extend(values, &presence.of(field, fields), total);
        }
        let growth = total as f64 / self.rows as f64;
        for (place, field) in FIELDS.into_iter().enumerate() {
            let present = presence.of(field, fields);
            let bytes = &mut self.bytes;
            self.cells[place].extend_with(rows.len(), &present, total, |cells| {
                bytes.reserve(place, lengths[place], growth);
                bytes.extend(place, source, &block.spans[place][rows.clone()], cells);
            });
        }
    }

    fn finish(self, stream: &Buffer, joined: &mut Vec<u8>) -> RecordBatch {
        let mut nulls = Nulls::default();
        // The widest values first: all columns without a value share one buffer of zeros.
        let cells = self.cells.map(|column| column.finish(&mut nulls));
        let numbers = self.numbers.map(|column| {
            let (values, valid) = column.finish(&mut nulls);
            Arc::new(PrimitiveArray::<Int32Type>::new(values, valid)) as ArrayRef
        });
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
    fn add_rows(&mut self, rows: Range<usize>, presence: Presence, total: usize) {
        let lengths = self.block.lengths(rows.clone(), presence);
        let bytes: usize = lengths.iter().sum();
        if bytes > L::MOST_BYTES - self.batch.bytes.bytes() {
            self.end_batch();
        }
        if bytes > L::MOST_BYTES && rows.len() > 1 {
            let middle = rows.start.midpoint(rows.end);
            for half in [rows.start..middle, middle..rows.end] {
                self.add_rows(half.clone(), self.block.presence(half), total);
            }
            return;
        }
        let before = self.offsets.length - self.batch.rows;
        let of_batch = total.saturating_sub(before).max(self.batch.rows + rows.len());
        let source = Source { stream: self.stream, joined: &self.joined };
        self.offsets.extend(&self.block.offsets[rows.clone()], total);
        self.batch.extend(
            &BlockRows { block: &self.block, rows, presence, lengths },
            source,
            of_batch,
        );
    }

    /// Begins a new batch. The block keeps its rows.
    fn end_batch(&mut self) {
        let batch = mem::replace(&mut self.batch, BatchColumns::new(self.stream));
        if batch.rows > 0 {
            self.finished.push(batch.finish(self.stream, &mut self.joined));
        }
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
        let block = &mut *self.block;
        let at = block.rows % BLOCK_ROWS;
        for (column, field) in block.numbers.iter_mut().zip(Field::NUMBERS) {
            column[at] = i32::from(row.numbers[field as usize]);
        }
        block.numbers[CONTEXT_ID][at] = i32::from(row.context_id);
        for field in Field::TEXTS {
            if let Some(text) = row.text(field) {
                block.spans[place(field)][at] = text;
            }
        }
        let field = data_set_field(row.kind);
        if let Some(data_set) = data_set {
            block.spans[place(field)][at] = data_set;
        }
        block.fields[at] = row.fields.of_message(data_set.map(|_| field));
        block.offsets[at] = row.begin as i64;
        block.rows = at + 1;
        block.rows == BLOCK_ROWS
    }

    // Only the values that the message has are written, without a row in between: a third of the
    // instructions of `push`.
    #[inline(always)]
    fn push_similar(&mut self, message: &SimilarMessage<'_>) -> bool {
        let block = &mut *self.block;
        let at = block.rows % BLOCK_ROWS;
        for (number, value) in message.numbers() {
            block.numbers[number][at] = i32::from(value);
        }
        block.numbers[CONTEXT_ID][at] = i32::from(message.context_id());
        if let Some(uids) = message.uids() {
            for (column, span) in block.spans.iter_mut().zip(uids) {
                column[at] = span;
            }
        }
        if let Some(data_set) = message.data_set() {
            block.spans[place(data_set_field(message.kind()))][at] = data_set;
        }
        block.fields[at] = message.fields();
        block.offsets[at] = message.begin() as i64;
        block.rows = at + 1;
        block.rows == BLOCK_ROWS
    }

    fn flush(&mut self, total: usize) {
        // An empty block would count as having every field.
        if self.block.rows == 0 {
            return;
        }
        let rows = 0..self.block.rows;
        let presence = self.block.presence(rows.clone());
        self.block.erase_absent(presence);
        self.add_rows(rows, presence, total);
        self.block.rows = 0;
    }
}
