//! Events as columns in Arrow's layout, whatever flavour the producer chose.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, GenericByteArray, GenericByteViewArray, OffsetSizeTrait,
    RecordBatch,
};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};
use arrow_schema::{DataType, SchemaRef};
use thiserror::Error;

use crate::attribute::AttributeError;
use crate::characters::WINDOW;
use crate::command_set::Field;
use crate::encode_data_set::DataSetOptions;
use crate::machine;
use crate::structured_rows::StructuredColumn;

/// Why a table can't be read as events at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A column that no event has.
    #[error("unknown column '{0}'; the columns of events are {all}", all = keywords())]
    Unknown(String),
    /// Two columns of one name.
    #[error("the column '{0}' is there twice")]
    Twice(String),
    /// A column that no event can do without.
    #[error(
        "no column '{0}': requests need AffectedSOPClassUID, AffectedSOPInstanceUID and \
         EventTypeID, responses MessageIDBeingRespondedTo and Status"
    )]
    Missing(&'static str),
    /// A field of a struct that is no attribute.
    #[error("{path}: {why}")]
    Attribute {
        /// The field.
        path: String,
        /// What is wrong with it.
        why: AttributeError,
    },
    /// A field of a struct whose type does not fit the attribute's VR.
    #[error("{path} is {found}: an attribute of the VR {vr} must be {accepted}, or lists of these")]
    VrType {
        /// The field.
        path: String,
        /// Its Arrow type.
        found: DataType,
        /// The VR.
        vr: &'static str,
        /// What would be right.
        accepted: &'static str,
    },
    /// A type with more sequences in one another than a data set can have.
    #[error("{path} has more than {most} sequences, one in another: no data set is nested deeper")]
    TooDeep {
        /// The field that is nested too deep.
        path: String,
        /// How many sequences may be in one another.
        most: usize,
    },
    /// A column whose type does not fit.
    #[error("the column '{column}' is {found}, it must be {accepted}")]
    Type {
        /// The column.
        column: &'static str,
        /// Its Arrow type.
        found: DataType,
        /// What would be right.
        accepted: &'static str,
    },
}

fn keywords() -> String {
    Field::ALL.map(Field::keyword).join(", ")
}

const INTEGERS: &str = "an integer type (or a dictionary of one)";
const STRINGS: &str = "a string type (utf8, large_utf8, string_view, or a dictionary of one)";
const BINARIES: &str =
    "a binary type (binary, large_binary, binary_view, fixed_size_binary, or a dictionary of one)";

/// What stands in the place of a number that is null.
pub const NO_NUMBER: u32 = u32::MAX;
/// What stands in the place of a number that the VR US can't hold.
pub const OUT_OF_RANGE: u32 = u32::MAX - 1;

/// Puts `null` where a column of which `out` has the rows from `first` on has no value.
fn fill_nulls<T: Copy>(nulls: Option<&NullBuffer>, first: usize, out: &mut [T], null: T) {
    if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
        for (row, out) in out.iter_mut().enumerate() {
            if nulls.is_null(first + row) {
                *out = null;
            }
        }
    }
}

/// A column of whole numbers of any width.
#[derive(Debug)]
pub enum IntegerColumn {
    /// No value in any row.
    Null,
    /// An integer array.
    Integers(Integers),
    /// A dictionary: for each row its key, and the values.
    Dictionary {
        /// The keys.
        keys: Integers,
        /// What they stand for.
        values: Box<IntegerColumn>,
    },
}

