//! Secure connections (PS3.15 B): TLS 1.2 and 1.3 with certificates from files.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct,
    Error, RootCertStore, ServerConfig, ServerConnection, SignatureScheme, StreamOwned,
};
use thiserror::Error as ThisError;

use crate::failure::Failure;
use crate::timeouts::Deadline;
use crate::transport::socket::Socket;

/// Files or options with which TLS cannot be used.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// A file with wrong contents.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// Options that cannot be combined.
    #[error("{0}")]
    Options(String),
}

/// The certificates and the key of one side.
#[derive(Debug)]
pub struct Credentials {
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    trusted: Option<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
}

impl Credentials {
    /// Reads PEM files: the local certificate with its chain, its key, and the authorities of the
    /// peer's certificate.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or has wrong contents.
    pub fn read(
        certificate: Option<&Path>,
        key: Option<&Path>,
        authorities: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((chain(certificate)?, self::key(key)?)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(TlsError::Options("a certificate needs its key".to_owned()));
            }
            (None, Some(_)) => {
                return Err(TlsError::Options("a key needs its certificate".to_owned()));
            }
        };
        let trusted = authorities.map(roots).transpose()?.map(Arc::new);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Self { own, trusted, provider })
    }

    /// The configuration of a client. Without given authorities, those of the system are trusted.
    /// Without `check_hostname` the host name in the peer's certificate is not checked: some
    /// devices share one certificate.
    ///
    /// # Errors
    ///
    /// If the key does not match the certificate, or the system has no authorities.
    pub fn client(&self, check_hostname: bool) -> Result<Arc<ClientConfig>, TlsError> {
        let trusted = match &self.trusted {
            Some(trusted) => trusted.clone(),
            None => Arc::new(system_roots()?),
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(trusted, self.provider.clone());
        let verifier = verifier.build().map_err(options)?;
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(options)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { verifier, check_hostname }));
        let config = match &self.own {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(own)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    /// The configuration of a server. With given authorities, a client must have a certificate of
    /// one of them.
    ///
    /// # Errors
    ///
    /// If there is no certificate, or the key does not match it.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let Some((chain, key)) = &self.own else {
            let text = "a listener needs a certificate and its key".to_owned();
            return Err(TlsError::Options(text));
        };
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(options)?;
        let builder = match &self.trusted {
            Some(trusted) => {
                let provider = self.provider.clone();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(trusted.clone(), provider);
                let verifier =
                    verifier.build().map_err(|error| TlsError::Options(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain.clone(), key.clone_key()).map_err(own)?;
        Ok(Arc::new(config))
    }
}

fn options(error: impl ToString) -> TlsError {
    TlsError::Options(error.to_string())
}

/// The error for the local certificate and its key.
fn own(error: Error) -> TlsError {
    match error {
        Error::InconsistentKeys(_) => options("the key does not belong to the certificate"),
        error => options(error),
    }
}

fn content(path: &Path, error: rustls::pki_types::pem::Error, what: &str) -> TlsError {
    use rustls::pki_types::pem::Error as PemError;
    let path = path.to_owned();
    match error {
        PemError::Io(error) => TlsError::File { path, error },
        PemError::NoItemsFound => {
            TlsError::Content { path, why: format!("the file has no {what} (PEM)") }
        }
        error => TlsError::Content { path, why: format!("no {what} can be read: {error}") },
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| content(path, error, "certificate");
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(wrong)?
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    match found.is_empty() {
        true => Err(wrong(rustls::pki_types::pem::Error::NoItemsFound)),
        false => Ok(found),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| content(path, error, "private key"))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| TlsError::Content {
            path: path.to_owned(),
            why: format!("a certificate can't be read: {error}"),
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some of the system's authorities may be unsupported.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(TlsError::Options(
            "the system has no trusted authorities: give a file of authorities".to_owned(),
        )),
        false => Ok(roots),
    }
}

