//! The values of a primitive, as the class stores them.

use std::cell::{Ref, RefCell};

use fastdimse_core::command_set::{CommandSet, Value};
use fastdimse_core::field::{Field, Kind};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyBool, PyBytes, PyInt, PyType};

use crate::primitive::stream::{is_plain_stream, new_stream};
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

    /// The attributes of the class.
    #[inline]
    pub fn fields(self) -> &'static [Field] {
        use Field::*;
        match self {
            Self::EventReport => &[
                MessageID,
                MessageIDBeingRespondedTo,
                AffectedSOPClassUID,
                AffectedSOPInstanceUID,
                EventTypeID,
                EventInformation,
                EventReply,
                Status,
                ErrorComment,
                ErrorID,
            ],
            Self::Action => &[
                MessageID,
                MessageIDBeingRespondedTo,
                RequestedSOPClassUID,
                RequestedSOPInstanceUID,
                ActionTypeID,
                ActionInformation,
                AffectedSOPClassUID,
                AffectedSOPInstanceUID,
                ActionReply,
                Status,
                ErrorComment,
                ErrorID,
            ],
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

/// Whether `object` is an `N_EVENT_REPORT` or an `N_ACTION`, that of `service`, and not of a subclass, which
/// may override anything.
#[inline]
pub fn is_plain(object: &Bound<'_, PyAny>, service: Service) -> bool {
    let py = object.py();
    let registered = REGISTERED[service as usize].get(py);
    registered
        .is_some_and(|registered| object.get_type_ptr() == registered.class.bind(py).as_type_ptr())
}

/// The object as the class of a service, if it is not of a subclass.
#[inline]
pub fn as_plain<'a, 'py>(
    object: &'a Bound<'py, PyAny>,
    service: Service,
) -> Option<&'a Bound<'py, DIMSEPrimitive>> {
    if is_plain(object, service) { object.cast().ok() } else { None }
}

pub type Slot = Option<Py<PyAny>>;

/// The attributes that N-EVENT-REPORT and N-ACTION share, their values, and their codec.
// `frozen`, because the borrow flag of pyo3 is atomic, which costs more than setting an attribute.
#[pyclass(subclass, frozen, module = "fastdimse._core")]
pub struct DIMSEPrimitive(RefCell<Slots>);

// SAFETY: the slots are accessed in `DIMSEPrimitive::with_slots` only, under the GIL or, in an interpreter
// without a GIL, in the critical section of the object, and by the garbage collector, which stops other
// threads. If another thread runs before an access ends, the flag of the `RefCell` makes its access fail.
unsafe impl Sync for DIMSEPrimitive {}

/// The values of the attributes.
pub struct Slots {
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
    pub status: Slot,
    /// The data sets of the request and of the response share a slot, as in pynetdicom.
    data_set: Slot,
    /// Whether `data_set` is the `bytes` of a decoded data set, which becomes a stream when it is read.
    unread: bool,
    /// The attributes that can be deleted: *Error Comment* and *Error ID*.
    assigned: [Slot; 2],
    /// Whether these attributes exist.
    exists: [bool; 2],
}

/// An attribute that can be deleted, and that does not exist before `__init__`.
#[derive(Clone, Copy)]
pub enum Assigned {
    ErrorComment,
    ErrorID,
}

impl Assigned {
    pub const BOTH: [Self; 2] = [Self::ErrorComment, Self::ErrorID];

    /// The name of the attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::ErrorComment => "ErrorComment",
            Self::ErrorID => "ErrorID",
        }
    }
}

/// The attributes and the codec of an N-EVENT-REPORT primitive (PS3.7 10.1.1).
#[pyclass(extends = DIMSEPrimitive, subclass, frozen, module = "fastdimse._core")]
pub struct EventReportPrimitive;

/// The attributes and the codec of an N-ACTION primitive (PS3.7 10.1.4).
#[pyclass(extends = DIMSEPrimitive, subclass, frozen, module = "fastdimse._core")]
pub struct ActionPrimitive;

