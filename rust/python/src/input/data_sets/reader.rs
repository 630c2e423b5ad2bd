//! Structured data sets as Python objects: mappings of attributes, `pydicom.Dataset`, and the DICOM JSON
//! model (PS3.18 F). Each is read once.

use std::collections::HashMap;

use fastdimse_core::data_set::error::{DataSetError, DataSetReason};
use fastdimse_core::data_set::header::DEEPEST;
use fastdimse_core::data_set::width::{Item, Widths};
use fastdimse_core::field::Field;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PySequence, PyString,
};

use crate::interrupts::interruptible;

/// A node of a data set.
pub enum Node<'py> {
    /// One value.
    Value(Bound<'py, PyAny>),
    /// Several values, or the items of a sequence; `None` is a null among them.
    List(Vec<Option<Node<'py>>>),
    /// Attributes, by the numbers of their names.
    Attributes(Vec<(u32, Option<Node<'py>>)>),
}

/// The reason that a data set cannot be read.
enum ReadError {
    /// An exception, which applies to the whole input.
    Exception(PyErr),
    /// An error of this data set only.
    DataSet(Box<DataSetError>),
}

impl From<PyErr> for ReadError {
    fn from(error: PyErr) -> Self {
        Self::Exception(error)
    }
}

/// Whether the value is a structured data set.
pub fn is_structured(value: &Bound<'_, PyAny>) -> bool {
    if is_leaf(value) || value.is_exact_instance_of::<PyList>() {
        return false;
    }
    value.cast::<PyMapping>().is_ok() || is_data_set(value)
}

/// Whether the value has a common type that is not a data set, determined quickly.
fn is_leaf(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
}

/// Whether the value is a `pydicom.Dataset`, without importing pydicom.
fn is_data_set(value: &Bound<'_, PyAny>) -> bool {
    !value.is_exact_instance_of::<PyDict>()
        && value.hasattr(intern!(value.py(), "to_json_dict")).unwrap_or(false)
}

/// Reads the data sets of a column one after the other.
pub struct Reader {
    field: Field,
    row: u64,
    /// The current path after the field.
    path: String,
    /// The identities of the current data set and the items around it.
    enclosing: Vec<usize>,
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    widths: Widths<u32>,
}

impl Reader {
    /// A reader for the column of a field.
    pub fn new(field: Field) -> Self {
        Self {
            field,
            row: 0,
            path: String::new(),
            enclosing: Vec::new(),
            names: Vec::new(),
            numbers: HashMap::new(),
            widths: Widths::default(),
        }
    }

    /// The names that occurred, by their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The data sets that are too wide to be encoded with the others: their positions, and the errors.
    pub fn too_wide(&self) -> impl Iterator<Item = (usize, Box<DataSetError>)> {
        const INSTEAD: &str = "encode fewer data sets together, or give this one as bytes";
        self.widths.too_wide_to_encode().into_iter().map(|(place, columns)| {
            let reason = DataSetReason::TooWide { columns, instead: INSTEAD };
            (place, DataSetError::new(reason))
        })
    }

    /// Reads the data set of a row.
    pub fn read<'py>(
        &mut self,
        row: u64,
        value: Bound<'py, PyAny>,
    ) -> PyResult<Result<Option<Node<'py>>, Box<DataSetError>>> {
        self.row = row;
        self.path.clear();
        self.enclosing.clear();
        let data_set = self.widths.data_set();
        if value.is_none() {
            return Ok(Ok(None));
        }
        if !is_structured(&value) {
            return Ok(Ok(Some(Node::Value(value))));
        }
        match self.attributes(value, data_set, false) {
            Ok(given) => Ok(Ok(Some(given))),
            Err(ReadError::DataSet(error)) => Ok(Err(error)),
            Err(ReadError::Exception(error)) => Err(error),
        }
    }

    /// Reads a data set or an item; `is_json_model` is whether it is part of the DICOM JSON model.
    fn attributes<'py>(
        &mut self,
        value: Bound<'py, PyAny>,
        item: Item,
        is_json_model: bool,
    ) -> Result<Node<'py>, ReadError> {
        let identity = value.as_ptr() as usize;
        if self.enclosing.contains(&identity) {
            return Err(self.data_set_error(DataSetReason::InItself));
        }
        if self.enclosing.len() > DEEPEST {
            return Err(self.data_set_error(DataSetReason::TooDeep(DEEPEST)));
        }
        self.enclosing.push(identity);
        let (mapping, is_json_model) = attributes_of(&value, is_json_model)?;
        let mut attributes = Vec::new();
        for pair in mapping.items()? {
            let (name, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = pair.extract()?;
            let name = self.number(&name)?;
            let column = self.widths.attribute(item, name);
            let given = match is_leaf(&value) {
                true => not_none(value),
                false => Some(self.nested(name, column, value, is_json_model)?),
            };
            attributes.push((name, given));
        }
        self.enclosing.pop();
        Ok(Node::Attributes(attributes))
    }

    fn number(&mut self, name: &Bound<'_, PyAny>) -> PyResult<u32> {
        let Ok(name) = name.cast::<PyString>() else {
            let text = "the names of attributes must be str";
            return Err(PyTypeError::new_err(format!("{}: {text}", self.place())));
        };
        let name = name.to_str()?;
        if let Some(&number) = self.numbers.get(name) {
            return Ok(number);
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Ok(number)
    }

    /// Reads an attribute that is more than a single value.
    fn nested<'py>(
        &mut self,
        name: u32,
        column: usize,
        value: Bound<'py, PyAny>,
        is_json_model: bool,
    ) -> Result<Node<'py>, ReadError> {
        let before = self.path.len();
        self.path.push('.');
        self.path.push_str(&self.names[name as usize]);
        let given = if is_structured(&value) {
            self.item(column, value, is_json_model)?
        } else if is_list(&value) {
            self.list(column, &value, is_json_model)?
        } else {
            Node::Value(value)
        };
        self.path.truncate(before);
        Ok(given)
    }

    fn item<'py>(
        &mut self,
        column: usize,
        value: Bound<'py, PyAny>,
        is_json_model: bool,
    ) -> Result<Node<'py>, ReadError> {
        let items = self.widths.items_of(column);
        let item = self.widths.item(items);
        self.attributes(value, item, is_json_model)
    }

    fn list<'py>(
        &mut self,
        column: usize,
        list: &Bound<'py, PyAny>,
        is_json_model: bool,
    ) -> Result<Node<'py>, ReadError> {
        let before = self.path.len();
        let mut values = Vec::new();
        for (number, value) in interruptible(list.py(), list.try_iter()?).enumerate() {
            let value = value?;
            if is_leaf(&value) {
                values.push(not_none(value));
                continue;
            }
            self.path.push_str(&format!("[{number}]"));
            values.push(Some(if is_structured(&value) {
                self.item(column, value, is_json_model)?
            } else if is_list(&value) {
                let text = "an attribute cannot have a list in a list";
                return Err(PyTypeError::new_err(format!("{}: {text}", self.place())).into());
            } else {
                Node::Value(value)
            }));
            self.path.truncate(before);
        }
        Ok(Node::List(values))
    }

    fn data_set_error(&self, reason: DataSetReason) -> ReadError {
        ReadError::DataSet(DataSetError::new(reason).inside(&self.path))
    }

    fn place(&self) -> String {
        format!("row {}, {}{}", self.row, self.field.keyword(), self.path)
    }
}

