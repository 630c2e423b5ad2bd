//! Associations: send events to a peer, and receive them on a port (PS3.7 10.1, PS3.8 9).
//!
//! In: events as [`crate::input`] reads them, or connections of peers.
//! Out: the outcome of each event that was sent, or the events that were received; handlers are
//! Python functions that are called for these.

pub mod association;
pub mod authenticate;
pub mod batch_handler;
pub mod calls;
pub mod exit;
pub mod handler;
pub mod listen;
pub mod listener;
pub mod options;
pub mod outcomes;
pub mod peer;
pub mod received_events;
pub mod sending;
pub mod tls;
