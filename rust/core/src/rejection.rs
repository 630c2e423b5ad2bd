//! Everything that can be wrong, as one enum, and where it was found.

use std::fmt;

use crate::data_set::error::DataSetError;
use crate::field::{Field, Kind};
use crate::uid::UidError;

/// A reason why an event can't be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// A mandatory field is null (PS3.7 10.1.1.1).
    #[error("mandatory in a {0}, but it is null")]
    Missing(Kind),
    /// A value stands in a field that the row's message does not carry.
    #[error("a {0} does not carry this field: leave it null{hint}", hint = kind_hint(*.0))]
    NotCarried(Kind),
    /// An integer that does not fit the VR US.
    #[error("{0} is outside 0 to 65535 (VR US)")]
    OutOfRange(i128),
    /// A UID against the rules.
    #[error("'{shown}': {why}", shown = .0, why = .1)]
    Uid(Box<str>, UidError),
    /// Text longer than its VR allows.
    #[error("'{0}' has {1} characters, the VR LO allows 64")]
    TextTooLong(Box<str>, usize),
    /// Text with characters that the default repertoire does not have (PS3.5 6.1.2.1).
    #[error("'{0}' has the character {1:?}, which the VR LO of a command set does not allow")]
    TextCharacter(Box<str>, char),
    /// A presentation context ID that no association can have (PS3.8 9.3.2.2).
    #[error("{0} is not a presentation context ID: an odd number from 1 to 255")]
    ContextId(i128),
    /// More bytes than the length field of a PDU can say.
    #[error("{0} bytes do not fit one PDU: give a max_pdu_length other than 0")]
    TooLarge(usize),
    /// A maximum PDU length that leaves no room for a fragment.
    #[error("{0} is no maximum PDU length: 0 (no limit) or 7 to 4294967295")]
    MaxPduLength(i128),
    /// A Python object that is none of the types that the field takes.
    #[error("{0}")]
    Value(Box<str>),

    /// A structured data set that can't be encoded, or one that can't be decoded.
    #[error("{0}")]
    DataSet(Box<DataSetError>),

    /// The stream ends inside something.
    #[error("the {what} needs {needed} bytes, the stream has {found} left")]
    Truncated {
        /// What breaks off.
        what: &'static str,
        /// How many bytes it should have from here.
        needed: u64,
        /// How many there are.
        found: u64,
    },
    /// A PDU type that PS3.8 9.3 does not know.
    #[error("{0:#04x} is not a PDU type of PS3.8 9.3 (0x01 to 0x07)")]
    PduType(u8),
    /// A PDV whose length does not fit its PDU (PS3.8 9.3.5.1).
    #[error("a PDV of {length} bytes does not fit: at least 2, and {left} are left in its PDU")]
    PdvLength {
        /// What the PDV says.
        length: u32,
        /// What its PDU has left.
        left: usize,
    },
    /// A data set fragment where a command is due.
    #[error("a data set fragment without a command before it")]
    OrphanDataSet,
    /// A command fragment where the rest of a data set is due.
    #[error("a new command begins before the data set of the last message has ended")]
    MissingDataSet,
    /// Fragments of one message on two presentation contexts (PS3.8 E.1).
    #[error("a fragment on presentation context {found} inside a message on {begun}")]
    ContextChanges {
        /// The context of the message.
        begun: u8,
        /// The context of the fragment.
        found: u8,
    },
    /// The association ends inside a message.
    #[error("the association ends ({0}) inside a message")]
    AssociationEnds(&'static str),
    /// The stream ends inside a message.
    #[error("the stream ends inside a message")]
    StreamEnds,
    /// A command set without an element that it can't do without (PS3.7 E.1).
    #[error("the command set has no {0}")]
    MissingElement(&'static str),
    /// A command field that names more than one message.
    #[error("Command Field (0000,0100) has {0} values, it must have one")]
    SeveralCommandFields(usize),
    /// An element's value runs past the end of the command set.
    #[error("the element ({group:04X},{element:04X}) has {length} bytes, {left} are left")]
    ElementLength {
        /// The tag's group.
        group: u16,
        /// The tag's element.
        element: u16,
        /// What it says.
        length: u32,
        /// What is left.
        left: usize,
    },
    /// A value whose length does not fit its VR.
    #[error("{length} bytes can't be a value of VR {vr}")]
    ValueLength {
        /// How long it is.
        length: usize,
        /// What it should be.
        vr: &'static str,
    },
    /// An explicit VR other than the standard's.
    #[error("the VR is {vr} by PS3.7 E.1, not '{found}'")]
    ValueVr {
        /// The standard's.
        vr: &'static str,
        /// The stream's.
        found: Box<str>,
    },
    /// A command field of another message, where only this one is expected.
    #[error("Command Field {0:#06x} is not that of an N-EVENT-REPORT (0x0100 or 0x8100)")]
    CommandField(u16),
    /// A data set beside a command set that says that there is none.
    #[error("Command Data Set Type is 0x0101 (no data set), but a data set was given")]
    UnexpectedDataSet,
    /// A data set longer than an Arrow view can show.
    #[error("a data set of {0} bytes is longer than the 1073741823 that can be shown in columns")]
    DataSetTooLong(usize),
    /// A response among events that are to be sent as requests.
    #[error("this makes the row a response, which only who was asked sends: leave it null")]
    NotARequest,
    /// An event of a SOP class that the association is not for.
    #[error("the association has no presentation context for '{sop_class}': {why}")]
    NoContext {
        /// The SOP class.
        sop_class: Box<str>,
        /// Why there is none.
        why: &'static str,
    },
    /// A data set that is encoded otherwise than was agreed on.
    #[error(
        "the data set is encoded in the transfer syntax {encoded}, the peer accepted {accepted}: \
         give its attributes, or propose only the first"
    )]
    OtherSyntax {
        /// What it is encoded in.
        encoded: Box<str>,
        /// What was accepted.
        accepted: Box<str>,
    },
    /// A command set that doesn't say how long it is, where only that can tell.
    #[error("a stream of command sets needs Command Group Length (0000,0000) first in each")]
    NoGroupLength,
}

