//! Structured data sets as mappings, converted to columns of structs.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int64Array, LargeBinaryArray, LargeStringArray, ListArray, NullArray,
    StructArray, UInt64Array,
};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, OffsetBuffer};
use arrow_schema::Field as Column;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::{Reason, Rejection};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyString};

use crate::arrow::error::arrow_error;
use crate::input::data_sets::reader::{Node, Reader};
use crate::input::sparse::dense;

/// Converts a column of structured data sets, each with its row. Those that cannot be converted are null,
/// and `rejected`.
pub fn data_sets<'py>(
    field: Field,
    values: Vec<(u64, Bound<'py, PyAny>)>,
    rejected: &mut Vec<Rejection>,
) -> PyResult<ArrayRef> {
    let mut reader = Reader::new(field);
    let mut given = Vec::with_capacity(values.len());
    let mut errors = Vec::new();
    for (place, (row, value)) in values.into_iter().enumerate() {
        let read = reader.read(row, value)?;
        errors.extend(read.as_ref().err().cloned().map(|error| (place, error)));
        given.push((row, read.ok().flatten()));
    }
    for (place, error) in errors.into_iter().chain(reader.too_wide()) {
        let row = given[place].0;
        given[place].1 = None;
        rejected.push(Rejection::new(Reason::DataSet(error)).field(field).row(row));
    }
    let present = given.iter().enumerate().filter_map(|(place, (row, given))| {
        given.as_ref().map(|given| Cell { place, row: *row, given })
    });
    let cells = Cells { rows: given.len(), present: present.collect() };
    array(&cells, reader.names(), field.keyword())
}

/// A value, its position in the column, and its row in the input.
#[derive(Clone, Copy)]
struct Cell<'g, 'py> {
    place: usize,
    row: u64,
    given: &'g Node<'py>,
}

/// A column without a type yet: its present values in order.
struct Cells<'g, 'py> {
    rows: usize,
    present: Vec<Cell<'g, 'py>>,
}

impl<'py> Cells<'_, 'py> {
    /// The validity of the column.
    fn valid(&self) -> NullBuffer {
        let mut valid = BooleanBufferBuilder::new(self.rows);
        valid.append_n(self.rows, false);
        self.present.iter().for_each(|cell| valid.set_bit(cell.place, true));
        NullBuffer::new(valid.finish())
    }

    /// The values, of columns that have single values only.
    fn values(&self) -> impl Iterator<Item = (usize, &Bound<'py, PyAny>)> {
        self.present.iter().filter_map(|cell| match cell.given {
            Node::Value(value) => Some((cell.place, value)),
            _ => None,
        })
    }

    fn extracted<T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(
        &self,
    ) -> PyResult<impl Iterator<Item = Option<T>>> {
        let values = self.values().map(|(place, value)| Ok((place, value.extract()?)));
        Ok(dense(self.rows, values.collect::<PyResult<Vec<(usize, T)>>>()?))
    }
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

fn kind(cell: &Cell<'_, '_>, path: &str) -> PyResult<Kind> {
    let value = match cell.given {
        Node::List(_) => return Ok(Kind::List),
        Node::Attributes(_) => return Ok(Kind::Mapping),
        Node::Value(value) => value,
    };
    if value.is_instance_of::<PyString>() {
        Ok(Kind::Text)
    } else if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        Ok(Kind::Integer)
    } else if value.is_instance_of::<PyFloat>() {
        Ok(Kind::Float)
    } else if value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>() {
        Ok(Kind::Bytes)
    } else {
        let (row, found) = (cell.row, value.get_type().name()?);
        Err(PyTypeError::new_err(format!(
            "row {row}, {path} must be a str, a number, bytes, a mapping of attributes, or a list of \
             these, not {found}"
        )))
    }
}

