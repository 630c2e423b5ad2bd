//! The command sets of N-EVENT-REPORT and N-ACTION (PS3.7 10.1.1, 10.1.4 and E.1).
//!
//! In: the values of the fields of a message, or the bytes of a command set.
//! Out: the bytes, or the values.
//! Another DIMSE message is identified by its Command Field. One table of elements defines the
//! messages of each service.

mod elements;
mod read;
mod write;

pub use elements::{
    ACTION_ELEMENTS, ELEMENTS, Element, NO_DATA_SET, Source, Usage, Vr, message_name, number_of,
};
pub use read::Message;
pub use write::{CommandSet, Value};
