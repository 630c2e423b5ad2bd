//! Arrow columns of every layout, read by row and by block.
//!
//! In: an Arrow array of integers, text or binary: plain, large, view, fixed size, dictionary, null.
//! Out: numbers, and cells: byte strings that stay where they are in the array's buffer.
//! Nothing is converted or copied. No rule of DICOM is known here.

pub mod bytes;
pub mod cell;
pub mod integers;
