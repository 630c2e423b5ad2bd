//! What is wrong with the Arrow data of another library, and where.

use arrow_schema::ArrowError;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use thiserror::Error;

/// What is wrong with the Arrow data of another library.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A type that is none, or that nothing is read from.
    #[error("{0}")]
    Type(String),
    /// Data that is not as its type demands.
    #[error("{0}")]
    Data(String),
    /// What the other library says of its own failure.
    #[error("the Arrow stream failed: {0}")]
    Stream(String),
}

impl From<ImportError> for PyErr {
    fn from(fault: ImportError) -> Self {
        let text = fault.to_string();
        match fault {
            ImportError::Type(_) => PyTypeError::new_err(text),
            ImportError::Data(_) | ImportError::Stream(_) => PyValueError::new_err(text),
        }
    }
}

/// An error of the stream that the events came in, or of Arrow itself.
pub fn arrow_error(error: ArrowError) -> PyErr {
    match error {
        ArrowError::ExternalError(error) => match error.downcast::<ImportError>() {
            Ok(fault) => (*fault).into(),
            Err(error) => PyValueError::new_err(format!("the Arrow stream failed: {error}")),
        },
        error => PyValueError::new_err(format!("the Arrow stream failed: {error}")),
    }
}

/// Where in the data something is wrong.
pub struct ColumnPath {
    /// The path of a column; `None` for the table itself.
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
        ImportError::Data(self.message(&format!("is no valid Arrow data: {what}")))
    }
}
