//! Specific Character Set (PS3.3 C.12.1.1.2): decodes and encodes the text of a data set.

use std::borrow::Cow;

use dicom_core::VR;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

use crate::standard::code_extensions::{CodeExtensions, ESCAPE};

/// The character set of a data set.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum CharacterSet {
    /// No character set: ASCII (PS3.5 6.1.2.1); other bytes are read as ISO 8859-1.
    #[default]
    Default,
    /// A character set without code extensions (PS3.5 6.1.2.5.4): Unicode, GB 18030 or GBK.
    WithoutExtensions(SpecificCharacterSet),
    /// One or several character sets with code extensions.
    Extended(CodeExtensions),
    /// An unsupported character set.
    Other(Box<str>),
}

impl CharacterSet {
    /// Parses a value of Specific Character Set.
    pub fn parse(value: &[u8]) -> Self {
        let value = String::from_utf8_lossy(value);
        let value = value.trim_matches([' ', '\0']);
        let first = value.split('\\').next().unwrap_or_default().trim();
        match value {
            "" | "ISO_IR 6" | "ISO 2022 IR 6" => Self::Default,
            // Further values are ignored (PS3.5 6.1.2.5.4).
            _ if matches!(first, "ISO_IR 192" | "ISO_IR_192" | "GB18030" | "GBK" | "GB2312") => {
                SpecificCharacterSet::from_code(first)
                    .map_or_else(|| Self::Other(value.into()), Self::WithoutExtensions)
            }
            _ => CodeExtensions::parse(value)
                .map_or_else(|| Self::Other(value.into()), Self::Extended),
        }
    }

    /// Decodes a value of `vr`; `None` if it cannot be decoded with certainty.
    pub fn decode<'t>(&self, vr: VR, text: &'t [u8]) -> Option<Cow<'t, str>> {
        let escapes = text.contains(&ESCAPE);
        if text.is_ascii() && !escapes {
            return std::str::from_utf8(text).ok().map(Cow::Borrowed);
        }
        match self {
            Self::Default if escapes => CodeExtensions::default().decode(vr, text).map(Cow::Owned),
            Self::Default => Some(text.iter().copied().map(char::from).collect::<String>().into()),
            Self::WithoutExtensions(_) if escapes => None,
            Self::WithoutExtensions(known) => {
                let found = known.decode(text).ok()?;
                // The codec replaces undecodable bytes with octal numbers, so the text must encode
                // to the same bytes.
                let is_certain =
                    !has_octal(&found) || known.encode(&found).is_ok_and(|bytes| bytes == text);
                is_certain.then_some(Cow::Owned(found))
            }
            Self::Extended(extended) => extended.decode(vr, text).map(Cow::Owned),
            Self::Other(_) => None,
        }
    }

    /// Encodes a text value of `vr` that is not ASCII; `None` if a character is missing from the
    /// set.
    pub fn encode(&self, vr: VR, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Default | Self::Other(_) => None,
            // The codec may replace missing characters, so the bytes must decode to the same text.
            Self::WithoutExtensions(known) => known
                .encode(text)
                .ok()
                .filter(|bytes| known.decode(bytes).is_ok_and(|back| back == text)),
            Self::Extended(extended) => extended.encode(vr, text),
        }
    }

    /// The value of Specific Character Set.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Default => "ISO_IR 6".into(),
            Self::WithoutExtensions(known) => known.name(),
            Self::Extended(extended) => extended.name().into(),
            Self::Other(other) => (&**other).into(),
        }
    }
}

/// Whether the text has a byte as a backslash and three octal digits.
fn has_octal(text: &str) -> bool {
    let is_octal = |number: &[u8]| {
        matches!(number, [b'\\', b'0'..=b'3', rest @ ..]
            if rest.iter().all(|digit| matches!(digit, b'0'..=b'7')))
    };
    text.as_bytes().windows(4).any(is_octal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_or_is_rejected() {
        let text = "Grüße";
        for name in ["ISO_IR 100", "ISO_IR 192", "GB18030"] {
            let set = CharacterSet::parse(name.as_bytes());
            let bytes = set.encode(VR::LO, text).unwrap();
            assert_eq!(set.decode(VR::LO, &bytes).unwrap(), text, "{name}");
        }
        let encode = |name: &str, text| CharacterSet::parse(name.as_bytes()).encode(VR::LO, text);
        assert_eq!(encode("ISO_IR 144", text), None);
        assert_eq!(encode("ISO_IR 13", "\u{ff94}a").unwrap(), b"\xd4a");
        assert_eq!(encode("ISO_IR 166", "\u{e01}").unwrap(), b"\xa1");
        assert_eq!(CharacterSet::Default.decode(VR::LO, b"Gr\xfc\xdfe").unwrap(), text);
        let other = CharacterSet::parse(b"\\ISO 2022 IR 4711 ");
        assert_eq!(other.name(), "\\ISO 2022 IR 4711");
        assert_eq!(other.decode(VR::LO, b"Gr\xfc").as_deref(), None);
        assert_eq!(other.decode(VR::LO, b"Yamada").unwrap(), "Yamada");
    }

    #[test]
    fn windows_extensions_of_a_set_are_rejected() {
        // Once written, these would be read differently by readers of the set: as control
        // characters, or not at all.
        for (name, text) in [
            ("ISO_IR 13", "\u{5c71}\u{7530}"),
            ("ISO_IR 166", "\u{20ac}"),
            ("ISO_IR 166", "\u{2018}\u{e01}\u{2019}"),
            ("ISO_IR 148", "\u{20ac}"),
            ("ISO 2022 IR 149", "\u{b620}"),
            ("ISO 2022 IR 149", "\u{ae40}\u{b620}"),
        ] {
            let set = CharacterSet::parse(name.as_bytes());
            assert_eq!(set.encode(VR::LO, text), None, "{name} {text}");
        }
    }

    #[test]
    fn invalid_text_is_rejected() {
        for name in ["ISO_IR 192", "ISO 2022 IR 149", "GB18030"] {
            let set = CharacterSet::parse(name.as_bytes());
            assert_eq!(set.decode(VR::LO, b"M\xff "), None, "{name}");
        }
        let unicode = CharacterSet::parse(b"ISO_IR 192");
        let text = "Stra\u{df}e \\374";
        assert_eq!(unicode.decode(VR::LO, text.as_bytes()).unwrap(), text);
        assert_eq!(unicode.decode(VR::LO, b"\x1b$B;3"), None);
        assert_eq!(CharacterSet::Default.decode(VR::LO, b"\x1b$B;3"), None);
    }
}
