//! The columns of a table of events, one per field (PS3.7 10.1.1).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};
use arrow_select::nullif::nullif;

use crate::columns::bytes::ByteColumn;
use crate::columns::integers::IntegerColumn;
use crate::data_set::encode::{DataSetColumns, DataSetOptions};
use crate::field::Field;
use crate::rejection::{Reason, Rejection, keep_first_of_row};
use crate::schema_error::SchemaError;

pub(crate) const BINARIES: &str =
    "a binary type (binary, large_binary, binary_view, fixed_size_binary, or a dictionary of one)";

pub(crate) const INTEGERS: &str = "an integer type (or a dictionary of one)";

pub(crate) const STRINGS: &str =
    "a string type (utf8, large_utf8, string_view, or a dictionary of one)";

/// The columns of a batch of events.
#[derive(Debug)]
pub struct EventColumns {
    /// The number of rows.
    pub rows: usize,
    integers: [Option<IntegerColumn>; Field::COUNTS.0],
    bytes: [Option<ByteColumn>; Field::COUNTS.1],
    structured: Vec<StructuredColumn>,
}

impl EventColumns {
    /// Finds the columns by name.
    pub fn new(batch: &RecordBatch) -> Result<Self, SchemaError> {
        Self::build(batch, Vec::new())
    }

    /// As [`EventColumns::new`], with structured data sets, which are encoded together with their
    /// messages.
    pub fn with_structured(
        batch: &RecordBatch,
        options: DataSetOptions,
    ) -> Result<Self, SchemaError> {
        Self::build(batch, StructuredColumn::all(batch, options)?)
    }

    fn build(batch: &RecordBatch, structured: Vec<StructuredColumn>) -> Result<Self, SchemaError> {
        check_names(&batch.schema(), OtherColumns::Raise)?;
        let mut columns = Self {
            rows: batch.num_rows(),
            integers: [const { None }; Field::COUNTS.0],
            bytes: [const { None }; Field::COUNTS.1],
            structured,
        };
        for (column, array) in batch.schema().fields().iter().zip(batch.columns()) {
            if let Some(field) = Field::from_keyword(column.name()) {
                columns.insert(field, array)?;
            }
        }
        Ok(columns)
    }

    fn insert(&mut self, field: Field, array: &ArrayRef) -> Result<(), SchemaError> {
        let wrong_type =
            |accepted| move |found| SchemaError::Type { column: field.keyword(), found, accepted };
        if Field::TEXTS.contains(&field) {
            let column = ByteColumn::text(array).map_err(wrong_type(STRINGS))?;
            self.bytes[field.place()] = Some(column);
        } else if self.structured.iter().any(|structured| structured.field == field) {
            // The column is in `structured`.
        } else if Field::DATA_SETS.contains(&field) {
            let column = ByteColumn::binary(array).map_err(wrong_type(BINARIES))?;
            self.bytes[field.place()] = Some(column);
        } else {
            let column = IntegerColumn::new(array).map_err(wrong_type(INTEGERS))?;
            self.integers[field.place()] = Some(column);
        }
        Ok(())
    }

    /// Whether the table has a column for the field.
    pub fn has(&self, field: Field) -> bool {
        self.integers(field).is_some() || self.cells(field).is_some()
    }

    /// The integer of a row; `None` if it is null or the table does not have the column.
    pub fn integer(&self, field: Field, row: usize) -> Option<i128> {
        self.integers(field)?.get(row)
    }

    /// The column of a numeric field.
    pub fn integers(&self, field: Field) -> Option<&IntegerColumn> {
        self.integers[field.place()].as_ref().filter(|_| field.is_number())
    }

    /// The column of a text field or of encoded data sets.
    pub fn cells(&self, field: Field) -> Option<&ByteColumn> {
        self.bytes.get(field.place())?.as_ref().filter(|_| !field.is_number())
    }

    /// The columns of structured data sets.
    pub fn structured(&self) -> &[StructuredColumn] {
        &self.structured
    }

    /// The bytes of a row; `None` if it is null or the table does not have the column.
    pub fn bytes(&self, field: Field, row: usize) -> Option<&[u8]> {
        self.cells(field)?.get(row)
    }
}

/// What to do with columns that fastdimse does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherColumns {
    /// They are an error.
    Raise,
    /// They are ignored.
    Ignore,
}

/// The columns that fastdimse itself adds to fields of events: those of captured and of received
/// events, the names that the command line adds, and the data sets that cannot be structs.
pub const ADDED_COLUMNS: [&str; 16] = [
    "Time",
    LATENCY,
    "SourceAddress",
    "SourcePort",
    "DestinationAddress",
    "DestinationPort",
    "CallingAETitle",
    "CalledAETitle",
    "Association",
    "Frame",
    TRANSFER_SYNTAX_UID,
    "EventTypeName",
    "StatusName",
    "FailureReasonNames",
    UNDECODED[0].1,
    UNDECODED[1].1,
];

/// The column of a table of captured events, in which the row of a request also has the fields of
/// its response.
pub const LATENCY: &str = "Latency";

/// The column with the transfer syntax of the encoded data sets of a row.
pub const TRANSFER_SYNTAX_UID: &str = "TransferSyntaxUID";

