//! Events taken in on a port.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use fastdimse_core::command_set::CommandSet;
use fastdimse_delivery::acceptance::Terms;
use fastdimse_delivery::connection::Patience;
use fastdimse_delivery::listener::{self, Report, Reports};
use fastdimse_delivery::negotiation::finite_pdu_length;
use fastdimse_delivery::receive::{Admits, Answer, Chunk, Origin, Service, Taken, Taker};
use fastdimse_delivery::received;
use fastdimse_delivery::waiting::{self, Waiting};
use pyo3::exceptions::{PyResourceWarning, PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::network::handlers::{
    BatchHandler, Callable, Handler, admits, end_calls, is_called_by_listener,
};
use crate::network::peer::{check_max_pdu_length, seconds, sop_classes, texts, title};
use crate::network::received_events::ReceivedEvents;
use crate::network::tls::{Tls, server_tls};

/// How often a wait looks for a signal, such as Ctrl-C.
const SIGNALS: Duration = Duration::from_millis(100);

/// Listen for events.
///
/// Associations are accepted by threads of their own, C-ECHO is answered, and so is each event: with
/// Success, or with what a handler says.
///
/// Parameters
/// ----------
/// port : int
///     The port; 0 for any that is free.
/// host : str, optional
///     The address to listen on; all of this machine's IPv4 addresses if not given.
/// handler : callable, optional
///     Called with each :class:`N_EVENT_REPORT` and the AE title of its sender; returns the Status,
///     ``None`` for Success, or a Status and an Event Reply: bytes, a pydicom ``Dataset``, or a mapping
///     of attributes by keyword. An exception of it is logged and answered with 0110H. It is called in
///     the thread of the association, so several calls may run at the same time. Without a handler
///     events are to be taken with :meth:`Listener.receive`, or by iterating.
/// batch_handler : callable, optional
///     Called with :class:`ReceivedEvents`, all that have come on any association and are not
///     answered; returns the Status of all, ``None`` for Success, or a list or an Arrow column of
///     Statuses. It is called by one thread at a time. It can't be given together with *handler*.
/// sop_classes : str or iterable of str, optional
///     The UIDs of the SOP classes to accept, beside Verification; all that PS3.4 has events of if not
///     given.
/// called_ae : str, optional
///     The AE title by which this end must be called; any if not given.
/// calling_aes : str or iterable of str, optional
///     The AE titles of those who may call; all may if not given.
/// window : int, optional
///     How many events may be unanswered at a time, if the peer asks for a window; 0 for any number.
/// max_pdu_length : int, optional
///     The longest PDU that is taken: 4096 and more, or 0 for as long as *max_message_length* allows.
/// max_message_length : int, optional
///     The most bytes of a message.
/// max_connections : int, optional
///     How many connections may be open at a time. Those beyond are rejected for now.
/// max_waiting : int, optional
///     How many bytes of events may wait until they are taken: then those who send wait too.
/// association_timeout, idle_timeout : float, optional
///     How many seconds to wait for all of an association's request, and as long for all of a
///     handshake of TLS; and for the next bytes of events.
/// tls : TLS, optional
///     How connections are secure; it must have a certificate. Where it has authorities too, who
///     connects must have a certificate of them.
/// authenticate : callable, optional
///     Called with the user name and the passcode of who asks for an association (PS3.7 D.3.3.7),
///     each ``None`` where there is none; returns whether it is accepted. With it, associations of
///     other kinds of user identities, such as tickets, are rejected.
///
/// Returns
/// -------
/// Listener
///     The listener: a context manager that closes it.
///
/// Raises
/// ------
/// OSError
///     If the port can't be listened on.
///
/// Examples
/// --------
/// >>> import pyarrow
/// >>> from fastdimse import connect, listen
/// >>> events = {
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2],
/// ... }
/// >>> with listen(0, host="localhost") as listener:
/// ...     with connect("localhost", listener.port) as association:
/// ...         outcomes = association.send(events)
/// ...     received = pyarrow.table(listener.receive())
/// >>> outcomes
/// <Outcomes: 2 events, 2 answered>
/// >>> received["EventTypeID"].to_pylist()
/// [1, 2]
#[pyfunction]
#[pyo3(signature = (
    port, *, host = "0.0.0.0", handler = None, batch_handler = None, sop_classes = None, called_ae = None,
    calling_aes = None, window = 0, max_pdu_length = 16382, max_message_length = 67_108_864,
    max_connections = 256, max_waiting = 67_108_864, association_timeout = 30.0, idle_timeout = 60.0, tls = None,
    authenticate = None,
))]
#[allow(clippy::too_many_arguments)]
pub fn listen(
    py: Python<'_>,
    port: u16,
    host: &str,
    handler: Option<Py<PyAny>>,
    batch_handler: Option<Py<PyAny>>,
    sop_classes: Option<&Bound<'_, PyAny>>,
    called_ae: Option<&str>,
    calling_aes: Option<&Bound<'_, PyAny>>,
    window: u16,
    max_pdu_length: u32,
    max_message_length: usize,
    max_connections: usize,
    max_waiting: usize,
    association_timeout: f64,
    idle_timeout: f64,
    tls: Option<&Bound<'_, Tls>>,
    authenticate: Option<Py<PyAny>>,
) -> PyResult<Listener> {
    check_max_pdu_length(max_pdu_length)?;
    if [max_connections, max_message_length, max_waiting].contains(&0) {
        return Err(PyValueError::new_err(
            "max_connections, max_message_length and max_waiting must be 1 and more",
        ));
    }
    let calling = calling_aes.map(|titles| {
        let titles = texts(titles)?;
        titles.iter().map(|one| title("calling_aes", one)).collect::<PyResult<BTreeSet<_>>>()
    });
    let terms = Terms {
        sop_classes: self::sop_classes(sop_classes)?.into_iter().collect(),
        called: called_ae.map(|called| title("called_ae", called)).transpose()?,
        calling: calling.transpose()?,
        max_pdu_length: finite_pdu_length(max_pdu_length, max_message_length),
        window,
    };
    let association = seconds("association_timeout", association_timeout)?;
    let patience = Patience {
        connection: association,
        association,
        response: seconds("idle_timeout", idle_timeout)?,
        // Signals are handled in the main thread, and associations have threads of their own.
        interrupt: None,
    };
    let tls = server_tls(tls.map(Bound::get))?;
    let callable = |name: &str, given: Option<Py<PyAny>>| {
        given.map(|given| Callable::new(py, name, given)).transpose()
    };
    let handler = callable("handler", handler)?;
    let batch_handler = callable("batch_handler", batch_handler)?;
    let authenticate = callable("authenticate", authenticate)?;
    let admits = authenticate
        .clone()
        .map(|authenticate| -> Admits { Box::new(move |user| admits(&authenticate, user)) });
    let service = Service {
        terms,
        admits,
        tls,
        patience,
        max_message_length,
        stopping: AtomicBool::new(false),
    };
    let waiting = Arc::new(Waiting::new(max_waiting));
    let callables = [&handler, &batch_handler, &authenticate].into_iter().flatten().cloned();
    let callables: Vec<Callable> = callables.collect();
    let has_handler = handler.is_some() || batch_handler.is_some();
    let taker: Arc<dyn Taker> = match (handler, batch_handler) {
        (Some(_), Some(_)) => {
            let text = "handler and batch_handler can't be given together";
            return Err(PyValueError::new_err(text));
        }
        (Some(handler), None) => Arc::new(Handler { handler }),
        (None, Some(handler)) => Arc::new(BatchHandler::start(handler)?),
        (None, None) => Arc::new(Collector { waiting: waiting.clone() }),
    };
    let bound =
        py.detach(|| listener::Listener::bind((host, port), service, max_connections, taker));
    let listener = Arc::new(bound?);
    end_with_interpreter(py, &listener, &waiting)?;
    Ok(Listener {
        port: listener.address().port(),
        process: std::process::id(),
        listener: Some(listener),
        closed: AtomicBool::new(false),
        waiting,
        has_handler,
        callables,
    })
}

