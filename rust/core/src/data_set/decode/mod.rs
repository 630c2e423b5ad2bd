//! Data sets from bytes to columns of attributes (PS3.5 7).
//!
//! In: a column of encoded data sets, each with its transfer syntax, and a schema if one is given.
//! Out: an Arrow struct with a field for each attribute, and what is wrong with which data set.
//! Without a schema the columns grow with the attributes that are found, up to a limit of width.

mod builder;
mod decoder;
mod elements;
mod texts;

pub use decoder::*;
