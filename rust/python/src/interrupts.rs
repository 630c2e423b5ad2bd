//! Python's signal handlers, which run while a call waits or reads what has no end: as PEP 475 has it, a
//! handler that returns lets the call go on, one that raises ends it.

use std::cell::RefCell;

use pyo3::prelude::*;

thread_local! {
    /// What a handler raised in a call that has not returned yet.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Runs the handlers of signals that came, and says whether the call is to end, since one raised.
pub fn interrupted() -> bool {
    if let Err(error) = Python::attach(|py| py.check_signals()) {
        RAISED.set(Some(error));
    }
    RAISED.with_borrow(Option::is_some)
}

/// Does without the GIL what may ask whether it is [`interrupted`].
///
/// # Errors
/// What a handler of a signal raised meanwhile.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let done = py.detach(work);
    match RAISED.take() {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

/// So many values are read before the handlers of signals run: a check takes some nanoseconds.
const VALUES: usize = 1024;

/// The values of an iterator that may have no end, and may be none of Python code, which would let the
/// handlers of signals run itself.
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
