//! A request of a peer as a Python object: an event or an action, and the association that it came on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fastdimse_core::command_set::CommandSet;
use fastdimse_core::field::Kind;
use fastdimse_delivery::messages::ReceivedMessage;
use fastdimse_delivery::receive::receiver::Origin;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::network::accepted_association::AcceptedAssociation;
use crate::primitive::stream::bytes_io;

/// Sends the response that a handler would return.
pub type Respond = Box<dyn Fn(&Bound<'_, PyAny>) -> PyResult<()> + Send + Sync>;

/// An event or an action that a peer sent, as handlers receive it.
///
/// Attributes
/// ----------
/// request : N_EVENT_REPORT or N_ACTION
///     The request.
/// data_set : pydicom.Dataset or None
///     *Event Information* or *Action Information*, decoded when it is first read.
/// attributes : dict of str to object, or None
///     The same data set as a dictionary: its keys are keywords, sequences are lists of dictionaries,
///     and multiple values are lists.
/// context_id : int
///     The presentation context ID.
/// abstract_syntax, transfer_syntax : str
///     The UIDs of the presentation context.
/// calling_ae, called_ae : str
///     The AE titles of the association: of its requestor, and of its acceptor.
/// address : tuple of (str, int)
///     The IP address and the port of the peer.
/// association_number : int
///     The number of the association at its listener, from 1; 0 if the local side requested it.
/// time : datetime.datetime
///     When the request was complete (UTC).
/// association : AcceptedAssociation or Association
///     The association.
///
/// Examples
/// --------
/// >>> from fastdimse import connect, listen
/// >>> def handle(received):
/// ...     print(received.calling_ae, received.request.EventTypeID, received.attributes)
/// >>> event = {
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": 1,
/// ...     "EventInformation": {"TransactionUID": "1.2.3"},
/// ... }
/// >>> with listen(0, host="localhost", event_handler=handle) as listener:
/// ...     with connect("localhost", listener.port) as association:
/// ...         outcomes = association.send(event)
/// EVENT-SCP 1 {'TransactionUID': '1.2.3'}
#[pyclass(frozen, module = "fastdimse")]
pub struct ReceivedRequest {
    kind: Kind,
    command_set: Vec<u8>,
    /// `None` without a data set.
    bytes: Option<Vec<u8>>,
    #[pyo3(get)]
    context_id: u8,
    origin: Arc<Origin>,
    time: SystemTime,
    request: PyOnceLock<Py<PyAny>>,
    data_set: PyOnceLock<Py<PyAny>>,
    /// `None` for the association of a listener until it is read.
    association: Mutex<Option<Py<PyAny>>>,
    /// Sends what a handler would return; `None` if a handler does.
    respond: Option<Respond>,
}

impl ReceivedRequest {
    pub fn new(
        command_set: &CommandSet<'_>,
        received: &ReceivedMessage<'_>,
        origin: &Arc<Origin>,
    ) -> Self {
        let bytes = command_set.data_set.then_some(received.data_set);
        let (kind, context_id) = (command_set.kind, received.context_id);
        Self::of_parts(kind, received.command_set, bytes, context_id, origin, SystemTime::now())
    }

    pub fn of_parts(
        kind: Kind,
        command_set: &[u8],
        data_set: Option<&[u8]>,
        context_id: u8,
        origin: &Arc<Origin>,
        time: SystemTime,
    ) -> Self {
        Self {
            kind,
            command_set: command_set.to_vec(),
            bytes: data_set.map(<[u8]>::to_vec),
            context_id,
            origin: origin.clone(),
            time,
            request: PyOnceLock::new(),
            data_set: PyOnceLock::new(),
            association: Mutex::new(None),
            respond: None,
        }
    }

    /// Sets the association that the local side requested.
    pub fn on(self, association: Py<PyAny>) -> Self {
        *self.association.lock().unwrap_or_else(PoisonError::into_inner) = Some(association);
        self
    }

    /// Lets the program respond with this function.
    pub fn with_responder(mut self, respond: Respond) -> Self {
        self.respond = Some(respond);
        self
    }

    fn stream<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let bytes = self.bytes.as_ref().map(|bytes| PyBytes::new(py, bytes));
        bytes.map(|bytes| bytes_io(py)?.call1((bytes,))).transpose()
    }
}

