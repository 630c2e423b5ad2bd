//! The index of a pandas DataFrame, which is among the columns of its Arrow stream.

use std::sync::Arc;

use arrow_array::{RecordBatchIterator, RecordBatchReader};
use arrow_schema::ArrowError;

type Reader = Box<dyn RecordBatchReader + Send>;

/// The batches without unnamed index levels, which number the rows of a data frame. Named levels are columns
/// like all others.
pub fn without_index(reader: Reader) -> Result<Reader, ArrowError> {
    let schema = reader.schema();
    let columns = schema.fields().iter().enumerate();
    let kept: Vec<usize> = columns
        .filter(|(_, column)| !is_unnamed_level(column.name()))
        .map(|(place, _)| place)
        .collect();
    if kept.len() == schema.fields().len() {
        return Ok(reader);
    }
    let schema = Arc::new(schema.project(&kept)?);
    let batches = reader.map(move |batch| batch?.project(&kept));
    Ok(Box::new(RecordBatchIterator::new(batches, schema)))
}

/// Whether this is the name that pandas and pyarrow give to an unnamed level: `__index_level_0__`.
fn is_unnamed_level(column: &str) -> bool {
    let level = column.strip_prefix("__index_level_").and_then(|rest| rest.strip_suffix("__"));
    level.is_some_and(|level| level.parse::<usize>().is_ok())
}
