//! Listeners: a port on which events are received.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastdimse_delivery::receive::event_columns;
use fastdimse_delivery::receive::listener;
use fastdimse_delivery::receive::queue::{self, EventQueue};
use fastdimse_delivery::receive::receiver::Chunk;
use fastdimse_delivery::receive::records::{Report, Reports};
use pyo3::exceptions::{PyResourceWarning, PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::network::calls::{Callable, is_listener_thread};
use crate::network::listener_counters::ListenerCounters;
use crate::network::received_events::ReceivedEvents;

/// The interval of checks for signals, such as Ctrl-C, during a wait.
const SIGNALS: Duration = Duration::from_millis(100);

/// How long `close` waits until the last records are logged.
const LAST_RECORDS: Duration = Duration::from_secs(1);

/// A port on which events are received, opened by :func:`listen`.
///
/// Iteration returns :class:`ReceivedEvents` until the listener is closed.
///
/// Attributes
/// ----------
/// port : int
///     The TCP port.
/// connections : int
///     The number of open connections.
/// closed : bool
///     Whether the listener is closed and all its associations have ended: no further events arrive.
/// counters : ListenerCounters
///     Counters of its associations and events since it was opened.
///
/// Notes
/// -----
/// The logger ``fastdimse.listener`` of Python's ``logging`` has a record for each association: INFO
/// when it is accepted and when it is released, WARNING when it is rejected or ends in another way.
/// Each refused request and each ignored message is a WARNING too. The attribute ``listener`` of a
/// record is a dict with its fields. Handlers of ``logging`` run in a thread of their own and delay no
/// association. At most 10,000 records wait for it, and at most 1,000 records of an association are
/// about single messages; a WARNING has the number of records that were omitted.
///
/// Examples
/// --------
/// >>> from fastdimse import listen
/// >>> listener = listen(0, host="localhost")
/// >>> listener.close()
/// >>> listener.closed
/// True
#[pyclass(frozen, module = "fastdimse")]
pub struct Listener {
    #[pyo3(get)]
    pub(super) port: u16,
    /// The process of its threads: a forked child does not have them.
    pub(super) process: u32,
    /// `None` only while it is dropped.
    pub(super) listener: Option<Arc<listener::Listener>>,
    pub(super) closed: AtomicBool,
    pub(super) waiting: Arc<EventQueue>,
    pub(super) has_handler: bool,
    /// The functions that the threads call. The listener owns them, so that the garbage collector can free a
    /// reference cycle.
    pub(super) callables: Vec<Callable>,
}

impl Listener {
    fn core(&self) -> &listener::Listener {
        self.listener.as_ref().expect("it is there until it is dropped")
    }

    /// Whether it is closed and all its threads have ended.
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

    /// Waits at most `timeout` for events, then at most `linger` for up to `events` of them.
    fn wait_for_chunks(
        &self,
        py: Python<'_>,
        events: usize,
        timeout: Option<Duration>,
        linger: Duration,
    ) -> PyResult<Option<Vec<Chunk>>> {
        let begin = Instant::now();
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(begin.elapsed()));
            let some = left.map_or(SIGNALS, |left| left.min(SIGNALS));
            if py.detach(|| self.waiting.wait_for(1, some)) {
                self.linger(py, events, linger)?;
            }
            match py.detach(|| self.waiting.pop(events, Duration::ZERO, Duration::ZERO)) {
                queue::Next::Chunks(chunks) => return Ok(Some(chunks)),
                queue::Next::Closed => return Ok(None),
                queue::Next::TimedOut if left.is_some_and(|left| left.is_zero()) => {
                    return Ok(None);
                }
                queue::Next::TimedOut => {
                    py.check_signals()?;
                    if self.has_ended() {
                        self.waiting.close();
                    }
                }
            }
        }
    }

    /// Waits until the records of closed associations are logged. A handler of `logging` may wait for the
    /// caller, so the time is limited.
    fn log_last_records(&self, py: Python<'_>) -> PyResult<()> {
        let records = self.core().records();
        records.close();
        let begin = Instant::now();
        while begin.elapsed() < LAST_RECORDS && !py.detach(|| records.wait_processed(SIGNALS)) {
            py.check_signals()?;
        }
        Ok(())
    }

    /// Waits at most `linger` until `events` events are queued. It does not remove events from the queue,
    /// since they would be lost if a signal handler raised an exception.
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

    #[getter]
    fn counters(&self) -> PyResult<ListenerCounters> {
        self.check_process()?;
        Ok(self.core().counters().into())
    }

    /// Return the failures since the last call, and forget them.
    ///
    /// Returns
    /// -------
    /// list of str
    ///     A line for each failed association, each rejected event and each ignored message. The first
    ///     thousand are kept; a last line reports the number of further ones.
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

    /// Return received events, and wait for them if there are none.
    ///
    /// Parameters
    /// ----------
    /// timeout : float, optional
    ///     The maximum time in seconds to wait for the first event. The default is no limit.
    /// batch_size : int, default 65536
    ///     The number of events after which it stops waiting for more.
    /// linger : float, default 0.1
    ///     The maximum time in seconds to wait for further events after the first.
    ///
    /// Returns
    /// -------
    /// ReceivedEvents or None
    ///     The events; ``None`` if none arrived in time, or if the listener is closed and no events are
    ///     left.
    ///
    /// Raises
    /// ------
    /// RuntimeError
    ///     If the listener has a handler.
    /// ValueError
    ///     If a time is negative or too long.
    #[pyo3(signature = (*, timeout = None, batch_size = 65536, linger = 0.1))]
    fn receive(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        batch_size: usize,
        linger: f64,
    ) -> PyResult<Option<ReceivedEvents>> {
        let wrong = |name, value| {
            PyValueError::new_err(format!("{name} must be a number of seconds from 0, not {value}"))
        };
        let duration =
            |name, value: f64| Duration::try_from_secs_f64(value).map_err(|_| wrong(name, value));
        let timeout = timeout.map(|timeout| duration("timeout", timeout)).transpose()?;
        let linger = duration("linger", linger)?;
        if self.has_handler {
            let text = "the listener has a handler, which receives its events";
            return Err(PyRuntimeError::new_err(text));
        }
        self.check_process()?;
        let most = batch_size.max(1);
        let Some(chunks) = self.wait_for_chunks(py, most, timeout, linger)? else {
            return Ok(None);
        };
        let received = py.detach(|| event_columns::received(&chunks));
        // Python would raise the exception of a signal handler before the caller has the events.
        if let Err(error) = py.check_signals() {
            self.waiting.put_back(chunks);
            return Err(error);
        }
        Ok(Some(received.into()))
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<ReceivedEvents>> {
        self.receive(py, None, 65536, 0.1)
    }

    /// Accept no further associations, and abort the open ones.
    ///
    /// Events that were received completely get their responses first, and can still be returned by
    /// :meth:`receive`. The call waits until running handlers have returned. In a handler or in
    /// *authenticate* it does not wait, and the listener ends after these have returned.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_of_this_process() {
            return Ok(());
        }
        // Ends associations that wait for room in the queue.
        self.waiting.stop();
        let core = self.core();
        if is_listener_thread() {
            py.detach(|| core.stop());
            self.closed.store(true, Ordering::SeqCst);
            return Ok(());
        }
        let closed = py.detach(|| core.close(|| Python::attach(|py| py.check_signals())));
        self.closed.store(true, Ordering::SeqCst);
        closed?;
        self.waiting.close();
        self.log_last_records(py)
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
    /// Stops the listener without waiting: its threads may wait for the GIL, which is held here.
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            // The sockets belong to the parent process, and its locks may be held by threads that this
            // process lacks.
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
    /// Emits a `ResourceWarning` that the listener was not closed.
    fn warn(&self, py: Python<'_>) {
        let text = format!(
            "unclosed listener on port {}: {} events were responded to, but not received",
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
