//! Arrow data of other libraries (the C Data Interface), with the checks that arrow-rs leaves to who made it.
//!
//! Lengths, counts, children, offsets, keys and views are checked before anything relies on them. Text need
//! not be UTF-8: the core reads it as bytes. What can't be checked is that a buffer is as long as the offsets
//! and the number of rows say, and that nobody writes to it meanwhile: the interface has no sizes of buffers.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader, StructArray, make_array,
    new_empty_array,
};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, ScalarBuffer};
use arrow_data::{ArrayData, ByteView, MAX_INLINE_VIEW_LEN};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use thiserror::Error;

/// Types are read to this depth: data sets have 64 levels, each a list of structs.
const DEEPEST: usize = 200;
/// More rows than there is memory for: numbers of bytes can be computed from fewer without overflow.
const MOST_ROWS: i64 = 1 << 40;
/// The most bytes of a value of fixed size.
const WIDEST: i32 = 1 << 20;
/// The most entries of a field's metadata.
const MOST_METADATA: i32 = 1 << 16;

/// What is wrong with the Arrow data of another library.
#[derive(Debug, Error)]
pub enum Fault {
    /// A type that is none, or that nothing is read from.
    #[error("{0}")]
    Type(String),
    /// Data that is not as its type demands.
    #[error("{0}")]
    Data(String),
    /// What the other library says of its own failure.
    #[error("the Arrow stream failed: {0}")]
    Failed(String),
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Type(_) => PyTypeError::new_err(text),
            Fault::Data(_) | Fault::Failed(_) => PyValueError::new_err(text),
        }
    }
}

/// An error of the stream that the events came in, or of Arrow itself.
pub fn arrow_error(error: ArrowError) -> PyErr {
    match error {
        ArrowError::ExternalError(error) => match error.downcast::<Fault>() {
            Ok(fault) => (*fault).into(),
            Err(error) => PyValueError::new_err(format!("the Arrow stream failed: {error}")),
        },
        error => PyValueError::new_err(format!("the Arrow stream failed: {error}")),
    }
}

/// Whether an object is an Arrow array, table or stream.
pub fn is_arrow(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    Ok(object.hasattr(intern!(py, "__arrow_c_array__"))?
        || object.hasattr(intern!(py, "__arrow_c_stream__"))?)
}

/// The batches of an Arrow table or stream.
pub fn batches(object: &Bound<'_, PyAny>) -> PyResult<Box<dyn RecordBatchReader + Send>> {
    let place = Place::table();
    let (source, schema) = source(object)?;
    let DataType::Struct(fields) = data_type(&schema, &place, 0)? else {
        let text = "events must be a table, the Arrow data is an array of no structs";
        return Err(PyTypeError::new_err(text));
    };
    Ok(Box::new(Batches { source, schema: Arc::new(Schema::new(fields)), done: 0 }))
}

/// The Arrow array `object`, its chunks as one; `name` is what errors call it.
pub fn array(object: &Bound<'_, PyAny>, name: &str) -> PyResult<ArrayRef> {
    let place = Place::column(name);
    let (mut source, schema) = source(object)?;
    let data_type = data_type(&schema, &place, 0)?;
    let mut chunks = Vec::new();
    while let Some(array) = object.py().detach(|| source.next())? {
        chunks.push(import(array, &data_type, &place)?);
    }
    let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
    match chunks[..] {
        [] => Ok(new_empty_array(&data_type)),
        _ => arrow_select::concat::concat(&chunks).map_err(arrow_error),
    }
}

/// The same, of which all text is UTF-8.
pub fn utf8_array(object: &Bound<'_, PyAny>, name: &str) -> PyResult<ArrayRef> {
    let array = array(object, name)?;
    let wrong = |error| Place::column(name).fault(&format!("{error}"));
    array.to_data().validate_full().map_err(wrong)?;
    Ok(array)
}