pub fn get(py: Python<'_>, slot: &Slot) -> Py<PyAny> {
    slot.as_ref().map_or_else(|| py.None(), |value| value.clone_ref(py))
}

/// Drops the value of a slot after the access to the slots: dropping it may run Python code that accesses
/// the same primitive.
#[inline]
pub fn drop_slot<T>(py: Python<'_>, slot: Option<Py<T>>) {
    // A `Bound` is dropped without a check that the thread is attached.
    drop(slot.map(|value| value.into_bound(py)));
}

/// The slot for a value; Python's `None` is not stored.
#[inline]
pub fn to_slot(value: &Bound<'_, PyAny>) -> Slot {
    if value.is_none() { None } else { Some(value.clone().unbind()) }
}

impl DIMSEPrimitive {
    /// A primitive without values.
    pub fn new(service: Service) -> Self {
        Self(RefCell::new(Slots::new(service)))
    }

    /// Accesses the slots. `access` must not run Python code, because an access by this code would fail.
    #[inline]
    pub fn with_slots<T>(
        slf: &Bound<'_, Self>,
        access: impl FnOnce(&mut Slots) -> T,
    ) -> PyResult<T> {
        with_critical_section(slf.as_any(), || match slf.get().0.try_borrow_mut() {
            Ok(mut slots) => Ok(access(&mut slots)),
            Err(_) => Err(in_use()),
        })
    }

    /// The slots, for the garbage collector; `None` during an access.
    pub fn slots_during_gc(&self) -> Option<Ref<'_, Slots>> {
        self.0.try_borrow().ok()
    }

    /// Removes all values.
    pub fn clear(&self) {
        let values = self.0.try_borrow_mut().map(|mut slots| {
            let service = slots.service;
            std::mem::replace(&mut *slots, Slots::new(service))
        });
        drop(values);
    }

    /// The service.
    #[inline]
    pub fn service(slf: &Bound<'_, Self>) -> PyResult<Service> {
        Self::with_slots(slf, |slots| slots.service)
    }

    /// The stream of the data set, created from its bytes when it is first read.
    pub fn stream(slf: &Bound<'_, Self>) -> PyResult<Slot> {
        let py = slf.py();
        loop {
            let found = Self::with_slots(slf, |slots| {
                let value = slots.data_set.as_ref().map(|value| value.clone_ref(py));
                if slots.unread { Err(value) } else { Ok(value) }
            })?;
            let bytes = match found {
                Ok(stream) => return Ok(stream),
                Err(bytes) => bytes,
            };
            let stream = match &bytes {
                Some(bytes) => Some(new_stream(bytes.bind(py))?.unbind()),
                None => None,
            };
            let same = |one: &Slot| one.as_ref().map(Py::as_ptr) == bytes.as_ref().map(Py::as_ptr);
            // Another thread may have read or set the attribute meanwhile.
            let old = Self::with_slots(slf, |slots| {
                (slots.unread && same(&slots.data_set)).then(|| slots.set_data_set(stream))
            })?;
            drop_slot(py, old.flatten());
            drop_slot(py, bytes);
        }
    }

    /// The value of a field, for objects of exactly this class; `None` if it was deleted.
    pub fn value(slf: &Bound<'_, Self>, field: Field) -> PyResult<Slot> {
        let py = slf.py();
        if field.is_data_set() {
            return Ok(Some(Self::stream(slf)?.unwrap_or_else(|| py.None())));
        }
        Self::with_slots(slf, |slots| {
            if let Some(uid) = slots.uid_slot(field) {
                let text = uid.text(py);
                return Some(text.map_or_else(|| py.None(), |text| text.into_any().unbind()));
            }
            match field {
                Field::ErrorComment => slots.assigned(py, Assigned::ErrorComment),
                Field::ErrorID => slots.assigned(py, Assigned::ErrorID),
                _ => Some(slots.number(field).map_or_else(|| py.None(), |slot| get(py, slot))),
            }
        })
    }
}

#[cold]
fn in_use() -> PyErr {
    PyRuntimeError::new_err("the primitive is being accessed by another thread")
}

