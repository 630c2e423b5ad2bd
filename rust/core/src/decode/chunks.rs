//! Decodes a stream chunk by chunk, in memory for one chunk and the message that continues after it.

use arrow_buffer::Buffer;

use crate::decode::data_sets::{Structure, StructuredEvents, structured};
use crate::decode::stream::{DecodeOptions, Unfinished, decode_rest, decode_unfinished};
use crate::options::{Framing, OnInvalid};
use crate::pdu::write::PDU_HEADER;

/// Decodes the chunks of a stream in order.
#[derive(Debug)]
pub struct ChunkDecoder {
    options: DecodeOptions,
    structure: Structure,
    threads: usize,
    unfinished: Unfinished,
    /// The number of bytes before the next chunk.
    bytes: usize,
    /// The number of messages before the next chunk, valid or rejected.
    messages: u64,
    has_ended: bool,
}

impl ChunkDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new(options: DecodeOptions, structure: Structure, threads: usize) -> Self {
        let unfinished = Unfinished::default();
        let (bytes, messages, has_ended) = (0, 0, false);
        Self { options, structure, threads, unfinished, bytes, messages, has_ended }
    }

    /// Whether the stream has ended: the last chunk was decoded, or an error ended the stream.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Decodes the complete PDUs, or command sets, at the beginning of `chunk`. Returns the events
    /// and the number of bytes that were decoded; the next chunk must begin with the others. Row
    /// numbers and offsets are those of the stream.
    pub fn decode(&mut self, chunk: &Buffer, is_last: bool) -> (StructuredEvents, usize) {
        let complete = complete(chunk, self.options.framing);
        self.has_ended = is_last || complete.is_none();
        let length = complete.filter(|_| !self.has_ended).unwrap_or(chunk.len());
        let part = chunk.slice_with_length(0, length);
        let options = self.structure.options(self.options);
        let before = std::mem::take(&mut self.unfinished);
        let decoded = if self.has_ended {
            decode_rest(&part, options, self.threads, before)
        } else {
            let (decoded, unfinished) = decode_unfinished(&part, options, self.threads, before);
            self.unfinished = unfinished;
            decoded
        };
        let messages = (decoded.rows() + decoded.rejected.len()) as u64;
        let mut found = structured(decoded, &part, self.options, &self.structure);
        let rejected = &mut found.decoded.rejected;
        for rejection in rejected.iter_mut() {
            let row = rejection.row.map(|row| row + self.messages);
            *rejection = rejection.clone().shifted(self.bytes);
            rejection.row = row;
        }
        self.has_ended |= self.options.on_invalid == OnInvalid::Raise && !rejected.is_empty();
        let offsets = found.decoded.offsets.iter();
        found.decoded.offsets =
            offsets.map(|offset| offset.wrapping_add(self.bytes as i64)).collect();
        self.bytes += length;
        self.messages += messages;
        (found, length)
    }
}

/// The length of the complete PDUs, or command sets, at the beginning of `bytes`. `None` if what
/// follows them is neither: decoding ends there.
fn complete(bytes: &[u8], framing: Framing) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let needed = match framing {
            Framing::PData => match *rest {
                [1..=7, _, a, b, c, d, ..] => {
                    PDU_HEADER as u64 + u64::from(u32::from_be_bytes([a, b, c, d]))
                }
                [] | [1..=7, ..] => return Some(at),
                _ => return None,
            },
            Framing::CommandSet => match *rest {
                [0, 0, 0, 0, 4, 0, 0, 0, a, b, c, d, ..] => {
                    12 + u64::from(u32::from_le_bytes([a, b, c, d]))
                }
                _ if rest.len() < 12 => return Some(at),
                _ => return None,
            },
        };
        if needed > rest.len() as u64 {
            return Some(at);
        }
        at += needed as usize;
    }
}
