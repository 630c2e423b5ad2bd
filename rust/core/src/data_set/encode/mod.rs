//! Data sets from columns of attributes to bytes (PS3.5 7, A.1 and A.2).
//!
//! In: an Arrow struct of attributes, by keyword.
//! Out: Implicit or Explicit VR Little Endian, written in place in the stream.
//! Each value is checked against its VR (PS3.5 6.2); the first error is returned.

mod columns;
mod encoder;
mod options;
mod uid_block;

pub use columns::DataSetColumns;
pub use encoder::{DataSetEncoder, DataSetWriter};
pub use options::DataSetOptions;
