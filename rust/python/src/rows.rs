//! Rows that are mappings, made into columns: a value for each field, and in the place of a data set a
//! mapping of its attributes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int64Array, LargeBinaryArray, LargeStringArray, ListArray, NullArray,
    RecordBatch, StructArray, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::Field as Column;
use fastdimse_core::command_set::Field;
use fastdimse_core::error::Rejection;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyIterator, PyList, PyMapping, PySequence,
    PyString,
};

use crate::events::{Batch, Columns, MappedColumn, arrow_error, from_iterator, unknown_column};
use crate::interrupts::interruptible;

/// A value, and the row that it is of.
type Value<'py> = (u64, Option<Bound<'py, PyAny>>);

/// Whether it is a row and not a primitive.
pub fn is_row(object: &Bound<'_, PyAny>) -> bool {
    object.cast::<PyMapping>().is_ok()
}

/// The `first` row and those behind it, at most `most`, as a batch; those before it were `done`.
/// Beside an event's there may be the columns that are `accepted`.
pub fn to_batch<'py>(
    first: Bound<'py, PyAny>,
    rest: &Bound<'py, PyIterator>,
    most: usize,
    done: u64,
    accepted: &dyn Columns,
) -> PyResult<Batch> {
    let py = first.py();
    let mut rows = Vec::new();
    let objects = [Ok(first)].into_iter().chain(rest.clone().take(most - 1));
    for (row, object) in (done..).zip(interruptible(py, objects)) {
        let mapping = object?.cast_into::<PyMapping>().map_err(|error| {
            let found = error.into_inner().get_type().to_string();
            PyTypeError::new_err(format!(
                "row {row} is {found}, where the rows before are mappings"
            ))
        })?;
        rows.push((row, Some(mapping)));
    }
    let mut columns = Vec::new();
    let mut broken: Vec<Rejection> = Vec::new();
    for (name, values) in by_name(rows.into_iter(), "")? {
        let none = || py.None().into_bound(py);
        let values = values.into_iter().map(|(_, value)| value.unwrap_or_else(none));
        let column = match Field::of_keyword(&name) {
            Some(field) => from_iterator(field, values.map(Ok), done, &mut broken)?,
            None => match accepted.column(&name, PyList::new(py, values)?.as_any())? {
                Some(MappedColumn::Array(column) | MappedColumn::Repeated(column)) => column,
                None => return Err(unknown_column(py, &name, accepted)),
            },
        };
        columns.push((name, column, true));
    }
    broken.sort_by_key(|rejection| rejection.row);
    broken.dedup_by_key(|rejection| rejection.row);
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(arrow_error)?;
    Ok((batch, broken))
}

/// Whether it is a data set by its attributes.
pub fn is_structured(value: &Bound<'_, PyAny>) -> bool {
    !is_leaf(value) && (value.cast::<PyMapping>().is_ok() || is_data_set(value))
}

/// Whether it is surely no data set: what most values are, and what is known at once.
fn is_leaf(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
}

/// A column of data sets by their attributes, each with its row.
pub fn data_sets<'py>(field: Field, values: Vec<(u64, Bound<'py, PyAny>)>) -> PyResult<ArrayRef> {
    let Some((_, first)) = values.first() else { return Ok(Arc::new(NullArray::new(0))) };
    let py = first.py();
    let values = values.into_iter().map(|(row, value)| (row, not_none(value)));
    array(py, values.collect(), field.keyword())
}

fn not_none(value: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    Some(value).filter(|value| !value.is_none())
}

/// Whether it is a `pydicom.Dataset`, without an import of pydicom.
fn is_data_set(value: &Bound<'_, PyAny>) -> bool {
    value.hasattr(intern!(value.py(), "to_json_dict")).unwrap_or(false)
}