/// Verifies the peer's certificate, and its host name if required.
#[derive(Debug)]
struct Verifier {
    verifier: Arc<WebPkiServerVerifier>,
    check_hostname: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The host name is checked last, after everything else.
        match self.verifier.verify_server_cert(certificate, others, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_hostname => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The first byte of an alert record.
const ALERT: u8 = 0x15;

const HANDSHAKE: u8 = 0x16;

const LEGACY_VERSION: u8 = 0x03;

/// The requirements of a client for the peer's certificate.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// The configuration of rustls.
    pub config: Arc<ClientConfig>,
    /// The host name of the peer.
    pub server_name: ServerName<'static>,
}

/// The byte stream of a connection.
#[derive(Debug)]
pub enum Stream {
    /// Plain.
    Plain(Socket),
    /// Secure, opened by the local side.
    Client(Box<StreamOwned<ClientConnection, Socket>>),
    /// Secure, accepted by the local side.
    Server(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Stream {
    /// Performs the handshake of a client within the timeout.
    pub fn client(socket: Socket, tls: &ClientTls, timeout: Duration) -> Result<Self, Failure> {
        let connection = ClientConnection::new(tls.config.clone(), tls.server_name.clone());
        let mut stream =
            StreamOwned::new(connection.map_err(|error| Failure::from_tls(&error))?, socket);
        shake_hands(&mut stream.conn, &mut stream.sock, timeout)?;
        Ok(Self::Client(Box::new(stream)))
    }

    /// Performs the handshake of a server within the timeout.
    pub fn server(
        socket: Socket,
        config: &Arc<ServerConfig>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let connection =
            ServerConnection::new(config.clone()).map_err(|error| Failure::from_tls(&error))?;
        let mut stream = StreamOwned::new(connection, socket);
        shake_hands(&mut stream.conn, &mut stream.sock, timeout)?;
        Ok(Self::Server(Box::new(stream)))
    }

    /// Whether the peer uses TLS on a plain connection: its first bytes are those of a handshake or
    /// alert record (RFC 8446 5.1).
    pub fn is_tls_on_plain_connection(&self, first: [u8; 2]) -> bool {
        matches!(self, Self::Plain(_)) && matches!(first, [ALERT | HANDSHAKE, LEGACY_VERSION])
    }

    /// The underlying socket.
    pub fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Client(stream) => &mut stream.sock,
            Self::Server(stream) => &mut stream.sock,
        }
    }

    /// Whether decrypted data can be read without data of the socket.
    pub fn has_data(&mut self) -> bool {
        let state = match self {
            Self::Plain(_) => return false,
            Self::Client(stream) => stream.conn.process_new_packets(),
            Self::Server(stream) => stream.conn.process_new_packets(),
        };
        // The next read reports the error.
        state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    /// Sends close_notify.
    pub fn finish(&mut self) {
        match self {
            Self::Plain(_) => return,
            Self::Client(stream) => stream.conn.send_close_notify(),
            Self::Server(stream) => stream.conn.send_close_notify(),
        }
        // The peer may be gone already.
        let _ = self.flush();
    }
}

fn shake_hands<Data>(
    connection: &mut ConnectionCommon<Data>,
    socket: &mut Socket,
    timeout: Duration,
) -> Result<(), Failure> {
    socket.read_until(Deadline::after(timeout));
    let Err(error) = connection.complete_io(socket) else { return Ok(()) };
    match Failure::from_io(error, Failure::ReadTimeout(timeout)) {
        // The peer closed during the handshake: it may be overloaded, restarting, or not use TLS.
        Failure::Closed(_) => Err(Failure::Tls {
            permanent: false,
            why: "the peer closed the connection during the handshake: it is overloaded, or does not \
                  use TLS"
                .into(),
        }),
        failure @ Failure::Tls { .. } => {
            // Lets the alert arrive as the last data.
            let _ = socket.tcp().shutdown(Shutdown::Write);
            socket.wait_for_end();
            Err(failure)
        }
        failure => Err(failure),
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Client(stream) => stream.read(bytes),
            Self::Server(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Client(stream) => stream.write(bytes),
            Self::Server(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Client(stream) => stream.flush(),
            Self::Server(stream) => stream.flush(),
        }
    }
}
