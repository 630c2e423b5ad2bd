//! The form of returned data sets: encoded, structured, or by a schema.

use fastdimse_core::data_set::schema::DataSetSchema;
use fastdimse_core::field::Field;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arrow::import::fields;
use crate::errors::Error;

/// The fields whose data sets are returned structured, each with its schema if there is one.
pub type StructuredFields = Vec<(Field, Option<DataSetSchema>)>;

/// Reads `event_information` and `event_reply`.
pub fn structured_fields(
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
) -> PyResult<StructuredFields> {
    let mut fields = Vec::new();
    let given = [(Field::EventInformation, event_information), (Field::EventReply, event_reply)];
    for (field, given) in given {
        let Some(given) = given else { continue };
        match given.cast::<PyString>() {
            Ok(name) if name == "binary" => {}
            Ok(name) if name == "structured" => fields.push((field, None)),
            _ => fields.push((field, Some(schema(field, given)?))),
        }
    }
    Ok(fields)
}

pub fn schema(field: Field, given: &Bound<'_, PyAny>) -> PyResult<DataSetSchema> {
    if !given.hasattr(intern!(given.py(), "__arrow_c_schema__"))? {
        return Err(PyValueError::new_err(format!(
            "the {} of decoded events must be 'binary', 'structured' or an Arrow schema of its \
             attributes, not {}",
            field.keyword(),
            given.repr()?
        )));
    }
    data_set_schema(given, field.keyword())
}

/// The attributes of an Arrow schema; `path` is its name in errors.
pub fn data_set_schema(schema: &Bound<'_, PyAny>, path: &str) -> PyResult<DataSetSchema> {
    Ok(DataSetSchema::from_fields(&fields(schema, path)?, path).map_err(Error::Schema)?)
}
