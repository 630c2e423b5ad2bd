//! Reusable memory for output.
//!
//! The first access to a page costs more than encoding into it. Large outputs are therefore mapped,
//! in huge pages where the system has them. When the last reader drops an output, its pages are
//! kept for the next one; the system may reclaim them at any time.

use std::mem::take;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow_buffer::{Buffer, MutableBuffer};
use bytes::Bytes;
use memmap2::MmapMut;

/// A writable buffer with unspecified contents.
#[derive(Debug)]
pub struct Memory(Pages);

#[derive(Debug)]
enum Pages {
    Heap(MutableBuffer),
    Mapped(Option<MmapMut>),
}

/// Outputs of this length and more are mapped. The allocator reuses smaller ones.
pub const MAPPED: usize = 128 << 10;

/// Outputs of this length and more use huge pages, and are offered to the system as soon as they are
/// idle.
const LARGE: usize = 4 << 20;

/// The maximum number of idle mappings that are offered to the system: enough for the columns of
/// several threads.
const MOST_OFFERED: usize = 256;

/// The maximum of idle bytes that are not offered to the system. Offering small pages takes as long as
/// filling them.
const MOST_WARM: usize = 32 << 20;

static IDLE: Mutex<Idle> = Mutex::new(Idle { warm: Vec::new(), offered: Vec::new() });

/// The mappings that no output uses, the oldest first.
struct Idle {
    /// Those that the system cannot reclaim.
    warm: Vec<MmapMut>,
    /// Those that it can.
    offered: Vec<MmapMut>,
}

impl Memory {
    /// A buffer of at least `length` bytes.
    pub fn new(length: usize) -> Self {
        // The alignment of the widest Arrow values. The allocator needs more time for a larger one.
        let on_heap = || Self(Pages::Heap(vec![0_i128; length.div_ceil(16)].into()));
        if length < MAPPED {
            return on_heap();
        }
        match take_idle(length).or_else(|| map(length)) {
            Some(pages) => Self(Pages::Mapped(Some(pages))),
            None => on_heap(),
        }
    }

    /// All bytes of the buffer.
    pub fn bytes(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Pages::Heap(bytes) => bytes,
            Pages::Mapped(pages) => pages.as_deref_mut().unwrap_or_default(),
        }
    }

    /// Grows to at least `length` bytes; keeps the first `used` bytes.
    pub fn grow(&mut self, used: usize, length: usize) {
        let mut larger = Self::new(length);
        larger.bytes()[..used].copy_from_slice(&self.bytes()[..used]);
        *self = larger;
    }

    /// Converts the first `length` bytes to a read-only Arrow buffer. The memory is reused after
    /// the last clone of that buffer is dropped.
    pub fn into_buffer(mut self, length: usize) -> Buffer {
        match &mut self.0 {
            Pages::Heap(bytes) => Buffer::from(take(bytes)).slice_with_length(0, length),
            Pages::Mapped(_) => Buffer::from(Bytes::from_owner(self)).slice_with_length(0, length),
        }
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

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the smallest idle mapping that is large enough and at most four times as large.
fn take_idle(length: usize) -> Option<MmapMut> {
    let mut idle = idle();
    let Idle { warm, offered } = &mut *idle;
    take_smallest(warm, length).or_else(|| take_smallest(offered, length))
}

fn take_smallest(mappings: &mut Vec<MmapMut>, length: usize) -> Option<MmapMut> {
    let fits = |pages: &MmapMut| (length..=length.saturating_mul(4)).contains(&pages.len());
    let found = mappings.iter().enumerate().filter(|(_, pages)| fits(pages));
    let (at, _) = found.min_by_key(|(_, pages)| pages.len())?;
    Some(mappings.remove(at))
}

fn map(length: usize) -> Option<MmapMut> {
    let large = length >= LARGE;
    let step = if large { 2 << 20 } else { MAPPED };
    let pages = MmapMut::map_anon(length.checked_next_multiple_of(step)?).ok()?;
    #[cfg(target_os = "linux")]
    if large {
        // This is advice: without huge pages the mapping has normal pages.
        let _ = pages.advise(memmap2::Advice::HugePage);
    }
    Some(pages)
}

fn keep_idle(pages: MmapMut) {
    if pages.len() >= LARGE {
        return keep_offered(pages);
    }
    for oldest in keep_warm(pages) {
        keep_offered(oldest);
    }
}

/// Returns the oldest mappings, if there are too many bytes.
fn keep_warm(pages: MmapMut) -> Vec<MmapMut> {
    let mut oldest = Vec::new();
    let mut idle = idle();
    idle.warm.push(pages);
    while bytes_of(&idle.warm) > MOST_WARM {
        oldest.push(idle.warm.remove(0));
    }
    oldest
}

fn bytes_of(mappings: &[MmapMut]) -> usize {
    mappings.iter().map(|pages| pages.len()).sum()
}

/// Keeps a mapping if the system supports offers.
fn keep_offered(pages: MmapMut) {
    if offer_to_system(&pages) {
        let mut idle = idle();
        idle.offered.push(pages);
        let unmapped = (idle.offered.len() > MOST_OFFERED).then(|| idle.offered.remove(0));
        // Unmap outside the lock.
        drop(idle);
        drop(unmapped);
    }
}

/// Offers idle pages to the system, which may reclaim them when it needs memory. Returns whether
/// the system supports this.
fn offer_to_system(pages: &MmapMut) -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a reclaimed page reads as zeros afterwards. The caller owns these pages, nothing
        // reads them while they are idle, and their contents are unspecified. Without this, outputs
        // would have to be unmapped, and the next output of the same size would take six times as
        // long.
        unsafe { pages.unchecked_advise(memmap2::UncheckedAdvice::Free).is_ok() }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pages;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether most small outputs and the large one have the bytes of outputs before them: new memory
    /// has zeros.
    #[cfg(target_os = "linux")]
    fn idle_outputs_are_reused() -> bool {
        const SMALL: usize = 3 * MOST_WARM / LARGE;
        let outputs = || {
            let small = (0..SMALL).map(|_| Memory::new(LARGE - MAPPED));
            small.chain([Memory::new(16 * LARGE)]).collect::<Vec<_>>()
        };
        for output in &mut outputs() {
            output.bytes()[..8].copy_from_slice(b"recycled");
        }
        let again = outputs();
        let mut is_recycled = again.iter().map(|output| output.as_ref().starts_with(b"recycled"));
        is_recycled.next_back() == Some(true) && is_recycled.filter(|one| *one).count() > SMALL / 2
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn more_idle_outputs_than_stay_warm_are_reused() {
        // Other tests may take an idle mapping in between.
        assert!((0..10).any(|_| idle_outputs_are_reused()));
        assert!(bytes_of(&idle().warm) <= MOST_WARM);
    }
}
