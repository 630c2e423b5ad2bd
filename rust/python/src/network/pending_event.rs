//! An event that the program has taken from an association that the local side requested.

use std::sync::atomic::{AtomicBool, Ordering};

use fastdimse_delivery::failure::Failure;
use fastdimse_delivery::responses::Response;
use fastdimse_delivery::send::events_of_peer::WaitingEvent;
use fastdimse_delivery::send::sender::Sender;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// An event that was returned to the program, and may still get another response than Success.
pub struct PendingEvent {
    event: WaitingEvent,
    is_responded: AtomicBool,
}

impl PendingEvent {
    pub fn new(event: WaitingEvent) -> Self {
        Self { event, is_responded: AtomicBool::new(false) }
    }

    pub fn event(&self) -> &WaitingEvent {
        &self.event
    }

    /// Whether the caller is the first that responds.
    fn claim(&self) -> bool {
        !self.is_responded.swap(true, Ordering::SeqCst)
    }

    /// Takes the right to respond.
    ///
    /// # Errors
    /// If the event has a response.
    pub fn take(&self) -> PyResult<()> {
        match self.claim() {
            true => Ok(()),
            false => Err(PyRuntimeError::new_err("the event has a response already")),
        }
    }

    /// Responds with Success, if the event has no response.
    pub fn accept(&self, sender: &mut Sender) -> Result<(), Failure> {
        match self.claim() {
            true => sender.respond(&self.event, &Response::SUCCESS),
            false => Ok(()),
        }
    }
}
