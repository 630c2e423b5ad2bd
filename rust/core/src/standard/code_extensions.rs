//! Character sets with code extensions, switched by escape sequences (PS3.5 6.1.2.5, ISO 2022).

use dicom_core::VR;
use encoding::all::{
    EUC_JP, GBK, ISO_8859_1, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, WINDOWS_31J, WINDOWS_874, WINDOWS_949, WINDOWS_1254,
};
use encoding::{DecoderTrap, EncoderTrap, Encoding, EncodingRef};

use crate::standard::vr::{Content, content};

/// The first byte of an escape sequence.
pub const ESCAPE: u8 = 0x1b;

/// A code element (PS3.3 Tables C.12-3 and C.12-4).
#[derive(Clone, Copy)]
struct CodeElement {
    /// The number in its defined term.
    number: u16,
    /// The bytes after ESC that select it.
    escape: &'static [u8],
    form: Form,
    codec: EncodingRef,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// G0, one byte: ASCII, or JIS X 0201 Romaji, which readers treat as ASCII.
    Ascii,
    /// G1, one byte.
    Single,
    /// G1, two bytes.
    Pairs,
    /// G0, two bytes.
    LowPairs,
}

impl PartialEq for CodeElement {
    fn eq(&self, other: &Self) -> bool {
        self.escape == other.escape
    }
}

impl std::fmt::Debug for CodeElement {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ISO-IR {}", self.number)
    }
}

const fn element(
    number: u16,
    escape: &'static [u8],
    form: Form,
    codec: EncodingRef,
) -> CodeElement {
    CodeElement { number, escape, form, codec }
}

const ASCII: CodeElement = element(6, b"(B", Form::Ascii, ISO_8859_1);
const ROMAJI: CodeElement = element(13, b"(J", Form::Ascii, ISO_8859_1);
const LATIN_1: CodeElement = element(100, b"-A", Form::Single, ISO_8859_1);
const KATAKANA: CodeElement = element(13, b")I", Form::Single, WINDOWS_31J);

static ELEMENTS: &[CodeElement] = &[
    ASCII,
    ROMAJI,
    KATAKANA,
    LATIN_1,
    element(101, b"-B", Form::Single, ISO_8859_2),
    element(109, b"-C", Form::Single, ISO_8859_3),
    element(110, b"-D", Form::Single, ISO_8859_4),
    element(126, b"-F", Form::Single, ISO_8859_7),
    element(127, b"-G", Form::Single, ISO_8859_6),
    element(138, b"-H", Form::Single, ISO_8859_8),
    element(144, b"-L", Form::Single, ISO_8859_5),
    element(148, b"-M", Form::Single, WINDOWS_1254),
    element(166, b"-T", Form::Single, WINDOWS_874),
    element(203, b"-b", Form::Single, ISO_8859_15),
    element(58, b"$)A", Form::Pairs, GBK),
    element(149, b"$)C", Form::Pairs, WINDOWS_949),
    element(87, b"$B", Form::LowPairs, EUC_JP),
    element(159, b"$(D", Form::LowPairs, EUC_JP),
];

/// The character sets of a value of Specific Character Set.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeExtensions {
    name: Box<str>,
    elements: Vec<CodeElement>,
    initial: Selection,
}

/// The selected code elements for ASCII bytes and for other bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Selection {
    low: CodeElement,
    high: Option<CodeElement>,
}

impl Default for CodeExtensions {
    /// The default repertoire (PS3.5 6.1.2.1); other bytes are read as ISO 8859-1.
    fn default() -> Self {
        let initial = Selection { low: ASCII, high: Some(LATIN_1) };
        Self { name: "ISO_IR 6".into(), elements: vec![ASCII], initial }
    }
}

impl CodeExtensions {
    /// Parses a value of Specific Character Set; `None` if a set is unknown.
    pub fn parse(value: &str) -> Option<Self> {
        let mut elements = vec![ASCII];
        let mut initial = Self::default().initial;
        for (place, term) in value.split('\\').enumerate() {
            let term = term.trim();
            let number = if term.is_empty() { 6 } else { number(term)? };
            let before = elements.len();
            elements.extend(ELEMENTS.iter().filter(|one| one.number == number && number != 6));
            if elements.len() == before && number != 6 {
                return None;
            }
            if place == 0 {
                for &element in &elements[before..] {
                    initial.designate(element);
                }
                // A two-byte set in G0 begins with ASCII selected.
                if initial.low.form == Form::LowPairs {
                    initial.low = ASCII;
                }
            }
        }
        Some(Self { name: value.into(), elements, initial })
    }

