//! Columns of byte strings, text or binary, in every layout of Arrow.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, GenericByteArray, GenericByteViewArray, OffsetSizeTrait,
};
use arrow_buffer::ArrowNativeType;
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};
use arrow_schema::DataType;

use crate::columns::cell::Cell;
use crate::columns::integers::{Integers, fill_dictionary, fill_nulls, parts};

/// A column of byte strings: text or binary.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum ByteColumn {
    /// Every row is null.
    Null,
    Utf8(arrow_array::StringArray),
    LargeUtf8(arrow_array::LargeStringArray),
    Utf8View(arrow_array::StringViewArray),
    Binary(arrow_array::BinaryArray),
    LargeBinary(arrow_array::LargeBinaryArray),
    BinaryView(arrow_array::BinaryViewArray),
    FixedSizeBinary(arrow_array::FixedSizeBinaryArray),
    /// A dictionary: a key for each row, and the values.
    Dictionary {
        keys: Integers,
        values: Box<ByteColumn>,
    },
}

/// Whether [`ByteColumn::binary`] reads arrays of this type.
pub fn is_binary(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, Dictionary, FixedSizeBinary, LargeBinary, Null};
    match data_type {
        Dictionary(_, values) => is_binary(values),
        other => matches!(other, Binary | LargeBinary | BinaryView | FixedSizeBinary(_) | Null),
    }
}

impl ByteColumn {
    /// The column of a text array.
    ///
    /// # Errors
    ///
    /// The data type of the array, or of its dictionary's values, if it is not text.
    pub fn text(array: &ArrayRef) -> Result<Self, DataType> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Utf8 => Self::Utf8(array.as_string().clone()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string().clone()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view().clone()),
            DataType::Dictionary(..) => Self::dictionary(array, Self::text)?,
            found => return Err(found.clone()),
        })
    }

    /// The column of a binary array.
    ///
    /// # Errors
    ///
    /// The data type of the array, or of its dictionary's values, if it is not binary.
    pub fn binary(array: &ArrayRef) -> Result<Self, DataType> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Binary => Self::Binary(array.as_binary().clone()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary().clone()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => {
                Self::FixedSizeBinary(array.as_fixed_size_binary().clone())
            }
            DataType::Dictionary(..) => Self::dictionary(array, Self::binary)?,
            found => return Err(found.clone()),
        })
    }

    fn dictionary(
        array: &ArrayRef,
        of_values: fn(&ArrayRef) -> Result<Self, DataType>,
    ) -> Result<Self, DataType> {
        let (keys, values) = parts(array);
        Ok(Self::Dictionary { keys, values: Box::new(of_values(values)?) })
    }

    /// The bytes of a row; `None` if the row is null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.cell(row).bytes()
    }

    /// The value of a row.
    // The most frequent layouts are read directly: a tenth of the instructions of filling a block.
    #[inline]
    pub fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Utf8(array) => cell_of(array, row),
            Self::LargeUtf8(array) => cell_of(array, row),
            _ => self.only_cell(row),
        }
    }

    fn only_cell(&self, row: usize) -> Cell<'_> {
        let mut cell = [Cell::NULL];
        self.fill(row, &mut cell);
        cell[0]
    }

    /// Fills `out` with consecutive rows, beginning with row `first`.
    pub fn fill<'a>(&'a self, first: usize, out: &mut [Cell<'a>]) {
        match self {
            Self::Null => out.fill(Cell::NULL),
            Self::Utf8(array) => fill_offset(array, first, out),
            Self::LargeUtf8(array) => fill_offset(array, first, out),
            Self::Utf8View(array) => fill_views(array, first, out),
            Self::Binary(array) => fill_offset(array, first, out),
            Self::LargeBinary(array) => fill_offset(array, first, out),
            Self::BinaryView(array) => fill_views(array, first, out),
            Self::FixedSizeBinary(array) => fill_fixed_size(array, first, out),
            Self::Dictionary { keys, values } => {
                let fill = |key, out: &mut [Cell<'a>]| values.fill(key, out);
                fill_dictionary(keys, fill, Cell::NULL, first, out);
            }
        }
    }

    /// The buffer from the value of row `first` on, if `rows` consecutive values follow each other in
    /// it and none is null. Writes the offset of each value in it, and the end of the last one, to
    /// `offsets`.
    pub fn adjacent(&self, first: usize, rows: usize, offsets: &mut Vec<u32>) -> Option<&[u8]> {
        match self {
            Self::Utf8(array) => adjacent(array, first, rows, offsets),
            Self::LargeUtf8(array) => adjacent(array, first, rows, offsets),
            Self::Binary(array) => adjacent(array, first, rows, offsets),
            Self::LargeBinary(array) => adjacent(array, first, rows, offsets),
            _ => None,
        }
    }

    /// Whether any row may be null.
    pub fn may_be_null(&self) -> bool {
        let nulls = match self {
            Self::Null | Self::Dictionary { .. } => return true,
            Self::Utf8(array) => array.nulls(),
            Self::LargeUtf8(array) => array.nulls(),
            Self::Utf8View(array) => array.nulls(),
            Self::Binary(array) => array.nulls(),
            Self::LargeBinary(array) => array.nulls(),
            Self::BinaryView(array) => array.nulls(),
            Self::FixedSizeBinary(array) => array.nulls(),
        };
        nulls.is_some_and(|nulls| nulls.null_count() > 0)
    }

    /// An upper bound of the bytes of all rows together. Cheap, except for dictionaries.
    pub fn most_bytes(&self, rows: usize) -> usize {
        match self {
            Self::Null => 0,
            Self::Utf8(array) => of_offsets(array.value_offsets()),
            Self::LargeUtf8(array) => of_offsets(array.value_offsets()),
            Self::Binary(array) => of_offsets(array.value_offsets()),
            Self::LargeBinary(array) => of_offsets(array.value_offsets()),
            Self::Utf8View(array) => of_views(array.views()),
            Self::BinaryView(array) => of_views(array.views()),
            Self::FixedSizeBinary(array) => rows * array.value_length() as usize,
            Self::Dictionary { .. } => {
                let mut cells = [Cell::NULL; 128];
                let lengths = (0..rows).step_by(cells.len()).map(|first| {
                    let cells = &mut cells[..(rows - first).min(128)];
                    self.fill(first, cells);
                    cells.iter().filter_map(|cell| cell.bytes()).map(<[u8]>::len).sum::<usize>()
                });
                lengths.sum()
            }
        }
    }
}

