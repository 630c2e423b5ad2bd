//! The type of encoded and decoded messages, before there is data.

use arrow_schema::{DataType, Fields, Schema};
use fastdimse_core::decode::messages_schema;
use fastdimse_core::message_columns::{message_column, rejection_column};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrow::import::fields;
use crate::bulk::decode_messages::{DecodeRows, known_structure};
use crate::bulk::encode_messages::EncodeRows;
use crate::bulk::message_columns::RowFunction;
use crate::input::options::{data_set_options, options};
use crate::output::arrow::export_schema;

/// Return the columns of the result of :func:`encode_messages` or :func:`decode_messages`.
///
/// Engines need the type of a function's result before there is data.
///
/// Parameters
/// ----------
/// operation : {"encode", "decode"}
///     The function.
/// input : Arrow schema, optional
///     The columns of the input, with which the result has its other columns too: any object with an Arrow
///     schema, such as a pyarrow Schema. Without it, the columns that the function adds.
/// event_information, event_reply : {"binary"} or Arrow schema, optional
///     As for :func:`decode_messages`.
///
/// Returns
/// -------
/// MessageSchema
///     An Arrow schema: ``pyarrow.schema(message_schema("encode"))`` reads it.
///
/// Raises
/// ------
/// ColumnError
///     If the function would raise it for such an input.
/// TypeError
///     If the function would raise it for such an input, or *input* is not an Arrow schema.
/// ValueError
///     If an option has an unsupported value.
///
/// Examples
/// --------
/// >>> import pyarrow
/// >>> from fastdimse import message_schema
/// >>> pyarrow.schema(message_schema("encode")).names
/// ['Message', 'Rejection']
/// >>> messages = pyarrow.schema({"Site": pyarrow.string(), "Message": pyarrow.binary()})
/// >>> pyarrow.schema(message_schema("decode", messages)).names[:3]
/// ['Site', 'MessageID', 'MessageIDBeingRespondedTo']
#[pyfunction]
#[pyo3(signature = (operation, input = None, *, event_information = None, event_reply = None))]
pub fn message_schema(
    operation: &str,
    input: Option<&Bound<'_, PyAny>>,
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
) -> PyResult<MessageSchema> {
    const SYNTAX: &str = "1.2.840.10008.1.2";
    let input = input.map(|input| fields(input, "input")).transpose()?;
    let columns = match (operation, input) {
        ("encode", None) => [message_column(), rejection_column()].into_iter().collect(),
        ("encode", Some(input)) => {
            let options = options(1, 16382, "p-data", "skip", true)?;
            EncodeRows::new(&input, options, data_set_options(SYNTAX, true)?)?.columns().clone()
        }
        ("decode", input) => {
            let structure = known_structure(event_information, event_reply, SYNTAX)?;
            match input {
                None => {
                    let events = messages_schema(&structure);
                    events.fields().iter().cloned().chain([rejection_column()]).collect()
                }
                Some(input) => {
                    DecodeRows::new(&DataType::Struct(input), structure)?.columns().clone()
                }
            }
        }
        _ => {
            return Err(PyValueError::new_err(format!(
                "operation must be 'encode' or 'decode', not '{operation}'"
            )));
        }
    };
    Ok(MessageSchema { columns })
}

/// The columns of encoded or decoded messages: an Arrow schema, the result of :func:`message_schema`.
#[pyclass(frozen, module = "fastdimse")]
pub struct MessageSchema {
    columns: Fields,
}

#[pymethods]
impl MessageSchema {
    fn __repr__(&self) -> String {
        let names = self.columns.iter().map(|column| column.name().as_str());
        format!("<MessageSchema: {}>", names.collect::<Vec<_>>().join(", "))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, Schema::new(self.columns.clone()))
    }
}
