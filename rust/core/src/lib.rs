//! N-EVENT-REPORT (PS3.7 10.1.1) as bytes and as Arrow columns, and the requests of N-ACTION (PS3.7
//! 10.1.4).
//!
//! Rows of events are [`event_columns`] of Arrow [`columns`]. [`encode`] checks them and writes
//! [`command_set`]s and [`data_set`]s into [`pdu`]s; [`decode`] reads PDUs back into columns.
//! [`standard`] has the standard's tables of attributes, VRs, SOP classes and Statuses, and
//! [`conformance`] checks events against it. There is no Python here and no I/O.

pub mod action_columns;
mod cache;
pub mod columns;
pub mod command_set;
pub mod conformance;
pub mod data_set;
pub mod decode;
pub mod encode;
pub mod event_columns;
pub mod excerpt;
pub mod field;
pub mod memory;
pub mod message_columns;
pub mod options;
pub mod pdu;
mod registers;
pub mod rejection;
pub mod schema_error;
pub mod standard;
pub mod threads;
pub mod uid;
