//! Everything by which an association can fail, as one enum.

use std::io;
use std::time::Duration;

use fastdimse_core::rejection::Rejection;
use rustls::{AlertDescription, InvalidMessage};
use thiserror::Error;

/// Why an association failed, or none came about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// No secure connection: a certificate that is not trusted, or a peer that wants none or another.
    #[error("no secure connection: {why}")]
    Tls {
        /// Whether it would be so again.
        permanent: bool,
        /// What is wrong.
        why: Box<str>,
    },
    /// An A-ASSOCIATE-RJ (PS3.8 9.3.4).
    #[error("the peer rejected the association{}: {why}", if *.permanent { "" } else { " for now" })]
    Rejected {
        /// Whether it says that it will always do so.
        permanent: bool,
        /// What it says.
        why: Box<str>,
    },
    /// Nothing that was proposed was accepted.
    #[error("the peer accepted no presentation context: {0}")]
    NoContext(Box<str>),
    /// A title or UID that no A-ASSOCIATE can have.
    #[error("no A-ASSOCIATE-RQ can be written: {0}")]
    Request(Box<str>),
    /// An A-ABORT (PS3.8 9.3.8).
    #[error("the peer aborted the association: {0}")]
    Aborted(Box<str>),
    /// An A-RELEASE-RQ before everything was answered.
    #[error("the peer released the association")]
    Released,
    /// The end of the connection.
    #[error("the peer closed the connection{}", if *.0 { " inside a PDU" } else { "" })]
    Closed(bool),
    /// Nothing, or nothing whole, for too long.
    #[error("the peer said nothing whole for {} s", .0.as_secs_f64())]
    ReadTimeout(Duration),
    /// Nothing that was written was taken for too long.
    #[error("the peer took nothing in for {} s", .0.as_secs_f64())]
    WriteTimeout(Duration),
    /// This end would not wait.
    #[error("this end was told to leave")]
    Interrupted,
    /// A connection that broke.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// A PDU or message against the rules.
    #[error("what the peer sent can't be read: {0}")]
    Message(#[from] Rejection),
    /// A PDU that has no place here.
    #[error("the peer sent {found} where {expected} was due")]
    Unexpected {
        /// What it sent.
        found: Box<str>,
        /// What was due.
        expected: &'static str,
    },
    /// A PDU that is longer than was agreed on.
    #[error("the peer sent a PDU of {length} bytes, {most} were agreed on")]
    PduLength {
        /// How long it is.
        length: u32,
        /// The most that it may be.
        most: u32,
    },
    /// An association that ends inside a message.
    #[error("the peer {how} inside a message, of which it had sent {length} bytes")]
    Incomplete {
        /// What the peer did.
        how: &'static str,
        /// How many bytes of the message there are.
        length: usize,
    },
    /// A message on a presentation context that was not accepted (PS3.8 9.2.3).
    #[error("the peer sent a message on presentation context {0}, which was not accepted")]
    Context(u8),
    /// Events that nobody takes any more, or a thread that ended before its association did.
    #[error("the association ended by an error of this program, see its log")]
    Internal,
    /// A message that is longer than is taken.
    #[error("a message has more than the {most} bytes that are taken")]
    MessageLength {
        /// The most that it may have.
        most: usize,
    },
}

impl Failure {
    /// A short name that programs can rely on.
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
            Self::MessageLength { .. } => "message-length",
            Self::Incomplete { .. } => "incomplete",
            Self::Context(_) => "context",
            Self::Internal => "internal",
        }
    }

    /// Whether another try would fail in the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Rejected { permanent, .. } | Self::Tls { permanent, .. } => *permanent,
            Self::NoContext(_) | Self::Request(_) => true,
            _ => false,
        }
    }

    /// A connection that did not come about.
    pub fn from_connect(error: io::Error) -> Self {
        match is_interrupt(&error) {
            true => Self::Interrupted,
            false => Self::Connect(error),
        }
    }

    /// A read or write that failed; `late` is what it means that it took too long.
    pub fn from_io(error: io::Error, late: Self) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => late,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            // Many peers end a secure connection without a word.
            | io::ErrorKind::UnexpectedEof => Self::Closed(false),
            _ if is_interrupt(&error) => Self::Interrupted,
            _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => Failure::from_tls(error),
                None => Self::Io(error),
            },
        }
    }

    /// What it means that TLS failed.
    pub fn from_tls(error: &rustls::Error) -> Self {
        let why = match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "the peer does not speak TLS".into()
            }
            error => error.to_string().into(),
        };
        // The one is a peer that can't just now, the other one that does not want any more.
        let permanent = !matches!(
            error,
            rustls::Error::AlertReceived(
                AlertDescription::InternalError | AlertDescription::UserCanceled
            )
        );
        Self::Tls { permanent, why }
    }
}

/// Whether a read, write or connect was told to leave.
fn is_interrupt(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Interrupted>())
}

/// What a read or write fails with that was told to leave.
#[derive(Debug, Error)]
#[error("this end was told to leave")]
pub struct Interrupted;
