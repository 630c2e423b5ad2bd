//! A capture to events (PS3.8 9.3, PS3.7 10.1.1).
//!
//! In: the bytes of a .pcap or .pcapng file, complete or in chunks.
//! Out: a row for each event with its response, and the faults of the file.
//! Packets become TCP streams, the streams of associations become PDUs, and the complete messages of
//! all streams are decoded together and paired. Incomplete messages and requests without a response
//! are kept for the next chunk.

mod capture_input;
mod capture_reader;
mod carried;
pub mod compression;
mod connections;
mod data_sets;
mod direction;
mod encapsulation;
mod events;
mod limits;
mod messages;
pub mod packets;
mod pairing;
mod pdus;
mod reassembly;
pub mod segments;
pub mod skipped;
mod streams;

pub use capture_reader::{Capture, CaptureReader, read};
pub use data_sets::*;
pub use events::{Exchanges, Place};
pub use limits::Limits;
