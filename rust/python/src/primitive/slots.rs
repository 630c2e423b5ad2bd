//! The values of a primitive, as the class stores them.

use fastdimse_core::command_set::{CommandSet, Value};
use fastdimse_core::field::{Field, Kind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::primitive::stream::is_plain_stream;
use crate::primitive::uid::UidSlot;

/// The DIMSE service of a primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// N-EVENT-REPORT (PS3.7 10.1.1).
    EventReport,
    /// N-ACTION (PS3.7 10.1.4).
    Action,
}

impl Service {
    /// The service of a message.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Request | Kind::Response => Self::EventReport,
            Kind::ActionRequest | Kind::ActionResponse => Self::Action,
        }
    }

    /// The service of a subclass of [`DIMSEPrimitive`].
    pub fn of_class(cls: &Bound<'_, PyType>) -> PyResult<Self> {
        let is_action = cls.is_subclass_of::<ActionPrimitive>()?;
        Ok(if is_action { Self::Action } else { Self::EventReport })
    }

    /// The request or the response of this service.
    pub fn kind(self, responds: bool) -> Kind {
        match (self, responds) {
            (Self::EventReport, false) => Kind::Request,
            (Self::EventReport, true) => Kind::Response,
            (Self::Action, false) => Kind::ActionRequest,
            (Self::Action, true) => Kind::ActionResponse,
        }
    }

    /// The name of the class.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::EventReport => "N_EVENT_REPORT",
            Self::Action => "N_ACTION",
        }
    }
}

/// A class that users create primitives of, which overrides no property.
struct Registered {
    class: Py<PyType>,
    /// Its own `REQUEST_KEYWORDS` and `RESPONSE_KEYWORDS`.
    keywords: [Py<PyAny>; 2],
}

static REGISTERED: [PyOnceLock<Registered>; 2] = [const { PyOnceLock::new() }; 2];

/// Register the class of a service, whose attributes are read without attribute lookups.
///
/// Parameters
/// ----------
/// cls : type
///     The subclass of :class:`EventReportPrimitive` or :class:`ActionPrimitive` that users know as
///     ``N_EVENT_REPORT`` or ``N_ACTION``.
///
/// Returns
/// -------
/// type
///     The same class, so that this function is a decorator.
#[pyfunction]
pub fn register_primitive<'py>(cls: Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    let py = cls.py();
    REGISTERED[Service::of_class(&cls)? as usize].get_or_try_init(py, || {
        let of = |name| cls.getattr(name).map(Bound::unbind);
        let keywords = [of("REQUEST_KEYWORDS")?, of("RESPONSE_KEYWORDS")?];
        PyResult::Ok(Registered { class: cls.clone().unbind(), keywords })
    })?;
    Ok(cls)
}

/// The class `N_EVENT_REPORT` or `N_ACTION`.
pub fn primitive_class<'py>(
    py: Python<'py>,
    service: Service,
) -> PyResult<&'py Bound<'py, PyType>> {
    match REGISTERED[service as usize].get(py) {
        Some(registered) => Ok(registered.class.bind(py)),
        None => Err(PyTypeError::new_err("fastdimse is not imported")),
    }
}

/// Whether `keywords` is the tuple of the registered class itself: 0 for requests, 1 for responses.
pub fn is_own_tuple(keywords: &Bound<'_, PyAny>, service: Service, tuple: usize) -> bool {
    let registered = REGISTERED[service as usize].get(keywords.py());
    registered.is_some_and(|registered| keywords.is(&registered.keywords[tuple]))
}

#[inline]
fn is_plain_of(object: &Bound<'_, PyAny>, service: Service) -> bool {
    let py = object.py();
    let registered = REGISTERED[service as usize].get(py);
    registered
        .is_some_and(|registered| object.get_type_ptr() == registered.class.bind(py).as_type_ptr())
}

/// Whether `object` is an `N_EVENT_REPORT` or an `N_ACTION` and not of a subclass, which may override
/// anything.
#[inline]
pub fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    is_plain_of(object, Service::EventReport) || is_plain_of(object, Service::Action)
}

