//! The attributes that `N_EVENT_REPORT` and `N_ACTION` share, with the values, types and errors of
//! pynetdicom's classes.

use fastdimse_core::standard::nearest::nearest;
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyString, PyTuple, PyType};

use crate::primitive::codec;
use crate::primitive::slots::{
    AFFECTED_CLASS, AFFECTED_INSTANCE, Assigned, DIMSEPrimitive, Service, Slot, Slots, drop_slot,
    get, is_own_tuple, is_plain, number_slots, to_slot, uid_slots,
};
use crate::primitive::stream::{bytes_io, is_plain_stream};
use crate::primitive::uid::{UidSlot, set_uid, to_uid};

/// Stores `value` in a slot.
#[inline]
pub fn store(
    slf: &Bound<'_, DIMSEPrimitive>,
    slot: impl FnOnce(&mut Slots) -> &mut Slot,
    value: Slot,
) -> PyResult<()> {
    let old = DIMSEPrimitive::with_slots(slf, |slots| std::mem::replace(slot(slots), value))?;
    drop_slot(slf.py(), old);
    Ok(())
}

/// Stores a UID in its slot.
#[inline]
pub fn store_uid(
    slf: &Bound<'_, DIMSEPrimitive>,
    slot: impl FnOnce(&mut Slots) -> &mut UidSlot,
    value: UidSlot,
) -> PyResult<()> {
    let old = DIMSEPrimitive::with_slots(slf, |slots| std::mem::replace(slot(slots), value))?;
    drop_slot(slf.py(), old.into_text());
    Ok(())
}

/// Stores the stream of a data set.
#[inline]
pub fn store_data_set(slf: &Bound<'_, DIMSEPrimitive>, stream: Slot) -> PyResult<()> {
    let old = DIMSEPrimitive::with_slots(slf, |slots| slots.set_data_set(stream))?;
    drop_slot(slf.py(), old);
    Ok(())
}

/// The stream of the data set.
pub fn read_data_set(slf: &Bound<'_, DIMSEPrimitive>) -> PyResult<Py<PyAny>> {
    Ok(get(slf.py(), &DIMSEPrimitive::stream(slf)?))
}

/// The number in a slot.
pub fn read(
    slf: &Bound<'_, DIMSEPrimitive>,
    slot: impl FnOnce(&mut Slots) -> &mut Slot,
) -> PyResult<Py<PyAny>> {
    DIMSEPrimitive::with_slots(slf, |slots| get(slf.py(), slot(slots)))
}

#[inline]
pub fn int_or_none(value: &Bound<'_, PyAny>, text: &'static str) -> PyResult<Slot> {
    // The test for exactly `int` is a comparison, that for a subclass a call.
    if value.is_exact_instance_of::<PyInt>() {
        Ok(Some(value.clone().unbind()))
    } else {
        other_int_or_none(value, text)
    }
}

fn other_int_or_none(value: &Bound<'_, PyAny>, text: &'static str) -> PyResult<Slot> {
    if value.is_none() {
        Ok(None)
    } else if value.is_instance_of::<PyInt>() {
        Ok(Some(value.clone().unbind()))
    } else {
        Err(PyTypeError::new_err(text))
    }
}

#[inline]
pub fn message_id(
    value: &Bound<'_, PyAny>,
    type_error: &'static str,
    name: &str,
) -> PyResult<Slot> {
    let slot = int_or_none(value, type_error)?;
    if slot.is_some() && value.extract::<u16>().is_err() {
        let text = format!("{name} must be between 0 and 65535, inclusive");
        return Err(PyValueError::new_err(text));
    }
    Ok(slot)
}

