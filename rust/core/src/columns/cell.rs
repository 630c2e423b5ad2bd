//! One value of a column of byte strings: a reference into the Arrow buffer.

use crate::cache::load_ahead;

/// The length of [`Cell::window`]: the maximum length of a UID.
pub const WINDOW: usize = 64;

/// One value of a column of byte strings, or null.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// The buffer from the first byte of the value on.
    rest: &'a [u8],
    length: usize,
}

impl<'a> Cell<'a> {
    /// A null value. Its length is larger than any value can have.
    pub const NULL: Self = Self { rest: &[], length: usize::MAX };

    /// The value of `length` bytes at `start` of `buffer`.
    #[inline(always)]
    pub fn new(buffer: &'a [u8], start: usize, length: usize) -> Self {
        let rest = &buffer[start..];
        assert!(length <= rest.len(), "an Arrow array whose values lie outside its buffer");
        Self { rest, length }
    }

    /// The length in bytes; `usize::MAX` for null.
    #[inline(always)]
    pub fn length(self) -> usize {
        self.length
    }

    /// Whether the value is null.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.length == usize::MAX
    }

    /// The bytes of the value; `None` for null.
    #[inline(always)]
    pub fn bytes(self) -> Option<&'a [u8]> {
        self.rest.get(..self.length)
    }

    /// Whether two cells are equal. A UID has mostly 16 to 32 characters: two overlapping registers
    /// compare it.
    #[inline(always)]
    pub fn is_equal(self, other: Cell<'_>) -> bool {
        if self.length != other.length {
            return false;
        }
        let (Some(one), Some(two)) = (self.bytes(), other.bytes()) else { return true };
        match (one.len(), one.first_chunk::<16>(), two.first_chunk::<16>()) {
            (16..=32, Some(one_front), Some(two_front)) => {
                one_front == two_front && one.last_chunk::<16>() == two.last_chunk::<16>()
            }
            _ => one == two,
        }
    }

    /// Writes the bytes to `out` and returns their number. Later bytes of `out` may be overwritten.
    // A copy of unknown length is a function call: for a hundred bytes it takes twice as long.
    #[inline(always)]
    pub fn write(self, out: &mut [u8]) -> usize {
        const SHORT: usize = 128;
        let length = self.bytes().map_or(0, <[u8]>::len);
        match (self.rest.first_chunk::<SHORT>(), out.first_chunk_mut::<SHORT>()) {
            (Some(from), Some(to)) if length <= SHORT => *to = *from,
            _ => out[..length].copy_from_slice(self.bytes().unwrap_or_default()),
        }
        length
    }

    /// The first 64 bytes from the beginning of the value, if the buffer has that many. A UID of
    /// any length is then read and copied in a few registers.
    #[inline(always)]
    pub fn window(self) -> Option<&'a [u8; WINDOW]> {
        self.rest.first_chunk()
    }

    /// Loads values of later rows into the cache.
    #[inline(always)]
    pub fn load_ahead(self) {
        load_ahead(self.rest);
    }

    /// The window at the end of a buffer: the remaining bytes, padded with zeros.
    #[cold]
    pub fn widened(self) -> [u8; WINDOW] {
        let mut window = [0; WINDOW];
        let length = self.rest.len().min(WINDOW);
        window[..length].copy_from_slice(&self.rest[..length]);
        window
    }
}

#[cfg(test)]
impl<'a> Cell<'a> {
    /// The value at the beginning of `rest`.
    pub fn at_start(rest: &'a [u8], length: usize) -> Self {
        Self::new(rest, 0, length)
    }
}
