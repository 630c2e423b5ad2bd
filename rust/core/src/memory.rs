//! Memory for output: pages are touched once and used again.
//!
//! The first touch of a page costs more than all the encoding that goes into it. So large outputs
//! are mapped, in large pages where the system has them, and when the last reader has dropped one
//! its pages wait here for the next, while the system may take them back whenever it needs them.

use std::sync::{Mutex, PoisonError};

use arrow_buffer::{Buffer, MutableBuffer};
use bytes::Bytes;
use memmap2::MmapMut;

/// Bytes to write into. They have some value already, which means nothing.
#[derive(Debug)]
pub struct Memory(Pages);

#[derive(Debug)]
enum Pages {
    Heap(MutableBuffer),
    Mapped(Option<MmapMut>),
}

/// From here on memory is mapped; below it the allocator keeps it warm.
pub const MAPPED: usize = 128 << 10;

/// From here on large pages are asked for, and idle pages are offered back to the system.
const LARGE: usize = 4 << 20;

/// The most mappings that wait: enough for the columns of two threads.
const MOST_IDLE: usize = 32;

/// The most bytes that wait and are not offered back, which takes as long as to fill them.
const MOST_WARM: usize = 32 << 20;

static IDLE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

impl Memory {
    /// At least `length` bytes.
    pub fn new(length: usize) -> Self {
        if length < MAPPED {
            return Self(Pages::Heap(MutableBuffer::from_len_zeroed(length)));
        }
        match take_idle(length).or_else(|| map(length)) {
            Some(pages) => Self(Pages::Mapped(Some(pages))),
            None => Self(Pages::Heap(MutableBuffer::from_len_zeroed(length))),
        }
    }

    /// All its bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Pages::Heap(bytes) => bytes,
            Pages::Mapped(pages) => pages.as_deref_mut().unwrap_or_default(),
        }
    }

    /// Becomes `length` bytes long, or longer; the first `used` are kept.
    pub fn grow(&mut self, used: usize, length: usize) {
        let mut larger = Self::new(length);
        larger.bytes()[..used].copy_from_slice(&self.bytes()[..used]);
        *self = larger;
    }

    /// Its first `length` bytes, to be read only. When the last clone of the buffer is dropped the
    /// memory is used again.
    pub fn into_buffer(self, length: usize) -> Buffer {
        Buffer::from(Bytes::from_owner(self)).slice_with_length(0, length)
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Pages::Heap(bytes) => bytes,
            Pages::Mapped(pages) => pages.as_deref().unwrap_or_default(),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Pages::Mapped(pages) = &mut self.0
            && let Some(pages) = pages.take()
        {
            keep_idle(pages);
        }
    }
}

/// The smallest that is large enough, and not so large that a small output would hold it.
fn take_idle(length: usize) -> Option<MmapMut> {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |pages: &MmapMut| (length..=length.saturating_mul(4)).contains(&pages.len());
    let found = idle.iter().enumerate().filter(|(_, pages)| fits(pages));
    let (at, _) = found.min_by_key(|(_, pages)| pages.len())?;
    Some(idle.swap_remove(at))
}

fn map(length: usize) -> Option<MmapMut> {
    let large = length >= LARGE;
    let step = if large { 2 << 20 } else { MAPPED };
    let pages = MmapMut::map_anon(length.checked_next_multiple_of(step)?).ok()?;
    #[cfg(target_os = "linux")]
    if large {
        // Only advice: without large pages it goes on with small ones.
        let _ = pages.advise(memmap2::Advice::HugePage);
    }
    Some(pages)
}

fn keep_idle(pages: MmapMut) {
    if pages.len() >= LARGE && !offer_back(&pages) {
        return;
    }
    let mut unmapped = Vec::new();
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    idle.push(pages);
    while idle.len() > MOST_IDLE || warm_bytes(&idle) > MOST_WARM {
        unmapped.push(idle.remove(0));
    }
    // What is unmapped is not unmapped under the lock.
    drop(idle);
}

fn warm_bytes(idle: &[MmapMut]) -> usize {
    idle.iter().map(|pages| pages.len()).filter(|&length| length < LARGE).sum()
}

/// Offers idle pages to the system, which takes them when it needs them; until then they stay warm.
/// Returns whether the system understood.
fn offer_back(pages: &MmapMut) -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a page that is taken reads as zeros afterwards. These pages are owned by the
        // caller, nobody reads them meanwhile, and what they hold means nothing. Without this an
        // output would have to be unmapped, and the next one of its size take six times as long.
        unsafe { pages.unchecked_advise(memmap2::UncheckedAdvice::Free).is_ok() }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pages;
        false
    }
}
