//! The buffer protocol of results: read-only memory that Python code borrows.

use arrow_buffer::Buffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Exports bytes, read-only, through the buffer protocol.
///
/// # Safety
/// `view` is null or valid to be filled; `bytes` belong to `owner`, live as long as it and are never written
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
    // SAFETY: as the caller guarantees; the view is read-only and keeps a reference to `owner`.
    let filled =
        unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), start.cast(), length, 1, flags) };
    if filled == 0 { Ok(()) } else { Err(PyErr::fetch(owner.py())) }
}