/// A listener of this process or of one that it was forked from.
struct Running {
    process: u32,
    listener: Weak<listener::Listener>,
    waiting: Weak<Waiting>,
}

/// The listeners that may be running.
static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a listener end before the interpreter does: its threads must not call Python functions while that is
/// taken apart.
fn end_with_interpreter(
    py: Python<'_>,
    listener: &Arc<listener::Listener>,
    waiting: &Arc<Waiting>,
) -> PyResult<()> {
    static REGISTERED: PyOnceLock<()> = PyOnceLock::new();
    REGISTERED.get_or_try_init(py, || {
        let end = wrap_pyfunction!(end_listeners, py)?;
        py.import("atexit")?.call_method1("register", (end,)).map(drop)
    })?;
    let mut running = running();
    running.retain(|one| one.listener.strong_count() > 0);
    let (process, listener, waiting) =
        (std::process::id(), Arc::downgrade(listener), Arc::downgrade(waiting));
    running.push(Running { process, listener, waiting });
    Ok(())
}

/// Ends all listeners of this process. A handler that does not return is not waited for without an end.
#[pyfunction]
fn end_listeners(py: Python<'_>) {
    const PATIENCE: Duration = Duration::from_secs(5);
    py.detach(|| {
        let all = std::mem::take(&mut *running());
        let of_this_process = all.iter().filter(|one| one.process == std::process::id());
        let there: Vec<_> = of_this_process
            .filter_map(|one| Some((one.listener.upgrade()?, one.waiting.upgrade()?)))
            .collect();
        for (listener, waiting) in &there {
            waiting.stop();
            listener.stop();
        }
        let begin = Instant::now();
        for (listener, _) in &there {
            let _ = listener.close(|| if begin.elapsed() < PATIENCE { Ok(()) } else { Err(()) });
        }
        // Those of listeners that were dropped may run too.
        end_calls(PATIENCE.saturating_sub(begin.elapsed()));
    });
}

