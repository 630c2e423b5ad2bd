//! Everything that can go wrong, as Python's exceptions: rendered here and nowhere else.

use fastdimse_capture::columns::TableError;
use fastdimse_capture::fault;
use fastdimse_core::conformance::Deviation;
use fastdimse_core::rejection::Rejection;
use fastdimse_core::schema_error::SchemaError;
use fastdimse_delivery::failure::Failure;
use pyo3::exceptions::{PyConnectionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, create_exception, intern};

create_exception!(
    fastdimse,
    EventError,
    PyValueError,
    "An event that can't be encoded or decoded.\n\n\
     Attributes\n----------\n\
     row : int or None\n    The row, or the number of the event in the stream, from 0.\n\
     field : str or None\n    The field's DICOM keyword, and where in its data set.\n\
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
     events : DecodedEvents, CapturedEvents or None\n    The events before the error, from \
     :func:`decode_events`, or all that :func:`decode_capture` could read.\n\
     stream, frame : int or None\n    The TCP stream and the packet of a capture, as in \
     Wireshark."
);
create_exception!(
    fastdimse,
    AssociationError,
    PyConnectionError,
    "An association that did not come about, or could not be ended in order.\n\n\
     Attributes\n----------\n\
     code : str\n    A short name of the failure, for programs.\n\
     permanent : bool\n    Whether another try would fail in the same way."
);
create_exception!(
    fastdimse,
    ColumnError,
    PyValueError,
    "A table that lacks a column, or has one too many.\n\n\
     Attributes\n----------\n\
     column : str\n    The column's name."
);

/// The exception for an association that failed.
pub fn association_error(py: Python<'_>, failure: &Failure) -> PyErr {
    let error = PyErr::from_type(AssociationError::type_object(py), failure.to_string());
    with(error, |error| {
        error.value(py).setattr(intern!(py, "code"), failure.code())?;
        error.value(py).setattr(intern!(py, "permanent"), failure.is_permanent())
    })
}

/// The exception for an answer with a Status that is not Success.
pub fn status_error(py: Python<'_>, status: &str) -> PyErr {
    let text = format!("the peer answered {status}");
    let error = PyErr::from_type(AssociationError::type_object(py), text);
    with(error, |error| {
        error.value(py).setattr(intern!(py, "code"), "status")?;
        error.value(py).setattr(intern!(py, "permanent"), false)
    })
}

/// The exception for an event that can't be encoded.
pub fn encode_error(py: Python<'_>, rejection: &Rejection) -> PyErr {
    event_error::<EncodeError>(py, rejection)
}

/// The exception for an event that is not as the standard has it.
pub fn deviation_error(py: Python<'_>, deviation: &Deviation) -> PyErr {
    let (path, code, reason) = (deviation.path(), deviation.code(), deviation.to_string());
    let error = PyErr::from_type(EncodeError::type_object(py), format!("{path}: {reason}"));
    with(error, |error| set_event(py, error, None, Some(path), code, &reason, None))
}

/// The exception for bytes that can't be decoded.
pub fn decode_error(py: Python<'_>, rejection: &Rejection) -> PyErr {
    let error = event_error::<DecodeError>(py, rejection);
    with(error, |error| {
        error.value(py).setattr(intern!(py, "events"), py.None())?;
        set_packet(py, error, None, None)
    })
}

/// The exception for a capture that can't be read in full.
pub fn capture_error(py: Python<'_>, found: &fault::Fault) -> PyErr {
    let error = PyErr::from_type(DecodeError::type_object(py), found.to_string());
    with(error, |error| {
        let (code, reason) = (found.kind.code(), found.kind.to_string());
        let field = found.path();
        set_event(py, error, None, field.as_deref(), code, &reason, found.offset)?;
        error.value(py).setattr(intern!(py, "events"), py.None())?;
        let stream = found.direction.as_ref().map(|direction| direction.stream);
        set_packet(py, error, stream, found.frame)
    })
}

fn with(error: PyErr, set: impl FnOnce(&PyErr) -> PyResult<()>) -> PyErr {
    match set(&error) {
        Ok(()) => error,
        Err(failed) => failed,
    }
}

fn set_packet(
    py: Python<'_>,
    error: &PyErr,
    stream: Option<u32>,
    frame: Option<u64>,
) -> PyResult<()> {
    error.value(py).setattr(intern!(py, "stream"), stream)?;
    error.value(py).setattr(intern!(py, "frame"), frame)
}

fn event_error<E: PyTypeInfo>(py: Python<'_>, rejection: &Rejection) -> PyErr {
    let error = PyErr::from_type(E::type_object(py), rejection.to_string());
    with(error, |error| {
        let (code, reason) = (rejection.reason.code(), rejection.reason.to_string());
        let path = rejection.path();
        set_event(py, error, rejection.row, path.as_deref(), code, &reason, rejection.offset)
    })
}

fn set_event(
    py: Python<'_>,
    error: &PyErr,
    row: Option<u64>,
    field: Option<&str>,
    code: &str,
    reason: &str,
    offset: Option<u64>,
) -> PyResult<()> {
    let value = error.value(py);
    value.setattr(intern!(py, "row"), row)?;
    value.setattr(intern!(py, "field"), field)?;
    value.setattr(intern!(py, "code"), code)?;
    value.setattr(intern!(py, "reason"), reason)?;
    value.setattr(intern!(py, "offset"), offset)
}

/// The exception for a table that can't be read as events.
pub fn schema_error(py: Python<'_>, error: &SchemaError) -> PyErr {
    let text = error.to_string();
    match error {
        SchemaError::Type { .. } | SchemaError::VrType { .. } => PyTypeError::new_err(text),
        SchemaError::TooDeep { .. } => PyValueError::new_err(text),
        SchemaError::Attribute { path, .. } => column_error(py, text, path),
        SchemaError::Unknown(column) | SchemaError::Twice(column) => column_error(py, text, column),
        SchemaError::Missing(column) => column_error(py, text, column),
    }
}

/// The exception for a table that can't be written as a capture.
pub fn table_error(py: Python<'_>, error: &TableError) -> PyErr {
    let text = error.to_string();
    match error {
        TableError::Events(error) => schema_error(py, error),
        TableError::Unknown(column) => column_error(py, text, column),
        TableError::Type { .. } => PyTypeError::new_err(text),
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
