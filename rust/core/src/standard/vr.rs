//! Value representations (PS3.5 6.2): the rules for values, and their padding.

use dicom_core::VR;
use thiserror::Error;

use crate::uid::{self, UidError};

/// A value that does not fit its VR.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VrError {
    /// Too many characters.
    #[error("{found} characters, but the VR {vr} allows {most}")]
    TooLong {
        /// The VR.
        vr: &'static str,
        /// The maximum number of characters.
        most: usize,
        /// The number of characters.
        found: usize,
    },
    /// A character outside the repertoire of the VR.
    #[error("the character {character:?} at position {at} is not allowed in the VR {vr}{hint}")]
    Character {
        /// The VR.
        vr: &'static str,
        /// The character.
        character: char,
        /// Its position, in characters from 0.
        at: usize,
        /// The accepted values.
        hint: &'static str,
    },
    /// Text that does not have the form of the VR.
    #[error("not a value of the VR {vr}: {expected}")]
    Form {
        /// The VR.
        vr: &'static str,
        /// The accepted values.
        expected: &'static str,
    },
    /// A number outside the range of the VR.
    #[error("outside the range of VR {vr}: {expected}")]
    Number {
        /// The VR.
        vr: &'static str,
        /// The accepted values.
        expected: &'static str,
    },
    /// A number of bytes that is not a multiple of the VR's unit.
    #[error("{found} bytes are not a multiple of the {unit} bytes of VR {vr}")]
    Unit {
        /// The VR.
        vr: &'static str,
        /// The length of a unit.
        unit: usize,
        /// The number of bytes.
        found: usize,
    },
    /// A UID that violates the rules.
    #[error("{0}")]
    Uid(UidError),
}

/// The content of the values of a VR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Text in the default repertoire (PS3.5 6.1.2.1), or in the Specific Character Set if
    /// `extended`.
    Text {
        /// Whether the Specific Character Set applies.
        extended: bool,
        /// Whether a backslash separates values (PS3.5 6.4).
        several: bool,
    },
    /// Binary numbers of this length.
    Numbers(usize),
    /// Attribute tags.
    Tags,
    /// Bytes in units of this length.
    Bytes(usize),
    /// Items.
    Sequence,
}

/// The content of the values of a VR.
pub fn content(vr: VR) -> Content {
    use VR::*;
    match vr {
        AE | AS | CS | DA | DS | DT | IS | TM | UI => {
            Content::Text { extended: false, several: true }
        }
        LO | PN | SH | UC => Content::Text { extended: true, several: true },
        LT | ST | UT => Content::Text { extended: true, several: false },
        UR => Content::Text { extended: false, several: false },
        SS | US => Content::Numbers(2),
        FL | SL | UL => Content::Numbers(4),
        FD | SV | UV => Content::Numbers(8),
        AT => Content::Tags,
        OB | UN => Content::Bytes(1),
        OW => Content::Bytes(2),
        OF | OL => Content::Bytes(4),
        OD | OV => Content::Bytes(8),
        SQ => Content::Sequence,
    }
}

/// The byte that pads a value to an even length (PS3.5 6.2).
pub fn padding(vr: VR) -> u8 {
    match (vr, content(vr)) {
        (VR::UI, _) => 0,
        (_, Content::Text { .. }) => b' ',
        _ => 0,
    }
}

/// Whether Explicit VR has two reserved bytes and a 32-bit length for this VR (PS3.5 7.1.2).
pub fn has_long_length(vr: VR) -> bool {
    use VR::*;
    matches!(vr, OB | OD | OF | OL | OV | OW | SQ | SV | UC | UN | UR | UT | UV)
}

/// Checks one text value without its padding. An empty value is valid.
pub fn check_text(vr: VR, text: &str) -> Result<(), VrError> {
    if text.is_empty() {
        return Ok(());
    }
    match vr {
        VR::UI => uid::check(text.as_bytes()).map_err(VrError::Uid),
        VR::PN => check_person_name(text),
        _ => {
            check_length(vr, text)?;
            check_characters(vr, text)?;
            check_form(vr, text)
        }
    }
}

fn check_length(vr: VR, text: &str) -> Result<(), VrError> {
    let Some(most) = most_characters(vr) else { return Ok(()) };
    // A text has at most as many characters as bytes.
    if text.len() <= most {
        return Ok(());
    }
    match text.chars().count() {
        found if found > most => Err(VrError::TooLong { vr: vr.to_string(), most, found }),
        _ => Ok(()),
    }
}

