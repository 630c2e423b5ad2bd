//! Structured data sets as users pass them: mappings of attributes, `pydicom.Dataset`, DICOM JSON
//! (PS3.18 F).
//!
//! In: Python objects, one for each row.
//! Out: an Arrow column of structs whose fields are attributes, and the same column encoded (PS3.5
//! 7).

pub mod columns;
pub mod encode;
pub mod reader;
pub mod schema;
