//! N-EVENT-REPORT (PS3.7 10.1.1) as bytes and as Arrow columns.
//!
//! One way through: columns ([`columns`]) are checked and encoded ([`encode`]) into command sets
//! ([`command_set`]) and PDVs ([`pdv`]); back, PDUs are walked ([`pdu`]) and decoded ([`decode`])
//! into columns ([`decoded_columns`]). What the standard says about events is in [`events`], by which
//! [`standard`] checks them, and about statuses in [`status`]. There is no Python here and no I/O.

pub mod associate;
pub mod attribute;
mod block;
pub mod character_set;
mod characters;
mod code_extensions;
pub mod columns;
pub mod command_set;
mod data_set_builder;
pub mod data_set_columns;
mod data_set_elements;
pub mod data_set_error;
pub mod data_set_schema;
mod data_set_texts;
mod data_set_uids;
pub mod data_set_width;
pub mod decode;
pub mod decode_data_set;
pub mod decoded_columns;
pub mod encode;
pub mod encode_data_set;
pub mod error;
mod event;
pub mod events;
mod lengths;
mod machine;
pub mod memory;
mod parts;
pub mod pdu;
pub mod pdv;
mod runs;
pub mod standard;
pub mod status;
pub mod structured;
mod structured_rows;
mod template;
pub mod transfer_syntax;
pub mod uid;
pub mod vr;
mod whole_message;
