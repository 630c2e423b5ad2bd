//! Peers that associations are opened with, and what is asked of them.

use fastdimse_delivery::association::negotiation::VERIFICATION;
use fastdimse_delivery::association::negotiation::{Proposal, finite_pdu_length};
use fastdimse_delivery::messages::MAX_MESSAGE_LENGTH;
use fastdimse_delivery::send::echo::verify;
use fastdimse_delivery::send::sender::Sender;
use fastdimse_delivery::timeouts::Timeouts;
use fastdimse_delivery::transport::tls::ClientTls;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::Error;
use crate::interrupts::{detached, interrupted};
use crate::network::association::Association;
use crate::network::options::{check_max_pdu_length, seconds, sop_classes, syntaxes, title, user};
use crate::network::tls::client_tls;

/// Who associations are opened with.
///
/// Parameters
/// ----------
/// host : str
///     The peer's name or address.
/// port : int
///     Its port.
/// called_ae, calling_ae : str, optional
///     The AE titles of the peer and of this end.
/// sop_classes : str or iterable of str, optional
///     The UIDs of the events' SOP classes, at most 128; all that PS3.4 has events of if not given.
/// transfer_syntaxes : str or iterable of str, optional
///     The UIDs of the transfer syntaxes to propose for data sets, the preferred one first: Implicit
///     or Explicit VR Little Endian.
/// window : int, optional
///     How many events may be unanswered at a time (PS3.7 D.3.3.3), 0 for any number. The peer may
///     allow less; one that says nothing allows one.
/// max_pdu_length : int, optional
///     The longest PDU that this end takes: 4096 and more, or 0 for 64 MiB, which a response must not
///     exceed.
/// connection_timeout, association_timeout, response_timeout : float, optional
///     How many seconds to wait for a connection or a write; for all of an answer to the
///     association's request or release, and as long for all of a handshake of TLS; and for an
///     answer to an event.
/// tls : TLS or bool, optional
///     How the connection is secure: ``True`` for the authorities that the system trusts.
/// username, passcode : str, optional
///     Who this end is (PS3.7 D.3.3.7). The passcode is not secret without *tls*.
/// name : str, optional
///     What an outbox knows the peer by; made of its address and the titles if not given.
///
/// Attributes
/// ----------
/// host : str
///     The peer's name or address.
/// port : int
///     Its port.
/// called_ae, calling_ae : str
///     The AE titles of the peer and of this end.
/// name : str
///     What an outbox and messages call it.
///
/// Raises
/// ------
/// ValueError, OSError
///     If an option is none.
#[pyclass(frozen, module = "fastdimse")]
pub struct Peer {
    #[pyo3(get)]
    host: String,
    #[pyo3(get)]
    port: u16,
    #[pyo3(get)]
    name: String,
    proposal: Proposal,
    patience: Timeouts,
    tls: Option<ClientTls>,
}

#[pymethods]
impl Peer {
    #[new]
    #[pyo3(signature = (
        host, port, *, called_ae = "ANY-SCP", calling_ae = "EVENT-SCP", sop_classes = None,
        transfer_syntaxes = None, window = 64, max_pdu_length = 16382, connection_timeout = 10.0,
        association_timeout = 30.0, response_timeout = 30.0, tls = None, username = None,
        passcode = None, name = None,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        host: String,
        port: u16,
        called_ae: &str,
        calling_ae: &str,
        sop_classes: Option<&Bound<'_, PyAny>>,
        transfer_syntaxes: Option<&Bound<'_, PyAny>>,
        window: u16,
        max_pdu_length: u32,
        connection_timeout: f64,
        association_timeout: f64,
        response_timeout: f64,
        tls: Option<&Bound<'_, PyAny>>,
        username: Option<String>,
        passcode: Option<String>,
        name: Option<String>,
    ) -> PyResult<Self> {
        check_max_pdu_length(max_pdu_length)?;
        let proposal = Proposal {
            calling: title("calling_ae", calling_ae)?,
            called: title("called_ae", called_ae)?,
            sop_classes: self::sop_classes(sop_classes)?,
            scp: true,
            transfer_syntaxes: syntaxes(transfer_syntaxes)?,
            max_pdu_length: finite_pdu_length(max_pdu_length, MAX_MESSAGE_LENGTH),
            window,
            user: user(username, passcode)?,
        };
        let patience = Timeouts {
            connection: seconds("connection_timeout", connection_timeout)?,
            association: seconds("association_timeout", association_timeout)?,
            response: seconds("response_timeout", response_timeout)?,
            interrupt: Some(interrupted),
        };
        let tls = client_tls(tls, &host)?;
        let name = name.unwrap_or_else(|| format!("{called_ae}@{host}:{port} from {calling_ae}"));
        Ok(Self { host, port, name, proposal, patience, tls })
    }

    #[getter]
    fn called_ae(&self) -> &str {
        &self.proposal.called
    }

    #[getter]
    fn calling_ae(&self) -> &str {
        &self.proposal.calling
    }

    /// Open an association to send events on.
    ///
    /// Returns
    /// -------
    /// Association
    ///     As :func:`connect` gives it.
    ///
    /// Raises
    /// ------
    /// AssociationError
    ///     As :func:`connect`.
    fn connect(&self, py: Python<'_>) -> PyResult<Association> {
        let address = (self.host.clone(), self.port);
        let sender = detached(py, || {
            Sender::open(address, self.tls.as_ref(), &self.proposal, self.patience)
        });
        Ok(Association::of(sender?.map_err(Error::Association)?))
    }

    /// Ask whether it is there: C-ECHO (PS3.7 9.1.5) on an association for that alone.
    ///
    /// Returns
    /// -------
    /// float
    ///     How many seconds the answer took.
    ///
    /// Raises
    /// ------
    /// AssociationError
    ///     If there is no association or no answer; or with the code ``status``, if the Status of the
    ///     answer is not Success.
    fn echo(&self, py: Python<'_>) -> PyResult<f64> {
        let proposal = Proposal {
            sop_classes: vec![VERIFICATION.to_owned()],
            scp: false,
            window: 1,
            ..self.proposal.clone()
        };
        let address = (self.host.clone(), self.port);
        let echo = detached(py, || verify(address, self.tls.as_ref(), &proposal, &self.patience));
        let echo = echo?.map_err(Error::Association)?;
        match echo.status {
            0 => Ok(echo.latency.as_secs_f64()),
            status => Err(Error::Status(status).into()),
        }
    }

    fn __repr__(&self) -> String {
        format!("<Peer: {}>", self.name)
    }
}

