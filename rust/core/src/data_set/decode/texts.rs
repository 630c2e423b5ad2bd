//! A text column of decoded data sets.

use arrow_array::LargeStringArray;
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBufferBuilder};

use crate::columns::cell::WINDOW;
use crate::data_set::decode::elements::ShortValue;
use crate::memory::{MAPPED, Memory};

/// Strips trailing spaces and NULs, which are not significant (PS3.5 6.2).
pub fn without_padding(text: &[u8]) -> &[u8] {
    let padding = text.iter().rev().take_while(|byte| is_padding(**byte)).count();
    &text[..text.len() - padding]
}

fn is_padding(byte: u8) -> bool {
    matches!(byte, b' ' | 0)
}

/// A short text if it is plain: ASCII without control characters and backslashes. Plain text needs
/// no further check, whatever the VR and the character set.
#[inline(always)]
pub fn plain<'a>(value: ShortValue<'a>) -> Option<ShortValue<'a>> {
    let ShortValue { window, mut length } = value;
    while length > 0 && is_padding(window[length - 1]) {
        length -= 1;
    }
    is_plain(window, length).then_some(ShortValue { window, length })
}

// Two overlapping blocks are read in a few wide registers, whatever the length: a third of the
// instructions of a loop.
#[inline(always)]
fn is_plain(window: &[u8; WINDOW], length: usize) -> bool {
    let text = &window[..length];
    match (text.first_chunk::<32>(), text.last_chunk::<32>()) {
        (Some(front), Some(back)) => are_plain(front, back),
        _ => match (text.first_chunk::<16>(), text.last_chunk::<16>()) {
            (Some(front), Some(back)) => are_plain(front, back),
            _ => text.iter().fold(true, |all, &byte| all & (is_special(byte) == 0)),
        },
    }
}

// Without branches, the compiler uses a few wide registers.
#[inline(always)]
fn are_plain<const N: usize>(front: &[u8; N], back: &[u8; N]) -> bool {
    let pairs = front.iter().zip(back);
    pairs.fold(0, |found, (&one, &other)| found | is_special(one) | is_special(other)) == 0
}

#[inline(always)]
fn is_special(byte: u8) -> u8 {
    // As a signed number, a byte outside ASCII is less than a space, too.
    u8::from((byte as i8) < b' ' as i8) | u8::from(byte == b'\\')
}

/// Concatenated UTF-8 texts.
#[derive(Debug)]
pub struct Texts {
    bytes: Growing,
    ends: OffsetBufferBuilder<i64>,
    valid: NullBufferBuilder,
}

impl Default for Texts {
    fn default() -> Self {
        let ends = OffsetBufferBuilder::new(0);
        Self { bytes: Growing::default(), ends, valid: NullBufferBuilder::new(0) }
    }
}

impl Texts {
    /// The number of texts.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.ends.len() - 1
    }

    /// Reserves memory for `times` as many texts of at most `most_bytes` together.
    pub fn reserve(&mut self, times: f64, most_bytes: usize) {
        self.bytes.reserve(times, most_bytes);
        // Each element also has a header.
        self.ends.reserve(expected(self.rows(), times, most_bytes / 8) - self.rows());
    }

    /// Appends a text.
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend(text);
        self.ends.push_length(text.len());
        self.valid.append_non_null();
    }

    /// Appends a short text. A copy of unknown length is a function call with six times the
    /// instructions.
    #[inline(always)]
    pub fn push_short(&mut self, text: ShortValue<'_>) {
        self.bytes.push(text.window, text.length);
        self.ends.push_length(text.length);
        self.valid.append_non_null();
    }

    /// Appends a null.
    pub fn push_null(&mut self) {
        self.ends.push_length(0);
        self.valid.append_null();
    }

    /// The finished column.
    pub fn finish(mut self) -> LargeStringArray {
        LargeStringArray::new(self.ends.finish(), self.bytes.finish(), self.valid.finish())
    }
}

/// Estimates the number of values after `times` more rows, with a margin, up to `most`.
fn expected(found: usize, times: f64, most: usize) -> usize {
    ((found as f64 * times * 1.1) as usize).min(most).max(found)
}

/// A growing buffer in reused memory.
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
    /// Appends the first `length` of these bytes.
    #[inline(always)]
    fn push(&mut self, bytes: &[u8; WINDOW], length: usize) {
        let free = self.memory.bytes().get_mut(self.length..);
        match free.and_then(<[u8]>::first_chunk_mut) {
            Some(place) => *place = *bytes,
            None => self.grow(bytes),
        }
        self.length += length;
    }

    fn extend(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match self.memory.bytes().get_mut(self.length..end) {
            Some(place) => place.copy_from_slice(bytes),
            None => self.grow(bytes),
        }
        self.length = end;
    }

    /// Appends bytes after growing.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.become_large(end.max(2 * self.length));
        self.memory.bytes()[self.length..end].copy_from_slice(bytes);
    }

    fn reserve(&mut self, times: f64, most: usize) {
        let expected = expected(self.length, times, most);
        if expected > self.memory.bytes().len() {
            self.become_large(expected);
        }
    }

    fn become_large(&mut self, length: usize) {
        /// Buffers of this length and more use the reusable memory.
        const LARGE: usize = 16 << 10;
        let length = if length < LARGE { length } else { length.max(MAPPED) };
        self.memory.grow(self.length, length.next_multiple_of(1024));
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