/// The fields of an Arrow schema or struct type; `name` is what errors call it.
pub fn fields(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Fields> {
    let found = object.getattr_opt(intern!(object.py(), "__arrow_c_schema__"))?;
    let not_schema = || {
        let found = object.get_type().name()?;
        let text = format!("{name} must be an Arrow schema or struct type, not {found}");
        Err(PyTypeError::new_err(text))
    };
    let Some(export) = found else { return not_schema() };
    let capsule = export.call0()?.cast_into::<PyCapsule>()?;
    let schema = pointer::<FFI_ArrowSchema>(&capsule, c"arrow_schema")?;
    // SAFETY: a capsule of this name has a schema, which lives as long as the capsule.
    match data_type(unsafe { schema.as_ref() }, &Place::column(name), 0)? {
        DataType::Struct(fields) => Ok(fields),
        _ => not_schema(),
    }
}

/// Where in the data something is wrong.
struct Place {
    /// The path of a column; `None` for the table itself.
    path: Option<String>,
}

impl Place {
    fn table() -> Self {
        Self { path: None }
    }

    fn column(name: &str) -> Self {
        Self { path: Some(name.to_owned()) }
    }

    fn inside(&self, name: &str) -> Self {
        match &self.path {
            None => Self::column(name),
            Some(path) => Self::column(&format!("{path}.{name}")),
        }
    }

    fn said(&self, what: &str) -> String {
        match &self.path {
            None => format!("the Arrow table {what}"),
            Some(path) => format!("the column '{path}' {what}"),
        }
    }

    fn type_fault(&self, what: &str) -> Fault {
        Fault::Type(self.said(what))
    }

    fn fault(&self, what: &str) -> Fault {
        Fault::Data(self.said(&format!("is no valid Arrow data: {what}")))
    }
}

// -------------------------------------------------------------- where data comes from

/// An array, or a stream of arrays.
enum Source {
    Array(Option<FFI_ArrowArray>),
    Stream(FFI_ArrowArrayStream),
    /// It has ended or failed: it is not to be asked again.
    Ended,
}

fn source(object: &Bound<'_, PyAny>) -> PyResult<(Source, FFI_ArrowSchema)> {
    let py = object.py();
    if let Some(export) = object.getattr_opt(intern!(py, "__arrow_c_array__"))? {
        let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) =
            export.call0()?.extract()?;
        let schema = pointer::<FFI_ArrowSchema>(&schema, c"arrow_schema")?;
        let array = pointer::<FFI_ArrowArray>(&array, c"arrow_array")?;
        // SAFETY: capsules of these names have them; they are moved out of these, as is agreed.
        let (schema, array) = unsafe {
            (FFI_ArrowSchema::from_raw(schema.as_ptr()), FFI_ArrowArray::from_raw(array.as_ptr()))
        };
        if array.is_released() {
            return Err(PyValueError::new_err("the Arrow array has been released already"));
        }
        return Ok((Source::Array(Some(array)), schema));
    }
    let export = object.getattr(intern!(py, "__arrow_c_stream__"))?;
    let capsule = export.call0()?.cast_into::<PyCapsule>()?;
    let stream = pointer::<FFI_ArrowArrayStream>(&capsule, c"arrow_array_stream")?;
    // SAFETY: a capsule of this name has a stream, which is moved out of it, as is agreed.
    let mut stream = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr()) };
    let Some(get_schema) = stream.get_schema.filter(|_| stream.release.is_some()) else {
        return Err(PyValueError::new_err("the Arrow stream has been released already"));
    };
    let mut schema = FFI_ArrowSchema::empty();
    // SAFETY: the stream is not released, and there is a schema to fill.
    match unsafe { get_schema(&mut stream, &mut schema) } {
        0 => Ok((Source::Stream(stream), schema)),
        code => Err(failed(&mut stream, code).into()),
    }
}

fn pointer<T>(capsule: &Bound<'_, PyCapsule>, name: &CStr) -> PyResult<NonNull<T>> {
    Ok(capsule.pointer_checked(Some(name))?.cast::<T>())
}

