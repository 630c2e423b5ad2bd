//! An excerpt of a value, as error texts quote it.

/// `value` as shown in a message: at most 70 characters, nothing unprintable.
pub fn excerpt(value: &[u8]) -> Box<str> {
    const MOST: usize = 70;
    let plain = |&byte: &u8| {
        (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\'') & (byte != b'\\')
    };
    let (front, rest) = value.split_at(value.len().min(MOST));
    // All of them are looked at, in wide registers.
    if front.iter().fold(true, |all, byte| all & plain(byte))
        && let Ok(front) = str::from_utf8(front)
    {
        // Nothing of it is shown otherwise than it is.
        return if rest.is_empty() { front.into() } else { [front, "…"].concat().into() };
    }
    let text = String::from_utf8_lossy(value);
    let mut short: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_shown_as_any_other() {
        let long_way =
            |text: &str| -> String { text.chars().flat_map(char::escape_debug).collect() };
        for byte in 0..=0x7f_u8 {
            for text in [format!("{}", byte as char), format!("1.2{}3", byte as char)] {
                assert_eq!(*excerpt(text.as_bytes()), *long_way(&text));
            }
        }
        assert_eq!(*excerpt(&[b'1'; 70]), *"1".repeat(70));
        assert_eq!(*excerpt(&[b'1'; 71]), *("1".repeat(70) + "…"));
        assert_eq!(*excerpt(b"\xff"), *"\u{fffd}");
    }
}