fn most_characters(vr: VR) -> Option<usize> {
    use VR::*;
    match vr {
        AS => Some(4),
        DA => Some(8),
        IS => Some(12),
        TM => Some(14),
        AE | CS | DS | SH => Some(16),
        DT => Some(26),
        LO | PN | UI => Some(64),
        ST => Some(1024),
        LT => Some(10240),
        _ => None,
    }
}

fn check_characters(vr: VR, text: &str) -> Result<(), VrError> {
    let Content::Text { extended, several } = content(vr) else { return Ok(()) };
    let fits = |character: char| match character {
        '\\' if several => false,
        // Text of several lines (PS3.5 6.1.3).
        '\t' | '\n' | '\x0c' | '\r' => matches!(vr, VR::LT | VR::ST | VR::UT),
        ' '..='~' => of_repertoire(vr, character),
        // Control characters, including those of ISO 8859; ESC has no place in UTF-8.
        _ => extended && !character.is_control(),
    };
    match text.chars().enumerate().find(|(_, character)| !fits(*character)) {
        None => Ok(()),
        Some((at, character)) => {
            let hint = if character == '\\' { ": give several values as a list" } else { "" };
            Err(VrError::Character { vr: vr.to_string(), character, at, hint })
        }
    }
}

/// Whether a VR with a smaller repertoire than the default one has a character.
fn of_repertoire(vr: VR, character: char) -> bool {
    match vr {
        VR::CS => matches!(character, 'A'..='Z' | '0'..='9' | ' ' | '_'),
        VR::DS => matches!(character, '0'..='9' | '+' | '-' | 'E' | 'e' | '.' | ' '),
        VR::IS => matches!(character, '0'..='9' | '+' | '-' | ' '),
        VR::DA => character.is_ascii_digit(),
        VR::TM => matches!(character, '0'..='9' | '.' | ' '),
        VR::DT => matches!(character, '0'..='9' | '+' | '-' | '.' | ' '),
        VR::AS => matches!(character, '0'..='9' | 'D' | 'W' | 'M' | 'Y'),
        VR::UR => character != ' ',
        _ => true,
    }
}

fn check_form(vr: VR, text: &str) -> Result<(), VrError> {
    let (fits, expected) = match vr {
        VR::AE => (!text.trim_matches(' ').is_empty(), "an AE title is not all spaces"),
        VR::AS => (is_age(text), "three digits and D, W, M or Y, such as 018M"),
        VR::DA => (is_date(text), "a date as YYYYMMDD"),
        VR::TM => (is_time(text.trim_end_matches(' ')), "a time as HH[MM[SS[.FFFFFF]]]"),
        VR::DT => {
            let form = "a date time as YYYY[MM[DD[HH[MM[SS[.FFFFFF]]]]]][&ZZXX]";
            (is_date_time(text.trim_end_matches(' ')), form)
        }
        VR::IS => (text.trim_matches(' ').parse::<i32>().is_ok(), "an integer of 32 bits"),
        VR::DS => {
            let number = text.trim_matches(' ').parse::<f64>();
            (number.is_ok_and(f64::is_finite), "a decimal number")
        }
        _ => return Ok(()),
    };
    if fits { Ok(()) } else { Err(VrError::Form { vr: vr.to_string(), expected }) }
}

fn is_age(text: &str) -> bool {
    matches!(text.as_bytes(), [a, b, c, b'D' | b'W' | b'M' | b'Y']
        if [a, b, c].iter().all(|digit| digit.is_ascii_digit()))
}

/// Parses two digits.
fn two_digits(text: &[u8]) -> Option<u8> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some((a - b'0') * 10 + (b - b'0')),
        _ => None,
    }
}

/// Whether pairs of digits are in these ranges; there may be fewer pairs than ranges.
fn are_pairs(text: &[u8], ranges: &[std::ops::RangeInclusive<u8>]) -> bool {
    text.len().is_multiple_of(2)
        && text.len() / 2 <= ranges.len()
        && text
            .chunks(2)
            .zip(ranges)
            .all(|(pair, range)| two_digits(pair).is_some_and(|number| range.contains(&number)))
}

const ANY_TWO: std::ops::RangeInclusive<u8> = 0..=99;

fn is_date(text: &str) -> bool {
    text.len() == 8 && are_pairs(text.as_bytes(), &[ANY_TWO, ANY_TWO, 1..=12, 1..=31])
}

