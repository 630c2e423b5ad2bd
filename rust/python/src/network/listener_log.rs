//! The log of a listener: a thread that passes its records to Python's `logging`.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::UNIX_EPOCH;

use fastdimse_delivery::receive::records::{Content, NextRecords, Record, Records};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::network::calls::attach;

/// The levels of Python's `logging`.
const INFO: u8 = 20;
const WARNING: u8 = 30;

/// Starts the thread. It ends when the records are closed, or the interpreter is finalizing. Handlers of
/// `logging` run in it, so that a slow handler delays no association.
pub fn start(records: Arc<Records>, port: u16) -> io::Result<()> {
    thread::Builder::new().spawn(move || {
        while let Some(next) = records.wait() {
            let logged = attach(|py| {
                // The thread has no caller to which it could raise an exception.
                log_all(py, &next, port).unwrap_or_else(|error| error.write_unraisable(py, None));
            });
            records.processed();
            if logged.is_none() {
                return;
            }
        }
    })?;
    Ok(())
}

fn log_all(py: Python<'_>, next: &NextRecords, port: u16) -> PyResult<()> {
    let logging = py.import("logging")?;
    let logger = logging.call_method1("getLogger", ("fastdimse.listener",))?;
    for record in &next.records {
        let level = if record.is_problem() { WARNING } else { INFO };
        if !logger.call_method1("isEnabledFor", (level,))?.is_truthy()? {
            continue;
        }
        let fields = fields(py, record, port)?;
        if let Err(error) = log(&logger, level, &record.to_string(), fields, record) {
            error.write_unraisable(py, None);
        }
    }
    if next.omitted > 0 {
        let fields = PyDict::new(py);
        fields.set_item("kind", "omitted")?;
        fields.set_item("port", port)?;
        fields.set_item("omitted", next.omitted)?;
        let extra = PyDict::new(py);
        extra.set_item("listener", fields)?;
        let options = PyDict::new(py);
        options.set_item("extra", extra)?;
        let text = format!("{} further records are not logged", next.omitted);
        logger.call_method("warning", (text,), Some(&options))?;
    }
    Ok(())
}

/// Logs a record with the time at which it happened.
fn log(
    logger: &Bound<'_, PyAny>,
    level: u8,
    text: &str,
    fields: Bound<'_, PyDict>,
    record: &Record,
) -> PyResult<()> {
    let py = logger.py();
    let extra = PyDict::new(py);
    extra.set_item("listener", fields)?;
    let name = logger.getattr("name")?;
    let none = py.None();
    let arguments = (name, level, "fastdimse", 0, text, (), &none, &none, extra);
    let made = logger.call_method1("makeRecord", arguments)?;
    let time = record.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    made.setattr("created", time.as_secs_f64())?;
    made.setattr("msecs", f64::from(time.subsec_millis()))?;
    logger.call_method1("handle", (made,)).map(drop)
}

/// The fields of a record, for structured logs.
fn fields<'py>(py: Python<'py>, record: &Record, port: u16) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    let kind = match &record.content {
        Content::Accepted { .. } => "accepted",
        Content::Rejected { .. } => "rejected",
        Content::Failed { .. } => "failed",
        Content::Ended { .. } => "ended",
        Content::Refused { .. } => "refused",
        Content::Ignored { .. } => "ignored",
        Content::AcceptFailed { .. } => "accept-failed",
    };
    fields.set_item("kind", kind)?;
    fields.set_item("port", port)?;
    if let Some((number, peer)) = record.association {
        fields.set_item("association", number)?;
        fields.set_item("peer", peer.ip().to_string())?;
        fields.set_item("peer_port", peer.port())?;
    }
    if let Some(titles) = &record.titles {
        fields.set_item("calling_ae", &titles.calling)?;
        fields.set_item("called_ae", &titles.called)?;
    }
    match &record.content {
        Content::Accepted { accepted, proposed } => {
            fields.set_item("accepted_sop_classes", accepted)?;
            fields.set_item("proposed_sop_classes", proposed)?;
        }
        Content::Rejected { code, reason } | Content::Failed { code, reason } => {
            fields.set_item("code", code)?;
            fields.set_item("reason", &**reason)?;
        }
        Content::Ended { how, reason, totals, duration } => {
            fields.set_item("code", how.code())?;
            fields.set_item("reason", reason.as_deref())?;
            fields.set_item("events", totals.events)?;
            fields.set_item("refused", totals.refused)?;
            fields.set_item("ignored", totals.ignored)?;
            fields.set_item("bytes", totals.bytes)?;
            fields.set_item("seconds", duration.as_secs_f64())?;
        }
        Content::Refused { message_id, status, text } => {
            fields.set_item("message_id", message_id)?;
            fields.set_item("status", status)?;
            fields.set_item("reason", &**text)?;
        }
        Content::Ignored { text: reason } | Content::AcceptFailed { reason } => {
            fields.set_item("reason", &**reason)?;
        }
    }
    Ok(fields)
}