#[inline]
pub fn data_set(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Slot> {
    if is_plain_stream(value)? {
        return Ok(Some(value.clone().unbind()));
    }
    if value.is_none() {
        return Ok(None);
    }
    if value.is_instance(bytes_io(value.py())?)? {
        return Ok(Some(value.clone().unbind()));
    }
    Err(PyTypeError::new_err(format!("'{name}' parameter must be a BytesIO object")))
}

pub fn read_uid<'py>(
    slf: &Bound<'py, DIMSEPrimitive>,
    slot: impl Fn(&mut Slots) -> &mut UidSlot,
) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = slf.py();
    let found = DIMSEPrimitive::with_slots(slf, |slots| match slot(slots) {
        UidSlot::Empty => Ok(None),
        UidSlot::Uid(uid) => Ok(Some(uid.bind(py).clone())),
        UidSlot::Text(text) => Err(text.bind(py).clone()),
    })?;
    let text = match found {
        Ok(uid) => return Ok(uid),
        Err(text) => text,
    };
    let uid = to_uid(&text)?;
    store_uid(slf, slot, UidSlot::Uid(uid.clone().unbind()))?;
    Ok(Some(uid))
}

/// `__init__` of both classes: sets the attributes that pynetdicom sets, and those of the keywords.
#[inline]
pub fn initialize(
    slf: &Bound<'_, DIMSEPrimitive>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    if args.is_empty() && kwargs.is_none() {
        let new = DIMSEPrimitive::with_slots(slf, |slots| {
            is_plain(slf.as_any(), slots.service) && slots.initialize_new()
        })?;
        if new {
            return Ok(());
        }
    }
    initialize_any(slf, args, kwargs)
}

#[inline(never)]
fn initialize_any(
    slf: &Bound<'_, DIMSEPrimitive>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let service = DIMSEPrimitive::service(slf)?;
    if !args.is_empty() {
        return Err(positional_arguments(service, args));
    }
    if let Some(kwargs) = kwargs {
        check_keywords(service, kwargs)?;
    }
    // pynetdicom sets these attributes, which a subclass may override.
    let own = match service {
        Service::EventReport => ["EventTypeID", "EventInformation", "EventReply"],
        Service::Action => ["ActionTypeID", "ActionInformation", "ActionReply"],
    };
    for name in own.into_iter().chain(["ErrorComment", "ErrorID"]) {
        slf.setattr(name, slf.py().None())?;
    }
    for (name, value) in kwargs.into_iter().flatten() {
        slf.setattr(name.cast::<PyString>()?, value)?;
    }
    Ok(())
}

#[cold]
fn positional_arguments(service: Service, args: &Bound<'_, PyTuple>) -> PyErr {
    let (class, given) = (service.class_name(), args.len() + 1);
    let text = format!("{class}.__init__() takes 1 positional argument but {given} were given");
    PyTypeError::new_err(text)
}

/// Rejects keywords that are not attributes of the messages of a service.
fn check_keywords(service: Service, kwargs: &Bound<'_, PyDict>) -> PyResult<()> {
    let fields = service.fields();
    for name in kwargs.keys() {
        let name = name.cast::<PyString>()?.to_string_lossy();
        if !fields.iter().any(|field| field.keyword() == name) {
            let near = nearest(&name, fields.iter().map(|field| field.keyword()));
            let class = service.class_name();
            let mut text =
                format!("{class}.__init__() got an unexpected keyword argument '{name}'");
            if let Some(near) = near {
                text += &format!(". Did you mean '{near}'?");
            }
            return Err(PyTypeError::new_err(text));
        }
    }
    Ok(())
}

/// A function, its arguments, and the state, for pickling and copying.
type Reduced<'py> = (Bound<'py, PyAny>, (Bound<'py, PyType>,), Bound<'py, PyAny>);

#[pymethods]
impl DIMSEPrimitive {
    // pynetdicom's association sets these on every primitive that it sends or receives.

    #[classattr]
    fn _context_id() -> Option<u8> {
        None
    }

    #[classattr]
    fn _dataset_path() -> Option<u8> {
        None
    }

    #[classattr]
    fn _dataset_file() -> Option<u8> {
        None
    }

    /// Get or set the *Message ID* (PS3.7 10.1.1.1.1) as :class:`int`.
    ///
    /// Parameters
    /// ----------
    /// value : int or None
    ///     A number from 0 to 65535.
    #[getter(MessageID)]
    fn message_id(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read(slf, |slots| &mut slots.message_id)
    }

