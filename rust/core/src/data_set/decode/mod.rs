//! Data sets from bytes to columns of attributes (PS3.5 7).
//!
//! In: a column of encoded data sets with their transfer syntaxes, and a schema if one is given.
//! Out: an Arrow struct with one field per attribute, and the errors by row.
//! Without a schema the columns grow with the attributes found, up to a maximum width.

mod builder;
mod decoder;
mod elements;
mod texts;

pub use decoder::{DecodedDataSets, decode_data_sets};
