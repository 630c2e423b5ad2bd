//! Peers: association requests and C-ECHO.

use std::sync::{Arc, OnceLock};

use fastdimse_delivery::association::negotiation::VERIFICATION;
use fastdimse_delivery::association::negotiation::{Proposal, Role, finite_pdu_length};
use fastdimse_delivery::messages::MAX_MESSAGE_LENGTH;
use fastdimse_delivery::receive::receiver::EventSink;
use fastdimse_delivery::send::echo::verify;
use fastdimse_delivery::send::sender::Sender;
use fastdimse_delivery::timeouts::Timeouts;
use fastdimse_delivery::transport::tls::ClientTls;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::Error;
use crate::interrupts::{detached, interrupted};
use crate::network::association::Association;
use crate::network::calls::Callable;
use crate::network::handler::Handler;
use crate::network::options::{
    max_pdu_length, number, role, seconds, sop_classes, syntaxes, title, user,
};
use crate::network::tls::client_tls;

/// A peer: where it is, and how associations with it are negotiated.
///
/// Parameters
/// ----------
/// host : str
///     The host name or IP address of the peer.
/// port : int
///     The TCP port of the peer.
/// called_ae : str, default "ANY-SCP"
///     The AE title of the peer.
/// calling_ae : str, default "EVENT-SCP"
///     The local AE title.
/// sop_classes : str or iterable of str, optional
///     The UIDs of the SOP classes to propose, at most 128. The default is every SOP class of PS3.4
///     that defines events.
/// transfer_syntaxes : str or iterable of str, optional
///     The UIDs of the transfer syntaxes to propose, in order of preference: Implicit and Explicit VR
///     Little Endian. The default is both.
/// role : {"scp", "scu", "both"}, default "scp"
///     The role of the local side (PS3.7 D.3.3.4): "scp" sends events, and proposes the SCP role by
///     role selection. "scu" requests actions and receives events, which is the default role of the
///     standard. "both" proposes both roles.
/// window : int, default 64
///     The maximum number of outstanding events to propose (PS3.7 D.3.3.3); 0 for no limit. The peer
///     may accept fewer. A peer that does not negotiate a window accepts 1.
/// max_pdu_length : int, default 16382
///     The maximum length of received PDUs in bytes: at least 4096, or 0 for 64 MiB, which is also
///     the maximum length of a response.
/// connection_timeout : float, default 10.0
///     The maximum time in seconds to establish a connection, and for the peer to accept data.
/// association_timeout : float, default 30.0
///     The maximum time in seconds for each of these: the TLS handshake, the response to an
///     association request, the response to a release request.
/// response_timeout : float, default 30.0
///     The maximum time in seconds for the response to an event.
/// tls : TLS or bool, optional
///     The TLS configuration; ``True`` trusts the certificate authorities of the system. The default
///     is no TLS.
/// username, passcode : str, optional
///     The user identity to send (PS3.7 D.3.3.7). Without *tls* the passcode is sent unencrypted.
/// name : str, optional
///     The name of the peer in an outbox and in log messages. The default is made of the AE titles,
///     *host* and *port*.
///
/// Attributes
/// ----------
/// host : str
///     The host name or IP address of the peer.
/// port : int
///     The TCP port of the peer.
/// called_ae, calling_ae : str
///     The AE title of the peer and the local AE title.
/// role : {"scp", "scu", "both"}
///     The role of the local side.
/// name : str
///     The name of the peer in an outbox and in log messages.
///
/// Raises
/// ------
/// ValueError, TypeError
///     If an option has an unsupported value or type.
/// OSError
///     If the certificate authorities of the system cannot be read.
///
/// Examples
/// --------
/// >>> from fastdimse import Peer
/// >>> Peer("scu.example.org", 104, called_ae="SCU")
/// <Peer: SCU@scu.example.org:104 from EVENT-SCP>
#[pyclass(frozen, module = "fastdimse")]
pub struct Peer {
    #[pyo3(get)]
    host: String,
    #[pyo3(get)]
    port: u16,
    #[pyo3(get)]
    name: String,
    proposal: Proposal,
    timeouts: Timeouts,
    tls: Option<ClientTls>,
}

