//! A value of a column of byte strings, in the place where Arrow has it.

/// The bytes of a [`Cell::window`]: as many as a UID may have characters.
pub const WINDOW: usize = 64;

/// A value of a column of byte strings, where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// From its first byte to the end of its buffer.
    rest: &'a [u8],
    length: usize,
}

impl<'a> Cell<'a> {
    /// No value. It has no length that anything could have.
    pub const NULL: Self = Self { rest: &[], length: usize::MAX };

    /// The value that begins at `start`.
    #[inline(always)]
    pub fn new(buffer: &'a [u8], start: usize, length: usize) -> Self {
        let rest = &buffer[start..];
        assert!(length <= rest.len(), "an Arrow array whose values lie outside its buffer");
        Self { rest, length }
    }

    /// Its length in bytes; of no value more than there is memory.
    #[inline(always)]
    pub fn length(self) -> usize {
        self.length
    }

    /// Whether there is no value.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.length == usize::MAX
    }

    /// Its bytes, `None` for null.
    #[inline(always)]
    pub fn bytes(self) -> Option<&'a [u8]> {
        self.rest.get(..self.length)
    }

    /// Whether two cells hold the same; most often a UID of 16 to 32 characters, which is compared
    /// in two registers that overlap.
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

    /// Writes its bytes and returns how many they are; what is behind them in `out` may be written
    /// over, as far as `out` goes.
    // A copy of a length that is not known is a call; of a hundred bytes it takes twice as long.
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

    /// Its first bytes and what lies behind them, where the buffer goes on for so long. With this
    /// a UID is read and copied in a few registers, whatever its length.
    #[inline(always)]
    pub fn window(self) -> Option<&'a [u8; WINDOW]> {
        self.rest.first_chunk()
    }

    /// Asks for the values some rows behind it: columns that are read in turns, a block of each, come
    /// too late for the machine's own guesses.
    #[inline(always)]
    pub fn prefetch_behind(self) {
        prefetch(self.rest, 2 << 10);
    }

    /// The same at the end of a buffer: the bytes that there are, and zeros.
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
    /// A value that lies at the beginning of `rest`.
    pub fn at_start(rest: &'a [u8], length: usize) -> Self {
        Self::new(rest, 0, length)
    }
}

/// Asks for what lies `distance` bytes behind the beginning of `bytes`, before it is needed.
#[inline(always)]
fn prefetch(bytes: &[u8], distance: usize) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let there = bytes.as_ptr().wrapping_add(distance);
        // SAFETY: a hint, which no address makes fail, and nothing is read or written. Without it
        // events with references to others take a tenth longer.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(there.cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
    let _ = (bytes, distance);
}
