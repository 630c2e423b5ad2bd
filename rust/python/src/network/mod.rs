//! Associations: send events to a peer and request actions, and receive both on a port (PS3.7 10.1, PS3.8
//! 9).
//!
//! In: events and actions as [`crate::input`] reads them, or connections of peers.
//! Out: the outcome of each request that was sent, or the requests that were received; handlers are
//! Python functions that are called for these.

pub mod accepted_association;
pub mod association;
pub mod authenticate;
pub mod batch_handler;
pub mod calls;
pub mod exit;
pub mod handler;
pub mod listen;
pub mod listener;
pub mod listener_counters;
pub mod listener_log;
pub mod options;
pub mod outcomes;
pub mod peer;
pub mod pending_event;
pub mod received_events;
pub mod received_request;
pub mod sending;
pub mod tls;