/// What a stream says of its failure.
fn failed(stream: &mut FFI_ArrowArrayStream, code: i32) -> Fault {
    // SAFETY: the stream is not released; what it says lives until it is called again.
    let text = stream.get_last_error.and_then(|last| unsafe { text(last(stream)) });
    match text {
        Some(text) => Fault::Failed(text.to_string_lossy().into_owned()),
        None => Fault::Failed(format!("its error code is {code}, and it gives no reason")),
    }
}

/// The text at a pointer, which may be null.
///
/// # Safety
/// It ends in a null byte, and lives long enough.
unsafe fn text<'a>(at: *const c_char) -> Option<&'a CStr> {
    // SAFETY: as above.
    (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) })
}

impl Source {
    fn next(&mut self) -> Result<Option<FFI_ArrowArray>, Fault> {
        let stream = match self {
            Self::Array(array) => return Ok(array.take()),
            Self::Ended => return Ok(None),
            Self::Stream(stream) => stream,
        };
        let mut array = FFI_ArrowArray::empty();
        let Some(get_next) = stream.get_next else {
            return Err(Fault::Failed("it has no get_next".to_owned()));
        };
        // SAFETY: the stream is not released, and there is an array to fill.
        let found = match unsafe { get_next(stream, &mut array) } {
            0 if array.is_released() => Ok(None),
            0 => return Ok(Some(array)),
            code => Err(failed(stream, code)),
        };
        *self = Self::Ended;
        found
    }
}

struct Batches {
    source: Source,
    schema: SchemaRef,
    /// How many batches there were.
    done: usize,
}

