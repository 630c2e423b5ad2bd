//! A connection that carries PDUs (PS3.8 9.3).

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AbortRQSource, AssociationRJResult, Pdu, read_pdu, write_pdu,
};
use fastdimse_core::pdu::associate::significant;
use fastdimse_core::pdu::read::NAMES;
use fastdimse_core::pdu::write::PDU_HEADER;
use fastdimse_core::rejection::{Reason, Rejection};
use rustls::ServerConfig;

use crate::failure::Failure;
use crate::messages::{Messages, ReceivedMessage};
use crate::timeouts::{Deadline, POLL_INTERVAL, Timeouts, check_interrupt};
use crate::transport::socket::Socket;
use crate::transport::tls::{ClientTls, Stream};
use crate::transport::waker::Waker;

const ASSOCIATE_REQUEST: u8 = 0x01;

const ASSOCIATE_ACCEPT: u8 = 0x02;

const ASSOCIATE_REJECT: u8 = 0x03;

/// P-DATA-TF (PS3.8 9.3.5).
pub const P_DATA: u8 = 0x04;

const RELEASE_REQUEST: u8 = 0x05;

const RELEASE_RESPONSE: u8 = 0x06;

const ABORT: u8 = 0x07;

/// The result of a transient A-ASSOCIATE-RJ (PS3.8 9.3.4).
const REJECTED_TRANSIENT: u8 = 2;

const UNKNOWN_REASON: &str = "for an unknown reason";

/// The maximum number of bytes of one read.
const CHUNK: usize = 1 << 16;

/// The maximum memory that a connection keeps between PDUs.
const KEPT: usize = 1 << 20;

/// The maximum length of an A-ASSOCIATE PDU: 128 presentation contexts with all their items.
const LONGEST_ASSOCIATE: u32 = 1 << 20;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Received bytes are before `end`; those before `read` have been returned.
    bytes: Vec<u8>,
    read: usize,
    end: usize,
    /// The maximum P-DATA-TF length that is accepted.
    max_pdu_length: u32,
}

