//! Functions for pynetdicom's messages: a command set read into a primitive, and a message split into PDUs.

use fastdimse_core::command_set::{CommandSet, Message};
use fastdimse_core::field::Field;
use fastdimse_core::pdu::read::{Item, Pdus};
use fastdimse_core::pdu::write::{MaxPduLength, write_message};
use fastdimse_core::uid::is_conformant;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::errors::Error;
use crate::primitive::decoded::new_primitive;
use crate::primitive::slots::{Service, primitive_class};

/// The presentation context ID and the value of a PDV.
type Value<'py> = (u8, Bound<'py, PyBytes>);

/// Read an unambiguous command set into a primitive.
///
/// Parameters
/// ----------
/// command_set : bytes
///     The command set, its fragments joined.
///
/// Returns
/// -------
/// tuple of (N_EVENT_REPORT or N_ACTION, bool) or None
///     The primitive, and whether a data set follows. ``None`` for another message, and for one that
///     pynetdicom would reject, warn about or log.
#[pyfunction]
pub fn read_message<'py>(
    py: Python<'py>,
    command_set: &[u8],
) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
    let (Ok(Message::Event { command_set, several })
    | Ok(Message::Action { command_set, several })) = CommandSet::read(command_set)
    else {
        return Ok(None);
    };
    let uids = [
        Field::AffectedSOPClassUID,
        Field::AffectedSOPInstanceUID,
        Field::RequestedSOPClassUID,
        Field::RequestedSOPInstanceUID,
    ];
    let conformant = |field| command_set.get(field).text().is_none_or(is_conformant);
    if !several.is_empty() || !uids.into_iter().all(conformant) {
        return Ok(None);
    }
    // A primitive is a response if this field has a value.
    let responds = command_set.get(Field::MessageIDBeingRespondedTo).us().is_some();
    if responds != command_set.kind.is_response() {
        return Ok(None);
    }
    // A validator of the user may reject it: then pynetdicom reports the error.
    let class = primitive_class(py, Service::of(command_set.kind))?;
    let primitive = new_primitive(class, &command_set, None).ok();
    Ok(primitive.map(|primitive| (primitive, command_set.data_set)))
}

/// Split a message into P-DATA-TF PDUs of one PDV each (PS3.8 9.3.5).
///
/// Parameters
/// ----------
/// command_set : bytes
///     The encoded command set.
/// data_set : bytes
///     The encoded data set; empty if there is none.
/// context_id : int
///     The presentation context ID, 0 to 255.
/// max_pdu_length : int
///     The maximum PDU length of the peer in bytes: 0 (no limit) or at least 7.
///
/// Returns
/// -------
/// list of bytes
///     The PDUs.
///
/// Raises
/// ------
/// EncodeError
///     If *max_pdu_length* has an unsupported value.
#[pyfunction]
pub fn frame_message<'py>(
    py: Python<'py>,
    command_set: &[u8],
    data_set: &[u8],
    context_id: u8,
    max_pdu_length: i64,
) -> PyResult<Bound<'py, PyList>> {
    let length = MaxPduLength::new(max_pdu_length.into()).map_err(Error::Encode)?;
    length.check(data_set.len()).map_err(Error::Encode)?;
    let mut out = Vec::with_capacity(length.message_len(command_set.len(), data_set.len()));
    let write = |out: &mut Vec<u8>| out.extend_from_slice(command_set);
    write_message(&mut out, context_id, length, write, data_set);
    let pdus = PyList::empty(py);
    for item in Pdus::new(&out) {
        if let Ok(Item::Pdv(pdv)) = item {
            pdus.append(PyBytes::new(py, &out[pdv.pdu_at..pdv.fragment_at + pdv.fragment.len()]))?;
        }
    }
    Ok(pdus)
}

/// Read a complete P-DATA-TF PDU (PS3.8 9.3.5).
///
/// Parameters
/// ----------
/// received : bytes
///     Received bytes.
/// start : int
///     The offset of the PDU.
///
/// Returns
/// -------
/// tuple of (int, list of tuple of (int, bytes)) or None
///     The end of the PDU, and the presentation context ID and the value of each PDV, with its
///     message control header. ``None`` for another PDU, and for one that is incomplete, invalid or
///     empty.
#[pyfunction]
pub fn read_p_data<'py>(
    py: Python<'py>,
    received: &[u8],
    start: usize,
) -> Option<(usize, Vec<Value<'py>>)> {
    let received = received.get(start..)?;
    let mut pdus = Pdus::new(received);
    let mut values = Vec::with_capacity(1);
    while let Some(Ok(Item::Pdv(pdv))) = pdus.next() {
        if pdv.pdu_at > 0 {
            // The first PDU is empty.
            return None;
        }
        // The message control header precedes the fragment.
        let value = &received[pdv.fragment_at - 1..pdv.fragment_at + pdv.fragment.len()];
        values.push((pdv.context_id, PyBytes::new(py, value)));
        if let Some(end) = pdus.next_at() {
            return Some((start + end, values));
        }
    }
    None
}