impl Batches {
    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let external = |fault: Fault| ArrowError::ExternalError(Box::new(fault));
        let Some(array) = self.source.next().map_err(external)? else { return Ok(None) };
        self.done += 1;
        let data_type = DataType::Struct(self.schema.fields().clone());
        let array = import(array, &data_type, &Place::table()).map_err(|fault| match fault {
            Fault::Data(why) => external(Fault::Data(format!("batch {}: {why}", self.done))),
            fault => external(fault),
        })?;
        let rows = array.as_any().downcast_ref::<StructArray>().expect("its type is a struct");
        if rows.null_count() > 0 {
            let text = format!("batch {} has {} rows that are null", self.done, rows.null_count());
            return Err(external(Fault::Data(text)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = rows.columns().to_vec();
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map(Some)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batch();
        // The producer's release may be Python code: it is not to run when an exception is on its way.
        if batch.is_err() {
            self.source = Source::Ended;
        }
        batch.transpose()
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

// -------------------------------------------------------------------------------- types

fn field(schema: &FFI_ArrowSchema, place: &Place, depth: usize) -> Result<Field, Fault> {
    // SAFETY: names end in a null byte and live as long as their schema.
    let name = unsafe { text(schema.name) }.unwrap_or_default();
    let name =
        name.to_str().map_err(|_| place.type_fault("has a field whose name is not UTF-8"))?;
    let place = place.inside(name);
    let data_type = data_type(schema, &place, depth)?;
    let field = Field::new(name, data_type, schema.nullable());
    if schema.metadata.is_null() {
        return Ok(field);
    }
    // SAFETY: metadata begins with the number of its entries.
    let entries = unsafe { schema.metadata.cast::<i32>().read_unaligned() };
    match entries {
        // What is not UTF-8 says nothing that is read here.
        0..=MOST_METADATA => Ok(field.with_metadata(schema.metadata().unwrap_or_default())),
        _ => Err(place.type_fault(&format!("has {entries} entries of metadata"))),
    }
}

fn children<'a>(
    schema: &'a FFI_ArrowSchema,
    place: &Place,
) -> Result<Vec<&'a FFI_ArrowSchema>, Fault> {
    // SAFETY: a schema with children has pointers to as many.
    unsafe { pointers(schema.children, schema.n_children) }
        .ok_or_else(|| place.type_fault("is no valid Arrow type: it lacks children that it counts"))
}

/// References to what `count` pointers point to; `None` if one of them is null.
///
/// # Safety
/// There are as many, and what they point to lives long enough.
unsafe fn pointers<'a, T>(first: *mut *mut T, count: i64) -> Option<Vec<&'a T>> {
    let count = usize::try_from(count).ok()?;
    if count > 0 && first.is_null() {
        return None;
    }
    // SAFETY: as above.
    (0..count).map(|place| unsafe { first.add(place).read_unaligned().as_ref() }).collect()
}

fn data_type(schema: &FFI_ArrowSchema, place: &Place, depth: usize) -> Result<DataType, Fault> {
    if depth > DEEPEST {
        // Its path is as long as it is deep.
        let column = place.path.as_deref().and_then(|path| path.split('.').next());
        let column = column.unwrap_or_default();
        return Err(Fault::Data(format!(
            "the column '{column}' is nested too deep: a data set has at most 64 levels of sequences"
        )));
    }
    // SAFETY: a format ends in a null byte and lives as long as its schema.
    let format = unsafe { text(schema.format) }.and_then(|format| format.to_str().ok());
    let Some(format) = format else {
        return Err(place.type_fault("has no Arrow type: its format is missing or not UTF-8"));
    };
    let unknown = |why: &dyn std::fmt::Display| {
        place.type_fault(&format!("has the Arrow type '{format}', which can't be read: {why}"))
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
    let inner = inner.into_iter().map(|child| field(child, place, depth + 1));
    let inner = inner.collect::<Result<Vec<Field>, Fault>>()?;
    let only = || match &inner[..] {
        [one] => Ok(Arc::new(one.clone())),
        others => Err(unknown(&format!("it has {} children, it must have one", others.len()))),
    };
    Ok(match format {
        "+s" => DataType::Struct(inner.into()),
        "+l" => DataType::List(only()?),
        "+L" => DataType::LargeList(only()?),
        "+vl" => DataType::ListView(only()?),
        "+vL" => DataType::LargeListView(only()?),
        "+m" => DataType::Map(only()?, schema.map_keys_sorted()),
        "+r" => match &inner[..] {
            [ends, values] => {
                DataType::RunEndEncoded(Arc::new(ends.clone()), Arc::new(values.clone()))
            }
            others => return Err(unknown(&format!("it has {} children, not two", others.len()))),
        },
        other => match other.strip_prefix("+w:").and_then(|length| length.parse().ok()) {
            Some(length @ 0..=WIDEST) => DataType::FixedSizeList(only()?, length),
            _ => return Err(unknown(&"it is none that a column may have")),
        },
    })
}

/// A type without children.
fn leaf(format: &str, schema: &FFI_ArrowSchema) -> Result<DataType, String> {
    if format.starts_with('+') {
        return Err("it has children".to_owned());
    }
    let mut alone = FFI_ArrowSchema::empty();
    alone.format = schema.format;
    let found = catch_unwind(AssertUnwindSafe(|| DataType::try_from(&alone)));
    match found {
        Ok(Ok(DataType::FixedSizeBinary(width))) if !(0..=WIDEST).contains(&width) => {
            Err(format!("a width of {width} bytes"))
        }
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its format is wrong".to_owned()),
    }
}

// --------------------------------------------------------------------------------- data

/// Takes an array over, all of it checked.
fn import(array: FFI_ArrowArray, data_type: &DataType, place: &Place) -> Result<ArrayRef, Fault> {
    check(&array, data_type, place)?;
    if array.length == 0 {
        return Ok(new_empty_array(data_type));
    }
    // The last net: arrow-rs panics where data is wrong.
    let taken = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: what arrow-rs relies on was checked, and the rest is before it is relied on.
        let data = unsafe { from_ffi_and_data_type(array, data_type.clone()) };
        let data = data.map_err(|error| place.fault(&error.to_string()))?;
        Ok(make_array(checked(data, place)?))
    }));
    taken.unwrap_or_else(|_| Err(place.fault("it can't be read")))
}

