//! The handler of batches of received events.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt16Array};
use arrow_cast::cast;
use arrow_schema::DataType;
use fastdimse_core::command_set::CommandSet;
use fastdimse_delivery::messages::ReceivedMessage;
use fastdimse_delivery::receive::event_columns::received;
use fastdimse_delivery::receive::receiver::{Chunk, Delivered, EventSink, Origin};
use fastdimse_delivery::responses::Response;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyFrozenSet, PyMapping, PyMemoryView, PySet, PyString};

use crate::arrow::error::arrow_error;
use crate::arrow::import::{is_arrow, utf8_array};
use crate::network::calls::{Callable, attach, log};
use crate::network::handler::{HANDLER_FAILED, PROCESSING_FAILURE, status};
use crate::network::received_events::ReceivedEvents;

/// The number of events after which a batch is handled.
const BATCH: usize = 65536;

/// A chunk of events that waits for the handler.
struct PendingChunk {
    chunk: Chunk,
    response: Sender<Delivered>,
}

/// Calls the handler with the events of all associations.
pub struct BatchHandler {
    pending: Sender<PendingChunk>,
}

impl BatchHandler {
    /// Starts the thread that calls the handler. It ends when all senders are dropped.
    pub fn start(handler: Callable) -> PyResult<Self> {
        let (pending, received) = channel();
        thread::Builder::new().spawn(move || call_with_batches(&received, &handler))?;
        Ok(Self { pending })
    }
}

impl EventSink for BatchHandler {
    fn response(
        &self,
        _: &CommandSet<'_>,
        _: &ReceivedMessage<'_>,
        _: &Arc<Origin>,
    ) -> Option<Response> {
        None
    }

    fn receive(&self, chunk: Chunk) -> Delivered {
        let (response, received_response) = channel();
        let pending = self.pending.send(PendingChunk { chunk, response });
        pending.ok().and_then(|()| received_response.recv().ok()).unwrap_or(Delivered::SinkClosed)
    }
}

fn call_with_batches(pending: &Receiver<PendingChunk>, handler: &Callable) {
    while let Ok(first) = pending.recv() {
        let mut count = first.chunk.events;
        let mut all = vec![first];
        while count < BATCH
            && let Ok(next) = pending.try_recv()
        {
            count += next.chunk.events;
            all.push(next);
        }
        let (chunks, senders): (Vec<_>, Vec<_>) =
            all.into_iter().map(|one| (one.chunk, one.response)).unzip();
        let mut statuses = statuses(handler, &chunks).into_iter();
        for (chunk, response) in chunks.into_iter().zip(senders) {
            let some = statuses.by_ref().take(chunk.events).collect();
            // The association may have ended.
            let _ = response.send(Delivered::Processed(chunk.bytes, some));
        }
    }
}

/// The Status of each event in these chunks.
fn statuses(handler: &Callable, chunks: &[Chunk]) -> Vec<u16> {
    let events: ReceivedEvents = received(chunks).into();
    let rows = events.rows();
    let called = attach(|py| {
        let called = call_with_batch(py, handler, events, rows);
        called.map_err(|error| log(py, error, HANDLER_FAILED)).ok()
    });
    called.flatten().unwrap_or_else(|| vec![PROCESSING_FAILURE; rows])
}

fn call_with_batch(
    py: Python<'_>,
    handler: &Callable,
    events: ReceivedEvents,
    rows: usize,
) -> PyResult<Vec<u16>> {
    let response = handler.call1(py, (events,))?;
    let statuses: Vec<u16> = if is_arrow(&response)? {
        // "Status" is its name in errors.
        statuses_of_column(&utf8_array(&response, "Status")?)?
    } else if is_column(&response)? {
        // One more than needed shows that there are too many; an iterator may be endless.
        response.try_iter()?.take(rows + 1).map(|one| status(&one?)).collect::<PyResult<_>>()?
    } else {
        vec![status(&response)?; rows]
    };
    let given = match statuses.len().cmp(&rows) {
        Ordering::Equal => return Ok(statuses),
        Ordering::Less => statuses.len().to_string(),
        Ordering::Greater => format!("more than {rows}"),
    };
    let text = format!("the batch handler returned {given} Statuses for {rows} events");
    Err(PyValueError::new_err(text))
}

/// Whether the object has a Status for each event. Texts, bytes, mappings and sets are iterable too, but are
/// not a column.
fn is_column(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    let is_other = given.is_instance_of::<PyString>()
        || given.is_instance_of::<PyBytes>()
        || given.is_instance_of::<PyByteArray>()
        || given.is_instance_of::<PyMemoryView>()
        || given.is_instance_of::<PySet>()
        || given.is_instance_of::<PyFrozenSet>()
        || given.cast::<PyMapping>().is_ok();
    Ok(!is_other && given.hasattr("__iter__")?)
}

/// The Status of each row of a column, which must not be null.
fn statuses_of_column(column: &ArrayRef) -> PyResult<Vec<u16>> {
    let wrong = |row: usize, why: &str| {
        PyValueError::new_err(format!(
            "row {row} of the batch handler's column {why}: a Status must be an integer of 0 to 65535"
        ))
    };
    if !column.data_type().is_integer() {
        return Err(PyTypeError::new_err(format!(
            "the batch handler returned a column of {}: Statuses must be integers of 0 to 65535",
            column.data_type()
        )));
    }
    let numbers = cast(column, &DataType::UInt16).map_err(arrow_error)?;
    let numbers: &UInt16Array = numbers.as_primitive();
    let status = |row: usize| match (column.is_valid(row), numbers.is_valid(row)) {
        (_, true) => Ok(numbers.value(row)),
        (true, false) => Err(wrong(row, "does not fit")),
        (false, false) => Err(wrong(row, "is null")),
    };
    (0..numbers.len()).map(status).collect()
}
