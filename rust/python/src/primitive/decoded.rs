//! Decoded values as attributes of a primitive.

use fastdimse_core::command_set::{CommandSet, Source, Value, Vr};
use fastdimse_core::field::Field;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::primitive::latin_1;
use crate::primitive::slots::{DIMSEPrimitive, is_plain, uid_name};
use crate::primitive::uid::{set_uid, uid_type};

/// A primitive of class `cls` with the values of a command set, or the field whose value it rejected.
/// `before` is called before each field is set.
pub fn new_primitive<'py>(
    cls: &Bound<'py, PyType>,
    command_set: &CommandSet<'_>,
    before: impl Fn(Field) -> PyResult<()>,
) -> Result<Bound<'py, PyAny>, (Field, PyErr)> {
    let primitive = cls.call0().map_err(|error| (Field::MessageID, error))?;
    for element in command_set.kind.elements() {
        if let Source::Field(field) = element.source {
            before(field)
                .and_then(|()| set_decoded(&primitive, field, element.vr, command_set.get(field)))
                .map_err(|error| (field, error))?;
        }
    }
    Ok(primitive)
}

/// Sets a decoded value with the type that the class has.
pub fn set_decoded(
    primitive: &Bound<'_, PyAny>,
    field: Field,
    vr: Vr,
    value: Value<'_>,
) -> PyResult<()> {
    let py = primitive.py();
    match value {
        Value::Absent => Ok(()),
        Value::Us(number) => set(primitive, field, number.into_pyobject(py)?.into_any()),
        Value::UsMany(_) => Ok(()),
        Value::Text(text) => {
            let text = match std::str::from_utf8(text) {
                Ok(ascii) if ascii.is_ascii() => PyString::new(py, ascii),
                _ => PyString::new(py, &latin_1::decode(text)),
            };
            let text = text.into_any();
            if vr != Vr::Ui || is_plain(primitive) {
                return set(primitive, field, text);
            }
            set(primitive, field, uid_type(py)?.call1((text,))?)
        }
    }
}

/// Sets an attribute; of an object of exactly one of the two classes, sets its slot.
pub fn set(primitive: &Bound<'_, PyAny>, field: Field, value: Bound<'_, PyAny>) -> PyResult<()> {
    let plain = match is_plain(primitive) {
        true => primitive.cast::<DIMSEPrimitive>()?,
        false => return primitive.setattr(field.keyword(), value),
    };
    if let Some(name) = uid_name(field) {
        let uid = set_uid(&value, name)?;
        if let Some(slot) = plain.try_borrow_mut()?.uid_slot(field) {
            *slot = uid;
        }
    } else if let Some(slot) = plain.try_borrow_mut()?.slot(field) {
        *slot = Some(value.unbind());
    }
    Ok(())
}
