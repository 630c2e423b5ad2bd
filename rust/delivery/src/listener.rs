//! A port on which associations are accepted: a thread for each, and no more than there may be.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::acceptance::too_many;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::receive::{Service, Taker, serve};

/// An association that did not end in order.
#[derive(Debug)]
pub struct Ended {
    /// Its number, from 1.
    pub number: u64,
    /// Who it was.
    pub peer: SocketAddr,
    /// Why.
    pub failure: Failure,
}

/// So long after a connection that can't be accepted the next one is tried.
const RESPITE: Duration = Duration::from_millis(10);

/// The most of these that are kept.
const KEPT: usize = 1000;

/// A listener, which ends when it is dropped.
pub struct Listener {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

/// The connections that are open, by number, each with its thread.
type Open = HashMap<u64, (TcpStream, Option<JoinHandle<()>>)>;

struct Shared {
    service: Service,
    most: usize,
    taker: Arc<dyn Taker>,
    stopped: AtomicBool,
    open: Mutex<Open>,
    ended: Mutex<Vec<Ended>>,
}

impl Listener {
    /// Listens on an address; at most so many connections are open at a time.
    ///
    /// # Errors
    /// If the address can't be listened on.
    pub fn bind(
        address: impl ToSocketAddrs,
        service: Service,
        most: usize,
        taker: Arc<dyn Taker>,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared {
            service,
            most,
            taker,
            stopped: AtomicBool::new(false),
            open: Mutex::default(),
            ended: Mutex::default(),
        });
        let of_thread = shared.clone();
        let accepting = thread::Builder::new().spawn(move || accept(&socket, &of_thread))?;
        Ok(Self { shared, address, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open().len()
    }

    /// Takes out those that did not end in order, the first thousand of them.
    pub fn take_ended(&self) -> Vec<Ended> {
        std::mem::take(&mut *lock(&self.shared.ended))
    }

    /// Accepts no more, and ends the associations that are there.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // First, since what follows needs a descriptor, and there may be none left.
        self.shared.end_all();
        // It waits for a connection: here is one.
        let mut to = self.address;
        if to.ip().is_unspecified() {
            to.set_ip(match to {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let _ = TcpStream::connect(to);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        // One may have come meanwhile.
        self.shared.end_all();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        lock(&self.open)
    }

    /// Ends all associations that are open.
    fn end_all(&self) {
        let open: Vec<_> = self.open().drain().collect();
        for (_, (socket, thread)) in open {
            let _ = socket.shutdown(Shutdown::Both);
            if let Some(thread) = thread {
                let _ = thread.join();
            }
        }
    }

    fn end(&self, number: u64, peer: SocketAddr, result: Result<(), Failure>) {
        if let Err(failure) = result
            && !self.stopped.load(Ordering::SeqCst)
        {
            let mut ended = lock(&self.ended);
            if ended.len() < KEPT {
                ended.push(Ended { number, peer, failure });
            }
        }
        self.open().remove(&number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(socket: &TcpListener, shared: &Arc<Shared>) {
    for number in 1.. {
        let accepted = socket.accept();
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((connection, peer)) => start(connection, peer, number, shared),
            // What fails here is the connection that came, or the system has no descriptor left for it:
            // others must end first.
            Err(_) => thread::sleep(RESPITE),
        }
    }
}

fn start(connection: TcpStream, peer: SocketAddr, number: u64, shared: &Arc<Shared>) {
    let mut open = shared.open();
    if open.len() >= shared.most {
        drop(open);
        refuse(connection, shared);
        return;
    }
    let Ok(handle) = connection.try_clone() else { return };
    open.insert(number, (handle, None));
    let of_thread = shared.clone();
    let thread = thread::Builder::new().spawn(move || {
        let result = serve(connection, number, &of_thread.service, &*of_thread.taker);
        of_thread.end(number, peer, result);
    });
    match thread {
        // It ends only when the lock is free.
        Ok(thread) => {
            open.entry(number).and_modify(|entry| entry.1 = Some(thread));
        }
        Err(_) => {
            open.remove(&number);
        }
    }
}

/// Nothing is read of one too many: its request, or handshake, could take its time.
fn refuse(connection: TcpStream, shared: &Shared) {
    let Service { tls: None, patience, .. } = &shared.service else { return };
    if let Ok(mut connection) = Connection::accept(connection, None, 0, patience) {
        let _ = connection.write_pdu(&too_many());
    }
}