#[pymethods]
impl ReceivedRequest {
    #[getter]
    fn request<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let request = self.request.get_or_try_init(py, || {
            let name = match self.kind {
                Kind::ActionRequest => intern!(py, "N_ACTION"),
                _ => intern!(py, "N_EVENT_REPORT"),
            };
            let class = py.import(intern!(py, "fastdimse"))?.getattr(name)?;
            let command_set = PyBytes::new(py, &self.command_set);
            let arguments = (command_set, self.stream(py)?);
            let request = class.call_method1(intern!(py, "decode_command_set"), arguments)?;
            PyResult::Ok(request.unbind())
        })?;
        Ok(request.bind(py).clone())
    }

    #[getter]
    fn data_set<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(stream) = self.stream(py)? else { return Ok(None) };
        let data_set = self.data_set.get_or_try_init(py, || {
            let read =
                py.import(intern!(py, "fastdimse._data_set"))?.getattr(intern!(py, "read"))?;
            PyResult::Ok(read.call1((stream, self.transfer_syntax()))?.unbind())
        })?;
        Ok(Some(data_set.bind(py).clone()))
    }

    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(data_set) = self.data_set(py)? else { return Ok(None) };
        let module = py.import(intern!(py, "fastdimse._data_set"))?;
        module.call_method1(intern!(py, "attributes"), (data_set,)).map(Some)
    }

    #[getter]
    fn abstract_syntax(&self) -> &str {
        let context = self.origin.accepted.contexts.get(&self.context_id);
        context.map_or("", |context| context.abstract_syntax.as_str())
    }

    #[getter]
    fn transfer_syntax(&self) -> &'static str {
        self.origin.accepted.transfer_syntax(self.context_id).uid()
    }

    #[getter]
    fn calling_ae(&self) -> &str {
        &self.origin.accepted.calling
    }

    #[getter]
    fn called_ae(&self) -> &str {
        &self.origin.accepted.called
    }

    #[getter]
    fn address(&self) -> (String, u16) {
        (self.origin.peer.ip().to_string(), self.origin.peer.port())
    }

    #[getter]
    fn association_number(&self) -> u64 {
        self.origin.number
    }

    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let datetime = py.import(intern!(py, "datetime"))?;
        let utc = datetime.getattr(intern!(py, "timezone"))?.getattr(intern!(py, "utc"))?;
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let class = datetime.getattr(intern!(py, "datetime"))?;
        class.call_method1(intern!(py, "fromtimestamp"), (since.as_secs_f64(), utc))
    }

    #[getter]
    fn association(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let lock = || self.association.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(association) = &*lock() {
            return Ok(association.clone_ref(py));
        }
        let association = Py::new(py, AcceptedAssociation::new(self.origin.clone()))?.into_any();
        Ok(lock().get_or_insert(association).clone_ref(py))
    }

    /// Respond to an event of :meth:`Association.events`.
    ///
    /// Without this call the response is Success, and is sent when the association is used again.
    ///
    /// Parameters
    /// ----------
    /// status : int or None, default None
    ///     The Status; ``None`` for Success.
    /// event_reply : bytes, pydicom.Dataset or mapping of attributes, optional
    ///     The Event Reply.
    ///
    /// Raises
    /// ------
    /// RuntimeError
    ///     If the request has a response, a handler returns it, or the association is closed.
    #[pyo3(signature = (status = None, event_reply = None))]
    fn respond<'py>(
        &self,
        py: Python<'py>,
        status: Option<Bound<'py, PyAny>>,
        event_reply: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let Some(respond) = &self.respond else {
            let text = "the response to this request is what its handler returns";
            return Err(PyRuntimeError::new_err(text));
        };
        let status = status.unwrap_or_else(|| py.None().into_bound(py));
        let given = match event_reply {
            Some(reply) => (status, reply).into_pyobject(py)?.into_any(),
            None => status,
        };
        respond(&given)
    }

    fn __repr__(&self) -> String {
        let Self { kind, origin, .. } = self;
        let (calling, called) = (&origin.accepted.calling, &origin.accepted.called);
        format!("<ReceivedRequest: {kind} from {} ({calling} to {called})>", origin.peer)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(association) = self.association.try_lock() {
            visit.call(&*association)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let association = self.association.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(association);
    }
}
