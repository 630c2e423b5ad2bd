//! Timeouts and deadlines of an association, and how to interrupt a wait.

use std::io;
use std::time::{Duration, Instant};

use crate::failure::Interrupted;

/// The timeouts of an association.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For establishing the connection, and for each write.
    pub connection: Duration,
    /// For the response to an A-ASSOCIATE or A-RELEASE request.
    pub association: Duration,
    /// For the response to a message.
    pub response: Duration,
    /// Called during all waits; the wait ends if it returns true.
    pub interrupt: Option<Interrupt>,
}

/// A function that is called repeatedly during a wait, and after each signal. The wait ends if
/// it returns true.
pub type Interrupt = fn() -> bool;

/// The maximum time between two calls of [`Interrupt`].
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The time at which something must be complete.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    timeout: Duration,
    /// `None` if the time is beyond the range of the clock.
    end: Option<Instant>,
}

impl Deadline {
    /// A deadline `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self { timeout, end: Instant::now().checked_add(timeout) }
    }

    /// The timeout from which the deadline was made.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The remaining time.
    pub fn left(&self) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }
}

/// Fails if the local side is interrupted.
pub fn check_interrupt(interrupt: Option<Interrupt>) -> io::Result<()> {
    match interrupt {
        Some(interrupted) if interrupted() => Err(io::Error::other(Interrupted)),
        _ => Ok(()),
    }
}
