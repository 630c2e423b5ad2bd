//! Events as columns in Arrow's layout, whatever flavour the producer chose.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use thiserror::Error;

use crate::command_set::Field;

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

const INTEGERS: &str = "an integer type";
const STRINGS: &str = "a string type (utf8, large_utf8, string_view, or a dictionary of one)";
const BINARIES: &str =
    "a binary type (binary, large_binary, binary_view, fixed_size_binary, or a dictionary of one)";

/// A column of whole numbers of any width.
#[derive(Debug)]
pub enum IntegerColumn {
    /// No value in any row.
    Null,
    /// An integer array.
    Integers(Integers),
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
        }
    };
}

integers!(UInt16Type, UInt8Type, UInt32Type, UInt64Type, Int8Type, Int16Type, Int32Type, Int64Type);

impl IntegerColumn {
    fn new(field: Field, array: &dyn Array) -> Result<Self, SchemaError> {
        if array.data_type() == &DataType::Null {
            return Ok(Self::Null);
        }
        match Integers::new(array) {
            Some(integers) => Ok(Self::Integers(integers)),
            None => Err(wrong_type(field, array.data_type(), INTEGERS)),
        }
    }

    /// The number in a row, `None` for null.
    pub fn get(&self, row: usize) -> Option<i128> {
        match self {
            Self::Null => None,
            Self::Integers(integers) => integers.get(row),
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
        rows: ArrayRef,
        keys: Vec<usize>,
        values: Box<ByteColumn>,
    },
}

impl ByteColumn {
    fn text(field: Field, array: &ArrayRef) -> Result<Self, SchemaError> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Utf8 => Self::Utf8(array.as_string().clone()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string().clone()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view().clone()),
            DataType::Dictionary(..) => Self::dictionary(field, array, Self::text)?,
            found => return Err(wrong_type(field, found, STRINGS)),
        })
    }

    fn binary(field: Field, array: &ArrayRef) -> Result<Self, SchemaError> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Binary => Self::Binary(array.as_binary().clone()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary().clone()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => {
                Self::FixedSizeBinary(array.as_fixed_size_binary().clone())
            }
            DataType::Dictionary(..) => Self::dictionary(field, array, Self::binary)?,
            found => return Err(wrong_type(field, found, BINARIES)),
        })
    }

    fn dictionary(
        field: Field,
        array: &ArrayRef,
        of_values: fn(Field, &ArrayRef) -> Result<Self, SchemaError>,
    ) -> Result<Self, SchemaError> {
        let dictionary = array.as_any_dictionary();
        let values = Box::new(of_values(field, dictionary.values())?);
        // Without values every key is null; a key can't be normalized to one of none.
        let keys = if dictionary.values().is_empty() {
            vec![0; array.len()]
        } else {
            dictionary.normalized_keys()
        };
        Ok(Self::Dictionary { rows: array.clone(), keys, values })
    }

    /// The bytes in a row, `None` for null.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Null => None,
            Self::Utf8(array) => array.is_valid(row).then(|| array.value(row).as_bytes()),
            Self::LargeUtf8(array) => array.is_valid(row).then(|| array.value(row).as_bytes()),
            Self::Utf8View(array) => array.is_valid(row).then(|| array.value(row).as_bytes()),
            Self::Binary(array) => array.is_valid(row).then(|| array.value(row)),
            Self::LargeBinary(array) => array.is_valid(row).then(|| array.value(row)),
            Self::BinaryView(array) => array.is_valid(row).then(|| array.value(row)),
            Self::FixedSizeBinary(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Dictionary { rows, keys, values } => {
                rows.is_valid(row).then(|| values.get(keys[row])).flatten()
            }
        }
    }
}

fn wrong_type(field: Field, found: &DataType, accepted: &'static str) -> SchemaError {
    SchemaError::Type { column: field.keyword(), found: found.clone(), accepted }
}

/// The columns of a batch of events.
#[derive(Debug)]
pub struct EventColumns {
    /// How many rows there are.
    pub rows: usize,
    integers: [Option<IntegerColumn>; Field::ALL.len()],
    bytes: [Option<ByteColumn>; Field::ALL.len()],
}

impl EventColumns {
    /// Finds the columns by their names.
    pub fn new(batch: &RecordBatch) -> Result<Self, SchemaError> {
        check_names(&batch.schema())?;
        let mut columns = Self {
            rows: batch.num_rows(),
            integers: [const { None }; Field::ALL.len()],
            bytes: [const { None }; Field::ALL.len()],
        };
        for (column, array) in batch.schema().fields().iter().zip(batch.columns()) {
            if let Some(field) = Field::of_keyword(column.name()) {
                columns.put(field, array)?;
            }
        }
        Ok(columns)
    }

    fn put(&mut self, field: Field, array: &ArrayRef) -> Result<(), SchemaError> {
        use Field::*;
        match field {
            AffectedSOPClassUID | AffectedSOPInstanceUID | ErrorComment => {
                self.bytes[field as usize] = Some(ByteColumn::text(field, array)?);
            }
            EventInformation | EventReply => {
                self.bytes[field as usize] = Some(ByteColumn::binary(field, array)?);
            }
            _ => self.integers[field as usize] = Some(IntegerColumn::new(field, array)?),
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
