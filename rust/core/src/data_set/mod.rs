//! Data sets: event information and event replies (PS3.5 7, PS3.7 10.1.1).
//!
//! In: columns of attributes, or encoded data sets.
//! Out: encoded data sets, or columns of attributes.
//! Errors have a path and an offset. Encoding and decoding share the schema, the header form and
//! the errors.

pub mod decode;
pub mod encode;
pub mod error;
pub mod header;
pub mod schema;
pub mod width;
