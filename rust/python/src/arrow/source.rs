//! Arrays and streams that Python objects export.

use std::ffi::CStr;
use std::ptr::NonNull;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrow::data_type::text;
use crate::arrow::error::ImportError;

/// An array, or a stream of arrays.
pub enum Source {
    Array(Option<FFI_ArrowArray>),
    Stream(FFI_ArrowArrayStream),
    /// The stream has ended or failed, and must not be read again.
    Ended,
}

pub fn source(object: &Bound<'_, PyAny>) -> PyResult<(Source, FFI_ArrowSchema)> {
    let py = object.py();
    if let Some(export) = object.getattr_opt(intern!(py, "__arrow_c_array__"))? {
        let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) =
            export.call0()?.extract()?;
        let schema = pointer::<FFI_ArrowSchema>(&schema, c"arrow_schema")?;
        let array = pointer::<FFI_ArrowArray>(&array, c"arrow_array")?;
        // SAFETY: capsules of these names contain these structs, which are moved out, as the interface
        // specifies.
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
    // SAFETY: a capsule of this name contains a stream, which is moved out, as the interface specifies.
    let mut stream = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr()) };
    let Some(get_schema) = stream.get_schema.filter(|_| stream.release.is_some()) else {
        return Err(PyValueError::new_err("the Arrow stream has been released already"));
    };
    let mut schema = FFI_ArrowSchema::empty();
    // SAFETY: the stream is not released, and the schema is valid to be written.
    match unsafe { get_schema(&mut stream, &mut schema) } {
        0 => Ok((Source::Stream(stream), schema)),
        code => Err(stream_error(&mut stream, code).into()),
    }
}

pub fn pointer<T>(capsule: &Bound<'_, PyCapsule>, name: &CStr) -> PyResult<NonNull<T>> {
    Ok(capsule.pointer_checked(Some(name))?.cast::<T>())
}

/// The error of a stream.
pub fn stream_error(stream: &mut FFI_ArrowArrayStream, code: i32) -> ImportError {
    // SAFETY: the stream is not released; its error text is valid until the next call.
    let text = stream.get_last_error.and_then(|last| unsafe { text(last(stream)) });
    match text {
        Some(text) => ImportError::Stream(text.to_string_lossy().into_owned()),
        None => ImportError::Stream(format!("error code {code}, without a reason")),
    }
}

impl Source {
    pub fn next(&mut self) -> Result<Option<FFI_ArrowArray>, ImportError> {
        let stream = match self {
            Self::Array(array) => return Ok(array.take()),
            Self::Ended => return Ok(None),
            Self::Stream(stream) => stream,
        };
        let mut array = FFI_ArrowArray::empty();
        let Some(get_next) = stream.get_next else {
            return Err(ImportError::Stream("it has no get_next".to_owned()));
        };
        // SAFETY: the stream is not released, and the array is valid to be written.
        let found = match unsafe { get_next(stream, &mut array) } {
            0 if array.is_released() => Ok(None),
            0 => return Ok(Some(array)),
            code => Err(stream_error(stream, code)),
        };
        *self = Self::Ended;
        found
    }
}
