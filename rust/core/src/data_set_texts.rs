//! Text of data sets on its way into a column.

use arrow_array::LargeStringArray;
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};

use crate::characters::WINDOW;
use crate::data_set_elements::ShortValue;
use crate::memory::Memory;

/// Without the spaces and NULs at its end, which mean nothing (PS3.5 6.2).
pub fn without_padding(text: &[u8]) -> &[u8] {
    let padding = text.iter().rev().take_while(|byte| is_padding(**byte)).count();
    &text[..text.len() - padding]
}

fn is_padding(byte: u8) -> bool {
    matches!(byte, b' ' | 0)
}

/// A short text, if it is plain: characters of ASCII, and no control character or backslash among
/// them. This needs no second look, whatever the VR and the character set.
#[inline(always)]
pub fn plain<'a>(value: ShortValue<'a>) -> Option<ShortValue<'a>> {
    let ShortValue { window, mut length } = value;
    while length > 0 && is_padding(window[length - 1]) {
        length -= 1;
    }
    is_plain(window, length).then_some(ShortValue { window, length })
}

// Without a branch in it this becomes a few wide registers' arithmetic.
#[inline(always)]
fn is_plain(window: &[u8; WINDOW], length: usize) -> bool {
    /// From byte 64 - n on: n bytes that count, and others that don't.
    const COUNTING: [u8; 2 * WINDOW] = {
        let mut counting = [0; 2 * WINDOW];
        let (first, _) = counting.split_at_mut(WINDOW);
        let mut at = 0;
        while at < WINDOW {
            first[at] = u8::MAX;
            at += 1;
        }
        counting
    };
    let Some(counting) = COUNTING[WINDOW - length..].first_chunk::<WINDOW>() else { return false };
    let mut found = 0;
    for (&byte, counts) in window.iter().zip(counting) {
        // As signed numbers, those beyond ASCII are below the space too.
        let special = ((byte as i8) < b' ' as i8) | (byte == b'\\');
        found |= counts & if special { u8::MAX } else { 0 };
    }
    found == 0
}

/// Texts behind one another, UTF-8.
#[derive(Debug)]
pub struct Texts {
    bytes: Growing,
    /// Where each ends in them.
    ends: Growing,
    /// How many there are.
    pub rows: usize,
    valid: NullBufferBuilder,
}

impl Default for Texts {
    fn default() -> Self {
        let mut ends = Growing::default();
        ends.push(&0_i64.to_ne_bytes(), size_of::<i64>());
        Self { bytes: Growing::default(), ends, rows: 0, valid: NullBufferBuilder::new(0) }
    }
}

impl Texts {
    /// Adds a text.
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend(text);
        self.end();
        self.valid.append_non_null();
    }

    /// Adds a short text.
    // A copy of a length that is not known is a call: it takes six times the instructions.
    #[inline(always)]
    pub fn push_short(&mut self, text: ShortValue<'_>) {
        self.bytes.push(text.window, text.length);
        self.end();
        self.valid.append_non_null();
    }

    /// Adds a null.
    pub fn push_null(&mut self) {
        self.end();
        self.valid.append_null();
    }

    #[inline(always)]
    fn end(&mut self) {
        let end = self.bytes.length as i64;
        self.ends.push(&end.to_ne_bytes(), size_of::<i64>());
        self.rows += 1;
    }

    /// The column.
    pub fn finish(mut self) -> LargeStringArray {
        let ends = ScalarBuffer::new(self.ends.finish(), 0, self.rows + 1);
        LargeStringArray::new(OffsetBuffer::new(ends), self.bytes.finish(), self.valid.finish())
    }
}

/// Bytes that become more, in memory that earlier columns may have left.
#[derive(Debug)]
struct Growing {
    memory: Memory,
    length: usize,
}

impl Default for Growing {
    fn default() -> Self {
        Self { memory: Memory::new(0), length: 0 }
    }
}

impl Growing {
    /// Adds the first `length` of these bytes.
    #[inline(always)]
    fn push<const N: usize>(&mut self, bytes: &[u8; N], length: usize) {
        if self.length + N > self.memory.bytes().len() {
            self.grow(N);
        }
        self.memory.bytes()[self.length..][..N].copy_from_slice(bytes);
        self.length += length;
    }

    fn extend(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if end > self.memory.bytes().len() {
            self.grow(bytes.len());
        }
        self.memory.bytes()[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, by: usize) {
        /// Less than this is not worth a second piece of memory.
        const LEAST: usize = 1024;
        let mut larger = Memory::new((self.length + by).max(LEAST).next_power_of_two());
        larger.bytes()[..self.length].copy_from_slice(&self.memory.bytes()[..self.length]);
        self.memory = larger;
    }

    fn finish(self) -> Buffer {
        self.memory.into_buffer(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_of_every_length() {
        for byte in 0..=u8::MAX {
            for at in 0..WINDOW {
                let mut window = [b'7'; WINDOW];
                window[at] = byte;
                for length in 0..=WINDOW {
                    let special = !(b' '..=0x7f).contains(&byte) || byte == b'\\';
                    let expected = at >= length || !special;
                    assert_eq!(is_plain(&window, length), expected, "{byte} {at} {length}");
                }
            }
        }
    }

    #[test]
    fn padding_is_not_text() {
        let mut window = [0; WINDOW];
        window[..6].copy_from_slice(b"a b \0 ");
        for (length, expected) in [(0, 0), (1, 1), (2, 1), (3, 3), (4, 3), (6, 3), (WINDOW, 3)] {
            let found = plain(ShortValue { window: &window, length }).unwrap();
            assert_eq!(found.length, expected);
            assert_eq!(without_padding(&window[..length]), &window[..expected]);
        }
    }
}
