//! Decoded values as attributes of a primitive.

use fastdimse_core::command_set::{CommandSet, Source, Value, Vr};
use fastdimse_core::field::Field;
use fastdimse_core::standard::sop_classes::SOP_CLASSES;
use fastdimse_core::uid::is_conformant;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyType};

use crate::primitive::latin_1;
use crate::primitive::slots::{
    Assigned, DIMSEPrimitive, Service, Slot, Slots, as_plain, drop_slot, uid_name,
};
use crate::primitive::stream::new_stream;
use crate::primitive::uid::{UidSlot, has_default_validator, set_uid, uid_type};

/// A primitive of class `cls` with the values of a command set, or the field whose value it rejected.
/// `before` is called before each field is set, if it has anything to report.
pub fn new_primitive<'py>(
    cls: &Bound<'py, PyType>,
    command_set: &CommandSet<'_>,
    before: Option<&dyn Fn(Field) -> PyResult<()>>,
) -> Result<Bound<'py, PyAny>, (Field, PyErr)> {
    let primitive = cls.call0().map_err(|error| (Field::MessageID, error))?;
    let target = Target::new(&primitive, Service::of(command_set.kind));
    target.set_command_set(command_set, before)?;
    Ok(primitive)
}

/// A primitive whose attributes are set.
pub enum Target<'a, 'py> {
    /// An object of exactly one of the two classes: its slots are set.
    Plain(&'a Bound<'py, DIMSEPrimitive>),
    /// An object of a subclass: its attributes are set.
    Other(&'a Bound<'py, PyAny>),
}

impl<'a, 'py> Target<'a, 'py> {
    #[inline]
    pub fn new(primitive: &'a Bound<'py, PyAny>, service: Service) -> Self {
        as_plain(primitive, service).map_or(Self::Other(primitive), Self::Plain)
    }

    fn py(&self) -> Python<'py> {
        match self {
            Self::Plain(primitive) => primitive.py(),
            Self::Other(primitive) => primitive.py(),
        }
    }

    /// Sets the values of a command set, or returns the field whose value was rejected. `before` is called
    /// before each field is set, if it has anything to report.
    #[inline]
    pub fn set_command_set(
        &self,
        command_set: &CommandSet<'_>,
        before: Option<&dyn Fn(Field) -> PyResult<()>>,
    ) -> Result<(), (Field, PyErr)> {
        if let (Self::Plain(primitive), None) = (self, before)
            && fill(primitive, command_set).map_err(|error| (Field::MessageID, error))?
        {
            return Ok(());
        }
        self.set_one_by_one(command_set, before)
    }

    #[inline(never)]
    fn set_one_by_one(
        &self,
        command_set: &CommandSet<'_>,
        before: Option<&dyn Fn(Field) -> PyResult<()>>,
    ) -> Result<(), (Field, PyErr)> {
        for element in command_set.kind.elements() {
            if let Source::Field(field) = element.source {
                before
                    .map_or(Ok(()), |before| before(field))
                    .and_then(|()| self.set_decoded(field, element.vr, command_set.get(field)))
                    .map_err(|error| (field, error))?;
            }
        }
        Ok(())
    }

    /// Sets a decoded value with the type that the class has.
    fn set_decoded(&self, field: Field, vr: Vr, value: Value<'_>) -> PyResult<()> {
        match value {
            Value::Absent | Value::UsMany(_) => Ok(()),
            Value::Us(number) => self.set(field, number.into_pyobject(self.py())?.into_any()),
            Value::Text(text) => self.set_text(field, vr, text),
        }
    }

    fn set_text(&self, field: Field, vr: Vr, text: &[u8]) -> PyResult<()> {
        let py = self.py();
        let string = match std::str::from_utf8(text) {
            Ok(ascii) if ascii.is_ascii() => PyString::new(py, ascii),
            _ => PyString::new(py, &latin_1::decode(text)),
        };
        match self {
            Self::Other(_) if vr == Vr::Ui => self.set(field, uid_type(py)?.call1((string,))?),
            _ => self.set(field, string.into_any()),
        }
    }

    /// Sets the data set of a message to a stream of these bytes, which is created when the attribute is
    /// read.
    pub fn set_data_set(&self, field: Field, bytes: Bound<'py, PyBytes>) -> PyResult<()> {
        let Self::Plain(primitive) = self else {
            return self.set(field, new_stream(bytes.as_any())?);
        };
        let bytes = bytes.unbind();
        let old = DIMSEPrimitive::with_slots(primitive, |slots| slots.set_unread_data_set(bytes))?;
        drop_slot(primitive.py(), old);
        Ok(())
    }

    /// Sets an attribute.
    #[inline]
    pub fn set(&self, field: Field, value: Bound<'py, PyAny>) -> PyResult<()> {
        let primitive = match self {
            Self::Plain(primitive) => primitive,
            Self::Other(primitive) => return primitive.setattr(field.keyword(), value),
        };
        if let Some(name) = uid_name(field) {
            return store_uid(primitive, field, set_uid(&value, name)?);
        }
        let value = Some(value.unbind());
        let old = DIMSEPrimitive::with_slots(primitive, |slots| match field {
            Field::ErrorComment => slots.assign(Assigned::ErrorComment, value),
            Field::ErrorID => slots.assign(Assigned::ErrorID, value),
            _ if field.is_data_set() => slots.set_data_set(value),
            _ => slots.number(field).and_then(|slot| std::mem::replace(slot, value)),
        })?;
        drop_slot(primitive.py(), old);
        Ok(())
    }
}