macro_rules! integers {
    ($($variant:ident),*) => {
        /// The integer arrays.
        #[derive(Debug)]
        #[allow(missing_docs)]
        pub enum Integers { $($variant(arrow_array::PrimitiveArray<$variant>)),* }

        impl Integers {
            fn new(array: &dyn Array) -> Option<Self> {
                $(if let Some(array) = array.as_primitive_opt::<$variant>() {
                    return Some(Self::$variant(array.clone()));
                })*
                None
            }

            fn get(&self, row: usize) -> Option<i128> {
                match self {
                    $(Self::$variant(array) => {
                        array.is_valid(row).then(|| i128::from(array.value(row)))
                    })*
                }
            }

            fn fill(&self, first: usize, out: &mut [u32]) {
                match self {
                    $(Self::$variant(array) => {
                        for (out, &value) in out.iter_mut().zip(&array.values()[first..]) {
                            *out = u16::try_from(value).map_or(OUT_OF_RANGE, u32::from);
                        }
                        fill_nulls(array.nulls(), first, out, NO_NUMBER);
                    })*
                }
            }

            /// The numbers as keys of a dictionary, `usize::MAX` for null.
            fn fill_keys(&self, first: usize, out: &mut [usize]) {
                match self {
                    $(Self::$variant(array) => {
                        for (out, &value) in out.iter_mut().zip(&array.values()[first..]) {
                            *out = value as usize;
                        }
                        fill_nulls(array.nulls(), first, out, usize::MAX);
                    })*
                }
            }
        }
    };
}

integers!(UInt16Type, UInt8Type, UInt32Type, UInt64Type, Int8Type, Int16Type, Int32Type, Int64Type);

impl IntegerColumn {
    /// The column of an array.
    ///
    /// # Errors
    /// Its type, or that of its dictionary's values, if it is not one of whole numbers.
    pub fn new(array: &ArrayRef) -> Result<Self, DataType> {
        match array.data_type() {
            DataType::Null => Ok(Self::Null),
            DataType::Dictionary(..) => {
                let (keys, values) = parts(array);
                Ok(Self::Dictionary { keys, values: Box::new(Self::new(values)?) })
            }
            found => Integers::new(array).map(Self::Integers).ok_or_else(|| found.clone()),
        }
    }

    /// The number in a row, `None` for null.
    pub fn get(&self, row: usize) -> Option<i128> {
        match self {
            Self::Null => None,
            Self::Integers(integers) => integers.get(row),
            Self::Dictionary { keys, values } => values.get(keys.get(row)? as usize),
        }
    }

    /// Fills `out` with the rows from `first` on: 0 to 65535, [`NO_NUMBER`] or [`OUT_OF_RANGE`].
    pub fn fill(&self, first: usize, out: &mut [u32]) {
        match self {
            Self::Null => out.fill(NO_NUMBER),
            Self::Integers(integers) => integers.fill(first, out),
            Self::Dictionary { keys, values } => {
                let fill = |key, out: &mut [u32]| values.fill(key, out);
                fill_dictionary(keys, fill, NO_NUMBER, first, out);
            }
        }
    }
}

/// A column of byte strings: text or binary.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum ByteColumn {
    /// No value in any row.
    Null,
    Utf8(arrow_array::StringArray),
    LargeUtf8(arrow_array::LargeStringArray),
    Utf8View(arrow_array::StringViewArray),
    Binary(arrow_array::BinaryArray),
    LargeBinary(arrow_array::LargeBinaryArray),
    BinaryView(arrow_array::BinaryViewArray),
    FixedSizeBinary(arrow_array::FixedSizeBinaryArray),
    /// A dictionary: for each row its key, and the values.
    Dictionary {
        keys: Integers,
        values: Box<ByteColumn>,
    },
}

impl ByteColumn {
    /// The column of an array of text.
    ///
    /// # Errors
    /// Its type, or that of its dictionary's values, if it is not one of text.
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

    /// The column of an array of bytes.
    ///
    /// # Errors
    /// Its type, or that of its dictionary's values, if it is not one of bytes.
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

    /// The bytes in a row, `None` for null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.cell(row).bytes()
    }

    /// The value in a row.
    // The most frequent flavours have a short way: a tenth of the instructions of filling a block.
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

    /// Fills `out` with the rows from `first` on.
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

    /// Whether some row may be null.
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

    /// The most bytes that the rows can have together, for any flavour but a dictionary at no more
    /// cost than that of a few reads.
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
    // A short value stands in its view, behind its length.
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

/// The keys of a dictionary, and its values.
fn parts(array: &ArrayRef) -> (Integers, &ArrayRef) {
    let dictionary = array.as_any_dictionary();
    (Integers::new(dictionary.keys()).expect("keys are integers"), dictionary.values())
}