/// The object as the class of a service, if it is not of a subclass.
#[inline]
pub fn as_plain<'a, 'py>(
    object: &'a Bound<'py, PyAny>,
    service: Service,
) -> Option<&'a Bound<'py, DIMSEPrimitive>> {
    if is_plain_of(object, service) { object.cast().ok() } else { None }
}

pub type Slot = Option<Py<PyAny>>;

/// The attributes that N-EVENT-REPORT and N-ACTION share, their values, and their codec.
#[pyclass(subclass, module = "fastdimse._core")]
pub struct DIMSEPrimitive {
    pub service: Service,
    pub message_id: Slot,
    pub responded_to: Slot,
    pub sop_class: UidSlot,
    pub sop_instance: UidSlot,
    /// *Requested SOP Class UID* and *Requested SOP Instance UID* of an N-ACTION.
    pub requested_class: UidSlot,
    pub requested_instance: UidSlot,
    /// *Event Type ID* or *Action Type ID*.
    pub type_id: Slot,
    /// The data sets of the request and of the response share a slot, as in pynetdicom.
    pub data_set: Slot,
    pub status: Slot,
    /// `None` if the attribute was deleted; Python's `None` is a value.
    pub error_comment: Slot,
    pub error_id: Slot,
}

/// The attributes and the codec of an N-EVENT-REPORT primitive (PS3.7 10.1.1).
#[pyclass(extends = DIMSEPrimitive, subclass, module = "fastdimse._core")]
pub struct EventReportPrimitive;

/// The attributes and the codec of an N-ACTION primitive (PS3.7 10.1.4).
#[pyclass(extends = DIMSEPrimitive, subclass, module = "fastdimse._core")]
pub struct ActionPrimitive;

pub fn get(py: Python<'_>, slot: &Slot) -> Py<PyAny> {
    slot.as_ref().map_or_else(|| py.None(), |value| value.clone_ref(py))
}

impl DIMSEPrimitive {
    /// A primitive without values.
    pub fn new(service: Service) -> Self {
        Self {
            service,
            message_id: None,
            responded_to: None,
            sop_class: UidSlot::Empty,
            sop_instance: UidSlot::Empty,
            requested_class: UidSlot::Empty,
            requested_instance: UidSlot::Empty,
            type_id: None,
            data_set: None,
            status: None,
            error_comment: None,
            error_id: None,
        }
    }