/// Open an association to send events on.
///
/// Parameters
/// ----------
/// host : str
///     The peer's name or address.
/// port : int
///     Its port.
/// called_ae, calling_ae : str, optional
///     The AE titles of the peer and of this end.
/// sop_classes : str or iterable of str, optional
///     The UIDs of the events' SOP classes, at most 128; all that PS3.4 has events of if not given.
/// transfer_syntaxes : str or iterable of str, optional
///     The UIDs of the transfer syntaxes to propose for data sets, the preferred one first: Implicit
///     or Explicit VR Little Endian.
/// window : int, optional
///     How many events may be unanswered at a time (PS3.7 D.3.3.3), 0 for any number. The peer may
///     allow less; one that says nothing allows one.
/// max_pdu_length : int, optional
///     The longest PDU that this end takes: 4096 and more, or 0 for 64 MiB, which a response must not
///     exceed.
/// connection_timeout, association_timeout, response_timeout : float, optional
///     How many seconds to wait for a connection or a write; for all of an answer to the
///     association's request or release, and as long for all of a handshake of TLS; and for an
///     answer to an event.
/// tls : TLS or bool, optional
///     How the connection is secure: ``True`` for the authorities that the system trusts.
/// username, passcode : str, optional
///     Who this end is (PS3.7 D.3.3.7). The passcode is not secret without *tls*.
///
/// Returns
/// -------
/// Association
///     The association: a context manager that releases it.
///
/// Raises
/// ------
/// AssociationError
///     If there is no connection, or the peer rejects the association or accepts no SOP class.
///
/// Examples
/// --------
/// >>> from fastdimse import connect
/// >>> connect("localhost", 1, called_ae="NOBODY")
/// Traceback (most recent call last):
/// fastdimse.AssociationError: no connection: Connection refused (os error 111)
#[pyfunction]
#[pyo3(
    signature = (host, port, **options),
    text_signature = "(host, port, *, called_ae='ANY-SCP', calling_ae='EVENT-SCP', \
        sop_classes=None, transfer_syntaxes=None, window=64, max_pdu_length=16382, \
        connection_timeout=10.0, association_timeout=30.0, response_timeout=30.0, tls=None, \
        username=None, passcode=None)"
)]
pub fn connect(
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Association> {
    peer(host, port, options)?.get().connect(host.py())
}

/// Ask whether a peer is there: C-ECHO (PS3.7 9.1.5) on an association for that alone.
///
/// Parameters
/// ----------
/// host : str
///     The peer's name or address.
/// port : int
///     Its port.
/// **options
///     Further parameters of :func:`connect`.
///
/// Returns
/// -------
/// float
///     How many seconds the answer took.
///
/// Raises
/// ------
/// AssociationError
///     If there is no association or no answer; or with the code ``status``, if the Status of the
///     answer is not Success.
///
/// Examples
/// --------
/// >>> from fastdimse import echo, listen
/// >>> with listen(0, host="localhost") as listener:
/// ...     echo("localhost", listener.port) < 1
/// True
#[pyfunction]
#[pyo3(signature = (host, port, **options))]
pub fn echo(
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<f64> {
    peer(host, port, options)?.get().echo(host.py())
}

fn peer<'py>(
    host: &Bound<'py, PyAny>,
    port: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Peer>> {
    let peer = host.py().get_type::<Peer>().call((host, port), options)?;
    Ok(peer.cast_into()?)
}
