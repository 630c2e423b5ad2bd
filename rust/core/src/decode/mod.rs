//! A stream of PDUs, or of command sets, to rows of events (PS3.8 9.3.5, PS3.7 10.3.1).
//!
//! In: one direction of an association, whole or cut, or several one after another.
//! Out: Arrow columns that view into the stream, the offset of each message, the rejected ones, and
//! how many PDUs and messages of other kinds there were.
//! Messages that are complete in one PDU have a short way; the other way has all the rules.

pub mod columns;
mod data_sets;
mod row;
mod stream;
mod values;
mod views;
mod whole_message;

pub use data_sets::*;
pub use stream::*;
