//! Encoded messages: one stream of bytes, and where each message begins.

use std::sync::Arc;

use arrow_array::LargeBinaryArray;
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use fastdimse_core::encode::Encoded;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyMemoryView, PySlice, PyTuple};

use crate::output::arrow::{export_array, export_schema};
use crate::output::buffer::lend;
use crate::output::offsets::Offsets;
use crate::output::pickle::{self, Pickle, Pickler, Reduced, invalid, reduce};
use crate::output::rejections::Rejections;
use crate::output::sequence::{SequenceIterator, from_end};

/// Encoded messages: a stream of bytes with the buffer protocol, and a sequence of messages.
///
/// ``memoryview(encoded)``, ``file.write(encoded)`` and ``socket.sendall(encoded)`` use the stream
/// without copying it. ``encoded[i]`` and iteration return a :class:`memoryview` of one message.
/// As an Arrow array (``pyarrow.array(encoded)``) it is a large_binary array of the messages.
/// Views and arrays keep the memory alive.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> from fastdimse import encode_events
/// >>> encoded = encode_events({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2],
/// ... })
/// >>> encoded
/// <EncodedEvents: 2 messages, 244 bytes, 0 rejected>
/// >>> encoded[0].nbytes, encoded.offsets.tolist()
/// (122, [0, 122, 244])
#[pyclass(frozen, sequence, module = "fastdimse")]
pub struct EncodedEvents {
    bytes: Buffer,
    offsets: ScalarBuffer<i64>,
    rejected: Rejections,
}

impl From<Encoded> for EncodedEvents {
    fn from(encoded: Encoded) -> Self {
        let Encoded { bytes, offsets, rejected } = encoded;
        Self { bytes, offsets, rejected: rejected.into() }
    }
}

impl EncodedEvents {
    fn count(&self) -> usize {
        self.offsets.len() - 1
    }
}

impl Pickle for EncodedEvents {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let (bytes, offsets) = (pickler.bytes(&self.bytes)?, pickler.integers(&self.offsets)?);
        (bytes, offsets, self.rejected.clone()).into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (bytes, offsets, rejected): (Bound<'_, PyAny>, Bound<'_, PyAny>, Rejections) =
            state.extract()?;
        let (bytes, offsets) = (pickle::bytes(&bytes)?, pickle::integers(&offsets)?);
        let ends = (offsets.first().copied(), offsets.last().copied());
        if ends != (Some(0), Some(bytes.len() as i64)) || !offsets.is_sorted() {
            return Err(invalid("its offsets are not those of its messages"));
        }
        Ok(Self { bytes, offsets, rejected })
    }
}

#[pymethods]
impl EncodedEvents {
    #[pyo3(signature = (protocol, /))]
    fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, protocol: i64) -> PyResult<Reduced<'py>> {
        reduce(slf.as_any(), slf.get(), protocol)
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (memo, /))]
    fn __deepcopy__<'py>(slf: Bound<'py, Self>, memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        let _ = memo;
        slf
    }

    fn __len__(&self) -> usize {
        self.count()
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let index = from_end(index, this.count())?;
        let (start, end) = (this.offsets[index] as isize, this.offsets[index + 1] as isize);
        PyMemoryView::from(slf.as_any())?.get_item(PySlice::new(slf.py(), start, end, 1))
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        let (count, bytes, rejected) = (self.count(), self.bytes.len(), self.rejected.count());
        format!("<EncodedEvents: {count} messages, {bytes} bytes, {rejected} rejected>")
    }

    /// The length of the stream in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.bytes.len()
    }

    /// The byte at which each message begins, followed by the length of the stream: an
    /// :class:`Offsets`.
    #[getter]
    fn offsets(&self) -> Offsets {
        Offsets(self.offsets.clone())
    }

    /// The rejected rows, as :class:`Rejections`.
    #[getter]
    fn rejected(&self) -> Rejections {
        self.rejected.clone()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, &DataType::LargeBinary)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let offsets = OffsetBuffer::new(self.offsets.clone());
        let array = LargeBinaryArray::new(offsets, self.bytes.clone(), None);
        export_array(py, Arc::new(array), false, requested_schema)
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: std::ffi::c_int,
    ) -> PyResult<()> {
        // SAFETY: Python calls this with a `view` to fill; the bytes are never written to.
        unsafe { lend(slf.as_any(), &slf.get().bytes, view, flags) }
    }
}
