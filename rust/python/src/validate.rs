//! Checking rows: by the rules of the message, and by what the standard says about their events.

use std::iter::Peekable;
use std::vec::IntoIter;

use arrow_array::RecordBatch;
use fastdimse_core::columns::EventColumns;
use fastdimse_core::command_set::Field;
use fastdimse_core::encode::{self, Framing, OnInvalid, Options};
use fastdimse_core::encode_data_set::DataSetOptions;
use fastdimse_core::error::Rejection;
use fastdimse_core::pdv::MaxPduLength;
use fastdimse_core::standard::{Information, check_row};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::encoded::{self, thread_count};
use crate::errors::{encode_error, schema_error};
use crate::events::Events;
use crate::rejections::{Rejections, Row};
use crate::structured::{self, cut, encode_structured};

/// Check events as :func:`encode_events` does, without encoding them; or further.
///
/// Parameters
/// ----------
/// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT
///     As for :func:`encode_events`.
/// check : {"form", "standard"}, optional
///     ``"form"`` checks what :func:`encode_events` checks. ``"standard"`` holds events to
///     PS3.4 besides, as :mod:`fastdimse.events` has it: the Event Type ID is one of the SOP
///     Class, the SOP Instance is the well-known one, and the attributes that the sender must
///     give are there. SOP Classes that are not in its table are not judged, nor is what stands
///     in an *EventInformation* that is already encoded.
/// enforce_uid_conformance, transfer_syntax : optional
///     As for :func:`encode_events`.
/// threads : int, optional
///     The most threads that check the rows of a batch at once; only one holds them to PS3.4.
///
/// Returns
/// -------
/// Rejections
///     What :func:`encode_events` would leave out, and with ``"standard"`` what it would encode
///     although the standard has it otherwise; empty if all is well. The first of each row.
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
    transfer_syntax = "1.2.840.10008.1.2", threads = 1,
))]
pub fn validate_events(
    py: Python<'_>,
    events: &Bound<'_, PyAny>,
    check: &str,
    enforce_uid_conformance: bool,
    transfer_syntax: &str,
    threads: i64,
) -> PyResult<Rejections> {
    match check {
        "form" => {
            let conformant_uids = enforce_uid_conformance;
            encoded::validate_events(py, events, conformant_uids, transfer_syntax, threads)
        }
        "standard" => {
            let options = Options {
                context_id: 1,
                max_pdu_length: MaxPduLength::new(16382)
                    .map_err(|rejection| encode_error(py, &rejection))?,
                framing: Framing::PData,
                on_invalid: OnInvalid::Skip,
                conformant_uids: enforce_uid_conformance,
            };
            let syntax = structured::transfer_syntax(transfer_syntax)?;
            let data_sets = DataSetOptions { syntax, conformant_uids: enforce_uid_conformance };
            by_the_standard(py, Events::of(events)?, &options, data_sets, thread_count(threads)?)
        }
        _ => {
            Err(PyValueError::new_err(format!("check must be 'form' or 'standard', not '{check}'")))
        }
    }
}

fn by_the_standard(
    py: Python<'_>,
    mut events: Events,
    options: &Options,
    data_sets: DataSetOptions,
    threads: usize,
) -> PyResult<Rejections> {
    let mut rejected = Vec::new();
    let mut done = 0;
    while let Some(batch) = events.next(py, usize::MAX, done)? {
        // The check looks at the data sets before they are encoded.
        let given = cut(vec![batch]);
        let (mut columns, mut broken) = (Vec::with_capacity(given.len()), Vec::new());
        for encoded in encode_structured(py, given.clone(), data_sets, done, threads) {
            let (batch, found) = encoded?;
            columns.push(EventColumns::new(&batch).map_err(|error| schema_error(py, &error))?);
            broken.extend(found);
        }
        broken.sort_by_key(|rejection| rejection.row);
        rejected.extend(py.detach(|| {
            let refused = encode::validate_in_threads(&columns, options, done, broken, threads);
            let mut refused = refused.into_iter().peekable();
            let mut rows = Vec::new();
            for ((given, _), columns) in given.iter().zip(&columns) {
                rows.extend(check_batch(given, columns, &mut refused, done));
                done += given.num_rows() as u64;
            }
            rows
        }));
    }
    Ok(Rejections::of_rows(rejected))
}

/// What is wrong with each row; what breaks no rule of the message is held to the standard.
fn check_batch(
    given: &RecordBatch,
    columns: &EventColumns,
    refused: &mut Peekable<IntoIter<Rejection>>,
    first_row: u64,
) -> Vec<Row> {
    let information = Information::of(given.column_by_name(Field::EventInformation.keyword()));
    let rows = (0..given.num_rows()).filter_map(|row| {
        let number = first_row + row as u64;
        if let Some(rejection) = refused.next_if(|rejection| rejection.row == Some(number)) {
            return Some(Row::Refused(rejection));
        }
        let deviation = check_row(columns, row, information).err()?;
        Some(Row::Deviates { row: number, deviation })
    });
    rows.collect()
}
