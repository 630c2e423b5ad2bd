//! The columns that a table of events may have.

use std::sync::Arc;

use arrow_array::{ArrayRef, NullArray, RecordBatch};
use arrow_schema::{Field as Column, Schema, SchemaRef};
use fastdimse_core::event_columns::UNDECODED;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::Rejection;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping, PyString};

use crate::arrow::import::{array, is_arrow};
use crate::errors::Error;
use crate::primitive::slots::{EventReportPrimitive, Service};

/// A batch, and its rejected rows, which are null in the batch.
pub type Batch = (RecordBatch, Vec<Rejection>);

/// The columns that a table may have.
pub trait ColumnSet: Sync {
    /// Checks the names of a table's columns.
    fn check_names(&self, schema: &SchemaRef) -> PyResult<()>;

    /// The field of a column.
    fn field(&self, name: &str) -> Option<Field> {
        field_of(name)
    }

    /// Converts a column that is not a field of events; `None` if the column is unknown.
    fn column(&self, name: &str, values: &Bound<'_, PyAny>) -> PyResult<Option<MappedColumn>>;

    /// Whether a column is read.
    fn reads(&self, name: &str) -> bool;

    /// Whether a column is allowed, and not read.
    fn ignores(&self, name: &str) -> bool;

    /// Whether the row of a request may also have the fields of its response.
    fn has_responses(&self) -> bool;

    /// Whether the object is a primitive that can be a row.
    fn is_primitive(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        is_event(object)
    }

    /// A row as a mapping; `None` for another object. A primitive of events is not converted.
    fn row<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyMapping>>> {
        Ok(object.cast::<PyMapping>().ok().cloned())
    }

    /// The service of its rows.
    fn service(&self) -> Service {
        Service::EventReport
    }
}

/// Whether the object is an N_EVENT_REPORT of fastdimse or pynetdicom.
pub fn is_event(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.is_instance_of::<EventReportPrimitive>()
        || object.hasattr(intern!(object.py(), "EventTypeID"))?)
}

/// A column that is not read: nulls, as many as there are values.
pub fn ignored(values: &Bound<'_, PyAny>) -> MappedColumn {
    let is_scalar = values.is_instance_of::<PyString>()
        || values.is_instance_of::<PyBytes>()
        || values.cast::<PyMapping>().is_ok();
    match values.len() {
        Ok(rows) if !is_scalar => MappedColumn::Array(Arc::new(NullArray::new(rows))),
        _ => MappedColumn::Repeated(Arc::new(NullArray::new(1))),
    }
}

/// The field of a column of a mapping, also if its data sets could not be decoded.
pub fn field_of(name: &str) -> Option<Field> {
    let undecoded = UNDECODED.into_iter().find(|(_, column)| *column == name);
    Field::from_keyword(name).or(undecoded.map(|(field, _)| field))
}

/// A column of a mapping, before its length is known.
pub enum MappedColumn {
    /// One value for each row.
    Array(ArrayRef),
    /// The same value for every row.
    Repeated(ArrayRef),
}

/// The error for an unknown column, whatever its values are.
pub fn unknown_column(name: &str, accepted: &dyn ColumnSet) -> PyErr {
    let schema = Schema::new(vec![Column::new(name, arrow_schema::DataType::Null, true)]);
    match accepted.check_names(&Arc::new(schema)) {
        Err(error) => error,
        Ok(()) => {
            Error::Column { column: name.to_owned(), text: format!("unknown column '{name}'") }
                .into()
        }
    }
}

/// Imports the Python object `values` if it is an Arrow array; `name` is its name in errors.
pub fn arrow_array(values: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<ArrayRef>> {
    is_arrow(values)?.then(|| array(values, name)).transpose()
}
