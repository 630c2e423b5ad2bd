//! Bit masks of the full stops, digits and zeros of a UID, and the rules of UIDs as arithmetic on
//! these masks.

use crate::cache::load_ahead;
use crate::columns::cell::{Cell, WINDOW};
use crate::columns::values::{Adjacent, ROWS};

/// Masks of up to 64 characters. Bit 0 is the first character.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Characters {
    /// The full stops.
    pub dots: u64,
    /// The digits `0` to `9`.
    pub digits: u64,
    /// The digit `0`.
    pub zeros: u64,
}

/// The number of characters that one step masks.
pub const BLOCK: usize = 16;

impl Characters {
    /// The masks of a text of 1 to 64 bytes.
    ///
    /// The text is read in blocks of 16 bytes. The last block ends with the text and may overlap
    /// the block before, so no byte after the text is read.
    #[inline]
    pub fn new(text: &[u8]) -> Self {
        debug_assert!((1..=64).contains(&text.len()));
        let Some(last) = text.last_chunk::<BLOCK>() else {
            return of_block(widened(text));
        };
        let mut all = of_block(*last).shifted(text.len() - BLOCK);
        for (number, block) in text.chunks_exact(BLOCK).enumerate() {
            let block = block.try_into().unwrap_or([0; BLOCK]);
            all = all | of_block(block).shifted(number * BLOCK);
        }
        all
    }

    fn shifted(self, by: usize) -> Self {
        Self { dots: self.dots << by, digits: self.digits << by, zeros: self.zeros << by }
    }
}

impl std::ops::BitOr for Characters {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            dots: self.dots | other.dots,
            digits: self.digits | other.digits,
            zeros: self.zeros | other.zeros,
        }
    }
}

/// Pads fewer than 16 bytes with zeros. Two overlapping reads replace a copy of unknown length.
fn widened(text: &[u8]) -> [u8; BLOCK] {
    let shift = |bytes: usize| 8 * bytes as u32;
    let value = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        u128::from(u64::from_le_bytes(*first))
            | u128::from(u64::from_le_bytes(*last)) << shift(text.len() - 8)
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        u128::from(u32::from_le_bytes(*first))
            | u128::from(u32::from_le_bytes(*last)) << shift(text.len() - 4)
    } else {
        text.iter().rev().fold(0, |value, &byte| value << 8 | u128::from(byte))
    };
    value.to_le_bytes()
}

/// Calls `make` for each UID with whether it conforms to PS3.5 9.1, and stores the results in
/// `found`. If all UIDs are equal, as SOP classes and well-known instances mostly are, only one is
/// checked, which takes a third of the instructions.
#[inline(always)]
pub fn conformant_each<'a, T: Copy>(
    uids: &[Cell<'a>],
    found: &mut [T],
    make: impl Fn(Cell<'a>, bool) -> T,
) {
    let Some((one, others)) = uids.split_first() else { return };
    let is_same = |other: &Cell<'_>| {
        other.load_ahead();
        other.is_equal(*one)
    };
    if others.iter().all(is_same) {
        in_widest_registers(&[*one], found, make);
        found.fill(found[0]);
    } else {
        in_widest_registers(uids, found, make);
    }
}

/// Whether all of these adjacent UIDs, at most [`ROWS`], conform to PS3.5 9.1.
///
/// The bytes of all UIDs are masked 64 at a time, whatever the lengths of the UIDs: four fifths of the
/// instructions of masks for each UID of 47 characters.
pub fn all_conformant(mut uids: Adjacent<'_, '_>) -> bool {
    // As SOP classes and well-known instances mostly are: one UID is enough then.
    if uids.offsets.len() > 2 && uids.are_equal() {
        uids = uids.first();
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2. Two registers for 64 characters take half the time of four.
        return unsafe { all_conformant_avx2(uids) };
    }
    all_conformant_portable(uids)
}

/// The same in registers of any CPU.
fn all_conformant_portable(uids: Adjacent<'_, '_>) -> bool {
    sweep(uids, of_window)
}

/// The same in 32-byte registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn all_conformant_avx2(uids: Adjacent<'_, '_>) -> bool {
    sweep(uids, |window| avx2(window))
}

/// More than the windows of the UIDs of a block, and a power of two, so that no index is checked.
const MOST_WINDOWS: usize = 2 * ROWS;

