//! The transfer syntaxes that data sets of messages are read and written in (PS3.5 A).

use thiserror::Error;

/// A transfer syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransferSyntax {
    /// The default one, which every association can have (PS3.5 10.1).
    #[default]
    ImplicitVrLittleEndian,
    /// Explicit VR Little Endian.
    ExplicitVrLittleEndian,
}

/// The transfer syntaxes of a column of data sets.
#[derive(Debug, Clone, Copy)]
pub enum TransferSyntaxes<'a> {
    /// The same for all.
    All(TransferSyntax),
    /// One for each row.
    Each(&'a [TransferSyntax]),
}

impl TransferSyntaxes<'_> {
    /// That of a row.
    pub fn of(self, row: usize) -> TransferSyntax {
        match self {
            Self::All(syntax) => syntax,
            Self::Each(syntaxes) => syntaxes[row],
        }
    }
}

impl From<TransferSyntax> for TransferSyntaxes<'_> {
    fn from(syntax: TransferSyntax) -> Self {
        Self::All(syntax)
    }
}

/// A transfer syntax that is neither.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{0}' is no transfer syntax of data sets here: Implicit VR Little Endian, \
     1.2.840.10008.1.2, or Explicit VR Little Endian, 1.2.840.10008.1.2.1"
)]
pub struct TransferSyntaxError(Box<str>);

impl TransferSyntax {
    /// The transfer syntax with this UID.
    ///
    /// ```
    /// use fastdimse_core::transfer_syntax::TransferSyntax;
    /// let explicit = TransferSyntax::ExplicitVrLittleEndian;
    /// assert_eq!(TransferSyntax::of_uid("1.2.840.10008.1.2.1"), Ok(explicit));
    /// assert!(TransferSyntax::of_uid("1.2.840.10008.1.2.2").is_err());
    /// ```
    pub fn of_uid(uid: &str) -> Result<Self, TransferSyntaxError> {
        match uid {
            "1.2.840.10008.1.2" => Ok(Self::ImplicitVrLittleEndian),
            "1.2.840.10008.1.2.1" => Ok(Self::ExplicitVrLittleEndian),
            _ => Err(TransferSyntaxError(uid.into())),
        }
    }
}
