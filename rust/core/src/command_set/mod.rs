//! The command set of an N-EVENT-REPORT (PS3.7 10.1.1, E.1).
//!
//! In: the values of a message's fields, or the bytes of a command set.
//! Out: the bytes, or the values; another DIMSE message is recognized by its Command Field.
//! One table of elements holds everything that depends on the message.

mod elements;
mod read;
mod write;

pub use elements::*;
pub use read::*;
pub use write::*;
