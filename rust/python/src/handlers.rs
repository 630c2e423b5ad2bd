//! Python functions that are asked about what comes in: who may come, and how events are answered.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, UInt16Array};
use arrow_cast::cast;
use arrow_schema::DataType;
use dicom_ul::pdu::{UserIdentity, UserIdentityType};
use fastdimse_core::command_set::{CommandSet, Field};
use fastdimse_core::encode_data_set::DataSetOptions;
use fastdimse_core::structured::encode_structured;
use fastdimse_core::transfer_syntax::TransferSyntax;
use fastdimse_delivery::receive::{Answer, Chunk, Origin, Taker};
use fastdimse_delivery::received::received;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::codec::event_of;
use crate::data_set::bytes_io;
use crate::errors::{encode_error, schema_error};
use crate::events::{arrow_array, arrow_error, data_set, from_iterator};
use crate::primitive::primitive_type;
use crate::received_events::ReceivedEvents;
use crate::rows::is_structured;

/// Processing failure (PS3.7 C.4.3.1.4 and the like).
const PROCESSING_FAILURE: u16 = 0x0110;
const HANDLER_FAILED: &str = "the handler of events failed: 0x0110 Processing failure is answered";
const AUTHENTICATE_FAILED: &str = "authenticate failed: the association is rejected";
/// So many events are enough for a batch.
const BATCH: usize = 65536;

/// Asks for each event.
pub struct Handler {
    pub handler: Py<PyAny>,
}

impl Taker for Handler {
    fn answer(
        &self,
        event: &CommandSet<'_>,
        data_set: &[u8],
        context_id: u8,
        origin: &Origin,
    ) -> Option<Answer> {
        Some(Python::attach(|py| {
            self.call(py, event, data_set, context_id, origin).unwrap_or_else(|error| {
                log(py, error, HANDLER_FAILED);
                Answer { status: PROCESSING_FAILURE, event_reply: None }
            })
        }))
    }

    fn take(&self, _: Chunk) -> Option<(Vec<u8>, Vec<u16>)> {
        None
    }
}

impl Handler {
    fn call(
        &self,
        py: Python<'_>,
        command_set: &CommandSet<'_>,
        data_set: &[u8],
        context_id: u8,
        origin: &Origin,
    ) -> PyResult<Answer> {
        let event =
            event_of(primitive_type(py)?, command_set, |_| Ok(())).map_err(|(_, why)| why)?;
        if command_set.data_set {
            let stream = bytes_io(py)?.call1((PyBytes::new(py, data_set),))?;
            event.setattr(command_set.kind.data_set().keyword(), stream)?;
        }
        let answer = self.handler.bind(py).call1((event, &origin.accepted.calling))?;
        let syntax = origin.accepted.transfer_syntaxes.get(&context_id).copied();
        let Ok(pair) = answer.cast::<PyTuple>() else {
            return Ok(Answer { status: status(&answer)?, event_reply: None });
        };
        let (status, reply): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
        let event_reply = event_reply(&reply, syntax.unwrap_or_default())?;
        Ok(Answer { status: self::status(&status)?, event_reply })
    }
}

fn status(given: &Bound<'_, PyAny>) -> PyResult<u16> {
    if given.is_none() { Ok(0) } else { given.extract() }
}

/// An Event Reply as it is sent, `None` where there is none.
fn event_reply(given: &Bound<'_, PyAny>, syntax: TransferSyntax) -> PyResult<Option<Vec<u8>>> {
    let py = given.py();
    let field = Field::EventReply;
    if !is_structured(given) {
        let bytes = data_set(field.keyword(), 0, given)?;
        return Ok(bytes.filter(|bytes| !bytes.is_empty()));
    }
    let mut broken = Vec::new();
    let column = from_iterator(field, [Ok(given.clone())].into_iter(), 0, &mut broken)?;
    let batch = RecordBatch::try_from_iter([(field.keyword(), column)]).map_err(arrow_error)?;
    let options = DataSetOptions { syntax, conformant_uids: true };
    let (encoded, found) =
        encode_structured(&batch, options, 0).map_err(|error| schema_error(py, &error))?;
    if let Some(rejection) = broken.first().or(found.first()) {
        return Err(encode_error(py, rejection));
    }
    let column = cast(encoded.column(0), &DataType::Binary).map_err(arrow_error)?;
    let bytes = column.as_binary::<i32>();
    Ok(bytes.is_valid(0).then(|| bytes.value(0).to_vec()).filter(|bytes| !bytes.is_empty()))
}

/// What a thread that takes batches is asked.
struct Asked {
    chunk: Chunk,
    answer: Sender<(Vec<u8>, Vec<u16>)>,
}

/// Asks for what has come, whatever association it came on.
pub struct BatchHandler {
    ask: Sender<Asked>,
}

