//! Python's buffers as Arrow's, without a copy where that is safe.

use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_buffer::Buffer;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

/// The bytes of what a user handed over as data.
pub fn bytes_like(data: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    let Ok(buffer) = PyUntypedBuffer::get(data) else {
        let found = data.get_type().name()?;
        let text = format!("data must be bytes-like, with the buffer protocol, not {found}");
        return Err(PyTypeError::new_err(text));
    };
    to_arrow(buffer, data.py())
}

/// A buffer of bytes. One that nobody may write to is shared and kept alive; one that someone
/// may still write to is copied, since what was checked must stay as it is.
pub fn to_arrow(buffer: PyUntypedBuffer, py: Python<'_>) -> PyResult<Buffer> {
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the buffer must be C-contiguous"));
    }
    let length = buffer.len_bytes();
    let Some(pointer) = NonNull::new(buffer.buf_ptr().cast::<u8>()).filter(|_| length > 0) else {
        buffer.release(py);
        return Ok(Buffer::default());
    };
    if !buffer.readonly() {
        // SAFETY: the buffer is held, C-contiguous and `length` bytes long, and the GIL is held
        // during the copy, so that no Python code writes to it meanwhile.
        let copy = unsafe { std::slice::from_raw_parts(pointer.as_ptr(), length) }.into();
        buffer.release(py);
        return Ok(copy);
    }
    let owner = Arc::new(AssertUnwindSafe(buffer));
    // SAFETY: `pointer` is valid for `length` bytes as long as `owner` holds the buffer's export,
    // which its exporter must not move or free; it is read-only.
    Ok(unsafe { Buffer::from_custom_allocation(pointer, length, owner) })
}

/// Lends bytes out, read-only, through the buffer protocol.
///
/// # Safety
/// `view` is null or valid to be filled; `bytes` are `owner`'s, live as long and are never written
/// to.
pub unsafe fn lend(
    owner: &Bound<'_, PyAny>,
    bytes: &Buffer,
    view: *mut ffi::Py_buffer,
    flags: std::ffi::c_int,
) -> PyResult<()> {
    if view.is_null() {
        return Err(PyBufferError::new_err("no view to fill"));
    }
    let (start, length) = (bytes.as_ptr().cast_mut(), bytes.len() as ffi::Py_ssize_t);
    // SAFETY: as above; the view is read-only, and keeps a reference to `owner`.
    let filled =
        unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), start.cast(), length, 1, flags) };
    if filled == 0 { Ok(()) } else { Err(PyErr::fetch(owner.py())) }
}
