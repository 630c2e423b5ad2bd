//! How long to wait for a peer, and how to stop waiting.

use std::io;
use std::time::{Duration, Instant};

use crate::failure::Interrupted;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection, and for each write.
    pub connection: Duration,
    /// For an answer to an A-ASSOCIATE or A-RELEASE.
    pub association: Duration,
    /// For an answer to a message.
    pub response: Duration,
    /// Asked meanwhile whether to leave, if anybody is to be asked.
    pub interrupt: Option<Interrupt>,
}

/// Asked again and again while something is waited for, and whenever a signal interrupts the wait: whether
/// to leave instead of waiting on.
pub type Interrupt = fn() -> bool;

/// The longest wait without asking whether to leave.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// By when something must have come in whole.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    timeout: Duration,
    /// There is none if it is later than the clock can say.
    end: Option<Instant>,
}

impl Deadline {
    /// So long from now.
    pub fn after(timeout: Duration) -> Self {
        Self { timeout, end: Instant::now().checked_add(timeout) }
    }

    /// How long it was when it began.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How much of it is left.
    pub fn left(&self) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }
}

/// Fails if this end is told to leave.
pub fn check_interrupt(interrupt: Option<Interrupt>) -> io::Result<()> {
    match interrupt {
        Some(leaves) if leaves() => Err(io::Error::other(Interrupted)),
        _ => Ok(()),
    }
}
