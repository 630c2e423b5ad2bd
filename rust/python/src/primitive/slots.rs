//! The values of a primitive, as the class stores them.

use fastdimse_core::command_set::{CommandSet, Value};
use fastdimse_core::field::{Field, Kind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::primitive::stream::is_plain_stream;
use crate::primitive::uid::UidSlot;

/// The class `N_EVENT_REPORT`, which overrides no property.
static PRIMITIVE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Register the class of decoded events, whose attributes are read without attribute lookups.
///
/// Parameters
/// ----------
/// cls : type
///     The subclass of :class:`DIMSEPrimitive` that users know as ``N_EVENT_REPORT``.
///
/// Returns
/// -------
/// type
///     The same class, so that this function is a decorator.
#[pyfunction]
pub fn register_primitive<'py>(cls: Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    let py = cls.py();
    KEYWORDS.get_or_try_init(py, || {
        let of = |name| cls.getattr(name).map(Bound::unbind);
        PyResult::Ok([of("REQUEST_KEYWORDS")?, of("RESPONSE_KEYWORDS")?])
    })?;
    PRIMITIVE.get_or_init(py, || cls.clone().unbind());
    Ok(cls)
}

/// The registered class's own `REQUEST_KEYWORDS` and `RESPONSE_KEYWORDS`.
pub static KEYWORDS: PyOnceLock<[Py<PyAny>; 2]> = PyOnceLock::new();

/// The class of decoded events.
pub fn primitive_type<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyType>> {
    match PRIMITIVE.get(py) {
        Some(cls) => Ok(cls.bind(py)),
        None => Err(PyTypeError::new_err("fastdimse is not imported")),
    }
}

/// Whether `object` is an `N_EVENT_REPORT` and not of a subclass, which may override anything.
pub fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    let py = object.py();
    PRIMITIVE.get(py).is_some_and(|cls| object.get_type_ptr() == cls.bind(py).as_type_ptr())
}

/// The object as this class, if it is not of a subclass.
pub fn as_plain<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, DIMSEPrimitive>> {
    if is_plain(object) { object.cast().ok() } else { None }
}

pub type Slot = Option<Py<PyAny>>;

/// The attributes and the codec of an N-EVENT-REPORT primitive (PS3.7 10.1.1).
#[pyclass(subclass, module = "fastdimse._core")]
#[derive(Default)]
pub struct DIMSEPrimitive {
    pub message_id: Slot,
    pub responded_to: Slot,
    pub sop_class: UidSlot,
    pub sop_instance: UidSlot,
    pub event_type: Slot,
    /// *Event Information* and *Event Reply* share a slot, as in pynetdicom.
    pub data_set: Slot,
    pub status: Slot,
    /// `None` if the attribute was deleted; Python's `None` is a value.
    pub error_comment: Slot,
    pub error_id: Slot,
}

pub fn get(py: Python<'_>, slot: &Slot) -> Py<PyAny> {
    slot.as_ref().map_or_else(|| py.None(), |value| value.clone_ref(py))
}

impl DIMSEPrimitive {
    /// The slots other than UIDs, by pynetdicom's private names.
    pub fn slots(&mut self) -> [(&'static str, &mut Slot); 7] {
        [
            ("_message_id", &mut self.message_id),
            ("_message_id_being_responded_to", &mut self.responded_to),
            ("_event_type_id", &mut self.event_type),
            ("_dataset", &mut self.data_set),
            ("_status", &mut self.status),
            ("ErrorComment", &mut self.error_comment),
            ("ErrorID", &mut self.error_id),
        ]
    }

    /// The values of the slots, for objects of exactly this class with numbers that fit the VR US, ASCII
    /// UIDs, no error comment, no error ID, and an `io.BytesIO` or no data set; `None` for all others.
    #[inline]
    pub fn values<'py>(&self, py: Python<'py>) -> Option<Values<'_, 'py>> {
        let none = |slot: &Slot| slot.as_ref().is_some_and(|value| value.is_none(py));
        let number = |slot: &Slot| match slot {
            Some(value) => value.extract(py).ok().map(Some),
            None => Some(None),
        };
        let plain = match &self.data_set {
            Some(stream) => is_plain_stream(stream.bind(py)).ok()?,
            None => true,
        };
        if !plain || !none(&self.error_comment) || !none(&self.error_id) {
            return None;
        }
        Some(Values {
            kind: if self.responded_to.is_some() { Kind::Response } else { Kind::Request },
            numbers: [
                (Field::MessageID, number(&self.message_id)?),
                (Field::MessageIDBeingRespondedTo, number(&self.responded_to)?),
                (Field::EventTypeID, number(&self.event_type)?),
                (Field::Status, number(&self.status)?),
            ],
            texts: [
                (Field::AffectedSOPClassUID, self.sop_class.ascii(py)?),
                (Field::AffectedSOPInstanceUID, self.sop_instance.ascii(py)?),
            ],
            data_set: self.data_set.as_ref().map(|stream| stream.bind(py)),
        })
    }

    /// The value of a field, for objects of exactly this class; `None` if it was deleted.
    pub fn slot(&self, py: Python<'_>, field: Field) -> Slot {
        Some(match field {
            Field::MessageID => get(py, &self.message_id),
            Field::MessageIDBeingRespondedTo => get(py, &self.responded_to),
            Field::EventTypeID => get(py, &self.event_type),
            Field::EventInformation | Field::EventReply => get(py, &self.data_set),
            Field::Status => get(py, &self.status),
            Field::ErrorComment => self.error_comment.as_ref()?.clone_ref(py),
            Field::ErrorID => self.error_id.as_ref()?.clone_ref(py),
            Field::AffectedSOPClassUID => uid_or_none(py, &self.sop_class),
            Field::AffectedSOPInstanceUID => uid_or_none(py, &self.sop_instance),
            _ => py.None(),
        })
    }
}

/// The values of a primitive without unusual values.
pub struct Values<'a, 'py> {
    pub kind: Kind,
    /// In the order of [`Field::NUMBERS`].
    pub numbers: [(Field, Option<u16>); 4],
    /// In the order of [`Field::TEXTS`].
    pub texts: [(Field, Option<&'a [u8]>); 2],
    pub data_set: Option<&'a Bound<'py, PyAny>>,
}

impl<'a> Values<'a, '_> {
    /// The command set of these values.
    pub fn command_set(&self) -> CommandSet<'a> {
        let mut command_set = CommandSet::new(self.kind, self.data_set.is_some());
        for (field, number) in self.numbers {
            command_set.set(field, number.map_or(Value::Absent, Value::Us));
        }
        for (field, text) in self.texts {
            command_set.set(field, text.map_or(Value::Absent, Value::Text));
        }
        command_set
    }
}

fn uid_or_none(py: Python<'_>, slot: &UidSlot) -> Py<PyAny> {
    slot.text(py).map_or_else(|| py.None(), |text| text.into_any().unbind())
}
