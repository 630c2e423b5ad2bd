//! Many messages in one call: encode, decode and validate tables of events.
//!
//! In: events as [`crate::input`] reads them, or a stream of P-DATA-TF PDUs (PS3.8 9.3.5).
//! Out: encoded streams, Arrow columns, and the rows that were rejected.

pub mod columns;
pub mod data_sets;
pub mod decode;
pub mod decode_batches;
pub mod decode_messages;
pub mod encode;
pub mod encode_batches;
pub mod encode_messages;
pub mod event_batches;
pub mod message_columns;
pub mod message_schema;
pub mod validate;
