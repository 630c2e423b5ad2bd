//! A capture to events (PS3.8 9.3, PS3.7 10.1.1).
//!
//! In: the bytes of a .pcap or .pcapng file.
//! Out: a row for each event with its response, and the faults of the file.
//! Packets become TCP streams, the streams of associations become PDUs, and their messages are
//! decoded together and paired.

pub mod compression;
mod data_sets;
mod encapsulation;
mod events;
pub mod packets;
mod pdus;
pub mod segments;
pub mod skipped;
mod tcp;

pub use data_sets::*;
pub use events::*;
