//! Arrow views of a stream of any length, without copies.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::{BinaryViewArray, StringViewArray};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};

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
    pub fn view(self, bytes: &[u8], span: Span) -> u128 {
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

    /// The view after the joined fragments have moved by `by` bytes.
    pub fn shifted(self, view: u128, by: usize) -> u128 {
        let mut view = ByteView::from(view);
        let number = view.buffer_index as usize;
        if view.length > MAX_INLINE_VIEW_LEN && number >= self.of_stream {
            let start = (number - self.of_stream) * STRIDE + view.offset as usize + by;
            view.buffer_index = (self.of_stream + start / STRIDE) as u32;
            view.offset = (start % STRIDE) as u32;
        }
        view.into()
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
