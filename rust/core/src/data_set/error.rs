//! Everything that can be wrong with a data set, and where it was found.

use thiserror::Error;

use crate::excerpt::excerpt;
use crate::standard::transfer_syntax::TransferSyntaxError;
use crate::standard::vr::VrError;

/// The most columns of a table, those of items among them. PS3.6 has about 5,000 attributes.
pub const MOST_COLUMNS: usize = 1 << 14;

/// Why a data set can't be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSetError {
    /// Where, from the data set's field on: `.ReferencedSOPSequence[3].ReferencedSOPInstanceUID`.
    pub path: String,
    /// The byte of the data set, where one was read.
    pub offset: Option<usize>,
    /// What is wrong there.
    pub reason: DataSetReason,
}

/// What is wrong in a data set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DataSetReason {
    /// A value that does not fit its VR.
    #[error("'{0}': {1}")]
    Value(Box<str>, VrError),
    /// A null among several values or items.
    #[error("a null among {0}: leave it out, or make the whole null")]
    NullAmong(&'static str),
    /// Several values where the VR has but one.
    #[error("{0} values, an element of the VR {1} has one")]
    Several(usize, &'static str),
    /// More bytes than a length field can say.
    #[error("{0} bytes are more than the 4294967294 that an element can have")]
    TooLong(usize),
    /// Text that the data set's own character set does not have.
    #[error(
        "'{0}' can't be written in Specific Character Set '{1}': give 'ISO_IR 192', or leave it out \
         and it is added"
    )]
    CharacterSet(Box<str>, Box<str>),
    /// Text of a column that is not in the encoding of all Arrow text.
    #[error("'{0}' is not UTF-8, which the text of an Arrow column must be")]
    NotUtf8(Box<str>),
    /// Bytes that are no text in the data set's own character set.
    #[error("'{0}' is no text in Specific Character Set '{1}', or that is not known here")]
    Undecodable(Box<str>, Box<str>),
    /// The data set ends inside something.
    #[error("{what} needs {needed} bytes, {found} are left")]
    Truncated {
        /// What breaks off.
        what: &'static str,
        /// How many bytes it should have.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// An item, or a delimiter, where none can be, or something else where one must be.
    #[error("the tag ({0:04X},{1:04X}) can't stand there (PS3.5 7.5)")]
    Misplaced(u16, u16),
    /// Explicit VR with something else in the place of the VR.
    #[error("'{0}' stands where a VR should be: is the data set in Implicit VR?")]
    NotAVr(Box<str>),
    /// An element that is there twice.
    #[error("the element is there twice")]
    Repeated,
    /// An undefined length where no items can be.
    #[error("a value of the VR {0} can't have an undefined length")]
    UndefinedLength(&'static str),
    /// Several values, or none, where the given schema has one.
    #[error("not one value: the schema needs a list of values")]
    NotOne,
    /// A transfer syntax that is not read or written.
    #[error(transparent)]
    TransferSyntax(TransferSyntaxError),
    /// More sequences in one another than can be meant.
    #[error("more than {0} sequences, one in another")]
    TooDeep(usize),
    /// A data set that is an item of its own sequences.
    #[error("the data set is an item of its own sequences: it would never end")]
    InItself,
    /// Attributes for which a table with other data sets has no place.
    #[error(
        "its attributes ({columns}, with those of its items) {}; {instead}",
        too_wide(*columns)
    )]
    TooWide {
        /// How many columns it needs, those of its items among them.
        columns: usize,
        /// What would be right.
        instead: &'static str,
    },
}

/// Why so many columns of a data set are too many: a table has room for no more, or for not so many of which
/// other data sets have few.
fn too_wide(columns: usize) -> String {
    match columns > MOST_COLUMNS {
        true => format!("are more than the {MOST_COLUMNS} columns of a table"),
        false => "are in too few other data sets or items: the table of all would be nearly empty"
            .to_owned(),
    }
}

impl DataSetReason {
    /// A short name that programs can rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Value(_, VrError::Uid(_)) => "uid",
            Self::Value(_, VrError::Number { .. }) => "out-of-range",
            Self::Value(..) => "vr",
            Self::NullAmong(_) => "null-among-values",
            Self::Several(..) | Self::NotOne => "several-values",
            Self::TooLong(_) => "too-large",
            Self::CharacterSet(..) | Self::NotUtf8(_) | Self::Undecodable(..) => "character-set",
            Self::Truncated { .. } => "truncated",
            Self::Misplaced(..) | Self::UndefinedLength(_) => "item",
            Self::NotAVr(_) => "value-vr",
            Self::Repeated => "repeated-element",
            Self::TooDeep(_) | Self::InItself => "too-deep",
            Self::TooWide { .. } => "too-wide",
            Self::TransferSyntax(_) => "transfer-syntax",
        }
    }
}

impl std::fmt::Display for DataSetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)
    }
}

impl std::error::Error for DataSetError {}

impl DataSetError {
    /// An error that knows only its reason yet.
    pub fn new(reason: DataSetReason) -> Box<Self> {
        Box::new(Self { path: String::new(), offset: None, reason })
    }

    /// An error at a byte.
    pub fn at(offset: usize, reason: DataSetReason) -> Box<Self> {
        Box::new(Self { path: String::new(), offset: Some(offset), reason })
    }

    /// A value that does not fit its VR.
    pub fn of_value(value: &[u8], error: VrError) -> Box<Self> {
        Self::new(DataSetReason::Value(excerpt(value), error))
    }

    /// The same in a part of something larger.
    pub fn inside(mut self: Box<Self>, part: &str) -> Box<Self> {
        self.path.insert_str(0, part);
        self
    }
}