/// Fills `out` with what the keys of the rows from `first` on stand for; `value` fills it from the
/// dictionary's values.
fn fill_dictionary<T: Copy>(
    keys: &Integers,
    value: impl Fn(usize, &mut [T]),
    null: T,
    first: usize,
    out: &mut [T],
) {
    let mut some = [0; 64];
    for (number, out) in out.chunks_mut(some.len()).enumerate() {
        let some = &mut some[..out.len()];
        keys.fill_keys(first + number * 64, some);
        // Most rows have the value of the row before.
        let mut last = (usize::MAX, [null]);
        for (out, &mut key) in out.iter_mut().zip(some) {
            if key != last.0 {
                last = (key, [null]);
                if key != usize::MAX {
                    value(key, &mut last.1);
                }
            }
            *out = last.1[0];
        }
    }
}

/// A value of a column of byte strings, where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// From its first byte to the end of its buffer.
    rest: &'a [u8],
    length: usize,
}

impl<'a> Cell<'a> {
    /// No value. It has no length that anything could have.
    pub const NULL: Self = Self { rest: &[], length: usize::MAX };

    /// The value that begins at `start`.
    #[inline(always)]
    fn new(buffer: &'a [u8], start: usize, length: usize) -> Self {
        let rest = &buffer[start..];
        assert!(length <= rest.len(), "an Arrow array whose values lie outside its buffer");
        Self { rest, length }
    }

    /// Its length in bytes; of no value more than there is memory.
    #[inline(always)]
    pub fn length(self) -> usize {
        self.length
    }

    /// Whether there is no value.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.length == usize::MAX
    }

    /// Its bytes, `None` for null.
    #[inline(always)]
    pub fn bytes(self) -> Option<&'a [u8]> {
        self.rest.get(..self.length)
    }

    /// Whether two cells hold the same; most often a UID of 16 to 32 characters, which is compared
    /// in two registers that overlap.
    #[inline(always)]
    pub fn is_equal(self, other: Cell<'_>) -> bool {
        if self.length != other.length {
            return false;
        }
        let (Some(one), Some(two)) = (self.bytes(), other.bytes()) else { return true };
        match (one.len(), one.first_chunk::<16>(), two.first_chunk::<16>()) {
            (16..=32, Some(one_front), Some(two_front)) => {
                one_front == two_front && one.last_chunk::<16>() == two.last_chunk::<16>()
            }
            _ => one == two,
        }
    }

    /// Writes its bytes and returns how many they are; what is behind them in `out` may be written
    /// over, as far as `out` goes.
    // A copy of a length that is not known is a call; of a hundred bytes it takes twice as long.
    #[inline(always)]
    pub fn write(self, out: &mut [u8]) -> usize {
        const SHORT: usize = 128;
        let length = self.bytes().map_or(0, <[u8]>::len);
        match (self.rest.first_chunk::<SHORT>(), out.first_chunk_mut::<SHORT>()) {
            (Some(from), Some(to)) if length <= SHORT => *to = *from,
            _ => out[..length].copy_from_slice(self.bytes().unwrap_or_default()),
        }
        length
    }

    /// Its first bytes and what lies behind them, where the buffer goes on for so long. With this
    /// a UID is read and copied in a few registers, whatever its length.
    #[inline(always)]
    pub fn window(self) -> Option<&'a [u8; WINDOW]> {
        self.rest.first_chunk()
    }

    /// Asks for the values some rows behind it: columns that are read in turns, a block of each, come
    /// too late for the machine's own guesses.
    #[inline(always)]
    pub fn prefetch_behind(self) {
        machine::prefetch(self.rest, 2 << 10);
    }

    /// The same at the end of a buffer: the bytes that there are, and zeros.
    #[cold]
    pub fn widened(self) -> [u8; WINDOW] {
        let mut window = [0; WINDOW];
        let length = self.rest.len().min(WINDOW);
        window[..length].copy_from_slice(&self.rest[..length]);
        window
    }
}

#[cfg(test)]
impl<'a> Cell<'a> {
    /// A value that lies at the beginning of `rest`.
    pub fn at_start(rest: &'a [u8], length: usize) -> Self {
        Self::new(rest, 0, length)
    }
}

/// The columns of a batch of events.
#[derive(Debug)]
pub struct EventColumns {
    /// How many rows there are.
    pub rows: usize,
    integers: [Option<IntegerColumn>; Field::ALL.len()],
    bytes: [Option<ByteColumn>; Field::ALL.len()],
    structured: Vec<StructuredColumn>,
}

