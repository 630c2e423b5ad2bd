//! Buffers of Python objects as Arrow buffers, without a copy if the memory is immutable.

use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{Buffer, MutableBuffer};
use pyo3::buffer::{PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::output::encoded_capture::EncodedCapture;
use crate::output::encoded_events::EncodedEvents;

/// The bytes of the argument `data`.
pub fn bytes_like(data: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    to_arrow(check_bytes(data)?, data)
}

/// The buffer of the argument `data`, which must be contiguous and not of Python objects.
pub fn check_bytes(data: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let Ok(buffer) = PyUntypedBuffer::get(data) else {
        let found = data.get_type().name()?;
        let text = format!("data must be bytes-like, with the buffer protocol, not {found}");
        return Err(PyTypeError::new_err(text));
    };
    if buffer.format().to_bytes().contains(&b'O') {
        return Err(PyTypeError::new_err("data must be bytes, not a buffer of Python objects"));
    }
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the buffer must be C-contiguous"));
    }
    Ok(buffer)
}

/// The buffer of an object as an Arrow buffer. Immutable memory is shared and kept alive. Other memory is
/// copied, since it must not change after it was checked; a read-only buffer is no exception, since its
/// memory, or the mapped file, may be written to in other ways.
pub fn to_arrow(buffer: PyUntypedBuffer, object: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    let py = object.py();
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the buffer must be C-contiguous"));
    }
    let length = buffer.len_bytes();
    let Some(pointer) = NonNull::new(buffer.buf_ptr().cast::<u8>()).filter(|_| length > 0) else {
        buffer.release(py);
        return Ok(Buffer::default());
    };
    if !is_fixed(object)? {
        let mut copy = MutableBuffer::from_len_zeroed(length);
        // SAFETY: the buffer is held, C-contiguous and `length` bytes long, and so is the copy.
        unsafe { std::ptr::copy_nonoverlapping(pointer.as_ptr(), copy.as_mut_ptr(), length) };
        buffer.release(py);
        return Ok(copy.into());
    }
    let owner = Arc::new(AssertUnwindSafe(buffer));
    // SAFETY: `pointer` is valid for `length` bytes as long as `owner` holds the buffer's export,
    // which its exporter must not move or free; nothing writes to it.
    Ok(unsafe { Buffer::from_custom_allocation(pointer, length, owner) })
}

/// Whether the memory of an object is immutable: `bytes`, results of this module, and memoryviews of these.
fn is_fixed(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let exporter = match object.cast::<PyMemoryView>() {
        Ok(view) => view.getattr(intern!(object.py(), "obj"))?,
        Err(_) => object.clone(),
    };
    // A subclass of bytes may export other memory.
    Ok(exporter.is_exact_instance_of::<PyBytes>()
        || exporter.is_instance_of::<EncodedEvents>()
        || exporter.is_instance_of::<EncodedCapture>())
}

macro_rules! copied {
    ($values:ident, $($number:ty => $array:ty),*) => {
        $(if let Ok(buffer) = PyBuffer::<$number>::get($values)
            && buffer.dimensions() == 1
        {
            return Ok(Some(Arc::new(<$array>::from(buffer.to_vec($values.py())?))));
        })*
    };
}

/// A copy of a one-dimensional buffer of numbers, such as a numpy array; `None` for other objects.
pub fn numbers(values: &Bound<'_, PyAny>) -> PyResult<Option<ArrayRef>> {
    copied!(
        values, u16 => UInt16Array, i64 => Int64Array, i32 => Int32Array, u8 => UInt8Array,
        u32 => UInt32Array, u64 => UInt64Array, i8 => Int8Array, i16 => Int16Array,
        f64 => Float64Array, f32 => Float32Array
    );
    Ok(None)
}
