//! The columns of a table of events that is encoded, checked or sent.

use std::sync::Arc;

use arrow_array::StringArray;
use arrow_schema::SchemaRef;
use fastdimse_core::event_columns::{OtherColumns, TRANSFER_SYNTAX_UID, check_names, is_ignored};
use fastdimse_core::field::Field;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::Error;
use crate::input::columns::{ColumnSet, MappedColumn, arrow_array, ignored};
use crate::input::values::optional_texts;

/// The fields of events, and for events to send the transfer syntax of their data sets.
struct EventColumnSet {
    other: OtherColumns,
    is_sent: bool,
}

/// The columns of events to encode or to check.
pub fn encoded(other: OtherColumns) -> &'static dyn ColumnSet {
    match other {
        OtherColumns::Raise => &EventColumnSet { other: OtherColumns::Raise, is_sent: false },
        OtherColumns::Ignore => &EventColumnSet { other: OtherColumns::Ignore, is_sent: false },
    }
}

/// The columns of events to send.
pub fn sent(other: OtherColumns) -> &'static dyn ColumnSet {
    match other {
        OtherColumns::Raise => &EventColumnSet { other: OtherColumns::Raise, is_sent: true },
        OtherColumns::Ignore => &EventColumnSet { other: OtherColumns::Ignore, is_sent: true },
    }
}

impl ColumnSet for EventColumnSet {
    fn check_names(&self, schema: &SchemaRef) -> PyResult<()> {
        Ok(check_names(schema, self.other).map_err(Error::Schema)?)
    }

    fn column(&self, name: &str, values: &Bound<'_, PyAny>) -> PyResult<Option<MappedColumn>> {
        if self.is_sent && name == TRANSFER_SYNTAX_UID {
            return transfer_syntaxes(values).map(Some);
        }
        Ok(is_ignored(name, self.other).then(|| ignored(values)))
    }

    fn reads(&self, name: &str) -> bool {
        Field::from_keyword(name).is_some() || self.is_sent && name == TRANSFER_SYNTAX_UID
    }

    fn ignores(&self, name: &str) -> bool {
        !self.reads(name) && is_ignored(name, self.other)
    }

    fn has_responses(&self) -> bool {
        false
    }
}

/// A column with the UIDs of transfer syntaxes.
pub fn transfer_syntaxes(values: &Bound<'_, PyAny>) -> PyResult<MappedColumn> {
    if let Some(array) = arrow_array(values, TRANSFER_SYNTAX_UID)? {
        return Ok(MappedColumn::Array(array));
    }
    if values.is_none() || values.is_instance_of::<PyString>() {
        let uid: Option<String> = values.extract()?;
        return Ok(MappedColumn::Repeated(Arc::new(StringArray::from(vec![uid]))));
    }
    let uids = optional_texts(values, TRANSFER_SYNTAX_UID, "a str or None")?;
    Ok(MappedColumn::Array(Arc::new(StringArray::from(uids))))
}
