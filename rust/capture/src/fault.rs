//! Faults of captures: the reason, and where it was found.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use fastdimse_core::field::Field;
use fastdimse_core::rejection::Reason;

/// Why a part of a capture cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// The file is neither .pcap nor .pcapng.
    #[error(
        "not a capture: it begins with neither the magic number of .pcap nor the section header \
         of .pcapng"
    )]
    NotACapture,
    /// The file ends inside a packet.
    #[error("the file ends inside a packet: {0} bytes are left over")]
    FileEnds(usize),
    /// Compressed data that cannot be decompressed.
    #[error(
        "the {compression} data is damaged near byte {at} of the file ({why}): everything after it is \
         skipped"
    )]
    CompressionDamaged {
        /// The name of the compression.
        compression: &'static str,
        /// The offset in the file.
        at: u64,
        /// The error.
        why: Box<str>,
    },
    /// Compressed data without its end.
    #[error("the file ends inside its {compression} data, after {bytes} bytes: it is incomplete")]
    CompressionEnds {
        /// The name of the compression.
        compression: &'static str,
        /// The length of the file.
        bytes: u64,
    },
    /// Compressed data that is too long to be decompressed as a whole.
    #[error(
        "the file decompresses to more than {0} bytes, too many to be read at once: \
         decode_capture_batches and fastdimse decode read it in parts"
    )]
    CompressionLimit(usize),
    /// Other bytes after compressed data.
    #[error("the file is not {compression} data from byte {at} on: the rest of it is skipped")]
    TrailingBytes {
        /// The name of the compression.
        compression: &'static str,
        /// The offset in the file.
        at: u64,
    },
    /// Bytes of the file that are not a packet.
    #[error("no packet can be read at byte {at} of the file ({why}); {onwards}")]
    NoPacket {
        /// The offset in the file.
        at: u64,
        /// The error.
        why: Box<str>,
        /// The effect on the rest of the file.
        onwards: &'static str,
    },
    /// Packets of an unsupported link layer.
    #[error(
        "{packets} packets of link type {link} are skipped: only Ethernet, PPP, Linux cooked, raw IP \
         and loopback are supported"
    )]
    LinkType {
        /// The link type.
        link: i32,
        /// The number of such packets.
        packets: u64,
    },
    /// Fragments of IP packets.
    #[error("{0} fragments of IP packets are skipped: they are not reassembled")]
    IpFragments(u64),
    /// Packets with incomplete headers.
    #[error("{0} packets are skipped: their headers were not captured completely")]
    HeadersCut(u64),
    /// A packet of an undescribed interface.
    #[error("a packet of interface {0} is skipped: the file does not describe the interface")]
    Interface(u32),
    /// A capture without a DICOM association.
    #[error("no DICOM association begins in the {streams} TCP streams of {packets} packets")]
    NoAssociation {
        /// The number of TCP streams.
        streams: u64,
        /// The number of packets.
        packets: u64,
    },
    /// Bytes of a TCP stream that were not captured.
    #[error("{missing} bytes of the TCP stream are missing{rest}", rest = skipped_bytes(*.skipped))]
    MissingBytes {
        /// The number of missing bytes.
        missing: u64,
        /// The number of bytes after them that are skipped.
        skipped: usize,
    },
    /// Bytes that are missing because of a snapshot length: one fault for each direction.
    #[error(
        "{segments} TCP segments were captured without their last bytes, so {missing} bytes of the \
         stream are missing in {gaps} places: capture complete packets (snapshot length 0)"
    )]
    SnapshotLength {
        /// The number of segments that were not captured completely.
        segments: u64,
        /// The number of missing bytes.
        missing: u64,
        /// The number of gaps.
        gaps: u64,
    },
    /// A capture that begins inside an association.
    #[error(
        "the beginning of the stream with its A-ASSOCIATE PDUs was not captured{rest}",
        rest = skipped_bytes(*.0)
    )]
    BeginsInside(usize),
    /// An A-ASSOCIATE PDU that is incomplete, or violates PS3.8 9.3.2 or 9.3.3.
    #[error("the {0} can't be read: {1}")]
    Associate(&'static str, Box<str>),
    /// A response without a request.
    #[error("a response to Message ID {0} without an outstanding request: its row has no request")]
    NoRequest(u16),
    /// A field that differs between the response and its request (PS3.7 10.1.1.1).
    #[error("the response has '{response}', but its request has '{request}', which the row keeps")]
    Differs {
        /// The value of the response.
        response: Box<str>,
        /// The value of the request.
        request: Box<str>,
    },
    /// An incomplete message that is too long.
    #[error("an incomplete message is skipped: at most {limit} bytes are kept")]
    LongMessage {
        /// The maximum number of bytes.
        limit: usize,
    },
    /// TCP streams that are no longer read.
    #[error("the {streams} idlest TCP streams are given up: at most {limit} are read at a time")]
    TooManyStreams {
        /// The number of streams.
        streams: u64,
        /// The maximum number of streams.
        limit: usize,
    },
    /// A request whose response would not be found.
    #[error(
        "the row of the request has no response: at most {limit} requests wait for their responses"
    )]
    TooManyRequests {
        /// The maximum number of requests.
        limit: usize,
    },
    /// A message that cannot be decoded.
    #[error(transparent)]
    Message(#[from] Reason),
}