/// The columns of data sets that could not be decoded, next to the structured column of the field.
pub const UNDECODED: [(Field, &str); 2] =
    [(Field::EventInformation, "EventInformation:bytes"), (Field::EventReply, "EventReply:bytes")];

/// Whether events are read without this column: it is one of [`ADDED_COLUMNS`], or other columns are
/// ignored.
pub fn is_ignored(name: &str, other: OtherColumns) -> bool {
    other == OtherColumns::Ignore || ADDED_COLUMNS.contains(&name)
}

/// Checks that every column is a field or ignored, that no field occurs twice, and that the required
/// columns of a request or of a response are present.
pub fn check_names(schema: &SchemaRef, other: OtherColumns) -> Result<(), SchemaError> {
    let mut found = [false; Field::ALL.len()];
    for column in schema.fields() {
        let name = column.name();
        match Field::from_keyword(name) {
            Some(field) if found[field as usize] => return Err(SchemaError::Twice(name.clone())),
            Some(field) => found[field as usize] = true,
            None if is_ignored(name, other) => {}
            None => return Err(SchemaError::Unknown(name.clone())),
        }
    }
    let lacks = |needed: &[Field]| needed.iter().copied().find(|field| !found[*field as usize]);
    let request = Field::REQUIRED_OF_EVENTS;
    let response = [Field::MessageIDBeingRespondedTo, Field::Status];
    match lacks(if found[response[0] as usize] { &response } else { &request }) {
        // A table of requests and responses needs Status only in its responses.
        Some(_) if lacks(&request).is_none() => Ok(()),
        Some(field) => Err(SchemaError::Missing(field.keyword())),
        None => Ok(()),
    }
}

/// A table of captured events without the responses to its requests: one row is one message.
pub fn without_captured_responses(batch: &RecordBatch) -> RecordBatch {
    let responds = batch.column_by_name(Field::MessageIDBeingRespondedTo.keyword());
    let is_request: BooleanArray =
        (0..batch.num_rows()).map(|row| Some(!responds.is_some_and(|ids| has(ids, row)))).collect();
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(column, array)| {
        let field = Field::from_keyword(column.name());
        let responds = field.is_some_and(|field| Field::OF_RESPONSES.contains(&field));
        if !responds || array.data_type() == &DataType::Null {
            return (column.clone(), array.clone());
        }
        let array = nullif(array, &is_request).expect("the columns are of one length");
        (Arc::new(column.as_ref().clone().with_nullable(true)), array)
    });
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("as many rows as before")
}

/// Whether a row has a value. The nulls of a dictionary may be in its values.
fn has(array: &ArrayRef, row: usize) -> bool {
    array.data_type() != &DataType::Null
        && array.is_valid(row)
        && array.as_any_dictionary_opt().is_none_or(|dictionary| {
            dictionary.values().is_valid(dictionary.normalized_keys()[row])
        })
}

/// The rejections of rows with a data set that could not be decoded: it would be lost. The first row
/// has the number `first_row`.
pub fn undecoded_data_sets(batch: &RecordBatch, first_row: u64) -> Vec<Rejection> {
    let of = |(field, name): (Field, &str)| {
        let column = batch.column_by_name(name)?;
        let text = format!("the column '{name}' has a data set that could not be decoded");
        let rejection = Rejection::new(Reason::Value(text.into())).field(field);
        let rows = (0..batch.num_rows()).filter(|row| has(column, *row));
        Some(rows.map(move |row| rejection.clone().row(first_row + row as u64)))
    };
    let mut rejected: Vec<_> = UNDECODED.into_iter().filter_map(of).flatten().collect();
    keep_first_of_row(&mut rejected);
    rejected
}

/// A column of structured data sets.
#[derive(Debug)]
pub struct StructuredColumn {
    /// The field.
    pub field: Field,
    /// Its attributes.
    pub columns: DataSetColumns,
    /// How to encode the data sets.
    pub options: DataSetOptions,
}

impl StructuredColumn {
    /// The structured columns of a batch.
    pub fn all(batch: &RecordBatch, options: DataSetOptions) -> Result<Vec<Self>, SchemaError> {
        let of = |field: Field| {
            let array = batch.column_by_name(field.keyword())?.as_struct_opt()?;
            let columns = DataSetColumns::new(array, field.keyword());
            Some(columns.map(|columns| Self { field, columns, options }))
        };
        Field::DATA_SETS.into_iter().filter_map(of).collect()
    }
}

/// Whether a batch has structured data sets.
pub fn is_structured(schema: &Schema) -> bool {
    Field::ALL_DATA_SETS.into_iter().any(|field| {
        let column = schema.column_with_name(field.keyword());
        matches!(column, Some((_, column)) if matches!(column.data_type(), DataType::Struct(_)))
    })
}

/// Replaces the column of a field.
pub fn replaced(batch: &RecordBatch, field: Field, column: ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(of, array)| {
        match of.name() == field.keyword() {
            true => {
                let data_type = column.data_type().clone();
                (Arc::new(Column::new(field.keyword(), data_type, true)), column.clone())
            }
            false => (of.clone(), array.clone()),
        }
    });
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("as many rows as before")
}
