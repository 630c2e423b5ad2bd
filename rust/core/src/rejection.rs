//! Rejected rows and messages: the reason, and where it was found.

use std::fmt;

use crate::data_set::error::DataSetError;
use crate::field::{Field, Kind};
use crate::uid::UidError;

/// A reason why an event can't be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// A mandatory field is null (PS3.7 10.1.1.1).
    #[error("mandatory in an {0}, but it is null")]
    Missing(Kind),
    /// A value in a field that the message of the row does not carry.
    #[error("a {0} does not carry this field: leave it null{hint}", hint = kind_hint(*.0))]
    NotCarried(Kind),
    /// An integer that does not fit the VR US.
    #[error("{0} is outside 0 to 65535 (VR US)")]
    OutOfRange(i128),
    /// A UID that violates the rules.
    #[error("'{shown}': {why}", shown = .0, why = .1)]
    Uid(Box<str>, UidError),
    /// Text longer than its VR allows.
    #[error("'{0}' has {1} characters, but the VR LO allows 64")]
    TextTooLong(Box<str>, usize),
    /// Text with characters outside the default repertoire (PS3.5 6.1.2.1).
    #[error("'{0}' has the character {1:?}, which the VR LO of a command set does not allow")]
    TextCharacter(Box<str>, char),
    /// An invalid presentation context ID (PS3.8 9.3.2.2).
    #[error("{0} is not a presentation context ID: an odd number from 1 to 255")]
    ContextId(i128),
    /// More bytes than the length of a PDU can hold.
    #[error("{0} bytes do not fit one PDU: give a max_pdu_length other than 0")]
    TooLarge(usize),
    /// A maximum PDU length without room for a fragment.
    #[error("max_pdu_length must be 0 (no limit) or 7 to 4294967295, not {0}")]
    MaxPduLength(i128),
    /// A Python object of a type that the field does not accept.
    #[error("{0}")]
    Value(Box<str>),

    /// A row with a name that is neither a field nor an attribute.
    #[error("{0}")]
    UnknownColumn(Box<str>),

    /// A data set that cannot be encoded or decoded.
    #[error("{0}")]
    DataSet(Box<DataSetError>),

    /// The stream ends inside a PDU, an element or a command set.
    #[error("the {what} needs {needed} bytes, the stream has {found} left")]
    Truncated {
        /// The truncated part.
        what: &'static str,
        /// The number of bytes that it needs.
        needed: u64,
        /// The number of bytes left.
        found: u64,
    },
    /// A PDU type outside PS3.8 9.3.
    #[error("{0:#04x} is not a PDU type of PS3.8 9.3 (0x01 to 0x07)")]
    PduType(u8),
    /// A PDV that does not fit its PDU (PS3.8 9.3.5.1).
    #[error(
        "the PDV length is {length}, but must be at least 2 and at most the {left} bytes left in its PDU"
    )]
    PdvLength {
        /// The length of the PDV.
        length: u32,
        /// The bytes left in its PDU.
        left: usize,
    },
    /// A data set fragment instead of a command fragment.
    #[error("a data set fragment without a command before it")]
    OrphanDataSet,
    /// A command fragment instead of the rest of a data set.
    #[error("a new command begins before the data set of the last message has ended")]
    MissingDataSet,
    /// Fragments of one message on two presentation contexts (PS3.8 E.1).
    #[error("a fragment on presentation context {found} inside a message on {expected}")]
    ContextChanges {
        /// The context of the message.
        expected: u8,
        /// The context of the fragment.
        found: u8,
    },
    /// The association ends inside a message.
    #[error("the association ends ({0}) inside a message")]
    AssociationEnds(&'static str),
    /// The stream ends inside a message.
    #[error("the stream ends inside a message")]
    StreamEnds,
    /// A command set without a required element (PS3.7 E.1).
    #[error("the command set has no {0}")]
    MissingElement(&'static str),
    /// A Command Field with several values.
    #[error("Command Field (0000,0100) must have one value, not {0}")]
    SeveralCommandFields(usize),
    /// An element that ends after its command set.
    #[error("the element ({group:04X},{element:04X}) has {length} bytes, {left} are left")]
    ElementLength {
        /// The group of the tag.
        group: u16,
        /// The element of the tag.
        element: u16,
        /// The length of the element.
        length: u32,
        /// The bytes left.
        left: usize,
    },
    /// A value whose length does not fit its VR.
    #[error("{length} bytes can't be a value of VR {vr}")]
    ValueLength {
        /// The length.
        length: usize,
        /// The VR.
        vr: &'static str,
    },
    /// An explicit VR that differs from the standard's.
    #[error("the VR must be {vr} (PS3.7 E.1), not '{found}'")]
    ValueVr {
        /// The VR of the standard.
        vr: &'static str,
        /// The VR of the stream.
        found: Box<str>,
    },
    /// The Command Field of another message where an N-EVENT-REPORT is required.
    #[error("Command Field {0:#06x} is not that of an N-EVENT-REPORT (0x0100 or 0x8100)")]
    CommandField(u16),
    /// The Command Field of another message where an N-ACTION is required.
    #[error("Command Field {0:#06x} is not that of an N-ACTION (0x0130 or 0x8130)")]
    NotAnAction(u16),
    /// A data set next to a command set that announces none.
    #[error("Command Data Set Type is 0x0101 (no data set), but a data set was given")]
    UnexpectedDataSet,
    /// A data set longer than an Arrow view can hold.
    #[error("a data set of {0} bytes is too long for a column: the maximum is 1073741823")]
    DataSetTooLong(usize),
    /// A row whose bytes are not exactly one N-EVENT-REPORT.
    #[error("a row must have one N-EVENT-REPORT, but it has {found}")]
    NotOneMessage {
        /// What it has.
        found: Box<str>,
    },
    /// A response among events to send as requests.
    #[error("this field makes the row a response, but only requests can be sent: leave it null")]
    NotARequest,
    /// An event whose SOP class has no presentation context.
    #[error("the association has no presentation context for '{sop_class}': {why}")]
    NoContext {
        /// The SOP class.
        sop_class: Box<str>,
        /// Why it has none.
        why: &'static str,
    },
    /// A data set in another transfer syntax than the accepted one.
    #[error(
        "the data set is encoded in transfer syntax {encoded}, but the peer accepted {accepted}: \
         pass its attributes, or propose only {encoded}"
    )]
    OtherSyntax {
        /// The transfer syntax of the data set.
        encoded: Box<str>,
        /// The accepted transfer syntax.
        accepted: Box<str>,
    },
    /// A command set without a length in a stream where only the length separates command sets.
    #[error("each command set must begin with Command Group Length (0000,0000)")]
    NoGroupLength,
}

