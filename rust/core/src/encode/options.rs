//! Options of encoding events.

use crate::field::Field;
use crate::options::{Framing, OnInvalid};
use crate::pdu::write::MaxPduLength;
use crate::rejection::{Reason, Rejection};

/// How to encode events.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The presentation context ID of rows without one.
    pub context_id: u8,
    /// The maximum PDU length of the receiver.
    pub max_pdu_length: MaxPduLength,
    /// The framing of command sets.
    pub framing: Framing,
    /// What to do with invalid rows.
    pub on_invalid: OnInvalid,
    /// Whether UIDs must conform to PS3.5 9.1, or only to the lenient rule.
    pub conformant_uids: bool,
}

/// Checks a presentation context ID: an odd number from 1 to 255 (PS3.8 9.3.2.2).
pub fn check_context_id(value: i128) -> Result<u8, Rejection> {
    match u8::try_from(value) {
        Ok(id) if id % 2 == 1 => Ok(id),
        _ => Err(Rejection::new(Reason::ContextId(value)).field(Field::PresentationContextID)),
    }
}
