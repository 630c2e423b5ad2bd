//! The handlers of single events and actions.

use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use fastdimse_core::command_set::CommandSet;
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::encode_structured;
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use fastdimse_delivery::messages::ReceivedMessage;
use fastdimse_delivery::receive::receiver::{Chunk, Delivered, EventSink, Origin};
use fastdimse_delivery::responses::Response;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyTuple};

use crate::arrow::error::arrow_error;
use crate::errors::Error;
use crate::input::data_sets::reader::is_structured;
use crate::input::values::{data_set, from_iterator};
use crate::interrupts::raise_later;
use crate::network::accepted_association::AcceptedAssociation;
use crate::network::calls::{Callable, attach, coroutine_hint, log, repr_of};
use crate::network::received_request::ReceivedRequest;
use crate::primitive::decoded::new_primitive;
use crate::primitive::slots::{Service, primitive_class};
use crate::primitive::stream::bytes_io;

/// Processing failure (PS3.7 C.4.3.1.4).
pub const PROCESSING_FAILURE: u16 = 0x0110;
pub const HANDLER_FAILED: &str =
    "the handler failed: the response has the Status 0x0110 Processing failure";

const ASSOCIATION_HANDLER_FAILED: &str = "the association_handler failed: the association is open";

/// Calls the handler with each event.
pub enum Handler {
    /// Its arguments are the event and the calling AE title.
    Event(Callable),
    /// Its argument is a [`ReceivedRequest`].
    Request(Callable),
    /// As [`Handler::Request`], on an association that the local side requested: a weak reference to
    /// it. The handler runs in a thread of the user.
    OwnAssociation(Callable, Arc<OnceLock<Py<PyAny>>>),
}

impl EventSink for Handler {
    fn response(
        &self,
        event: &CommandSet<'_>,
        received: &ReceivedMessage<'_>,
        origin: &Arc<Origin>,
    ) -> Option<Response> {
        let syntax = origin.accepted.transfer_syntax(received.context_id);
        let request = || ReceivedRequest::new(event, received, origin);
        Some(match self {
            Self::Event(handler) => {
                let calling = &origin.accepted.calling;
                called(event.kind, syntax, |py| {
                    handler.call1(py, (primitive(py, event, received.data_set)?, calling))
                })
            }
            Self::Request(handler) => {
                called(event.kind, syntax, |py| handler.call1(py, (request(),)))
            }
            Self::OwnAssociation(handler, association) => Python::attach(|py| {
                let association = association.get().and_then(|weak| weak.call0(py).ok());
                let request = match association {
                    Some(association) => request().on(association),
                    None => request(),
                };
                let response = handler.call1(py, (request,));
                let response =
                    response.and_then(|returned| self::response(&returned, event.kind, syntax));
                response.unwrap_or_else(|error| {
                    failed_in_thread_of_user(py, error);
                    Response::of_status(PROCESSING_FAILURE)
                })
            }),
        })
    }

    fn receive(&self, _: Chunk) -> Delivered {
        Delivered::Stored
    }
}

/// Adds the handlers of an SCP to a sink of events.
pub struct Scp {
    pub events: Arc<dyn EventSink>,
    pub action_handler: Option<Callable>,
    pub association_handler: Option<Callable>,
}

impl EventSink for Scp {
    fn response(
        &self,
        event: &CommandSet<'_>,
        received: &ReceivedMessage<'_>,
        origin: &Arc<Origin>,
    ) -> Option<Response> {
        self.events.response(event, received, origin)
    }

    fn receive(&self, chunk: Chunk) -> Delivered {
        self.events.receive(chunk)
    }

    fn accepted(&self, origin: &Arc<Origin>) {
        let Some(handler) = &self.association_handler else { return };
        attach(|py| {
            let association = AcceptedAssociation::new(origin.clone());
            if let Err(error) = handler.call1(py, (association,)) {
                log(py, error, ASSOCIATION_HANDLER_FAILED);
            }
        });
    }

