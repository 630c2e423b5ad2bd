//! Errors of data sets: the reason, and where it was found.

use thiserror::Error;

use crate::excerpt::excerpt;
use crate::standard::transfer_syntax::TransferSyntaxError;
use crate::standard::vr::VrError;

/// The maximum number of columns of a table, including those of items. PS3.6 has about 5,000
/// attributes.
pub const MOST_COLUMNS: usize = 1 << 14;

/// A data set that cannot be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSetError {
    /// The path inside the field of the data set:
    /// `.ReferencedSOPSequence[3].ReferencedSOPInstanceUID`.
    pub path: String,
    /// The byte offset in the data set, if one was read.
    pub offset: Option<usize>,
    /// The reason.
    pub reason: DataSetReason,
}

/// The reason of an error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DataSetReason {
    /// A value that does not fit its VR.
    #[error("'{0}': {1}")]
    Value(Box<str>, VrError),
    /// A null among several values or items.
    #[error("a null among {0}: remove it, or make the whole list null")]
    NullAmong(&'static str),
    /// Several values for a VR with a single value.
    #[error("{0} values, but an element of VR {1} has one")]
    Several(usize, &'static str),
    /// More bytes than a 32-bit length can hold.
    #[error("{0} bytes are more than the 4294967294 that an element can have")]
    TooLong(usize),
    /// Text with characters outside the character set of the data set.
    #[error(
        "'{0}' can't be written in Specific Character Set '{1}': use 'ISO_IR 192', or omit \
         the attribute to have it added"
    )]
    CharacterSet(Box<str>, Box<str>),
    /// Text of a column that is not UTF-8.
    #[error("'{0}' is not UTF-8, which the text of an Arrow column must be")]
    NotUtf8(Box<str>),
    /// Bytes that are not text in the character set of the data set.
    #[error("'{0}' is not text in Specific Character Set '{1}', or the set is not supported")]
    Undecodable(Box<str>, Box<str>),
    /// The data set ends inside an element or an item.
    #[error("{what} needs {needed} bytes, {found} are left")]
    Truncated {
        /// The truncated part.
        what: &'static str,
        /// The number of bytes that it needs.
        needed: usize,
        /// The number of bytes left.
        found: usize,
    },
    /// An item or a delimiter in a wrong place, or something else where one is required.
    #[error("the tag ({0:04X},{1:04X}) is not allowed here (PS3.5 7.5)")]
    Misplaced(u16, u16),
    /// Explicit VR with other bytes instead of a VR.
    #[error("'{0}' is not a VR: is the data set in Implicit VR?")]
    NotAVr(Box<str>),
    /// A repeated element.
    #[error("the element occurs twice")]
    Repeated,
    /// An undefined length for a VR without items.
    #[error("a value of the VR {0} can't have an undefined length")]
    UndefinedLength(&'static str),
    /// Several values or none, where the given schema has one.
    #[error("not one value: the schema needs a list of values")]
    NotOne,
    /// An unsupported transfer syntax.
    #[error(transparent)]
    TransferSyntax(TransferSyntaxError),
    /// Sequences nested too deep.
    #[error("more than {0} nested sequences")]
    TooDeep(usize),
    /// A data set that contains itself as an item.
    #[error("the data set contains itself as an item")]
    InItself,
    /// Attributes for which a shared table has no room.
    #[error(
        "its attributes ({columns}, including those of its items) {}; {instead}",
        too_wide(*columns)
    )]
    TooWide {
        /// The number of columns it needs, including those of its items.
        columns: usize,
        /// Advice for the caller.
        instead: &'static str,
    },
}

/// Explains a number of columns that is too large, by itself or because other data sets have few of
/// them.
fn too_wide(columns: usize) -> String {
    match columns > MOST_COLUMNS {
        true => format!("are more than the {MOST_COLUMNS} columns of a table"),
        false => "are in too few other data sets or items: the table of all would be nearly empty"
            .to_owned(),
    }
}

impl DataSetReason {
    /// A stable short name of the reason.
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
    /// An error without a place.
    pub fn new(reason: DataSetReason) -> Box<Self> {
        Box::new(Self { path: String::new(), offset: None, reason })
    }

    /// An error at a byte offset.
    pub fn at(offset: usize, reason: DataSetReason) -> Box<Self> {
        Box::new(Self { path: String::new(), offset: Some(offset), reason })
    }

    /// A value that does not fit its VR.
    pub fn value(value: &[u8], error: VrError) -> Box<Self> {
        Self::new(DataSetReason::Value(excerpt(value), error))
    }

    /// Prefixes the path with `part`.
    pub fn inside(mut self: Box<Self>, part: &str) -> Box<Self> {
        self.path.insert_str(0, part);
        self
    }
}