impl BatchHandler {
    /// Starts the thread that calls the handler: it ends when nobody can ask any more.
    pub fn start(handler: Py<PyAny>) -> PyResult<Self> {
        let (ask, asked) = channel();
        thread::Builder::new().spawn(move || call_for_batches(&asked, &handler))?;
        Ok(Self { ask })
    }
}

impl Taker for BatchHandler {
    fn answer(&self, _: &CommandSet<'_>, _: &[u8], _: u8, _: &Origin) -> Option<Answer> {
        None
    }

    fn take(&self, chunk: Chunk) -> Option<(Vec<u8>, Vec<u16>)> {
        let (answer, answered) = channel();
        self.ask.send(Asked { chunk, answer }).ok()?;
        answered.recv().ok()
    }
}

fn call_for_batches(asked: &Receiver<Asked>, handler: &Py<PyAny>) {
    while let Ok(first) = asked.recv() {
        let mut count = first.chunk.events;
        let mut all = vec![first];
        while count < BATCH
            && let Ok(next) = asked.try_recv()
        {
            count += next.chunk.events;
            all.push(next);
        }
        let (chunks, answers): (Vec<_>, Vec<_>) =
            all.into_iter().map(|one| (one.chunk, one.answer)).unzip();
        let mut statuses = statuses(handler, &chunks, count).into_iter();
        for (chunk, answer) in chunks.into_iter().zip(answers) {
            let some = statuses.by_ref().take(chunk.events).collect();
            // Who asked may have gone.
            let _ = answer.send((chunk.bytes, some));
        }
    }
}

/// The Statuses of so many events.
fn statuses(handler: &Py<PyAny>, chunks: &[Chunk], count: usize) -> Vec<u16> {
    let found = received(chunks);
    let refused: Vec<u64> = found.rejected.iter().filter_map(|one| one.row).collect();
    let rows = found.events.num_rows();
    let called = Python::attach(|py| {
        let called = call_for_batch(py, handler, found.into(), rows);
        called.map_err(|error| log(py, error, HANDLER_FAILED)).ok()
    });
    let Some(called) = called else { return vec![PROCESSING_FAILURE; count] };
    let mut called = called.into_iter();
    (0..count as u64)
        .map(|row| match refused.binary_search(&row) {
            Ok(_) => PROCESSING_FAILURE,
            Err(_) => called.next().unwrap_or(PROCESSING_FAILURE),
        })
        .collect()
}

fn call_for_batch(
    py: Python<'_>,
    handler: &Py<PyAny>,
    events: ReceivedEvents,
    rows: usize,
) -> PyResult<Vec<u16>> {
    let answer = handler.bind(py).call1((events,))?;
    if answer.is_none() {
        return Ok(vec![0; rows]);
    }
    if let Ok(status) = answer.extract::<u16>() {
        return Ok(vec![status; rows]);
    }
    let statuses: Vec<u16> = match arrow_array(&answer)? {
        Some(column) => {
            let column = cast(&column, &DataType::UInt16).map_err(arrow_error)?;
            let column: &UInt16Array = column.as_primitive();
            column.iter().map(Option::unwrap_or_default).collect()
        }
        None => answer.try_iter()?.map(|one| status(&one?)).collect::<PyResult<_>>()?,
    };
    match statuses.len() == rows {
        true => Ok(statuses),
        false => Err(PyValueError::new_err(format!(
            "the batch handler gave {} Statuses for {rows} events",
            statuses.len()
        ))),
    }
}

/// Asks a Python function whether a user is let in.
pub fn admits(authenticate: &Py<PyAny>, user: Option<&UserIdentity>) -> bool {
    let (name, passcode) = match user.map(|user| (user.identity_type(), user)) {
        None => (None, None),
        Some((UserIdentityType::Username, user)) => (Some(user.primary_field()), None),
        Some((UserIdentityType::UsernamePassword, user)) => {
            (Some(user.primary_field()), Some(user.secondary_field()))
        }
        Some(_) => return false,
    };
    Python::attach(|py| {
        let text = |bytes: Option<Vec<u8>>| bytes.map(String::from_utf8).transpose();
        // Both are UTF-8 (PS3.7 Table D.3-14).
        let (Ok(name), Ok(passcode)) = (text(name), text(passcode)) else { return false };
        let admitted = authenticate.call1(py, (name, passcode)).and_then(|one| one.is_truthy(py));
        admitted.unwrap_or_else(|error| {
            log(py, error, AUTHENTICATE_FAILED);
            false
        })
    })
}

/// What a handler raises is no reason to end: it goes where such things are looked for.
fn log(py: Python<'_>, error: PyErr, text: &str) {
    let logged = py.import("logging").and_then(|logging| {
        let logger = logging.call_method1("getLogger", ("fastdimse",))?;
        let options = PyDict::new(py);
        options.set_item("exc_info", error.value(py))?;
        logger.call_method("error", (text,), Some(&options))
    });
    if let Err(error) = logged {
        error.write_unraisable(py, None);
    }
}
