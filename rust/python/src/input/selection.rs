//! The columns of a table that are read, and rows of fastdimse's own files that need more than that.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use fastdimse_core::event_columns::{
    LATENCY, UNDECODED, undecoded_data_sets, without_captured_responses,
};
use fastdimse_core::rejection::Rejection;

use crate::input::columns::ColumnSet;

/// How to read the batches of a table that has other columns than the fields of events.
pub struct Selection {
    /// The columns that are read.
    kept: Vec<usize>,
    /// Whether the row of a request also has the response.
    is_captured: bool,
    has_undecoded: bool,
}

impl Selection {
    /// `None` if the table has fields of events only.
    pub fn new(schema: &Schema, accepted: &dyn ColumnSet) -> Option<Self> {
        let mut names = schema.fields().iter().map(|column| column.name().as_str());
        if names.all(|name| accepted.reads(name)) {
            return None;
        }
        let columns = schema.fields().iter().enumerate();
        let kept = columns.filter(|(_, column)| accepted.reads(column.name()));
        Some(Self {
            kept: kept.map(|(place, _)| place).collect(),
            is_captured: !accepted.has_responses() && schema.column_with_name(LATENCY).is_some(),
            has_undecoded: UNDECODED
                .iter()
                .any(|(_, name)| schema.column_with_name(name).is_some()),
        })
    }

    /// The columns of a batch that are read, and the rows that would lose data. The first row has the
    /// number `first_row`.
    pub fn apply(&self, batch: &RecordBatch, first_row: u64) -> (RecordBatch, Vec<Rejection>) {
        let rejected =
            if self.has_undecoded { undecoded_data_sets(batch, first_row) } else { Vec::new() };
        let read = batch.project(&self.kept).expect("the columns are there");
        let read = if self.is_captured { without_captured_responses(&read) } else { read };
        (read, rejected)
    }
}
