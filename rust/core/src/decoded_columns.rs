//! Columns while they are decoded: views into the stream, and into what had to be joined.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::types::{Int32Type, UInt8Type, UInt16Type};
use arrow_array::{ArrayRef, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_buffer::{
    ArrowNativeType, Buffer, MutableBuffer, NullBuffer, NullBufferBuilder, ScalarBuffer,
    ToByteSlice,
};
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};

use crate::command_set::{Field, Kind};
use crate::machine;
use crate::memory::Memory;
use crate::pdu::Pdv;

/// The columns of decoded events.
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

/// A part of the stream, or of what was joined from fragments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// Of the joined bytes rather than of the stream.
    pub joined: bool,
    /// Where it begins.
    pub start: usize,
    /// How long it is.
    pub length: usize,
}

/// Which fields an event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields(u16);

impl Fields {
    const NONE: Self = Self(0);
    const ALL: Self = Self(u16::MAX);

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[inline(always)]
    fn has(self, field: Field) -> bool {
        self.0 >> field as u16 & 1 != 0
    }

    #[inline(always)]
    fn with(self, field: Field) -> Self {
        Self(self.0 | 1 << field as u16)
    }
}

/// An event whose command set is read and whose data set may be still to come.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Request or response.
    pub kind: Kind,
    /// Where its first PDU begins.
    pub begin: usize,
    /// Its presentation context.
    pub context_id: u8,
    fields: Fields,
    numbers: [u16; Field::ALL.len()],
    texts: [Span; Field::TEXTS.len()],
}

impl Row {
    /// An event without any fields yet.
    #[inline(always)]
    pub fn new(kind: Kind, begin: usize, context_id: u8) -> Self {
        let numbers = [0; Field::ALL.len()];
        let texts = [Span::default(); Field::TEXTS.len()];
        Self { kind, begin, context_id, fields: Fields::NONE, numbers, texts }
    }

    /// Sets a number.
    #[inline(always)]
    pub fn set_number(&mut self, field: Field, number: u16) {
        self.numbers[field as usize] = number;
        self.fields = self.fields.with(field);
    }

    /// Sets a text, which must be ASCII or UTF-8.
    #[inline(always)]
    pub fn set_text(&mut self, field: Field, text: Span) {
        self.texts[place_of(field, &Field::TEXTS)] = text;
        self.fields = self.fields.with(field);
    }

    /// A text.
    #[inline(always)]
    pub fn text(&self, field: Field) -> Option<Span> {
        self.fields.has(field).then(|| self.texts[place_of(field, &Field::TEXTS)])
    }
}

#[cfg(test)]
impl Row {
    /// A number.
    pub fn number(&self, field: Field) -> Option<u16> {
        self.fields.has(field).then_some(self.numbers[field as usize])
    }
}

/// A field's place among others.
#[inline(always)]
fn place_of(field: Field, fields: &[Field]) -> usize {
    fields.iter().position(|one| *one == field).expect("it is one of them")
}

/// How many events are gathered before they go into the columns: few enough to stay in the CPU's
/// nearest cache.
const ROWS: usize = 128;

/// The fields that become views.
const VIEWS: [Field; 4] = [
    Field::AffectedSOPInstanceUID,
    Field::ErrorComment,
    Field::EventInformation,
    Field::EventReply,
];

/// Events on their way into the columns.
#[derive(Debug)]
struct Block {
    rows: usize,
    fields: [Fields; ROWS],
    numbers: [[u16; ROWS]; Field::NUMBERS.len()],
    classes: [i32; ROWS],
    views: [[u128; ROWS]; VIEWS.len()],
    context_ids: [u8; ROWS],
    offsets: [i64; ROWS],
}

impl Default for Block {
    fn default() -> Self {
        Self {
            rows: 0,
            fields: [Fields::NONE; ROWS],
            numbers: [[0; ROWS]; Field::NUMBERS.len()],
            classes: [0; ROWS],
            views: [[0; ROWS]; VIEWS.len()],
            context_ids: [0; ROWS],
            offsets: [0; ROWS],
        }
    }
}

impl Block {
    /// Which of the rows have a field.
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

/// Which rows have a field.
enum Present<'a> {
    Always,
    Never,
    Sometimes(&'a [Fields], Field),
}

/// The columns while they grow.
#[derive(Debug)]
pub struct DecodedColumns<'a> {
    stream: &'a Buffer,
    windows: Windows,
    block: Box<Block>,
    numbers: [Nullable<u16>; Field::NUMBERS.len()],
    sop_class: SopClasses,
    sop_class_keys: Nullable<i32>,
    views: [Nullable<u128>; VIEWS.len()],
    context_ids: Values<u8>,
    offsets: Values<i64>,
    joined: Vec<u8>,
}

