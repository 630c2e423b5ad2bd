//! Structured data sets of record batches, encoded before their events.

use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::encode_each_structured;
use fastdimse_core::event_columns::is_structured;
use fastdimse_core::rejection::Rejection;
use pyo3::prelude::*;

use crate::errors::Error;
use crate::input::columns::Batch;

/// The maximum number of rows whose data sets are encoded at a time in a thread.
const ROWS: usize = 1 << 14;

/// Splits batches with structured data sets, so that several threads can encode them, and the memory of one
/// part stays small.
pub fn split_batches(batches: Vec<Batch>) -> Vec<Batch> {
    let split = |(batch, rejected): Batch| {
        if !is_structured(&batch.schema()) || batch.num_rows() <= ROWS {
            return vec![(batch, rejected)];
        }
        let starts = (0..batch.num_rows()).step_by(ROWS);
        let slices = starts.map(|start| batch.slice(start, ROWS.min(batch.num_rows() - start)));
        let mut parts: Vec<Batch> = slices.map(|slice| (slice, Vec::new())).collect();
        // Rejections have row numbers, so any part can keep them.
        parts[0].1 = rejected;
        parts
    };
    batches.into_iter().flat_map(split).collect()
}

/// The batches with their structured data sets encoded; the first row has the number `first_row`.
pub fn encode_data_sets(
    py: Python<'_>,
    batches: Vec<Batch>,
    options: DataSetOptions,
    first_row: u64,
    threads: usize,
) -> Vec<PyResult<Batch>> {
    if !batches.iter().any(|(batch, _)| is_structured(&batch.schema())) {
        return batches.into_iter().map(Ok).collect();
    }
    let mut done = first_row;
    let (tables, known): (Vec<_>, Vec<_>) = batches
        .into_iter()
        .map(|(batch, rejected)| {
            let first_row = done;
            done += batch.num_rows() as u64;
            ((batch, first_row), rejected)
        })
        .unzip();
    let encoded = py.detach(|| encode_each_structured(tables, options, threads));
    let with_known = |(encoded, mut rejected): (Result<Batch, _>, Vec<_>)| {
        let (batch, found) = encoded.map_err(Error::Schema)?;
        rejected.extend(found);
        rejected.sort_by_key(|rejection: &Rejection| rejection.row);
        Ok((batch, rejected))
    };
    encoded.into_iter().zip(known).map(with_known).collect()
}
