//! The supported transfer syntaxes of data sets (PS3.5 A).

use std::ops::Range;

use thiserror::Error;

/// A transfer syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransferSyntax {
    /// The default, which every association supports (PS3.5 10.1).
    #[default]
    ImplicitVrLittleEndian,
    /// Explicit VR Little Endian.
    ExplicitVrLittleEndian,
}

/// The transfer syntaxes of a column of data sets.
#[derive(Debug, Clone, Copy)]
pub enum TransferSyntaxes<'a> {
    /// One transfer syntax for all rows.
    All(TransferSyntax),
    /// A transfer syntax for each row.
    Each(&'a TransferSyntaxColumn),
}

impl TransferSyntaxes<'_> {
    /// The transfer syntax of a row; `None` if it is not supported.
    pub fn get(self, row: usize) -> Option<TransferSyntax> {
        match self {
            Self::All(syntax) => Some(syntax),
            Self::Each(column) => column.each[row],
        }
    }

    /// The rows with an unsupported transfer syntax.
    pub fn unknown(&self) -> &[(usize, TransferSyntaxError)] {
        match self {
            Self::All(_) => &[],
            Self::Each(column) => &column.unknown,
        }
    }
}

impl From<TransferSyntax> for TransferSyntaxes<'_> {
    fn from(syntax: TransferSyntax) -> Self {
        Self::All(syntax)
    }
}

/// A transfer syntax for each row.
#[derive(Debug, Clone, Default)]
pub struct TransferSyntaxColumn {
    each: Vec<Option<TransferSyntax>>,
    unknown: Vec<(usize, TransferSyntaxError)>,
}

impl TransferSyntaxColumn {
    /// Reads UIDs; a null row has the `default`.
    pub fn from_uids<'a>(
        uids: impl Iterator<Item = Option<&'a str>>,
        default: TransferSyntax,
    ) -> Self {
        let mut column = Self::default();
        for (row, uid) in uids.enumerate() {
            let syntax = uid.map_or(Ok(default), TransferSyntax::from_uid);
            column.each.push(syntax.as_ref().ok().copied());
            column.unknown.extend(syntax.err().map(|error| (row, error)));
        }
        column
    }

    /// The rows with an unsupported transfer syntax.
    pub fn unknown(&self) -> &[(usize, TransferSyntaxError)] {
        &self.unknown
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.each.len()
    }

    /// Ranges of rows with the same transfer syntax.
    pub fn runs(&self) -> impl Iterator<Item = (Range<usize>, Option<TransferSyntax>)> {
        let mut start = 0;
        self.each.chunk_by(PartialEq::eq).map(move |run| {
            let rows = start..start + run.len();
            start = rows.end;
            (rows, run[0])
        })
    }
}

/// An unsupported transfer syntax.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{0}' is not a supported transfer syntax: use Implicit VR Little Endian, \
     1.2.840.10008.1.2, or Explicit VR Little Endian, 1.2.840.10008.1.2.1"
)]
pub struct TransferSyntaxError(Box<str>);

impl TransferSyntax {
    /// The transfer syntax with this UID.
    ///
    /// ```
    /// use fastdimse_core::standard::transfer_syntax::TransferSyntax;
    /// let explicit = TransferSyntax::ExplicitVrLittleEndian;
    /// assert_eq!(TransferSyntax::from_uid("1.2.840.10008.1.2.1"), Ok(explicit));
    /// assert!(TransferSyntax::from_uid("1.2.840.10008.1.2.2").is_err());
    /// ```
    pub fn from_uid(uid: &str) -> Result<Self, TransferSyntaxError> {
        Self::ALL
            .into_iter()
            .find(|syntax| syntax.uid() == uid)
            .ok_or_else(|| TransferSyntaxError(uid.into()))
    }

    /// All supported transfer syntaxes.
    pub const ALL: [Self; 2] = [Self::ImplicitVrLittleEndian, Self::ExplicitVrLittleEndian];

    /// The UID (PS3.6 A).
    pub fn uid(self) -> &'static str {
        match self {
            Self::ImplicitVrLittleEndian => "1.2.840.10008.1.2",
            Self::ExplicitVrLittleEndian => "1.2.840.10008.1.2.1",
        }
    }
}
