//! Encoding and decoding of one primitive.

use fastdimse_core::command_set::{CommandSet, Message, Value};
use fastdimse_core::field::Field;
use fastdimse_core::pdu::write::{MaxPduLength, write_message};
use fastdimse_core::rejection::{Reason, Rejection};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use crate::buffer::to_arrow;
use crate::errors::Error;
use crate::primitive::attributes::{ElementError, MessageValues};
use crate::primitive::decoded::{new_primitive, set};
use crate::primitive::slots::{DIMSEPrimitive, Service, as_plain};
use crate::primitive::stream::{data_set_bytes, to_stream};
use crate::primitive::uid::logger;

/// The values of a primitive, or the exception for one that cannot be encoded.
pub fn message_values<'py>(
    object: &Bound<'py, PyAny>,
    service: Service,
) -> PyResult<MessageValues<'py>> {
    MessageValues::read(object, service).map_err(|(field, error)| match error {
        ElementError::Invalid(reason) => Error::Encode(Rejection::new(reason).field(field)).into(),
        ElementError::Raised(error) => error,
    })
}

/// Calls `encode` with the command set of a primitive of `service` and the stream of its data set.
pub fn with_command_set<'py, T>(
    object: &Bound<'py, PyAny>,
    service: Service,
    encode: impl FnOnce(&CommandSet<'_>, Option<&Bound<'py, PyAny>>) -> PyResult<T>,
) -> PyResult<T> {
    let py = object.py();
    // The fast path for plain primitives saves a third of the time of `encode_p_data`.
    if let Some(primitive) = as_plain(object, service) {
        let primitive = primitive.try_borrow()?;
        if let Some(values) = primitive.values(py) {
            return encode(&values.command_set(), values.data_set);
        }
    }
    let message_values = message_values(object, service)?;
    let announced = match &message_values.data_set {
        Some(data_set) => data_set.is_truthy()?,
        None => false,
    };
    encode(&message_values.command_set(announced), message_values.data_set.as_ref())
}

/// The method `encode_command_set`.
pub fn encode_command_set<'py>(
    primitive: &Bound<'py, DIMSEPrimitive>,
) -> PyResult<Bound<'py, PyBytes>> {
    let service = primitive.try_borrow()?.service;
    with_command_set(primitive.as_any(), service, |command_set, _| {
        let mut out = Vec::new();
        command_set.write(&mut out);
        Ok(PyBytes::new(primitive.py(), &out))
    })
}

/// The method `encode_p_data`.
pub fn encode_p_data<'py>(
    primitive: &Bound<'py, DIMSEPrimitive>,
    context_id: i64,
    max_pdu_length: i64,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = primitive.py();
    // Any ID of one byte, as in pynetdicom: the association checks it.
    let Ok(context_id) = u8::try_from(context_id) else {
        let text = format!("context_id must be between 0 and 255, not {context_id}");
        return Err(PyValueError::new_err(text));
    };
    let max_pdu_length = MaxPduLength::new(max_pdu_length.into()).map_err(Error::Encode)?;
    let service = primitive.try_borrow()?.service;
    with_command_set(primitive.as_any(), service, |command_set, stream| {
        let data_set = stream.map(data_set_bytes).transpose()?;
        let data_set = data_set.as_ref().map_or(&[][..], |bytes| bytes.as_bytes());
        max_pdu_length
            .check(data_set.len())
            .map_err(|rejection| Error::Encode(rejection.field(command_set.kind.data_set())))?;
        // Room for a typical command set and its headers; computing the exact size takes longer.
        let mut out = Vec::with_capacity(data_set.len() + 256);
        let write = |out: &mut Vec<u8>| command_set.write(out);
        write_message(&mut out, context_id, max_pdu_length, write, data_set);
        Ok(PyBytes::new(py, &out))
    })
}

/// The class method `decode_command_set`.
pub fn decode_command_set<'py>(
    cls: &Bound<'py, PyType>,
    command_set: &Bound<'py, PyAny>,
    data_set: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = cls.py();
    let buffer;
    let bytes = match command_set.cast::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes(),
        Err(_) => {
            buffer = to_arrow(PyUntypedBuffer::get(command_set)?, command_set)?;
            buffer.as_slice()
        }
    };
    let message = CommandSet::read(bytes).map_err(Error::Decode)?;
    let several = match &message {
        Message::Event { several, .. } | Message::Action { several, .. } => several.clone(),
        Message::Other { .. } => Vec::new(),
    };
    let read = match Service::of_class(cls)? {
        Service::EventReport => message.event(),
        Service::Action => message.action(),
    };
    let read = read.map_err(Error::Decode)?;
    let stream = data_set.map(to_stream).transpose()?;
    if let (Some(stream), false) = (&stream, read.data_set)
        && !data_set_bytes(stream)?.as_bytes().is_empty()
    {
        return Err(Error::Decode(Rejection::new(Reason::UnexpectedDataSet)).into());
    }
    let warn = |field| match several.iter().find(|(of, _)| *of == field) {
        Some((_, count)) => warn_of_several(py, field, *count),
        None => Ok(()),
    };
    let primitive = new_primitive(cls, &read, warn)
        .map_err(|(field, error)| rejected_by_setter(py, error, field, read.get(field), bytes))?;
    if let Some(stream) = stream {
        set(&primitive, read.kind.data_set(), stream)?;
    }
    Ok(primitive)
}

fn warn_of_several(py: Python<'_>, field: Field, count: usize) -> PyResult<()> {
    let keyword = field.keyword();
    let text = format!("Non-conformant VM {count} for '{keyword}', taking the first value");
    logger(py, "pynetdicom.dimse_messages")?.call_method1(intern!(py, "warning"), (text,))?;
    Ok(())
}

/// The exception for a UID that the class rejects: the bytes cannot be decoded.
fn rejected_by_setter(
    py: Python<'_>,
    error: PyErr,
    field: Field,
    value: Value<'_>,
    bytes: &[u8],
) -> PyErr {
    if !error.is_instance_of::<PyValueError>(py) {
        return error;
    }
    // The text is a slice of the command set: the difference of the addresses is its offset.
    let at = value.text().map_or(0, |text| text.as_ptr() as usize - bytes.as_ptr() as usize);
    let reason = Reason::Value(error.value(py).to_string().into());
    Error::Decode(Rejection::new(reason).field(field).at(at)).into()
}
