//! Tables and rules that the standard gives (PS3.3 to PS3.7).
//!
//! In: a tag, a keyword, a VR, a UID, a Status, a character set.
//! Out: what the standard says of it: its name, its form, its events, its encoding.
//! Nothing here depends on rows or streams.

pub mod attribute;
pub mod character_set;
mod code_extensions;
pub mod sop_classes;
pub mod status;
pub mod transfer_syntax;
pub mod vr;
