//! Batches of several tables as one: each may have its own order of columns, and its own types.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;
use arrow_select::concat::{concat, concat_batches};
use fastdimse_core::field::Field;

use crate::columns::{CaptureColumn, TableError};

/// The rows of `batches`, with the columns of the `first` that are read.
pub fn joined(first: &RecordBatch, batches: &[RecordBatch]) -> Result<RecordBatch, TableError> {
    let schema = first.schema();
    if batches.iter().all(|batch| batch.schema() == schema) {
        return Ok(concat_batches(&schema, batches).expect("the batches are of one schema"));
    }
    let mut columns = Vec::new();
    for column in schema.fields() {
        let field = Field::from_keyword(column.name()).map(Field::keyword);
        let name = field.or(CaptureColumn::from_name(column.name()).map(CaptureColumn::name));
        let Some(name) = name else { continue };
        let parts = batches.iter().filter_map(|batch| batch.column_by_name(name)).cloned();
        columns.push((name, joined_column(name, parts.collect())?, true));
    }
    Ok(RecordBatch::try_from_iter_with_nullable(columns).expect("the columns are of one length"))
}

fn joined_column(name: &'static str, mut parts: Vec<ArrayRef>) -> Result<ArrayRef, TableError> {
    if parts.iter().any(|part| part.data_type() != parts[0].data_type()) {
        let typed = parts.iter().map(|part| part.data_type()).find(|one| **one != DataType::Null);
        let (to, wanted) = common_type(typed.unwrap_or(&DataType::Null));
        // A value that cannot be converted is an error, not a null.
        let options = CastOptions { safe: false, ..CastOptions::default() };
        for part in &mut parts {
            *part = cast_with_options(part, &to, &options).map_err(|error| TableError::Type {
                column: name,
                found: part.data_type().clone(),
                wanted,
                why: error.to_string().into(),
            })?;
        }
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(concat(&parts).expect("the parts are of one type"))
}

/// The type to which columns of several types are converted, and its description.
fn common_type(data_type: &DataType) -> (DataType, &'static str) {
    match data_type {
        DataType::Dictionary(_, values) => common_type(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (DataType::LargeUtf8, "text"),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => (DataType::LargeBinary, "binary"),
        one if one.is_integer() => (DataType::Int64, "whole numbers"),
        one => (one.clone(), "of the same type in all batches"),
    }
}
