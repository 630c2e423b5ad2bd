//! Columns of integers of any width, and dictionaries of integers.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

/// The number that represents null.
pub const NO_NUMBER: u32 = u32::MAX;

/// The number that represents an integer outside the range of the VR US.
pub const OUT_OF_RANGE: u32 = u32::MAX - 1;

/// A column of integers of any width.
#[derive(Debug)]
pub enum IntegerColumn {
    /// Every row is null.
    Null,
    /// An integer array.
    Integers(Integers),
    /// A dictionary: a key for each row, and the values.
    Dictionary {
        /// The keys.
        keys: Integers,
        /// The values.
        values: Box<IntegerColumn>,
    },
}

macro_rules! integers {
    ($($variant:ident),*) => {
        /// An integer array of each width.
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

            /// Fills `out` with dictionary keys; `usize::MAX` for null.
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
    /// The column of an integer array.
    ///
    /// # Errors
    ///
    /// The data type of the array, or of its dictionary's values, if it is not an integer type.
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

    /// The integer of a row; `None` if the row is null.
    pub fn get(&self, row: usize) -> Option<i128> {
        match self {
            Self::Null => None,
            Self::Integers(integers) => integers.get(row),
            Self::Dictionary { keys, values } => values.get(keys.get(row)? as usize),
        }
    }

    /// Fills `out` with consecutive rows, beginning with row `first`: 0 to 65535, [`NO_NUMBER`] or
    /// [`OUT_OF_RANGE`].
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

/// Writes `null` to each position of `out` whose row is null; `out` begins with row `first`.
pub fn fill_nulls<T: Copy>(nulls: Option<&NullBuffer>, first: usize, out: &mut [T], null: T) {
    if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
        for (row, out) in out.iter_mut().enumerate() {
            if nulls.is_null(first + row) {
                *out = null;
            }
        }
    }
}

/// The keys and the values of a dictionary array.
pub fn parts(array: &ArrayRef) -> (Integers, &ArrayRef) {
    let dictionary = array.as_any_dictionary();
    (Integers::new(dictionary.keys()).expect("keys are integers"), dictionary.values())
}

/// Fills `out` with the dictionary values of consecutive rows, beginning with row `first`; `value`
/// fills a slice from the dictionary's values.
pub fn fill_dictionary<T: Copy>(
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
        // Most rows have the same value as the row before.
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
