//! Decompresses capture files: gzip (RFC 1952) and Zstandard (RFC 8878), recognized by content.
//!
//! In: the compressed file, in pieces of any size.
//! Out: the decompressed bytes, in steps of bounded size. A member or frame that decompresses to far
//! more than its own size takes many steps, and no more memory than any other.

use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use crate::fault::FaultKind;

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// One gzip member or several.
    Gzip,
    /// One Zstandard frame or several, also skippable ones.
    Zstd,
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The last three bytes of a skippable frame's magic number. The first is 0x50 to 0x5f.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

impl Compression {
    /// The number of bytes that [`Self::recognize`] needs.
    pub const MAGIC: usize = 4;

    /// The compression of a file with these first bytes.
    pub fn recognize(beginning: &[u8]) -> Option<Self> {
        [Self::Gzip, Self::Zstd].into_iter().find(|compression| {
            let length = compression.magic_length();
            beginning.get(..length).is_some_and(|magic| compression.may_begin(magic))
        })
    }

    /// Its name in faults.
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "Zstandard",
        }
    }

    fn magic_length(self) -> usize {
        match self {
            Self::Gzip => GZIP.len(),
            Self::Zstd => ZSTD.len(),
        }
    }

    /// Whether these bytes are the beginning of a magic number, or a complete one.
    fn may_begin(self, bytes: &[u8]) -> bool {
        match self {
            Self::Gzip => GZIP.starts_with(bytes),
            Self::Zstd => {
                let skippable =
                    |[first, rest @ ..]: &[u8; 4]| first & 0xf0 == 0x50 && *rest == SKIPPABLE;
                let mut whole = [0x50, SKIPPABLE[0], SKIPPABLE[1], SKIPPABLE[2]];
                whole[..bytes.len()].copy_from_slice(bytes);
                ZSTD.starts_with(bytes) || skippable(&whole)
            }
        }
    }
}

/// The spare capacity of the output at the start of a step.
const STEP: usize = 1 << 18;
/// The highest window that zstd decompresses without an option: 128 MiB (`zstd --memory`).
const WINDOW_LOG: u32 = 27;
/// The window of gzip: 32 KiB.
const GZIP_WINDOW_LOG: u8 = 15;

/// Decompresses a file that is pushed in pieces.
pub struct Decompressor {
    compression: Compression,
    decoder: Decoder,
    state: State,
    /// The number of consumed bytes.
    consumed: u64,
}

enum Decoder {
    Gzip(Decompress),
    Zstd(DCtx<'static>),
}

/// The position in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After `matched` bytes of the magic number of a member or frame.
    Magic { magic: [u8; Compression::MAGIC], matched: usize },
    /// Inside a member or frame. The decoder may have more output if the last step was full.
    Inside { full: bool },
    /// In zeros after the last member or frame, which fill the last block of a tape or disk.
    Padding,
}

const BETWEEN: State = State::Magic { magic: [0; Compression::MAGIC], matched: 0 };

/// The outcome of a step of a decoder.
struct Step {
    read: usize,
    /// Whether the member or frame ends.
    ends: bool,
}

impl Decompressor {
    /// Starts at the beginning of a file.
    pub fn new(compression: Compression) -> Self {
        let decoder = match compression {
            Compression::Gzip => Decoder::Gzip(Decompress::new_gzip(GZIP_WINDOW_LOG)),
            Compression::Zstd => {
                let mut context = DCtx::create();
                context
                    .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
                    .expect("the window is within the limits of zstd");
                Decoder::Zstd(context)
            }
        };
        Self { compression, decoder, state: BETWEEN, consumed: 0 }
    }

