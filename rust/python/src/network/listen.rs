//! `listen`: a listener from its options.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fastdimse_core::command_set::CommandSet;
use fastdimse_delivery::association::acceptance::AcceptorOptions;
use fastdimse_delivery::association::negotiation::finite_pdu_length;
use fastdimse_delivery::messages::ReceivedMessage;
use fastdimse_delivery::receive::listener::{self};
use fastdimse_delivery::receive::queue::EventQueue;
use fastdimse_delivery::receive::receiver::{
    Authenticate, Chunk, Delivered, EventSink, Origin, Service,
};
use fastdimse_delivery::responses::Response;
use fastdimse_delivery::timeouts::Timeouts;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::network::authenticate::accepts_user;
use crate::network::batch_handler::BatchHandler;
use crate::network::calls::Callable;
use crate::network::exit::close_at_exit;
use crate::network::handler::{Handler, Scp};
use crate::network::listener::Listener;
use crate::network::listener_log;
use crate::network::options::{
    max_pdu_length, number, seconds, sop_classes, syntaxes, texts, title,
};
use crate::network::tls::{Tls, server_tls};

/// Listen for associations on which peers send events and request actions.
///
/// Each association has a thread of its own. A C-ECHO request receives a response, and each event
/// receives a response with the Status that a handler returns, or Success without a handler. An
/// action is refused with 0x0211 (Unrecognized operation) without *action_handler*.
///
/// Parameters
/// ----------
/// port : int
///     The TCP port; 0 for any free port.
/// host : str, default "0.0.0.0"
///     The address to listen on. The default is every IPv4 address of this machine.
/// handler : callable, optional
///     Called with each :class:`N_EVENT_REPORT` and the calling AE title. It returns a Status,
///     ``None`` for Success, or a tuple of a Status and an Event Reply: bytes, a pydicom ``Dataset``,
///     or a mapping of attributes by keyword. If it raises an exception, the exception is logged and
///     the Status is 0x0110 (Processing failure). It is called in the thread of the association, so
///     calls may run concurrently. Without a handler, events are received with
///     :meth:`Listener.receive` or by iteration.
/// event_handler : callable, optional
///     Called like *handler*, but with one :class:`ReceivedRequest`, which also has the data set, the
///     presentation context, both AE titles, the address of the peer and the association.
/// action_handler : callable, optional
///     Called with the :class:`ReceivedRequest` of each action (PS3.7 10.1.4). It returns the same as
///     *handler*, with an Action Reply. It can report events on the association of the request with
///     :meth:`AcceptedAssociation.report`.
/// association_handler : callable, optional
///     Called with the :class:`AcceptedAssociation` of each accepted association, before its first
///     request. It can report events on it, for example those of earlier requests of this AE title.
/// batch_handler : callable, optional
///     Called with the :class:`ReceivedEvents` of all associations that have no response yet. It
///     returns the Status of all, ``None`` for Success, or a list or an Arrow column with the Status
///     of each. It is called by one thread at a time. Only one of *handler*, *event_handler* and
///     *batch_handler* can be given.
/// sop_classes : str or iterable of str, optional
///     The UIDs of the SOP classes to accept in addition to Verification. The default is every SOP
///     class of PS3.4 that defines events.
/// transfer_syntaxes : str or iterable of str, optional
///     The UIDs of the transfer syntaxes to accept: Implicit and Explicit VR Little Endian. The default
///     is both. Of those that a peer proposes, the first accepted one is used.
/// called_ae : str, optional
///     The called AE title that associations must have. The default accepts any.
/// calling_aes : str or iterable of str, optional
///     The calling AE titles to accept. The default accepts any.
/// window : int, default 0
///     The maximum number of outstanding events to accept, if the peer proposes a window; 0 for no
///     limit.
/// max_pdu_length : int, default 16382
///     The maximum length of received PDUs in bytes: at least 4096, or 0 for *max_message_length*.
/// max_message_length : int, default 67108864
///     The maximum length of a message in bytes.
/// max_connections : int, default 256
///     The maximum number of open connections. Further associations are rejected (transient).
/// max_waiting : int, default 67108864
///     The maximum size in bytes of the events that wait for :meth:`Listener.receive`. At this size
///     no further events are read from the connections.
/// association_timeout : float, default 30.0
///     The maximum time in seconds for the TLS handshake, and for the association request.
/// idle_timeout : float, default 60.0
///     The maximum time in seconds between two reads of an association.
/// tls : TLS, optional
///     The TLS configuration, which must have a certificate. If it has authorities, peers must have a
///     certificate of one of them. The default is no TLS.
/// authenticate : callable, optional
///     Called with the user name and the passcode of an association request (PS3.7 D.3.3.7), each
///     ``None`` if absent. It returns whether the association is accepted. Associations with another
///     type of user identity, such as a Kerberos ticket, are rejected. The default accepts any user.
///
/// Returns
/// -------
/// Listener
///     The listener: a context manager that closes it.
///
/// Raises
/// ------
/// OSError
///     If the address and port cannot be bound.
/// ValueError, TypeError
///     If an option has an unsupported value or type.
///
/// Examples
/// --------
/// >>> import pyarrow
/// >>> from fastdimse import connect, listen
/// >>> events = {
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2],
/// ... }
/// >>> with listen(0, host="localhost") as listener:
/// ...     with connect("localhost", listener.port) as association:
/// ...         outcomes = association.send(events)
/// ...     received = pyarrow.table(listener.receive())
/// >>> outcomes
/// <Outcomes: 2 events, 2 answered>
/// >>> received["EventTypeID"].to_pylist()
/// [1, 2]
#[pyfunction]
#[pyo3(signature = (
    port, *, host = "0.0.0.0", handler = None, event_handler = None, action_handler = None,
    association_handler = None, batch_handler = None, sop_classes = None,
    transfer_syntaxes = None, called_ae = None, calling_aes = None, window = 0,
    max_pdu_length = 16382, max_message_length = 67_108_864, max_connections = 256,
    max_waiting = 67_108_864, association_timeout = 30.0, idle_timeout = 60.0, tls = None,
    authenticate = None,
))]
#[allow(clippy::too_many_arguments)]
pub fn listen(
    py: Python<'_>,
    port: i128,
    host: &str,
    handler: Option<Py<PyAny>>,
    event_handler: Option<Py<PyAny>>,
    action_handler: Option<Py<PyAny>>,
    association_handler: Option<Py<PyAny>>,
    batch_handler: Option<Py<PyAny>>,
    sop_classes: Option<&Bound<'_, PyAny>>,
    transfer_syntaxes: Option<&Bound<'_, PyAny>>,
    called_ae: Option<&str>,
    calling_aes: Option<&Bound<'_, PyAny>>,
    window: i128,
    max_pdu_length: i128,
    max_message_length: i128,
    max_connections: i128,
    max_waiting: i128,
    association_timeout: f64,
    idle_timeout: f64,
    tls: Option<&Bound<'_, Tls>>,
    authenticate: Option<Py<PyAny>>,
) -> PyResult<Listener> {
    let port = number("port", port, 0..=u16::MAX)?;
    let max_pdu_length = self::max_pdu_length(max_pdu_length)?;
    let positive = |name, given| number(name, given, 1..=isize::MAX as usize);
    let max_message_length = positive("max_message_length", max_message_length)?;
    let max_connections = positive("max_connections", max_connections)?;
    let max_waiting = positive("max_waiting", max_waiting)?;
    let calling = calling_aes.map(|titles| {
        let titles = texts(titles)?;
        titles.iter().map(|one| title("calling_aes", one)).collect::<PyResult<BTreeSet<_>>>()
    });
    let acceptor = AcceptorOptions {
        sop_classes: self::sop_classes(sop_classes)?.into_iter().collect(),
        called: called_ae.map(|called| title("called_ae", called)).transpose()?,
        calling: calling.transpose()?,
        max_pdu_length: finite_pdu_length(max_pdu_length, max_message_length),
        window: number("window", window, 0..=u16::MAX)?,
        actions: action_handler.is_some() || association_handler.is_some(),
        transfer_syntaxes: syntaxes(transfer_syntaxes)?,
    };
    let association = seconds("association_timeout", association_timeout)?;
    let timeouts = Timeouts {
        connection: association,
        association,
        response: seconds("idle_timeout", idle_timeout)?,
        // Signals are handled in the main thread, and associations have other threads.
        interrupt: None,
    };
    let tls = server_tls(tls.map(Bound::get))?;
    let callable = |name: &str, given: Option<Py<PyAny>>| {
        given.map(|given| Callable::new(py, name, given)).transpose()
    };
    let handler = callable("handler", handler)?;
    let event_handler = callable("event_handler", event_handler)?;
    let action_handler = callable("action_handler", action_handler)?;
    let association_handler = callable("association_handler", association_handler)?;
    let batch_handler = callable("batch_handler", batch_handler)?;
    let authenticate = callable("authenticate", authenticate)?;
    let is_authenticated = authenticate.clone().map(|authenticate| -> Authenticate {
        Box::new(move |user| accepts_user(&authenticate, user))
    });
    let service = Service {
        acceptor,
        authenticate: is_authenticated,
        tls,
        timeouts,
        max_message_length,
        stopping: AtomicBool::new(false),
    };
    let waiting = Arc::new(EventQueue::new(max_waiting));
    let handlers = [&handler, &event_handler, &batch_handler];
    let has_handler = match handlers.into_iter().flatten().count() {
        2.. => {
            let text = "only one of handler, event_handler and batch_handler can be given";
            return Err(PyValueError::new_err(text));
        }
        count => count == 1,
    };
    let others = [&action_handler, &association_handler, &authenticate];
    let callables = handlers.into_iter().chain(others).flatten();
    let callables: Vec<Callable> = callables.cloned().collect();
    let events: Arc<dyn EventSink> = match (handler, event_handler, batch_handler) {
        (Some(handler), ..) => Arc::new(Handler::Event(handler)),
        (_, Some(handler), _) => Arc::new(Handler::Request(handler)),
        (_, _, Some(handler)) => Arc::new(BatchHandler::start(handler)?),
        (None, None, None) => Arc::new(ReceiveQueue { waiting: waiting.clone() }),
    };
    let sink: Arc<dyn EventSink> = match action_handler.is_some() || association_handler.is_some() {
        true => Arc::new(Scp { events, action_handler, association_handler }),
        false => events,
    };
    let bound =
        py.detach(|| listener::Listener::bind((host, port), service, max_connections, sink));
    let listener = Arc::new(bound.map_err(|error| cannot_listen(host, port, &error))?);
    close_at_exit(py, &listener, &waiting)?;
    listener_log::start(listener.records().clone(), listener.address().port())?;
    Ok(Listener {
        port: listener.address().port(),
        process: std::process::id(),
        listener: Some(listener),
        closed: AtomicBool::new(false),
        waiting,
        has_handler,
        callables,
    })
}

fn cannot_listen(host: &str, port: u16, error: &io::Error) -> PyErr {
    let text = format!("cannot listen on {host}:{port}: {error}");
    match error.raw_os_error() {
        // With this number, Python creates the right subclass of OSError.
        Some(number) => PyOSError::new_err((number, text)),
        None => PyOSError::new_err(text),
    }
}

/// Adds events to the queue from which the user receives them.
pub struct ReceiveQueue {
    waiting: Arc<EventQueue>,
}

impl EventSink for ReceiveQueue {
    fn response(
        &self,
        _: &CommandSet<'_>,
        _: &ReceivedMessage<'_>,
        _: &Arc<Origin>,
    ) -> Option<Response> {
        Some(Response::SUCCESS)
    }

    fn receive(&self, chunk: Chunk) -> Delivered {
        self.waiting.push(chunk);
        Delivered::Stored
    }
}
