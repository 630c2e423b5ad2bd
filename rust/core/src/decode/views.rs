//! Arrow views of a stream of any length, without copies.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::cast::AsArray;
use arrow_array::{
    ArrayRef, BinaryArray, BinaryViewArray, RecordBatch, StringArray, StringViewArray,
};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};
use arrow_schema::{DataType, Schema};

use crate::decode::row::Span;

/// Divides streams of more than 2 GiB into buffers for Arrow views, whose offsets have 31 bits. The
/// buffers overlap, so that any value of up to 1 GiB lies completely in the buffer in which it
/// begins.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    of_stream: usize,
}

const STRIDE: usize = 1 << 30;

const WINDOW: usize = i32::MAX as usize;

impl Windows {
    pub fn new(stream: &Buffer) -> Self {
        Self { of_stream: stream.len().div_ceil(STRIDE) }
    }

    #[inline(always)]
    fn view(self, bytes: &[u8], span: Span) -> u128 {
        let first = if span.is_joined() { self.of_stream } else { 0 };
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

    /// Stores the view of each span, whose bytes `bytes` returns.
    #[inline(always)]
    pub fn extend<'a>(
        self,
        bytes: impl Fn(Span) -> &'a [u8],
        spans: &[Span],
        views: &mut [[u8; 16]],
    ) {
        for (span, view) in spans.iter().zip(views) {
            *view = self.view(bytes(*span), *span).to_ne_bytes();
        }
    }

    pub fn buffers(self, stream: &Buffer, joined: Buffer) -> Vec<Buffer> {
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

/// The maximum length of a data set in a view.
pub const LONGEST: usize = WINDOW - STRIDE;

/// A column of text views.
pub fn viewed_text(
    views: ScalarBuffer<u128>,
    buffers: Arc<[Buffer]>,
    valid: Option<NullBuffer>,
) -> StringViewArray {
    if cfg!(debug_assertions) {
        return StringViewArray::new(views, buffers, valid);
    }
    // SAFETY: each view was made from a slice of one of the buffers, which cannot change since
    // then, and the slice is ASCII or was a `String`. A second check takes as long as all decoding;
    // tests and fuzz targets make it.
    unsafe { StringViewArray::new_unchecked(views, buffers, valid) }
}

/// A column of binary views.
pub fn viewed_bytes(
    views: ScalarBuffer<u128>,
    buffers: Arc<[Buffer]>,
    valid: Option<NullBuffer>,
) -> BinaryViewArray {
    if cfg!(debug_assertions) {
        return BinaryViewArray::new(views, buffers, valid);
    }
    // SAFETY: as above; binary views have no rule for text.
    unsafe { BinaryViewArray::new_unchecked(views, buffers, valid) }
}

/// The rows with plain columns instead of views. A plain column has at most 2 GiB: longer ones are
/// divided.
pub fn plain(rows: RecordBatch) -> Vec<RecordBatch> {
    let is_long = |array: &ArrayRef| {
        let views = match array.data_type() {
            DataType::Utf8View => array.as_string_view().views(),
            DataType::BinaryView => array.as_binary_view().views(),
            _ => return false,
        };
        views.iter().map(|&view| view as u32 as usize).sum::<usize>() > i32::MAX as usize
    };
    let count = rows.num_rows();
    if count > 1 && rows.columns().iter().any(is_long) {
        let (front, back) = (rows.slice(0, count / 2), rows.slice(count / 2, count - count / 2));
        return [plain(front), plain(back)].concat();
    }
    let (columns, arrays): (Vec<_>, Vec<ArrayRef>) = rows
        .schema()
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(column, array)| {
            let array: ArrayRef = match array.data_type() {
                DataType::Utf8View => Arc::new(StringArray::from_iter(array.as_string_view())),
                DataType::BinaryView => Arc::new(BinaryArray::from_iter(array.as_binary_view())),
                _ => array.clone(),
            };
            (column.as_ref().clone().with_data_type(array.data_type().clone()), array)
        })
        .unzip();
    let schema = Arc::new(Schema::new(columns));
    vec![RecordBatch::try_new(schema, arrays).expect("as many rows as before")]
}
