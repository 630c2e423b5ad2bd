//! Arrow columns of every layout, read by row and by block.
//!
//! In: an Arrow array of integers, text or binary: plain, large, view, fixed size, dictionary or
//! null.
//! Out: numbers, and cells, which are references into the buffers of the array.
//! Nothing is converted or copied. This folder contains no rules of DICOM.

pub mod bytes;
pub mod cell;
pub mod integers;
pub mod values;