#[pymethods]
impl Peer {
    #[new]
    #[pyo3(signature = (
        host, port, *, called_ae = "ANY-SCP", calling_ae = "EVENT-SCP", sop_classes = None,
        transfer_syntaxes = None, role = "scp", window = 64, max_pdu_length = 16382, connection_timeout = 10.0,
        association_timeout = 30.0, response_timeout = 30.0, tls = None, username = None,
        passcode = None, name = None,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        host: String,
        port: i128,
        called_ae: &str,
        calling_ae: &str,
        sop_classes: Option<&Bound<'_, PyAny>>,
        transfer_syntaxes: Option<&Bound<'_, PyAny>>,
        role: &str,
        window: i128,
        max_pdu_length: i128,
        connection_timeout: f64,
        association_timeout: f64,
        response_timeout: f64,
        tls: Option<&Bound<'_, PyAny>>,
        username: Option<String>,
        passcode: Option<String>,
        name: Option<String>,
    ) -> PyResult<Self> {
        let port = number("port", port, 1..=u16::MAX)?;
        let max_pdu_length = self::max_pdu_length(max_pdu_length)?;
        let proposal = Proposal {
            calling: title("calling_ae", calling_ae)?,
            called: title("called_ae", called_ae)?,
            sop_classes: self::sop_classes(sop_classes)?,
            role: self::role(role)?,
            transfer_syntaxes: syntaxes(transfer_syntaxes)?,
            max_pdu_length: finite_pdu_length(max_pdu_length, MAX_MESSAGE_LENGTH),
            window: number("window", window, 0..=u16::MAX)?,
            user: user(username, passcode)?,
        };
        let timeouts = Timeouts {
            connection: seconds("connection_timeout", connection_timeout)?,
            association: seconds("association_timeout", association_timeout)?,
            response: seconds("response_timeout", response_timeout)?,
            interrupt: Some(interrupted),
        };
        let tls = client_tls(tls, &host)?;
        let name = name.unwrap_or_else(|| format!("{called_ae}@{host}:{port} from {calling_ae}"));
        Ok(Self { host, port, name, proposal, timeouts, tls })
    }

    #[getter]
    fn called_ae(&self) -> &str {
        &self.proposal.called
    }

    #[getter]
    fn calling_ae(&self) -> &str {
        &self.proposal.calling
    }

    #[getter]
    fn role(&self) -> &'static str {
        match self.proposal.role {
            Role::Scp => "scp",
            Role::Scu => "scu",
            Role::Both => "both",
        }
    }

    /// Establish an association to send events or request actions on.
    ///
    /// Parameters
    /// ----------
    /// event_handler : callable, optional
    ///     Called with the :class:`ReceivedRequest` of each event that the peer reports on the
    ///     association, in the thread that uses the association. It returns a Status, ``None`` for
    ///     Success, or a tuple of a Status and an Event Reply, as for :func:`listen`. Without it,
    ///     events are returned by :meth:`Association.events`.
    ///
    /// Returns
    /// -------
    /// Association
    ///     The association: a context manager that releases it.
    ///
    /// Raises
    /// ------
    /// AssociationError
    ///     If the connection fails, or the peer rejects the association or every SOP class.
    #[pyo3(signature = (*, event_handler = None))]
    fn connect<'py>(
        &self,
        py: Python<'py>,
        event_handler: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Association>> {
        let handler = event_handler.map(|given| Callable::new(py, "event_handler", given));
        let handler = handler.transpose()?;
        let weak = Arc::new(OnceLock::new());
        let sink = handler.clone().map(|handler| -> Arc<dyn EventSink> {
            Arc::new(Handler::OwnAssociation(handler, weak.clone()))
        });
        let address = (self.host.clone(), self.port);
        let sender = detached(py, || {
            Sender::open(address, self.tls.as_ref(), &self.proposal, self.timeouts, sink)
        });
        let sender = sender?.map_err(Error::Association)?;
        let association = Bound::new(py, Association::new(sender, handler))?;
        let reference = py.import("weakref")?.getattr("ref")?.call1((&association,))?;
        // It is empty until here.
        let _ = weak.set(reference.unbind());
        Ok(association)
    }

    /// Verify the peer with a C-ECHO request (PS3.7 9.1.5) on an association of its own.
    ///
    /// Returns
    /// -------
    /// float
    ///     The time until the response in seconds.
    ///
    /// Raises
    /// ------
    /// AssociationError
    ///     If the association fails, or the peer sends no response. The code is ``status`` if the Status
    ///     of the response is not Success.
    fn echo(&self, py: Python<'_>) -> PyResult<f64> {
        let proposal = Proposal {
            sop_classes: vec![VERIFICATION.to_owned()],
            role: Role::Scu,
            window: 1,
            ..self.proposal.clone()
        };
        let address = (self.host.clone(), self.port);
        let echo = detached(py, || verify(address, self.tls.as_ref(), &proposal, &self.timeouts));
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

/// Establish an association to send events or request actions on.
///
/// Parameters
/// ----------
/// host : str
///     The host name or IP address of the peer.
/// port : int
///     The TCP port of the peer.
/// called_ae : str, default "ANY-SCP"
///     The AE title of the peer.
/// calling_ae : str, default "EVENT-SCP"
///     The local AE title.
/// sop_classes : str or iterable of str, optional
///     The UIDs of the SOP classes to propose, at most 128. The default is every SOP class of PS3.4
///     that defines events.
/// transfer_syntaxes : str or iterable of str, optional
///     The UIDs of the transfer syntaxes to propose, in order of preference: Implicit and Explicit VR
///     Little Endian. The default is both.
/// role : {"scp", "scu", "both"}, default "scp"
///     The role of the local side (PS3.7 D.3.3.4): "scp" sends events, and proposes the SCP role by
///     role selection. "scu" requests actions and receives events, which is the default role of the
///     standard. "both" proposes both roles.
/// window : int, default 64
///     The maximum number of outstanding events to propose (PS3.7 D.3.3.3); 0 for no limit. The peer
///     may accept fewer. A peer that does not negotiate a window accepts 1.
/// max_pdu_length : int, default 16382
///     The maximum length of received PDUs in bytes: at least 4096, or 0 for 64 MiB, which is also
///     the maximum length of a response.
/// connection_timeout : float, default 10.0
///     The maximum time in seconds to establish a connection, and for the peer to accept data.
/// association_timeout : float, default 30.0
///     The maximum time in seconds for each of these: the TLS handshake, the response to an
///     association request, the response to a release request.
/// response_timeout : float, default 30.0
///     The maximum time in seconds for the response to an event.
/// tls : TLS or bool, optional
///     The TLS configuration; ``True`` trusts the certificate authorities of the system. The default
///     is no TLS.
/// username, passcode : str, optional
///     The user identity to send (PS3.7 D.3.3.7). Without *tls* the passcode is sent unencrypted.
/// event_handler : callable, optional
///     As for :meth:`Peer.connect`.
///
/// Returns
/// -------
/// Association
///     The association: a context manager that releases it.
///
/// Raises
/// ------
/// AssociationError
///     If the connection fails, or the peer rejects the association or every SOP class.
/// ValueError, TypeError
///     If an option has an unsupported value or type.
///
/// Examples
/// --------
/// >>> from fastdimse import connect
/// >>> connect("localhost", 1, called_ae="NOBODY")
/// Traceback (most recent call last):
/// fastdimse.AssociationError: no connection: Connection refused (os error 111)
#[pyfunction]
#[pyo3(
    signature = (host, port, *, event_handler = None, **options),
    text_signature = "(host, port, *, called_ae='ANY-SCP', calling_ae='EVENT-SCP', \
        sop_classes=None, transfer_syntaxes=None, role='scp', window=64, max_pdu_length=16382, \
        connection_timeout=10.0, association_timeout=30.0, response_timeout=30.0, tls=None, \
        username=None, passcode=None, event_handler=None)"
)]
pub fn connect<'py>(
    host: &Bound<'py, PyAny>,
    port: &Bound<'py, PyAny>,
    event_handler: Option<Py<PyAny>>,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Association>> {
    peer(host, port, options)?.get().connect(host.py(), event_handler)
}

/// Verify a peer with a C-ECHO request (PS3.7 9.1.5) on an association of its own.
///
/// Parameters
/// ----------
/// host : str
///     The host name or IP address of the peer.
/// port : int
///     The TCP port of the peer.
/// **options
///     Further parameters of :func:`connect`.
///
/// Returns
/// -------
/// float
///     The time until the response in seconds.
///
/// Raises
/// ------
/// AssociationError
///     If the association fails, or the peer sends no response. The code is ``status`` if the Status
///     of the response is not Success.
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
