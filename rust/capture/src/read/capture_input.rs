//! The bytes of a capture file, decompressed if the file is compressed.

use crate::fault::FaultKind;
use crate::read::compression::{Compression, Decompressor};

/// Decompresses a file that is pushed in chunks.
#[derive(Default)]
pub struct CaptureInput {
    state: State,
    /// The first bytes, while they do not show whether the file is compressed.
    beginning: Vec<u8>,
    /// Decompressed bytes.
    output: Vec<u8>,
    /// Whether more output is available without input.
    has_more: bool,
}

#[derive(Default)]
enum State {
    #[default]
    Unknown,
    Plain,
    Compressed(Box<Decompressor>),
    /// The rest of a compressed file cannot be read.
    Damaged,
}

/// Bytes of the decompressed file.
pub struct Decompressed<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether they are the last ones.
    pub is_last: bool,
    /// The fault after them.
    pub fault: Option<FaultKind>,
}

impl CaptureInput {
    /// Whether another call is necessary before the next chunk.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Decompresses a part of `chunk`, into about `most` bytes, and removes that part from it.
    pub fn next<'a, 'c: 'a>(
        &'a mut self,
        chunk: &mut &'c [u8],
        is_last: bool,
        most: usize,
    ) -> Decompressed<'a> {
        self.output.clear();
        self.has_more = false;
        if let State::Unknown = self.state {
            let missing = Compression::MAGIC.saturating_sub(self.beginning.len());
            let (first, rest) = chunk.split_at(missing.min(chunk.len()));
            if self.beginning.is_empty() && first.len() == missing {
                self.state = State::new(first);
            } else {
                self.beginning.extend_from_slice(first);
                *chunk = rest;
                if self.beginning.len() < Compression::MAGIC && !is_last {
                    return Decompressed { bytes: &[], is_last: false, fault: None };
                }
                self.state = State::new(&self.beginning);
            }
        }
        let decompressor = match &mut self.state {
            State::Compressed(decompressor) => decompressor,
            State::Damaged => {
                *chunk = &[];
                return Decompressed { bytes: &[], is_last, fault: None };
            }
            State::Unknown | State::Plain if self.beginning.is_empty() => {
                return Decompressed { bytes: std::mem::take(chunk), is_last, fault: None };
            }
            State::Unknown | State::Plain => {
                self.output.append(&mut self.beginning);
                self.has_more = !chunk.is_empty();
                let is_last = is_last && !self.has_more;
                return Decompressed { bytes: &self.output, is_last, fault: None };
            }
        };
        let beginning = std::mem::take(&mut self.beginning);
        let mut before = beginning.as_slice();
        let mut step = || {
            while !before.is_empty() && decompressor.push(&mut before, &mut self.output)? {}
            loop {
                let has_more = decompressor.push(chunk, &mut self.output)?;
                if !has_more || self.output.len() >= most {
                    return Ok(has_more);
                }
            }
        };
        let outcome = step().and_then(|has_more| {
            if is_last && !has_more {
                decompressor.finish()?;
            }
            Ok(has_more)
        });
        self.has_more = *outcome.as_ref().unwrap_or(&false);
        let fault = outcome.err();
        if fault.is_some() {
            self.state = State::Damaged;
            *chunk = &[];
        }
        Decompressed { bytes: &self.output, is_last: is_last && !self.has_more, fault }
    }
}

impl State {
    fn new(beginning: &[u8]) -> Self {
        match Compression::recognize(beginning) {
            Some(compression) => Self::Compressed(Box::new(Decompressor::new(compression))),
            None => Self::Plain,
        }
    }
}
