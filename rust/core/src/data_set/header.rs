//! The 8-byte header of elements with a short length (PS3.5 7.1.2 and 7.1.3).

use dicom_core::{Tag, VR};

/// The maximum depth of nested sequences. Only hostile data sets are deeper.
pub const DEEPEST: usize = 64;

/// The position of the length in an 8-byte header, read as one number: in Implicit VR, and in
/// Explicit VR with a 16-bit length (PS3.5 7.1.2 and 7.1.3).
#[derive(Debug, Clone, Copy)]
pub struct HeaderForm {
    length_at: u32,
    /// A mask of the bits before the length.
    beginning: u64,
}

impl HeaderForm {
    /// The form of Explicit or Implicit VR.
    #[inline(always)]
    pub fn new(explicit: bool) -> Self {
        let length_at = if explicit { 48 } else { 32 };
        Self { length_at, beginning: !(u64::MAX << length_at) }
    }

    /// The bits before the length in Explicit VR. The lower bits are those of Implicit VR.
    pub fn beginning(tag: Tag, vr: VR) -> u64 {
        let [v0, v1] = vr.to_bytes().map(u64::from);
        u64::from(tag.0) | u64::from(tag.1) << 16 | v0 << 32 | v1 << 40
    }

    /// The header of a value of `length` bytes.
    #[inline(always)]
    pub fn header(self, beginning: u64, length: u16) -> [u8; 8] {
        (beginning & self.beginning | u64::from(length) << self.length_at).to_le_bytes()
    }

    /// The header of an empty value, and what it grows by for each byte of the value, as numbers.
    pub fn numbers(self, beginning: u64) -> (u64, u64) {
        (beginning & self.beginning, 1 << self.length_at)
    }

    /// The length in a header, if the bits before it are equal to `beginning`.
    #[inline(always)]
    pub fn length(self, beginning: u64, header: [u8; 8]) -> Option<usize> {
        let header = u64::from_le_bytes(header);
        let differs = (header ^ beginning) & self.beginning;
        (differs == 0).then_some((header >> self.length_at) as usize)
    }
}
