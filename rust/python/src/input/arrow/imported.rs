//! Arrays as arrow-rs data: built once from checked structures, with their values checked.

use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowArray;
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::DataType;

use crate::input::arrow::check::{buffer, child_fields};
use crate::input::arrow::data_type::pointers;
use crate::input::arrow::error::{ColumnPath, ImportError};
use crate::input::arrow::values::checked;

/// The maximum alignment of the values of any type.
const MAX_ALIGNMENT: usize = 16;

/// The data of an array whose structure was checked by [`super::check::check`]. Its buffers keep
/// `owner` alive, which `array` is or belongs to.
pub fn data(
    array: &FFI_ArrowArray,
    owner: &Arc<FFI_ArrowArray>,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<ArrayData, ImportError> {
    if array.length == 0 {
        // The buffers of an empty array may be missing.
        return Ok(ArrayData::new_empty(data_type));
    }
    let builder = ArrayDataBuilder::new(data_type.clone())
        .len(array.len())
        .offset(array.offset())
        .nulls(nulls(array, owner, data_type))
        .buffers(buffers(array, owner, data_type, place)?)
        .child_data(child_data(array, owner, data_type, place)?);
    // SAFETY: the structure was checked, the buffers have the lengths that it requires and are aligned,
    // and the values are checked before anything else reads them.
    checked(unsafe { builder.build_unchecked() }, place)
}

/// The validity of the rows; `None` if the array has a count of 0 nulls. Any other count may be wrong, so the
/// nulls are counted.
fn nulls(
    array: &FFI_ArrowArray,
    owner: &Arc<FFI_ArrowArray>,
    data_type: &DataType,
) -> Option<NullBuffer> {
    if *data_type == DataType::Null || array.null_count == 0 {
        return None;
    }
    let first = buffer(array, 0)?.cast();
    let bits = array.offset() + array.len();
    let validity = lent(first, bits.div_ceil(8), 1, owner);
    Some(NullBuffer::new(BooleanBuffer::new(validity, array.offset(), array.len())))
}

/// The buffers after the validity.
fn buffers(
    array: &FFI_ArrowArray,
    owner: &Arc<FFI_ArrowArray>,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<Vec<Buffer>, ImportError> {
    use DataType::*;
    let rows = array.offset() + array.len();
    let fixed = |index, length, alignment| match buffer(array, index) {
        Some(first) if length > 0 => lent(first.cast(), length, alignment, owner),
        _ => MutableBuffer::new(0).into(),
    };
    Ok(match data_type {
        Null | Struct(_) | FixedSizeList(..) => Vec::new(),
        Boolean => vec![fixed(1, rows.div_ceil(8), 1)],
        Utf8 | Binary => {
            let offsets = fixed(1, (rows + 1) * 4, 4);
            let end = offsets.typed_data::<i32>()[rows] as usize;
            vec![offsets, fixed(2, end, 1)]
        }
        LargeUtf8 | LargeBinary => {
            let offsets = fixed(1, (rows + 1) * 8, 8);
            let end = offsets.typed_data::<i64>()[rows] as usize;
            vec![offsets, fixed(2, end, 1)]
        }
        List(_) => vec![fixed(1, (rows + 1) * 4, 4)],
        LargeList(_) => vec![fixed(1, (rows + 1) * 8, 8)],
        FixedSizeBinary(width) => vec![fixed(1, rows * *width as usize, 1)],
        Utf8View | BinaryView => {
            let count = array.num_buffers() - 3;
            let lengths = fixed(array.num_buffers() - 1, count * 8, 8);
            let lengths = lengths.typed_data::<i64>().iter().enumerate();
            let values = lengths.map(|(place, &length)| fixed(place + 2, length as usize, 1));
            std::iter::once(fixed(1, rows * 16, 16)).chain(values).collect()
        }
        other => {
            let keys = if let Dictionary(keys, _) = other { keys } else { other };
            let Some(width) = keys.primitive_width() else {
                return Err(place.type_error(&format!("has the type {other}, which is not read")));
            };
            vec![fixed(1, rows * width, width.min(MAX_ALIGNMENT))]
        }
    })
}

/// The children, or the values of a dictionary.
fn child_data(
    array: &FFI_ArrowArray,
    owner: &Arc<FFI_ArrowArray>,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<Vec<ArrayData>, ImportError> {
    if let (DataType::Dictionary(_, values_type), Some(values)) = (data_type, array.dictionary()) {
        return Ok(vec![data(values, owner, values_type, place)?]);
    }
    // SAFETY: the structure was checked: an array has `n_children` pointers to children.
    let children = unsafe { pointers(array.children, array.n_children) }.unwrap_or_default();
    let fields = child_fields(data_type);
    let mut found = Vec::with_capacity(fields.len());
    for (child, field) in children.into_iter().zip(fields) {
        found.push(data(child, owner, field.data_type(), &place.inside(field.name()))?);
    }
    Ok(found)
}

/// The `length` bytes at `first`, which are copied if they are not aligned as arrow-rs requires.
fn lent(
    first: NonNull<u8>,
    length: usize,
    alignment: usize,
    owner: &Arc<FFI_ArrowArray>,
) -> Buffer {
    // SAFETY: a buffer is as long as its type and the number of rows require, and is valid until the array
    // is released, which `owner` does when it is dropped.
    let buffer = unsafe { Buffer::from_custom_allocation(first, length, owner.clone()) };
    if first.align_offset(alignment) == 0 { buffer } else { Buffer::from_slice_ref(&buffer) }
}
