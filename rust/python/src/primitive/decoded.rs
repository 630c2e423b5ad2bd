//! Decoded values as attributes of a primitive.

use fastdimse_core::command_set::{CommandSet, ELEMENTS, Value, Vr};
use fastdimse_core::field::Field;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::primitive::attributes::FIELDS;
use crate::primitive::latin_1;
use crate::primitive::slots::{DIMSEPrimitive, as_plain, is_plain};
use crate::primitive::uid::set_uid;

/// A primitive of class `cls` with the values of a command set, or the field whose value it rejected.
/// `before` is called before each field is set.
pub fn new_event<'py>(
    cls: &Bound<'py, PyType>,
    command_set: &CommandSet<'_>,
    before: impl Fn(Field) -> PyResult<()>,
) -> Result<Bound<'py, PyAny>, (Field, PyErr)> {
    let event = cls.call0().map_err(|error| (Field::MessageID, error))?;
    for (field, row) in FIELDS {
        before(field)
            .and_then(|()| set_decoded(&event, field, ELEMENTS[row].vr, command_set.get(field)))
            .map_err(|error| (field, error))?;
    }
    Ok(event)
}

/// Sets a decoded value with the type that the class has.
pub fn set_decoded(
    event: &Bound<'_, PyAny>,
    field: Field,
    vr: Vr,
    value: Value<'_>,
) -> PyResult<()> {
    let py = event.py();
    match value {
        Value::Absent => Ok(()),
        Value::Us(number) => set(event, field, number.into_pyobject(py)?.into_any()),
        Value::UsMany(_) => Ok(()),
        Value::Text(text) => {
            let text = match std::str::from_utf8(text) {
                Ok(ascii) if ascii.is_ascii() => PyString::new(py, ascii),
                _ => PyString::new(py, &latin_1::decode(text)),
            };
            let text = text.into_any();
            if vr != Vr::Ui || is_plain(event) {
                return set(event, field, text);
            }
            let uid = py.import(intern!(py, "pydicom.uid"))?.getattr(intern!(py, "UID"))?;
            set(event, field, uid.call1((text,))?)
        }
    }
}

/// Sets an attribute; of an object of exactly this class, sets its slot.
pub fn set(event: &Bound<'_, PyAny>, field: Field, value: Bound<'_, PyAny>) -> PyResult<()> {
    let Some(plain) = as_plain(event) else {
        return event.setattr(field.keyword(), value);
    };
    let slot = match field {
        Field::AffectedSOPClassUID => {
            let uid = set_uid(&value, "Affected SOP Class UID")?;
            plain.try_borrow_mut()?.sop_class = uid;
            return Ok(());
        }
        Field::AffectedSOPInstanceUID => {
            let uid = set_uid(&value, "Affected SOP Instance UID")?;
            plain.try_borrow_mut()?.sop_instance = uid;
            return Ok(());
        }
        Field::MessageID => |this: &mut DIMSEPrimitive, value| this.message_id = value,
        Field::MessageIDBeingRespondedTo => |this: &mut DIMSEPrimitive, value| {
            this.responded_to = value;
        },
        Field::EventTypeID => |this: &mut DIMSEPrimitive, value| this.event_type = value,
        Field::Status => |this: &mut DIMSEPrimitive, value| this.status = value,
        Field::ErrorComment => |this: &mut DIMSEPrimitive, value| this.error_comment = value,
        Field::ErrorID => |this: &mut DIMSEPrimitive, value| this.error_id = value,
        Field::EventInformation | Field::EventReply => {
            |this: &mut DIMSEPrimitive, value| this.data_set = value
        }
        _ => return event.setattr(field.keyword(), value),
    };
    slot(&mut *plain.try_borrow_mut()?, Some(value.unbind()));
    Ok(())
}
