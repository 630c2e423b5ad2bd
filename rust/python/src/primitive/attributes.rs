//! The attributes of a primitive as the elements of its command set.

use fastdimse_core::command_set::{CommandSet, Source, Usage, Value, Vr};
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::rejection::Reason;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString, PyTuple};

use crate::primitive::latin_1;
use crate::primitive::slots::{DIMSEPrimitive, Service, as_plain};

/// A value of a primitive as an element of a command set.
pub enum ElementValue<'py> {
    /// `None`: the element is omitted.
    Absent,
    /// A number.
    Us(u16),
    /// Several numbers, or an element without a value.
    UsMany(Vec<u16>),
    /// ASCII text.
    Str(Bound<'py, PyString>),
    /// Other text, encoded.
    Bytes(Vec<u8>),
}

impl ElementValue<'_> {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Absent => Value::Absent,
            Self::Us(value) => Value::Us(*value),
            Self::UsMany(values) => Value::UsMany(values),
            Self::Str(text) => Value::Text(text.to_str().unwrap_or_default().as_bytes()),
            Self::Bytes(text) => Value::Text(text),
        }
    }
}

/// The reason that a value cannot be an element: a rule of the core, or a Python exception.
pub enum ElementError {
    /// It violates a rule.
    Invalid(Reason),
    /// Python code raised an exception.
    Raised(PyErr),
}

impl From<PyErr> for ElementError {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

/// The values of a primitive of fastdimse or pynetdicom.
pub struct MessageValues<'py> {
    /// The message.
    pub kind: Kind,
    values: [ElementValue<'py>; Field::COUNT],
    /// The stream of the data set.
    pub data_set: Option<Bound<'py, PyAny>>,
}

impl<'py> MessageValues<'py> {
    /// Reads the attributes of `object` that its message carries, a message of `service`.
    ///
    /// # Errors
    /// The field whose value was rejected.
    pub fn read(
        object: &Bound<'py, PyAny>,
        service: Service,
    ) -> Result<Self, (Field, ElementError)> {
        let plain = as_plain(object, service);
        let get = |field: Field| -> PyResult<Option<Bound<'py, PyAny>>> {
            match plain {
                Some(plain) => {
                    let value = DIMSEPrimitive::value(plain, field)?;
                    Ok(value.map(|value| value.into_bound(object.py())))
                }
                None => object.getattr_opt(field.keyword()),
            }
        };
        let of_field = |field| get(field).map_err(|error| (field, ElementError::Raised(error)));
        let responded_to = of_field(Field::MessageIDBeingRespondedTo)?;
        let kind = service.kind(responded_to.is_some_and(|value| !value.is_none()));
        let mut values = [const { ElementValue::Absent }; Field::COUNT];
        for element in kind.elements() {
            if let Source::Field(field) = element.source
                && element.usage(kind) != Usage::Absent
            {
                values[field as usize] = element_value(of_field(field)?, field, element.vr)
                    .map_err(|why| (field, why))?;
            }
        }
        let data_set = of_field(kind.data_set())?.filter(|data_set| !data_set.is_none());
        Ok(Self { kind, values, data_set })
    }

    /// The value of a field.
    pub fn get(&self, field: Field) -> &ElementValue<'py> {
        &self.values[field as usize]
    }

    /// The command set; `announced` is whether a data set follows.
    pub fn command_set(&self, announced: bool) -> CommandSet<'_> {
        let mut command_set = CommandSet::new(self.kind, announced);
        for element in self.kind.elements() {
            if let Source::Field(field) = element.source {
                command_set.set(field, self.get(field).as_value());
            }
        }
        command_set
    }
}

/// A value as pydicom writes it. A missing attribute is an element without a value, as in pynetdicom.
fn element_value<'py>(
    value: Option<Bound<'py, PyAny>>,
    field: Field,
    vr: Vr,
) -> Result<ElementValue<'py>, ElementError> {
    let without_value = || match vr {
        Vr::Us | Vr::Ul => ElementValue::UsMany(Vec::new()),
        Vr::Ui | Vr::Lo => ElementValue::Bytes(Vec::new()),
    };
    let Some(value) = value else { return Ok(without_value()) };
    if value.is_none() {
        return Ok(ElementValue::Absent);
    }
    // The class accepts any object for these two, and pydicom converts it if it can.
    if matches!(field, Field::ErrorComment | Field::ErrorID) {
        if value.is_instance_of::<PyByteArray>() && vr == Vr::Lo && value.len()? > 1 {
            return Err(invalid_value(&value, COMMENT));
        }
        let value = sole_item(value)?;
        if value.is_none() || value.len().is_ok_and(|length| length == 0) {
            return Ok(without_value());
        }
        return if vr == Vr::Lo { comment_value(&value) } else { number_values(&value) };
    }
    if vr == Vr::Ui { uid_value(&value) } else { us(&value).map(ElementValue::Us) }
}

/// pydicom treats a list of one as its item.
fn sole_item(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    if value.hasattr(intern!(value.py(), "append"))? && value.len()? == 1 {
        value.get_item(0)
    } else {
        Ok(value)
    }
}

