//! Events to a capture (PS3.8 9.3, RFC 9293).
//!
//! In: a table of events with their responses, endpoints and times.
//! Out: the bytes of a .pcap or .pcapng file, and the rejected rows.
//! Rows are checked and assigned to associations, encoded, and sent as the packets of one TCP
//! connection for each association.

mod conversation;
mod events;
pub mod file;
mod join;
mod options;
mod plan;
mod rows;

pub use events::*;
pub use options::*;
