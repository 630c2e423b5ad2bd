//! An excerpt of a value for an error text.

/// The first 70 characters of `value`, without unprintable characters.
pub fn excerpt(value: &[u8]) -> Box<str> {
    const MOST: usize = 70;
    let plain = |&byte: &u8| {
        (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\'') & (byte != b'\\')
    };
    let (front, rest) = value.split_at(value.len().min(MOST));
    // No early exit, so that the loop runs in wide registers.
    if front.iter().fold(true, |all, byte| all & plain(byte))
        && let Ok(front) = str::from_utf8(front)
    {
        // Plain ASCII needs no escapes.
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
    fn plain_text_has_the_same_excerpt() {
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
