//! A connection whose bytes are PDUs (PS3.8 9.3).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
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
use crate::timeouts::{Deadline, POLL_INTERVAL, Timeouts, check_interrupt};
use crate::transport::socket::Socket;
use crate::transport::tls::{ClientTls, Stream};

const ASSOCIATE_REQUEST: u8 = 0x01;

const ASSOCIATE_ACCEPT: u8 = 0x02;

const ASSOCIATE_REJECT: u8 = 0x03;

/// P-DATA-TF (PS3.8 9.3.5).
pub const P_DATA: u8 = 0x04;

const RELEASE_REQUEST: u8 = 0x05;

const RELEASE_RESPONSE: u8 = 0x06;

const ABORT: u8 = 0x07;

/// The result of an A-ASSOCIATE-RJ that may be another one later (PS3.8 9.3.4).
const REJECTED_TRANSIENT: u8 = 2;

const UNKNOWN_REASON: &str = "for a reason that no standard knows";

/// The most that is read at once.
const CHUNK: usize = 1 << 16;

/// The most memory for PDUs that a connection keeps while none is begun.
const KEPT: usize = 1 << 20;

/// The longest A-ASSOCIATE that is read: 128 contexts with all there is to say about them.
const LONGEST_ASSOCIATE: u32 = 1 << 20;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// What came in stands in front of `end`; in front of `read` it has been handed out.
    bytes: Vec<u8>,
    read: usize,
    end: usize,
    /// The longest P-DATA-TF that is taken.
    max_pdu_length: u32,
}

