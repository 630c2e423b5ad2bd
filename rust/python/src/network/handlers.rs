//! Python functions that are asked about what comes in: who may come, and how events are answered.

use std::cell::Cell;
use std::cmp::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt16Array};
use arrow_cast::cast;
use arrow_schema::DataType;
use dicom_ul::pdu::{UserIdentity, UserIdentityType};
use fastdimse_core::command_set::CommandSet;
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::encode_structured;
use fastdimse_core::field::Field;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use fastdimse_delivery::receive::{Answer, Chunk, Origin, Taken, Taker};
use fastdimse_delivery::received::received;
use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFrozenSet, PyMapping, PyMemoryView, PySet, PyString,
    PyTuple,
};

use crate::errors::{encode_error, schema_error};
use crate::input::arrow::check::{arrow_error, is_arrow, utf8_array};
use crate::input::data_sets::reader::is_structured;
use crate::input::events::{data_set, from_iterator};
use crate::network::received_events::ReceivedEvents;
use crate::primitive::class::primitive_type;
use crate::primitive::codec::event_of;
use crate::primitive::stream::bytes_io;

/// Processing failure (PS3.7 C.4.3.1.4 and the like).
const PROCESSING_FAILURE: u16 = 0x0110;
const HANDLER_FAILED: &str = "the handler of events failed: 0x0110 Processing failure is answered";
const AUTHENTICATE_FAILED: &str = "authenticate failed: the association is rejected";
/// So many events are enough for a batch.
const BATCH: usize = 65536;

thread_local! {
    /// Whether this thread is one of a listener's, which calls what its user gave it.
    static OF_LISTENER: Cell<bool> = const { Cell::new(false) };
}

/// Whether a listener's own thread calls this: such a thread must not wait for the listener's end.
pub fn is_called_by_listener() -> bool {
    OF_LISTENER.get()
}

/// The calls of Python functions by threads of listeners.
struct Calls {
    state: Mutex<CallsState>,
    /// One has returned.
    returned: Condvar,
}

struct CallsState {
    /// The process that they are in: a forked child has none of its parent's.
    process: u32,
    /// How many there are.
    count: usize,
    /// Whether the interpreter ends, and no more can be made.
    ended: bool,
}

static CALLS: Calls = Calls {
    state: Mutex::new(CallsState { process: 0, count: 0, ended: false }),
    returned: Condvar::new(),
};

impl Calls {
    fn lock(&self) -> MutexGuard<'_, CallsState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.process != std::process::id() {
            *state = CallsState { process: std::process::id(), count: 0, ended: false };
        }
        state
    }
}

/// A call that is counted.
struct Call;

impl Call {
    fn begin() -> Option<Self> {
        let mut state = CALLS.lock();
        let call = (!state.ended).then_some(Self);
        state.count += usize::from(call.is_some());
        call
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = CALLS.lock();
        state.count = state.count.saturating_sub(1);
        CALLS.returned.notify_all();
    }
}

/// Lets no thread of a listener call Python any more, and waits until those return that do, for so long at
/// most: a thread that comes back to an interpreter that is taken apart ends the process.
pub fn end_calls(patience: Duration) {
    let mut state = CALLS.lock();
    state.ended = true;
    let waited = CALLS.returned.wait_timeout_while(state, patience, |state| state.count > 0);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

/// Attaches a thread of a listener's to Python, `None` where the interpreter ends. Whatever runs then, be it a
/// finalizer that the garbage collector calls, must not wait for this thread's end.
fn attach<T>(run: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _call = Call::begin()?;
    OF_LISTENER.set(true);
    Some(Python::attach(run))
}

/// A function of the user's that a listener's threads call. The listener can take it away from them, so
/// that a cycle of the two does not live as long as the threads.
#[derive(Clone)]
pub struct Callable(Arc<Mutex<Option<Py<PyAny>>>>);

impl Callable {
    /// # Errors
    /// If it can't be called; `name` is what the error calls it.
    pub fn new(py: Python<'_>, name: &str, callable: Py<PyAny>) -> PyResult<Self> {
        match callable.bind(py).is_callable() {
            true => Ok(Self(Arc::new(Mutex::new(Some(callable))))),
            false => Err(PyTypeError::new_err(format!(
                "{name} must be a function, not {}",
                callable.bind(py).get_type().name()?
            ))),
        }
    }

    /// Calls it, in a thread of the listener's.
    fn call1<'py>(
        &self,
        py: Python<'py>,
        arguments: impl PyCallArgs<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let callable = self.lock().as_ref().map(|callable| callable.clone_ref(py));
        match callable {
            Some(callable) => callable.into_bound(py).call1(arguments),
            None => Err(PyRuntimeError::new_err("the listener is not there any more")),
        }
    }

    /// Python's lock is held wherever this is called, and nothing that it guards runs Python code.
    fn lock(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.lock())
    }

    /// Takes it away.
    pub fn clear(&self) {
        // Dropped outside the lock: that may run Python code.
        let callable = self.lock().take();
        drop(callable);
    }
}

