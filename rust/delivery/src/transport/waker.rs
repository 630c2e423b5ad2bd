//! Ends the wait of a thread for the data of a peer: another thread has something to send.

#[cfg(unix)]
pub use self::unix::Waker;

#[cfg(not(unix))]
pub use self::other::Waker;

#[cfg(unix)]
mod unix {
    use std::io::{self, Read, Write};
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    /// Wakes the thread that waits for data.
    #[derive(Debug)]
    pub struct Waker {
        /// The thread waits for a byte on the first, and others write it to the second.
        ends: (UnixStream, UnixStream),
    }

    impl Waker {
        /// # Errors
        ///
        /// If the system has no more file descriptors.
        pub fn new() -> io::Result<Self> {
            let ends = UnixStream::pair()?;
            ends.0.set_nonblocking(true)?;
            ends.1.set_nonblocking(true)?;
            Ok(Self { ends })
        }

        /// Ends the current wait, or the next one.
        pub fn wake(&self) {
            // If the buffer is full, the thread will wake up anyway.
            let _ = (&self.ends.1).write(&[0]);
        }

        /// Waits until the socket has data, [`Waker::wake`] was called, or the time is over. Returns
        /// whether the socket has data, or has failed.
        ///
        /// # Errors
        ///
        /// If the system cannot wait.
        pub fn wait(&self, socket: &TcpStream, timeout: Duration) -> io::Result<bool> {
            let (socket, woken) =
                (PollFd::new(socket, PollFlags::IN), PollFd::new(&self.ends.0, PollFlags::IN));
            let mut both = [socket, woken];
            // A day is enough: the caller waits again.
            let timeout = Timespec::try_from(timeout.min(Duration::from_secs(86400))).ok();
            match poll(&mut both, timeout.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let has_data = !both[0].revents().is_empty();
            while matches!((&self.ends.0).read(&mut [0; 64]), Ok(1..)) {}
            Ok(has_data)
        }
    }
}

#[cfg(not(unix))]
mod other {
    use std::io;
    use std::net::TcpStream;
    use std::thread;
    use std::time::{Duration, Instant};

    /// The interval of checks.
    const INTERVAL: Duration = Duration::from_millis(20);

    /// Wakes the thread that waits for data, within [`INTERVAL`].
    #[derive(Debug)]
    pub struct Waker {
        is_awake: std::sync::atomic::AtomicBool,
    }

    impl Waker {
        /// # Errors
        ///
        /// None on this system.
        pub fn new() -> io::Result<Self> {
            Ok(Self { is_awake: false.into() })
        }

        /// Ends the current wait, or the next one.
        pub fn wake(&self) {
            self.is_awake.store(true, std::sync::atomic::Ordering::SeqCst);
        }

        /// Waits until the socket has data, [`Waker::wake`] was called, or the time is over. Returns
        /// whether the socket has data, or has failed.
        ///
        /// # Errors
        ///
        /// If the socket is closed.
        pub fn wait(&self, socket: &TcpStream, timeout: Duration) -> io::Result<bool> {
            let begin = Instant::now();
            socket.set_nonblocking(true)?;
            let has_data = || {
                let peeked = socket.peek(&mut [0]);
                !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            };
            let mut found = has_data();
            while !found
                && begin.elapsed() < timeout
                && !self.is_awake.swap(false, std::sync::atomic::Ordering::SeqCst)
            {
                thread::sleep(INTERVAL);
                found = has_data();
            }
            socket.set_nonblocking(false)?;
            Ok(found)
        }
    }
}
