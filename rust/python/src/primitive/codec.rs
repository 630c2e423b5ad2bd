//! Encoding and decoding of one primitive.

use fastdimse_core::command_set::{CommandSet, Message, Value};
use fastdimse_core::decode::read_usual_command_set;
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::pdu::write::{COMMAND, MaxPduLength, write_fragments};
use fastdimse_core::rejection::{Reason, Rejection};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use crate::buffer::to_arrow;
use crate::errors::Error;
use crate::primitive::attributes::{ElementError, MessageValues};
use crate::primitive::decoded::{Target, new_primitive};
use crate::primitive::slots::{DIMSEPrimitive, Service, is_plain};
use crate::primitive::stream::{data_set_bytes, slot_bytes, to_stream};
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

/// Room for the command set of a message of two UIDs of 64 characters and five numbers.
const ROOM: usize = 256;

/// An encoded command set, and the data set.
struct Encoded<'py> {
    kind: Kind,
    /// The length of the command set in the room.
    length: usize,
    /// An `io.BytesIO`, or the `bytes` of a data set that has not been read.
    data_set: Option<Bound<'py, PyAny>>,
}

/// Writes the command set of a primitive of exactly its class and without unusual values into `room`; `None`
/// for others. In one access, without attribute lookups, this takes a third of the time.
#[inline]
fn encode_plain<'py>(
    primitive: &Bound<'py, DIMSEPrimitive>,
    room: &mut [u8; ROOM],
) -> PyResult<Option<Encoded<'py>>> {
    let py = primitive.py();
    DIMSEPrimitive::with_slots(primitive, |slots| {
        if !is_plain(primitive.as_any(), slots.service) {
            return None;
        }
        let (command_set, data_set) = slots.command_set(py)?;
        let length = command_set.write_to(room)?;
        Some(Encoded { kind: command_set.kind, length, data_set: data_set.cloned() })
    })
}

/// The command set of any primitive, and the stream of its data set.
#[inline(never)]
fn encode_any<'py>(
    primitive: &Bound<'py, DIMSEPrimitive>,
) -> PyResult<(Kind, Vec<u8>, Option<Bound<'py, PyAny>>)> {
    let values = message_values(primitive.as_any(), DIMSEPrimitive::service(primitive)?)?;
    let announced = match &values.data_set {
        Some(data_set) => data_set.is_truthy()?,
        None => false,
    };
    let mut command_set = Vec::new();
    values.command_set(announced).write(&mut command_set);
    Ok((values.kind, command_set, values.data_set))
}

/// The method `encode_command_set`.
pub fn encode_command_set<'py>(
    primitive: &Bound<'py, DIMSEPrimitive>,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = primitive.py();
    let mut room = [0; ROOM];
    match encode_plain(primitive, &mut room)? {
        Some(Encoded { length, .. }) => Ok(PyBytes::new(py, &room[..length])),
        None => Ok(PyBytes::new(py, &encode_any(primitive)?.1)),
    }
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
    let frame = |kind: Kind, command_set: &[u8], data_set: Option<Bound<'py, PyBytes>>| {
        let data_set = data_set.as_ref().map_or(&[][..], |bytes| bytes.as_bytes());
        max_pdu_length
            .check(data_set.len())
            .map_err(|rejection| Error::Encode(rejection.field(kind.data_set())))?;
        let length = max_pdu_length.message_len(command_set.len(), data_set.len());
        PyBytes::new_with(py, length, |out| {
            let at = write_fragments(out, context_id, max_pdu_length, COMMAND, command_set);
            write_fragments(&mut out[at..], context_id, max_pdu_length, 0, data_set);
            Ok(())
        })
    };
    let mut room = [0; ROOM];
    match encode_plain(primitive, &mut room)? {
        Some(Encoded { kind, length, data_set }) => {
            let data_set = data_set.as_ref().map(slot_bytes).transpose()?;
            frame(kind, &room[..length], data_set)
        }
        None => {
            let (kind, command_set, data_set) = encode_any(primitive)?;
            let data_set = data_set.as_ref().map(data_set_bytes).transpose()?;
            frame(kind, &command_set, data_set)
        }
    }
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
    let service = Service::of_class(cls)?;
    let (read, several) = match read_usual_command_set(bytes) {
        Some(usual) if service == Service::EventReport => (usual, Vec::new()),
        _ => read_by_the_rules(bytes, service)?,
    };
    let data_set = data_set.map(DecodedDataSet::new).transpose()?;
    if let (Some(data_set), false) = (&data_set, read.data_set)
        && !data_set.is_empty()?
    {
        return Err(Error::Decode(Rejection::new(Reason::UnexpectedDataSet)).into());
    }
    let warn = |field| match several.iter().find(|(of, _)| *of == field) {
        Some((_, count)) => warn_of_several(py, field, *count),
        None => Ok(()),
    };
    let warn: Option<&dyn Fn(Field) -> PyResult<()>> =
        if several.is_empty() { None } else { Some(&warn) };
    let primitive = new_primitive(cls, &read, warn)
        .map_err(|(field, error)| rejected_by_setter(py, error, field, read.get(field), bytes))?;
    match data_set {
        Some(DecodedDataSet::Stream(stream)) => {
            Target::new(&primitive, service).set(read.kind.data_set(), stream)?;
        }
        Some(DecodedDataSet::Bytes(bytes)) => {
            Target::new(&primitive, service).set_data_set(read.kind.data_set(), bytes)?;
        }
        None => {}
    }
    Ok(primitive)
}

/// The argument `data_set` of `decode_command_set`.
enum DecodedDataSet<'py> {
    Stream(Bound<'py, PyAny>),
    /// `bytes`, which cannot change before the attribute is read.
    Bytes(Bound<'py, PyBytes>),
}

impl<'py> DecodedDataSet<'py> {
    fn new(data_set: &Bound<'py, PyAny>) -> PyResult<Self> {
        match data_set.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.clone())),
            Err(_) => to_stream(data_set).map(Self::Stream),
        }
    }

    fn is_empty(&self) -> PyResult<bool> {
        match self {
            Self::Stream(stream) => Ok(data_set_bytes(stream)?.as_bytes().is_empty()),
            Self::Bytes(bytes) => Ok(bytes.as_bytes().is_empty()),
        }
    }
}

/// A command set in any form, and its fields with several values.
type ReadValues<'a> = (CommandSet<'a>, Vec<(Field, usize)>);

#[inline(never)]
fn read_by_the_rules(bytes: &[u8], service: Service) -> PyResult<ReadValues<'_>> {
    let message = CommandSet::read(bytes).map_err(Error::Decode)?;
    let several = match &message {
        Message::Event { several, .. } | Message::Action { several, .. } => several.clone(),
        Message::Other { .. } => Vec::new(),
    };
    let read = match service {
        Service::EventReport => message.event(),
        Service::Action => message.action(),
    };
    Ok((read.map_err(Error::Decode)?, several))
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