/// Asks for each event.
pub struct Handler {
    pub handler: Callable,
}

impl Taker for Handler {
    fn answer(
        &self,
        event: &CommandSet<'_>,
        data_set: &[u8],
        context_id: u8,
        origin: &Origin,
    ) -> Option<Answer> {
        const FAILED: Answer = Answer { status: PROCESSING_FAILURE, event_reply: None };
        let answer = attach(|py| {
            self.call(py, event, data_set, context_id, origin).unwrap_or_else(|error| {
                log(py, error, HANDLER_FAILED);
                FAILED
            })
        });
        Some(answer.unwrap_or(FAILED))
    }

    fn take(&self, _: Chunk) -> Taken {
        Taken::Kept
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
        let answer = self.handler.call1(py, (event, &origin.accepted.calling))?;
        let context = origin.accepted.contexts.get(&context_id);
        let syntax = context.map(|context| context.transfer_syntax);
        let Ok(pair) = answer.cast::<PyTuple>() else {
            return Ok(Answer { status: status(&answer)?, event_reply: None });
        };
        let (status, reply): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
        let event_reply = event_reply(&reply, syntax.unwrap_or_default())?;
        Ok(Answer { status: self::status(&status)?, event_reply })
    }
}

/// A Status: an integer of 0 to 65535, or `None` for Success.
fn status(given: &Bound<'_, PyAny>) -> PyResult<u16> {
    if given.is_none() {
        return Ok(0);
    }
    // A bool is an integer in Python, but True is no Status.
    let number = if given.is_instance_of::<PyBool>() { None } else { given.extract().ok() };
    number.ok_or_else(|| {
        let shown = shown(given);
        PyTypeError::new_err(format!(
            "a handler returned {shown}: a Status must be an integer of 0 to 65535, or None for \
             Success{}",
            coroutine_hint(given)
        ))
    })
}

/// What an error calls something that a function of the user's returned.
fn shown(given: &Bound<'_, PyAny>) -> String {
    given.repr().map_or_else(|_| "an object".to_owned(), |text| text.to_string())
}

/// What to say of a coroutine: nobody awaits it.
fn coroutine_hint(given: &Bound<'_, PyAny>) -> &'static str {
    let is_coroutine = given.get_type().name().is_ok_and(|name| name == "coroutine");
    if !is_coroutine {
        return "";
    }
    // Closed, it does not warn that nobody awaited it.
    let _ = given.call_method0("close");
    "; the function must not be asynchronous"
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
    answer: Sender<Taken>,
}

/// Asks for what has come, whatever association it came on.
pub struct BatchHandler {
    ask: Sender<Asked>,
}

impl BatchHandler {
    /// Starts the thread that calls the handler: it ends when nobody can ask any more.
    pub fn start(handler: Callable) -> PyResult<Self> {
        let (ask, asked) = channel();
        thread::Builder::new().spawn(move || call_for_batches(&asked, &handler))?;
        Ok(Self { ask })
    }
}

impl Taker for BatchHandler {
    fn answer(&self, _: &CommandSet<'_>, _: &[u8], _: u8, _: &Origin) -> Option<Answer> {
        None
    }

    fn take(&self, chunk: Chunk) -> Taken {
        let (answer, answered) = channel();
        let asked = self.ask.send(Asked { chunk, answer });
        asked.ok().and_then(|()| answered.recv().ok()).unwrap_or(Taken::Nobody)
    }
}

fn call_for_batches(asked: &Receiver<Asked>, handler: &Callable) {
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
        let mut statuses = statuses(handler, &chunks).into_iter();
        for (chunk, answer) in chunks.into_iter().zip(answers) {
            let some = statuses.by_ref().take(chunk.events).collect();
            // Who asked may have gone.
            let _ = answer.send(Taken::Answered(chunk.bytes, some));
        }
    }
}

