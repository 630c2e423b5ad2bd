//! Byte offsets of messages in a stream.

use std::sync::Arc;

use arrow_array::Int64Array;
use arrow_buffer::ScalarBuffer;
use arrow_schema::DataType;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList, PyTuple};

use crate::output::arrow::{export_array, export_schema};
use crate::output::pickle::{self, Pickle, Pickler, Reduced, reduce};
use crate::output::sequence::{SequenceIterator, from_end};

/// Byte offsets: a sequence of int, and an Arrow int64 array.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> from fastdimse import N_EVENT_REPORT, decode_events
/// >>> event = N_EVENT_REPORT()
/// >>> event.MessageID = 7
/// >>> decode_events(2 * event.encode_p_data()).offsets.tolist()
/// [0, 54]
#[pyclass(frozen, sequence, module = "fastdimse._core")]
pub struct Offsets(pub ScalarBuffer<i64>);

impl Pickle for Offsets {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        (pickler.integers(&self.0)?,).into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (offsets,): (Bound<'_, PyAny>,) = state.extract()?;
        Ok(Self(pickle::integers(&offsets)?))
    }
}

#[pymethods]
impl Offsets {
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
        self.0.len()
    }

    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<i64> {
        Ok(self.0[from_end(index, self.0.len())?])
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        format!("<Offsets: {}>", self.0.len())
    }

    /// Return the offsets as a list.
    ///
    /// Returns
    /// -------
    /// list of int
    ///     The offsets in bytes.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.0.iter())
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, &DataType::Int64)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        export_array(py, Arc::new(Int64Array::new(self.0.clone(), None)), false, requested_schema)
    }
}
