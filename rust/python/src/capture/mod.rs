//! Captures of network traffic: decode `.pcap` and `.pcapng` files, and write them.
//!
//! In: the bytes of a file, or events as [`crate::input`] reads them.
//! Out: requests joined with their responses as Arrow columns and the faults found in a capture, or
//! the bytes of a file.

pub mod actions;
pub mod columns;
pub mod decode;
pub mod decode_batches;
pub mod encode;
pub mod faults;
pub mod pairs;
