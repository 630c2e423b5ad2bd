//! Decodes a stream chunk by chunk, in memory for one chunk and the message that continues after it.

use std::mem;

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

    /// The number of bytes that the next chunk must have before anything can be decoded, as far as it
    /// is known from its first bytes.
    pub fn needed(&self, chunk: &[u8]) -> usize {
        match complete(chunk, self.options.framing) {
            Complete { length: Some(0), needed } => needed,
            _ => chunk.len(),
        }
    }

    /// Decodes the complete PDUs, or command sets, at the beginning of `chunk`. Returns the events
    /// and the number of bytes that were decoded; the next chunk must begin with the others. Row
    /// numbers and offsets are those of the stream.
    pub fn decode(&mut self, chunk: &Buffer, is_last: bool) -> (StructuredEvents, usize) {
        let complete = complete(chunk, self.options.framing).length;
        self.has_ended = is_last || complete.is_none();
        let length = complete.filter(|_| !self.has_ended).unwrap_or(chunk.len());
        let part = chunk.slice_with_length(0, length);
        let options = self.structure.options(self.options);
        let before = mem::take(&mut self.unfinished);
        let decoded = if self.has_ended {
            decode_rest(&part, options, self.threads, before)
        } else {
            let (decoded, unfinished) = decode_unfinished(&part, options, self.threads, before);
            self.unfinished = unfinished;
            decoded
        };
        let messages = (decoded.rows() + decoded.rejected.len()) as u64;
        let mut found = structured(decoded, &part, self.options, &self.structure);
        let rejected = mem::take(&mut found.decoded.rejected).into_iter();
        let rejected = rejected.map(|one| one.after_rows(self.messages).shifted(self.bytes));
        found.decoded.rejected = rejected.collect();
        let is_rejected = !found.decoded.rejected.is_empty();
        self.has_ended |= self.options.on_invalid == OnInvalid::Raise && is_rejected;
        let offsets = found.decoded.offsets.iter();
        found.decoded.offsets =
            offsets.map(|offset| offset.wrapping_add(self.bytes as i64)).collect();
        self.bytes += length;
        self.messages += messages;
        (found, length)
    }
}

/// The PDUs, or command sets, at the beginning of a chunk.
struct Complete {
    /// The length of the complete ones. `None` if what follows them is neither: decoding ends there.
    length: Option<usize>,
    /// The length up to the end of the next one, as far as it is known.
    needed: usize,
}

fn complete(bytes: &[u8], framing: Framing) -> Complete {
    let header = match framing {
        Framing::PData => PDU_HEADER,
        Framing::CommandSet => 12,
    };
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let length = match (framing, rest) {
            (Framing::PData, &[1..=7, _, a, b, c, d, ..]) => u32::from_be_bytes([a, b, c, d]),
            (Framing::CommandSet, &[0, 0, 0, 0, 4, 0, 0, 0, a, b, c, d, ..]) => {
                u32::from_le_bytes([a, b, c, d])
            }
            (Framing::PData, [] | [1..=7, ..]) => {
                return Complete { length: Some(at), needed: at + header };
            }
            (Framing::CommandSet, rest) if rest.len() < header => {
                return Complete { length: Some(at), needed: at + header };
            }
            _ => return Complete { length: None, needed: bytes.len() },
        };
        let end = (at + header).saturating_add(length as usize);
        if end > bytes.len() {
            return Complete { length: Some(at), needed: end };
        }
        at = end;
    }
}