/// Converts values, which may be nested as deep as data sets.
fn array(cells: &Cells<'_, '_>, names: &[String], path: &str) -> PyResult<ArrayRef> {
    let kinds = cells.present.iter().map(|cell| kind(cell, path));
    let kinds: Vec<Kind> = kinds.collect::<PyResult<_>>()?;
    let is_any = |kind| kinds.contains(&kind);
    if is_any(Kind::List) {
        return lists(cells, names, path);
    }
    let found: Vec<Kind> = [Kind::Mapping, Kind::Text, Kind::Integer, Kind::Float, Kind::Bytes]
        .into_iter()
        .filter(|&kind| is_any(kind))
        .collect();
    match found[..] {
        [] => Ok(Arc::new(NullArray::new(cells.rows))),
        [Kind::Mapping] => structs(cells, names, path),
        [Kind::Text] => Ok(Arc::new(cells.extracted::<String>()?.collect::<LargeStringArray>())),
        [Kind::Integer] => integers(cells),
        [Kind::Float] | [Kind::Integer, Kind::Float] => {
            Ok(Arc::new(cells.extracted::<f64>()?.collect::<Float64Array>()))
        }
        [Kind::Bytes] => Ok(Arc::new(cells.extracted::<Vec<u8>>()?.collect::<LargeBinaryArray>())),
        // Decimal strings may be numbers in some rows and text in others.
        [Kind::Text, ..] if !is_any(Kind::Mapping) && !is_any(Kind::Bytes) => {
            let text =
                |(place, value): (usize, &Bound<'_, PyAny>)| Ok((place, value.str()?.to_string()));
            let texts: Vec<(usize, String)> = cells.values().map(text).collect::<PyResult<_>>()?;
            Ok(Arc::new(dense(cells.rows, texts).collect::<LargeStringArray>()))
        }
        _ => Err(mixed_kinds_error(cells, &kinds, path)?),
    }
}

fn mixed_kinds_error(cells: &Cells<'_, '_>, kinds: &[Kind], path: &str) -> PyResult<PyErr> {
    let other = kinds.iter().position(|kind| *kind != kinds[0]).unwrap_or(0);
    let cell = &cells.present[other];
    let found = match cell.given {
        Node::Value(value) => value.get_type().name()?.to_string(),
        _ => "a mapping".to_owned(),
    };
    Ok(PyTypeError::new_err(format!(
        "row {}, {path}: it is {found}, unlike the rows before it: an attribute must have values of one \
         type",
        cell.row
    )))
}

fn structs(cells: &Cells<'_, '_>, names: &[String], path: &str) -> PyResult<ArrayRef> {
    let mut columns: Vec<(u32, Vec<Cell<'_, '_>>)> = Vec::new();
    let mut numbers: HashMap<u32, usize> = HashMap::new();
    for &Cell { place, row, given } in &cells.present {
        let Node::Attributes(attributes) = given else { continue };
        for (name, given) in attributes {
            let number = *numbers.entry(*name).or_insert_with(|| {
                columns.push((*name, Vec::new()));
                columns.len() - 1
            });
            let present = &mut columns[number].1;
            // A mapping that is not a dict may contain a name twice.
            let is_new = present.last().is_none_or(|last| last.place < place);
            present.extend(given.as_ref().filter(|_| is_new).map(|given| Cell {
                place,
                row,
                given,
            }));
        }
    }
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (name, present) in columns {
        let name = &names[name as usize];
        let cells = Cells { rows: cells.rows, present };
        let array = array(&cells, names, &format!("{path}.{name}"))?;
        fields.push(Column::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let valid = Some(cells.valid());
    let array = StructArray::try_new_with_length(fields.into(), arrays, valid, cells.rows);
    Ok(Arc::new(array.map_err(arrow_error)?))
}

/// A column in which at least one row has a list: a single value is a list of one.
fn lists(cells: &Cells<'_, '_>, names: &[String], path: &str) -> PyResult<ArrayRef> {
    let mut inner = Cells { rows: 0, present: Vec::new() };
    let mut lengths = vec![0; cells.rows];
    for cell in &cells.present {
        let before = inner.rows;
        let mut add = |given: Option<_>| {
            let (place, row) = (inner.rows, cell.row);
            inner.present.extend(given.map(|given| Cell { place, row, given }));
            inner.rows += 1;
        };
        match cell.given {
            Node::List(list) => list.iter().for_each(|one| add(one.as_ref())),
            one => add(Some(one)),
        }
        lengths[cell.place] = inner.rows - before;
    }
    let array = array(&inner, names, path)?;
    let field = Arc::new(Column::new_list_field(array.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let lists =
        ListArray::try_new(field, offsets, array, Some(cells.valid())).map_err(arrow_error)?;
    Ok(Arc::new(lists))
}

fn integers(cells: &Cells<'_, '_>) -> PyResult<ArrayRef> {
    match cells.extracted::<i64>() {
        Ok(signed) => Ok(Arc::new(signed.collect::<Int64Array>())),
        // The VR UV has values beyond i64.
        Err(_) => Ok(Arc::new(cells.extracted::<u64>()?.collect::<UInt64Array>())),
    }
}
