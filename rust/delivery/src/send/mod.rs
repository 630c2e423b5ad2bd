//! Sends events (PS3.7 10.1.1) and requests actions (PS3.7 10.1.4) on associations, and verifies peers
//! (PS3.4 A).
//!
//! In: rows of events or actions, and the agreement of an association.
//! Out: a Status with its latency for each row, or a failure; the events that the peer reports meanwhile.
//! As many requests are outstanding at a time as both sides agreed on.

pub mod echo;
pub mod events_of_peer;
pub mod requests;
pub mod sender;