const COMMENT: &str = "a str of at most 64 characters";

pub fn invalid_value(value: &Bound<'_, PyAny>, accepted: &str) -> ElementError {
    // `ascii` escapes unprintable characters.
    match PyString::new(value.py(), "{!a}").call_method1("format", (value,)) {
        Ok(shown) => {
            let text: String = shown.to_string().chars().take(70).collect();
            ElementError::Invalid(Reason::Value(format!("{text} is not {accepted}").into()))
        }
        Err(error) => ElementError::Raised(error),
    }
}

fn number_values<'py>(value: &Bound<'py, PyAny>) -> Result<ElementValue<'py>, ElementError> {
    // pydicom packs the items of a list, but not those of other sequences.
    if !value.hasattr(intern!(value.py(), "append"))? {
        return us(value).map(ElementValue::Us);
    }
    let numbers: Result<_, ElementError> = value.try_iter()?.map(|number| us(&number?)).collect();
    numbers.map(ElementValue::UsMany)
}

/// Whether the value is a list, a tuple or a `MultiValue` of pydicom, but not text or bytes.
fn is_sequence(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyString>() || PyUntypedBuffer::get(value).is_ok() {
        return Ok(false);
    }
    Ok(value.is_instance_of::<PyTuple>() || value.hasattr(intern!(value.py(), "append"))?)
}

/// A number that fits the VR US, from any object with `__index__`.
fn us(value: &Bound<'_, PyAny>) -> Result<u16, ElementError> {
    if let Ok(number) = value.extract::<u16>() {
        return Ok(number);
    }
    match value.extract::<i128>() {
        Ok(number) => Err(ElementError::Invalid(Reason::OutOfRange(number))),
        Err(_) => Err(invalid_value(value, "an integer from 0 to 65535 (VR US)")),
    }
}

fn uid_value<'py>(value: &Bound<'py, PyAny>) -> Result<ElementValue<'py>, ElementError> {
    let Ok(text) = value.cast::<PyString>() else {
        return Err(invalid_value(value, "a UID"));
    };
    match text.to_str() {
        Ok(several) if several.contains('\\') => latin_1_uid(value, &each_stripped(several)),
        Ok(ascii) if ascii.is_ascii() => Ok(ElementValue::Str(text.clone())),
        Ok(other) => latin_1_uid(value, other),
        Err(_) => Err(invalid_value(value, "a UID")),
    }
}

fn latin_1_uid<'py>(
    value: &Bound<'py, PyAny>,
    text: &str,
) -> Result<ElementValue<'py>, ElementError> {
    latin_1::encode(text).map(ElementValue::Bytes).ok_or_else(|| {
        invalid_value(value, "text of the default repertoire (ISO 646, PS3.5 6.1.2.1)")
    })
}

/// Several values in one text, each without the white space of Python around it, as pydicom writes them.
fn each_stripped(several: &str) -> String {
    let is_space = |one: char| one.is_whitespace() || ('\x1c'..='\x1f').contains(&one);
    let values: Vec<&str> = several.split('\\').map(|one| one.trim_matches(is_space)).collect();
    values.join("\\")
}

fn comment_value<'py>(value: &Bound<'py, PyAny>) -> Result<ElementValue<'py>, ElementError> {
    if let Ok(text) = value.cast_exact::<PyString>()
        && text.to_str().is_ok_and(str::is_ascii)
    {
        return Ok(ElementValue::Str(text.clone()));
    }
    comment_bytes(value, true).map(ElementValue::Bytes)
}

/// Text or bytes, or several of them, joined with a backslash (PS3.5 6.2).
fn comment_bytes(value: &Bound<'_, PyAny>, several: bool) -> Result<Vec<u8>, ElementError> {
    if let Ok(text) = value.cast::<PyString>() {
        return match text.to_str().ok().and_then(latin_1::encode) {
            Some(bytes) => Ok(bytes),
            None => Ok(replaced(text)?),
        };
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(bytes.to_vec());
    }
    if several && is_sequence(value)? {
        let values: Vec<Bound<'_, PyAny>> = value.try_iter()?.collect::<PyResult<_>>()?;
        let texts = values.iter().filter(|value| value.is_instance_of::<PyString>()).count();
        if texts != 0 && texts != values.len() {
            return Err(invalid_value(value, "of one kind: all str, or all bytes"));
        }
        let values: Result<Vec<Vec<u8>>, ElementError> =
            values.iter().map(|value| comment_bytes(value, false)).collect();
        return Ok(values?.join(&b'\\'));
    }
    Err(invalid_value(value, COMMENT))
}

/// pydicom writes a question mark for characters that Latin-1 lacks, and warns.
fn replaced(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    let py = text.py();
    let message = "ErrorComment has characters outside Latin-1: '?' is sent for each";
    py.import(intern!(py, "warnings"))?.call_method1(intern!(py, "warn"), (message,))?;
    let codec = (intern!(py, "iso8859-1"), intern!(py, "replace"));
    let bytes = text.call_method1(intern!(py, "encode"), codec)?;
    Ok(bytes.cast::<PyBytes>()?.as_bytes().to_vec())
}
