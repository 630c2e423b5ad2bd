//! Transfer syntaxes by their UIDs: one for all rows, or a column.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_schema::DataType;
use fastdimse_core::standard::transfer_syntax::{TransferSyntax, TransferSyntaxColumn};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::arrow::import::{is_arrow, utf8_array};
use crate::input::values::optional_texts;

/// Reads `transfer_syntax`.
pub fn transfer_syntax(uid: &str) -> PyResult<TransferSyntax> {
    TransferSyntax::from_uid(uid).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Reads an Arrow array of text; a null is the `default`.
pub fn from_array(uids: &ArrayRef, default: TransferSyntax) -> PyResult<TransferSyntaxColumn> {
    match cast(uids, &DataType::LargeUtf8) {
        Ok(texts) if is_text(uids.data_type()) => {
            Ok(TransferSyntaxColumn::from_uids(texts.as_string::<i64>().iter(), default))
        }
        _ => Err(PyTypeError::new_err(format!(
            "transfer_syntax must be text, not {}",
            uids.data_type()
        ))),
    }
}

/// Reads an Arrow array or an iterable of str; a null is the `default`.
pub fn from_values(
    uids: &Bound<'_, PyAny>,
    default: TransferSyntax,
) -> PyResult<TransferSyntaxColumn> {
    if is_arrow(uids)? {
        return from_array(&utf8_array(uids, "transfer_syntax")?, default);
    }
    let uids = optional_texts(uids, "transfer_syntax", "a UID as a str, or None")?;
    Ok(TransferSyntaxColumn::from_uids(uids.iter().map(Option::as_deref), default))
}

fn is_text(data_type: &DataType) -> bool {
    use DataType::{Dictionary, LargeUtf8, Null, Utf8, Utf8View};
    match data_type {
        Dictionary(_, values) => is_text(values),
        other => matches!(other, Utf8 | LargeUtf8 | Utf8View | Null),
    }
}
