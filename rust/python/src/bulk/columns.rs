//! The columns of batches, as the core reads them.

use arrow_array::RecordBatch;
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::Table;
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::rejection::Rejection;
use pyo3::prelude::*;

use crate::errors::Error;
use crate::input::columns::Batch;

/// The columns of batches, and the rejections of their rows in order.
pub fn to_columns(
    batches: Vec<Batch>,
    data_sets: DataSetOptions,
) -> PyResult<(Vec<EventColumns>, Vec<Rejection>)> {
    let mut columns = Vec::with_capacity(batches.len());
    let mut rejected = Vec::new();
    for (batch, found) in batches {
        columns.push(event_columns(&batch, data_sets)?);
        rejected.extend(found);
    }
    // The rejections of a whole mapping are those of its first batch.
    rejected.sort_by_key(|rejection: &Rejection| rejection.row);
    Ok((columns, rejected))
}

fn event_columns(batch: &RecordBatch, data_sets: DataSetOptions) -> PyResult<EventColumns> {
    EventColumns::with_structured(batch, data_sets).map_err(|error| Error::Schema(error).into())
}

/// A batch as a table of the core, with the number of its first row.
pub fn table(
    (batch, rejected): Batch,
    first_row: u64,
    data_sets: DataSetOptions,
) -> PyResult<Table> {
    Ok(Table { columns: event_columns(&batch, data_sets)?, first_row, known: rejected })
}