    #[setter(MessageID)]
    fn set_message_id(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store(
            slf,
            |slots| &mut slots.message_id,
            message_id(value, "Message ID must be an int", "Message ID")?,
        )
    }

    /// Get or set the *Message ID Being Responded To* (PS3.7 10.1.1.1.2) as :class:`int`.
    ///
    /// Parameters
    /// ----------
    /// value : int or None
    ///     The Message ID of the request, from 0 to 65535.
    #[getter(MessageIDBeingRespondedTo)]
    fn responded_to(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read(slf, |slots| &mut slots.responded_to)
    }

    #[setter(MessageIDBeingRespondedTo)]
    fn set_responded_to(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        const NAME: &str = "Message ID Being Responded To";
        let value = message_id(value, "Message ID Being Responded To must be an int", NAME)?;
        store(slf, |slots| &mut slots.responded_to, value)
    }

    /// Get or set the *Affected SOP Class UID* (PS3.7 10.1.1.1.3) as :class:`~pydicom.uid.UID`.
    ///
    /// Parameters
    /// ----------
    /// value : pydicom.uid.UID, bytes, str or None
    ///     The UID of the SOP class.
    #[getter(AffectedSOPClassUID)]
    fn sop_class<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyString>>> {
        read_uid(slf, |slots| &mut slots.sop_class)
    }

    #[setter(AffectedSOPClassUID)]
    fn set_sop_class(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store_uid(slf, |slots| &mut slots.sop_class, set_uid(value, AFFECTED_CLASS)?)
    }

    /// Get or set the *Affected SOP Instance UID* (PS3.7 10.1.1.1.4) as :class:`~pydicom.uid.UID`.
    ///
    /// Parameters
    /// ----------
    /// value : pydicom.uid.UID, bytes, str or None
    ///     The UID of the SOP instance.
    #[getter(AffectedSOPInstanceUID)]
    fn sop_instance<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyString>>> {
        read_uid(slf, |slots| &mut slots.sop_instance)
    }

    #[setter(AffectedSOPInstanceUID)]
    fn set_sop_instance(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store_uid(slf, |slots| &mut slots.sop_instance, set_uid(value, AFFECTED_INSTANCE)?)
    }

    /// Get or set the *Status* (PS3.7 10.1.1.1.8 and Annex C) as :class:`int`.
    ///
    /// Parameters
    /// ----------
    /// value : int or None
    ///     A number from 0 to 65535. The range is checked when the message is encoded.
    #[getter(Status)]
    fn status(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read(slf, |slots| &mut slots.status)
    }

    #[setter(Status)]
    fn set_status(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        const TEXT: &str = "DIMSE primitive's 'Status' must be an int";
        store(slf, |slots| &mut slots.status, int_or_none(value, TEXT)?)
    }

    /// Get or set the *Error Comment* of a response (PS3.7 Annex C).
    ///
    /// Parameters
    /// ----------
    /// value : str or None
    ///     At most 64 characters. The value is stored as it is, and checked when the message is encoded.
    #[getter(ErrorComment)]
    fn error_comment(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        attribute(slf, Assigned::ErrorComment)
    }

    #[setter(ErrorComment)]
    fn set_error_comment(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(slf, Assigned::ErrorComment, value)
    }

    #[deleter(ErrorComment)]
    fn delete_error_comment(slf: &Bound<'_, Self>) -> PyResult<()> {
        attribute(slf, Assigned::ErrorComment)?;
        delete(slf, Assigned::ErrorComment)
    }

    /// Get or set the *Error ID* of a response (PS3.7 Annex C).
    ///
    /// Parameters
    /// ----------
    /// value : int or None
    ///     A number from 0 to 65535. The value is stored as it is, and checked when the message is
    ///     encoded.
    #[getter(ErrorID)]
    fn error_id(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        attribute(slf, Assigned::ErrorID)
    }

    #[setter(ErrorID)]
    fn set_error_id(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(slf, Assigned::ErrorID, value)
    }

    #[deleter(ErrorID)]
    fn delete_error_id(slf: &Bound<'_, Self>) -> PyResult<()> {
        attribute(slf, Assigned::ErrorID)?;
        delete(slf, Assigned::ErrorID)
    }