fn not_none(value: Bound<'_, PyAny>) -> Option<Node<'_>> {
    Some(value).filter(|value| !value.is_none()).map(Node::Value)
}

/// Whether the value is a list of values; some single values are sequences too.
fn is_list(value: &Bound<'_, PyAny>) -> bool {
    !value.is_instance_of::<PyByteArray>() && value.cast::<PySequence>().is_ok()
}

/// The attributes of a data set or item by name, and whether its items are part of the DICOM JSON model.
fn attributes_of<'py>(
    value: &Bound<'py, PyAny>,
    is_json_model: bool,
) -> PyResult<(Bound<'py, PyMapping>, bool)> {
    let py = value.py();
    let module = || py.import(intern!(py, "fastdimse._data_set"));
    if is_data_set(value) {
        let attributes = module()?.call_method1(intern!(py, "of_dataset"), (value,))?;
        return Ok((attributes.cast_into()?, false));
    }
    let mapping = value.cast::<PyMapping>()?;
    let first = || mapping.values().map(|values| values.iter().next());
    // Items of sequences are in lists: only the DICOM JSON model has a mapping in a mapping.
    if is_json_model || first()?.is_some_and(|first| first.cast::<PyMapping>().is_ok()) {
        let attributes = module()?.call_method1(intern!(py, "of_json_model"), (value,))?;
        return Ok((attributes.cast_into()?, true));
    }
    Ok((mapping.clone(), false))
}
