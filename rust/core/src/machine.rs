//! What is not asked again: wide registers, idle pages, views that were made a moment ago; and what
//! is asked for early. All unsafe code of the core is here.

use std::sync::Arc;

use arrow_array::{BinaryViewArray, StringViewArray};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};
use memmap2::MmapMut;

use crate::characters;
use crate::columns::Cell;

/// Puts into `found` what `make` makes of each of `uids` and of whether it is conformant to PS3.5 9.1,
/// which is seen in the widest registers that this CPU has.
pub fn conformant<'a, T>(uids: &[Cell<'a>], found: &mut [T], make: impl Fn(Cell<'a>, bool) -> T) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2. Two registers for 64 characters instead of four take half the
        // time.
        return unsafe { characters::conformant_avx2(uids, found, make) };
    }
    characters::conformant_portable(uids, found, make);
}

/// Asks for what lies `distance` bytes behind the beginning of `bytes`, before it is needed.
#[inline(always)]
pub fn prefetch(bytes: &[u8], distance: usize) {
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

/// The masks of 16 characters in SSE2, which every x86-64 has.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[inline]
pub fn masks_of_block(block: [u8; characters::BLOCK]) -> characters::Characters {
    // SAFETY: this is compiled only where SSE2 is enabled for all code. It takes a sixth of the
    // time of a loop over the characters.
    unsafe { characters::sse2(block) }
}

/// Offers idle pages to the system, which takes them when it needs them; until then they stay warm.
/// Returns whether the system understood.
pub fn offer_back(pages: &MmapMut) -> bool {
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

/// Text as [`crate::decoded_columns`] views it.
pub fn viewed_text(
    views: ScalarBuffer<u128>,
    buffers: Arc<[Buffer]>,
    valid: Option<NullBuffer>,
) -> StringViewArray {
    if cfg!(debug_assertions) {
        return StringViewArray::new(views, buffers, valid);
    }
    // SAFETY: each view was made of a slice of one of the buffers, which cannot change since, and
    // the slice is ASCII, or was a `String`. To check them again takes as long as all the decoding;
    // tests and fuzz targets do.
    unsafe { StringViewArray::new_unchecked(views, buffers, valid) }
}

/// Data sets as [`crate::decoded_columns`] views them.
pub fn viewed_bytes(
    views: ScalarBuffer<u128>,
    buffers: Arc<[Buffer]>,
    valid: Option<NullBuffer>,
) -> BinaryViewArray {
    if cfg!(debug_assertions) {
        return BinaryViewArray::new(views, buffers, valid);
    }
    // SAFETY: as above, without the question of text.
    unsafe { BinaryViewArray::new_unchecked(views, buffers, valid) }
}
