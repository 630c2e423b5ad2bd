//! Errors of Arrow data of other libraries, with the path of the column.

use arrow_schema::ArrowError;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use thiserror::Error;

/// Arrow data of another library cannot be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// An invalid type, or one that no column may have.
    #[error("{0}")]
    Type(String),
    /// Data that contradicts its type.
    #[error("{0}")]
    Data(String),
    /// An error that the other library reported.
    #[error("the Arrow stream failed: {0}")]
    Stream(String),
}

impl From<ImportError> for PyErr {
    fn from(error: ImportError) -> Self {
        let text = error.to_string();
        match error {
            ImportError::Type(_) => PyTypeError::new_err(text),
            ImportError::Data(_) | ImportError::Stream(_) => PyValueError::new_err(text),
        }
    }
}

/// The exception for an error of an Arrow stream, or of arrow-rs.
pub fn arrow_error(error: ArrowError) -> PyErr {
    match error {
        ArrowError::ExternalError(error) => match error.downcast::<ImportError>() {
            Ok(error) => (*error).into(),
            Err(error) => PyValueError::new_err(format!("the Arrow stream failed: {error}")),
        },
        error => PyValueError::new_err(format!("the Arrow stream failed: {error}")),
    }
}

/// The place of an error: the table, or the path of a column. Its text is only created for an error.
#[derive(Clone, Copy)]
pub struct ColumnPath<'a> {
    parent: Option<&'a ColumnPath<'a>>,
    /// The name of the column; `None` for the table.
    name: Option<&'a str>,
}

impl<'a> ColumnPath<'a> {
    pub fn table() -> Self {
        Self { parent: None, name: None }
    }

    pub fn column(name: &'a str) -> Self {
        Self { parent: None, name: Some(name) }
    }

    pub fn inside(&'a self, name: &'a str) -> Self {
        Self { parent: self.name.is_some().then_some(self), name: Some(name) }
    }

    pub fn is_table(&self) -> bool {
        self.name.is_none()
    }

    /// The names from the column on.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = std::iter::successors(Some(self), |place| place.parent)
            .filter_map(|place| place.name)
            .collect();
        names.reverse();
        names
    }

    /// The name of the column, without the path inside it.
    pub fn column_name(&self) -> &str {
        self.names().first().copied().unwrap_or_default()
    }

    fn message(&self, what: &str) -> String {
        match self.is_table() {
            true => format!("the Arrow table {what}"),
            false => format!("the column '{}' {what}", self.names().join(".")),
        }
    }

    pub fn type_error(&self, what: &str) -> ImportError {
        ImportError::Type(self.message(what))
    }

    pub fn data_error(&self, what: &str) -> ImportError {
        ImportError::Data(self.message(&format!("is not valid Arrow data: {what}")))
    }
}
