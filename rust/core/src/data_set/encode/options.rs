//! Options of encoding data sets.

use crate::data_set::header::HeaderForm;
use crate::standard::transfer_syntax::TransferSyntax;

/// How to encode data sets.
#[derive(Debug, Clone, Copy)]
pub struct DataSetOptions {
    /// The transfer syntax.
    pub syntax: TransferSyntax,
    /// Whether UIDs must conform to PS3.5 9.1, or only to the lenient rule.
    pub conformant_uids: bool,
}

impl DataSetOptions {
    /// Whether the transfer syntax has explicit VRs.
    pub fn is_explicit(self) -> bool {
        self.syntax == TransferSyntax::ExplicitVrLittleEndian
    }

    /// The form of element headers.
    pub fn form(self) -> HeaderForm {
        HeaderForm::new(self.is_explicit())
    }
}
