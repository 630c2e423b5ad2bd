//! Reads the packets of a .pcap or .pcapng file.

use pcap_parser::nom;
use pcap_parser::pcapng::{
    Block, InterfaceDescriptionBlock, SectionHeaderBlock, parse_block_be, parse_block_le,
};
use pcap_parser::{Linktype, PcapError, PcapHeader, parse_pcap_header};

use crate::fault::{Fault, FaultKind};

/// The time of a packet without a timestamp.
pub const NO_TIME: i64 = i64::MIN;

/// A captured packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The number of the packet in the file, from 1.
    pub frame: u64,
    /// The time of capture, in nanoseconds since 1970 (UTC), or [`NO_TIME`].
    pub time: i64,
    /// The type of its first header.
    pub link: Linktype,
    /// The captured bytes.
    pub data: &'a [u8],
    /// The number of bytes that were not captured.
    pub cut: u32,
}

/// Whether a file begins as a .pcap or .pcapng file.
pub fn is_capture(file: &[u8]) -> bool {
    file.starts_with(&SECTION_HEADER) || parse_pcap_header(file).is_ok()
}

/// The block type of a section header, which is the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Length of the block type, the block length, and the block length at the end.
const BLOCK_FRAME: usize = 12;
/// The obsolete packet block, which the enhanced packet block replaced.
const OBSOLETE_PACKET: u32 = 2;

/// Iterates over the packets of a chunk of a file. Iteration ends before a packet that continues in
/// the next chunk, or with an error if no further packet can be found.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    state: PacketsState,
    rest: &'a [u8],
    is_last: bool,
    /// Whether the next packet continues in the next chunk.
    waits: bool,
}

/// The state between two chunks.
#[derive(Debug, Clone)]
pub struct PacketsState {
    /// `None` before the beginning of the file was read.
    format: Option<Format>,
    frames: u64,
    /// The offset of the next chunk in the file.
    at: u64,
    /// The number of bytes of a block to skip.
    skipping: u64,
    /// The maximum length of a block.
    longest: usize,
}

impl PacketsState {
    /// The state at the beginning of a file with blocks of up to `longest` bytes.
    pub fn new(longest: usize) -> Self {
        Self { format: None, frames: 0, at: 0, skipping: 0, longest }
    }

    /// The number of packets so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }
}

#[derive(Debug, Clone)]
enum Format {
    Pcap(Pcap),
    PcapNg { big_endian: bool, interfaces: Vec<Interface> },
}

/// What the header of a .pcap file states.
#[derive(Debug, Clone, Copy)]
struct Pcap {
    big_endian: bool,
    /// Whether each record has further fields (the format of Alexey Kuznetzov).
    modified: bool,
    /// Nanoseconds in the unit of its timestamps.
    unit: i64,
    link: Linktype,
}

impl Pcap {
    fn new(header: &PcapHeader) -> Self {
        Self {
            big_endian: header.is_bigendian(),
            modified: header.is_modified_format(),
            unit: if header.is_nanosecond_precision() { 1 } else { 1_000 },
            // The upper bits are the length of the frame check sequence.
            link: Linktype(header.network.0 & 0x0fff_ffff),
        }
    }

    /// The length of the header of a record.
    fn header(self) -> usize {
        if self.modified { 24 } else { 16 }
    }
}

/// The description of an interface in a .pcapng file.
#[derive(Debug, Clone)]
struct Interface {
    link: Linktype,
    snaplen: u32,
    /// The unit of its timestamps, as in the option if_tsresol.
    resolution: u8,
    /// Seconds to add to its timestamps.
    offset: i64,
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        // The crate reads this option as little endian in every section.
        let swapped = if big_endian { i64::swap_bytes } else { |offset| offset };
        Self {
            link: block.linktype,
            snaplen: block.snaplen,
            resolution: block.if_tsresol,
            offset: swapped(block.if_tsoffset),
        }
    }

    fn nanoseconds(&self, high: u32, low: u32) -> i64 {
        let units = i128::from(u64::from(high) << 32 | u64::from(low)) * 1_000_000_000;
        let nanoseconds = match self.resolution {
            power @ 0..=38 => units / 10_i128.pow(power.into()),
            binary @ 0x80.. => units.checked_shr((binary & 0x7f).into()).unwrap_or_default(),
            _ => 0,
        };
        let time = nanoseconds + i128::from(self.offset) * 1_000_000_000;
        i64::try_from(time).unwrap_or(NO_TIME)
    }
}

