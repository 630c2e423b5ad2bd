//! The columns of messages, row for row: `Message`, and `Rejection` where a row has none.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_buffer::NullBufferBuilder;
use arrow_schema::{DataType, Field as Column, FieldRef, Fields};
use arrow_select::interleave::interleave;

use crate::rejection::Rejection;

/// The column with the message of a row, in P-DATA-TF PDUs (PS3.8 9.3.5).
pub const MESSAGE: &str = "Message";

/// The column with the reason why a row has no message, or no event.
pub const REJECTION: &str = "Rejection";

/// The column `Message`.
pub fn message_column() -> FieldRef {
    Arc::new(Column::new(MESSAGE, DataType::Binary, true))
}

/// The column `Rejection`.
pub fn rejection_column() -> FieldRef {
    Arc::new(Column::new(REJECTION, DataType::Struct(rejection_fields()), true))
}

fn rejection_fields() -> Fields {
    let names = ["field", "code", "reason"];
    names.map(|name| Column::new(name, DataType::Utf8, true)).into_iter().collect()
}

/// The values of the column `Rejection` of this number of rows. `rejected` are rows of these with
/// their rejections, in order; the rows of `earlier` that were rejected before keep what they have.
pub fn rejection_values<'a>(
    rows: usize,
    rejected: impl Iterator<Item = (usize, &'a Rejection)>,
    earlier: Option<&StructArray>,
) -> StructArray {
    let found = found_now(rows, rejected);
    match earlier {
        Some(earlier) if earlier.null_count() < rows => earlier_or_found(earlier, &found),
        _ => found,
    }
}

fn found_now<'a>(
    rows: usize,
    rejected: impl Iterator<Item = (usize, &'a Rejection)>,
) -> StructArray {
    let mut rejected = rejected.peekable();
    if rejected.peek().is_none() {
        // Zeros, which need no memory before they are read.
        return StructArray::new_null(rejection_fields(), rows);
    }
    let mut texts = [(); 3].map(|()| StringBuilder::with_capacity(rows, 0));
    let mut valid = NullBufferBuilder::new(rows);
    let fill = |texts: &mut [StringBuilder; 3], valid: &mut NullBufferBuilder, end: usize| {
        let missing = end - valid.len();
        texts.iter_mut().for_each(|text| text.append_nulls(missing));
        valid.append_n_nulls(missing);
    };
    for (row, rejection) in rejected {
        fill(&mut texts, &mut valid, row);
        let [field, code, reason] = &mut texts;
        field.append_option(rejection.path());
        code.append_value(rejection.reason.code());
        reason.append_value(rejection.reason.to_string());
        valid.append_non_null();
    }
    fill(&mut texts, &mut valid, rows);
    let texts = texts.map(|mut text| Arc::new(text.finish()) as ArrayRef);
    StructArray::new(rejection_fields(), texts.to_vec(), valid.finish())
}

fn earlier_or_found(earlier: &StructArray, found: &StructArray) -> StructArray {
    let source = |row: usize| (usize::from(earlier.is_null(row)), row);
    let rows: Vec<(usize, usize)> = (0..found.len()).map(source).collect();
    let merged = interleave(&[earlier, found], &rows).expect("they have one type");
    StructArray::from(merged.to_data())
}
