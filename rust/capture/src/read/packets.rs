//! Reads the packets of a .pcap or .pcapng file.

use pcap_parser::nom;
use pcap_parser::pcapng::{
    Block, InterfaceDescriptionBlock, SectionHeaderBlock, parse_block_be, parse_block_le,
};
use pcap_parser::{
    LegacyPcapBlock, Linktype, PcapError, PcapHeader, parse_pcap_frame, parse_pcap_frame_be,
    parse_pcap_frame_modified, parse_pcap_header,
};

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

/// Iterates over the packets of a file. Iteration ends with an error if no further packet can be
/// found.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    file: &'a [u8],
    rest: &'a [u8],
    format: Format,
    frames: u64,
}

#[derive(Debug, Clone)]
enum Format {
    Pcap(PcapHeader),
    PcapNg { big_endian: bool, interfaces: Vec<Interface> },
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
    /// Starts at the first packet of a file.
    pub fn new(file: &'a [u8]) -> Result<Self, FaultKind> {
        let (rest, format) = if file.starts_with(&SECTION_HEADER) {
            (file, Format::PcapNg { big_endian: false, interfaces: Vec::new() })
        } else {
            let (rest, header) = parse_pcap_header(file).map_err(|_| FaultKind::NotACapture)?;
            (rest, Format::Pcap(header))
        };
        Ok(Self { file, rest, format, frames: 0 })
    }

    /// The number of packets so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    fn next_packet(&mut self) -> Result<Option<Packet<'a>>, FaultKind> {
        while !self.rest.is_empty() {
            let found = match &self.format {
                Format::Pcap(_) => self.next_record().map(Some),
                Format::PcapNg { .. } => self.next_block(),
            };
            if let Some(packet) = found? {
                return Ok(Some(packet));
            }
        }
        Ok(None)
    }

    fn next_record(&mut self) -> Result<Packet<'a>, FaultKind> {
        let Format::Pcap(header) = &self.format else { unreachable!("a .pcap file") };
        let parse = match header {
            _ if header.is_modified_format() => parse_pcap_frame_modified,
            _ if header.is_bigendian() => parse_pcap_frame_be,
            _ => parse_pcap_frame,
        };
        let Ok((rest, record)) = parse(self.rest) else {
            return Err(FaultKind::FileEnds(std::mem::take(&mut self.rest).len()));
        };
        self.rest = rest;
        self.frames += 1;
        let LegacyPcapBlock { ts_sec, ts_usec, caplen, origlen, data } = record;
        let unit = if header.is_nanosecond_precision() { 1 } else { 1_000 };
        let time = i64::from(ts_sec) * 1_000_000_000 + i64::from(ts_usec) * unit;
        // The upper bits are the length of the frame check sequence.
        let link = Linktype(header.network.0 & 0x0fff_ffff);
        Ok(Packet { frame: self.frames, time, link, data, cut: origlen.saturating_sub(caplen) })
    }

    fn next_block(&mut self) -> Result<Option<Packet<'a>>, FaultKind> {
        let Format::PcapNg { big_endian, interfaces } = &mut self.format else {
            unreachable!("a .pcapng file")
        };
        let rest = self.rest;
        let at = (self.file.len() - rest.len()) as u64;
        let opens = rest.starts_with(&SECTION_HEADER);
        if opens && let Some(marked) = is_big_endian(rest) {
            *big_endian = marked;
        }
        let Some(length) = block_length(rest, *big_endian) else {
            self.rest = &[];
            return Err(FaultKind::FileEnds(rest.len()));
        };
        if length < BLOCK_FRAME || opens && is_big_endian(rest).is_none() {
            self.rest = &[];
            let onwards = "the rest of the file cannot be read";
            let why = "a block without a length or a byte order".into();
            return Err(FaultKind::NoPacket { at, why, onwards });
        }
        let Some(bytes) = rest.get(..length) else {
            self.rest = &[];
            return Err(FaultKind::FileEnds(rest.len()));
        };
        self.rest = &rest[length..];
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
                self.frames += 1;
                let interface = interfaces
                    .get(found.if_id as usize)
                    .ok_or(FaultKind::Interface(found.if_id))?;
                Packet {
                    frame: self.frames,
                    time: interface.nanoseconds(found.ts_high, found.ts_low),
                    link: interface.link,
                    data: &found.data[..found.data.len().min(found.caplen as usize)],
                    cut: found.origlen.saturating_sub(found.caplen),
                }
            }
            Block::SimplePacket(found) => {
                self.frames += 1;
                let interface = interfaces.first().ok_or(FaultKind::Interface(0))?;
                // The block has no time, and its length is the minimum of three.
                let most = match interface.snaplen {
                    0 => found.origlen,
                    snaplen => found.origlen.min(snaplen),
                };
                let data = &found.data[..found.data.len().min(most as usize)];
                let cut = found.origlen.saturating_sub(data.len() as u32);
                Packet { frame: self.frames, time: NO_TIME, link: interface.link, data, cut }
            }
            Block::Unknown(found) if in_order(found.block_type, *big_endian) == OBSOLETE_PACKET => {
                self.frames += 1;
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
            let frame = self.frames + u64::from(matches!(fault, FaultKind::FileEnds(_)));
            Fault::file(fault, Some(frame))
        });
        found.transpose()
    }
}