#[inline]
fn cell_of<T: ByteArrayType>(array: &GenericByteArray<T>, row: usize) -> Cell<'_> {
    if array.is_null(row) {
        return Cell::NULL;
    }
    let offsets = array.value_offsets();
    let (start, end) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
    Cell::new(array.value_data(), start, end - start)
}

fn adjacent<'a, T: ByteArrayType>(
    array: &'a GenericByteArray<T>,
    first: usize,
    rows: usize,
    out: &mut Vec<u32>,
) -> Option<&'a [u8]> {
    let offsets = &array.value_offsets()[first..=first + rows];
    let (start, end) = (offsets[0], offsets[rows]);
    // A short buffer or offsets that do not fit are left to the checks of each value.
    let bytes = array.value_data().get(start.as_usize()..)?;
    let length = end.as_usize().checked_sub(start.as_usize())?;
    if array.null_count() > 0 || length > bytes.len() || u32::try_from(length).is_err() {
        return None;
    }
    out.clear();
    out.extend(offsets.iter().map(|&offset| (offset - start).as_usize() as u32));
    Some(bytes)
}

fn of_offsets<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
    (offsets[offsets.len() - 1] - offsets[0]).as_usize()
}

fn of_views(views: &[u128]) -> usize {
    views.iter().map(|&view| view as u32 as usize).sum()
}

fn fill_offset<'a, T: ByteArrayType>(
    array: &'a GenericByteArray<T>,
    first: usize,
    out: &mut [Cell<'a>],
) {
    let values = array.value_data();
    let offsets = &array.value_offsets()[first..];
    for (out, ends) in out.iter_mut().zip(offsets.windows(2)) {
        let (start, end) = (ends[0].as_usize(), ends[1].as_usize());
        *out = Cell::new(values, start, end - start);
    }
    fill_nulls(array.nulls(), first, out, Cell::NULL);
}

fn fill_views<'a, T: ByteViewType>(
    array: &'a GenericByteViewArray<T>,
    first: usize,
    out: &mut [Cell<'a>],
) {
    let (buffers, views) = (array.data_buffers(), array.views());
    // A short value is stored inside its view, after its length.
    let in_line = views.inner().as_slice();
    for (row, out) in out.iter_mut().enumerate() {
        let row = first + row;
        let view = ByteView::from(views[row]);
        let length = view.length as usize;
        *out = if view.length <= MAX_INLINE_VIEW_LEN {
            Cell::new(in_line, row * size_of::<u128>() + size_of::<u32>(), length)
        } else {
            Cell::new(&buffers[view.buffer_index as usize], view.offset as usize, length)
        };
    }
    fill_nulls(array.nulls(), first, out, Cell::NULL);
}

fn fill_fixed_size<'a>(array: &'a FixedSizeBinaryArray, first: usize, out: &mut [Cell<'a>]) {
    let length = array.value_length() as usize;
    for (row, out) in out.iter_mut().enumerate() {
        *out = Cell::new(array.value_data(), (first + row) * length, length);
    }
    fill_nulls(array.nulls(), first, out, Cell::NULL);
}
