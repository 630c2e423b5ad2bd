//! Listens on a port: accepts associations, each in a thread, up to a maximum.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::association::acceptance::{TOO_MANY, too_many};
use crate::failure::Failure;
use crate::receive::receiver::{EventSink, Service, serve};
use crate::receive::records::{AssociationLog, Counters, Records, Reports};
use crate::transport::connection::Connection;

/// The delay after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);

/// How long associations may write the responses to stored events after the listener stops.
const LAST_RESPONSES: Duration = Duration::from_secs(1);

/// A listener. Dropping it stops it, without waiting for its threads.
pub struct Listener {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Owned by the accepting thread.
    socket: Weak<TcpListener>,
}

struct Shared {
    service: Service,
    max_connections: usize,
    sink: Arc<dyn EventSink>,
    threads: Mutex<Threads>,
    /// Notified when a thread ends.
    ended: Condvar,
    records: Arc<Records>,
}

/// The running threads.
struct Threads {
    /// The open connections by number, each with a thread.
    open: HashMap<u64, TcpStream>,
    accepting: bool,
}

impl Listener {
    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub fn bind(
        address: impl ToSocketAddrs,
        service: Service,
        max_connections: usize,
        sink: Arc<dyn EventSink>,
    ) -> io::Result<Self> {
        let socket = Arc::new(TcpListener::bind(address)?);
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared {
            service,
            max_connections,
            sink,
            threads: Mutex::new(Threads { open: HashMap::new(), accepting: true }),
            ended: Condvar::new(),
            records: Arc::default(),
        });
        let (of_thread, of_listener) = (shared.clone(), Arc::downgrade(&socket));
        thread::Builder::new().spawn(move || {
            accept(&socket, &of_thread);
            drop(socket);
            lock(&of_thread.threads).accepting = false;
            of_thread.ended.notify_all();
        })?;
        Ok(Self { shared, address, socket: of_listener })
    }

    /// The local address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        lock(&self.shared.threads).open.len()
    }

    /// Returns and clears the reports.
    pub fn take_reports(&self) -> Reports {
        self.shared.records.take_failures()
    }

    /// The records of associations. They are closed when the listener is dropped and its threads
    /// have ended.
    pub fn records(&self) -> &Arc<Records> {
        &self.shared.records
    }

    /// The counters of associations and events.
    pub fn counters(&self) -> Counters {
        self.shared.records.counters()
    }

    /// Accepts no more connections and no more events. Associations write the responses to stored
    /// events and abort. Does not wait for them.
    pub fn stop(&self) {
        if self.shared.service.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        self.shared.shutdown(Shutdown::Read);
        self.wake();
    }

    /// Wakes the accepting thread.
    fn wake(&self) {
        // On Linux this ends the accept, and closes the port even if a forked child has a copy of
        // the socket.
        if let Some(socket) = self.socket.upgrade()
            && socket2::SockRef::from(&*socket).shutdown(Shutdown::Both).is_ok()
        {
            return;
        }
        // On other systems the accepting thread needs a connection.
        let mut to = self.address;
        if to.ip().is_unspecified() {
            to.set_ip(match to {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let _ = TcpStream::connect_timeout(&to, Duration::from_secs(1));
    }

    /// Waits until all threads have ended after a stop. Returns `false` if some have not within
    /// `timeout`.
    ///
    /// A thread of the listener must not call this: it would wait for itself.
    pub fn wait(&self, timeout: Duration) -> bool {
        let threads = lock(&self.shared.threads);
        let running = |threads: &mut Threads| threads.accepting || !threads.open.is_empty();
        let waited = self.shared.ended.wait_timeout_while(threads, timeout, running);
        !running(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Stops, and waits until all threads have ended. `check` is called repeatedly during the
    /// wait.
    ///
    /// # Errors
    ///
    /// The error of `check`.
    pub fn close<E>(&self, mut check: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        const POLL_INTERVAL: Duration = Duration::from_millis(50);
        self.stop();
        let begin = Instant::now();
        let mut patient = true;
        while !self.wait(POLL_INTERVAL) {
            check()?;
            if patient && begin.elapsed() >= LAST_RESPONSES {
                // Do not wait for a peer that does not read.
                self.shared.shutdown(Shutdown::Both);
                patient = false;
            }
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
        // No later call would do it.
        self.shared.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn shutdown(&self, how: Shutdown) {
        for socket in lock(&self.threads).open.values() {
            let _ = socket.shutdown(how);
        }
    }

    fn is_stopping(&self) -> bool {
        self.service.stopping.load(Ordering::SeqCst)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.records.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(socket: &TcpListener, shared: &Arc<Shared>) {
    let mut has_failed = false;
    for number in 1.. {
        let accepted = socket.accept();
        if shared.is_stopping() {
            return;
        }
        match accepted {
            Ok((connection, peer)) => {
                has_failed = false;
                start(connection, peer, number, shared);
            }
            // Either the new connection failed, or the process has no file descriptor left: other
            // connections must end first.
            Err(error) => {
                if !has_failed {
                    shared.records.accept_failed(&error);
                }
                has_failed = true;
                thread::sleep(ACCEPT_RETRY_DELAY);
            }
        }
    }
}

fn start(connection: TcpStream, peer: SocketAddr, number: u64, shared: &Arc<Shared>) {
    let log = AssociationLog::new(shared.records.clone(), number, peer);
    let mut threads = lock(&shared.threads);
    if threads.open.len() >= shared.max_connections {
        drop(threads);
        log.rejected(None, TOO_MANY.0, TOO_MANY.1);
        refuse(connection, shared);
        return;
    }
    let handle = match connection.try_clone() {
        Ok(handle) => handle,
        Err(error) => {
            drop(threads);
            shared.records.accept_failed(&error);
            return;
        }
    };
    threads.open.insert(number, handle);
    drop(threads);
    let serving = Serving { shared: shared.clone(), number, log, result: Err(Failure::Internal) };
    // If no thread can be started, its resources are dropped, and the connection is closed.
    let _ = thread::Builder::new().spawn(move || serving.serve(connection));
    // The listener may have stopped meanwhile.
    if shared.is_stopping() {
        shared.shutdown(Shutdown::Read);
    }
}

/// A served association. Dropping it marks its thread as ended, however the thread ends.
struct Serving {
    shared: Arc<Shared>,
    number: u64,
    log: AssociationLog,
    result: Result<(), Failure>,
}

impl Serving {
    fn serve(mut self, connection: TcpStream) {
        let Self { shared, number, log, .. } = &self;
        self.result = serve(connection, *number, &shared.service, &*shared.sink, log);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.log.ended(&self.result, self.shared.is_stopping());
        lock(&self.shared.threads).open.remove(&self.number);
        self.shared.ended.notify_all();
    }
}

/// Rejects a connection without reading its request, which could take long.
fn refuse(connection: TcpStream, shared: &Shared) {
    let Service { tls: None, timeouts, .. } = &shared.service else { return };
    if let Ok(mut connection) = Connection::accept(connection, None, 0, timeouts) {
        let _ = connection.write_pdu(&too_many());
    }
}
