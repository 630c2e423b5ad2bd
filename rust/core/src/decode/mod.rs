//! A stream of PDUs or of command sets to rows of events (PS3.8 9.3.5, PS3.7 10.3.1).
//!
//! In: one direction of an association, complete or truncated, or several one after another.
//! Out: Arrow columns, plain or views of the stream, the offset of each message, the rejected
//! messages, and the numbers of skipped PDUs and messages.
//! Complete messages of the usual form have a fast path; the other path implements all rules.

mod chunks;
pub mod columns;
mod complete_message;
mod data_sets;
mod layout;
mod message_reader;
mod messages;
mod one_message;
mod row;
mod sink;
mod stream;
mod template;
mod values;
mod views;

pub use chunks::ChunkDecoder;
pub use data_sets::{Structure, StructuredEvents, decode_structured};
pub use layout::Layout;
pub use message_reader::{MessageReader, WholeMessage, message_id};
pub use messages::{DecodedMessages, decode_messages, messages_schema};
pub use one_message::read_usual_command_set;
pub use stream::{DecodeOptions, Decoded, check_uids, decode, decode_actions, decode_in_threads};
pub use views::plain;