// Inlined, so that the mask function is inlined in both callers.
#[inline(always)]
fn sweep(uids: Adjacent<'_, '_>, of_window: impl Fn(&[u8; WINDOW]) -> Characters) -> bool {
    // 1 to 64 characters: 0 wraps around.
    if uids.lengths().fold(false, |any, length| any | (length.wrapping_sub(1) >= WINDOW as u32)) {
        return false;
    }
    // A bit for the first character of each UID, and for the character after the last one.
    let mut starts = [0_u64; MOST_WINDOWS];
    for offset in uids.offsets {
        starts[*offset as usize / WINDOW % MOST_WINDOWS] |= 1 << (offset % WINDOW as u32);
    }
    let length = uids.offsets.last().map_or(0, |end| *end as usize);
    let (windows, rest) = uids.bytes[..length].as_chunks();
    let mut sweep = Sweep::default();
    for (window, starts) in windows.iter().zip(starts) {
        load_ahead(window);
        sweep.add(of_window(window), starts);
    }
    let mut last = [b'1'; WINDOW];
    last[..rest.len()].copy_from_slice(rest);
    sweep.add(of_window(&last), starts[windows.len()]);
    sweep.violations == 0
}

/// The rules of PS3.5 9.1 for UIDs without gaps between them, 64 characters at a time.
#[derive(Debug, Default)]
struct Sweep {
    /// A bit for each character that violates a rule, of all 64 characters together.
    violations: u64,
    /// 1 if the character before is a full stop.
    dot_before: u64,
    /// 1 if the character before is a zero at the start of a component.
    zero_before: u64,
}

impl Sweep {
    /// Checks the next 64 characters; `starts` has the first characters of UIDs.
    #[inline(always)]
    fn add(&mut self, masks: Characters, starts: u64) {
        let Characters { dots, digits, zeros } = masks;
        let after_dot = dots << 1 | self.dot_before;
        let component_starts = after_dot | starts;
        let zero_starts = zeros & component_starts;
        let after_zero = zero_starts << 1 | self.zero_before;
        (self.dot_before, self.zero_before) = (dots >> 63, zero_starts >> 63);
        let other_characters = !(dots | digits);
        let empty_components = dots & component_starts | after_dot & starts;
        let leading_zeros = after_zero & digits & !starts;
        self.violations |= other_characters | empty_components | leading_zeros;
    }
}

/// Calls `make` for each UID with whether it conforms to PS3.5 9.1, in registers of any CPU.
fn conformant_portable<'a, T>(
    uids: &[Cell<'a>],
    found: &mut [T],
    make: impl Fn(Cell<'a>, bool) -> T,
) {
    conformant(uids, found, make, of_window);
}

/// The same in 32-byte registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn conformant_avx2<'a, T>(uids: &[Cell<'a>], found: &mut [T], make: impl Fn(Cell<'a>, bool) -> T) {
    conformant(uids, found, make, |window| avx2(window));
}

// Inlined, so that the mask function is inlined in both callers.
#[inline(always)]
fn conformant<'a, T>(
    uids: &[Cell<'a>],
    found: &mut [T],
    make: impl Fn(Cell<'a>, bool) -> T,
    of_window: impl Fn(&[u8; WINDOW]) -> Characters,
) {
    for (uid, found) in uids.iter().zip(found) {
        uid.load_ahead();
        let length = uid.length();
        let conformant = match uid.window() {
            Some(window) => is_conformant(of_window(window), length),
            None => is_conformant(of_window(&uid.widened()), length),
        };
        *found = make(*uid, conformant);
    }
}

/// Applies the rules of PS3.5 9.1 to the masks of a text of `length` characters. Mask bits beyond
/// `length` are ignored.
#[inline(always)]
pub fn is_conformant(masks: Characters, length: usize) -> bool {
    // True for length 0 and for more than 64 characters.
    if length.wrapping_sub(1) >= WINDOW {
        return false;
    }
    let all = u64::MAX >> (WINDOW - length);
    let Characters { dots, digits, zeros } = masks;
    let (dots, digits) = (dots & all, digits & all);
    // A component starts at the first character and after each full stop.
    let starts = dots << 1 | 1;
    let ends_in_dot = dots >> (length - 1) != 0;
    let leading_zeros = zeros & starts & digits >> 1;
    dots | digits == all && dots & starts == 0 && !ends_in_dot && leading_zeros == 0
}

fn of_window(window: &[u8; WINDOW]) -> Characters {
    let (blocks, _) = window.as_chunks();
    blocks.iter().enumerate().fold(Characters::default(), |all, (number, &block)| {
        all | of_block(block).shifted(number * BLOCK)
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(window: &[u8; WINDOW]) -> Characters {
    use std::arch::x86_64::{
        __m256i, _mm_set_epi64x, _mm256_cmpeq_epi8, _mm256_min_epu8, _mm256_movemask_epi8,
        _mm256_set_m128i, _mm256_set1_epi8, _mm256_sub_epi8,
    };
    let (blocks, _) = window.as_chunks();
    let block = |at: usize| {
        let value = u128::from_le_bytes(blocks[at]);
        _mm_set_epi64x((value >> 64) as i64, value as i64)
    };
    let halves = [0, 2].map(|at| _mm256_set_m128i(block(at + 1), block(at)));
    let mask = |of: [__m256i; 2]| {
        let [low, high] = of.map(|half| u64::from(_mm256_movemask_epi8(half) as u32));
        low | high << 32
    };
    let equal =
        |to: u8| mask(halves.map(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(to as i8))));
    let digits = mask(halves.map(|half| {
        // Below b'0' the difference wraps around to more than 9.
        let above_zero = _mm256_sub_epi8(half, _mm256_set1_epi8(b'0' as i8));
        _mm256_cmpeq_epi8(_mm256_min_epu8(above_zero, _mm256_set1_epi8(9)), above_zero)
    }));
    Characters { dots: equal(b'.'), digits, zeros: equal(b'0') }
}

#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
use masks_of_block as of_block;

/// SSE2, which every x86-64 CPU has.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[target_feature(enable = "sse2")]
fn sse2(block: [u8; BLOCK]) -> Characters {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8,
        _mm_sub_epi8,
    };
    let value = u128::from_le_bytes(block);
    let bytes = _mm_set_epi64x((value >> 64) as i64, value as i64);
    let equal = |to: u8| _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(to as i8))) as u16;
    // Below b'0' the difference wraps around to more than 9.
    let above_zero = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8));
    let at_most_9 = _mm_cmpeq_epi8(_mm_min_epu8(above_zero, _mm_set1_epi8(9)), above_zero);
    Characters {
        dots: equal(b'.').into(),
        digits: (_mm_movemask_epi8(at_most_9) as u16).into(),
        zeros: equal(b'0').into(),
    }
}

