//! Captures of DICOM associations: files of packets (.pcap, .pcapng) as events, and events as
//! such files.
//!
//! One way through: a file's packets ([`packets`]) become TCP streams ([`tcp`]), the PDUs of those
//! that are associations ([`association`], [`pdus`]) become events, each with its answer
//! ([`read`]), with the attributes of its data sets if that is asked for ([`structured`]). Back, events become the packets of associations ([`write`]). There is no Python here
//! and no I/O.

pub mod association;
pub mod columns;
pub mod conversation;
pub mod fault;
pub mod file;
pub mod packets;
pub mod pdus;
pub mod plan;
pub mod read;
pub mod rows;
pub mod structured;
pub mod tcp;
pub mod write;