    fn action(
        &self,
        action: &CommandSet<'_>,
        received: &ReceivedMessage<'_>,
        origin: &Arc<Origin>,
    ) -> Option<Response> {
        let handler = self.action_handler.as_ref()?;
        let syntax = origin.accepted.transfer_syntax(received.context_id);
        Some(called(action.kind, syntax, |py| {
            handler.call1(py, (ReceivedRequest::new(action, received, origin),))
        }))
    }
}

/// The response that a handler returns to a request of this kind. If it raises an exception, that is
/// logged.
fn called(
    request: Kind,
    syntax: TransferSyntax,
    call: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>>,
) -> Response {
    let response = attach(|py| {
        let response = call(py).and_then(|returned| response(&returned, request, syntax));
        response.map_err(|error| log(py, error, HANDLER_FAILED)).ok()
    });
    response.flatten().unwrap_or_else(|| Response::of_status(PROCESSING_FAILURE))
}

/// The response from what a handler returned: a Status, or a Status and a reply.
pub fn response(
    returned: &Bound<'_, PyAny>,
    request: Kind,
    syntax: TransferSyntax,
) -> PyResult<Response> {
    let Ok(pair) = returned.cast::<PyTuple>() else {
        return Ok(Response::of_status(status(returned)?));
    };
    let (status, reply): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
    let field = match request {
        Kind::ActionRequest => Field::ActionReply,
        _ => Field::EventReply,
    };
    let reply = encoded_reply(field, &reply, syntax)?;
    Ok(Response { status: self::status(&status)?, reply })
}

/// Logs an exception of a handler. One that must end the program, such as a keyboard interrupt, is raised
/// by the call that waits.
fn failed_in_thread_of_user(py: Python<'_>, error: PyErr) {
    if error.is_instance_of::<PyException>(py) {
        log(py, error, HANDLER_FAILED);
    } else {
        raise_later(error);
    }
}

fn primitive<'py>(
    py: Python<'py>,
    event: &CommandSet<'_>,
    data_set: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    let class = primitive_class(py, Service::EventReport)?;
    let primitive = new_primitive(class, event, None).map_err(|(_, why)| why)?;
    if event.data_set {
        let stream = bytes_io(py)?.call1((PyBytes::new(py, data_set),))?;
        primitive.setattr(event.kind.data_set().keyword(), stream)?;
    }
    Ok(primitive)
}

/// A Status: an integer of 0 to 65535, or `None` for Success.
pub fn status(given: &Bound<'_, PyAny>) -> PyResult<u16> {
    if given.is_none() {
        return Ok(0);
    }
    // A bool is an int in Python, but not a Status.
    let number = if given.is_instance_of::<PyBool>() { None } else { given.extract().ok() };
    number.ok_or_else(|| {
        let shown = repr_of(given);
        PyTypeError::new_err(format!(
            "a handler returned {shown}: a Status must be an integer of 0 to 65535, or None for \
             Success{}",
            coroutine_hint(given)
        ))
    })
}

/// An Event Reply or Action Reply as it is sent; `None` if it is empty.
fn encoded_reply(
    field: Field,
    given: &Bound<'_, PyAny>,
    syntax: TransferSyntax,
) -> PyResult<Option<Vec<u8>>> {
    if !is_structured(given) {
        let bytes = data_set(field.keyword(), 0, given)?;
        return Ok(bytes.filter(|bytes| !bytes.is_empty()));
    }
    let mut rejected = Vec::new();
    let column = from_iterator(field, [Ok(given.clone())].into_iter(), 0, &mut rejected)?;
    let batch = RecordBatch::try_from_iter([(field.keyword(), column)]).map_err(arrow_error)?;
    let options = DataSetOptions { syntax, conformant_uids: true };
    let (encoded, found) = encode_structured(&batch, options, 0).map_err(Error::Schema)?;
    if let Some(rejection) = rejected.first().or(found.first()) {
        return Err(Error::Encode(rejection.clone()).into());
    }
    let column = cast(encoded.column(0), &DataType::Binary).map_err(arrow_error)?;
    let bytes = column.as_binary::<i32>();
    Ok(bytes.is_valid(0).then(|| bytes.value(0).to_vec()).filter(|bytes| !bytes.is_empty()))
}
