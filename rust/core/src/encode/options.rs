//! Options of encoding events.

use crate::field::Field;
use crate::options::{Framing, OnInvalid};
use crate::pdu::write::MaxPduLength;
use crate::rejection::{Reason, Rejection};

/// How to encode.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The presentation context of rows that don't name their own.
    pub context_id: u8,
    /// The most that a PDU may hold.
    pub max_pdu_length: MaxPduLength,
    /// What stands around each command set.
    pub framing: Framing,
    /// What to do with bad rows.
    pub on_invalid: OnInvalid,
    /// Whether UIDs must be conformant to PS3.5 9.1, or only short ASCII.
    pub conformant_uids: bool,
}

/// Checks a presentation context ID: odd, 1 to 255 (PS3.8 9.3.2.2).
pub fn check_context_id(value: i128) -> Result<u8, Rejection> {
    match u8::try_from(value) {
        Ok(id) if id % 2 == 1 => Ok(id),
        _ => Err(Rejection::new(Reason::ContextId(value)).field(Field::PresentationContextID)),
    }
}
