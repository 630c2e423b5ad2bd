//! Checking rows: by the rules of the message, and by what the standard says about their events.

use fastdimse_core::columns::EventColumns;
use fastdimse_core::command_set::Field;
use fastdimse_core::encode::{self, Framing, OnInvalid, Options};
use fastdimse_core::error::Rejection;
use fastdimse_core::pdv::MaxPduLength;
use fastdimse_core::standard::{Information, check_row};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::encoded;
use crate::errors::{encode_error, schema_error};
use crate::events::{Batch, Events};
use crate::rejections::{Rejections, Row};

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
/// enforce_uid_conformance : bool, optional
///     As for :func:`encode_events`.
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
#[pyo3(signature = (events, *, check = "form", enforce_uid_conformance = true))]
pub fn validate_events(
    py: Python<'_>,
    events: &Bound<'_, PyAny>,
    check: &str,
    enforce_uid_conformance: bool,
) -> PyResult<Rejections> {
    match check {
        "form" => encoded::validate_events(py, events, enforce_uid_conformance),
        "standard" => by_the_standard(py, events, enforce_uid_conformance),
        _ => {
            Err(PyValueError::new_err(format!("check must be 'form' or 'standard', not '{check}'")))
        }
    }
}

fn by_the_standard(
    py: Python<'_>,
    events: &Bound<'_, PyAny>,
    conformant_uids: bool,
) -> PyResult<Rejections> {
    let options = Options {
        context_id: 1,
        max_pdu_length: MaxPduLength::new(16382).map_err(|error| encode_error(py, &error))?,
        framing: Framing::PData,
        on_invalid: OnInvalid::Skip,
        conformant_uids,
    };
    let mut events = Events::of(events)?;
    let mut rejected = Vec::new();
    let mut done = 0;
    while let Some(batch) = events.next(py, usize::MAX, done)? {
        let columns = [EventColumns::new(&batch.0).map_err(|error| schema_error(py, &error))?];
        rejected.extend(py.detach(|| check_batch(&batch, &columns, &options, done)));
        done += batch.0.num_rows() as u64;
    }
    Ok(Rejections::of_rows(rejected))
}

/// What is wrong with each row; what breaks no rule of the message is held to the standard.
fn check_batch(
    (batch, broken): &Batch,
    columns: &[EventColumns; 1],
    options: &Options,
    first_row: u64,
) -> Vec<Row> {
    let refused = encode::validate(columns, options, first_row, broken.clone());
    let mut refused = refused.into_iter().peekable();
    let information = Information::of(batch.column_by_name(Field::EventInformation.keyword()));
    let rows = (0..batch.num_rows()).filter_map(|row| {
        let number = first_row + row as u64;
        let is_this = |rejection: &Rejection| rejection.row == Some(number);
        if let Some(rejection) = refused.next_if(is_this) {
            return Some(Row::Refused(rejection));
        }
        let deviation = check_row(&columns[0], row, information).err()?;
        Some(Row::Deviates { row: number, deviation })
    });
    rows.collect()
}
