//! The syntax of UIDs (PS3.5 9.1).
//!
//! In: the bytes of a UID, or a block of cells of a column.
//! Out: whether each is conformant, or what is wrong at which position.
//! Columns are checked by bit masks of 64 characters, a single UID component by component.

pub mod masks;
mod syntax;

pub use syntax::*;
