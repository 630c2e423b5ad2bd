//! Transfer syntaxes by their UIDs: one for all rows, or a column of them.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_schema::DataType;
use fastdimse_core::data_set_error::{DataSetError, DataSetReason};
use fastdimse_core::transfer_syntax::TransferSyntax;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::events::{arrow_array, wrong_value};

/// Reads `transfer_syntax`.
pub fn transfer_syntax(uid: &str) -> PyResult<TransferSyntax> {
    TransferSyntax::of_uid(uid).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The transfer syntaxes of rows.
pub struct TransferSyntaxColumn {
    /// One for each row; where it is unknown, any.
    pub each: Vec<TransferSyntax>,
    /// The rows with one that data sets are neither read nor written in.
    pub unknown: Vec<(usize, Box<DataSetError>)>,
}

impl TransferSyntaxColumn {
    /// Of UIDs; those of nulls are the `default`.
    fn of_uids<'a>(uids: impl Iterator<Item = Option<&'a str>>, default: TransferSyntax) -> Self {
        let mut unknown = Vec::new();
        let of_row = |(row, uid)| match uid {
            Some(uid) => TransferSyntax::of_uid(uid).unwrap_or_else(|error| {
                let error = DataSetError::new(DataSetReason::TransferSyntax(error));
                unknown.push((row, error));
                default
            }),
            None => default,
        };
        Self { each: uids.enumerate().map(of_row).collect(), unknown }
    }

    /// The same for all rows.
    pub fn all(rows: usize, syntax: TransferSyntax) -> Self {
        Self { each: vec![syntax; rows], unknown: Vec::new() }
    }

    /// Of an Arrow array of text.
    pub fn of_array(uids: &ArrayRef, default: TransferSyntax) -> PyResult<Self> {
        match cast(uids, &DataType::LargeUtf8) {
            Ok(texts) if is_text(uids.data_type()) => {
                Ok(Self::of_uids(texts.as_string::<i64>().iter(), default))
            }
            _ => Err(PyTypeError::new_err(format!(
                "transfer_syntax is {}, it must be text",
                uids.data_type()
            ))),
        }
    }

    /// Of an Arrow array or an iterable of str.
    pub fn of_values(uids: &Bound<'_, PyAny>, default: TransferSyntax) -> PyResult<Self> {
        if let Some(array) = arrow_array(uids)? {
            return Self::of_array(&array, default);
        }
        let values = (0..).zip(uids.try_iter()?);
        let text = |(row, value): (u64, PyResult<Bound<'_, PyAny>>)| {
            let value = value?;
            value.extract::<Option<String>>().map_err(|_| {
                wrong_value("transfer_syntax", row, &value, "the UID of one as a str, or None")
            })
        };
        let uids = values.map(text).collect::<PyResult<Vec<_>>>()?;
        Ok(Self::of_uids(uids.iter().map(Option::as_deref), default))
    }

    /// The rows, cut where the transfer syntax changes.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0;
        self.each.chunk_by(PartialEq::eq).map(move |run| {
            let rows = start..start + run.len();
            start = rows.end;
            rows
        })
    }
}

fn is_text(data_type: &DataType) -> bool {
    use DataType::{Dictionary, LargeUtf8, Null, Utf8, Utf8View};
    match data_type {
        Dictionary(_, values) => is_text(values),
        other => matches!(other, Utf8 | LargeUtf8 | Utf8View | Null),
    }
}