/// Hands events on to who receives them.
struct Collector {
    waiting: Arc<Waiting>,
}

impl Taker for Collector {
    fn answer(&self, _: &CommandSet<'_>, _: &[u8], _: u8, _: &Origin) -> Option<Answer> {
        Some(Answer::SUCCESS)
    }

    fn take(&self, chunk: Chunk) -> Taken {
        self.waiting.put(chunk);
        Taken::Kept
    }
}

/// A port on which events are taken in.
///
/// Iterating gives :class:`ReceivedEvents` until it is closed.
///
/// Attributes
/// ----------
/// port : int
///     The port.
/// connections : int
///     How many connections are open.
/// closed : bool
///     Whether it was closed, and all its associations have ended: no more events come then.
#[pyclass(frozen, module = "fastdimse")]
pub struct Listener {
    #[pyo3(get)]
    port: u16,
    /// The process in which its threads run: a forked child has none of them.
    process: u32,
    /// Taken out only when it is dropped.
    listener: Option<Arc<listener::Listener>>,
    closed: AtomicBool,
    waiting: Arc<Waiting>,
    has_handler: bool,
    /// What the threads call. The listener owns it, so that a cycle of both can be collected.
    callables: Vec<Callable>,
}

impl Listener {
    fn core(&self) -> &listener::Listener {
        self.listener.as_ref().expect("it is there until it is dropped")
    }

    /// Whether it was closed, and all its threads have ended.
    fn has_ended(&self) -> bool {
        self.closed.load(Ordering::SeqCst) && self.core().wait(Duration::ZERO)
    }

    fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    fn check_process(&self) -> PyResult<()> {
        match self.is_of_this_process() {
            true => Ok(()),
            false => Err(PyRuntimeError::new_err(format!(
                "the listener belongs to process {}, which forked this one: open another one here",
                self.process
            ))),
        }
    }

    /// Waits for chunks.
    fn chunks(
        &self,
        py: Python<'_>,
        events: usize,
        patience: Option<Duration>,
        linger: Duration,
    ) -> PyResult<Option<Vec<Chunk>>> {
        let begin = Instant::now();
        loop {
            let left = patience.map(|patience| patience.saturating_sub(begin.elapsed()));
            let some = left.map_or(SIGNALS, |left| left.min(SIGNALS));
            if py.detach(|| self.waiting.wait_for(1, some)) {
                self.linger(py, events, linger)?;
            }
            match py.detach(|| self.waiting.take(events, Duration::ZERO, Duration::ZERO)) {
                waiting::Taken::Chunks(chunks) => return Ok(Some(chunks)),
                waiting::Taken::Closed => return Ok(None),
                waiting::Taken::Nothing if left.is_some_and(|left| left.is_zero()) => {
                    return Ok(None);
                }
                waiting::Taken::Nothing => {
                    py.check_signals()?;
                    if self.has_ended() {
                        self.waiting.close();
                    }
                }
            }
        }
    }

    /// Waits for so many events, for so long at most. Nothing is taken meanwhile: what is taken when a
    /// handler of a signal raises would be lost.
    fn linger(&self, py: Python<'_>, events: usize, linger: Duration) -> PyResult<()> {
        let begin = Instant::now();
        loop {
            let left = linger.saturating_sub(begin.elapsed());
            let enough = py.detach(|| self.waiting.wait_for(events, left.min(SIGNALS)));
            if enough || left.is_zero() {
                return Ok(());
            }
            py.check_signals()?;
        }
    }
}

#[pymethods]
impl Listener {
    #[getter]
    fn connections(&self) -> usize {
        match self.is_of_this_process() {
            true => self.core().open(),
            false => 0,
        }
    }

