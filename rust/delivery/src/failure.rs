//! The ways in which an association can fail.

use std::io;
use std::time::Duration;

use fastdimse_core::rejection::Rejection;
use rustls::{AlertDescription, InvalidMessage};
use thiserror::Error;

/// Why an association failed, or could not be established.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The connection could not be established.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// TLS could not be established: a certificate is not trusted or missing, or the peer does not
    /// use TLS.
    #[error("no secure connection: {why}")]
    Tls {
        /// Whether another attempt would fail in the same way.
        permanent: bool,
        /// The reason.
        why: Box<str>,
    },
    /// An A-ASSOCIATE-RJ (PS3.8 9.3.4).
    #[error("the peer rejected the association{}: {why}", if *.permanent { "" } else { " for now" })]
    Rejected {
        /// Whether the rejection is permanent.
        permanent: bool,
        /// The reason of the peer.
        why: Box<str>,
    },
    /// The peer accepted none of the proposed presentation contexts.
    #[error("the peer accepted no presentation context: {0}")]
    NoContext(Box<str>),
    /// An AE title or UID that an A-ASSOCIATE-RQ cannot contain.
    #[error("invalid A-ASSOCIATE-RQ: {0}")]
    Request(Box<str>),
    /// An A-ABORT (PS3.8 9.3.8).
    #[error("the peer aborted the association: {0}")]
    Aborted(Box<str>),
    /// An A-RELEASE-RQ while requests were outstanding.
    #[error("the peer released the association")]
    Released,
    /// The peer closed the connection.
    #[error("the peer closed the connection{}", if *.0 { " inside a PDU" } else { "" })]
    Closed(bool),
    /// The peer sent no complete PDU in time.
    #[error("the peer sent no complete PDU for {} s", .0.as_secs_f64())]
    ReadTimeout(Duration),
    /// The peer accepted no data in time.
    #[error("the peer accepted no data for {} s", .0.as_secs_f64())]
    WriteTimeout(Duration),
    /// The local side was interrupted.
    #[error("the association was interrupted locally")]
    Interrupted,
    /// An error of the connection.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// A PDU or message that violates the standard.
    #[error("the peer sent invalid data: {0}")]
    Message(#[from] Rejection),
    /// A PDU that is not allowed at this point.
    #[error("the peer sent {found} instead of {expected}")]
    Unexpected {
        /// The PDU.
        found: Box<str>,
        /// The expected PDU.
        expected: &'static str,
    },
    /// A PDU that exceeds the negotiated length.
    #[error("the peer sent a PDU of {length} bytes, the maximum is {most}")]
    PduLength {
        /// The length of the PDU.
        length: u32,
        /// The maximum.
        most: u32,
    },
    /// An association that ended inside a message.
    #[error("the peer {how} after {length} bytes of an incomplete message")]
    Incomplete {
        /// How it ended.
        how: &'static str,
        /// The number of bytes of the message.
        length: usize,
    },
    /// A message on a presentation context that was not accepted (PS3.8 9.2.3).
    #[error("the peer sent a message on presentation context {0}, which was not accepted")]
    Context(u8),
    /// The sink was closed, or a thread ended before its association.
    #[error("the association ended because of a local error; see the log")]
    Internal,
    /// Replies that exceed the maximum length together.
    #[error("the replies to the requests of one call have more than the maximum of {most} bytes")]
    RepliesLength {
        /// The maximum.
        most: usize,
    },
    /// A message that exceeds the maximum length.
    #[error("a message has more than the maximum of {most} bytes")]
    MessageLength {
        /// The maximum.
        most: usize,
    },
}

impl Failure {
    /// A stable short name of the failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Tls { .. } => "tls",
            Self::Rejected { .. } => "rejected",
            Self::NoContext(_) => "no-context",
            Self::Request(_) => "request",
            Self::Aborted(_) => "aborted",
            Self::Released => "released",
            Self::Closed(_) => "closed",
            Self::ReadTimeout(_) | Self::WriteTimeout(_) => "silent",
            Self::Interrupted => "interrupted",
            Self::Io(_) => "broken",
            Self::Message(_) => "message",
            Self::Unexpected { .. } => "unexpected",
            Self::PduLength { .. } => "pdu-length",
            Self::MessageLength { .. } | Self::RepliesLength { .. } => "message-length",
            Self::Incomplete { .. } => "incomplete",
            Self::Context(_) => "context",
            Self::Internal => "internal",
        }
    }

    /// Whether another attempt would fail in the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Rejected { permanent, .. } | Self::Tls { permanent, .. } => *permanent,
            Self::NoContext(_) | Self::Request(_) => true,
            _ => false,
        }
    }

    /// The failure of an attempt to connect.
    pub fn from_connect(error: io::Error) -> Self {
        match is_interrupt(&error) {
            true => Self::Interrupted,
            false => Self::Connect(error),
        }
    }

    /// The failure of a read or a write; `late` is the failure for a timeout.
    pub fn from_io(error: io::Error, late: Self) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => late,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            // Many peers close a secure connection without a close_notify alert.
            | io::ErrorKind::UnexpectedEof => Self::Closed(false),
            _ if is_interrupt(&error) => Self::Interrupted,
            _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => Failure::from_tls(error),
                None => Self::Io(error),
            },
        }
    }

    /// The failure of TLS.
    pub fn from_tls(error: &rustls::Error) -> Self {
        let why = match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "the peer does not use TLS".into()
            }
            error => error.to_string().into(),
        };
        // The first alert means that the peer cannot accept now, the second one that it cancels.
        let permanent = !matches!(
            error,
            rustls::Error::AlertReceived(
                AlertDescription::InternalError | AlertDescription::UserCanceled
            )
        );
        Self::Tls { permanent, why }
    }
}

/// Whether a read, write or connect was interrupted.
fn is_interrupt(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Interrupted>())
}

/// The error of an interrupted read or write.
#[derive(Debug, Error)]
#[error("the association was interrupted locally")]
pub struct Interrupted;
