//! Specific Character Set (PS3.3 C.12.1.1.2): text of a data set from bytes and to bytes.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

/// The character set of a data set.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum CharacterSet {
    /// None is said: ASCII (PS3.5 6.1.2.1), or what must be taken for ISO 8859-1.
    #[default]
    Default,
    /// One that is known here.
    Known(SpecificCharacterSet),
    /// Another, or several.
    Other(Box<str>),
}

/// Escapes to other character sets (PS3.5 6.1.2.5.3), which only a known set can be without.
const ESCAPE: u8 = 0x1b;

impl CharacterSet {
    /// The character set of this value of Specific Character Set.
    pub fn of_value(value: &[u8]) -> Self {
        let value = String::from_utf8_lossy(value);
        match value.trim_matches([' ', '\0']) {
            "" | "ISO_IR 6" | "ISO 2022 IR 6" => Self::Default,
            one => match SpecificCharacterSet::from_code(one) {
                Some(known) => Self::Known(known),
                None => Self::Other(one.into()),
            },
        }
    }

    /// The text that these bytes are; `None` where this can't be told.
    pub fn decode<'t>(&self, text: &'t [u8]) -> Option<Cow<'t, str>> {
        if text.is_ascii() && !text.contains(&ESCAPE) {
            return std::str::from_utf8(text).ok().map(Cow::Borrowed);
        }
        match self {
            Self::Default => Some(text.iter().copied().map(char::from).collect::<String>().into()),
            Self::Known(known) => {
                let found = known.decode(text).ok()?;
                // What is no character the codec may give as an octal number: it must come back.
                let is_certain =
                    !has_octal(&found) || known.encode(&found).is_ok_and(|bytes| bytes == text);
                is_certain.then_some(Cow::Owned(found))
            }
            Self::Other(_) => None,
        }
    }

    /// The bytes of text beyond ASCII; `None` where it does not have all characters.
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Default | Self::Other(_) => None,
            // What a codec does not have it may replace: it must come back.
            Self::Known(known) => known
                .encode(text)
                .ok()
                .filter(|bytes| has(&known.name(), bytes))
                .filter(|bytes| known.decode(bytes).is_ok_and(|back| back == text)),
        }
    }

    /// Its name, as Specific Character Set has it.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Default => "ISO_IR 6".into(),
            Self::Known(known) => known.name(),
            Self::Other(other) => (&**other).into(),
        }
    }
}

/// Whether bytes are of the character set itself: some codecs are of the larger ones that Windows has,
/// which other readers have not.
fn has(name: &str, bytes: &[u8]) -> bool {
    let all = |extended: RangeInclusive<u8>| {
        bytes.iter().all(|byte| byte.is_ascii() || extended.contains(byte))
    };
    match name {
        // JIS X 0201, of which Shift JIS goes on in two bytes.
        "ISO_IR 13" => all(0xa1..=0xdf),
        // TIS 620.
        "ISO_IR 166" => all(0xa1..=0xfb),
        // Only behind another value, and with escapes back to ASCII (PS3.5 6.1.2.5.3).
        "ISO_IR 87" => false,
        // KS X 1001 in pairs, of which those of others have a byte below.
        "ISO_IR 149" => {
            let mut extended = bytes.split(u8::is_ascii);
            all(0xa1..=0xfe) && extended.all(|run| run.len().is_multiple_of(2))
        }
        _ => true,
    }
}

/// Whether text has a byte as three octal digits behind a backslash.
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
    fn text_comes_back_or_is_refused() {
        let text = "Grüße";
        for name in ["ISO_IR 100", "ISO_IR 192", "GB18030"] {
            let set = CharacterSet::of_value(name.as_bytes());
            let bytes = set.encode(text).unwrap();
            assert_eq!(set.decode(&bytes).unwrap(), text, "{name}");
        }
        let cyrillic = CharacterSet::of_value(b"ISO_IR 144");
        assert_eq!(cyrillic.encode(text), None);
        assert_eq!(CharacterSet::of_value(b"ISO_IR 13").encode("\u{ff94}a").unwrap(), b"\xd4a");
        assert_eq!(CharacterSet::of_value(b"ISO_IR 166").encode("\u{e01}").unwrap(), b"\xa1");
        let korean = CharacterSet::of_value(b"ISO 2022 IR 149");
        assert_eq!(korean.encode("\u{ae40}a\u{d76c}").unwrap(), b"\xb1\xe8a\xc8\xf1");
        assert_eq!(CharacterSet::Default.decode(b"Gr\xfc\xdfe").unwrap(), text);
        let several = CharacterSet::of_value(b"\\ISO 2022 IR 87 ");
        assert_eq!(several.name(), "\\ISO 2022 IR 87");
        assert_eq!(several.decode(b"\x1b$B;3").as_deref(), None);
        assert_eq!(several.decode(b"Yamada").unwrap(), "Yamada");
    }

    #[test]
    fn what_only_windows_has_in_a_set_is_refused() {
        // They were written, and a reader of the set itself found control characters or nothing.
        for (name, text) in [
            ("ISO_IR 13", "\u{5c71}\u{7530}"),
            ("ISO_IR 166", "\u{20ac}"),
            ("ISO_IR 166", "\u{2018}\u{e01}\u{2019}"),
            ("ISO 2022 IR 149", "\u{b620}"),
            ("ISO 2022 IR 149", "\u{ae40}\u{b620}"),
            ("ISO 2022 IR 87", "\u{5c71}"),
        ] {
            assert_eq!(CharacterSet::of_value(name.as_bytes()).encode(text), None, "{name} {text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        for name in ["ISO_IR 192", "ISO_IR 149", "GB18030"] {
            let set = CharacterSet::of_value(name.as_bytes());
            assert_eq!(set.decode(b"M\xff "), None, "{name}");
        }
        let unicode = CharacterSet::of_value(b"ISO_IR 192");
        let text = "Stra\u{df}e \\374";
        assert_eq!(unicode.decode(text.as_bytes()).unwrap(), text);
    }
}