/// Sets the values of a command set with one value each, ASCII text and conformant UIDs in one access;
/// returns `false`, and changes nothing, if it has others. This takes a third of the time.
fn fill(primitive: &Bound<'_, DIMSEPrimitive>, command_set: &CommandSet<'_>) -> PyResult<bool> {
    let py = primitive.py();
    let usual = |field| match command_set.get(field) {
        Value::Absent | Value::Us(_) => true,
        Value::UsMany(_) => false,
        Value::Text(text) if field == Field::ErrorComment => text.is_ascii(),
        Value::Text(text) => is_conformant(text),
    };
    let service = Service::of(command_set.kind);
    if !service.fields().iter().all(|&field| usual(field)) || !has_default_validator(py)? {
        return Ok(false);
    }
    let number = |field| -> PyResult<Slot> {
        Ok(match command_set.get(field) {
            Value::Us(number) => Some(number.into_pyobject(py)?.into_any().unbind()),
            _ => None,
        })
    };
    let text = |field| -> PyResult<Option<Py<PyString>>> {
        match command_set.get(field) {
            Value::Text(text) => Ok(Some(PyString::from_bytes(py, text)?.unbind())),
            _ => Ok(None),
        }
    };
    let uid =
        |field| -> PyResult<UidSlot> { Ok(text(field)?.map_or(UidSlot::Empty, UidSlot::Text)) };
    let class = |field| match command_set.get(field).text().and_then(|uid| known_class(py, uid)) {
        Some(known) => Ok(UidSlot::Text(known.clone_ref(py))),
        None => uid(field),
    };
    let mut slots = Slots::new(service);
    slots.message_id = number(Field::MessageID)?;
    slots.responded_to = number(Field::MessageIDBeingRespondedTo)?;
    slots.status = number(Field::Status)?;
    slots.sop_class = class(Field::AffectedSOPClassUID)?;
    slots.sop_instance = uid(Field::AffectedSOPInstanceUID)?;
    slots.type_id = match service {
        Service::EventReport => number(Field::EventTypeID)?,
        Service::Action => {
            slots.requested_class = class(Field::RequestedSOPClassUID)?;
            slots.requested_instance = uid(Field::RequestedSOPInstanceUID)?;
            number(Field::ActionTypeID)?
        }
    };
    if let Some(comment) = text(Field::ErrorComment)? {
        slots.assign(Assigned::ErrorComment, Some(comment.into_any()));
    }
    if let Some(id) = number(Field::ErrorID)? {
        slots.assign(Assigned::ErrorID, Some(id));
    }
    DIMSEPrimitive::with_slots(primitive, |old| old.swap_values(&mut slots))?;
    drop(slots);
    Ok(true)
}

/// The text of a SOP Class UID of the standard: all primitives share it.
fn known_class<'a>(py: Python<'_>, uid: &[u8]) -> Option<&'a Py<PyString>> {
    static KNOWN: PyOnceLock<Vec<(&str, Py<PyString>)>> = PyOnceLock::new();
    let known = KNOWN.get_or_init(py, || {
        let mut uids: Vec<&str> = SOP_CLASSES.iter().map(|class| class.affected_uid).collect();
        uids.sort_unstable();
        uids.dedup();
        uids.into_iter().map(|uid| (uid, PyString::new(py, uid).unbind())).collect()
    });
    known.iter().find(|(known, _)| known.as_bytes() == uid).map(|(_, text)| text)
}

#[inline]
fn store_uid(primitive: &Bound<'_, DIMSEPrimitive>, field: Field, uid: UidSlot) -> PyResult<()> {
    let old = DIMSEPrimitive::with_slots(primitive, |slots| {
        slots.uid_slot(field).map(|slot| std::mem::replace(slot, uid))
    })?;
    drop_slot(primitive.py(), old.and_then(UidSlot::into_text));
    Ok(())
}
