//! N-EVENT-REPORT (PS3.7 10.1.1) as bytes and as Arrow columns.
//!
//! One way through: columns ([`columns`]) are checked and encoded ([`encode`]) into command sets
//! ([`command_set`]) and PDVs ([`pdv`]); back, PDUs are walked ([`pdu`]) and decoded ([`decode`])
//! into columns ([`decoded_columns`]). There is no Python here and no I/O.

mod block;
mod characters;
pub mod columns;
pub mod command_set;
pub mod decode;
pub mod decoded_columns;
pub mod encode;
pub mod error;
mod event;
mod lengths;
mod machine;
pub mod memory;
mod parts;
pub mod pdu;
pub mod pdv;
mod runs;
mod template;
pub mod uid;
mod whole_message;