impl<'a> DecodedColumns<'a> {
    /// No rows yet.
    pub fn new(stream: &'a Buffer) -> Self {
        Self {
            stream,
            windows: Windows::of(stream),
            block: Box::default(),
            numbers: Default::default(),
            sop_class: SopClasses::default(),
            sop_class_keys: Nullable::default(),
            views: Default::default(),
            context_ids: Values::default(),
            offsets: Values::default(),
            joined: Vec::new(),
        }
    }

    /// The bytes of a span.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        of(self.stream, &self.joined, span)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.offsets.length + self.block.rows
    }

    /// Adds a fragment: the first is left where it lies, with a second one both are copied.
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

    /// The text at `span`; what is not ASCII is read as Latin-1, as pydicom does.
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

    /// Adds a whole event. Returns whether there is no room for another before
    /// [`DecodedColumns::flush`].
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
            self.block.classes[at] = self.sop_class.key(of(self.stream, &self.joined, class));
        }
        let block = &mut *self.block;
        for (column, field) in block.numbers.iter_mut().zip(Field::NUMBERS) {
            column[at] = row.numbers[field as usize];
        }
        block.fields[at] = fields;
        block.context_ids[at] = row.context_id;
        block.offsets[at] = row.begin as i64;
        block.rows = at + 1;
        block.rows == ROWS
    }

    #[inline(always)]
    fn view(&mut self, field: Field, span: Span) {
        let view = self.windows.view(self.bytes(span), span);
        self.block.views[place_of(field, &VIEWS)][self.block.rows] = view;
    }

    /// Puts what [`DecodedColumns::push`] gathered into the columns, which may become `total` long.
    pub fn flush(&mut self, total: usize) {
        let block = &*self.block;
        let rows = block.rows;
        // Of no rows all would have every field.
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

    /// Adds the rows of a later part of the same stream.
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
        // The key of null is nobody's.
        let rename = |key: i32| keys.get(key as usize).copied().unwrap_or_default();
        let rename: Option<&dyn Fn(i32) -> i32> = Some(&rename);
        let alike = (0..).zip(&keys).all(|(theirs, ours)| theirs == *ours);
        self.sop_class_keys.append(other.sop_class_keys, total, rename.filter(|_| !alike));
        self.context_ids.extend(&other.context_ids.finish(), total);
        self.offsets.extend(&other.offsets.finish(), total);
        self.joined.extend_from_slice(&other.joined);
    }

    /// The finished columns, and where each event begins.
    pub fn finish(mut self) -> (RecordBatch, ScalarBuffer<i64>) {
        self.flush(self.rows());
        let buffers: Arc<[Buffer]> = self.windows.buffers(self.stream, self.joined.into()).into();
        let [sop_instance, error_comment, event_information, event_reply] =
            self.views.map(|views| (views.finish(), buffers.clone()));
        let strings = |((views, valid), buffers)| -> ArrayRef {
            Arc::new(machine::viewed_text(views, buffers, valid))
        };
        let binaries = |((views, valid), buffers)| -> ArrayRef {
            Arc::new(machine::viewed_bytes(views, buffers, valid))
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

#[inline(always)]
fn of<'b>(stream: &'b [u8], joined: &'b [u8], span: Span) -> &'b [u8] {
    let bytes = if span.joined { joined } else { stream };
    &bytes[span.start..span.start + span.length]
}

/// How streams of more than 2 GiB are cut for Arrow's views, whose offsets are 31 bits long:
/// buffers that overlap, so that any value of up to 1 GiB lies whole in the one it begins in.
#[derive(Debug, Clone, Copy)]
struct Windows {
    of_stream: usize,
}

const STRIDE: usize = 1 << 30;
const WINDOW: usize = i32::MAX as usize;

impl Windows {
    fn of(stream: &Buffer) -> Self {
        Self { of_stream: stream.len().div_ceil(STRIDE) }
    }

    #[inline(always)]
    fn view(self, bytes: &[u8], span: Span) -> u128 {
        let first = if span.joined { self.of_stream } else { 0 };
        let buffer_index = (first + span.start / STRIDE) as u32;
        let offset = (span.start % STRIDE) as u32;
        match bytes.first_chunk() {
            Some(&prefix) if bytes.len() > MAX_INLINE_VIEW_LEN as usize => {
                let (length, prefix) = (bytes.len() as u32, u32::from_le_bytes(prefix));
                ByteView { length, prefix, buffer_index, offset }.into()
            }
            _ => make_view(bytes, buffer_index, offset),
        }
    }

    /// The same view where the joined bytes begin `by` later.
    fn shifted(self, view: u128, by: usize) -> u128 {
        let mut view = ByteView::from(view);
        let number = view.buffer_index as usize;
        if view.length > MAX_INLINE_VIEW_LEN && number >= self.of_stream {
            let start = (number - self.of_stream) * STRIDE + view.offset as usize + by;
            view.buffer_index = (self.of_stream + start / STRIDE) as u32;
            view.offset = (start % STRIDE) as u32;
        }
        view.into()
    }

    fn buffers(self, stream: &Buffer, joined: Buffer) -> Vec<Buffer> {
        let windows = |buffer: &Buffer| -> Vec<Buffer> {
            let window = |range: Range<usize>| buffer.slice_with_length(range.start, range.len());
            (0..buffer.len())
                .step_by(STRIDE)
                .map(|start| window(start..buffer.len().min(start + WINDOW)))
                .collect()
        };
        [windows(stream), windows(&joined)].concat()
    }
}

/// The longest data set that a view can show.
pub const LONGEST: usize = WINDOW - STRIDE;

/// Values of a column, in memory that earlier columns may have left.
#[derive(Debug)]
struct Values<T> {
    memory: Memory,
    length: usize,
    of: PhantomData<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self { memory: Memory::new(0), length: 0, of: PhantomData }
    }
}

impl<T: ArrowNativeType> Values<T> {
    /// Adds values to a column that may become `total` long.
    fn extend(&mut self, values: &[T], total: usize) {
        let start = self.length * size_of::<T>();
        let bytes = values.to_byte_slice();
        let end = start + bytes.len();
        if end > self.memory.bytes().len() {
            self.memory.grow(start, end.max(total * size_of::<T>()));
        }
        self.memory.bytes()[start..end].copy_from_slice(bytes);
        self.length += values.len();
    }

    fn finish(self) -> ScalarBuffer<T> {
        let buffer = self.memory.into_buffer(self.length * size_of::<T>());
        ScalarBuffer::new(buffer, 0, self.length)
    }
}

/// A column in which values may be missing. As long as all are, it is only counted: most columns of
/// a stream are empty.
#[derive(Debug)]
struct Nullable<T> {
    values: Values<T>,
    valid: NullBufferBuilder,
    /// Rows before the first value.
    missing: usize,
}

impl<T> Default for Nullable<T> {
    fn default() -> Self {
        Self { values: Values::default(), valid: NullBufferBuilder::new(0), missing: 0 }
    }
}

impl<T: ArrowNativeType> Nullable<T> {
    /// Adds values to a column that may become `total` long.
    fn extend(&mut self, values: &[T], present: &Present<'_>, total: usize) {
        match present {
            Present::Never => self.extend_nulls(values.len(), total),
            Present::Always => {
                self.begin(total);
                self.values.extend(values, total);
                self.valid.append_n_non_nulls(values.len());
            }
            Present::Sometimes(fields, field) => {
                self.begin(total);
                let mut found = [T::default(); ROWS];
                for ((found, value), fields) in found.iter_mut().zip(values).zip(*fields) {
                    let has = fields.has(*field);
                    self.valid.append(has);
                    if has {
                        *found = *value;
                    }
                }
                self.values.extend(&found[..values.len()], total);
            }
        }
    }

    /// Adds a later column; its values may have to be changed.
    fn append(&mut self, later: Self, total: usize, change: Option<&dyn Fn(T) -> T>) {
        if later.missing > 0 {
            return self.extend_nulls(later.missing, total);
        }
        let (values, valid) = later.finish();
        if values.is_empty() {
            return;
        }
        self.begin(total);
        match change {
            None => self.values.extend(&values, total),
            Some(change) => {
                let values: Vec<T> = values.iter().map(|&value| change(value)).collect();
                self.values.extend(&values, total);
            }
        }
        match valid {
            None => self.valid.append_n_non_nulls(values.len()),
            Some(valid) => self.valid.append_buffer(&valid),
        }
    }

    fn extend_nulls(&mut self, rows: usize, total: usize) {
        if self.values.length == 0 {
            self.missing += rows;
        } else {
            self.values.extend(&vec![T::default(); rows], total);
            self.valid.append_n_nulls(rows);
        }
    }

    /// What was only counted is written before the first value.
    fn begin(&mut self, total: usize) {
        let rows = mem::take(&mut self.missing);
        self.values.extend(&vec![T::default(); rows], total);
        self.valid.append_n_nulls(rows);
    }

    fn finish(mut self) -> (ScalarBuffer<T>, Option<NullBuffer>) {
        if self.missing == 0 {
            return (self.values.finish(), self.valid.finish());
        }
        let zeros = MutableBuffer::from_len_zeroed(self.missing * size_of::<T>());
        (ScalarBuffer::from(zeros), Some(NullBuffer::new_null(self.missing)))
    }
}

/// SOP classes repeat: a dictionary of those that occur.
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