/// The error for a type that no column is read from.
fn not_read(data_type: &DataType, place: &Place) -> Fault {
    let text =
        "it must be a number, text, binary, a dictionary of one of these, or of data sets a struct";
    place.type_fault(&format!("is {data_type}, {text}"))
}

/// How many buffers an array of this type has; of views they are the fewest.
fn buffers(data_type: &DataType, place: &Place) -> Result<i64, Fault> {
    use DataType::*;
    Ok(match data_type {
        Null => 0,
        Struct(_) | FixedSizeList(..) => 1,
        Utf8 | LargeUtf8 | Binary | LargeBinary | Utf8View | BinaryView => 3,
        Union(..) | RunEndEncoded(..) | ListView(_) | LargeListView(_) | Map(..) => {
            return Err(not_read(data_type, place));
        }
        _ => 2,
    })
}

/// Checks what arrow-rs relies on when it takes an array over: all but the values of its buffers.
fn check(array: &FFI_ArrowArray, data_type: &DataType, place: &Place) -> Result<(), Fault> {
    let FFI_ArrowArray { length, offset, null_count, n_buffers, .. } = *array;
    let buffers = buffers(data_type, place)?;
    if length < 0 || offset < 0 || length > MOST_ROWS || offset > MOST_ROWS {
        return Err(place.fault(&format!("{length} rows from row {offset} on")));
    }
    if !(-1..=length).contains(&null_count) {
        return Err(place.fault(&format!("{null_count} nulls in {length} rows")));
    }
    let is_view = matches!(data_type, DataType::Utf8View | DataType::BinaryView);
    if n_buffers != buffers && !(is_view && (buffers..MOST_ROWS).contains(&n_buffers)) {
        return Err(place.fault(&format!(
            "it has {n_buffers} buffers, {data_type} must have {buffers}{}",
            if is_view { " and more" } else { "" }
        )));
    }
    if n_buffers > 0 && array.buffers.is_null() {
        return Err(place.fault("it lacks its buffers"));
    }
    if n_buffers > 0 && null_count > 0 && buffer(array, 0).is_none() {
        return Err(place.fault(&format!("{null_count} nulls, but no buffer says which")));
    }
    check_children(array, data_type, place)?;
    if array.length > 0 { check_buffers(array, data_type, place) } else { Ok(()) }
}

fn buffer(array: &FFI_ArrowArray, index: usize) -> Option<NonNull<c_void>> {
    NonNull::new(array.buffer(index).cast_mut().cast())
}

/// Checks the buffers of an array that has rows.
fn check_buffers(array: &FFI_ArrowArray, data_type: &DataType, place: &Place) -> Result<(), Fault> {
    use DataType::*;
    if array.n_buffers < 2 {
        return Ok(());
    }
    let missing = |index| place.fault(&format!("its buffer {index} is missing"));
    let fixed = buffer(array, 1);
    if fixed.is_none() && !matches!(data_type, FixedSizeBinary(0)) {
        return Err(missing(1));
    }
    let end = (array.offset + array.length) as usize;
    // SAFETY: the buffer of offsets is there, and as long as the number of rows says.
    let last = fixed.map(|first| unsafe {
        match data_type {
            Utf8 | Binary => i64::from(first.cast::<i32>().add(end).read_unaligned()),
            LargeUtf8 | LargeBinary => first.cast::<i64>().add(end).read_unaligned(),
            _ => 0,
        }
    });
    match last {
        Some(last) if last < 0 => Err(place.fault(&format!("its last offset is {last}"))),
        Some(last) if last > 0 && buffer(array, 2).is_none() => Err(missing(2)),
        _ if matches!(data_type, Utf8View | BinaryView) => check_view_buffers(array, place),
        _ => Ok(()),
    }
}

