//! Checks of the values that refer to others: offsets, views and dictionary keys.

use arrow_array::types::*;
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, ScalarBuffer};
use arrow_data::{ArrayData, ByteView, MAX_INLINE_VIEW_LEN};
use arrow_schema::DataType;

use crate::arrow::error::{ColumnPath, ImportError};

/// Checks the offsets, dictionary keys and views of an array whose children were checked. Replaces
/// the keys and views of nulls, which may be anything, with valid ones.
pub fn checked(data: ArrayData, place: &ColumnPath) -> Result<ArrayData, ImportError> {
    use DataType::*;
    let bytes = || data.buffers()[1].len();
    let rows = || data.child_data()[0].len();
    let buffers = match data.data_type() {
        Utf8 | Binary => check_offsets(values::<i32>(&data, 1), bytes(), place).map(|()| None)?,
        LargeUtf8 | LargeBinary => {
            check_offsets(values::<i64>(&data, 1), bytes(), place).map(|()| None)?
        }
        List(_) => check_offsets(values::<i32>(&data, 1), rows(), place).map(|()| None)?,
        LargeList(_) => check_offsets(values::<i64>(&data, 1), rows(), place).map(|()| None)?,
        Utf8View | BinaryView => checked_views(&data, data.nulls(), place)?,
        Dictionary(keys, _) => {
            let buffer = checked_keys(keys, &data, data.nulls(), rows(), place)?;
            buffer.map(|keys| vec![keys])
        }
        _ => None,
    };
    let Some(buffers) = buffers else { return Ok(data) };
    // SAFETY: all values were checked, and those of nulls are valid now.
    Ok(unsafe { data.into_builder().buffers(buffers).build_unchecked() })
}

/// The values in buffer 0, from the first row on, and `more` after the last row.
pub fn values<T: ArrowNativeType>(data: &ArrayData, more: usize) -> &[T] {
    &data.buffers()[0].typed_data::<T>()[data.offset()..][..data.len() + more]
}

/// Checks that offsets ascend to at most `end`.
pub fn check_offsets<O: ArrowNativeType>(
    offsets: &[O],
    end: usize,
    place: &ColumnPath,
) -> Result<(), ImportError> {
    let zero = O::default();
    // Without a branch for each row, the compiler vectorizes the loop.
    let ascend = offsets.iter().zip(&offsets[1..]).fold(true, |ok, (one, next)| ok & (one <= next));
    let last = offsets[offsets.len() - 1];
    if ascend && offsets[0] >= zero && last.as_usize() <= end {
        return Ok(());
    }
    let row = offsets.windows(2).position(|two| two[0] < zero || two[0] > two[1]);
    Err(place.data_error(&match row {
        Some(row) => {
            let (one, next) = (offsets[row], offsets[row + 1]);
            format!("its row {row} has the offsets {one:?} to {next:?}")
        }
        None => format!("its last offset is {last:?}, but it has {end} values"),
    }))
}

/// The first row that is not null and not right; `None` if all are right.
fn wrong_row(
    rows: usize,
    nulls: Option<&NullBuffer>,
    is_right: impl Fn(usize) -> bool,
) -> Option<usize> {
    (0..rows).find(|&row| nulls.is_none_or(|nulls| nulls.is_valid(row)) && !is_right(row))
}

/// The buffers of valid views; `None` if all views are valid already.
fn checked_views(
    data: &ArrayData,
    nulls: Option<&NullBuffer>,
    place: &ColumnPath,
) -> Result<Option<Vec<Buffer>>, ImportError> {
    let views = values::<u128>(data, 0);
    let lengths: Vec<usize> = data.buffers()[1..].iter().map(Buffer::len).collect();
    let fits = |view: u128| {
        let ByteView { length, buffer_index, offset, .. } = ByteView::from(view);
        length <= MAX_INLINE_VIEW_LEN
            || lengths.get(buffer_index as usize).is_some_and(|&end| {
                offset as usize <= end && length as usize <= end - offset as usize
            })
    };
    if views.iter().fold(true, |ok, &view| ok & fits(view)) {
        return Ok(None);
    }
    if let Some(row) = wrong_row(views.len(), nulls, |row| fits(views[row])) {
        return Err(place.data_error(&format!("the view of its row {row} is outside its buffers")));
    }
    let right = views.iter().map(|&view| if fits(view) { view } else { 0 });
    let before = std::iter::repeat_n(0, data.offset());
    let right: ScalarBuffer<u128> = before.chain(right).collect();
    let mut buffers = data.buffers().to_vec();
    buffers[0] = right.into_inner();
    Ok(Some(buffers))
}

/// The buffer of valid keys; `None` if all keys are valid already.
fn checked_keys(
    keys: &DataType,
    data: &ArrayData,
    nulls: Option<&NullBuffer>,
    count: usize,
    place: &ColumnPath,
) -> Result<Option<Buffer>, ImportError> {
    macro_rules! keys {
        ($($name:ident => $kind:ty),*) => {
            match keys {
                $(DataType::$name => {
                    checked_key_values::<<$kind as ArrowPrimitiveType>::Native>(data, nulls, count, place)
                })*
                _ => Err(place.type_error(&format!("has dictionary keys of the type {keys}"))),
            }
        };
    }
    keys!(Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
          UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type)
}

fn checked_key_values<K: ArrowNativeType>(
    data: &ArrayData,
    nulls: Option<&NullBuffer>,
    count: usize,
    place: &ColumnPath,
) -> Result<Option<Buffer>, ImportError> {
    let keys = values::<K>(data, 0);
    // As usize, a negative key exceeds any count.
    let fits = |key: K| key.as_usize() < count;
    if keys.iter().fold(true, |ok, &key| ok & fits(key)) {
        return Ok(None);
    }
    if let Some(row) = wrong_row(keys.len(), nulls, |row| fits(keys[row])) {
        let key = keys[row];
        return Err(place.data_error(&format!(
            "the key of its row {row} is {key:?}, but it has {count} values"
        )));
    }
    let right = keys.iter().map(|&key| if fits(key) { key } else { K::default() });
    let before = std::iter::repeat_n(K::default(), data.offset());
    let right: ScalarBuffer<K> = before.chain(right).collect();
    Ok(Some(right.into_inner()))
}
