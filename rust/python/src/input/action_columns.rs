//! The columns of a table of actions to request.

use arrow_schema::SchemaRef;
use fastdimse_core::action_columns::check_names;
use fastdimse_core::event_columns::{OtherColumns, TRANSFER_SYNTAX_UID, is_ignored};
use fastdimse_core::field::Field;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use crate::errors::Error;
use crate::input::columns::{ColumnSet, MappedColumn, ignored};
use crate::input::event_columns::transfer_syntaxes;
use crate::primitive::slots::Service;

/// The fields of actions, and the transfer syntax of their data sets.
struct ActionColumnSet {
    other: OtherColumns,
}

/// The columns of actions to request.
pub fn requested(other: OtherColumns) -> &'static dyn ColumnSet {
    match other {
        OtherColumns::Raise => &ActionColumnSet { other: OtherColumns::Raise },
        OtherColumns::Ignore => &ActionColumnSet { other: OtherColumns::Ignore },
    }
}

impl ColumnSet for ActionColumnSet {
    fn check_names(&self, schema: &SchemaRef) -> PyResult<()> {
        Ok(check_names(schema, self.other).map_err(Error::Schema)?)
    }

    fn field(&self, name: &str) -> Option<Field> {
        Field::of_action(name)
    }

    fn column(&self, name: &str, values: &Bound<'_, PyAny>) -> PyResult<Option<MappedColumn>> {
        if name == TRANSFER_SYNTAX_UID {
            return transfer_syntaxes(values).map(Some);
        }
        Ok(is_ignored(name, self.other).then(|| ignored(values)))
    }

    fn reads(&self, name: &str) -> bool {
        Field::of_action(name).is_some() || name == TRANSFER_SYNTAX_UID
    }

    fn ignores(&self, name: &str) -> bool {
        !self.reads(name) && is_ignored(name, self.other)
    }

    fn has_responses(&self) -> bool {
        false
    }

    fn is_primitive(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        object.hasattr(intern!(object.py(), "RequestedSOPInstanceUID"))
    }

    fn row<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyMapping>>> {
        if let Ok(row) = object.cast::<PyMapping>() {
            return Ok(Some(row.clone()));
        }
        if !self.is_primitive(object)? {
            return Ok(None);
        }
        // An N_ACTION of fastdimse or pynetdicom.
        let row = PyDict::new(object.py());
        for field in Field::OF_ACTIONS {
            if let Some(value) = object.getattr_opt(field.keyword())? {
                row.set_item(field.keyword(), value)?;
            }
        }
        Ok(Some(row.into_mapping()))
    }

    fn service(&self) -> Service {
        Service::Action
    }
}
