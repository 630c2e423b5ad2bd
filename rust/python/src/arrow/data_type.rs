//! Schemas of the Arrow C Data Interface as Arrow types.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_schema::{DataType, Field, FieldRef};

use crate::arrow::error::{ColumnPath, ImportError};

/// The maximum depth of types: data sets have 64 levels, each a list of structs.
const MAX_DEPTH: usize = 200;
/// The maximum size of a fixed-size value in bytes.
const MAX_WIDTH: i32 = 1 << 20;
/// The maximum number of metadata entries of a field.
const MAX_METADATA: i32 = 1 << 16;

pub fn field(
    schema: &FFI_ArrowSchema,
    place: &ColumnPath,
    depth: usize,
) -> Result<Field, ImportError> {
    // SAFETY: names end with a null byte and live as long as their schema.
    let name = unsafe { text(schema.name) }.unwrap_or_default();
    let name =
        name.to_str().map_err(|_| place.type_error("has a field whose name is not UTF-8"))?;
    let place = place.inside(name);
    let data_type = data_type(schema, &place, depth)?;
    let field = Field::new(name, data_type, schema.nullable());
    if schema.metadata.is_null() {
        return Ok(field);
    }
    // SAFETY: metadata begins with the number of its entries.
    let entries = unsafe { schema.metadata.cast::<i32>().read_unaligned() };
    match entries {
        // Metadata that is not UTF-8 is not needed.
        0..=MAX_METADATA => Ok(field.with_metadata(schema.metadata().unwrap_or_default())),
        _ => Err(place.type_error(&format!("has {entries} entries of metadata"))),
    }
}

pub fn children<'a>(
    schema: &'a FFI_ArrowSchema,
    place: &ColumnPath,
) -> Result<Vec<&'a FFI_ArrowSchema>, ImportError> {
    // SAFETY: a schema has `n_children` pointers to children.
    unsafe { pointers(schema.children, schema.n_children) }
        .ok_or_else(|| place.type_error("is not a valid Arrow type: children are missing"))
}

/// The text at a pointer; `None` if it is null.
///
/// # Safety
/// The text ends with a null byte and outlives `'a`.
pub unsafe fn text<'a>(at: *const c_char) -> Option<&'a CStr> {
    // SAFETY: as the caller guarantees.
    (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) })
}

/// References to the targets of `count` pointers; `None` if a pointer is null.
///
/// # Safety
/// There are `count` pointers, and their targets outlive `'a`.
pub unsafe fn pointers<'a, T>(first: *mut *mut T, count: i64) -> Option<Vec<&'a T>> {
    let count = usize::try_from(count).ok()?;
    if count > 0 && first.is_null() {
        return None;
    }
    // SAFETY: as the caller guarantees.
    (0..count).map(|place| unsafe { first.add(place).read_unaligned().as_ref() }).collect()
}

pub fn data_type(
    schema: &FFI_ArrowSchema,
    place: &ColumnPath,
    depth: usize,
) -> Result<DataType, ImportError> {
    if depth > MAX_DEPTH {
        // The path is too long for an error.
        let column = place.column_name();
        return Err(ImportError::Data(format!(
            "the column '{column}' is nested too deep: a data set has at most 64 levels of sequences"
        )));
    }
    // SAFETY: a format ends with a null byte and lives as long as its schema.
    let format = unsafe { text(schema.format) }.and_then(|format| format.to_str().ok());
    let Some(format) = format else {
        return Err(place.type_error("has no Arrow type: its format is missing or not UTF-8"));
    };
    let unknown = |why: &dyn std::fmt::Display| {
        place.type_error(&format!("has the Arrow type '{format}', which is not supported: {why}"))
    };
    if let Some(values) = schema.dictionary() {
        let keys = leaf(format, schema).map_err(|why| unknown(&why))?;
        if !keys.is_dictionary_key_type() {
            return Err(unknown(&"the keys of a dictionary must be integers"));
        }
        let values = data_type(values, place, depth + 1)?;
        return Ok(DataType::Dictionary(Box::new(keys), Box::new(values)));
    }
    if !format.starts_with('+') {
        return leaf(format, schema).map_err(|why| unknown(&why));
    }
    let inner = children(schema, place)?;
    let inner = inner.into_iter().map(|child| field(child, place, depth + 1).map(Arc::new));
    let inner = inner.collect::<Result<Vec<FieldRef>, ImportError>>()?;
    let only = || match &inner[..] {
        [one] => Ok(one.clone()),
        others => Err(unknown(&format!("it must have one child, not {}", others.len()))),
    };
    Ok(match format {
        "+s" => DataType::Struct(inner.into()),
        "+l" => DataType::List(only()?),
        "+L" => DataType::LargeList(only()?),
        "+vl" => DataType::ListView(only()?),
        "+vL" => DataType::LargeListView(only()?),
        "+m" => DataType::Map(only()?, schema.map_keys_sorted()),
        "+r" => match &inner[..] {
            [ends, values] => DataType::RunEndEncoded(ends.clone(), values.clone()),
            others => {
                return Err(unknown(&format!("it must have two children, not {}", others.len())));
            }
        },
        other => match other.strip_prefix("+w:").and_then(|length| length.parse().ok()) {
            Some(length @ 0..=MAX_WIDTH) => DataType::FixedSizeList(only()?, length),
            _ => return Err(unknown(&"no column may have this type")),
        },
    })
}

/// The types of most columns. They need no parser, which would take longer than the other work for a field.
fn frequent(format: &str) -> Option<DataType> {
    Some(match format {
        "n" => DataType::Null,
        "c" => DataType::Int8,
        "C" => DataType::UInt8,
        "s" => DataType::Int16,
        "S" => DataType::UInt16,
        "i" => DataType::Int32,
        "I" => DataType::UInt32,
        "l" => DataType::Int64,
        "L" => DataType::UInt64,
        "u" => DataType::Utf8,
        "U" => DataType::LargeUtf8,
        "vu" => DataType::Utf8View,
        "z" => DataType::Binary,
        "Z" => DataType::LargeBinary,
        "vz" => DataType::BinaryView,
        _ => return None,
    })
}

/// A type without children.
fn leaf(format: &str, schema: &FFI_ArrowSchema) -> Result<DataType, String> {
    if let Some(frequent) = frequent(format) {
        return Ok(frequent);
    }
    if format.starts_with('+') {
        return Err("it has children".to_owned());
    }
    let mut alone = FFI_ArrowSchema::empty();
    alone.format = schema.format;
    let found = catch_unwind(AssertUnwindSafe(|| DataType::try_from(&alone)));
    match found {
        Ok(Ok(DataType::FixedSizeBinary(width))) if !(0..=MAX_WIDTH).contains(&width) => {
            Err(format!("a width of {width} bytes"))
        }
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its format is wrong".to_owned()),
    }
}
