//! Closes all listeners before the interpreter is finalized.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use fastdimse_delivery::receive::listener::{self};
use fastdimse_delivery::receive::queue::EventQueue;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::network::calls::end_calls;

/// A listener that was opened by this process, or by its parent before a fork.
struct OpenListener {
    process: u32,
    listener: Weak<listener::Listener>,
    waiting: Weak<EventQueue>,
}

/// Listeners that may be open.
static RUNNING: Mutex<Vec<OpenListener>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<OpenListener>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a listener to be closed at exit: its threads must not call Python functions while the
/// interpreter is finalized.
pub fn close_at_exit(
    py: Python<'_>,
    listener: &Arc<listener::Listener>,
    waiting: &Arc<EventQueue>,
) -> PyResult<()> {
    static REGISTERED: PyOnceLock<()> = PyOnceLock::new();
    REGISTERED.get_or_try_init(py, || {
        let end = wrap_pyfunction!(close_listeners, py)?;
        // Imported first, so that it is shut down after the listeners are closed.
        py.import("logging")?;
        py.import("atexit")?.call_method1("register", (end,)).map(drop)
    })?;
    let mut running = running();
    running.retain(|one| one.listener.strong_count() > 0);
    let (process, listener, waiting) =
        (std::process::id(), Arc::downgrade(listener), Arc::downgrade(waiting));
    running.push(OpenListener { process, listener, waiting });
    Ok(())
}

/// Closes all listeners of this process, and waits a limited time for running handlers.
#[pyfunction]
fn close_listeners(py: Python<'_>) {
    const TIMEOUT: Duration = Duration::from_secs(5);
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
            let _ = listener.close(|| if begin.elapsed() < TIMEOUT { Ok(()) } else { Err(()) });
        }
        for (listener, _) in &there {
            listener.records().close();
            listener.records().wait_processed(TIMEOUT.saturating_sub(begin.elapsed()));
        }
        // Calls of listeners that were dropped may still run.
        end_calls(TIMEOUT.saturating_sub(begin.elapsed()));
    });
}