fn check_view_buffers(array: &FFI_ArrowArray, place: &Place) -> Result<(), Fault> {
    let count = array.n_buffers as usize - 3;
    if count == 0 {
        return Ok(());
    }
    let lengths = buffer(array, count + 2).map(NonNull::cast::<i64>);
    let Some(lengths) = lengths.filter(|lengths| lengths.is_aligned()) else {
        return Err(place.fault("the lengths of its buffers are missing or not aligned"));
    };
    for index in 0..count {
        // SAFETY: there is a length for each buffer.
        let length = unsafe { lengths.add(index).read() };
        if length < 0 || length > 0 && buffer(array, index + 2).is_none() {
            let text = format!("its buffer {} has {length} bytes, or is missing", index + 2);
            return Err(place.fault(&text));
        }
    }
    Ok(())
}

/// Checks the children and the dictionary of an array.
fn check_children(
    array: &FFI_ArrowArray,
    data_type: &DataType,
    place: &Place,
) -> Result<(), Fault> {
    let (found, expected) = (array.n_children, fields_of(data_type).len());
    if usize::try_from(found) != Ok(expected) {
        let what = if place.path.is_none() { "columns" } else { "children" };
        return Err(place.fault(&format!("it has {found} {what}, by its schema it has {expected}")));
    }
    // SAFETY: an array with children has pointers to as many.
    let Some(children) = (unsafe { pointers(array.children, found) }) else {
        return Err(place.fault("it lacks children that it counts"));
    };
    let rows = array.offset + array.length;
    for (child, field) in children.into_iter().zip(fields_of(data_type)) {
        let place = place.inside(field.name());
        check(child, field.data_type(), &place)?;
        let needed = match data_type {
            DataType::Struct(_) => rows,
            DataType::FixedSizeList(_, length) => rows * i64::from(*length),
            _ => 0,
        };
        if child.length < needed {
            return Err(place.fault(&format!("{} rows, {needed} are needed", child.length)));
        }
    }
    match (array.dictionary(), data_type) {
        (Some(values), DataType::Dictionary(_, of)) => check(values, of, place),
        (None, DataType::Dictionary(..)) => Err(place.fault("it lacks its dictionary")),
        (Some(_), _) => Err(place.fault("it has a dictionary, its type has none")),
        (None, _) => Ok(()),
    }
}

/// The fields inside a type.
fn fields_of(data_type: &DataType) -> &[Arc<Field>] {
    match data_type {
        DataType::Struct(fields) => fields,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            std::slice::from_ref(field)
        }
        _ => &[],
    }
}

/// Checks the values that say where others are: offsets, keys and views. Nulls are counted again, and what
/// a null has in their place, which may be anything, becomes one that is right.
fn checked(data: ArrayData, place: &Place) -> Result<ArrayData, Fault> {
    use DataType::*;
    let nulls = data.nulls().map(|nulls| NullBuffer::new(nulls.inner().clone()));
    let inner = data.child_data().iter().enumerate().map(|(number, child)| {
        let field = fields_of(data.data_type()).get(number);
        match field {
            Some(field) => checked(child.clone(), &place.inside(field.name())),
            None => checked(child.clone(), place),
        }
    });
    let inner = inner.collect::<Result<Vec<ArrayData>, Fault>>()?;
    let bytes = || data.buffers()[1].len();
    let buffers = match data.data_type() {
        Utf8 | Binary => check_offsets::<i32>(&data, bytes(), place)?,
        LargeUtf8 | LargeBinary => check_offsets::<i64>(&data, bytes(), place)?,
        List(_) => check_offsets::<i32>(&data, inner[0].len(), place)?,
        LargeList(_) => check_offsets::<i64>(&data, inner[0].len(), place)?,
        Utf8View | BinaryView => checked_views(&data, nulls.as_ref(), place)?,
        Dictionary(keys, _) => {
            let values = inner[0].len();
            let buffer = checked_keys(keys, &data, nulls.as_ref(), values, place)?;
            buffer.map(|keys| vec![keys])
        }
        _ => None,
    };
    let mut builder = data.into_builder().nulls(nulls).child_data(inner);
    if let Some(buffers) = buffers {
        builder = builder.buffers(buffers);
    }
    // SAFETY: all of it is checked.
    Ok(unsafe { builder.build_unchecked() })
}