/// A received PDU: its type, and all its bytes.
#[derive(Debug, Clone, Copy)]
pub struct RawPdu<'a> {
    /// The type, 1 to 7.
    pub kind: u8,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Connection {
    /// Connects to the first address that accepts the connection.
    pub fn open(
        address: impl ToSocketAddrs + Send + 'static,
        tls: Option<&ClientTls>,
        max_pdu_length: u32,
        timeouts: &Timeouts,
    ) -> Result<Self, Failure> {
        let socket = connect(address, timeouts).map_err(Failure::from_connect)?;
        let socket = Socket::new(socket, timeouts.connection, timeouts.interrupt)
            .map_err(Failure::from_connect)?;
        let stream = match tls {
            Some(tls) => Stream::client(socket, tls, timeouts.association)?,
            None => Stream::Plain(socket),
        };
        Ok(Self::from_stream(stream, max_pdu_length))
    }

    /// Wraps the connection of a peer.
    ///
    /// # Errors
    ///
    /// If TLS is required and cannot be established.
    pub fn accept(
        socket: TcpStream,
        tls: Option<&Arc<ServerConfig>>,
        max_pdu_length: u32,
        timeouts: &Timeouts,
    ) -> Result<Self, Failure> {
        let socket = Socket::new(socket, timeouts.connection, timeouts.interrupt)
            .map_err(Failure::Connect)?;
        let stream = match tls {
            Some(config) => Stream::server(socket, config, timeouts.association)?,
            None => Stream::Plain(socket),
        };
        Ok(Self::from_stream(stream, max_pdu_length))
    }

    fn from_stream(stream: Stream, max_pdu_length: u32) -> Self {
        let bytes = vec![0; CHUNK];
        Self { stream, bytes, read: 0, end: 0, max_pdu_length }
    }

    /// Writes complete PDUs.
    pub fn write(&mut self, pdus: &[u8]) -> Result<(), Failure> {
        let written = self.stream.write_all(pdus).and_then(|()| self.stream.flush());
        let late = Failure::WriteTimeout(self.stream.socket().write_timeout());
        written.map_err(|error| Failure::from_io(error, late))
    }

    /// Writes a PDU other than P-DATA-TF.
    pub fn write_pdu(&mut self, pdu: &Pdu) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu)
            .map_err(|error| Failure::Request(error.to_string().into_boxed_str()))?;
        self.write(&bytes)
    }

    /// The next message, if it has been received and is of the usual form: see [`Messages::whole`].
    pub fn next_message(&mut self, messages: &mut Messages) -> Option<ReceivedMessage<'_>> {
        let received = &self.bytes[self.read..self.end];
        let message = messages.whole(received, self.max_pdu_length)?;
        self.read += message.pdus.map_or(0, <[u8]>::len);
        Some(message)
    }

    /// The next complete PDU, if one has been received.
    pub fn next_read(&mut self) -> Result<Option<RawPdu<'_>>, Failure> {
        Ok(self.next_length()?.map(|length| self.consume(length)))
    }

    /// The length of the next PDU, if it is complete.
    fn next_length(&self) -> Result<Option<usize>, Failure> {
        let rest = &self.bytes[self.read..self.end];
        let Some(&[kind, second, l0, l1, l2, l3]) = rest.first_chunk::<PDU_HEADER>() else {
            return Ok(None);
        };
        if NAMES.get(usize::from(kind).wrapping_sub(1)).is_none() {
            return Err(if self.stream.is_tls_on_plain_connection([kind, second]) {
                let why = "the peer uses TLS, but the local side does not".into();
                Failure::Tls { permanent: true, why }
            } else {
                Rejection::new(Reason::PduType(kind)).into()
            });
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let most = if kind == P_DATA { self.max_pdu_length } else { LONGEST_ASSOCIATE };
        if length > most {
            return Err(Failure::PduLength { length, most });
        }
        let length = PDU_HEADER + length as usize;
        Ok((rest.len() >= length).then_some(length))
    }

    fn consume(&mut self, length: usize) -> RawPdu<'_> {
        let at = self.read;
        self.read += length;
        RawPdu { kind: self.bytes[at], bytes: &self.bytes[at..self.read] }
    }

    /// Waits for bytes, and reads those that have arrived.
    pub fn fill(&mut self, deadline: Deadline) -> Result<(), Failure> {
        self.bytes.copy_within(self.read..self.end, 0);
        self.end -= self.read;
        self.read = 0;
        // Free the memory of a long PDU.
        if self.end == 0 && self.bytes.len() > KEPT {
            self.bytes = vec![0; CHUNK];
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(2 * self.end, 0);
        }
        self.stream.socket().read_until(deadline);
        match self.stream.read(&mut self.bytes[self.end..]) {
            Ok(0) => Err(Failure::Closed(self.end > 0)),
            Ok(found) => {
                self.end += found;
                Ok(())
            }
            Err(error) => Err(Failure::from_io(error, Failure::ReadTimeout(deadline.timeout()))),
        }
    }

    /// Waits until there is data to read, or another thread calls [`Waker::wake`]; returns whether
    /// there is data.
    pub fn wait_for_data(&mut self, waker: &Waker, deadline: Deadline) -> Result<bool, Failure> {
        if self.stream.has_data() {
            return Ok(true);
        }
        let late = Failure::ReadTimeout(deadline.timeout());
        let left = deadline.left();
        if left.is_zero() {
            return Err(late);
        }
        self.stream.socket().acknowledge();
        let waited = waker.wait(self.stream.socket().tcp(), left);
        waited.map_err(|error| Failure::from_io(error, late))
    }

    /// The address of the peer.
    pub fn peer_address(&mut self) -> Result<SocketAddr, Failure> {
        self.stream.socket().tcp().peer_addr().map_err(Failure::Connect)
    }

    /// Waits for a PDU.
    pub fn wait_for_raw(&mut self, deadline: Deadline) -> Result<RawPdu<'_>, Failure> {
        let length = loop {
            match self.next_length()? {
                Some(length) => break length,
                None => self.fill(deadline)?,
            }
        };
        Ok(self.consume(length))
    }

    /// Waits for a PDU before the association is established.
    pub fn wait_for_pdu(
        &mut self,
        expected: &'static str,
        timeout: Duration,
    ) -> Result<Pdu, Failure> {
        read(self.wait_for_raw(Deadline::after(timeout))?, expected)
    }

    /// Releases the association (PS3.8 7.2), which has no outstanding request, and closes the
    /// connection. A peer that closes first has ended the association, too.
    pub fn release(mut self, timeout: Duration) -> Result<(), Failure> {
        match self.request_release(timeout) {
            Err(failure @ Failure::Interrupted) => {
                self.fail(&failure);
                Err(failure)
            }
            end => {
                self.close();
                match end {
                    Err(Failure::Closed(false)) => Ok(()),
                    end => end,
                }
            }
        }
    }

    fn request_release(&mut self, timeout: Duration) -> Result<(), Failure> {
        let expected = NAMES[usize::from(RELEASE_RESPONSE) - 1];
        let deadline = Deadline::after(timeout);
        self.write_pdu(&Pdu::ReleaseRQ)?;
        let response = loop {
            match self.wait_for_raw(deadline)? {
                // It may have been sent before the peer received the request (PS3.8 9.2, Sta7).
                RawPdu { kind: P_DATA, .. } => {}
                raw => break read(raw, expected)?,
            }
        };
        match response {
            Pdu::ReleaseRP => Ok(()),
            // Release collision (PS3.8 7.2.2.7).
            Pdu::ReleaseRQ => self.write_pdu(&Pdu::ReleaseRP),
            other => Err(ended_by(&other, expected)),
        }
    }

    /// Ends the connection after a failure, with an A-ABORT unless the peer has ended it (PS3.8
    /// 9.2, AA-1 and AA-8).
    pub fn fail(mut self, failure: &Failure) {
        use AbortRQServiceProviderReason::{InvalidPduParameter, UnexpectedPdu, UnrecognizedPdu};
        let reason = match failure {
            Failure::NoContext(_) | Failure::Internal | Failure::RepliesLength { .. } => {
                return self.abort();
            }
            Failure::Released => {
                let _ = self.write_pdu(&Pdu::ReleaseRP);
                return self.end();
            }
            Failure::Interrupted => {
                self.stream.socket().shorten_timeouts();
                return self.abort();
            }
            Failure::ReadTimeout(_) => {
                // A silent peer will not close the connection either: do not wait for it.
                let _ = self.write_pdu(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser });
                return self.close();
            }
            Failure::Message(Rejection { reason: Reason::PduType(_), .. })
            | Failure::Tls { .. } => UnrecognizedPdu,
            Failure::Unexpected { .. } => UnexpectedPdu,
            Failure::Message(_)
            | Failure::PduLength { .. }
            | Failure::MessageLength { .. }
            | Failure::Context(_) => InvalidPduParameter,
            _ => return,
        };
        self.abort_as(AbortRQSource::ServiceProvider(reason));
    }

    /// Aborts the association (PS3.8 7.3) and closes the connection.
    pub fn abort(self) {
        self.abort_as(AbortRQSource::ServiceUser);
    }

    fn abort_as(mut self, source: AbortRQSource) {
        // The peer may be gone already.
        let _ = self.write_pdu(&Pdu::AbortRQ { source });
        self.end();
    }

    /// Lets the peer close the connection (PS3.8 9.2, Sta13): if it were closed at once, the peer
    /// could lose the last PDU. Closes it after a timeout.
    pub fn end(mut self) {
        self.stream.finish();
        self.stream.socket().wait_for_end();
        self.close();
    }

    fn close(&mut self) {
        self.stream.finish();
        // It may be closed already.
        let _ = self.stream.socket().tcp().shutdown(Shutdown::Both);
    }
}

