//! Writes messages as P-DATA-TF PDUs (PS3.8 9.3.5).

use crate::rejection::{Reason, Rejection};

/// Length of PDU type, reserved byte and PDU length.
pub const PDU_HEADER: usize = 6;
/// Length of PDV length, presentation context ID and message control header.
pub const PDV_HEADER: usize = 6;

/// Control header bit: the fragment belongs to a command set (PS3.8 E.2).
pub const COMMAND: u8 = 0b01;
/// Control header bit: the fragment is the last one (PS3.8 E.2).
pub const LAST: u8 = 0b10;

/// The maximum length of a P-DATA-TF PDU that the peer accepts (PS3.8 D.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPduLength(u32);

impl MaxPduLength {
    /// No limit.
    pub const UNLIMITED: Self = Self(0);

    /// 0 for no limit, or at least 7: each PDU holds one PDV with at least one byte of fragment.
    ///
    /// ```
    /// use fastdimse_core::pdu::write::MaxPduLength;
    /// assert!(MaxPduLength::new(6).is_err());
    /// assert!(MaxPduLength::new(0).is_ok() && MaxPduLength::new(16382).is_ok());
    /// ```
    pub fn new(length: i128) -> Result<Self, Rejection> {
        match u32::try_from(length) {
            Ok(length @ (0 | 7..)) => Ok(Self(length)),
            _ => Err(Rejection::new(Reason::MaxPduLength(length))),
        }
    }

    /// The maximum for fragments of even length (PS3.8 E.1): the last byte of an odd maximum is not
    /// used. A maximum of 7, which has no room for an even fragment, does not change.
    ///
    /// ```
    /// use fastdimse_core::pdu::write::MaxPduLength;
    /// let even = |length| MaxPduLength::new(length).unwrap().even().fragment();
    /// assert_eq!([7, 8, 9, 16383].map(even), [1, 2, 2, 16376]);
    /// ```
    pub fn even(self) -> Self {
        Self(if self.0 > 7 { self.0 & !1 } else { self.0 })
    }

    /// The maximum length of a fragment.
    pub fn fragment(self) -> usize {
        match self.0 {
            0 => u32::MAX as usize - PDV_HEADER,
            length => length as usize - PDV_HEADER,
        }
    }

    /// The length of a command set or a data set framed in PDUs.
    #[inline]
    pub fn framed_len(self, length: usize) -> usize {
        // A division takes longer than all else here, and one fragment is usual.
        let fragments = match length <= self.fragment() {
            true => usize::from(length > 0),
            false => length.div_ceil(self.fragment()),
        };
        length + fragments * HEADERS
    }

    /// The number of bytes that [`write_message`] appends for parts of these lengths.
    pub fn message_len(self, command_set: usize, data_set: usize) -> usize {
        self.framed_len(command_set) + self.framed_len(data_set)
    }

    /// Checks that an unlimited PDU can hold the message in its 32-bit length.
    pub fn check(self, data_set: usize) -> Result<(), Rejection> {
        if self.0 == 0 && data_set > self.fragment() {
            return Err(Rejection::new(Reason::TooLarge(data_set)));
        }
        Ok(())
    }
}

/// Appends a message as P-DATA-TF PDUs of one PDV each. An empty data set has no PDU.
///
/// `command_set` appends the command set. It nearly always fits one PDU, so it is written in place
/// instead of being copied.
pub fn write_message(
    out: &mut Vec<u8>,
    context_id: u8,
    max_pdu_length: MaxPduLength,
    command_set: impl FnOnce(&mut Vec<u8>),
    data_set: &[u8],
) {
    let start = out.len();
    let fragment_at = start + HEADERS;
    out.resize(fragment_at, 0);
    command_set(out);
    let length = out.len() - fragment_at;
    if length <= max_pdu_length.fragment() {
        out[start..fragment_at].copy_from_slice(&headers(context_id, COMMAND | LAST, length));
    } else {
        let command_set = out.split_off(fragment_at);
        out.truncate(start);
        append_fragments(out, context_id, max_pdu_length, COMMAND, &command_set);
    }
    append_fragments(out, context_id, max_pdu_length, 0, data_set);
}

/// Length of the headers of a PDU with one PDV.
pub const HEADERS: usize = PDU_HEADER + PDV_HEADER;

/// PDU type 04H, a reserved byte, PDU length; PDV length, context ID, control header.
pub fn headers(context_id: u8, control: u8, fragment: usize) -> [u8; HEADERS] {
    let [a, b, c, d] = (fragment as u32 + 6).to_be_bytes();
    let [e, f, g, h] = (fragment as u32 + 2).to_be_bytes();
    [0x04, 0, a, b, c, d, e, f, g, h, context_id, control]
}

fn append_fragments(
    out: &mut Vec<u8>,
    context_id: u8,
    max_pdu_length: MaxPduLength,
    control: u8,
    bytes: &[u8],
) {
    let start = out.len();
    out.resize(start + max_pdu_length.framed_len(bytes.len()), 0);
    write_fragments(&mut out[start..], context_id, max_pdu_length, control, bytes);
}

/// Writes a command set or a data set as PDUs of one PDV each, and returns the number of bytes
/// written.
#[inline]
pub fn write_fragments(
    out: &mut [u8],
    context_id: u8,
    max_pdu_length: MaxPduLength,
    control: u8,
    bytes: &[u8],
) -> usize {
    // One fragment is usual, and takes a quarter of the time of the loop.
    if !bytes.is_empty() && bytes.len() <= max_pdu_length.fragment() {
        let (front, rest) = out.split_at_mut(HEADERS);
        front.copy_from_slice(&headers(context_id, control | LAST, bytes.len()));
        rest[..bytes.len()].copy_from_slice(bytes);
        return HEADERS + bytes.len();
    }
    let mut at = 0;
    let mut fragments = bytes.chunks(max_pdu_length.fragment()).peekable();
    while let Some(fragment) = fragments.next() {
        let last = if fragments.peek().is_none() { LAST } else { 0 };
        let (front, rest) = out[at..].split_at_mut(HEADERS);
        front.copy_from_slice(&headers(context_id, control | last, fragment.len()));
        rest[..fragment.len()].copy_from_slice(fragment);
        at += HEADERS + fragment.len();
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_have_control_bits_and_known_length() {
        let max = MaxPduLength::new(8).unwrap();
        let mut out = Vec::new();
        write_message(&mut out, 3, max, |out| out.extend(b"abc"), b"de");
        let expected = [
            b"\x04\0\0\0\0\x08\0\0\0\x04\x03\x01ab".as_slice(),
            b"\x04\0\0\0\0\x07\0\0\0\x03\x03\x03c",
            b"\x04\0\0\0\0\x08\0\0\0\x04\x03\x02de",
        ]
        .concat();
        assert_eq!(out, expected);
        assert_eq!(out.len(), max.message_len(3, 2));
    }

    #[test]
    fn no_limit_is_one_pdu() {
        let max = MaxPduLength::new(0).unwrap();
        assert_eq!(max.message_len(1 << 20, 0), (1 << 20) + 12);
    }
}
