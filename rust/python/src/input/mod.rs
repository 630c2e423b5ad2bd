//! Events as users pass them, converted to Arrow record batches.
//!
//! In: Arrow tables and streams, objects that contain one, mappings of columns, and iterables of
//! tables, of primitives or of mappings.
//! Out: record batches with the fields of an event (PS3.7 10.1.1.1) as columns, and a rejection for
//! each row that cannot be converted.

pub mod action_columns;
pub mod chunks;
pub mod columns;
pub mod data_sets;
pub mod event_columns;
pub mod events;
pub mod mapping;
pub mod message_tables;
pub mod options;
pub mod pandas;
pub mod primitives;
pub mod row_objects;
pub mod rows;
pub mod selection;
pub mod sources;
pub mod sparse;
pub mod tables;
pub mod transfer_syntaxes;
pub mod values;
