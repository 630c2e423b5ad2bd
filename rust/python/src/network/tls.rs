//! Secure connections.

use std::path::PathBuf;
use std::sync::Arc;

use fastdimse_delivery::transport::tls::{ClientTls, Credentials, TlsError};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;

/// How connections are secure (PS3.15 B): TLS 1.2 or 1.3.
///
/// Files are PEM, and are read when the object is made.
///
/// Parameters
/// ----------
/// certificate, key : str or os.PathLike, optional
///     The certificate of this end, in front of those between it and its authority, and its key. Who
///     listens needs them, and who connects if the peer asks for them.
/// ca : str or os.PathLike, optional
///     The certificates of the authorities that are trusted. Who connects trusts those of the system
///     if not given; who listens asks for no certificate then.
/// server_name : str, optional
///     The name that the peer's certificate must have; the host that is connected to if not given.
/// check_hostname : bool, optional
///     Whether it must have that name. Its authority is verified in any case.
///
/// Raises
/// ------
/// OSError
///     If a file can't be read.
/// ValueError
///     If a file has not what it should, or a certificate is there without a key.
///
/// Examples
/// --------
/// >>> from fastdimse import TLS
/// >>> TLS(certificate="this-end.pem")
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

/// What `tls=` is for who connects.
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

/// What `tls=` is for who listens.
pub fn server_tls(given: Option<&Tls>) -> PyResult<Option<Arc<ServerConfig>>> {
    given.map(|tls| tls.credentials.server().map_err(error)).transpose()
}

fn error(error: TlsError) -> PyErr {
    match &error {
        TlsError::File { path, error: io } => match io.raw_os_error() {
            // With the number Python makes the right kind of OSError of it.
            Some(number) => PyOSError::new_err((number, io.to_string(), path.clone())),
            None => PyOSError::new_err(error.to_string()),
        },
        _ => PyValueError::new_err(error.to_string()),
    }
}