/// The reason of an A-ASSOCIATE PDU without its end.
pub const INCOMPLETE_ASSOCIATE: &str = "it is incomplete";

fn skipped_bytes(bytes: usize) -> String {
    match bytes {
        0 => String::new(),
        _ => format!(", and {bytes} bytes without the beginning of a message are skipped"),
    }
}

impl FaultKind {
    /// Whether missing bytes in a PDU are the reason.
    pub fn is_incomplete_pdu(&self) -> bool {
        match self {
            Self::Associate(_, why) => **why == *INCOMPLETE_ASSOCIATE,
            Self::Message(reason) => matches!(reason, Reason::Truncated { .. }),
            _ => false,
        }
    }

    /// A stable short name of the fault.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotACapture => "not-a-capture",
            Self::FileEnds(_) => "file-ends",
            Self::CompressionDamaged { .. } => "compression-damaged",
            Self::CompressionEnds { .. } => "compression-ends",
            Self::CompressionLimit(_) => "compression-limit",
            Self::TrailingBytes { .. } => "trailing-bytes",
            Self::NoPacket { .. } => "no-packet",
            Self::LinkType { .. } => "link-type",
            Self::IpFragments(_) => "ip-fragments",
            Self::HeadersCut(_) => "headers-cut",
            Self::Interface(_) => "interface",
            Self::NoAssociation { .. } => "no-association",
            Self::MissingBytes { .. } => "missing-bytes",
            Self::SnapshotLength { .. } => "snapshot-length",
            Self::BeginsInside(_) => "begins-inside",
            Self::Associate(..) => "associate",
            Self::NoRequest(_) => "no-request",
            Self::Differs { .. } => "differs",
            Self::LongMessage { .. } => "long-message",
            Self::TooManyStreams { .. } => "too-many-streams",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::Message(reason) => reason.code(),
        }
    }
}

/// One direction of a TCP stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// The number of the stream, as Wireshark's `tcp.stream`.
    pub stream: u32,
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
}

/// A fault of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The direction of the stream; `None` for a fault of the file. Shared, because hostile streams
    /// have many faults.
    pub direction: Option<Arc<Direction>>,
    /// The number of the packet in the file, from 1, as Wireshark's `frame.number`.
    pub frame: Option<u64>,
    /// The byte offset in the direction.
    pub offset: Option<u64>,
    /// The field.
    pub field: Option<Field>,
    /// The reason.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault of the file.
    pub fn file(kind: impl Into<FaultKind>, frame: Option<u64>) -> Self {
        Self { direction: None, frame, offset: None, field: None, kind: kind.into() }
    }

    /// A fault of a stream.
    pub fn stream(
        direction: &Arc<Direction>,
        kind: impl Into<FaultKind>,
        offset: u64,
        frame: Option<u64>,
    ) -> Self {
        let (direction, offset) = (Some(direction.clone()), Some(offset));
        Self { direction, frame, offset, field: None, kind: kind.into() }
    }

    /// The path of the fault: the field, and the path inside its data set.
    pub fn path(&self) -> Option<String> {
        match &self.kind {
            FaultKind::Message(reason) => reason.path(self.field),
            _ => self.field.map(|field| field.keyword().to_owned()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(direction) = &self.direction {
            let Direction { stream, source, destination } = direction.as_ref();
            write!(f, "stream {stream} from {source} to {destination}, ")?;
        }
        if let Some(frame) = self.frame {
            write!(f, "frame {frame}, ")?;
        }
        if let Some(offset) = self.offset {
            write!(f, "byte {offset}, ")?;
        }
        if let Some(path) = self.path() {
            write!(f, "{path}: ")?;
        }
        write!(f, "{}", self.kind)
    }
}
