//! Rows of events to a stream of messages (PS3.7 10.3.1, PS3.8 9.3.5).
//!
//! In: columns of events, and the rejections that are known already.
//! Out: P-DATA-TF PDUs or command sets, the offset of each message, the rejected rows.
//! Rows are checked in runs. A run is written from a template, any other row element by element.

mod actions;
mod block;
mod check;
mod data_sets;
mod lengths;
mod message;
mod messages;
mod options;
mod rows;
mod run;
mod stream;
mod structured_rows;
mod template;
mod validate;
mod write;

pub use actions::encode_actions;
pub use data_sets::{encode_each_structured, encode_structured};
pub use message::message_id_of_row;
pub use messages::{EncodedMessages, encode_messages};
pub use options::{Options, check_context_id};
pub use stream::{Encoded, Table, encode, encode_each, encode_in_threads, most_bytes};
pub use validate::{validate, validate_in_threads};
