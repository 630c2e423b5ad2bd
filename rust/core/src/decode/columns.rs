//! The columns of decoded events: views of the stream, and of joined fragments.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::{Int32Type, UInt8Type, UInt16Type};
use arrow_array::{ArrayRef, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};

use crate::decode::row::BLOCK_ROWS;
use crate::decode::row::{Fields, Present, Row, Span, bytes_of, place_of};
use crate::decode::values::{ColumnValues, Nullable};
use crate::decode::views::{Windows, viewed_bytes, viewed_text};
use crate::field::Field;
use crate::pdu::read::Pdv;

/// The schema of decoded events.
pub fn schema() -> SchemaRef {
    let columns = Field::ALL.map(|field| {
        let data_type = match field {
            Field::AffectedSOPClassUID => {
                DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into())
            }
            Field::AffectedSOPInstanceUID | Field::ErrorComment => DataType::Utf8View,
            Field::EventInformation | Field::EventReply => DataType::BinaryView,
            Field::PresentationContextID => DataType::UInt8,
            _ => DataType::UInt16,
        };
        Column::new(field.keyword(), data_type, true)
    });
    Arc::new(Schema::new(columns.to_vec()))
}

/// The fields that are views.
const VIEWS: [Field; 4] = [
    Field::AffectedSOPInstanceUID,
    Field::ErrorComment,
    Field::EventInformation,
    Field::EventReply,
];

/// A block of decoded events.
#[derive(Debug)]
struct RowBlock {
    rows: usize,
    fields: [Fields; BLOCK_ROWS],
    numbers: [[u16; BLOCK_ROWS]; Field::NUMBERS.len()],
    classes: [i32; BLOCK_ROWS],
    views: [[u128; BLOCK_ROWS]; VIEWS.len()],
    context_ids: [u8; BLOCK_ROWS],
    offsets: [i64; BLOCK_ROWS],
}

impl Default for RowBlock {
    fn default() -> Self {
        Self {
            rows: 0,
            fields: [Fields::NONE; BLOCK_ROWS],
            numbers: [[0; BLOCK_ROWS]; Field::NUMBERS.len()],
            classes: [0; BLOCK_ROWS],
            views: [[0; BLOCK_ROWS]; VIEWS.len()],
            context_ids: [0; BLOCK_ROWS],
            offsets: [0; BLOCK_ROWS],
        }
    }
}

impl RowBlock {
    /// The rows of the block that have a field.
    fn present(&self, field: Field) -> Present<'_> {
        let fields = &self.fields[..self.rows];
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
pub struct DecodedColumns<'a> {
    stream: &'a Buffer,
    windows: Windows,
    block: Box<RowBlock>,
    numbers: [Nullable<u16>; Field::NUMBERS.len()],
    sop_class: SopClasses,
    sop_class_keys: Nullable<i32>,
    views: [Nullable<u128>; VIEWS.len()],
    context_ids: ColumnValues<u8>,
    offsets: ColumnValues<i64>,
    joined: Vec<u8>,
}

impl<'a> DecodedColumns<'a> {
    /// Columns without rows.
    pub fn new(stream: &'a Buffer) -> Self {
        Self {
            stream,
            windows: Windows::new(stream),
            block: Box::default(),
            numbers: Default::default(),
            sop_class: SopClasses::default(),
            sop_class_keys: Nullable::default(),
            views: Default::default(),
            context_ids: ColumnValues::default(),
            offsets: ColumnValues::default(),
            joined: Vec::new(),
        }
    }

