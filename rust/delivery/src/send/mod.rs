//! Sends events on associations (PS3.7 10.1.1), and verifies peers (PS3.4 A).
//!
//! In: rows of events, and the agreement of an association.
//! Out: a Status with its latency for each event, or a failure.
//! As many events are outstanding at a time as both sides agreed on.

pub mod echo;
pub mod requests;
pub mod sender;