fn kind_hint(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => ", or set MessageIDBeingRespondedTo to make the row a response",
        Kind::Response | Kind::ActionRequest | Kind::ActionResponse => "",
    }
}

impl Reason {
    /// The path of the error: the `field`, and the path inside its data set, such as
    /// `EventInformation.ReferencedSOPSequence[3].ReferencedSOPInstanceUID`. Without a field it is
    /// the path inside the data set.
    pub fn path(&self, field: Option<Field>) -> Option<String> {
        match (self, field.map(Field::keyword)) {
            (Self::DataSet(error), None) => {
                Some(error.path.trim_start_matches('.').to_owned()).filter(|path| !path.is_empty())
            }
            (Self::DataSet(error), Some(keyword)) => Some(format!("{keyword}{}", error.path)),
            (_, keyword) => keyword.map(str::to_owned),
        }
    }

    /// A stable short name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::NotARequest => "response",
            Self::NoContext { .. } => "no-context",
            Self::OtherSyntax { .. } => "transfer-syntax",
            Self::NotCarried(_) => "not-carried",
            Self::OutOfRange(_) => "out-of-range",
            Self::Uid(..) => "uid",
            Self::TextTooLong(..) | Self::TextCharacter(..) => "text",
            Self::ContextId(_) => "context-id",
            Self::TooLarge(_) => "too-large",
            Self::MaxPduLength(_) => "max-pdu-length",
            Self::Value(_) => "value",
            Self::UnknownColumn(_) => "unknown-column",
            Self::DataSet(error) => error.reason.code(),
            Self::Truncated { .. } => "truncated",
            Self::PduType(_) => "pdu-type",
            Self::PdvLength { .. } => "pdv-length",
            Self::OrphanDataSet => "orphan-data-set",
            Self::MissingDataSet => "missing-data-set",
            Self::ContextChanges { .. } => "context-changes",
            Self::AssociationEnds(_) => "association-ends",
            Self::StreamEnds => "stream-ends",
            Self::MissingElement(_) => "missing-element",
            Self::ElementLength { .. } => "element-length",
            Self::ValueLength { .. } => "value-length",
            Self::ValueVr { .. } => "value-vr",
            Self::CommandField(_) | Self::NotAnAction(_) | Self::SeveralCommandFields(_) => {
                "command-field"
            }
            Self::UnexpectedDataSet => "unexpected-data-set",
            Self::DataSetTooLong(_) => "data-set-too-long",
            Self::NotOneMessage { .. } => "not-one-message",
            Self::NoGroupLength => "no-group-length",
        }
    }
}

/// An event that could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The row of the input, or the number of the message in the stream, from 0.
    pub row: Option<u64>,
    /// The byte offset in the stream.
    pub offset: Option<u64>,
    /// The field.
    pub field: Option<Field>,
    /// The reason.
    pub reason: Reason,
}

impl Rejection {
    /// A rejection without a place.
    pub fn new(reason: Reason) -> Self {
        Self { row: None, offset: None, field: None, reason }
    }

    /// Sets the field.
    pub fn field(mut self, field: Field) -> Self {
        self.field = Some(field);
        self
    }

    /// Sets the byte offset.
    pub fn at(mut self, offset: usize) -> Self {
        self.offset = Some(offset as u64);
        self
    }

    /// Sets the row.
    pub fn row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    /// The path of the error; see [`Reason::path`].
    pub fn path(&self) -> Option<String> {
        self.reason.path(self.field)
    }

    /// Adds the number of the rows before its part to the row.
    pub fn after_rows(mut self, rows: u64) -> Self {
        self.row = self.row.map(|row| row + rows);
        self
    }

    /// Adds `base` to the offset, which may be negative and wrap.
    pub fn shifted(mut self, base: usize) -> Self {
        self.offset = self.offset.map(|offset| offset.wrapping_add(base as u64));
        self
    }
}

/// Sorts rejections by row, and keeps the first one of each row.
pub fn keep_first_of_row(rejections: &mut Vec<Rejection>) {
    rejections.sort_by_key(|rejection| rejection.row);
    rejections.dedup_by_key(|rejection| rejection.row);
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(row) = self.row {
            write!(f, "row {row}, ")?;
        }
        if let Some(offset) = self.offset {
            write!(f, "byte {offset}, ")?;
        }
        if let Some(path) = self.path() {
            write!(f, "{path}: ")?;
        }
        write!(f, "{}", self.reason)
    }
}

impl std::error::Error for Rejection {}
