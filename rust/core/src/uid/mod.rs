//! The syntax of UIDs (PS3.5 9.1).
//!
//! In: the bytes of one UID, or a block of cells of a column.
//! Out: whether each UID is conformant, or the first violation and its position.
//! Columns are checked with bit masks of 64 characters; a single error is explained component by
//! component.

pub mod masks;
mod syntax;

pub use syntax::{MAX_LENGTH, UidError, check, check_as, check_lenient, is_conformant};