impl EventColumns {
    /// Finds the columns by their names.
    pub fn new(batch: &RecordBatch) -> Result<Self, SchemaError> {
        Self::of(batch, Vec::new())
    }

    /// The same, where data sets may be structured: these are encoded when their messages are.
    pub fn with_structured(
        batch: &RecordBatch,
        options: DataSetOptions,
    ) -> Result<Self, SchemaError> {
        Self::of(batch, StructuredColumn::all(batch, options)?)
    }

    fn of(batch: &RecordBatch, structured: Vec<StructuredColumn>) -> Result<Self, SchemaError> {
        check_names(&batch.schema())?;
        let mut columns = Self {
            rows: batch.num_rows(),
            integers: [const { None }; Field::ALL.len()],
            bytes: [const { None }; Field::ALL.len()],
            structured,
        };
        for (column, array) in batch.schema().fields().iter().zip(batch.columns()) {
            if let Some(field) = Field::of_keyword(column.name()) {
                columns.put(field, array)?;
            }
        }
        Ok(columns)
    }

    fn put(&mut self, field: Field, array: &ArrayRef) -> Result<(), SchemaError> {
        let wrong_type =
            |accepted| move |found| SchemaError::Type { column: field.keyword(), found, accepted };
        if Field::TEXTS.contains(&field) {
            let column = ByteColumn::text(array).map_err(wrong_type(STRINGS))?;
            self.bytes[field as usize] = Some(column);
        } else if self.structured.iter().any(|structured| structured.field == field) {
            // It is there already.
        } else if Field::DATA_SETS.contains(&field) {
            let column = ByteColumn::binary(array).map_err(wrong_type(BINARIES))?;
            self.bytes[field as usize] = Some(column);
        } else {
            let column = IntegerColumn::new(array).map_err(wrong_type(INTEGERS))?;
            self.integers[field as usize] = Some(column);
        }
        Ok(())
    }

    /// Whether there is such a column.
    pub fn has(&self, field: Field) -> bool {
        self.integers[field as usize].is_some() || self.bytes[field as usize].is_some()
    }

    /// A number, `None` where it is null or the column isn't there.
    pub fn integer(&self, field: Field, row: usize) -> Option<i128> {
        self.integers[field as usize].as_ref()?.get(row)
    }

    /// The column of a number.
    pub fn integers(&self, field: Field) -> Option<&IntegerColumn> {
        self.integers[field as usize].as_ref()
    }

    /// The column of text or data sets.
    pub fn cells(&self, field: Field) -> Option<&ByteColumn> {
        self.bytes[field as usize].as_ref()
    }

    /// The columns of structured data sets.
    pub fn structured(&self) -> &[StructuredColumn] {
        &self.structured
    }

    /// Text or a data set, `None` where it is null or the column isn't there.
    pub fn bytes(&self, field: Field, row: usize) -> Option<&[u8]> {
        self.bytes[field as usize].as_ref()?.get(row)
    }
}

/// Checks that every column is known, none is there twice, and events of one kind at least are
/// possible.
pub fn check_names(schema: &SchemaRef) -> Result<(), SchemaError> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    for (at, name) in names.iter().enumerate() {
        if Field::of_keyword(name).is_none() {
            return Err(SchemaError::Unknown((*name).to_owned()));
        }
        if names[..at].contains(name) {
            return Err(SchemaError::Twice((*name).to_owned()));
        }
    }
    let lacks = |needed: &[Field]| {
        needed.iter().map(|field| field.keyword()).find(|keyword| !names.contains(keyword))
    };
    let request = [Field::AffectedSOPClassUID, Field::AffectedSOPInstanceUID, Field::EventTypeID];
    let response = [Field::MessageIDBeingRespondedTo, Field::Status];
    match lacks(if names.contains(&response[0].keyword()) { &response } else { &request }) {
        // A table of both kinds may do without Status if all its rows are requests.
        Some(_) if lacks(&request).is_none() => Ok(()),
        Some(keyword) => Err(SchemaError::Missing(keyword)),
        None => Ok(()),
    }
}
