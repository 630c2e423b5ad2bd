//! Captures of DICOM associations: .pcap and .pcapng files to events, and events to such files.
//!
//! [`read`] turns packets into TCP streams, associations and events with their responses; [`write`]
//! turns events into the packets of associations. Both share the A-ASSOCIATE PDUs ([`association`]),
//! the [`columns`] of captured events and the [`fault`]s. There is no Python here and no I/O.

pub mod association;
pub mod columns;
pub mod fault;
pub mod read;
pub mod write;