fn kind_hint(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => ", or set MessageIDBeingRespondedTo to make the row a response",
        Kind::Response => "",
    }
}

impl Reason {
    /// Where it is wrong: the `field`, and the path in its data set, such as
    /// `EventInformation.ReferencedSOPSequence[3].ReferencedSOPInstanceUID`. Of a data set that is in
    /// no field it is the path in it.
    pub fn path(&self, field: Option<Field>) -> Option<String> {
        match (self, field.map(Field::keyword)) {
            (Self::DataSet(error), None) => {
                Some(error.path.trim_start_matches('.').to_owned()).filter(|path| !path.is_empty())
            }
            (Self::DataSet(error), Some(keyword)) => Some(format!("{keyword}{}", error.path)),
            (_, keyword) => keyword.map(str::to_owned),
        }
    }

    /// A short name that programs can rely on.
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
            Self::CommandField(_) | Self::SeveralCommandFields(_) => "command-field",
            Self::UnexpectedDataSet => "unexpected-data-set",
            Self::DataSetTooLong(_) => "data-set-too-long",
            Self::NoGroupLength => "no-group-length",
        }
    }
}

/// One event that could not be encoded or decoded: where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The row of the input, or the number of the message in the stream, from 0.
    pub row: Option<u64>,
    /// The byte of the stream.
    pub offset: Option<u64>,
    /// The field by keyword.
    pub field: Option<Field>,
    /// What was wrong.
    pub reason: Reason,
}

impl Rejection {
    /// A rejection that knows only its reason yet.
    pub fn new(reason: Reason) -> Self {
        Self { row: None, offset: None, field: None, reason }
    }

    /// The same with its field.
    pub fn field(mut self, field: Field) -> Self {
        self.field = Some(field);
        self
    }

    /// The same with its byte offset.
    pub fn at(mut self, offset: usize) -> Self {
        self.offset = Some(offset as u64);
        self
    }

    /// The same with its row.
    pub fn row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    /// The field, and where in its data set: see [`Reason::path`].
    pub fn path(&self) -> Option<String> {
        self.reason.path(self.field)
    }

    /// The same, its offset counted from `base`.
    pub fn shifted(mut self, base: usize) -> Self {
        self.offset = self.offset.map(|offset| offset + base as u64);
        self
    }
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