/// The rows of an array in its buffer 0.
fn values<T: ArrowNativeType>(data: &ArrayData, more: usize) -> &[T] {
    &data.buffers()[0].typed_data::<T>()[data.offset()..][..data.len() + more]
}

/// Checks that offsets go up, to at most `end`.
fn check_offsets<O: ArrowNativeType>(
    data: &ArrayData,
    end: usize,
    place: &Place,
) -> Result<Option<Vec<Buffer>>, Fault> {
    let offsets = values::<O>(data, 1);
    let zero = O::default();
    // Without a branch for each row the machine compares many at once.
    let ascend = offsets.iter().zip(&offsets[1..]).fold(true, |ok, (one, next)| ok & (one <= next));
    let last = offsets[offsets.len() - 1];
    if ascend && offsets[0] >= zero && last.as_usize() <= end {
        return Ok(None);
    }
    let row = offsets.windows(2).position(|two| two[0] < zero || two[0] > two[1]);
    Err(place.fault(&match row {
        Some(row) => {
            let (one, next) = (offsets[row], offsets[row + 1]);
            format!("row {row} of it lies from offset {one:?} to {next:?}")
        }
        None => format!("its last offset is {last:?}, there are {end} values"),
    }))
}

/// Where rows that are not null have no value; `None` if all have one.
fn wrong_row(
    rows: usize,
    nulls: Option<&NullBuffer>,
    is_right: impl Fn(usize) -> bool,
) -> Option<usize> {
    (0..rows).find(|&row| nulls.is_none_or(|nulls| nulls.is_valid(row)) && !is_right(row))
}

/// The buffers of views that are all within them; `None` if they are as they were.
fn checked_views(
    data: &ArrayData,
    nulls: Option<&NullBuffer>,
    place: &Place,
) -> Result<Option<Vec<Buffer>>, Fault> {
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
        return Err(place.fault(&format!("the view of its row {row} is outside its buffers")));
    }
    let right = views.iter().map(|&view| if fits(view) { view } else { 0 });
    let before = std::iter::repeat_n(0, data.offset());
    let right: ScalarBuffer<u128> = before.chain(right).collect();
    let mut buffers = data.buffers().to_vec();
    buffers[0] = right.into_inner();
    Ok(Some(buffers))
}

/// The buffer of keys that all have a value; `None` if they are as they were.
fn checked_keys(
    keys: &DataType,
    data: &ArrayData,
    nulls: Option<&NullBuffer>,
    count: usize,
    place: &Place,
) -> Result<Option<Buffer>, Fault> {
    macro_rules! keys {
        ($($name:ident => $kind:ty),*) => {
            match keys {
                $(DataType::$name => {
                    keys_of::<<$kind as ArrowPrimitiveType>::Native>(data, nulls, count, place)
                })*
                _ => Err(place.type_fault(&format!("has keys of the type {keys}"))),
            }
        };
    }
    keys!(Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
          UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type)
}

fn keys_of<K: ArrowNativeType>(
    data: &ArrayData,
    nulls: Option<&NullBuffer>,
    count: usize,
    place: &Place,
) -> Result<Option<Buffer>, Fault> {
    let keys = values::<K>(data, 0);
    // A negative one is more than there can be.
    let fits = |key: K| key.as_usize() < count;
    if keys.iter().fold(true, |ok, &key| ok & fits(key)) {
        return Ok(None);
    }
    if let Some(row) = wrong_row(keys.len(), nulls, |row| fits(keys[row])) {
        let key = keys[row];
        return Err(place.fault(&format!("the key of its row {row} is {key:?}, of {count} values")));
    }
    let right = keys.iter().map(|&key| if fits(key) { key } else { K::default() });
    let before = std::iter::repeat_n(K::default(), data.offset());
    let right: ScalarBuffer<K> = before.chain(right).collect();
    Ok(Some(right.into_inner()))
}