/// The values of each name, in the order in which names come first.
fn by_name<'py>(
    rows: impl Iterator<Item = (u64, Option<Bound<'py, PyMapping>>)>,
    path: &str,
) -> PyResult<Vec<(String, Vec<Value<'py>>)>> {
    let mut columns: Vec<(String, Vec<Value<'py>>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut before: Vec<u64> = Vec::new();
    for (row, mapping) in rows {
        if let Some(mapping) = mapping {
            for item in mapping.items()? {
                let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
                let name: String = name.extract().map_err(|_| {
                    PyTypeError::new_err(format!("row {row}{path}: names of fields must be str"))
                })?;
                let place = *places.entry(name.clone()).or_insert_with(|| {
                    columns.push((name, before.iter().map(|&row| (row, None)).collect()));
                    columns.len() - 1
                });
                columns[place].1.push((row, not_none(value)));
            }
        }
        before.push(row);
        for (_, values) in &mut columns {
            if values.len() < before.len() {
                values.push((row, None));
            }
        }
    }
    Ok(columns)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mapping,
    List,
    Text,
    Integer,
    Float,
    Bytes,
}

fn kind(row: u64, value: &Bound<'_, PyAny>, path: &str) -> PyResult<Kind> {
    if value.is_instance_of::<PyString>() {
        Ok(Kind::Text)
    } else if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        Ok(Kind::Integer)
    } else if value.is_instance_of::<PyFloat>() {
        Ok(Kind::Float)
    } else if value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>() {
        Ok(Kind::Bytes)
    } else if value.cast::<PyMapping>().is_ok() {
        Ok(Kind::Mapping)
    } else if value.cast::<PySequence>().is_ok() {
        Ok(Kind::List)
    } else {
        let found = value.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "row {row}, {path}: it is {found}, it must be a str, a number, bytes, a mapping of \
             attributes, or a list of these"
        )))
    }
}

/// An array of values that may be nested.
fn array<'py>(py: Python<'py>, values: Vec<Value<'py>>, path: &str) -> PyResult<ArrayRef> {
    let values = values.into_iter().map(|(row, value)| Ok((row, plain(py, value)?)));
    let values: Vec<Value<'py>> = values.collect::<PyResult<_>>()?;
    let mut kinds = Vec::with_capacity(values.len());
    for (row, value) in &values {
        kinds.push(value.as_ref().map(|value| kind(*row, value, path)).transpose()?);
    }
    let is_any = |kind| kinds.contains(&Some(kind));
    if is_any(Kind::List) {
        return lists(py, values, &kinds, path);
    }
    let found: Vec<Kind> = [Kind::Mapping, Kind::Text, Kind::Integer, Kind::Float, Kind::Bytes]
        .into_iter()
        .filter(|&kind| is_any(kind))
        .collect();
    match found[..] {
        [] => Ok(Arc::new(NullArray::new(values.len()))),
        [Kind::Mapping] => structs(py, values, path),
        [Kind::Text] => Ok(Arc::new(LargeStringArray::from(extracted::<String>(&values)?))),
        [Kind::Integer] => integers(&values),
        [Kind::Float] | [Kind::Integer, Kind::Float] => {
            Ok(Arc::new(Float64Array::from(extracted::<f64>(&values)?)))
        }
        [Kind::Bytes] => {
            let bytes = extracted::<Vec<u8>>(&values)?;
            Ok(Arc::new(bytes.iter().map(Option::as_deref).collect::<LargeBinaryArray>()))
        }
        // Decimal strings may be given as numbers in some rows and as text in others.
        [Kind::Text, ..] if !is_any(Kind::Mapping) && !is_any(Kind::Bytes) => {
            let text = |value: &Bound<'py, PyAny>| Ok(value.str()?.to_str()?.to_owned());
            let texts = values.iter().map(|(_, value)| value.as_ref().map(text).transpose());
            let texts: Vec<Option<String>> = texts.collect::<PyResult<_>>()?;
            Ok(Arc::new(LargeStringArray::from(texts)))
        }
        _ => {
            let first = kinds.iter().flatten().next();
            let other = kinds.iter().position(|kind| kind.is_some() && kind.as_ref() != first);
            let (row, value) = &values[other.unwrap_or(0)];
            let value = value.as_ref().map(|value| value.get_type().name()).transpose()?;
            let value = value.map(|name| name.to_string()).unwrap_or_default();
            Err(PyTypeError::new_err(format!(
                "row {row}, {path}: it is {value}, which the rows before it are not: one attribute \
                 has values of one kind"
            )))
        }
    }
}

