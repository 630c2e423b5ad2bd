//! Writes a .pcap or .pcapng file with times in nanoseconds.

use std::borrow::Cow;

use pcap_parser::pcapng::{
    BOM_MAGIC, EPB_MAGIC, EnhancedPacketBlock, IDB_MAGIC, InterfaceDescriptionBlock, OptionCode,
    PcapNGOption, SHB_MAGIC, SectionHeaderBlock,
};
use pcap_parser::{LegacyPcapBlock, Linktype, PcapHeader, ToVec};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// .pcap
    Pcap,
    /// .pcapng
    PcapNg,
}

/// The maximum packet length that Wireshark accepts.
const SNAPLEN: u32 = 262_144;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const SECOND: i64 = 1_000_000_000;

impl Format {
    /// The latest time of the format, in nanoseconds since 1970.
    pub fn last_time(self) -> i64 {
        match self {
            Self::Pcap => i64::from(u32::MAX) * SECOND + SECOND - 1,
            Self::PcapNg => i64::MAX,
        }
    }
}

/// The file.
#[derive(Debug)]
pub struct File {
    format: Format,
    bytes: Vec<u8>,
}

impl File {
    /// Begins a file of Ethernet packets, with a capacity of `room` bytes.
    pub fn new(format: Format, room: usize) -> Self {
        let mut file = Self { format, bytes: Vec::with_capacity(room) };
        match format {
            Format::Pcap => file.write_block(&mut PcapHeader {
                magic_number: NANOSECONDS,
                snaplen: SNAPLEN,
                ..PcapHeader::new()
            }),
            Format::PcapNg => {
                file.write_block(&mut section());
                file.write_block(&mut interface());
            }
        }
        file
    }

    /// Adds a packet.
    pub fn add(&mut self, time: i64, packet: &[u8]) {
        let length = packet.len() as u32;
        match self.format {
            Format::Pcap => self.write_block(&mut LegacyPcapBlock {
                ts_sec: (time / SECOND) as u32,
                ts_usec: (time % SECOND) as u32,
                caplen: length,
                origlen: length,
                data: packet,
            }),
            Format::PcapNg => self.write_block(&mut EnhancedPacketBlock {
                block_type: EPB_MAGIC,
                block_len1: 0,
                if_id: 0,
                ts_high: (time >> 32) as u32,
                ts_low: time as u32,
                caplen: length,
                origlen: length,
                data: packet,
                options: Vec::new(),
                block_len2: 0,
            }),
        }
    }

    fn write_block(&mut self, block: &mut impl ToVec) {
        let bytes = block.to_vec().expect("writing to a vector does not fail");
        self.bytes.extend_from_slice(&bytes);
    }

    /// The finished file.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

fn section() -> SectionHeaderBlock<'static> {
    const WRITER: &str = concat!("fastdimse ", env!("CARGO_PKG_VERSION"));
    let mut value = WRITER.as_bytes().to_vec();
    value.resize(value.len().next_multiple_of(4), 0);
    let length = WRITER.len() as u16;
    let writer =
        PcapNGOption { code: OptionCode::ShbUserAppl, len: length, value: Cow::Owned(value) };
    SectionHeaderBlock {
        block_type: SHB_MAGIC,
        block_len1: 0,
        bom: BOM_MAGIC,
        major_version: 1,
        minor_version: 0,
        // Unknown in advance.
        section_len: -1,
        options: vec![writer],
        block_len2: 0,
    }
}

fn interface() -> InterfaceDescriptionBlock<'static> {
    InterfaceDescriptionBlock {
        block_type: IDB_MAGIC,
        block_len1: 0,
        linktype: Linktype::ETHERNET,
        reserved: 0,
        snaplen: SNAPLEN,
        options: Vec::new(),
        block_len2: 0,
        // A resolution of 10^-9 seconds.
        if_tsresol: 9,
        if_tsoffset: 0,
    }
}