    /// Decompresses `input`, removes from it the consumed bytes, and appends to `output` at most its
    /// spare capacity, which is 256 KiB or more.
    ///
    /// Returns whether more output may be available: call again, even if `input` is empty. Otherwise
    /// all of `input` was consumed.
    ///
    /// # Errors
    ///
    /// If the data is damaged, or followed by other data. `output` has everything before it.
    pub fn push(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, FaultKind> {
        output.reserve(STEP);
        loop {
            match self.state {
                State::Magic { magic, matched } => {
                    let Some((&byte, rest)) = input.split_first() else { return Ok(false) };
                    self.state = self.begin(magic, matched, byte)?;
                    self.consumed += 1;
                    *input = rest;
                }
                State::Padding => {
                    let zeros = input.iter().take_while(|&&byte| byte == 0).count();
                    self.consumed += zeros as u64;
                    *input = &input[zeros..];
                    return if input.is_empty() { Ok(false) } else { Err(self.trailing(0)) };
                }
                State::Inside { full } => {
                    if input.is_empty() && !full {
                        return Ok(false);
                    }
                    if output.len() == output.capacity() {
                        return Ok(true);
                    }
                    let before = output.len();
                    let step = self.step(input, output)?;
                    self.consumed += step.read as u64;
                    *input = &input[step.read..];
                    self.state = match step.ends {
                        true => BETWEEN,
                        false => State::Inside { full: output.len() == output.capacity() },
                    };
                    if !step.ends && step.read == 0 && output.len() == before {
                        if input.is_empty() {
                            return Ok(false);
                        }
                        return Err(self.damaged("no progress"));
                    }
                }
            }
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// If the file ends inside a member or frame, or inside the beginning of another one.
    pub fn finish(&self) -> Result<(), FaultKind> {
        match self.state {
            BETWEEN | State::Padding => Ok(()),
            State::Magic { matched, .. } => Err(self.trailing(matched)),
            State::Inside { .. } => Err(FaultKind::CompressionEnds {
                compression: self.compression.name(),
                bytes: self.consumed,
            }),
        }
    }

    /// The state after the next byte of a magic number.
    fn begin(
        &mut self,
        mut magic: [u8; Compression::MAGIC],
        matched: usize,
        byte: u8,
    ) -> Result<State, FaultKind> {
        magic[matched] = byte;
        let begun = &magic[..matched + 1];
        if !self.compression.may_begin(begun) {
            let padding = byte == 0 && matched == 0 && self.consumed > 0;
            return if padding { Ok(State::Padding) } else { Err(self.trailing(matched)) };
        }
        if begun.len() < self.compression.magic_length() {
            return Ok(State::Magic { magic, matched: matched + 1 });
        }
        match &mut self.decoder {
            Decoder::Gzip(inflate) => *inflate = Decompress::new_gzip(GZIP_WINDOW_LOG),
            // A frame that has ended leaves a context that is ready for the next one.
            Decoder::Zstd(_) => {}
        }
        self.step(begun, &mut Vec::new())?;
        Ok(State::Inside { full: false })
    }

    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Step, FaultKind> {
        match &mut self.decoder {
            Decoder::Gzip(inflate) => {
                let before = inflate.total_in();
                match inflate.decompress_vec(input, output, FlushDecompress::None) {
                    Ok(status) => {
                        let read = (inflate.total_in() - before) as usize;
                        Ok(Step { read, ends: status == Status::StreamEnd })
                    }
                    Err(error) => {
                        let why = error.message().unwrap_or("invalid data").to_owned();
                        Err(self.damaged(&why))
                    }
                }
            }
            Decoder::Zstd(context) => {
                let begin = output.len();
                let mut input = InBuffer::around(input);
                let mut room = OutBuffer::around_pos(output, begin);
                match context.decompress_stream(&mut room, &mut input) {
                    Ok(hint) => Ok(Step { read: input.pos(), ends: hint == 0 }),
                    Err(code) => Err(self.damaged(get_error_name(code))),
                }
            }
        }
    }

    fn damaged(&self, why: &str) -> FaultKind {
        let (compression, at) = (self.compression.name(), self.consumed);
        FaultKind::CompressionDamaged { compression, at, why: why.into() }
    }

    /// The fault of other data that begins `matched` bytes ago.
    fn trailing(&self, matched: usize) -> FaultKind {
        let at = self.consumed - matched as u64;
        FaultKind::TrailingBytes { compression: self.compression.name(), at }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(bytes.len() + 1000);
        zstd_safe::compress(&mut frame, bytes, 1).unwrap();
        frame
    }

    /// Decompresses a file in pieces of `size` bytes.
    fn decompressed(file: &[u8], size: usize) -> (Vec<u8>, Result<(), FaultKind>) {
        let mut decompressor = Decompressor::new(Compression::recognize(file).unwrap());
        let mut all = Vec::new();
        for mut piece in file.chunks(size) {
            loop {
                let mut output = Vec::new();
                let more = decompressor.push(&mut piece, &mut output);
                assert!(output.len() <= STEP);
                all.append(&mut output);
                match more {
                    Ok(true) => {}
                    Ok(false) => break assert!(piece.is_empty()),
                    Err(fault) => return (all, Err(fault)),
                }
            }
        }
        (all, decompressor.finish())
    }

    /// Bytes that do not compress well, and some that do.
    fn contents() -> Vec<u8> {
        let mut state = 1_u32;
        let noise = (0..300_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        noise.chain(std::iter::repeat_n(0, 2_000_000)).collect()
    }

    #[test]
    fn members_and_frames_are_concatenated() {
        let all = contents();
        let (first, second) = all.split_at(100_000);
        let skippable = b"\x5f\x2a\x4d\x18\x03\0\0\0abc";
        let frames = [skippable, &zstd(first)[..], skippable, &zstd(b""), &zstd(second)].concat();
        let members = [gzip(first), gzip(b""), gzip(second)].concat();
        let padded = [&members[..], &[0; 600]].concat();
        for file in [frames, members, padded] {
            for size in [1, 4096, file.len()] {
                let (found, end) = decompressed(&file, size);
                assert_eq!(end, Ok(()));
                assert!(found == all, "{} of {} bytes", found.len(), all.len());
            }
        }
    }

    #[test]
    fn ends_are_reported_with_everything_before_them() {
        let all = contents();
        for (compression, file) in [("gzip", gzip(&all)), ("Zstandard", zstd(&all))] {
            let bytes = file.len() as u64;
            let (found, end) = decompressed(&file[..file.len() - 1], 1000);
            assert_eq!(end, Err(FaultKind::CompressionEnds { compression, bytes: bytes - 1 }));
            assert!(found.len() > 300_000 && all.starts_with(&found));
            for more in [&b"\0\0more"[..], b"\x1f", b"\x28\xb5\x2f", b"PK"] {
                let (found, end) = decompressed(&[&file[..], more].concat(), 1000);
                let padding = more.iter().take_while(|&&byte| byte == 0).count() as u64;
                let at = bytes + padding;
                assert_eq!(end, Err(FaultKind::TrailingBytes { compression, at }), "{more:?}");
                assert!(found == all);
            }
            let (found, end) = decompressed(&[&file[..], b"\x1f\x8b\x08\0"].concat(), 1000);
            assert!(end.is_err() && found == all);
        }
    }

    #[test]
    fn damage_is_reported_with_everything_before_it() {
        let all = contents();
        let compressed = [("gzip", gzip(&all)), ("Zstandard", zstd(&all))];
        for (expected, mut file) in compressed {
            let middle = file.len() - 200;
            file[middle..].fill(0xff);
            let (found, end) = decompressed(&file, 5000);
            let Err(FaultKind::CompressionDamaged { compression, at, .. }) = end else {
                panic!("{end:?}")
            };
            assert_eq!(compression, expected);
            assert!(at <= file.len() as u64 && at > 200_000, "{at}");
            assert!(found.len() > 100_000 && all.starts_with(&found), "{}", found.len());
        }
    }

    #[test]
    fn windows_are_bounded() {
        // Frame headers (RFC 8878 3.1.1.1) with windows of 128 MiB and 256 MiB, and an empty block.
        let frame = |exponent: u8| {
            let header = [&ZSTD[..], &[0, (exponent - 10) << 3]].concat();
            [&header[..], &[1, 0, 0]].concat()
        };
        assert_eq!(decompressed(&frame(27), 100), (vec![], Ok(())));
        let (_, end) = decompressed(&frame(28), 100);
        let fault = end.unwrap_err().to_string();
        assert!(fault.contains("Frame requires too much memory"), "{fault}");
    }

    #[test]
    fn other_files_are_not_compressed() {
        for beginning in
            [&b""[..], b"\x1f", b"\x28\xb5\x2f", b"\xd4\xc3\xb2\xa1", b"\x5f\x2a\x4d\x19"]
        {
            assert_eq!(Compression::recognize(beginning), None);
        }
    }
}
