//! Tables whose rows stay rows: the columns that are kept, and the rejections of an earlier step.

use arrow_array::cast::AsArray;
use arrow_array::{Array, StructArray};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, FieldRef, Fields};
use fastdimse_core::message_columns::{REJECTION, rejection_column};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::arrow::check::check_type;
use crate::arrow::error::ColumnPath;
use crate::arrow::import::is_arrow;
use crate::errors::Error;
use crate::input::sources::is_dataset;

/// An object with Arrow data: the object itself, or the reader of a Dataset or a Scanner; `name` is its
/// name in errors.
pub fn arrow_table<'py>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    if is_arrow(object)? {
        return Ok(object.clone());
    }
    if is_dataset(object)? {
        let scanner = object.call_method0(intern!(py, "scanner"))?;
        return scanner.call_method0(intern!(py, "to_reader"));
    }
    if object.hasattr(intern!(py, "to_reader"))? {
        return object.call_method0(intern!(py, "to_reader"));
    }
    Err(PyTypeError::new_err(format!(
        "{name} must be Arrow data, such as a table of pyarrow, polars or pandas, not {}",
        object.get_type().name()?
    )))
}

/// The columns that `function` keeps: all but those that it reads and its own. A column of a name in
/// `added` is an error.
pub fn other_columns(
    columns: &Fields,
    added: &[&str],
    function: &str,
    is_read: impl Fn(&str) -> bool,
) -> PyResult<Vec<usize>> {
    let mut kept = Vec::new();
    let names: Vec<&str> = columns.iter().map(|column| column.name().as_str()).collect();
    for (at, column) in columns.iter().enumerate() {
        let name = column.name().as_str();
        let error = |text: String| Err(Error::Column { column: name.to_owned(), text }.into());
        if added.contains(&name) {
            let text = format!(
                "the column '{name}' is there already, and {function} adds it: drop or rename it"
            );
            return error(text);
        }
        if (name == REJECTION || is_read(name)) && names[..at].contains(&name) {
            return error(format!("the table has two columns '{name}'"));
        }
        if name == REJECTION {
            if !is_rejection(column) {
                return error(format!(
                    "the column '{name}' must be a struct of the texts field, code and reason, as {function} \
                     adds it, not {}: drop or rename it",
                    column.data_type()
                ));
            }
        } else if !is_read(name) {
            check_type(column.data_type(), &ColumnPath::column(name))?;
            kept.push(at);
        }
    }
    Ok(kept)
}

/// Whether a column has the fields of the column `Rejection`, in any type of text.
fn is_rejection(column: &FieldRef) -> bool {
    use DataType::{Dictionary, LargeUtf8, Null, Utf8, Utf8View};
    let DataType::Struct(fields) = column.data_type() else {
        return column.data_type() == &DataType::Null;
    };
    let own = rejection_column();
    let DataType::Struct(own) = own.data_type() else { return false };
    fields.len() == own.len()
        && fields.iter().zip(own).all(|(field, own)| {
            let is_text =
                matches!(field.data_type(), Utf8 | LargeUtf8 | Utf8View | Null | Dictionary(..));
            field.name() == own.name() && is_text
        })
}

/// The rejections in the column `Rejection`, if there is one.
pub fn rejections_before(rows: &StructArray) -> Result<Option<StructArray>, ArrowError> {
    let Some(found) = rows.column_by_name(REJECTION) else { return Ok(None) };
    // Other libraries' texts are checked before they become texts of Rust.
    found.to_data().validate_full()?;
    let found = cast(found, rejection_column().data_type())?;
    Ok(Some(found.as_struct().clone()))
}