impl Slots {
    /// Slots without values, before `__init__`.
    #[inline]
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
            status: None,
            data_set: None,
            unread: false,
            assigned: [None, None],
            exists: [false; 2],
        }
    }

    /// Sets the attributes of a new object that `__init__` sets to `None`; returns whether they had no other
    /// values.
    #[inline]
    pub fn initialize_new(&mut self) -> bool {
        let [comment, id] = &self.assigned;
        if [&self.type_id, &self.data_set, comment, id].into_iter().any(Option::is_some) {
            return false;
        }
        self.exists = [true; 2];
        true
    }

    /// All slots except those of UIDs.
    pub fn objects(&self) -> [&Slot; 7] {
        let [comment, id] = &self.assigned;
        [
            &self.message_id,
            &self.responded_to,
            &self.type_id,
            &self.status,
            &self.data_set,
            comment,
            id,
        ]
    }

    /// The slots of UIDs.
    pub fn uids(&self) -> [&UidSlot; 4] {
        [&self.sop_class, &self.sop_instance, &self.requested_class, &self.requested_instance]
    }

    /// The value of an attribute that can be deleted; `None` if it does not exist.
    #[inline]
    pub fn assigned(&self, py: Python<'_>, attribute: Assigned) -> Slot {
        let place = attribute as usize;
        self.exists[place].then(|| get(py, &self.assigned[place]))
    }

    /// Sets an attribute that can be deleted, and returns its slot before.
    #[inline]
    pub fn assign(&mut self, attribute: Assigned, value: Slot) -> Slot {
        self.exists[attribute as usize] = true;
        std::mem::replace(&mut self.assigned[attribute as usize], value)
    }

    /// Deletes such an attribute, and returns its slot before.
    pub fn delete(&mut self, attribute: Assigned) -> Slot {
        self.exists[attribute as usize] = false;
        self.assigned[attribute as usize].take()
    }

    /// Swaps the slots in which `other` has a value, except that of the data set.
    #[inline]
    pub fn swap_values(&mut self, other: &mut Self) {
        let numbers = [
            (&mut self.message_id, &mut other.message_id),
            (&mut self.responded_to, &mut other.responded_to),
            (&mut self.type_id, &mut other.type_id),
            (&mut self.status, &mut other.status),
        ];
        for (slot, other) in numbers {
            if other.is_some() {
                std::mem::swap(slot, other);
            }
        }
        let uids = [
            (&mut self.sop_class, &mut other.sop_class),
            (&mut self.sop_instance, &mut other.sop_instance),
            (&mut self.requested_class, &mut other.requested_class),
            (&mut self.requested_instance, &mut other.requested_instance),
        ];
        for (slot, other) in uids {
            if !matches!(other, UidSlot::Empty) {
                std::mem::swap(slot, other);
            }
        }
        for place in 0..other.exists.len() {
            if other.exists[place] {
                self.exists[place] = true;
                std::mem::swap(&mut self.assigned[place], &mut other.assigned[place]);
            }
        }
    }

    /// Sets the data set to a stream or to nothing, and returns its slot before.
    #[inline]
    pub fn set_data_set(&mut self, stream: Slot) -> Slot {
        self.unread = false;
        std::mem::replace(&mut self.data_set, stream)
    }

    /// Sets the data set to bytes that become a stream when the attribute is read, and returns its slot
    /// before.
    #[inline]
    pub fn set_unread_data_set(&mut self, bytes: Py<PyBytes>) -> Slot {
        self.unread = true;
        self.data_set.replace(bytes.into_any())
    }

    /// The slot of a UID.
    #[inline]
    pub fn uid_slot(&mut self, field: Field) -> Option<&mut UidSlot> {
        Some(match field {
            Field::AffectedSOPClassUID => &mut self.sop_class,
            Field::AffectedSOPInstanceUID => &mut self.sop_instance,
            Field::RequestedSOPClassUID => &mut self.requested_class,
            Field::RequestedSOPInstanceUID => &mut self.requested_instance,
            _ => return None,
        })
    }

    /// The slot of a number.
    #[inline]
    pub fn number(&mut self, field: Field) -> Option<&mut Slot> {
        Some(match field {
            Field::MessageID => &mut self.message_id,
            Field::MessageIDBeingRespondedTo => &mut self.responded_to,
            Field::EventTypeID | Field::ActionTypeID => &mut self.type_id,
            Field::Status => &mut self.status,
            _ => return None,
        })
    }

    /// The command set, and the data set: an `io.BytesIO`, or the `bytes` of one that has not been read.
    /// For objects of exactly this class with numbers that fit the VR US, ASCII UIDs, no error comment, no
    /// error ID, and an `io.BytesIO` or no data set; `None` for all others.
    #[inline]
    pub fn command_set<'py>(
        &self,
        py: Python<'py>,
    ) -> Option<(CommandSet<'_>, Option<&Bound<'py, PyAny>>)> {
        let data_set = self.data_set.as_ref().map(|value| value.bind(py));
        if let Some(stream) = data_set
            && !self.unread
            && !is_plain_stream(stream).ok()?
        {
            return None;
        }
        if self.exists != [true; 2] || self.assigned.iter().any(Option::is_some) {
            return None;
        }
        let kind = self.service.kind(self.responded_to.is_some());
        let mut command_set = CommandSet::new(kind, data_set.is_some());
        let type_id = match self.service {
            Service::EventReport => Field::EventTypeID,
            Service::Action => Field::ActionTypeID,
        };
        let numbers = [
            (Field::MessageID, &self.message_id),
            (Field::MessageIDBeingRespondedTo, &self.responded_to),
            (type_id, &self.type_id),
            (Field::Status, &self.status),
        ];
        for (field, number) in numbers {
            if let Some(number) = number {
                command_set.set(field, Value::Us(unsigned_short(number.bind(py))?));
            }
        }
        let uids = [
            (Field::AffectedSOPClassUID, &self.sop_class),
            (Field::AffectedSOPInstanceUID, &self.sop_instance),
            (Field::RequestedSOPClassUID, &self.requested_class),
            (Field::RequestedSOPInstanceUID, &self.requested_instance),
        ];
        for (field, uid) in uids {
            if let Some(uid) = uid.ascii(py)? {
                command_set.set(field, Value::Text(uid));
            }
        }
        Some((command_set, data_set))
    }
}

