//! Validation of rows: by the rules of messages, and by the events that the standard defines.

use std::iter::zip;
use std::ops::Range;

use arrow_array::RecordBatch;
use fastdimse_core::conformance::{Information, check_row};
use fastdimse_core::encode;
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::Rejection;
use fastdimse_core::threads::run_in_threads;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::bulk::columns::to_columns;
use crate::input::data_sets::encode::{encode_data_sets, split_batches};
use crate::input::event_columns::encoded;
use crate::input::events::Events;
use crate::input::options::{data_set_options, first_row, options, other_columns, thread_count};
use crate::output::rejections::{RejectedRow, Rejections};

/// Check events without encoding them.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
///     As for :func:`encode_events`.
/// check : {"form", "standard"}, default "form"
///     ``"form"`` makes the checks of :func:`encode_events`. ``"standard"`` also reports deviations
///     from PS3.4, by the tables of :mod:`fastdimse.events`: an Event Type ID that the SOP Class does
///     not define, an instance other than the well-known SOP Instance, and missing attributes that
///     the sender must supply. It does not check SOP Classes outside these tables, nor the attributes
///     in *EventInformation* that is already encoded.
/// enforce_uid_conformance : bool, default True
///     As for :func:`encode_events`.
/// transfer_syntax : str, default "1.2.840.10008.1.2"
///     As for :func:`encode_events`.
/// other_columns : {"raise", "ignore"}, default "raise"
///     As for :func:`encode_events`.
/// first_row : int, default 0
///     The number of the first row in rejections and errors.
/// threads : int, default 1
///     The maximum number of threads that check the rows of a batch, including the calling one. The
///     result does not depend on it. A second thread pays off from 65,536 rows.
///
/// Returns
/// -------
/// Rejections
///     The first rejection of each row that fails a check; empty if no row does.
///
/// Raises
/// ------
/// ColumnError
///     If a column is missing or unknown.
/// TypeError
///     If *events*, a column or a value has an unsupported type.
/// ValueError
///     If an option has an unsupported value.
///
/// Examples
/// --------
/// >>> from fastdimse import validate_events
/// >>> events = {
/// ...     "AffectedSOPClassUID": "1.2.840.10008.5.1.1.16",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.5.1.1.17",
/// ...     "EventTypeID": [1, 4],
/// ... }
/// >>> len(validate_events(events))
/// 0
/// >>> [rejection] = validate_events(events, check="standard")
/// >>> print(rejection)
/// row 1, EventTypeID: Printer SOP Class has no event type 4 (PS3.4 Table H.4-16): 1 Normal, 2 Warning, 3 Failure
#[pyfunction]
#[pyo3(signature = (
    events, *, check = "form", enforce_uid_conformance = true,
    transfer_syntax = "1.2.840.10008.1.2", other_columns = "raise", first_row = 0, threads = 1,
))]
#[allow(clippy::too_many_arguments)]
pub fn validate_events(
    py: Python<'_>,
    events: &Bound<'_, PyAny>,
    check: &str,
    enforce_uid_conformance: bool,
    transfer_syntax: &str,
    other_columns: &str,
    first_row: i64,
    threads: i64,
) -> PyResult<Rejections> {
    let options = options(1, 16382, "p-data", "skip", enforce_uid_conformance)?;
    let data_sets = data_set_options(transfer_syntax, enforce_uid_conformance)?;
    let threads = thread_count(threads)?;
    let check = match check {
        "form" => by_form,
        "standard" => by_the_standard,
        _ => {
            let text = format!("check must be 'form' or 'standard', not '{check}'");
            return Err(PyValueError::new_err(text));
        }
    };
    let mut done = self::first_row(first_row)?;
    let mut events = Events::new(events, encoded(self::other_columns(other_columns)?), done)?;
    let mut rejected = Vec::new();
    while let Some(batch) = events.next(py, usize::MAX, done)? {
        let structured = batch.0.clone();
        let rows = batch.0.num_rows() as u64;
        let batches = encode_data_sets(py, split_batches(vec![batch]), data_sets, done, threads);
        let batches = batches.into_iter().collect::<PyResult<_>>()?;
        let (columns, known) = to_columns(batches, data_sets)?;
        let found = py.detach(|| {
            let rejections = encode::validate_in_threads(&columns, &options, done, known, threads);
            check(rejections, &structured, &columns, done, threads)
        });
        // There usually is one batch.
        if rejected.is_empty() {
            rejected = found;
        } else {
            rejected.extend(found);
        }
        done += rows;
    }
    Ok(rejected.into())
}

/// The number of rows of a part that a thread checks against the standard.
const PART_ROWS: usize = 1 << 15;

fn by_form(
    rejections: Vec<Rejection>,
    _: &RecordBatch,
    _: &[EventColumns],
    _: u64,
    _: usize,
) -> Vec<RejectedRow> {
    rejections.into_iter().map(RejectedRow::Rejection).collect()
}

/// Checks the rows that violate no rule of their message against the standard.
fn by_the_standard(
    rejections: Vec<Rejection>,
    batch: &RecordBatch,
    columns: &[EventColumns],
    first_row: u64,
    threads: usize,
) -> Vec<RejectedRow> {
    // The structured data sets before encoding: `columns` has them encoded.
    let information = batch.column_by_name(Field::EventInformation.keyword());
    let ends = columns.iter().scan(0, |end, columns| {
        *end += columns.rows;
        Some(*end)
    });
    let parts = zip(columns, ends).flat_map(|(columns, end)| {
        let begin = end - columns.rows;
        let rows = (0..columns.rows).step_by(PART_ROWS);
        rows.map(move |first| (columns, begin, first..columns.rows.min(first + PART_ROWS)))
    });
    let check = |(columns, begin, rows): (&EventColumns, usize, Range<usize>)| {
        let information = information.map(|column| column.slice(begin, columns.rows));
        let information = Information::new(information.as_ref());
        let number = |row: usize| first_row + (begin + row) as u64;
        let is_before = |rejection: &Rejection| rejection.row < Some(number(rows.start));
        let mut rejected = &rejections[rejections.partition_point(is_before)..];
        let mut deviations = Vec::new();
        for row in rows {
            match rejected.split_first() {
                Some((rejection, rest)) if rejection.row == Some(number(row)) => rejected = rest,
                _ => {
                    if let Err(deviation) = check_row(columns, row, information) {
                        deviations.push(RejectedRow::Deviation { row: number(row), deviation });
                    }
                }
            }
        }
        deviations
    };
    let threads = threads.min(batch.num_rows() / PART_ROWS).max(1);
    let mut deviations = run_in_threads(threads, parts, check).into_iter().flatten().peekable();
    let mut rows = Vec::new();
    for rejection in rejections {
        while let Some(deviation) = deviations.next_if(|of| of.row() < rejection.row) {
            rows.push(deviation);
        }
        rows.push(RejectedRow::Rejection(rejection));
    }
    rows.extend(deviations);
    rows
}