impl<'a> Packets<'a> {
    /// Reads a chunk, which begins with the bytes that the chunk before has left.
    ///
    /// # Errors
    ///
    /// If the file is not a capture.
    pub fn new(mut state: PacketsState, chunk: &'a [u8], is_last: bool) -> Result<Self, FaultKind> {
        let mut rest = chunk;
        if state.format.is_none() {
            if rest.starts_with(&SECTION_HEADER) {
                let interfaces = Vec::new();
                state.format = Some(Format::PcapNg { big_endian: false, interfaces });
            } else {
                match parse_pcap_header(chunk) {
                    Ok((after, header)) => {
                        state.format = Some(Format::Pcap(Pcap::new(&header)));
                        state.at += (rest.len() - after.len()) as u64;
                        rest = after;
                    }
                    Err(nom::Err::Incomplete(_)) if !is_last => {}
                    Err(_) => return Err(FaultKind::NotACapture),
                }
            }
        }
        Ok(Self { state, rest, is_last, waits: false })
    }

    /// The number of bytes that are left for the next chunk, and the state for it.
    pub fn finish(self) -> (usize, PacketsState) {
        (self.rest.len(), self.state)
    }

    fn next_packet(&mut self) -> Result<Option<Packet<'a>>, FaultKind> {
        while !self.rest.is_empty() && !self.waits {
            if self.state.skipping > 0 {
                let skipped = self.rest.len().min(self.state.skipping as usize);
                self.state.skipping -= skipped as u64;
                self.advance(skipped);
                continue;
            }
            let found = match &self.state.format {
                None => return Ok(None),
                Some(Format::Pcap(pcap)) => {
                    let pcap = *pcap;
                    self.next_record(pcap)
                }
                Some(Format::PcapNg { .. }) => self.next_block(),
            };
            if let Some(packet) = found? {
                return Ok(Some(packet));
            }
        }
        Ok(None)
    }

    fn advance(&mut self, length: usize) {
        self.rest = &self.rest[length..];
        self.state.at += length as u64;
    }

    /// The rest of the chunk is the beginning of a packet.
    fn wait(&mut self) -> Result<Option<Packet<'a>>, FaultKind> {
        if self.is_last {
            return Err(FaultKind::FileEnds(std::mem::take(&mut self.rest).len()));
        }
        self.waits = true;
        Ok(None)
    }

    /// A block that is too long for the memory.
    fn skip_long(&mut self, length: u64) -> FaultKind {
        let at = self.state.at;
        self.state.skipping = length;
        skipped(at, format!("a block of {length} bytes").into())
    }

    fn next_record(&mut self, pcap: Pcap) -> Result<Option<Packet<'a>>, FaultKind> {
        let header = pcap.header();
        let Some(&[seconds, fraction, captured, original]) =
            self.rest.get(..header).and_then(|header| header.as_chunks::<4>().0.first_chunk())
        else {
            return self.wait();
        };
        let number = if pcap.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let (captured, original) = (number(captured), number(original));
        let length = header + captured as usize;
        if length > self.state.longest {
            return Err(self.skip_long(length as u64));
        }
        let Some(data) = self.rest.get(header..length) else { return self.wait() };
        self.advance(length);
        self.state.frames += 1;
        let fraction = i64::from(number(fraction)) * pcap.unit;
        Ok(Some(Packet {
            frame: self.state.frames,
            time: i64::from(number(seconds)) * 1_000_000_000 + fraction,
            link: pcap.link,
            data,
            cut: original.saturating_sub(captured),
        }))
    }

    fn next_block(&mut self) -> Result<Option<Packet<'a>>, FaultKind> {
        let Some(Format::PcapNg { big_endian, interfaces }) = &mut self.state.format else {
            unreachable!("a .pcapng file")
        };
        let rest = self.rest;
        let at = self.state.at;
        let opens = rest.starts_with(&SECTION_HEADER);
        if opens && let Some(marked) = is_big_endian(rest) {
            *big_endian = marked;
        }
        // A section header states its byte order after its length.
        let Some(length) = block_length(rest, *big_endian)
            .filter(|_| !opens || self.is_last || rest.len() >= BLOCK_FRAME)
        else {
            return self.wait();
        };
        if length < BLOCK_FRAME || opens && is_big_endian(rest).is_none() {
            self.rest = &[];
            self.state.skipping = u64::MAX;
            let onwards = "the rest of the file cannot be read";
            let why = "a block without a length or a byte order".into();
            return Err(FaultKind::NoPacket { at, why, onwards });
        }
        if length > self.state.longest {
            return Err(self.skip_long(length as u64));
        }
        let Some(bytes) = rest.get(..length) else { return self.wait() };
        self.rest = &rest[length..];
        self.state.at += length as u64;
        let parse = if *big_endian { parse_block_be } else { parse_block_le };
        let block = match parse(bytes) {
            Ok((_, block)) => block,
            Err(error) => return Err(skipped(at, why(&error))),
        };
        let packet = match block {
            Block::SectionHeader(SectionHeaderBlock { .. }) => {
                interfaces.clear();
                return Ok(None);
            }
            Block::InterfaceDescription(found) => {
                interfaces.push(Interface::new(&found, *big_endian));
                return Ok(None);
            }
            Block::EnhancedPacket(found) => {
                self.state.frames += 1;
                let interface = interfaces
                    .get(found.if_id as usize)
                    .ok_or(FaultKind::Interface(found.if_id))?;
                Packet {
                    frame: self.state.frames,
                    time: interface.nanoseconds(found.ts_high, found.ts_low),
                    link: interface.link,
                    data: &found.data[..found.data.len().min(found.caplen as usize)],
                    cut: found.origlen.saturating_sub(found.caplen),
                }
            }
            Block::SimplePacket(found) => {
                self.state.frames += 1;
                let interface = interfaces.first().ok_or(FaultKind::Interface(0))?;
                // The block has no time, and its length is the minimum of three.
                let most = match interface.snaplen {
                    0 => found.origlen,
                    snaplen => found.origlen.min(snaplen),
                };
                let data = &found.data[..found.data.len().min(most as usize)];
                let cut = found.origlen.saturating_sub(data.len() as u32);
                Packet { frame: self.state.frames, time: NO_TIME, link: interface.link, data, cut }
            }
            Block::Unknown(found) if in_order(found.block_type, *big_endian) == OBSOLETE_PACKET => {
                self.state.frames += 1;
                return Err(skipped(at, "an obsolete packet block".into()));
            }
            _ => return Ok(None),
        };
        Ok(Some(packet))
    }
}

