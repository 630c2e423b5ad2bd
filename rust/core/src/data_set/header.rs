//! The eight bytes of an element's header with a short length (PS3.5 7.1.2 and 7.1.3).

use dicom_core::{Tag, VR};

/// Sequences may stand in sequences; more of them than this only in bytes that mean no good.
pub const DEEPEST: usize = 64;

/// Where the length stands in the eight bytes of a header, read as one number: all headers of
/// Implicit VR, and those of Explicit VR whose length takes 16 bits (PS3.5 7.1.2 and 7.1.3).
#[derive(Debug, Clone, Copy)]
pub struct HeaderForm {
    length_at: u32,
    /// The bits in front of it.
    beginning: u64,
}

impl HeaderForm {
    /// The form of a transfer syntax.
    #[inline(always)]
    pub fn of(explicit: bool) -> Self {
        let length_at = if explicit { 48 } else { 32 };
        Self { length_at, beginning: !(u64::MAX << length_at) }
    }

    /// What is in front of the length in Explicit VR: of this so many bits are those of Implicit VR.
    pub fn beginning(tag: Tag, vr: VR) -> u64 {
        let [v0, v1] = vr.to_bytes().map(u64::from);
        u64::from(tag.0) | u64::from(tag.1) << 16 | v0 << 32 | v1 << 40
    }

    /// The header of a value of `length` bytes.
    #[inline(always)]
    pub fn header(self, beginning: u64, length: u16) -> [u8; 8] {
        (beginning & self.beginning | u64::from(length) << self.length_at).to_le_bytes()
    }

    /// The length in a header, if it has this beginning.
    #[inline(always)]
    pub fn length(self, beginning: u64, header: [u8; 8]) -> Option<usize> {
        let header = u64::from_le_bytes(header);
        let differs = (header ^ beginning) & self.beginning;
        (differs == 0).then_some((header >> self.length_at) as usize)
    }
}