/// NEON, which every aarch64 CPU has.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon(block: [u8; BLOCK]) -> Characters {
    use std::arch::aarch64::{
        uint8x16_t, vaddv_u8, vandq_u8, vceqq_u8, vcleq_u8, vcombine_u8, vcreate_u8, vdupq_n_u8,
        vget_high_u8, vget_low_u8, vsubq_u8,
    };
    // A bit of its own for each of eight bytes: their sum is the mask.
    const BITS: u64 = 0x8040_2010_0804_0201;
    let value = u128::from_le_bytes(block);
    let bytes = vcombine_u8(vcreate_u8(value as u64), vcreate_u8((value >> 64) as u64));
    let mask = |set: uint8x16_t| {
        let bits = vandq_u8(set, vcombine_u8(vcreate_u8(BITS), vcreate_u8(BITS)));
        u64::from(vaddv_u8(vget_low_u8(bits))) | u64::from(vaddv_u8(vget_high_u8(bits))) << 8
    };
    let equal = |to: u8| mask(vceqq_u8(bytes, vdupq_n_u8(to)));
    // Below b'0' the difference wraps around to more than 9.
    let digits = vcleq_u8(vsubq_u8(bytes, vdupq_n_u8(b'0')), vdupq_n_u8(9));
    Characters { dots: equal(b'.'), digits: mask(digits), zeros: equal(b'0') }
}

#[cfg(not(any(
    all(target_arch = "x86_64", target_feature = "sse2"),
    target_arch = "aarch64"
)))]
use portable as of_block;

/// The same with two 8-byte integers.
#[cfg_attr(any(target_arch = "x86_64", target_arch = "aarch64"), allow(dead_code))]
fn portable(block: [u8; BLOCK]) -> Characters {
    let value = u128::from_le_bytes(block);
    eight_bytes(value as u64) | eight_bytes((value >> 64) as u64).shifted(8)
}

fn eight_bytes(bytes: u64) -> Characters {
    const LOW_BITS: u64 = repeated(0x7f);
    const HIGH_BITS: u64 = repeated(0x80);
    // Sets the high bit of each byte that is greater than 127 - `room`.
    let more_than = |bytes: u64, room: u8| ((bytes & LOW_BITS) + repeated(room)) | bytes;
    let equal = |to: u8| gathered(!more_than(bytes ^ repeated(to), 0x7f) & HIGH_BITS);
    // b'0' is 0x30: the digits are the bytes whose low nibble is 0 to 9.
    let digits = !more_than(bytes ^ repeated(b'0'), 0x7f - 9) & HIGH_BITS;
    Characters { dots: equal(b'.'), digits: gathered(digits), zeros: equal(b'0') }
}