    /// The value of Specific Character Set.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Decodes a value of `vr`; `None` if it cannot be decoded with certainty.
    pub fn decode(&self, vr: VR, text: &[u8]) -> Option<String> {
        let mut found = String::with_capacity(text.len());
        let mut state = self.initial;
        let mut rest = text;
        while let Some(&first) = rest.first() {
            if first == ESCAPE {
                let escapes = |one: &&CodeElement| rest[1..].starts_with(one.escape);
                let element = self.elements.iter().find(escapes)?;
                state.designate(*element);
                rest = &rest[1 + element.escape.len()..];
                continue;
            }
            let is_low = state.low.form == Form::LowPairs;
            let ends = |byte: &u8| match is_low {
                true => *byte < b'!',
                false => *byte == ESCAPE || resets(vr, *byte),
            };
            let run = &rest[..rest.iter().position(ends).unwrap_or(rest.len())];
            if run.is_empty() {
                if !resets(vr, first) {
                    return None;
                }
                // The value separator resets the state (PS3.5 6.1.2.5.3).
                state = self.initial;
                found.push(first.into());
                rest = &rest[1..];
                continue;
            }
            match state.decode(run) {
                Some(text) => found.push_str(&text),
                None => return self.decode_shift_jis(text),
            }
            rest = &rest[run.len()..];
        }
        Some(found)
    }

    /// Some Japanese writers use Shift JIS under ISO_IR 13, and readers accept it.
    fn decode_shift_jis(&self, text: &[u8]) -> Option<String> {
        let may_be = self.initial.high == Some(KATAKANA) && !text.contains(&ESCAPE);
        may_be.then(|| WINDOWS_31J.decode(text, DecoderTrap::Strict).ok()).flatten()
    }

    /// Encodes a text value of `vr`; `None` if no set has one of its characters.
    pub fn encode(&self, vr: VR, text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len());
        // Even a single two-byte set needs its escape sequence: readers expect it before pairs.
        let mut initial = self.initial;
        let is_declared = |high: &CodeElement| self.elements.contains(high);
        initial.high = initial.high.filter(|one| one.form == Form::Single && is_declared(one));
        let mut state = initial;
        for character in text.chars() {
            if character.is_ascii() {
                self.leave_pairs(&mut state, &mut bytes);
                bytes.push(character as u8);
                // Some readers keep the state after a reset, so the selection is repeated or ended.
                if resets(vr, character as u8) && state != initial {
                    state.high = None;
                }
                continue;
            }
            let all = self.elements.iter().copied();
            let current = [Some(state.low), state.high].into_iter().flatten();
            let (element, encoded) =
                current.chain(all).find_map(|one| Some((one, one.encode(character)?)))?;
            if element.form != Form::LowPairs {
                self.leave_pairs(&mut state, &mut bytes);
            }
            if element != state.low && Some(element) != state.high {
                bytes.push(ESCAPE);
                bytes.extend(element.escape);
                state.designate(element);
            }
            bytes.extend(encoded);
        }
        self.leave_pairs(&mut state, &mut bytes);
        Some(bytes).filter(|bytes| self.decode(vr, bytes).as_deref() == Some(text))
    }

    /// Selects one-byte characters again. Many readers then reset the selection for other bytes.
    fn leave_pairs(&self, state: &mut Selection, bytes: &mut Vec<u8>) {
        if state.low.form == Form::LowPairs {
            *state = Selection { low: self.initial.low, high: None };
            bytes.push(ESCAPE);
            bytes.extend(state.low.escape);
        }
    }
}

impl Selection {
    fn designate(&mut self, element: CodeElement) {
        match element.form {
            Form::Ascii | Form::LowPairs => self.low = element,
            // Writers and readers treat it as the end of two-byte characters in G0.
            Form::Single | Form::Pairs => {
                self.high = Some(element);
                if self.low.form == Form::LowPairs {
                    self.low = ASCII;
                }
            }
        }
    }

    /// Decodes bytes without escape sequences.
    fn decode(&self, run: &[u8]) -> Option<String> {
        match self.high {
            _ if self.low.form == Form::LowPairs => self.low.decode(run),
            _ if run.is_ascii() => std::str::from_utf8(run).ok().map(str::to_owned),
            high => high?.decode(run),
        }
    }
}

