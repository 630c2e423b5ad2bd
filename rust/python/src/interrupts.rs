//! Signal handlers of Python during calls that wait, or that read endless input. As in PEP 475, the call
//! continues after a handler returns, and ends if it raises an exception.

use std::cell::RefCell;

use pyo3::prelude::*;

thread_local! {
    /// The exception that a handler raised during the current call.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Runs the handlers of pending signals; returns whether one raised an exception, so that the call must end.
pub fn interrupted() -> bool {
    if RAISED.with_borrow(Option::is_some) {
        return true;
    }
    if let Err(error) = Python::attach(|py| py.check_signals()) {
        RAISED.set(Some(error));
    }
    RAISED.with_borrow(Option::is_some)
}

/// Keeps an exception that a function of the user raised in this thread during the current call, which
/// must end.
pub fn raise_later(error: PyErr) {
    RAISED.set(Some(error));
}

/// Runs `work` without the GIL. It may call [`interrupted`].
///
/// # Errors
/// The exception that a signal handler raised meanwhile.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let done = py.detach(work);
    match RAISED.take() {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

/// The number of values between two checks for signals: a check takes some nanoseconds.
const VALUES: usize = 1024;

/// The values of an iterator that may be endless, and may not run Python code, which would handle signals
/// itself.
pub fn interruptible<'py, T>(
    py: Python<'py>,
    values: impl Iterator<Item = PyResult<T>>,
) -> impl Iterator<Item = PyResult<T>> {
    values.enumerate().map(move |(number, value)| {
        if number % VALUES == VALUES - 1 {
            py.check_signals()?;
        }
        value
    })
}
