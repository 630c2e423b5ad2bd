//! The rules of UIDs (PS3.5 9.1 and the VR UI of PS3.5 6.2).

use thiserror::Error;

use crate::uid::masks::{self, Characters};

/// The maximum length of a UID (PS3.5 9.1).
pub const MAX_LENGTH: usize = 64;

/// A violation of the rules of UIDs. Positions count bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UidError {
    /// An empty UID.
    #[error("a UID must have at least one character")]
    Empty,
    /// More than 64 characters.
    #[error("a UID has at most 64 characters, not {0}")]
    TooLong(usize),
    /// A character that is neither a digit nor a full stop.
    #[error("a UID has only digits and full stops, not byte {byte:#04x} at position {at}")]
    Character {
        /// The position.
        at: usize,
        /// The byte at that position.
        byte: u8,
    },
    /// Two full stops in a row, or a full stop at either end.
    #[error("the component at position {0} is empty")]
    EmptyComponent(usize),
    /// A component such as `01`.
    #[error("the component at position {0} has a leading zero")]
    LeadingZero(usize),
}

/// Checks `uid` against PS3.5 9.1: 1 to 64 characters, components of digits joined by full stops,
/// none of them empty, none with a leading zero.
///
/// ```
/// use fastdimse_core::uid::{UidError, check};
/// assert_eq!(check(b"1.2.840.10008.1.20.1"), Ok(()));
/// assert_eq!(check(b"1.02"), Err(UidError::LeadingZero(2)));
/// ```
pub fn check(uid: &[u8]) -> Result<(), UidError> {
    if is_conformant(uid) { Ok(()) } else { explain(uid) }
}

/// Finds the violation, component by component.
fn explain(uid: &[u8]) -> Result<(), UidError> {
    check_length(uid)?;
    let mut start = 0;
    for component in uid.split(|&byte| byte == b'.') {
        check_component(component, start)?;
        start += component.len() + 1;
    }
    Ok(())
}

/// The lenient rule, for peers that do not enforce conformance: 1 to 64 ASCII characters without
/// control characters, spaces and backslashes, which would be read back differently.
pub fn check_lenient(uid: &[u8]) -> Result<(), UidError> {
    check_length(uid)?;
    match uid.iter().position(|byte| !byte.is_ascii_graphic() || *byte == b'\\') {
        Some(at) => Err(UidError::Character { at, byte: uid[at] }),
        None => Ok(()),
    }
}

/// Checks with the conformant rule or with the lenient rule.
pub fn check_as(conformant: bool, uid: &[u8]) -> Result<(), UidError> {
    if conformant { check(uid) } else { check_lenient(uid) }
}

/// Whether `uid` conforms to PS3.5 9.1.
///
/// Bit masks take a tenth of the time of a loop over the characters.
#[inline]
pub fn is_conformant(uid: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&uid.len()) && masks::is_conformant(Characters::new(uid), uid.len())
}

fn check_length(uid: &[u8]) -> Result<(), UidError> {
    match uid.len() {
        0 => Err(UidError::Empty),
        1..=MAX_LENGTH => Ok(()),
        length => Err(UidError::TooLong(length)),
    }
}

fn check_component(component: &[u8], start: usize) -> Result<(), UidError> {
    if let Some(at) = component.iter().position(|byte| !byte.is_ascii_digit()) {
        return Err(UidError::Character { at: start + at, byte: component[at] });
    }
    match component {
        [] => Err(UidError::EmptyComponent(start)),
        [b'0', _, ..] => Err(UidError::LeadingZero(start)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conformant() {
        for uid in ["0", "1", "1.2", "1.0.3", "2.25.329800735698586629295641978511506172918"] {
            assert_eq!(check(uid.as_bytes()), Ok(()), "{uid}");
        }
        assert_eq!(check("1".repeat(64).as_bytes()), Ok(()));
    }

    #[test]
    fn every_violation_has_its_position() {
        assert_eq!(check(b""), Err(UidError::Empty));
        assert_eq!(check("1".repeat(65).as_bytes()), Err(UidError::TooLong(65)));
        assert_eq!(check(b"1.x"), Err(UidError::Character { at: 2, byte: b'x' }));
        assert_eq!(check(b"1..2"), Err(UidError::EmptyComponent(2)));
        assert_eq!(check(b".1"), Err(UidError::EmptyComponent(0)));
        assert_eq!(check(b"1."), Err(UidError::EmptyComponent(2)));
        assert_eq!(check(b"1.2.03"), Err(UidError::LeadingZero(4)));
        assert_eq!(check(b"1.2\n"), Err(UidError::Character { at: 3, byte: b'\n' }));
    }

    #[test]
    fn masks_and_explanation_agree_on_short_texts() {
        for length in 0..=6_u32 {
            for number in 0..5_usize.pow(length) {
                let uid: Vec<u8> =
                    (0..length).map(|place| b"012.x"[number / 5_usize.pow(place) % 5]).collect();
                assert_eq!(is_conformant(&uid), explain(&uid).is_ok(), "{uid:?}");
            }
        }
    }

    #[test]
    fn masks_and_explanation_agree_everywhere() {
        for around in [b"1", b"0", b"."] {
            for length in 0..=70 {
                for place in 0..length {
                    for byte in 0..=u8::MAX {
                        // Conformant, except for the byte under test.
                        let mut uid: Vec<u8> =
                            b"1.23.4567.8.".iter().copied().cycle().take(length).collect();
                        if let Some(neighbour) = uid.get_mut(place + 1) {
                            *neighbour = around[0];
                        }
                        uid[place] = byte;
                        assert_eq!(is_conformant(&uid), explain(&uid).is_ok(), "{uid:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_lenient_rule_rejects_only_what_does_not_round_trip() {
        assert_eq!(check_lenient(b"1.02.x"), Ok(()));
        assert!(check_lenient(b"1.2 ").is_err());
        assert!(check_lenient(b"1\\2").is_err());
        assert!(check_lenient("1.é".as_bytes()).is_err());
    }
}
