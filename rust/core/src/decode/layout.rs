//! The layouts of decoded text and data sets: plain columns with their own bytes, and views of the
//! stream.

use std::fmt::Debug;
use std::mem;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, StringArray};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::decode::row::{Span, place_of};
use crate::decode::views::{Windows, viewed_bytes, viewed_text};
use crate::field::Field;
use crate::memory::Memory;
use crate::registers::{Vectorized, in_widest_registers};
use crate::uid::MAX_LENGTH;

/// The layout of text and of data sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// `Utf8` and `Binary` arrays with their own bytes, which all Arrow libraries support.
    #[default]
    Plain,
    /// `Utf8View` and `BinaryView` arrays, which refer to the stream.
    Views,
}

impl Layout {
    /// The type of a column of text or of data sets.
    pub fn data_type(self, field: Field) -> DataType {
        match (self, is_text(field)) {
            (Self::Plain, true) => DataType::Utf8,
            (Self::Plain, false) => DataType::Binary,
            (Self::Views, true) => DataType::Utf8View,
            (Self::Views, false) => DataType::BinaryView,
        }
    }
}

/// The fields of text and of data sets.
pub const FIELDS: [Field; 5] = [
    Field::AffectedSOPClassUID,
    Field::AffectedSOPInstanceUID,
    Field::ErrorComment,
    Field::EventInformation,
    Field::EventReply,
];

/// The index of a field in [`FIELDS`].
#[inline(always)]
pub fn place(field: Field) -> usize {
    place_of(field, &FIELDS)
}

fn is_text(field: Field) -> bool {
    Field::TEXTS.contains(&field)
}

/// The cells of a column, one for each row, and which rows have a value.
pub type Cells<Cell> = (ScalarBuffer<Cell>, Option<NullBuffer>);

/// The bytes that values are read from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The stream.
    pub stream: &'a [u8],
    /// The joined fragments.
    pub joined: &'a [u8],
}

impl<'a> Source<'a> {
    /// The buffer with the bytes of a span.
    #[inline(always)]
    pub fn buffer(self, span: Span) -> &'a [u8] {
        if span.is_joined() { self.joined } else { self.stream }
    }

    /// The bytes of a span.
    #[inline(always)]
    pub fn bytes(self, span: Span) -> &'a [u8] {
        &self.buffer(span)[span.start..span.start + span.length]
    }
}

/// The values of text and of data sets in one layout.
pub trait CellLayout: Debug + Send {
    /// What a column has for each row.
    type Cell: ArrowNativeType;

    /// The layout.
    const LAYOUT: Layout;

    /// The number of cells before that of the first row.
    const BEFORE: usize;

    /// The maximum number of bytes of the columns of a batch.
    const MOST_BYTES: usize;

    /// Columns without values.
    fn new(stream: &Buffer) -> Self;

    /// The number of bytes of the columns.
    fn bytes(&self) -> usize;

    /// Makes room for values of `length` bytes in the column of a field, which may then grow to
    /// `growth` times its length.
    fn reserve(&mut self, place: usize, length: usize, growth: f64);

    /// Adds values to the column of a field, which has room for them, and sets the bytes of their
    /// cells. A null has a span without bytes.
    fn extend(&mut self, place: usize, source: Source<'_>, spans: &[Span], cells: &mut [u8]);

    /// The finished columns in the order of [`FIELDS`]. `joined` is taken if they refer to it.
    fn finish(
        self,
        stream: &Buffer,
        joined: &mut Vec<u8>,
        cells: [Cells<Self::Cell>; FIELDS.len()],
    ) -> [ArrayRef; FIELDS.len()];
}

/// Columns with their own bytes. A cell is the end of its value.
#[derive(Debug)]
pub struct Plain {
    columns: [PlainBytes; FIELDS.len()],
}

/// The bytes of a column.
#[derive(Debug)]
struct PlainBytes {
    memory: Memory,
    length: usize,
}

/// Room after the last value, so that short values are copied with a fixed length.
const SLACK: usize = 128;

impl CellLayout for Plain {
    type Cell = i32;

    const LAYOUT: Layout = Layout::Plain;

    /// The first offset.
    const BEFORE: usize = 1;

    const MOST_BYTES: usize = i32::MAX as usize;

    fn new(_: &Buffer) -> Self {
        Self { columns: FIELDS.map(|_| PlainBytes { memory: Memory::new(0), length: 0 }) }
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.length).sum()
    }

    fn reserve(&mut self, place: usize, length: usize, growth: f64) {
        self.columns[place].reserve(length, growth);
    }

    fn extend(&mut self, place: usize, source: Source<'_>, spans: &[Span], cells: &mut [u8]) {
        let (cells, _) = cells.as_chunks_mut();
        let column = &mut self.columns[place];
        let (out, at) = (column.memory.bytes(), column.length);
        column.length = if is_text(FIELDS[place]) {
            in_widest_registers(CopyValues::<MAX_LENGTH> { source, spans, out, at, cells })
        } else {
            in_widest_registers(CopyValues::<SLACK> { source, spans, out, at, cells })
        };
    }

