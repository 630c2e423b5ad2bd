//! Receives events and actions on a port (PS3.7 10.1.1 and 10.1.4), and reports events on the
//! associations of the peers.
//!
//! In: connections of peers, and a sink for events.
//! Out: events as columns, in the order in which they arrived, and records of associations.
//! An event is passed to the sink before its response is written.

pub mod event_columns;
pub mod listener;
pub mod queue;
pub mod receiver;
pub mod records;
pub mod reports;