const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Gathers the high bits of eight bytes: the product moves bit 8i to bit 56 + i.
fn gathered(high_bits: u64) -> u64 {
    (high_bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Calls `make` for each UID with whether it conforms to PS3.5 9.1, in the widest registers of this
/// CPU.
fn in_widest_registers<'a, T>(
    uids: &[Cell<'a>],
    found: &mut [T],
    make: impl Fn(Cell<'a>, bool) -> T,
) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2. Two registers for 64 characters take half the time of four.
        return unsafe { conformant_avx2(uids, found, make) };
    }
    conformant_portable(uids, found, make);
}

/// The masks of 16 characters, with SSE2 or NEON.
#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
#[inline]
fn masks_of_block(block: [u8; BLOCK]) -> Characters {
    #[cfg(target_arch = "x86_64")]
    use sse2 as in_registers;

    #[cfg(target_arch = "aarch64")]
    use neon as in_registers;

    // SAFETY: every CPU of these architectures has the registers. SSE2 takes a sixth of the time of a
    // loop over the characters.
    unsafe { in_registers(block) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The safe twin: byte by byte.
    fn plain(text: &[u8]) -> Characters {
        let mask = |is: fn(u8) -> bool| {
            text.iter().enumerate().map(|(at, &byte)| u64::from(is(byte)) << at).sum()
        };
        Characters {
            dots: mask(|byte| byte == b'.'),
            digits: mask(|byte| byte.is_ascii_digit()),
            zeros: mask(|byte| byte == b'0'),
        }
    }

    #[test]
    fn every_byte_at_every_place_of_a_block() {
        for place in 0..BLOCK {
            for byte in 0..=u8::MAX {
                for around in [0, b'0', b'9', b'.', 0x7f, 0x80, 0xff] {
                    let mut block = [around; BLOCK];
                    block[place] = byte;
                    assert_eq!(portable(block), plain(&block), "{block:?}");
                    assert_eq!(of_block(block), plain(&block), "{block:?}");
                }
            }
        }
    }

    #[test]
    fn every_length() {
        let text: Vec<u8> = (0..64).map(|at| b"1.0x28.90\xff3"[at * 7 % 11]).collect();
        for start in 0..text.len() {
            for end in start + 1..=text.len() {
                assert_eq!(Characters::new(&text[start..end]), plain(&text[start..end]));
            }
        }
    }

    /// UIDs of up to 64 characters, and texts that violate a rule in one place.
    fn almost_uid() -> impl Strategy<Value = String> {
        let uid = "(0|[1-9][0-9]{0,12})([.](0|[1-9][0-9]{0,12})){0,4}";
        prop_oneof![
            30 => uid,
            1 => (uid, 0_usize..70, "[./0x]").prop_map(|(mut uid, at, wrong)| {
                uid.insert_str(at % (uid.len() + 1), &wrong);
                uid
            }),
            1 => "[01.]{0,3}",
            1 => "1{60,70}",
        ]
    }

    proptest! {
        #[test]
        fn adjacent_uids_are_conformant_if_each_is(
            uids in prop::collection::vec(almost_uid(), 1..=ROWS),
        ) {
            let mut offsets = vec![0];
            offsets.extend(uids.iter().scan(0, |end, uid| {
                *end += uid.len() as u32;
                Some(*end)
            }));
            let bytes = uids.concat().into_bytes();
            let adjacent = Adjacent { bytes: &bytes, offsets: &offsets };
            let each = uids.iter().all(|uid| crate::uid::check(uid.as_bytes()).is_ok());
            prop_assert_eq!(all_conformant_portable(adjacent), each);
            prop_assert_eq!(all_conformant(adjacent), each);
        }
    }

    #[test]
    fn every_byte_at_every_place_of_adjacent_uids() {
        let good: Vec<u8> = b"1.20.3".iter().copied().cycle().take(6 * 21).collect();
        let offsets: Vec<u32> = (0..=21).map(|uid| uid * 6).collect();
        for place in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = good.clone();
                bytes[place] = byte;
                let adjacent = Adjacent { bytes: &bytes, offsets: &offsets };
                let each = bytes.chunks(6).all(|uid| crate::uid::check(uid).is_ok());
                assert_eq!(all_conformant_portable(adjacent), each, "{place} {byte}");
                assert_eq!(all_conformant(adjacent), each, "{place} {byte}");
            }
        }
    }

    #[test]
    fn every_register_width_finds_the_same() {
        // Bytes after the text must not count: more of a UID, or the end of the buffer.
        for after in [&[][..], b".", &[b'7'; 64], &[0xff; 64]] {
            for length in 0..=70 {
                let text: Vec<u8> = b"1.23.4567.8.".iter().copied().cycle().take(length).collect();
                for place in 0..length.max(1) {
                    for byte in 0..=u8::MAX {
                        let mut buffer = [&text[..], after].concat();
                        if let Some(one) = buffer[..length].get_mut(place) {
                            *one = byte;
                        }
                        let cells = [Cell::at_start(&buffer, length)];
                        let (mut wide, mut portable) = ([false], [false]);
                        in_widest_registers(&cells, &mut wide, |_, conformant| conformant);
                        conformant_portable(&cells, &mut portable, |_, conformant| conformant);
                        let plain = crate::uid::check(&buffer[..length]).is_ok();
                        assert_eq!((wide[0], portable[0]), (plain, plain), "{buffer:?}");
                    }
                }
            }
        }
    }
}
