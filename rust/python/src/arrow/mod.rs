//! Arrow data of other libraries, imported through the Arrow C Data Interface.
//!
//! In: Python objects with `__arrow_c_array__`, `__arrow_c_stream__` or `__arrow_c_schema__`.
//! Out: arrow-rs arrays, record batches and fields, checked as far as the interface allows.

pub mod check;
pub mod data_type;
pub mod error;
pub mod import;
pub mod imported;
pub mod source;
pub mod values;