    /// Whether every attribute in ``REQUEST_KEYWORDS`` has a value, as :class:`bool`.
    #[getter]
    fn is_valid_request(slf: &Bound<'_, Self>) -> PyResult<bool> {
        all_set(slf, intern!(slf.py(), "REQUEST_KEYWORDS"), 0, |slots| {
            let (class, instance) = match slots.service {
                Service::EventReport => (&slots.sop_class, &slots.sop_instance),
                Service::Action => (&slots.requested_class, &slots.requested_instance),
            };
            slots.message_id.is_some()
                && !matches!(class, UidSlot::Empty)
                && slots.type_id.is_some()
                && !matches!(instance, UidSlot::Empty)
        })
    }

    /// Whether every attribute in ``RESPONSE_KEYWORDS`` has a value, as :class:`bool`.
    #[getter]
    fn is_valid_response(slf: &Bound<'_, Self>) -> PyResult<bool> {
        all_set(slf, intern!(slf.py(), "RESPONSE_KEYWORDS"), 1, |slots| {
            slots.responded_to.is_some() && slots.status.is_some()
        })
    }

    /// The DIMSE message type as :class:`str`: the name of the class, with hyphens.
    #[getter]
    fn msg_type<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.getattr(intern!(py, "__class__"))?
            .getattr(intern!(py, "__name__"))?
            .call_method1(intern!(py, "replace"), ("_", "-"))
    }

    // The error texts of Python properties, which pynetdicom's class has.

    #[deleter(MessageID)]
    fn delete_message_id(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf, "MessageID", "deleter")
    }

    #[deleter(MessageIDBeingRespondedTo)]
    fn delete_responded_to(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf, "MessageIDBeingRespondedTo", "deleter")
    }

    #[deleter(AffectedSOPClassUID)]
    fn delete_sop_class(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf, "AffectedSOPClassUID", "deleter")
    }

    #[deleter(AffectedSOPInstanceUID)]
    fn delete_sop_instance(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf, "AffectedSOPInstanceUID", "deleter")
    }

    #[deleter(Status)]
    fn delete_status(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf, "Status", "deleter")
    }

    #[setter(is_valid_request)]
    fn set_is_valid_request(slf: &Bound<'_, Self>, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        no_accessor(slf, "is_valid_request", "setter")
    }

    #[deleter(is_valid_request)]
    fn delete_is_valid_request(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf, "is_valid_request", "deleter")
    }

    #[setter(is_valid_response)]
    fn set_is_valid_response(slf: &Bound<'_, Self>, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        no_accessor(slf, "is_valid_response", "setter")
    }

    #[deleter(is_valid_response)]
    fn delete_is_valid_response(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf, "is_valid_response", "deleter")
    }

    #[setter(msg_type)]
    fn set_msg_type(slf: &Bound<'_, Self>, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        no_accessor(slf, "msg_type", "setter")
    }

    #[deleter(msg_type)]
    fn delete_msg_type(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf, "msg_type", "deleter")
    }

    /// Encode the command set in Implicit VR Little Endian (PS3.7 6.3.1).
    ///
    /// Returns
    /// -------
    /// bytes
    ///     The command set of a response if *Message ID Being Responded To* has a value, of a request
    ///     otherwise. Attributes without a value are omitted, as in pynetdicom.
    ///
    /// Raises
    /// ------
    /// EncodeError
    ///     If a value violates the rules of its element.
    ///
    /// Examples
    /// --------
    /// >>> from fastdimse import N_EVENT_REPORT
    /// >>> event = N_EVENT_REPORT()
    /// >>> event.MessageID = 7
    /// >>> event.encode_command_set()[-20:].hex(" ")
    /// '00 00 10 01 02 00 00 00 07 00 00 00 00 08 02 00 00 00 01 01'
    #[pyo3(text_signature = "($self)")]
    fn encode_command_set<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyBytes>> {
        codec::encode_command_set(slf)
    }

    /// Encode the message as P-DATA-TF PDUs of one PDV each (PS3.8 9.3.5), as pynetdicom does.
    ///
    /// Parameters
    /// ----------
    /// context_id : int, default 1
    ///     The presentation context ID, 0 to 255.
    /// max_pdu_length : int, default 16382
    ///     The maximum PDU length of the peer in bytes (PS3.8 D.1): 0 (no limit) or at least 7.
    ///
    /// Returns
    /// -------
    /// bytes
    ///     The PDUs.
    ///
    /// Raises
    /// ------
    /// EncodeError
    ///     If a value violates the rules of its element, or *max_pdu_length* has an unsupported value.
    /// ValueError
    ///     If *context_id* is outside 0 to 255.
    ///
    /// Examples
    /// --------
    /// >>> from fastdimse import N_EVENT_REPORT
    /// >>> event = N_EVENT_REPORT()
    /// >>> event.MessageID = 7
    /// >>> event.encode_p_data(context_id=1, max_pdu_length=16382)[:12].hex(" ")
    /// '04 00 00 00 00 30 00 00 00 2c 01 03'
    #[pyo3(signature = (context_id = 1, max_pdu_length = 16382))]
    fn encode_p_data<'py>(
        slf: &Bound<'py, Self>,
        context_id: i64,
        max_pdu_length: i64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        codec::encode_p_data(slf, context_id, max_pdu_length)
    }

    /// Decode a command set, and attach its data set.
    ///
    /// Parameters
    /// ----------
    /// command_set : bytes-like
    ///     The command set, its fragments joined.
    /// data_set : bytes-like, io.BytesIO or None, optional
    ///     The encoded data set. An :class:`io.BytesIO` itself becomes the attribute of the data set, for
    ///     example *Event Information*. With ``None`` the attribute is ``None``, where pynetdicom has an
    ///     empty stream.
    ///
    /// Returns
    /// -------
    /// N_EVENT_REPORT or N_ACTION
    ///     An instance of the class on which this method is called.
    ///
    /// Raises
    /// ------
    /// DecodeError
    ///     If the bytes are not the command set of a message of this class: the byte of the error.
    ///
    /// Examples
    /// --------
    /// >>> from fastdimse import N_EVENT_REPORT
    /// >>> event = N_EVENT_REPORT()
    /// >>> event.MessageID = 7
    /// >>> N_EVENT_REPORT.decode_command_set(event.encode_command_set()).MessageID
    /// 7
    #[classmethod]
    #[pyo3(signature = (command_set, data_set = None))]
    fn decode_command_set<'py>(
        cls: &Bound<'py, PyType>,
        command_set: &Bound<'py, PyAny>,
        data_set: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        codec::decode_command_set(cls, command_set, data_set)
    }

    /// Return the values that are set, under pynetdicom's private names, and the other attributes of the
    /// instance: the state for pickling and copying.
    fn __getstate__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let py = slf.py();
        let state = match slf.getattr_opt(intern!(py, "__dict__"))? {
            Some(attributes) => attributes.cast_into::<PyDict>()?.copy()?,
            None => PyDict::new(py),
        };
        let service = DIMSEPrimitive::service(slf)?;
        for (name, slot) in uid_slots(service) {
            if let Some(uid) = read_uid(slf, slot)? {
                state.set_item(name, uid)?;
            }
        }
        let set = |name: &str, value: Slot| match value {
            Some(value) => state.set_item(name, value),
            None => Ok(()),
        };
        let [numbers @ .., status] = number_slots(service);
        let number = |slot: fn(&mut Slots) -> &mut Slot| {
            DIMSEPrimitive::with_slots(slf, |slots| slot(slots).as_ref().map(|it| it.clone_ref(py)))
        };
        for (name, slot) in numbers {
            set(name, number(slot)?)?;
        }
        set("_dataset", DIMSEPrimitive::stream(slf)?)?;
        set(status.0, number(status.1)?)?;
        for one in Assigned::BOTH {
            set(one.name(), DIMSEPrimitive::with_slots(slf, |slots| slots.assigned(py, one))?)?;
        }
        Ok(state)
    }

    fn __setstate__(slf: &Bound<'_, Self>, state: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = slf.py();
        let rest = state.copy()?;
        let take = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
            let value = state.get_item(name)?;
            if value.is_some() {
                rest.del_item(name)?;
            }
            Ok(value)
        };
        let service = DIMSEPrimitive::service(slf)?;
        for (name, slot) in number_slots(service) {
            store(slf, slot, take(name)?.as_ref().and_then(to_slot))?;
        }
        store_data_set(slf, take("_dataset")?.as_ref().and_then(to_slot))?;
        for one in Assigned::BOTH {
            match take(one.name())? {
                Some(value) => assign(slf, one, &value)?,
                None => delete(slf, one)?,
            }
        }
        for (name, slot) in uid_slots(service) {
            let uid = match take(name)? {
                Some(uid) => UidSlot::Uid(uid.cast::<PyString>()?.clone().unbind()),
                None => UidSlot::Empty,
            };
            store_uid(slf, slot, uid)?;
        }
        if !rest.is_empty() {
            let attributes = slf.getattr(intern!(py, "__dict__"))?;
            attributes.cast::<PyDict>()?.update(rest.as_mapping())?;
        }
        Ok(())
    }

    fn __reduce_ex__<'py>(
        slf: &Bound<'py, Self>,
        _protocol: &Bound<'py, PyAny>,
    ) -> PyResult<Reduced<'py>> {
        let py = slf.py();
        let new = py.import(intern!(py, "copyreg"))?.getattr(intern!(py, "__newobj__"))?;
        let state = slf.call_method0(intern!(py, "__getstate__"))?;
        Ok((new, (slf.get_type(),), state))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(slots) = self.slots_during_gc() else { return Ok(()) };
        for slot in slots.objects() {
            visit.call(slot)?;
        }
        for slot in slots.uids() {
            if let UidSlot::Text(uid) | UidSlot::Uid(uid) = slot {
                visit.call(uid)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.clear();
    }
}