    /// The slots other than UIDs, by pynetdicom's private names.
    pub fn slots(&mut self) -> [(&'static str, &mut Slot); 7] {
        let type_id = match self.service {
            Service::EventReport => "_event_type_id",
            Service::Action => "_action_type_id",
        };
        [
            ("_message_id", &mut self.message_id),
            ("_message_id_being_responded_to", &mut self.responded_to),
            (type_id, &mut self.type_id),
            ("_dataset", &mut self.data_set),
            ("_status", &mut self.status),
            ("ErrorComment", &mut self.error_comment),
            ("ErrorID", &mut self.error_id),
        ]
    }

    /// The slot of a UID.
    pub fn uid_slot(&mut self, field: Field) -> Option<&mut UidSlot> {
        Some(match field {
            Field::AffectedSOPClassUID => &mut self.sop_class,
            Field::AffectedSOPInstanceUID => &mut self.sop_instance,
            Field::RequestedSOPClassUID => &mut self.requested_class,
            Field::RequestedSOPInstanceUID => &mut self.requested_instance,
            _ => return None,
        })
    }

    /// The slot of a field that is not a UID.
    pub fn slot(&mut self, field: Field) -> Option<&mut Slot> {
        Some(match field {
            Field::MessageID => &mut self.message_id,
            Field::MessageIDBeingRespondedTo => &mut self.responded_to,
            Field::EventTypeID | Field::ActionTypeID => &mut self.type_id,
            Field::EventInformation
            | Field::EventReply
            | Field::ActionInformation
            | Field::ActionReply => &mut self.data_set,
            Field::Status => &mut self.status,
            Field::ErrorComment => &mut self.error_comment,
            Field::ErrorID => &mut self.error_id,
            _ => return None,
        })
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
        let (type_id, requested) = match self.service {
            Service::EventReport => (Field::EventTypeID, [None; 2]),
            Service::Action => {
                let requested =
                    [self.requested_class.ascii(py)?, self.requested_instance.ascii(py)?];
                (Field::ActionTypeID, requested)
            }
        };
        Some(Values {
            kind: self.service.kind(self.responded_to.is_some()),
            numbers: [
                (Field::MessageID, number(&self.message_id)?),
                (Field::MessageIDBeingRespondedTo, number(&self.responded_to)?),
                (type_id, number(&self.type_id)?),
                (Field::Status, number(&self.status)?),
            ],
            affected: [
                (Field::AffectedSOPClassUID, self.sop_class.ascii(py)?),
                (Field::AffectedSOPInstanceUID, self.sop_instance.ascii(py)?),
            ],
            requested,
            data_set: self.data_set.as_ref().map(|stream| stream.bind(py)),
        })
    }

    /// The value of a field, for objects of exactly this class; `None` if it was deleted.
    pub fn value(&mut self, py: Python<'_>, field: Field) -> Slot {
        if let Some(uid) = self.uid_slot(field) {
            return Some(uid.text(py).map_or_else(|| py.None(), |text| text.into_any().unbind()));
        }
        match self.slot(field) {
            // These two can be deleted.
            Some(slot) if matches!(field, Field::ErrorComment | Field::ErrorID) => {
                slot.as_ref().map(|value| value.clone_ref(py))
            }
            Some(slot) => Some(get(py, slot)),
            None => Some(py.None()),
        }
    }
}

/// pynetdicom's private name of a UID, and its slot.
type NamedUid = (&'static str, fn(&mut DIMSEPrimitive) -> &mut UidSlot);

/// The UIDs of a primitive.
pub fn uid_slots(service: Service) -> &'static [NamedUid] {
    const UIDS: [NamedUid; 4] = [
        ("_affected_sop_class_uid", |this| &mut this.sop_class),
        ("_affected_sop_instance_uid", |this| &mut this.sop_instance),
        ("_requested_sop_class_uid", |this| &mut this.requested_class),
        ("_requested_sop_instance_uid", |this| &mut this.requested_instance),
    ];
    match service {
        Service::EventReport => &UIDS[..2],
        Service::Action => &UIDS,
    }
}

/// The name of a UID in errors.
pub fn uid_name(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::AffectedSOPClassUID => AFFECTED_CLASS,
        Field::AffectedSOPInstanceUID => AFFECTED_INSTANCE,
        Field::RequestedSOPClassUID => REQUESTED_CLASS,
        Field::RequestedSOPInstanceUID => REQUESTED_INSTANCE,
        _ => return None,
    })
}

pub const AFFECTED_CLASS: &str = "Affected SOP Class UID";
pub const AFFECTED_INSTANCE: &str = "Affected SOP Instance UID";
/// pynetdicom has the name of the other UID here.
pub const REQUESTED_CLASS: &str = REQUESTED_INSTANCE;
pub const REQUESTED_INSTANCE: &str = "Requested SOP Instance UID";

/// The values of a primitive without unusual values.
pub struct Values<'a, 'py> {
    pub kind: Kind,
    /// In the order of [`Field::NUMBERS`].
    pub numbers: [(Field, Option<u16>); 4],
    /// *Affected SOP Class UID* and *Affected SOP Instance UID*, in the order of [`Field::TEXTS`].
    pub affected: [(Field, Option<&'a [u8]>); 2],
    /// *Requested SOP Class UID* and *Requested SOP Instance UID*.
    pub requested: [Option<&'a [u8]>; 2],
    pub data_set: Option<&'a Bound<'py, PyAny>>,
}

impl<'a> Values<'a, '_> {
    /// The command set of these values.
    pub fn command_set(&self) -> CommandSet<'a> {
        let mut command_set = CommandSet::new(self.kind, self.data_set.is_some());
        let text = |text: Option<&'a [u8]>| text.map_or(Value::Absent, Value::Text);
        for (field, number) in self.numbers {
            command_set.set(field, number.map_or(Value::Absent, Value::Us));
        }
        for (field, uid) in self.affected {
            command_set.set(field, text(uid));
        }
        let [class, instance] = self.requested;
        command_set.set(Field::RequestedSOPClassUID, text(class));
        command_set.set(Field::RequestedSOPInstanceUID, text(instance));
        command_set
    }
}
