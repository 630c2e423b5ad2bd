//! What is wrong with the Arrow data of another library, and where.

use arrow_schema::ArrowError;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use thiserror::Error;

/// What is wrong with the Arrow data of another library.
#[derive(Debug, Error)]
pub enum Fault {
    /// A type that is none, or that nothing is read from.
    #[error("{0}")]
    Type(String),
    /// Data that is not as its type demands.
    #[error("{0}")]
    Data(String),
    /// What the other library says of its own failure.
    #[error("the Arrow stream failed: {0}")]
    Failed(String),
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Type(_) => PyTypeError::new_err(text),
            Fault::Data(_) | Fault::Failed(_) => PyValueError::new_err(text),
        }
    }
}

/// An error of the stream that the events came in, or of Arrow itself.
pub fn arrow_error(error: ArrowError) -> PyErr {
    match error {
        ArrowError::ExternalError(error) => match error.downcast::<Fault>() {
            Ok(fault) => (*fault).into(),
            Err(error) => PyValueError::new_err(format!("the Arrow stream failed: {error}")),
        },
        error => PyValueError::new_err(format!("the Arrow stream failed: {error}")),
    }
}

/// Where in the data something is wrong.
pub struct Place {
    /// The path of a column; `None` for the table itself.
    pub path: Option<String>,
}

impl Place {
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

    fn said(&self, what: &str) -> String {
        match &self.path {
            None => format!("the Arrow table {what}"),
            Some(path) => format!("the column '{path}' {what}"),
        }
    }

    pub fn type_fault(&self, what: &str) -> Fault {
        Fault::Type(self.said(what))
    }

    pub fn fault(&self, what: &str) -> Fault {
        Fault::Data(self.said(&format!("is no valid Arrow data: {what}")))
    }
}
