//! Checks of the structure of arrays: lengths, counts, buffers and children.
//!
//! arrow-rs relies on these. It is not possible to check that a buffer is as long as the offsets and the
//! number of rows require, nor that nobody writes to it: the interface does not transfer the sizes of
//! buffers.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowArray;
use arrow_schema::{DataType, Field};

use crate::arrow::data_type::pointers;
use crate::arrow::error::{ColumnPath, ImportError};

/// More rows than fit any memory: sizes in bytes computed from fewer rows do not overflow.
const MAX_ROWS: i64 = 1 << 40;

/// The error for a type that no column may have.
fn unsupported(data_type: &DataType, place: &ColumnPath) -> ImportError {
    place.type_error(&format!(
        "must be a number, text, binary, a dictionary of these, or a struct for data sets, not \
         {data_type}"
    ))
}

/// The number of buffers of an array of this type; for views, the minimum.
pub fn buffers(data_type: &DataType, place: &ColumnPath) -> Result<i64, ImportError> {
    use DataType::*;
    Ok(match data_type {
        Null => 0,
        Struct(_) | FixedSizeList(..) => 1,
        Utf8 | LargeUtf8 | Binary | LargeBinary | Utf8View | BinaryView => 3,
        Union(..) | RunEndEncoded(..) | ListView(_) | LargeListView(_) | Map(..) => {
            return Err(unsupported(data_type, place));
        }
        _ => 2,
    })
}

/// Checks that arrays of a type can be imported.
pub fn check_type(data_type: &DataType, place: &ColumnPath) -> Result<(), ImportError> {
    buffers(data_type, place)?;
    if let DataType::Dictionary(_, values) = data_type {
        check_type(values, place)?;
    }
    let fields = child_fields(data_type);
    fields.iter().try_for_each(|field| check_type(field.data_type(), &place.inside(field.name())))
}

/// Checks what arrow-rs relies on when it imports an array, except the values in its buffers.
pub fn check(
    array: &FFI_ArrowArray,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<(), ImportError> {
    let FFI_ArrowArray { length, offset, null_count, n_buffers, .. } = *array;
    let buffers = buffers(data_type, place)?;
    if length < 0 || offset < 0 || length > MAX_ROWS || offset > MAX_ROWS {
        return Err(place.data_error(&format!("it has {length} rows at offset {offset}")));
    }
    if !(-1..=length).contains(&null_count) {
        return Err(place.data_error(&format!("it has {null_count} nulls in {length} rows")));
    }
    let is_view = matches!(data_type, DataType::Utf8View | DataType::BinaryView);
    // polars exports a validity buffer of a column of nulls, which is not read.
    let is_null = *data_type == DataType::Null && n_buffers == 1;
    if n_buffers != buffers && !is_null && !(is_view && (buffers..MAX_ROWS).contains(&n_buffers)) {
        return Err(place.data_error(&format!(
            "it has {n_buffers} buffers, {data_type} must have {buffers}{}",
            if is_view { " and more" } else { "" }
        )));
    }
    if n_buffers > 0 && array.buffers.is_null() {
        return Err(place.data_error("its buffers are missing"));
    }
    if buffers > 0 && null_count > 0 && buffer(array, 0).is_none() {
        return Err(place.data_error(&format!("it has {null_count} nulls, but no validity buffer")));
    }
    check_children(array, data_type, place)?;
    if array.length > 0 { check_buffers(array, data_type, place) } else { Ok(()) }
}

pub fn buffer(array: &FFI_ArrowArray, index: usize) -> Option<NonNull<c_void>> {
    NonNull::new(array.buffer(index).cast_mut().cast())
}

/// Checks the buffers of an array that is not empty.
fn check_buffers(
    array: &FFI_ArrowArray,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<(), ImportError> {
    use DataType::*;
    if array.n_buffers < 2 {
        return Ok(());
    }
    let missing = |index| place.data_error(&format!("its buffer {index} is missing"));
    let fixed = buffer(array, 1);
    if fixed.is_none() && !matches!(data_type, FixedSizeBinary(0)) {
        return Err(missing(1));
    }
    let end = (array.offset + array.length) as usize;
    // SAFETY: the buffer of offsets is present, and as long as the number of rows requires.
    let last = fixed.map(|first| unsafe {
        match data_type {
            Utf8 | Binary => i64::from(first.cast::<i32>().add(end).read_unaligned()),
            LargeUtf8 | LargeBinary => first.cast::<i64>().add(end).read_unaligned(),
            _ => 0,
        }
    });
    match last {
        Some(last) if last < 0 => Err(place.data_error(&format!("its last offset is {last}"))),
        Some(last) if last > 0 && buffer(array, 2).is_none() => Err(missing(2)),
        _ if matches!(data_type, Utf8View | BinaryView) => check_view_buffers(array, place),
        _ => Ok(()),
    }
}

fn check_view_buffers(array: &FFI_ArrowArray, place: &ColumnPath) -> Result<(), ImportError> {
    let count = array.n_buffers as usize - 3;
    if count == 0 {
        return Ok(());
    }
    let lengths = buffer(array, count + 2).map(NonNull::cast::<i64>);
    let Some(lengths) = lengths.filter(|lengths| lengths.is_aligned()) else {
        return Err(place.data_error("the lengths of its buffers are missing or not aligned"));
    };
    for index in 0..count {
        // SAFETY: there is a length for each buffer.
        let length = unsafe { lengths.add(index).read() };
        if length < 0 || length > 0 && buffer(array, index + 2).is_none() {
            let text = format!("its buffer {} has {length} bytes, or is missing", index + 2);
            return Err(place.data_error(&text));
        }
    }
    Ok(())
}

/// Checks the children and the dictionary of an array.
fn check_children(
    array: &FFI_ArrowArray,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<(), ImportError> {
    let (found, expected) = (array.n_children, child_fields(data_type).len());
    if usize::try_from(found) != Ok(expected) {
        let what = if place.is_table() { "columns" } else { "children" };
        return Err(
            place.data_error(&format!("it has {found} {what}, but its schema has {expected}"))
        );
    }
    // SAFETY: an array has `n_children` pointers to children.
    let Some(children) = (unsafe { pointers(array.children, found) }) else {
        return Err(place.data_error("children are missing"));
    };
    let rows = array.offset + array.length;
    for (child, field) in children.into_iter().zip(child_fields(data_type)) {
        let place = place.inside(field.name());
        check(child, field.data_type(), &place)?;
        let needed = match data_type {
            DataType::Struct(_) => rows,
            DataType::FixedSizeList(_, length) => rows * i64::from(*length),
            _ => 0,
        };
        if child.length < needed {
            return Err(
                place.data_error(&format!("it has {} rows, but needs {needed}", child.length))
            );
        }
    }
    match (array.dictionary(), data_type) {
        (Some(values), DataType::Dictionary(_, of)) => check(values, of, place),
        (None, DataType::Dictionary(..)) => Err(place.data_error("its dictionary is missing")),
        (Some(_), _) => Err(place.data_error("it has a dictionary, unlike its type")),
        (None, _) => Ok(()),
    }
}

/// The fields of the children of a type.
pub fn child_fields(data_type: &DataType) -> &[Arc<Field>] {
    match data_type {
        DataType::Struct(fields) => fields,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            std::slice::from_ref(field)
        }
        _ => &[],
    }
}
