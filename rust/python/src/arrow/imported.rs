//! Arrays of arrow-rs from checked structures: each is built once, after its values were checked.

use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, GenericByteArray, PrimitiveArray, make_array, new_empty_array};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer,
};
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::DataType;

use crate::arrow::check::{buffer, child_fields};
use crate::arrow::data_type::pointers;
use crate::arrow::error::{ColumnPath, ImportError};
use crate::arrow::values::{check_offsets, checked};

/// The maximum alignment of the values of any type.
const MAX_ALIGNMENT: usize = 16;

/// An array whose structure was checked by [`super::check::check`]. Its buffers keep `owner` alive, which
/// `array` is or belongs to.
pub fn array(
    array: &FFI_ArrowArray,
    owner: &Arc<FFI_ArrowArray>,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<ArrayRef, ImportError> {
    if array.length == 0 {
        // The buffers of an empty array may be missing.
        return Ok(new_empty_array(data_type));
    }
    let integers = Integers { array, owner, data_type };
    match data_type {
        // Types of most columns are built directly, which takes half of the time.
        DataType::Utf8 => bytes::<Utf8Type>(array, owner, data_type, place),
        DataType::LargeUtf8 => bytes::<LargeUtf8Type>(array, owner, data_type, place),
        DataType::Binary => bytes::<BinaryType>(array, owner, data_type, place),
        DataType::LargeBinary => bytes::<LargeBinaryType>(array, owner, data_type, place),
        DataType::UInt8 => Ok(integers.of::<UInt8Type>()),
        DataType::UInt16 => Ok(integers.of::<UInt16Type>()),
        DataType::UInt32 => Ok(integers.of::<UInt32Type>()),
        DataType::Int32 => Ok(integers.of::<Int32Type>()),
        DataType::Int64 => Ok(integers.of::<Int64Type>()),
        _ => Ok(make_array(data(array, owner, data_type, place)?)),
    }
}

/// The columns of a batch whose structure was checked, and its number of null rows.
pub fn columns(
    batch: &FFI_ArrowArray,
    owner: &Arc<FFI_ArrowArray>,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<(Vec<ArrayRef>, usize), ImportError> {
    let fields = child_fields(data_type);
    let mut columns = Vec::with_capacity(fields.len());
    for (number, field) in fields.iter().enumerate() {
        let child = batch.child(number);
        if batch.length == 0 {
            columns.push(new_empty_array(field.data_type()));
            continue;
        }
        let column = array(child, owner, field.data_type(), &place.inside(field.name()))?;
        columns.push(match (batch.offset(), batch.len()) {
            (0, rows) if rows == column.len() => column,
            (offset, rows) => column.slice(offset, rows),
        });
    }
    let nulls = if batch.length == 0 { None } else { nulls(batch, owner, data_type) };
    Ok((columns, nulls.map_or(0, |nulls| nulls.null_count())))
}

/// An array of texts or byte strings with offsets.
fn bytes<T: ByteArrayType>(
    array: &FFI_ArrowArray,
    owner: &Arc<FFI_ArrowArray>,
    data_type: &DataType,
    place: &ColumnPath,
) -> Result<ArrayRef, ImportError> {
    let rows = array.offset() + array.len();
    let offsets =
        required(array, owner, 1, (rows + 1) * size_of::<T::Offset>(), size_of::<T::Offset>());
    let end = offsets.typed_data::<T::Offset>()[rows].as_usize();
    let values = required(array, owner, 2, end, 1);
    let offsets = ScalarBuffer::<T::Offset>::new(offsets, array.offset(), array.len() + 1);
    check_offsets(&offsets, values.len(), place)?;
    // SAFETY: the offsets ascend from 0 or more to at most the number of bytes.
    let offsets = unsafe { OffsetBuffer::new_unchecked(offsets) };
    let nulls = nulls(array, owner, data_type).filter(|nulls| nulls.null_count() > 0);
    // SAFETY: as above. Texts need not be UTF-8: they are read as bytes only.
    Ok(Arc::new(unsafe { GenericByteArray::<T>::new_unchecked(offsets, values, nulls) }))
}

/// An array of integers, before its type is known.
struct Integers<'a> {
    array: &'a FFI_ArrowArray,
    owner: &'a Arc<FFI_ArrowArray>,
    data_type: &'a DataType,
}

impl Integers<'_> {
    fn of<T: ArrowPrimitiveType>(&self) -> ArrayRef {
        let Self { array, owner, data_type } = *self;
        let width = size_of::<T::Native>();
        let rows = array.offset() + array.len();
        let values = required(array, owner, 1, rows * width, width);
        let values = ScalarBuffer::<T::Native>::new(values, array.offset(), array.len());
        let nulls = nulls(array, owner, data_type).filter(|nulls| nulls.null_count() > 0);
        Arc::new(PrimitiveArray::<T>::new(values, nulls))
    }
}

/// The data of an array whose structure was checked by [`super::check::check`]. Its buffers keep
/// `owner` alive, which `array` is or belongs to.
fn data(
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
    let fixed = |index, length, alignment| required(array, owner, index, length, alignment);
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

/// The first `length` bytes of a buffer. Only an empty buffer may be missing.
fn required(
    array: &FFI_ArrowArray,
    owner: &Arc<FFI_ArrowArray>,
    index: usize,
    length: usize,
    alignment: usize,
) -> Buffer {
    match buffer(array, index) {
        Some(first) if length > 0 => lent(first.cast(), length, alignment, owner),
        _ => MutableBuffer::new(0).into(),
    }
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
