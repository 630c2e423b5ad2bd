//! Every error of the core, of captures and of associations, rendered as an exception of Python.

use fastdimse_capture::columns::TableError;
use fastdimse_capture::fault;
use fastdimse_core::conformance::Deviation;
use fastdimse_core::rejection::Rejection;
use fastdimse_core::schema_error::SchemaError;
use fastdimse_core::standard::status::describe;
use fastdimse_delivery::failure::Failure;
use pyo3::exceptions::{PyConnectionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyClass, create_exception, intern};

create_exception!(
    fastdimse,
    EventError,
    PyValueError,
    "An event cannot be encoded or decoded.\n\n\
     Attributes\n----------\n\
     row : int or None\n    The row of the input, or the number of the event in the stream, from \
     0.\n\
     field : str or None\n    The field's DICOM keyword, with the path inside a structured data \
     set.\n\
     code : str\n    The violated rule as a short name, for programs.\n\
     reason : str\n    What is wrong, for people.\n\
     offset : int or None\n    The byte of the stream, when decoding."
);
create_exception!(
    fastdimse,
    EncodeError,
    EventError,
    "An event cannot be encoded, or deviates from the standard.\n\n\
     The attributes are those of :class:`EventError`.\n\n\
     Examples\n--------\n\
     >>> from fastdimse import EncodeError, encode_events\n\
     >>> events = {\n\
     ...     \"AffectedSOPClassUID\": \"1.2.840.10008.1.20.1\",\n\
     ...     \"AffectedSOPInstanceUID\": [\"1.2.840.10008.1.20.1.1\", \"1.02\"],\n\
     ...     \"EventTypeID\": 1,\n\
     ... }\n\
     >>> try:\n\
     ...     encode_events(events)\n\
     ... except EncodeError as error:\n\
     ...     print(error.row, error.field, error.code)\n\
     1 AffectedSOPInstanceUID uid"
);
create_exception!(
    fastdimse,
    DecodeError,
    EventError,
    "Bytes cannot be decoded.\n\n\
     Further attributes are those of :class:`EventError`.\n\n\
     Attributes\n----------\n\
     events : DecodedEvents, CapturedEvents or None\n    The events before the error, from \
     :func:`decode_events`, or every event that :func:`decode_capture` could read.\n\
     stream, frame : int or None\n    The TCP stream and the packet of a capture, numbered as in \
     Wireshark.\n\n\
     Examples\n--------\n\
     >>> from fastdimse import DecodeError, N_EVENT_REPORT, decode_events\n\
     >>> event = N_EVENT_REPORT()\n\
     >>> event.MessageID = 7\n\
     >>> try:\n\
     ...     decode_events(2 * event.encode_p_data() + b\"\\x04\\x00\")\n\
     ... except DecodeError as error:\n\
     ...     print(error.offset, error.code, len(error.events))\n\
     108 truncated 2"
);
create_exception!(
    fastdimse,
    AssociationError,
    PyConnectionError,
    "An association could not be established or released.\n\n\
     Attributes\n----------\n\
     code : str\n    The kind of failure as a short name, for programs.\n\
     permanent : bool\n    Whether another attempt would fail in the same way.\n\n\
     Examples\n--------\n\
     >>> from fastdimse import AssociationError, echo\n\
     >>> try:\n\
     ...     echo(\"localhost\", 1)\n\
     ... except AssociationError as error:\n\
     ...     print(error.code, error.permanent)\n\
     connect False"
);
create_exception!(
    fastdimse,
    ColumnError,
    PyValueError,
    "A table lacks a column, or has an unknown one.\n\n\
     Attributes\n----------\n\
     column : str\n    The name of the column.\n\n\
     Examples\n--------\n\
     >>> from fastdimse import ColumnError, encode_events\n\
     >>> try:\n\
     ...     encode_events({\"EventType\": [1, 2]})\n\
     ... except ColumnError as error:\n\
     ...     print(error.column)\n\
     EventType"
);

/// An error that becomes an exception of Python.
pub enum Error {
    /// An event cannot be encoded.
    Encode(Rejection),
    /// Bytes cannot be decoded.
    Decode(Rejection),
    /// An event deviates from the standard.
    Deviation(Deviation),
    /// A capture cannot be read in full.
    Capture(fault::Fault),
    /// An association failed.
    Association(Failure),
    /// A response has a Status other than Success.
    Status(u16),
    /// A table cannot be read as events.
    Schema(SchemaError),
    /// A table cannot be written as a capture.
    Table(TableError),
    /// A column is missing, unknown, or of another length than the others.
    Column {
        /// Its name.
        column: String,
        /// What is wrong.
        text: String,
    },
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| error.render(py).unwrap_or_else(|failed| failed))
    }
}

