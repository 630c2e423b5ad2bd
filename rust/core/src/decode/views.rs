//! Arrow's views of a stream, of any length, without a copy.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::{BinaryViewArray, StringViewArray};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};

use crate::decode::row::Span;

/// How streams of more than 2 GiB are cut for Arrow's views, whose offsets are 31 bits long:
/// buffers that overlap, so that any value of up to 1 GiB lies whole in the one it begins in.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    of_stream: usize,
}

const STRIDE: usize = 1 << 30;

const WINDOW: usize = i32::MAX as usize;

impl Windows {
    pub fn of(stream: &Buffer) -> Self {
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

    /// The same view where the joined bytes begin `by` later.
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

/// The longest data set that a view can show.
pub const LONGEST: usize = WINDOW - STRIDE;

/// Text as [`crate::decode::columns`] views it.
pub fn viewed_text(
    views: ScalarBuffer<u128>,
    buffers: Arc<[Buffer]>,
    valid: Option<NullBuffer>,
) -> StringViewArray {
    if cfg!(debug_assertions) {
        return StringViewArray::new(views, buffers, valid);
    }
    // SAFETY: each view was made of a slice of one of the buffers, which cannot change since, and
    // the slice is ASCII, or was a `String`. To check them again takes as long as all the decoding;
    // tests and fuzz targets do.
    unsafe { StringViewArray::new_unchecked(views, buffers, valid) }
}

/// Data sets as [`crate::decode::columns`] views them.
pub fn viewed_bytes(
    views: ScalarBuffer<u128>,
    buffers: Arc<[Buffer]>,
    valid: Option<NullBuffer>,
) -> BinaryViewArray {
    if cfg!(debug_assertions) {
        return BinaryViewArray::new(views, buffers, valid);
    }
    // SAFETY: as above, without the question of text.
    unsafe { BinaryViewArray::new_unchecked(views, buffers, valid) }
}