/// Connects. If the wait can be interrupted, another thread resolves the host and connects: the
/// system cannot interrupt these calls.
fn connect(
    address: impl ToSocketAddrs + Send + 'static,
    timeouts: &Timeouts,
) -> io::Result<TcpStream> {
    let wait = timeouts.connection;
    if timeouts.interrupt.is_none() {
        return connect_to_any(address, wait);
    }
    let (found, connected) = channel();
    // After an interrupt the receiver is gone, and the connection is closed when it is dropped.
    thread::Builder::new().spawn(move || found.send(connect_to_any(address, wait)))?;
    loop {
        match connected.recv_timeout(POLL_INTERVAL) {
            Ok(connection) => return connection,
            Err(RecvTimeoutError::Timeout) => check_interrupt(timeouts.interrupt)?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the thread that connects failed"));
            }
        }
    }
}

/// Connects to the first address of the host that accepts the connection.
fn connect_to_any(address: impl ToSocketAddrs, wait: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, wait) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads a PDU other than P-DATA-TF.
fn read(raw: RawPdu<'_>, expected: &'static str) -> Result<Pdu, Failure> {
    let name = NAMES[usize::from(raw.kind) - 1];
    let associate = match raw.kind {
        ASSOCIATE_REQUEST | ASSOCIATE_ACCEPT => significant(raw.bytes),
        _ => None,
    };
    let bytes = associate.as_deref().unwrap_or(raw.bytes);
    let found = match raw.kind {
        P_DATA => name.into(),
        kind => match read_pdu(bytes, LONGEST_ASSOCIATE, false) {
            Ok(Some(pdu)) => return Ok(pdu),
            Ok(None) => format!("{name} that is incomplete").into(),
            Err(_) if kind == ASSOCIATE_REJECT && raw.bytes.len() > PDU_HEADER + 1 => {
                let permanent = raw.bytes[PDU_HEADER + 1] != REJECTED_TRANSIENT;
                return Err(Failure::Rejected { permanent, why: UNKNOWN_REASON.into() });
            }
            Err(_) if kind == ABORT => return Err(Failure::Aborted(UNKNOWN_REASON.into())),
            Err(error) => format!("{name} that cannot be read ({error})").into(),
        },
    };
    Err(Failure::Unexpected { found, expected })
}

