//! Tables and rules of the standard (PS3.3 to PS3.7).
//!
//! In: a tag, keyword, VR, UID, Status or character set.
//! Out: its name, form, events or encoding.
//! Nothing in this folder depends on rows or streams.

pub mod attribute;
pub mod character_set;
mod code_extensions;
pub mod failure_reason;
pub mod nearest;
pub mod sop_classes;
pub mod status;
pub mod transfer_syntax;
pub mod vr;
