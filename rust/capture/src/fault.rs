//! Everything that can be wrong with a capture, as one enum, and where it was found.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use fastdimse_core::field::Field;
use fastdimse_core::rejection::Reason;

/// A reason why a part of a capture can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// Neither .pcap nor .pcapng.
    #[error(
        "not a capture: it begins with neither the magic number of .pcap nor the section header \
         of .pcapng"
    )]
    NotACapture,
    /// The file ends inside a packet.
    #[error("the file ends inside a packet: {0} bytes are left over")]
    FileEnds(usize),
    /// Bytes in the file that are no packet.
    #[error("no packet can be read at byte {at} of the file ({why}); {onwards}")]
    NoPacket {
        /// Where they begin.
        at: u64,
        /// What is wrong with them.
        why: Box<str>,
        /// What that means for the rest of the file.
        onwards: &'static str,
    },
    /// Packets of a link layer that is not known.
    #[error(
        "{packets} packets of link type {link} are passed over: Ethernet, Linux cooked, raw IP and \
         loopback are read"
    )]
    LinkType {
        /// The link type.
        link: i32,
        /// How many packets there are of it.
        packets: u64,
    },
    /// Parts of IP packets.
    #[error("{0} fragments of IP packets are passed over: they are not put together")]
    IpFragments(u64),
    /// Packets of which so little was captured that they can't be told apart.
    #[error("{0} packets are passed over: their capture ends inside their headers")]
    HeadersCut(u64),
    /// A packet of an interface that the file has not described.
    #[error("a packet of interface {0}, which the file has not described, is passed over")]
    Interface(u32),
    /// Nothing of DICOM.
    #[error("no DICOM association begins in the {streams} TCP streams of {packets} packets")]
    NoAssociation {
        /// How many streams there are.
        streams: u64,
        /// How many packets.
        packets: u64,
    },
    /// A part of a TCP stream that was not captured.
    #[error("{missing} bytes of the TCP stream are missing{rest}", rest = passed_over(*.behind))]
    MissingBytes {
        /// How many.
        missing: u64,
        /// How many bytes behind them belong to no message that begins there.
        behind: usize,
    },
    /// A capture that began when the association was there already.
    #[error(
        "the beginning of the stream, and its A-ASSOCIATE with it, was not captured{rest}",
        rest = passed_over(*.0)
    )]
    BeginsInside(usize),
    /// An A-ASSOCIATE PDU against PS3.8 9.3.2 or 9.3.3.
    #[error("the {0} can't be read: {1}")]
    Associate(&'static str, Box<str>),
    /// A response whose request is not there.
    #[error("a response to Message ID {0}, of which no request is outstanding: its row is alone")]
    NoRequest(u16),
    /// A response that says other than its request in a field of both (PS3.7 10.1.1.1).
    #[error("the response has '{response}', its request '{request}': the row has the request's")]
    Differs {
        /// What the response has.
        response: Box<str>,
        /// What the request has.
        request: Box<str>,
    },
    /// A message that can't be decoded.
    #[error(transparent)]
    Message(#[from] Reason),
}

fn passed_over(bytes: usize) -> String {
    match bytes {
        0 => String::new(),
        _ => format!(", and {bytes} bytes are passed over in which no message begins"),
    }
}

impl FaultKind {
    /// A short name that programs can rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotACapture => "not-a-capture",
            Self::FileEnds(_) => "file-ends",
            Self::NoPacket { .. } => "no-packet",
            Self::LinkType { .. } => "link-type",
            Self::IpFragments(_) => "ip-fragments",
            Self::HeadersCut(_) => "headers-cut",
            Self::Interface(_) => "interface",
            Self::NoAssociation { .. } => "no-association",
            Self::MissingBytes { .. } => "missing-bytes",
            Self::BeginsInside(_) => "begins-inside",
            Self::Associate(..) => "associate",
            Self::NoRequest(_) => "no-request",
            Self::Differs { .. } => "differs",
            Self::Message(reason) => reason.code(),
        }
    }
}

/// One direction of a TCP stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// The stream's number, counted as Wireshark's `tcp.stream`.
    pub stream: u32,
    /// Who sends.
    pub source: SocketAddr,
    /// Who receives.
    pub destination: SocketAddr,
}

/// A fault and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The direction of the stream; none for a fault of the file. Shared, since hostile streams
    /// have many faults.
    pub direction: Option<Arc<Direction>>,
    /// The packet's number in the file, from 1 as Wireshark's `frame.number`.
    pub frame: Option<u64>,
    /// The byte of the direction's stream.
    pub offset: Option<u64>,
    /// The field by keyword.
    pub field: Option<Field>,
    /// What was wrong.
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

    /// The field, and where in its data set.
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
