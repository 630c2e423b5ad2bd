//! Receives events on a port (PS3.7 10.1.1).
//!
//! In: connections of peers, and a sink for events.
//! Out: events as columns, in the order in which they arrived, and reports of failures.
//! An event is passed to the sink before its response is written.

pub mod event_columns;
pub mod listener;
pub mod queue;
pub mod receiver;
