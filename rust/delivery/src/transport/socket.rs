//! A socket whose reads and writes end at a deadline.

use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::time::Duration;

use crate::timeouts::{Deadline, Interrupt, POLL_INTERVAL, check_interrupt};

/// How long to wait for the peer to close the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait after an interrupt.
const INTERRUPTED_TIMEOUT: Duration = Duration::from_millis(200);

/// How much later a read may end. The timeout of the system's socket is changed only beyond that.
const TOLERANCE: Duration = Duration::from_millis(1);

/// A socket whose reads end at a deadline. The system limits single reads only: a peer that sends a
/// byte now and then could delay a longer read forever.
#[derive(Debug)]
pub struct Socket {
    socket: TcpStream,
    deadline: Deadline,
    /// The read timeout that is set on the system's socket.
    read_timeout: Duration,
    write: Duration,
    close_timeout: Duration,
    interrupt: Option<Interrupt>,
    /// Whether the last operation was a read: no write has acknowledged the data.
    unacknowledged: bool,
}

impl Socket {
    /// A socket without delay; a write may take `write`. `interrupt` is called during all waits.
    ///
    /// # Errors
    ///
    /// If the socket is closed.
    pub fn new(
        socket: TcpStream,
        write: Duration,
        interrupt: Option<Interrupt>,
    ) -> io::Result<Self> {
        // The local side waits for a response, so its data must leave at once.
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(slice(write, interrupt)))?;
        socket.set_read_timeout(None)?;
        let (deadline, read_timeout) = (Deadline::after(Duration::MAX), Duration::MAX);
        Ok(Self {
            socket,
            deadline,
            read_timeout,
            write,
            close_timeout: CLOSE_TIMEOUT,
            interrupt,
            unacknowledged: false,
        })
    }

    /// Shortens the timeouts of further writes and of the wait for the peer's close: the user
    /// waits.
    pub fn shorten_timeouts(&mut self) {
        self.write = self.write.min(INTERRUPTED_TIMEOUT);
        self.close_timeout = INTERRUPTED_TIMEOUT;
    }

    /// The timeout of a write.
    pub fn write_timeout(&self) -> Duration {
        self.write
    }

    /// Sets the deadline of the next reads.
    pub fn read_until(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// Waits up to a second until the peer closes the connection. If it were closed with unread
    /// bytes, the peer could lose the last data.
    pub fn wait_for_end(&mut self) {
        self.read_until(Deadline::after(self.close_timeout));
        let mut ignored = [0; 4096];
        while self.read(&mut ignored).is_ok_and(|found| found > 0) {}
    }

    /// Acknowledges the received data if the local side reads again before it writes.
    ///
    /// Without TCP_NODELAY, a peer that writes a PDU or message in parts sends the next part only
    /// after the last one was acknowledged (RFC 1122 4.2.3.4). The system delays an acknowledgement
    /// by up to 40 ms, for a write that can carry it. Each write acknowledges all data before it, so
    /// a peer that writes a message at once causes no system call here. Reads call it.
    pub fn acknowledge(&mut self) {
        if mem::take(&mut self.unacknowledged) {
            // The option does not last, and only Linux has it. If it fails, data is acknowledged
            // later.
            #[cfg(target_os = "linux")]
            let _ = socket2::SockRef::from(&self.socket).set_tcp_quickack(true);
        }
    }

    /// The system's socket.
    pub fn tcp(&self) -> &TcpStream {
        &self.socket
    }
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.acknowledge();
        loop {
            let left = self.deadline.left();
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let some = slice(left, self.interrupt);
            if some.abs_diff(self.read_timeout) > TOLERANCE {
                self.socket.set_read_timeout(Some(some))?;
                self.read_timeout = some;
            }
            match self.socket.read(bytes) {
                Err(error) if is_retryable(&error) => check_interrupt(self.interrupt)?,
                done => {
                    self.unacknowledged = done.is_ok();
                    return done;
                }
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_written(|socket| socket.write(bytes))
    }

    /// TLS records are written together: an alert is the last one, and has one write.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.until_written(|socket| socket.write_vectored(parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Socket {
    /// Retries until data was written, or the write timeout has passed.
    fn until_written(
        &mut self,
        mut write: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let deadline = Deadline::after(self.write);
        loop {
            match write(&mut self.socket) {
                // Some systems return WouldBlock for a timeout, which rustls treats as a
                // non-blocking socket. The error is therefore always TimedOut.
                Err(error) if is_retryable(&error) && deadline.left() < TOLERANCE => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) if is_retryable(&error) => check_interrupt(self.interrupt)?,
                done => {
                    self.unacknowledged = false;
                    return done;
                }
            }
        }
    }
}

/// The part of a wait between two checks for an interrupt.
fn slice(wait: Duration, interrupt: Option<Interrupt>) -> Duration {
    interrupt.map_or(wait, |_| wait.min(POLL_INTERVAL))
}

/// Whether to retry after this error: a part of the wait is over, or a signal arrived (EINTR).
fn is_retryable(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, second) = (listener.accept().unwrap().0, Duration::from_secs(1));
        (Socket::new(socket, second, None).unwrap(), peer)
    }

    #[test]
    fn a_wait_ends_with_and_without_data() {
        for drips in [false, true] {
            let (mut socket, mut peer) = pair();
            let dripping = thread::spawn(move || {
                while drips && peer.write_all(b"x").is_ok() {
                    thread::sleep(Duration::from_millis(20));
                }
                // Keeps the socket open until the other end is done.
                let _ = peer.read(&mut [0]);
            });
            let begin = Instant::now();
            socket.read_until(Deadline::after(Duration::from_millis(200)));
            let error = socket.read_exact(&mut [0; 1000]).unwrap_err();
            let took = begin.elapsed();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(took >= Duration::from_millis(190), "{took:?}");
            assert!(took < Duration::from_secs(5), "{took:?}");
            drop(socket);
            dripping.join().unwrap();
        }
    }

    #[test]
    fn a_deadline_beyond_the_clock_never_ends() {
        let (mut socket, mut peer) = pair();
        socket.read_until(Deadline::after(Duration::MAX));
        peer.write_all(b"ab").unwrap();
        let mut bytes = [0; 2];
        socket.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ab");
        // A deadline in the past fails, whatever has arrived.
        peer.write_all(b"c").unwrap();
        socket.read_until(Deadline::after(Duration::ZERO));
        let error = socket.read(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