/// The error of a Python property without a setter or deleter.
pub fn no_accessor(slf: &Bound<'_, DIMSEPrimitive>, name: &str, what: &str) -> PyResult<()> {
    let class = slf.get_type().qualname()?;
    let text = format!("property '{name}' of '{class}' object has no {what}");
    Err(PyAttributeError::new_err(text))
}

/// The value of an attribute that can be deleted, like one in an instance's dictionary.
fn attribute(slf: &Bound<'_, DIMSEPrimitive>, attribute: Assigned) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    if let Some(value) = DIMSEPrimitive::with_slots(slf, |slots| slots.assigned(py, attribute))? {
        return Ok(value);
    }
    let (class, name) = (slf.get_type().name()?, attribute.name());
    Err(PyAttributeError::new_err(format!("'{class}' object has no attribute '{name}'")))
}

fn assign(
    slf: &Bound<'_, DIMSEPrimitive>,
    attribute: Assigned,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let value = to_slot(value);
    let old = DIMSEPrimitive::with_slots(slf, |slots| slots.assign(attribute, value))?;
    drop_slot(slf.py(), old);
    Ok(())
}

fn delete(slf: &Bound<'_, DIMSEPrimitive>, attribute: Assigned) -> PyResult<()> {
    let old = DIMSEPrimitive::with_slots(slf, |slots| slots.delete(attribute))?;
    drop_slot(slf.py(), old);
    Ok(())
}

/// Whether every attribute in a tuple of keywords has a value: read from the slots of an object of exactly
/// this class, looked up one by one otherwise.
fn all_set(
    slf: &Bound<'_, DIMSEPrimitive>,
    keywords: &Bound<'_, PyString>,
    tuple: usize,
    in_slots: fn(&Slots) -> bool,
) -> PyResult<bool> {
    let keywords = slf.getattr(keywords)?;
    let (service, all) = DIMSEPrimitive::with_slots(slf, |slots| (slots.service, in_slots(slots)))?;
    if is_plain(slf.as_any(), service) && is_own_tuple(&keywords, service, tuple) {
        return Ok(all);
    }
    for keyword in keywords.try_iter()? {
        if slf.getattr(keyword?.cast::<PyString>()?)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