/// A `pydicom.Dataset` and an object of the DICOM JSON model as plain mappings.
fn plain<'py>(
    py: Python<'py>,
    value: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(value) = value else { return Ok(None) };
    if is_leaf(&value) {
        return Ok(Some(value));
    }
    let module = || py.import(intern!(py, "fastdimse._data_set"));
    if is_data_set(&value) {
        return module()?.call_method1(intern!(py, "of_dataset"), (value,)).map(Some);
    }
    let Ok(mapping) = value.cast::<PyMapping>() else { return Ok(Some(value)) };
    match mapping.values()?.iter().next() {
        // Items of sequences are in lists: only the JSON model has a mapping in a mapping.
        Some(first) if first.cast::<PyMapping>().is_ok() => {
            module()?.call_method1(intern!(py, "of_json_model"), (value,)).map(Some)
        }
        _ => Ok(Some(value)),
    }
}

fn structs<'py>(py: Python<'py>, values: Vec<Value<'py>>, path: &str) -> PyResult<ArrayRef> {
    let valid: NullBuffer = values.iter().map(|(_, value)| value.is_some()).collect();
    let length = values.len();
    let rows = values.into_iter().map(|(row, value)| {
        let mapping = value.map(|value| value.cast_into::<PyMapping>()).transpose();
        mapping.map(|mapping| (row, mapping))
    });
    let rows: Vec<(u64, Option<Bound<'py, PyMapping>>)> =
        rows.collect::<Result<_, _>>().map_err(PyErr::from)?;
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (name, values) in by_name(rows.into_iter(), path)? {
        let array = array(py, values, &format!("{path}.{name}"))?;
        fields.push(Column::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let array = StructArray::try_new_with_length(fields.into(), arrays, Some(valid), length);
    Ok(Arc::new(array.map_err(arrow_error)?))
}

/// Where one row has a list, a value alone is a list of one.
fn lists<'py>(
    py: Python<'py>,
    values: Vec<Value<'py>>,
    kinds: &[Option<Kind>],
    path: &str,
) -> PyResult<ArrayRef> {
    let mut all: Vec<Value<'py>> = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    for ((row, value), kind) in values.iter().zip(kinds) {
        let before = all.len();
        match (value, kind) {
            (Some(list), Some(Kind::List)) => {
                for one in interruptible(py, list.try_iter()?) {
                    all.push((*row, not_none(one?)));
                }
            }
            (Some(one), _) => all.push((*row, Some(one.clone()))),
            (None, _) => {}
        }
        lengths.push(all.len() - before);
    }
    let valid: NullBuffer = values.iter().map(|(_, value)| value.is_some()).collect();
    let array = array(py, all, path)?;
    let field = Arc::new(Column::new_list_field(array.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let lists = ListArray::try_new(field, offsets, array, Some(valid)).map_err(arrow_error)?;
    Ok(Arc::new(lists))
}

fn integers(values: &[Value<'_>]) -> PyResult<ArrayRef> {
    match extracted::<i64>(values) {
        Ok(signed) => Ok(Arc::new(Int64Array::from(signed))),
        // UV goes beyond.
        Err(_) => Ok(Arc::new(UInt64Array::from(extracted::<u64>(values)?))),
    }
}

fn extracted<T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>>(
    values: &[Value<'_>],
) -> PyResult<Vec<Option<T>>> {
    values.iter().map(|(_, value)| value.as_ref().map(PyAnyMethods::extract).transpose()).collect()
}