/// Corrects a number that the crate has read as little endian.
fn in_order(number: u32, big_endian: bool) -> u32 {
    if big_endian { number.swap_bytes() } else { number }
}

/// The byte order of a valid section header.
fn is_big_endian(section: &[u8]) -> Option<bool> {
    match section.get(8..)?.first_chunk()? {
        [0x4d, 0x3c, 0x2b, 0x1a] => Some(false),
        [0x1a, 0x2b, 0x3c, 0x4d] => Some(true),
        _ => None,
    }
}

fn block_length(rest: &[u8], big_endian: bool) -> Option<usize> {
    let length = *rest.get(4..)?.first_chunk()?;
    let length = if big_endian { u32::from_be_bytes(length) } else { u32::from_le_bytes(length) };
    // Padded to 32 bits, even if the block states another length.
    Some((length as usize).next_multiple_of(4))
}

fn skipped(at: u64, why: Box<str>) -> FaultKind {
    FaultKind::NoPacket { at, why, onwards: "it is skipped" }
}

fn why(error: &nom::Err<PcapError<&[u8]>>) -> Box<str> {
    match error {
        nom::Err::Incomplete(_) => "a block that is too short for its contents".into(),
        nom::Err::Error(error) | nom::Err::Failure(error) => match error {
            // The input would print the rest of the file.
            PcapError::NomError(_, kind) | PcapError::OwnedNomError(_, kind) => {
                format!("an invalid block: {kind:?}").into()
            }
            other => other.to_string().into(),
        },
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.next_packet().map_err(|fault| {
            // The truncated packet would be the next one.
            let frame = self.state.frames + u64::from(matches!(fault, FaultKind::FileEnds(_)));
            Fault::file(fault, Some(frame))
        });
        found.transpose()
    }
}