    /// The bytes of a span.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        bytes_of(self.stream, &self.joined, span)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.length + self.block.rows
    }

    /// Adds a fragment. A single fragment stays where it is in the stream; several are copied
    /// together.
    pub fn join(&mut self, before: Option<Span>, pdv: &Pdv<'_>) -> Span {
        let length = pdv.fragment.len();
        let Some(before) = before else {
            return Span { joined: false, start: pdv.fragment_at, length };
        };
        let start = if before.joined { before.start } else { self.joined.len() };
        if !before.joined {
            let first = &self.stream[before.start..before.start + before.length];
            self.joined.extend_from_slice(first);
        }
        self.joined.extend_from_slice(pdv.fragment);
        Span { joined: true, start, length: before.length + length }
    }

    /// The text of `span`. Text that is not ASCII is read as Latin-1, as pydicom does.
    pub fn text(&mut self, span: Span) -> Span {
        let text = self.bytes(span);
        if text.is_ascii() {
            return span;
        }
        let text: String = text.iter().copied().map(char::from).collect();
        let start = self.joined.len();
        self.joined.extend_from_slice(text.as_bytes());
        Span { joined: true, start, length: text.len() }
    }

    /// Adds an event. Returns whether the block is full and [`DecodedColumns::flush`] must be
    /// called.
    #[inline(always)]
    pub fn push(&mut self, row: &Row, data_set: Option<Span>) -> bool {
        let at = self.block.rows;
        let mut fields = row.fields;
        for field in [Field::AffectedSOPInstanceUID, Field::ErrorComment] {
            if let Some(text) = row.text(field) {
                self.view(field, text);
            }
        }
        if let Some(data_set) = data_set {
            self.view(row.kind.data_set(), data_set);
            fields = fields.with(row.kind.data_set());
        }
        if let Some(class) = row.text(Field::AffectedSOPClassUID) {
            self.block.classes[at] = self.sop_class.key(bytes_of(self.stream, &self.joined, class));
        }
        let block = &mut *self.block;
        for (column, field) in block.numbers.iter_mut().zip(Field::NUMBERS) {
            column[at] = row.numbers[field as usize];
        }
        block.fields[at] = fields;
        block.context_ids[at] = row.context_id;
        block.offsets[at] = row.begin as i64;
        block.rows = at + 1;
        block.rows == BLOCK_ROWS
    }

    #[inline(always)]
    fn view(&mut self, field: Field, span: Span) {
        let view = self.windows.view(self.bytes(span), span);
        self.block.views[place_of(field, &VIEWS)][self.block.rows] = view;
    }

    /// Moves the block into the columns, which may grow to `total` rows.
    pub fn flush(&mut self, total: usize) {
        let block = &*self.block;
        let rows = block.rows;
        // An empty block would count as having every field.
        if rows == 0 {
            return;
        }
        for (place, field) in Field::NUMBERS.into_iter().enumerate() {
            let values = &block.numbers[place][..rows];
            self.numbers[place].extend(values, &block.present(field), total);
        }
        for (place, field) in VIEWS.into_iter().enumerate() {
            let values = &block.views[place][..rows];
            self.views[place].extend(values, &block.present(field), total);
        }
        let present = block.present(Field::AffectedSOPClassUID);
        self.sop_class_keys.extend(&block.classes[..rows], &present, total);
        self.context_ids.extend(&block.context_ids[..rows], total);
        self.offsets.extend(&block.offsets[..rows], total);
        self.block.rows = 0;
    }

    /// Appends the rows of a later part of the same stream.
    pub fn append(&mut self, mut other: Self) {
        let total = self.rows() + other.rows();
        self.flush(total);
        other.flush(other.rows());
        for (column, later) in self.numbers.iter_mut().zip(other.numbers) {
            column.append(later, total, None);
        }
        let (windows, joined) = (self.windows, self.joined.len());
        let shift = |view| windows.shifted(view, joined);
        let shift: Option<&dyn Fn(u128) -> u128> = Some(&shift);
        for (column, later) in self.views.iter_mut().zip(other.views) {
            column.append(later, total, shift.filter(|_| !other.joined.is_empty()));
        }
        let keys = other.sop_class.values.iter().map(|uid| self.sop_class.key(uid.as_bytes()));
        let keys: Vec<i32> = keys.collect();
        // A null has any key.
        let rename = |key: i32| keys.get(key as usize).copied().unwrap_or_default();
        let rename: Option<&dyn Fn(i32) -> i32> = Some(&rename);
        let alike = (0..).zip(&keys).all(|(theirs, ours)| theirs == *ours);
        self.sop_class_keys.append(other.sop_class_keys, total, rename.filter(|_| !alike));
        self.context_ids.extend(&other.context_ids.finish(), total);
        self.offsets.extend(&other.offsets.finish(), total);
        self.joined.extend_from_slice(&other.joined);
    }

    /// The finished columns, and the offset of each event.
    pub fn finish(mut self) -> (RecordBatch, ScalarBuffer<i64>) {
        self.flush(self.rows());
        let buffers: Arc<[Buffer]> = self.windows.buffers(self.stream, self.joined.into()).into();
        let [sop_instance, error_comment, event_information, event_reply] =
            self.views.map(|views| (views.finish(), buffers.clone()));
        let strings = |((views, valid), buffers)| -> ArrayRef {
            Arc::new(viewed_text(views, buffers, valid))
        };
        let binaries = |((views, valid), buffers)| -> ArrayRef {
            Arc::new(viewed_bytes(views, buffers, valid))
        };
        let [message_id, responded_to, event_type, status, error_id] = self.numbers.map(|column| {
            let (values, valid) = column.finish();
            Arc::new(PrimitiveArray::<UInt16Type>::new(values, valid)) as ArrayRef
        });
        let (keys, valid) = self.sop_class_keys.finish();
        let columns = vec![
            message_id,
            responded_to,
            self.sop_class.finish(PrimitiveArray::new(keys, valid)),
            strings(sop_instance),
            event_type,
            binaries(event_information),
            binaries(event_reply),
            status,
            strings(error_comment),
            error_id,
            Arc::new(PrimitiveArray::<UInt8Type>::new(self.context_ids.finish(), None)),
        ];
        let batch = RecordBatch::try_new(schema(), columns).expect("the columns fit the schema");
        (batch, self.offsets.finish())
    }
}

/// The SOP classes as a dictionary.
#[derive(Debug, Default)]
struct SopClasses {
    values: Vec<String>,
    known: HashMap<String, i32>,
    last: usize,
}

impl SopClasses {
    /// Most streams have one SOP class: a comparison with the last one saves the hash.
    #[inline(always)]
    fn key(&mut self, uid: &[u8]) -> i32 {
        match self.values.get(self.last) {
            Some(last) if last.as_bytes() == uid => self.last as i32,
            _ => self.look_up(&String::from_utf8_lossy(uid)),
        }
    }

    fn look_up(&mut self, uid: &str) -> i32 {
        let key = self.known.get(uid).copied().unwrap_or_else(|| {
            let key = self.values.len() as i32;
            self.values.push(uid.to_owned());
            self.known.insert(uid.to_owned(), key);
            key
        });
        self.last = key as usize;
        key
    }

    fn finish(self, keys: PrimitiveArray<Int32Type>) -> ArrayRef {
        Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(self.values))))
    }
}
