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
    /// Whether this thread is one of a listener's, which calls what its user gave it.
    static IS_LISTENER_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether a listener's own thread calls this: such a thread must not wait for the listener's end.
pub fn is_listener_thread() -> bool {
    IS_LISTENER_THREAD.get()
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

/// Attaches a thread of a listener's to Python, `None` where the interpreter ends. Whatever runs then, be it a
/// finalizer that the garbage collector calls, must not wait for this thread's end.
pub fn attach<T>(run: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _call = Call::begin()?;
    IS_LISTENER_THREAD.set(true);
    Some(Python::attach(run))
}

/// Lets no thread of a listener call Python any more, and waits until those return that do, for so long at
/// most: a thread that comes back to an interpreter that is taken apart ends the process.
pub fn end_calls(timeout: Duration) {
    let mut state = CALLS.lock();
    state.ended = true;
    let waited = CALLS.returned.wait_timeout_while(state, timeout, |state| state.count > 0);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
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
    pub fn call1<'py>(
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

/// What a handler raises is no reason to end: it goes where such things are looked for.
pub fn log(py: Python<'_>, error: PyErr, text: &str) {
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

/// What an error calls something that a function of the user's returned.
pub fn repr_of(given: &Bound<'_, PyAny>) -> String {
    given.repr().map_or_else(|_| "an object".to_owned(), |text| text.to_string())
}

/// What to say of a coroutine: nobody awaits it.
pub fn coroutine_hint(given: &Bound<'_, PyAny>) -> &'static str {
    let is_coroutine = given.get_type().name().is_ok_and(|name| name == "coroutine");
    if !is_coroutine {
        return "";
    }
    // Closed, it does not warn that nobody awaited it.
    let _ = given.call_method0("close");
    "; the function must not be asynchronous"
}
