//! Latin-1, in which pydicom reads and writes the text of a command set: its lower half is the default
//! repertoire (ISO 646, PS3.5 6.1.2.1).

/// The bytes of text; `None` if Latin-1 lacks one of its characters.
pub fn encode(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}

/// The text of bytes.
pub fn decode(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