/// Strips a fraction of a second: up to six digits after the seconds.
fn without_fraction(text: &str, seconds_end: usize) -> Option<&str> {
    match text.split_once('.') {
        None => Some(text),
        Some((before, fraction)) => {
            let digits = fraction.bytes().all(|digit| digit.is_ascii_digit());
            (before.len() == seconds_end && (1..=6).contains(&fraction.len()) && digits)
                .then_some(before)
        }
    }
}

fn is_time(text: &str) -> bool {
    without_fraction(text, 6).is_some_and(|text| {
        !text.is_empty() && are_pairs(text.as_bytes(), &[0..=23, 0..=59, 0..=60])
    })
}

fn is_date_time(text: &str) -> bool {
    let (text, zone) = match text.rfind(['+', '-']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let zone_fits =
        zone.is_none_or(|zone| zone.len() == 4 && are_pairs(zone.as_bytes(), &[0..=14, 0..=59]));
    zone_fits
        && without_fraction(text, 14).is_some_and(|text| {
            let ranges = [ANY_TWO, ANY_TWO, 1..=12, 1..=31, 0..=23, 0..=59, 0..=60];
            text.len() >= 4 && are_pairs(text.as_bytes(), &ranges)
        })
}

/// Up to three groups of at most 64 characters, of up to five components (PS3.5 6.2.1).
fn check_person_name(text: &str) -> Result<(), VrError> {
    let vr = VR::PN.to_string();
    check_characters(VR::PN, text)?;
    for group in text.split('=') {
        check_length(VR::PN, group)?;
        if group.split('^').count() > 5 {
            let expected = "at most five components, joined by ^";
            return Err(VrError::Form { vr, expected });
        }
    }
    match text.split('=').count() {
        ..=3 => Ok(()),
        _ => Err(VrError::Form { vr, expected: "at most three groups, joined by =" }),
    }
}

/// Checks bytes: complete units, and an even length if a unit is one byte.
pub fn check_bytes(vr: VR, bytes: &[u8]) -> Result<(), VrError> {
    match content(vr) {
        Content::Bytes(unit) => check_units(vr, unit, bytes),
        _ => Ok(()),
    }
}

/// Checks that the bytes are complete units.
pub fn check_units(vr: VR, unit: usize, bytes: &[u8]) -> Result<(), VrError> {
    match bytes.len() {
        length if length.is_multiple_of(unit) => Ok(()),
        found => Err(VrError::Unit { vr: vr.to_string(), unit, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vr_accepts_and_rejects_examples() {
        // Examples of PS3.5 6.2, or made from its definitions.
        let right = [
            (VR::AE, "  STORE_SCP "),
            (VR::AS, "018M"),
            (VR::CS, "ORIGINAL_1 "),
            (VR::DA, "19930822"),
            (VR::DS, "-1.5e-3 "),
            (VR::DT, "19530827111300.0"),
            (VR::DT, "2007-0500"),
            (VR::IS, " -2147483648"),
            (VR::LO, "Grüße"),
            (VR::LT, "two\r\nlines"),
            (VR::PN, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
            (VR::TM, "070907.0705 "),
            (VR::TM, "10"),
            (VR::UR, "https://example.org/a?b"),
            (VR::UT, "a\\b"),
            (VR::UI, "1.2.3"),
        ];
        for (vr, text) in right {
            assert_eq!(check_text(vr, text), Ok(()), "{vr} {text}");
        }
        let wrong = [
            (VR::AE, "   "),
            (VR::AE, "ALONGERTITLETHAN16"),
            (VR::AS, "18M"),
            (VR::CS, "lower"),
            (VR::CS, "A\\B"),
            (VR::DA, "1993.08.22"),
            (VR::DA, "19931322"),
            (VR::DS, "1.2.3"),
            (VR::DS, "12345678901234567"),
            (VR::DT, "195"),
            (VR::DT, "1953082711130a"),
            (VR::IS, "2147483648"),
            (VR::LO, "two\nlines"),
            (VR::PN, "a=b=c=d"),
            (VR::PN, "a^b^c^d^e^f"),
            (VR::SH, "Grüße aus der Ferne"),
            (VR::TM, "25"),
            (VR::TM, "0709.5"),
            (VR::UR, "https://example.org/a b"),
            (VR::UI, "1.02"),
        ];
        for (vr, text) in wrong {
            assert!(check_text(vr, text).is_err(), "{vr} {text}");
        }
    }

    #[test]
    fn bytes_come_in_units() {
        assert_eq!(check_bytes(VR::OB, &[1]), Ok(()));
        assert!(check_bytes(VR::OW, &[1]).is_err());
        assert!(check_bytes(VR::OD, &[0; 12]).is_err());
    }
}
