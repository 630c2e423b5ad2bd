//! The columns of a table of actions to request, one per field (PS3.7 10.1.4).

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};

use crate::columns::bytes::ByteColumn;
use crate::columns::integers::IntegerColumn;
use crate::event_columns::{BINARIES, INTEGERS, OtherColumns, STRINGS, is_ignored};
use crate::field::Field;
use crate::schema_error::SchemaError;

/// The columns of a batch of actions. Structured data sets are encoded before.
#[derive(Debug)]
pub struct ActionColumns {
    /// The number of rows.
    pub rows: usize,
    message_ids: Option<IntegerColumn>,
    classes: Option<ByteColumn>,
    instances: Option<ByteColumn>,
    action_types: Option<IntegerColumn>,
    information: Option<ByteColumn>,
}

impl ActionColumns {
    /// Finds the columns by name.
    ///
    /// # Errors
    ///
    /// If a column has an unsupported type.
    pub fn new(batch: &RecordBatch) -> Result<Self, SchemaError> {
        let text = |field| column(batch, field, ByteColumn::text, STRINGS);
        let integers = |field| column(batch, field, IntegerColumn::new, INTEGERS);
        Ok(Self {
            rows: batch.num_rows(),
            message_ids: integers(Field::MessageID)?,
            classes: text(Field::RequestedSOPClassUID)?,
            instances: text(Field::RequestedSOPInstanceUID)?,
            action_types: integers(Field::ActionTypeID)?,
            information: column(batch, Field::ActionInformation, ByteColumn::binary, BINARIES)?,
        })
    }

    /// Whether the table has Message IDs.
    pub fn has_message_ids(&self) -> bool {
        self.message_ids.is_some()
    }

    /// The integer of a row; `None` if it is null or the table does not have the column.
    pub fn integer(&self, field: Field, row: usize) -> Option<i128> {
        match field {
            Field::MessageID => self.message_ids.as_ref()?.get(row),
            Field::ActionTypeID => self.action_types.as_ref()?.get(row),
            _ => None,
        }
    }

    /// The bytes of a row; `None` if it is null or the table does not have the column.
    pub fn bytes(&self, field: Field, row: usize) -> Option<&[u8]> {
        match field {
            Field::RequestedSOPClassUID => self.classes.as_ref()?.get(row),
            Field::RequestedSOPInstanceUID => self.instances.as_ref()?.get(row),
            Field::ActionInformation => self.information.as_ref()?.get(row),
            _ => None,
        }
    }
}

fn column<T>(
    batch: &RecordBatch,
    field: Field,
    read: impl Fn(&ArrayRef) -> Result<T, DataType>,
    accepted: &'static str,
) -> Result<Option<T>, SchemaError> {
    let column = batch.column_by_name(field.keyword());
    column.map(read).transpose().map_err(|found| SchemaError::Type {
        column: field.keyword(),
        found,
        accepted,
    })
}

/// Checks that every column is a field of actions or ignored, that no field occurs twice, and that
/// the required columns are present.
///
/// # Errors
///
/// The first column that is unknown, occurs twice or is missing.
pub fn check_names(schema: &SchemaRef, other: OtherColumns) -> Result<(), SchemaError> {
    let mut found = Vec::new();
    for column in schema.fields() {
        let name = column.name();
        match Field::of_action(name) {
            Some(field) if found.contains(&field) => return Err(SchemaError::Twice(name.clone())),
            Some(field) => found.push(field),
            None if is_ignored(name, other) => {}
            None => return Err(SchemaError::NotOfActions(name.clone())),
        }
    }
    match Field::REQUIRED_OF_ACTIONS.into_iter().find(|field| !found.contains(field)) {
        Some(field) => Err(SchemaError::MissingOfActions(field.keyword())),
        None => Ok(()),
    }
}