/// The Statuses of the events in chunks.
fn statuses(handler: &Callable, chunks: &[Chunk]) -> Vec<u16> {
    let events = received(chunks);
    let rows = events.num_rows();
    let called = attach(|py| {
        let called = call_for_batch(py, handler, events.into(), rows);
        called.map_err(|error| log(py, error, HANDLER_FAILED)).ok()
    });
    called.flatten().unwrap_or_else(|| vec![PROCESSING_FAILURE; rows])
}

fn call_for_batch(
    py: Python<'_>,
    handler: &Callable,
    events: ReceivedEvents,
    rows: usize,
) -> PyResult<Vec<u16>> {
    let answer = handler.call1(py, (events,))?;
    let statuses: Vec<u16> = if is_arrow(&answer)? {
        // Its name in errors: the handler gives it none.
        column_of_statuses(&utf8_array(&answer, "Status")?)?
    } else if is_column(&answer)? {
        // No more than can be wrong already: an iterator may have no end.
        answer.try_iter()?.take(rows + 1).map(|one| status(&one?)).collect::<PyResult<_>>()?
    } else {
        vec![status(&answer)?; rows]
    };
    let given = match statuses.len().cmp(&rows) {
        Ordering::Equal => return Ok(statuses),
        Ordering::Less => statuses.len().to_string(),
        Ordering::Greater => format!("more than {rows}"),
    };
    let text = format!("the batch handler gave {given} Statuses for {rows} events");
    Err(PyValueError::new_err(text))
}

/// Whether it has a Status for each event. Texts, bytes, mappings and sets can be iterated over too, but say
/// nothing of an event.
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

/// The Statuses of a column, which says of each event what became of it: a null says nothing.
fn column_of_statuses(column: &ArrayRef) -> PyResult<Vec<u16>> {
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

/// Asks a Python function whether a user is let in.
pub fn admits(authenticate: &Callable, user: Option<&UserIdentity>) -> bool {
    let (name, passcode) = match user.map(|user| (user.identity_type(), user)) {
        None => (None, None),
        Some((UserIdentityType::Username, user)) => (Some(user.primary_field()), None),
        Some((UserIdentityType::UsernamePassword, user)) => {
            (Some(user.primary_field()), Some(user.secondary_field()))
        }
        Some(_) => return false,
    };
    attach(|py| {
        let text = |bytes: Option<Vec<u8>>| bytes.map(String::from_utf8).transpose();
        // Both are UTF-8 (PS3.7 Table D.3-14).
        let (Ok(name), Ok(passcode)) = (text(name), text(passcode)) else { return false };
        let admitted = authenticate.call1(py, (name, passcode)).and_then(|one| is_true(&one));
        admitted.unwrap_or_else(|error| {
            log(py, error, AUTHENTICATE_FAILED);
            false
        })
    })
    .unwrap_or(false)
}

/// Whether it is `True`. Many objects are true in Python, a coroutine among them: only a bool decides.
fn is_true(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    given.cast::<PyBool>().map(|given| given.is_true()).map_err(|_| {
        let shown = shown(given);
        let hint = coroutine_hint(given);
        PyTypeError::new_err(format!("authenticate returned {shown}, not True or False{hint}"))
    })
}

/// What a handler raises is no reason to end: it goes where such things are looked for.
fn log(py: Python<'_>, error: PyErr, text: &str) {
    let logged = py.import("logging").and_then(|logging| {
        let logger = logging.call_method1("getLogger", ("fastdimse",))?;
        let options = PyDict::new(py);
        // With its traceback, which the value alone does not have.
        options.set_item("exc_info", error.into_value(py))?;
        logger.call_method("error", (text,), Some(&options))
    });
    if let Err(error) = logged {
        error.write_unraisable(py, None);
    }
}