/// The failure for a PDU that arrived instead of `expected`.
pub fn ended_by(pdu: &Pdu, expected: &'static str) -> Failure {
    match pdu {
        Pdu::AbortRQ { source } => Failure::Aborted(abort_reason(source)),
        Pdu::ReleaseRQ => Failure::Released,
        Pdu::AssociationRJ(rejected) => Failure::Rejected {
            permanent: rejected.result == AssociationRJResult::Permanent,
            why: rejected.source.to_string().into(),
        },
        other => {
            Failure::Unexpected { found: other.short_description().to_string().into(), expected }
        }
    }
}

/// The failure for a PDU that arrived instead of P-DATA-TF.
pub fn ended(raw: RawPdu<'_>) -> Failure {
    match (raw.kind, read_pdu(raw.bytes, LONGEST_ASSOCIATE, false)) {
        (RELEASE_REQUEST, _) => Failure::Released,
        (ABORT, Ok(Some(pdu))) => ended_by(&pdu, NAMES[usize::from(P_DATA) - 1]),
        (ABORT, _) => Failure::Aborted(UNKNOWN_REASON.into()),
        (kind, _) => Failure::Unexpected {
            found: NAMES[usize::from(kind) - 1].into(),
            expected: NAMES[usize::from(P_DATA) - 1],
        },
    }
}

fn abort_reason(source: &AbortRQSource) -> Box<str> {
    match source {
        AbortRQSource::ServiceUser => "sent by its service user".into(),
        AbortRQSource::Reserved => "without a reason".into(),
        AbortRQSource::ServiceProvider(reason) => match reason {
            AbortRQServiceProviderReason::ReasonNotSpecified => {
                "sent by its service provider".into()
            }
            other => format!("sent by its service provider ({other})").into(),
        },
    }
}
