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

/// The place of an error.
pub struct ColumnPath {
    /// The path of a column; `None` for the table.
    pub path: Option<String>,
}

impl ColumnPath {
    pub fn table() -> Self {
        Self { path: None }
    }

    pub fn column(name: &str) -> Self {
        Self { path: Some(name.to_owned()) }
    }

    pub fn inside(&self, name: &str) -> Self {
        match &self.path {
            None => Self::column(name),
            Some(path) => Self::column(&format!("{path}.{name}")),
        }
    }

    fn message(&self, what: &str) -> String {
        match &self.path {
            None => format!("the Arrow table {what}"),
            Some(path) => format!("the column '{path}' {what}"),
        }
    }

    pub fn type_error(&self, what: &str) -> ImportError {
        ImportError::Type(self.message(what))
    }

    pub fn data_error(&self, what: &str) -> ImportError {
        ImportError::Data(self.message(&format!("is not valid Arrow data: {what}")))
    }
}