impl CodeElement {
    /// Decodes bytes of this set, and ASCII bytes if the set leaves room for them.
    fn decode(&self, run: &[u8]) -> Option<String> {
        let decode = |bytes: &[u8]| self.codec.decode(bytes, DecoderTrap::Strict).ok();
        match self.form {
            Form::Ascii => None,
            Form::Single if run.iter().all(|&byte| self.has_byte(byte)) => {
                // The codecs implement the larger sets of Windows.
                let is_control = |byte: &u8| (0x80..=0x9f).contains(byte);
                match run.iter().any(is_control) {
                    false => decode(run),
                    true => run
                        .iter()
                        .map(|byte| match is_control(byte) {
                            true => Some(String::from(char::from(*byte))),
                            false => decode(&[*byte]),
                        })
                        .collect(),
                }
            }
            Form::Single => None,
            Form::Pairs => {
                let mut extended = run.split(u8::is_ascii);
                let complete = extended.all(|pairs| self.has_pairs(pairs));
                complete.then(|| decode(run)).flatten().map(|text| self.other_readers_text(&text))
            }
            Form::LowPairs => {
                let high: Vec<u8> = run.iter().map(|byte| byte | 0x80).collect();
                if run.iter().any(|byte| *byte >= 0x7f) || !self.has_pairs(&high) {
                    return None;
                }
                let text = match self.number {
                    159 => decode(
                        &high
                            .chunks(2)
                            .flat_map(|pair| [0x8f, pair[0], pair[1]])
                            .collect::<Vec<_>>(),
                    ),
                    _ => decode(&high),
                };
                text.map(|text| self.other_readers_text(&text))
            }
        }
    }

    fn encode(&self, character: char) -> Option<Vec<u8>> {
        let mut text = [0; 4];
        let codec_character = self.codec_character(character);
        let text = codec_character.encode_utf8(&mut text);
        let mut bytes = self.codec.encode(text, EncoderTrap::Strict).ok()?;
        let has = match self.form {
            Form::Ascii => false,
            Form::Single => matches!(*bytes, [byte] if byte >= 0xa0 && self.has_byte(byte)),
            Form::Pairs | Form::LowPairs => self.has_pairs(&bytes) && bytes.len() == 2,
        };
        if self.form == Form::LowPairs {
            bytes.iter_mut().for_each(|byte| *byte &= 0x7f);
        }
        // The codec encodes JIS X 0208 only.
        (has && self.number != 159).then_some(bytes)
    }

    fn has_byte(&self, byte: u8) -> bool {
        match self.number {
            // JIS X 0201 without the two-byte characters of Shift JIS.
            13 => byte.is_ascii() || (0xa1..=0xdf).contains(&byte),
            // TIS 620.
            166 => byte <= 0x9f || (0xa1..=0xfb).contains(&byte),
            _ => true,
        }
    }

    /// Whether the bytes are pairs of the set, with the high bit set.
    fn has_pairs(&self, bytes: &[u8]) -> bool {
        let pairs = bytes.chunks(2);
        bytes.len().is_multiple_of(2)
            && bytes.iter().all(|byte| (0xa1..=0xfe).contains(byte))
            && pairs.into_iter().all(|pair| match (self.number, pair[0] - 0xa0, pair[1] - 0xa0) {
                (58, row, cell) => is_of_gb_2312(row, cell),
                // JIS X 0208 without vendor extensions.
                (87, row, _) => matches!(row, 1..=8 | 16..=84),
                _ => true,
            })
    }

    /// Replaces the characters that readers other than Windows decode differently.
    fn other_readers_text(&self, text: &str) -> String {
        let reading = |character| self.readings().iter().find(|(codec, _)| *codec == character);
        text.chars()
            .map(|character| reading(character).map_or(character, |(_, other)| *other))
            .collect()
    }

    fn codec_character(&self, character: char) -> char {
        let reading = self.readings().iter().find(|(_, other)| *other == character);
        reading.map_or(character, |(codec, _)| *codec)
    }

    /// Characters of the codec, and those of other readers.
    fn readings(&self) -> &'static [(char, char)] {
        match self.number {
            58 => &[('\u{b7}', '\u{30fb}'), ('\u{2014}', '\u{2015}')],
            87 => &[
                ('\u{ff5e}', '\u{301c}'),
                ('\u{2225}', '\u{2016}'),
                ('\u{ff0d}', '\u{2212}'),
                ('\u{ffe0}', '\u{a2}'),
                ('\u{ffe1}', '\u{a3}'),
                ('\u{ffe2}', '\u{ac}'),
            ],
            159 => &[('\u{ff5e}', '~')],
            _ => &[],
        }
    }
}

