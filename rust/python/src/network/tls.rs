//! The class of the TLS configuration.

use std::path::PathBuf;
use std::sync::Arc;

use fastdimse_delivery::transport::tls::{ClientTls, Credentials, TlsError};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;

/// The configuration of secure connections: TLS 1.2 and 1.3 (PS3.15 B).
///
/// The files are in PEM format. They are read when the object is created.
///
/// Parameters
/// ----------
/// certificate, key : str or os.PathLike, optional
///     The local certificate, followed by intermediate certificates, and its private key. They are
///     required to listen, and to connect to a peer that requires a certificate.
/// ca : str or os.PathLike, optional
///     The certificates of trusted authorities. Without it, :func:`connect` trusts the authorities of
///     the system, and :func:`listen` does not require a certificate of its peers.
/// server_name : str, optional
///     The host name that the peer's certificate must have. The default is the host to connect to.
/// check_hostname : bool, default True
///     Whether the host name in the peer's certificate is checked. The authority of the certificate
///     is always verified.
///
/// Raises
/// ------
/// OSError
///     If a file cannot be read.
/// ValueError
///     If a file does not contain what it should, or only one of *certificate* and *key* is given.
///
/// Examples
/// --------
/// >>> from fastdimse import TLS
/// >>> TLS(certificate="local.pem")
/// Traceback (most recent call last):
/// ValueError: a certificate needs its key
#[pyclass(frozen, module = "fastdimse", name = "TLS")]
pub struct Tls {
    credentials: Credentials,
    server_name: Option<String>,
    check_hostname: bool,
}

#[pymethods]
impl Tls {
    #[new]
    #[pyo3(signature = (
        *, certificate = None, key = None, ca = None, server_name = None, check_hostname = true,
    ))]
    fn new(
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        ca: Option<PathBuf>,
        server_name: Option<String>,
        check_hostname: bool,
    ) -> PyResult<Self> {
        let (certificate, key) = (certificate.as_deref(), key.as_deref());
        let credentials = Credentials::read(certificate, key, ca.as_deref()).map_err(error)?;
        Ok(Self { credentials, server_name, check_hostname })
    }
}

impl Tls {
    fn client(&self, host: &str) -> PyResult<ClientTls> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|why| PyValueError::new_err(format!("server_name '{name}': {why}")))?;
        let config = self.credentials.client(self.check_hostname).map_err(error)?;
        Ok(ClientTls { config, server_name })
    }
}

/// The client configuration of the option `tls`.
pub fn client_tls(given: Option<&Bound<'_, PyAny>>, host: &str) -> PyResult<Option<ClientTls>> {
    let Some(given) = given else { return Ok(None) };
    if let Ok(wanted) = given.extract::<bool>() {
        return match wanted {
            true => Tls::new(None, None, None, None, true)?.client(host).map(Some),
            false => Ok(None),
        };
    }
    match given.cast::<Tls>() {
        Ok(tls) => tls.get().client(host).map(Some),
        Err(_) => Err(PyTypeError::new_err(format!(
            "tls must be a TLS, True or None, not {}",
            given.get_type().name()?
        ))),
    }
}

/// The server configuration of the option `tls`.
pub fn server_tls(given: Option<&Tls>) -> PyResult<Option<Arc<ServerConfig>>> {
    given.map(|tls| tls.credentials.server().map_err(error)).transpose()
}

fn error(error: TlsError) -> PyErr {
    match &error {
        TlsError::File { path, error: io } => match io.raw_os_error() {
            // With this number, Python creates the right subclass of OSError.
            Some(number) => {
                let text = io.to_string();
                // Python writes the number itself.
                let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
                PyOSError::new_err((number, text.to_owned(), path.as_os_str().to_owned()))
            }
            None => PyOSError::new_err(error.to_string()),
        },
        _ => PyValueError::new_err(error.to_string()),
    }
}