/// A number that fits the VR US, if it is an `int` of the exact class: of a subclass, Python code might run.
#[inline]
fn unsigned_short(value: &Bound<'_, PyAny>) -> Option<u16> {
    if value.is_exact_instance_of::<PyInt>() || value.is_exact_instance_of::<PyBool>() {
        value.extract().ok()
    } else {
        None
    }
}

/// pynetdicom's private name of a UID, and its slot.
type NamedUid = (&'static str, fn(&mut Slots) -> &mut UidSlot);

/// The UIDs of a primitive.
pub fn uid_slots(service: Service) -> &'static [NamedUid] {
    const UIDS: [NamedUid; 4] = [
        ("_affected_sop_class_uid", |slots| &mut slots.sop_class),
        ("_affected_sop_instance_uid", |slots| &mut slots.sop_instance),
        ("_requested_sop_class_uid", |slots| &mut slots.requested_class),
        ("_requested_sop_instance_uid", |slots| &mut slots.requested_instance),
    ];
    match service {
        Service::EventReport => &UIDS[..2],
        Service::Action => &UIDS,
    }
}

/// pynetdicom's private name of a number, and its slot.
type NamedNumber = (&'static str, fn(&mut Slots) -> &mut Slot);

/// The numbers of a primitive.
pub fn number_slots(service: Service) -> [NamedNumber; 4] {
    let type_id = match service {
        Service::EventReport => "_event_type_id",
        Service::Action => "_action_type_id",
    };
    [
        ("_message_id", |slots| &mut slots.message_id),
        ("_message_id_being_responded_to", |slots| &mut slots.responded_to),
        (type_id, |slots| &mut slots.type_id),
        ("_status", |slots| &mut slots.status),
    ]
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
