//! Everything that can go wrong, as Python's exceptions: rendered here and nowhere else.

use fastdimse_core::columns::SchemaError;
use fastdimse_core::error::Rejection;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, create_exception, intern};

create_exception!(
    fastdimse,
    EventError,
    PyValueError,
    "An event that can't be encoded or decoded.\n\n\
     Attributes\n----------\n\
     row : int or None\n    The row, or the number of the event in the stream, from 0.\n\
     field : str or None\n    The field's DICOM keyword.\n\
     code : str\n    A short name of the rule, for programs.\n\
     reason : str\n    What was wrong, for people.\n\
     offset : int or None\n    The byte of the stream."
);
create_exception!(fastdimse, EncodeError, EventError, "An event that can't be encoded.");
create_exception!(
    fastdimse,
    DecodeError,
    EventError,
    "Bytes that can't be decoded.\n\n\
     Attributes\n----------\n\
     events : DecodedEvents or None\n    The events before the error, from :func:`decode_events`."
);
create_exception!(
    fastdimse,
    ColumnError,
    PyValueError,
    "A table that lacks a column, or has one too many.\n\n\
     Attributes\n----------\n\
     column : str\n    The column's name."
);

/// The exception for an event that can't be encoded.
pub fn encode_error(py: Python<'_>, rejection: &Rejection) -> PyErr {
    event_error::<EncodeError>(py, rejection)
}

/// The exception for bytes that can't be decoded.
pub fn decode_error(py: Python<'_>, rejection: &Rejection) -> PyErr {
    let error = event_error::<DecodeError>(py, rejection);
    match error.value(py).setattr(intern!(py, "events"), py.None()) {
        Ok(()) => error,
        Err(failed) => failed,
    }
}

fn event_error<E: PyTypeInfo>(py: Python<'_>, rejection: &Rejection) -> PyErr {
    let error = PyErr::from_type(E::type_object(py), rejection.to_string());
    let set_all = || -> PyResult<()> {
        let value = error.value(py);
        value.setattr(intern!(py, "row"), rejection.row)?;
        value.setattr(intern!(py, "field"), rejection.field.map(|field| field.keyword()))?;
        value.setattr(intern!(py, "code"), rejection.reason.code())?;
        value.setattr(intern!(py, "reason"), rejection.reason.to_string())?;
        value.setattr(intern!(py, "offset"), rejection.offset)
    };
    match set_all() {
        Ok(()) => error,
        Err(failed) => failed,
    }
}

/// The exception for a table that can't be read as events.
pub fn schema_error(py: Python<'_>, error: &SchemaError) -> PyErr {
    let text = error.to_string();
    match error {
        SchemaError::Type { .. } => PyTypeError::new_err(text),
        SchemaError::Unknown(column) | SchemaError::Twice(column) => column_error(py, text, column),
        SchemaError::Missing(column) => column_error(py, text, column),
    }
}

/// A [`ColumnError`] that names its column.
pub fn column_error(py: Python<'_>, text: String, column: &str) -> PyErr {
    let error = ColumnError::new_err(text);
    match error.value(py).setattr(intern!(py, "column"), column) {
        Ok(()) => error,
        Err(failed) => failed,
    }
}