/// A PDU that came in: its type, and all of its bytes.
#[derive(Debug, Clone, Copy)]
pub struct RawPdu<'a> {
    /// Its type, 1 to 7.
    pub kind: u8,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl Connection {
    /// Connects. An address that does not answer leaves the others to be tried.
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
        Ok(Self::of(stream, max_pdu_length))
    }

    /// That of a peer that connected.
    ///
    /// # Errors
    /// If it is to be secure, and does not come to that.
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
        Ok(Self::of(stream, max_pdu_length))
    }

    fn of(stream: Stream, max_pdu_length: u32) -> Self {
        let bytes = vec![0; CHUNK];
        Self { stream, bytes, read: 0, end: 0, max_pdu_length }
    }

    /// Lets what has been read be acknowledged at once. A peer without TCP_NODELAY holds the rest of a
    /// message back until then, and the system would wait 40 ms for something to send it along with.
    pub fn acknowledge(&mut self) {
        // Only Linux knows it, and it only saves time.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(self.stream.socket().tcp()).set_tcp_quickack(true);
    }

    /// Writes bytes that are whole PDUs.
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

    /// The next PDU of those that have come in whole.
    pub fn next_read(&mut self) -> Result<Option<RawPdu<'_>>, Failure> {
        Ok(self.whole()?.map(|length| self.hand_out(length)))
    }

    /// The length of the next PDU, if all of it is there.
    fn whole(&self) -> Result<Option<usize>, Failure> {
        let rest = &self.bytes[self.read..self.end];
        let Some(&[kind, second, l0, l1, l2, l3]) = rest.first_chunk::<PDU_HEADER>() else {
            return Ok(None);
        };
        if NAMES.get(usize::from(kind).wrapping_sub(1)).is_none() {
            return Err(if self.stream.is_plain_and_met_with_tls([kind, second]) {
                let why = "the peer speaks TLS, this end does not".into();
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

    fn hand_out(&mut self, length: usize) -> RawPdu<'_> {
        let at = self.read;
        self.read += length;
        RawPdu { kind: self.bytes[at], bytes: &self.bytes[at..self.read] }
    }

    /// Waits for bytes and reads those that are there.
    pub fn fill(&mut self, deadline: Deadline) -> Result<(), Failure> {
        self.bytes.copy_within(self.read..self.end, 0);
        self.end -= self.read;
        self.read = 0;
        // A long PDU does not keep its memory.
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

    /// Waits for a PDU.
    pub fn wait_for_raw(&mut self, deadline: Deadline) -> Result<RawPdu<'_>, Failure> {
        let length = loop {
            match self.whole()? {
                Some(length) => break length,
                None => self.fill(deadline)?,
            }
        };
        Ok(self.hand_out(length))
    }

    /// Waits for a PDU of an association that is not there yet.
    pub fn wait_for_pdu(
        &mut self,
        expected: &'static str,
        timeout: Duration,
    ) -> Result<Pdu, Failure> {
        read(self.wait_for_raw(Deadline::after(timeout))?, expected)
    }

    /// Releases the association (PS3.8 7.2), on which nothing is unanswered, and closes the connection. A
    /// peer that closes it first has ended the association too.
    pub fn release(mut self, timeout: Duration) -> Result<(), Failure> {
        match self.ask_for_release(timeout) {
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

    fn ask_for_release(&mut self, timeout: Duration) -> Result<(), Failure> {
        let expected = NAMES[usize::from(RELEASE_RESPONSE) - 1];
        let deadline = Deadline::after(timeout);
        self.write_pdu(&Pdu::ReleaseRQ)?;
        let answer = loop {
            match self.wait_for_raw(deadline)? {
                // It may have been on its way (PS3.8 9.2, Sta7).
                RawPdu { kind: P_DATA, .. } => {}
                raw => break read(raw, expected)?,
            }
        };
        match answer {
            Pdu::ReleaseRP => Ok(()),
            // Both ends release at once (PS3.8 7.2.2.7).
            Pdu::ReleaseRQ => self.write_pdu(&Pdu::ReleaseRP),
            other => Err(ended_by(&other, expected)),
        }
    }

    /// Ends the connection after a failure: with an A-ABORT, unless the peer has ended it (PS3.8 9.2, AA-1
    /// and AA-8).
    pub fn fail(mut self, failure: &Failure) {
        use AbortRQServiceProviderReason::{InvalidPduParameter, UnexpectedPdu, UnrecognizedPdu};
        let reason = match failure {
            Failure::NoContext(_) | Failure::Internal => return self.abort(),
            Failure::Interrupted => {
                self.stream.socket().shorten_timeouts();
                return self.abort();
            }
            Failure::ReadTimeout(_) => {
                // Who says nothing does not close the connection either: it is not waited for.
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
        // The peer may be gone; then it knows.
        let _ = self.write_pdu(&Pdu::AbortRQ { source });
        self.end();
    }

    /// Leaves it to the peer to close the connection (PS3.8 9.2, Sta13): were it closed at once, the peer
    /// might lose the last PDU. One that takes too long has had its time.
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

/// Connects. Where somebody is to be asked whether to leave, a thread looks the host up and connects: both
/// can take long, and the system offers no way to do part of it.
fn connect(
    address: impl ToSocketAddrs + Send + 'static,
    timeouts: &Timeouts,
) -> io::Result<TcpStream> {
    let wait = timeouts.connection;
    if timeouts.interrupt.is_none() {
        return connect_to_any(address, wait);
    }
    let (found, connected) = channel();
    // When this end leaves, nobody takes the connection, and it is closed.
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

/// Connects to the first of the host's addresses that answers.
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
            Ok(None) => format!("{name} that is cut short").into(),
            Err(_) if kind == ASSOCIATE_REJECT && raw.bytes.len() > PDU_HEADER + 1 => {
                let permanent = raw.bytes[PDU_HEADER + 1] != REJECTED_TRANSIENT;
                return Err(Failure::Rejected { permanent, why: UNKNOWN_REASON.into() });
            }
            Err(_) if kind == ABORT => return Err(Failure::Aborted(UNKNOWN_REASON.into())),
            Err(error) => format!("{name} that can't be read ({error})").into(),
        },
    };
    Err(Failure::Unexpected { found, expected })
}

/// What it means that this PDU came where `expected` was due.
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

/// What the bytes of a PDU that is not P-DATA-TF mean where only P-DATA-TF is due.
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
        AbortRQSource::Reserved => "it does not say why".into(),
        AbortRQSource::ServiceProvider(reason) => match reason {
            AbortRQServiceProviderReason::ReasonNotSpecified => {
                "sent by its service provider".into()
            }
            other => format!("sent by its service provider ({other})").into(),
        },
    }
}
