//! Tables of events (PS3.4) and Status codes (PS3.7 Annex C), for `fastdimse.events`.

use fastdimse_core::conformance::{Attributes, EventDefinition, check_instance};
use fastdimse_core::standard::failure_reason::{self, FAILURE_REASONS};
use fastdimse_core::standard::sop_classes::{Attribute, EventType, SOP_CLASSES};
use fastdimse_core::standard::status::{self, STATUSES};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::errors::Error;

/// Return the SOP classes with events (PS3.4), as nested tuples.
///
/// Returns
/// -------
/// list of tuple
///     For each SOP class: its UID, the Affected SOP Class UID of its events, its name, the section
///     and the table of PS3.4, its well-known SOP Instance or ``None``, and its event types. An event
///     type is its ID, its name and its attributes. An attribute is its tag, its keyword, its usage,
///     its condition or ``None``, whether the sender must supply it, and the attributes of its items.
#[pyfunction]
pub fn standard_sop_classes(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for class in SOP_CLASSES {
        let event_types = class.event_types.iter().map(|one| event_type(py, one));
        let event_types = PyTuple::new(py, event_types.collect::<PyResult<Vec<_>>>()?)?;
        list.append((
            class.uid,
            class.affected_uid,
            class.name,
            class.section,
            class.table,
            class.well_known_instance,
            event_types,
        ))?;
    }
    Ok(list)
}

fn event_type<'py>(py: Python<'py>, one: &'static EventType) -> PyResult<Bound<'py, PyTuple>> {
    (one.id, one.name, attributes(py, one.attributes)?).into_pyobject(py)
}

fn attributes<'py>(
    py: Python<'py>,
    attributes: &'static [Attribute],
) -> PyResult<Bound<'py, PyTuple>> {
    let all = attributes.iter().map(|attribute| {
        let (group, element) = attribute.tag;
        let items = self::attributes(py, attribute.items)?;
        let Attribute { keyword, usage, condition, .. } = *attribute;
        let tag = u32::from(group) << 16 | u32::from(element);
        (tag, keyword, usage, condition, attribute.is_mandatory(), items).into_pyobject(py)
    });
    PyTuple::new(py, all.collect::<PyResult<Vec<_>>>()?)
}

/// Return the Status codes of PS3.7 Annex C, and those of Unified Procedure Steps (PS3.4 CC.2).
///
/// Returns
/// -------
/// list of tuple
///     For each Status: its code, its category, its name, and whether PS3.7 10.1.1.1.8 lists it.
#[pyfunction]
pub fn standard_statuses() -> Vec<(u16, &'static str, &'static str, bool)> {
    STATUSES.iter().map(|one| (one.code, one.category.name(), one.name, one.listed)).collect()
}

/// Return the Failure Reasons of PS3.3 C.14.1.1.
///
/// Returns
/// -------
/// list of tuple
///     For each Failure Reason: its code and its name.
#[pyfunction]
pub fn standard_failure_reasons() -> Vec<(u16, &'static str)> {
    FAILURE_REASONS.to_vec()
}

/// Return a Failure Reason with its name.
///
/// Parameters
/// ----------
/// code : int
///     The Failure Reason, 0 to 65535.
///
/// Returns
/// -------
/// str
///     The description.
#[pyfunction]
pub fn describe_failure_reason(code: u16) -> String {
    failure_reason::describe(code)
}

/// Return the category of a Status, by the ranges of PS3.7 Annex C.
///
/// Parameters
/// ----------
/// code : int
///     The Status, 0 to 65535.
///
/// Returns
/// -------
/// str
///     The category, for example ``"Success"``.
#[pyfunction]
pub fn status_category(code: u16) -> &'static str {
    status::category(code).name()
}

/// Return the description of a Status: its code, and its name or its category.
///
/// Parameters
/// ----------
/// code : int
///     The Status, 0 to 65535.
///
/// Returns
/// -------
/// str
///     The description.
#[pyfunction]
pub fn describe_status(code: u16) -> String {
    status::describe(code)
}

/// Check one event as ``validate_events(check="standard")`` does.
///
/// Parameters
/// ----------
/// sop_class_uid, sop_instance_uid : str
///     The Affected SOP Class UID and the Affected SOP Instance UID.
/// event_type_id : int
///     The Event Type ID.
/// information : mapping or None
///     The attributes of the Event Information, by keyword.
///
/// Raises
/// ------
/// EncodeError
///     If the event deviates from the standard: ``field`` is the path of the deviation.
#[pyfunction]
pub fn check_event(
    sop_class_uid: &str,
    sop_instance_uid: &str,
    event_type_id: u16,
    information: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let fail = |deviation| PyErr::from(Error::Deviation(deviation));
    let class = sop_class_uid.as_bytes();
    check_instance(class, sop_instance_uid.as_bytes()).map_err(fail)?;
    match EventDefinition::find(class, event_type_id).transpose().map_err(fail)? {
        Some(event) => event.check(&Item(information)).map_err(fail),
        None => Err(PyTypeError::new_err(format!("'{sop_class_uid}' is not in the table"))),
    }
}

/// A mapping of attributes; `None` or another object has no attributes.
struct Item<'py>(Option<Bound<'py, PyAny>>);

impl<'py> Item<'py> {
    fn get(&self, attribute: &Attribute) -> Option<Bound<'py, PyAny>> {
        let (mapping, (group, element)) = (self.0.as_ref()?, attribute.tag);
        let value = mapping
            .get_item(attribute.keyword)
            .or_else(|_| mapping.get_item(format!("{group:04X}{element:04X}")));
        value.ok().filter(|value| !value.is_none())
    }
}

impl Attributes for Item<'_> {
    fn values(&self, attribute: &Attribute) -> Option<usize> {
        let value = self.get(attribute)?;
        let text = value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>();
        Some(match value.len() {
            Ok(length) if text => usize::from(length > 0),
            Ok(length) => length,
            Err(_) => 1,
        })
    }

    fn item(&self, sequence: &Attribute, item: usize) -> Self {
        Self(self.get(sequence).and_then(|items| items.get_item(item).ok()))
    }
}