impl Error {
    /// The exception, with its attributes.
    fn render(&self, py: Python<'_>) -> PyResult<PyErr> {
        Ok(match self {
            Self::Encode(rejection) => {
                let error = EncodeError::new_err(rejection.to_string());
                set_rejection(py, &error, rejection)?;
                error
            }
            Self::Decode(rejection) => {
                let error = DecodeError::new_err(rejection.to_string());
                set_rejection(py, &error, rejection)?;
                set_place_in_capture(py, &error, None, None)?;
                error
            }
            Self::Deviation(deviation) => {
                let (path, reason) = (deviation.path(), deviation.to_string());
                let error = EncodeError::new_err(format!("{path}: {reason}"));
                set_event(py, &error, None, Some(path), deviation.code(), &reason, None)?;
                error
            }
            Self::Capture(fault) => {
                let error = DecodeError::new_err(fault.to_string());
                let (code, reason) = (fault.kind.code(), fault.kind.to_string());
                let field = fault.path();
                set_event(py, &error, None, field.as_deref(), code, &reason, fault.offset)?;
                let stream = fault.direction.as_ref().map(|direction| direction.stream);
                set_place_in_capture(py, &error, stream, fault.frame)?;
                error
            }
            Self::Association(failure) => {
                let text = failure.to_string();
                association_error(py, text, failure.code(), failure.is_permanent())?
            }
            Self::Status(status) => {
                let text = format!("the peer responded with Status {}", describe(*status));
                association_error(py, text, "status", false)?
            }
            Self::Schema(error) => schema_error(py, error)?,
            Self::Table(error) => match error {
                TableError::Events(error) => schema_error(py, error)?,
                TableError::Unknown(column) => column_error(py, error.to_string(), column)?,
                TableError::Type { .. } => PyTypeError::new_err(error.to_string()),
            },
            Self::Column { column, text } => column_error(py, text.clone(), column)?,
        })
    }

    /// The exception for bytes of which some could be decoded: these `events` are its attribute.
    pub fn with_events<T: PyClass>(
        self,
        py: Python<'_>,
        events: impl Into<PyClassInitializer<T>>,
    ) -> PyResult<PyErr> {
        let error = PyErr::from(self);
        error.value(py).setattr(intern!(py, "events"), Py::new(py, events)?)?;
        Ok(error)
    }
}

fn schema_error(py: Python<'_>, error: &SchemaError) -> PyResult<PyErr> {
    let text = error.to_string();
    match error {
        SchemaError::Type { .. } | SchemaError::VrType { .. } => Ok(PyTypeError::new_err(text)),
        SchemaError::TooDeep { .. } => Ok(PyValueError::new_err(text)),
        SchemaError::Attribute { path, .. } => column_error(py, text, path),
        SchemaError::Unknown(column)
        | SchemaError::NotOfActions(column)
        | SchemaError::Twice(column) => column_error(py, text, column),
        SchemaError::Missing(column) | SchemaError::MissingOfActions(column) => {
            column_error(py, text, column)
        }
    }
}

fn column_error(py: Python<'_>, text: String, column: &str) -> PyResult<PyErr> {
    let error = ColumnError::new_err(text);
    error.value(py).setattr(intern!(py, "column"), column)?;
    Ok(error)
}

fn association_error(
    py: Python<'_>,
    text: String,
    code: &str,
    is_permanent: bool,
) -> PyResult<PyErr> {
    let error = AssociationError::new_err(text);
    error.value(py).setattr(intern!(py, "code"), code)?;
    error.value(py).setattr(intern!(py, "permanent"), is_permanent)?;
    Ok(error)
}

fn set_rejection(py: Python<'_>, error: &PyErr, rejection: &Rejection) -> PyResult<()> {
    let (code, reason) = (rejection.reason.code(), rejection.reason.to_string());
    let path = rejection.path();
    set_event(py, error, rejection.row, path.as_deref(), code, &reason, rejection.offset)
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

/// Sets the attributes that only a [`DecodeError`] has.
fn set_place_in_capture(
    py: Python<'_>,
    error: &PyErr,
    stream: Option<u32>,
    frame: Option<u64>,
) -> PyResult<()> {
    let value = error.value(py);
    value.setattr(intern!(py, "events"), py.None())?;
    value.setattr(intern!(py, "stream"), stream)?;
    value.setattr(intern!(py, "frame"), frame)
}
