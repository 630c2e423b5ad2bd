//! Calls of Python functions from the threads of a listener.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

thread_local! {
    /// Whether this thread calls a function of the user for a listener.
    static IS_LISTENER_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether the current thread calls a function of the user for a listener: it must not wait for the end of
/// that listener.
pub fn is_listener_thread() -> bool {
    IS_LISTENER_THREAD.get()
}

/// Running calls of Python functions by threads of listeners.
struct Calls {
    state: Mutex<CallsState>,
    /// Notified when a call returns.
    returned: Condvar,
}

struct CallsState {
    /// The process of the calls: a forked child has no threads of its parent.
    process: u32,
    /// The number of running calls.
    count: usize,
    /// Whether the interpreter is finalizing: no further call is made.
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

/// A running call, which is counted.
struct Call;

impl Call {
    fn begin() -> Option<Self> {
        let mut state = CALLS.lock();
        // No value is made for an ended state: dropping it would take this lock again.
        if state.ended {
            return None;
        }
        state.count += 1;
        Some(Self)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = CALLS.lock();
        state.count = state.count.saturating_sub(1);
        CALLS.returned.notify_all();
    }
}

/// Attaches a thread of a listener to the interpreter; `None` if the interpreter is finalizing. Python code
/// that runs then, such as a finalizer, must not wait for the end of this thread.
pub fn attach<T>(run: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _call = Call::begin()?;
    // A thread of the user can run a callback of a listener, too.
    let before = IS_LISTENER_THREAD.replace(true);
    let result = Python::attach(run);
    IS_LISTENER_THREAD.set(before);
    Some(result)
}

/// Prevents further calls, and waits at most `timeout` for running ones: a thread that returns to a
/// finalizing interpreter ends the process.
pub fn end_calls(timeout: Duration) {
    let mut state = CALLS.lock();
    state.ended = true;
    let waited = CALLS.returned.wait_timeout_while(state, timeout, |state| state.count > 0);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

/// A function of the user that threads of a listener call. The listener can clear it, so that the garbage
/// collector can free a reference cycle of the two while threads run.
#[derive(Clone)]
pub struct Callable(Arc<Mutex<Option<Py<PyAny>>>>);

impl Callable {
    /// # Errors
    /// If the object is not callable; `name` is its name in the error.
    pub fn new(py: Python<'_>, name: &str, callable: Py<PyAny>) -> PyResult<Self> {
        match callable.bind(py).is_callable() {
            true => Ok(Self(Arc::new(Mutex::new(Some(callable))))),
            false => Err(PyTypeError::new_err(format!(
                "{name} must be a function, not {}",
                callable.bind(py).get_type().name()?
            ))),
        }
    }

    /// Calls the function, in a thread of the listener.
    pub fn call1<'py>(
        &self,
        py: Python<'py>,
        arguments: impl PyCallArgs<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let callable = self.lock().as_ref().map(|callable| callable.clone_ref(py));
        match callable {
            Some(callable) => callable.into_bound(py).call1(arguments),
            None => Err(PyRuntimeError::new_err("the listener no longer exists")),
        }
    }

    /// The caller holds the GIL, and no Python code runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.lock())
    }

    /// Drops the function.
    pub fn clear(&self) {
        // Dropped outside the lock, since a destructor may run Python code.
        let callable = self.lock().take();
        drop(callable);
    }
}

/// Logs an exception of a user's function, which does not end the listener.
pub fn log(py: Python<'_>, error: PyErr, text: &str) {
    let logged = py.import("logging").and_then(|logging| {
        let logger = logging.call_method1("getLogger", ("fastdimse",))?;
        let options = PyDict::new(py);
        // The exception object includes its traceback.
        options.set_item("exc_info", error.into_value(py))?;
        logger.call_method("error", (text,), Some(&options))
    });
    if let Err(error) = logged {
        error.write_unraisable(py, None);
    }
}

/// The text for an object that a user's function returned.
pub fn repr_of(given: &Bound<'_, PyAny>) -> String {
    given.repr().map_or_else(|_| "an object".to_owned(), |text| text.to_string())
}

/// A hint for the error if the object is a coroutine, which would never be awaited.
pub fn coroutine_hint(given: &Bound<'_, PyAny>) -> &'static str {
    let is_coroutine = given.get_type().name().is_ok_and(|name| name == "coroutine");
    if !is_coroutine {
        return "";
    }
    // Closed to avoid the warning that it was never awaited.
    let _ = given.call_method0("close");
    "; the function must not be asynchronous"
}
