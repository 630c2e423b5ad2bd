//! Encoded data sets as Python objects: `io.BytesIO` and bytes.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyType};

/// The class `io.BytesIO`.
struct BytesIO {
    class: Py<PyType>,
    /// The C function of its method `getvalue`, which has no parameters.
    getvalue: Option<ffi::PyCFunction>,
}

impl BytesIO {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let class = py.import(intern!(py, "io"))?.getattr(intern!(py, "BytesIO"))?;
        let method = class.call0()?.getattr(intern!(py, "getvalue"))?;
        // SAFETY: the flags and the function are read from a built-in function only.
        let getvalue = unsafe {
            let object = method.as_ptr();
            let takes_none = ffi::PyCFunction_Check(object) != 0
                && ffi::PyCFunction_GetFlags(object) == ffi::METH_NOARGS;
            if takes_none { ffi::PyCFunction_GetFunction(object) } else { None }
        };
        Ok(Self { class: class.cast_into()?.unbind(), getvalue })
    }

    fn get(py: Python<'_>) -> PyResult<&Self> {
        static BYTES_IO: PyOnceLock<BytesIO> = PyOnceLock::new();
        BYTES_IO.get_or_try_init(py, || Self::new(py))
    }

    fn is_exactly(&self, stream: &Bound<'_, PyAny>) -> bool {
        stream.get_type_ptr() == self.class.bind(stream.py()).as_type_ptr()
    }
}

/// The class `io.BytesIO`.
pub fn bytes_io(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    Ok(BytesIO::get(py)?.class.bind(py))
}

/// Whether the stream is an `io.BytesIO` and not of a subclass, which may override anything.
pub fn is_plain_stream(stream: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(BytesIO::get(stream.py())?.is_exactly(stream))
}

/// The stream that the class stores for a decoded data set.
pub fn new_stream<'py>(bytes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    bytes_io(bytes.py())?.call1((bytes,))
}

/// The bytes of a data set slot: of its stream, or of a data set that has not been read.
#[inline]
pub fn slot_bytes<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    match value.cast_exact::<PyBytes>() {
        Ok(bytes) => Ok(bytes.clone()),
        Err(_) => data_set_bytes(value),
    }
}

/// The bytes of a stream, whatever its position.
#[inline]
pub fn data_set_bytes<'py>(stream: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = stream.py();
    let bytes_io = BytesIO::get(py)?;
    if let Some(getvalue) = bytes_io.getvalue.filter(|_| bytes_io.is_exactly(stream)) {
        // Called as Python calls it, but without a lookup by name: this takes a third of the time.
        // SAFETY: the function accepts an `io.BytesIO`, which this is, and a null, as every METH_NOARGS
        // function; it returns a new reference, or null with an exception set.
        let bytes = unsafe {
            let bytes = getvalue(stream.as_ptr(), std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(py, bytes)?
        };
        return Ok(bytes.cast_into()?);
    }
    // The class accepts only `io.BytesIO`; a subclass or another primitive may have any object.
    if !stream.is_instance(bytes_io.class.bind(py))? && !stream.hasattr(intern!(py, "getvalue"))? {
        let class = stream.get_type().name()?;
        return Err(PyTypeError::new_err(format!("a data set must be an io.BytesIO, not {class}")));
    }
    Ok(stream.call_method0(intern!(py, "getvalue"))?.cast_into()?)
}

/// A data set as the stream that the class stores.
pub fn to_stream<'py>(data_set: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let bytes_io = bytes_io(data_set.py())?;
    if data_set.is_instance(bytes_io)? {
        return Ok(data_set.clone());
    }
    if data_set.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "data_set must be bytes-like, io.BytesIO or None, not str",
        ));
    }
    bytes_io.call1((data_set,))
}