/// Whether GB 2312 has a character at this position; GBK has more.
fn is_of_gb_2312(row: u8, cell: u8) -> bool {
    match row {
        1 | 3 | 16..=54 | 56..=87 => true,
        2 => matches!(cell, 17..=66 | 69..=78 | 81..=92),
        4 => cell <= 83,
        5 => cell <= 86,
        6 => matches!(cell, 1..=24 | 33..=56),
        7 => matches!(cell, 1..=33 | 49..=81),
        8 => matches!(cell, 1..=26 | 37..=73),
        9 => matches!(cell, 4..=79),
        55 => cell <= 89,
        _ => false,
    }
}

/// The number of a defined term, with or without code extensions.
fn number(term: &str) -> Option<u16> {
    let number = ["ISO_IR ", "ISO_IR_", "ISO-IR ", "ISO 2022 IR "]
        .iter()
        .find_map(|prefix| term.strip_prefix(prefix))?;
    number.parse().ok()
}

/// Whether a byte of a value resets the selection (PS3.5 6.1.2.5.3).
fn resets(vr: VR, byte: u8) -> bool {
    match byte {
        b'\t' | b'\n' | 0x0c | b'\r' => true,
        b'^' | b'=' => vr == VR::PN,
        b'\\' => matches!(content(vr), Content::Text { several: true, .. }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> CodeExtensions {
        CodeExtensions::parse(name).unwrap()
    }

    #[test]
    fn the_examples_of_the_standard() {
        // PS3.5 H.3.1, H.3.2 and I.2.
        let kanji =
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
        let text = "Yamada^Tarou=山田^太郎=やまだ^たろう";
        let japanese = set("\\ISO 2022 IR 87");
        assert_eq!(japanese.decode(VR::PN, kanji).unwrap(), text);
        assert_eq!(japanese.encode(VR::PN, text).unwrap(), kanji);
        let katakana = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J";
        let text = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう";
        let japanese = set("ISO 2022 IR 13\\ISO 2022 IR 87");
        assert_eq!(japanese.decode(VR::PN, katakana).unwrap(), text);
        assert_eq!(japanese.encode(VR::PN, text).unwrap(), katakana);
        let hangul = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
        let text = "Hong^Gildong=洪^吉洞=홍^길동";
        let korean = set("\\ISO 2022 IR 149");
        assert_eq!(korean.decode(VR::PN, hangul).unwrap(), text);
        assert_eq!(korean.encode(VR::PN, text).unwrap(), hangul);
    }

    #[test]
    fn delimiters_reset_the_selection() {
        let greek = set("ISO 2022 IR 100\\ISO 2022 IR 126");
        assert_eq!(greek.decode(VR::LO, b"B\xfcro").unwrap(), "Büro");
        assert_eq!(greek.decode(VR::LO, b"\x1b-F\xe1\\\xe1").unwrap(), "α\\á");
        assert_eq!(greek.decode(VR::LT, b"\x1b-F\xe1\\\xe1\r\n\xe1").unwrap(), "α\\α\r\ná");
        assert_eq!(greek.decode(VR::PN, b"\x1b-F\xe1^\xe1=\x1b-F\xe1").unwrap(), "α^á=α");
        assert_eq!(greek.decode(VR::LO, b"\x1b-F\xe1^\xe1").unwrap(), "α^α");
    }

    #[test]
    fn the_second_byte_of_a_pair_is_not_a_backslash() {
        let japanese = set("\\ISO 2022 IR 87");
        for vr in [VR::LO, VR::LT, VR::PN] {
            let text = b"\x1b$B0\\=^\x1b(B\\a";
            assert_eq!(japanese.decode(vr, text).unwrap(), "移殉\\a");
        }
    }

    #[test]
    fn undeclared_sets_are_rejected() {
        for (name, text) in [
            ("ISO 2022 IR 100", &b"\x1b$B;3"[..]),
            ("\\ISO 2022 IR 87", b"\x1b$)C\xb1\xe8"),
            ("\\ISO 2022 IR 87", b"\x1b$B;"),
            ("\\ISO 2022 IR 87", b"\x1b$B; "),
            ("\\ISO 2022 IR 87", b"\x1b$B;\xb3"),
            ("\\ISO 2022 IR 149", b"\x1b$)C\xb1"),
            ("\\ISO 2022 IR 149", b"\x1b$)C\xb1a"),
            ("ISO_IR 100", b"\x1b"),
        ] {
            assert_eq!(set(name).decode(VR::LO, text), None, "{name}");
        }
    }
}
