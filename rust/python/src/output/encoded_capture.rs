//! A capture that was encoded: the bytes of a file.

use arrow_buffer::Buffer;
use fastdimse_capture::write;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::output::buffer::lend;
use crate::output::pickle::{self, Pickle, Pickler, Reduced, reduce};
use crate::output::rejections::Rejections;

/// A ``.pcap`` or ``.pcapng`` file in memory, with the buffer protocol.
///
/// ``file.write(capture)`` and ``memoryview(capture)`` use it without copying it.
///
/// Attributes
/// ----------
/// nbytes : int
///     The length of the file in bytes.
/// packets, associations : int
///     The number of packets and of associations in the file.
/// rejected : Rejections
///     The rejected rows.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> from fastdimse import encode_capture
/// >>> capture = encode_capture({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": 1,
/// ... })
/// >>> capture
/// <EncodedCapture: 11 packets, 1 association, 0 rejected>
#[pyclass(frozen, module = "fastdimse")]
pub struct EncodedCapture {
    bytes: Buffer,
    #[pyo3(get)]
    rejected: Rejections,
    #[pyo3(get)]
    packets: u64,
    #[pyo3(get)]
    associations: u64,
}

impl From<write::EncodedCapture> for EncodedCapture {
    fn from(written: write::EncodedCapture) -> Self {
        Self {
            bytes: Buffer::from_vec(written.bytes),
            rejected: written.rejected.into(),
            packets: written.packets,
            associations: written.associations,
        }
    }
}

impl Pickle for EncodedCapture {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let Self { packets, associations, rejected, .. } = self;
        let bytes = pickler.bytes(&self.bytes)?;
        (bytes, rejected.clone(), *packets, *associations).into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (bytes, rejected, packets, associations): (Bound<'_, PyAny>, _, _, _) =
            state.extract()?;
        Ok(Self { bytes: pickle::bytes(&bytes)?, rejected, packets, associations })
    }
}

#[pymethods]
impl EncodedCapture {
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

    fn __repr__(&self) -> String {
        let Self { packets, associations, rejected, .. } = self;
        let plural = if *associations == 1 { "" } else { "s" };
        let rejected = rejected.count();
        format!(
            "<EncodedCapture: {packets} packets, {associations} association{plural}, {rejected} \
             rejected>"
        )
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.bytes.len()
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