    fn finish(
        self,
        _: &Buffer,
        _: &mut Vec<u8>,
        cells: [Cells<i32>; FIELDS.len()],
    ) -> [ArrayRef; FIELDS.len()] {
        let mut cells = cells.into_iter();
        let mut columns = self.columns.into_iter();
        FIELDS.map(|field| {
            let (ends, valid) = cells.next().expect("each field has cells");
            let PlainBytes { memory, length } = columns.next().expect("each field has bytes");
            plain_column(field, ends, memory.into_buffer(length), valid)
        })
    }
}

/// Copies values to `out` from `at` on, and their ends to `cells`; returns the end of the last one.
/// Values of up to `SHORT` bytes are copied with this fixed length.
struct CopyValues<'a, const SHORT: usize> {
    source: Source<'a>,
    spans: &'a [Span],
    out: &'a mut [u8],
    at: usize,
    cells: &'a mut [[u8; 4]],
}

impl<const SHORT: usize> Vectorized for CopyValues<'_, SHORT> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Self { source, spans, out, at, cells } = self;
        // Nearly always, all values are in the stream: the buffer is not chosen for each of them.
        if source.joined.is_empty() {
            copy_values_from::<SHORT>(|_| source.stream, spans, out, at, cells)
        } else {
            copy_values_from::<SHORT>(|span| source.buffer(span), spans, out, at, cells)
        }
    }
}

#[inline(always)]
fn copy_values_from<'a, const SHORT: usize>(
    buffer: impl Fn(Span) -> &'a [u8],
    spans: &[Span],
    out: &mut [u8],
    mut at: usize,
    cells: &mut [[u8; 4]],
) -> usize {
    for (span, end) in spans.iter().zip(cells) {
        let (value, out) = (&buffer(*span)[span.start..], &mut out[at..]);
        // A copy of unknown length is a function call.
        if span.length <= SHORT
            && let (Some(value), Some(out)) = (value.first_chunk::<SHORT>(), out.first_chunk_mut())
        {
            *out = *value;
        } else {
            out[..span.length].copy_from_slice(&value[..span.length]);
        }
        at += span.length;
        *end = (at as i32).to_ne_bytes();
    }
    at
}

impl PlainBytes {
    /// Makes room for values of `bytes` bytes, and for later ones.
    fn reserve(&mut self, bytes: usize, growth: f64) {
        let length = self.length + bytes;
        if length + SLACK > self.memory.bytes().len() {
            let expected = ((length as f64 * growth) as usize).min(Plain::MOST_BYTES);
            self.memory.grow(self.length, expected.max(length) + SLACK);
        }
    }
}

fn plain_column(
    field: Field,
    ends: ScalarBuffer<i32>,
    bytes: Buffer,
    valid: Option<NullBuffer>,
) -> ArrayRef {
    if cfg!(debug_assertions) {
        let offsets = OffsetBuffer::new(ends);
        return match is_text(field) {
            true => Arc::new(StringArray::new(offsets, bytes, valid)),
            false => Arc::new(BinaryArray::new(offsets, bytes, valid)),
        };
    }
    // SAFETY: the first offset is 0, and each of the others was the length of `bytes` after a value
    // was appended, which was ASCII or a `String` in a column of text. Checks take a sixth of the
    // instructions of decoding; tests and fuzz targets make them.
    unsafe {
        let offsets = OffsetBuffer::new_unchecked(ends);
        match is_text(field) {
            true => Arc::new(StringArray::new_unchecked(offsets, bytes, valid)),
            false => Arc::new(BinaryArray::new_unchecked(offsets, bytes, valid)),
        }
    }
}

/// Columns of views. A cell is a view.
#[derive(Debug)]
pub struct Views(Windows);

impl CellLayout for Views {
    type Cell = u128;

    const LAYOUT: Layout = Layout::Views;

    const BEFORE: usize = 0;

    const MOST_BYTES: usize = usize::MAX;

    fn new(stream: &Buffer) -> Self {
        Self(Windows::new(stream))
    }

    fn bytes(&self) -> usize {
        0
    }

    fn reserve(&mut self, _: usize, _: usize, _: f64) {}

    fn extend(&mut self, _: usize, source: Source<'_>, spans: &[Span], cells: &mut [u8]) {
        let (cells, _) = cells.as_chunks_mut();
        if source.joined.is_empty() {
            let bytes = |span: Span| &source.stream[span.start..span.start + span.length];
            self.0.extend(bytes, spans, cells);
        } else {
            self.0.extend(|span| source.bytes(span), spans, cells);
        }
    }

    fn finish(
        self,
        stream: &Buffer,
        joined: &mut Vec<u8>,
        cells: [Cells<u128>; FIELDS.len()],
    ) -> [ArrayRef; FIELDS.len()] {
        let buffers: Arc<[Buffer]> = self.0.buffers(stream, mem::take(joined).into()).into();
        let mut cells = cells.into_iter();
        FIELDS.map(|field| -> ArrayRef {
            let (views, valid) = cells.next().expect("each field has cells");
            match is_text(field) {
                true => Arc::new(viewed_text(views, buffers.clone(), valid)),
                false => Arc::new(viewed_bytes(views, buffers.clone(), valid)),
            }
        })
    }
}