    #[getter]
    fn closed(&self) -> bool {
        !self.is_of_this_process() || self.has_ended()
    }

    /// Take out what went wrong on associations since this was called last.
    ///
    /// Returns
    /// -------
    /// list of str
    ///     A line for each association that failed, each event that was refused, and each message that
    ///     was ignored: the first thousand of them, and a line that says how many came after these.
    fn take_failures(&self) -> PyResult<Vec<String>> {
        self.check_process()?;
        let Reports { kept, omitted } = self.core().take_reports();
        let line =
            |one: &Report| format!("association {} of {}: {}", one.number, one.peer, one.text);
        let mut lines: Vec<String> = kept.iter().map(line).collect();
        if omitted > 0 {
            lines.push(format!("further failures: {omitted} were not kept"));
        }
        Ok(lines)
    }

    /// Take events that came in.
    ///
    /// Parameters
    /// ----------
    /// timeout : float, optional
    ///     How many seconds to wait for the first of them; until there is one if not given.
    /// batch_size : int, optional
    ///     So many are enough.
    /// linger : float, optional
    ///     How many seconds to wait for more behind the first.
    ///
    /// Returns
    /// -------
    /// ReceivedEvents or None
    ///     ``None`` if none came, or the listener is closed and all were taken.
    #[pyo3(signature = (*, timeout = None, batch_size = 65536, linger = 0.1))]
    fn receive(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        batch_size: usize,
        linger: f64,
    ) -> PyResult<Option<ReceivedEvents>> {
        let wrong = |name, value| PyValueError::new_err(format!("{name} is {value}"));
        let duration =
            |name, value: f64| Duration::try_from_secs_f64(value).map_err(|_| wrong(name, value));
        let patience = timeout.map(|timeout| duration("timeout", timeout)).transpose()?;
        let linger = duration("linger", linger)?;
        if self.has_handler {
            let text = "events can't be received here: the listener has a handler that takes them";
            return Err(PyRuntimeError::new_err(text));
        }
        self.check_process()?;
        let most = batch_size.max(1);
        let Some(chunks) = self.chunks(py, most, patience, linger)? else { return Ok(None) };
        Ok(Some(py.detach(|| received::received(&chunks)).into()))
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<ReceivedEvents>> {
        self.receive(py, None, 65536, 0.1)
    }

    /// Accept no more associations, and abort those that are open.
    ///
    /// Events that were taken are answered first, and can still be received. It waits until handlers
    /// have returned; called inside a handler or *authenticate* it waits for nothing, and the listener
    /// ends when these have returned.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_of_this_process() {
            return Ok(());
        }
        // Associations that wait for room go on, and end.
        self.waiting.stop();
        let core = self.core();
        if is_called_by_listener() {
            py.detach(|| core.stop());
            self.closed.store(true, Ordering::SeqCst);
            return Ok(());
        }
        let closed = py.detach(|| core.close(|| Python::attach(|py| py.check_signals())));
        self.closed.store(true, Ordering::SeqCst);
        closed?;
        self.waiting.close();
        Ok(())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        match self.closed.load(Ordering::SeqCst) {
            true => "<Listener: closed>".to_owned(),
            false => format!("<Listener: port {}, {} connections>", self.port, self.connections()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.callables.iter().try_for_each(|callable| callable.traverse(&visit))
    }

    fn __clear__(&self) {
        self.callables.iter().for_each(Callable::clear);
    }
}

impl Drop for Listener {
    /// Stops it without waiting: its threads may wait for Python's lock, which is held here.
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            // Its sockets are the parent's, and its locks may be held by threads that are not here.
            std::mem::forget(self.listener.take());
            return;
        }
        self.waiting.close();
        let listener = self.listener.take();
        Python::attach(|py| {
            py.detach(|| drop(listener));
            self.callables.iter().for_each(Callable::clear);
            if !*self.closed.get_mut() {
                self.warn(py);
            }
        });
    }
}

impl Listener {
    /// Python warns of what was not closed by a ``ResourceWarning``.
    fn warn(&self, py: Python<'_>) {
        let text = format!(
            "unclosed listener on port {}: {} events were answered, but not received",
            self.port,
            self.waiting.events()
        );
        let raised = PyErr::take(py);
        let warned = CString::new(text)
            .map_err(PyErr::from)
            .and_then(|text| PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &text, 1));
        if let Err(error) = warned {
            error.write_unraisable(py, None);
        }
        if let Some(raised) = raised {
            raised.restore(py);
        }
    }
}
