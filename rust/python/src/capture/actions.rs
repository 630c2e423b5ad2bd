//! The N-ACTION messages of a capture.

use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::capture::pairs::{Pair, Pairs};
use crate::output::pickle::{Pickle, Pickler, Reduced, reduce};
use crate::output::sequence::SequenceIterator;
use crate::primitive::slots::Service;

/// The actions of a capture: an Arrow stream of columns, and a sequence of pairs of :class:`N_ACTION`.
///
/// The columns are those of captured events, with ``RequestedSOPClassUID``,
/// ``RequestedSOPInstanceUID``, ``ActionTypeID``, ``ActionInformation`` and ``ActionReply``. Each row is
/// a request with its response, in the order of time. In the row of a response without a request, the
/// UIDs are its Affected SOP Class UID and Affected SOP Instance UID.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> from fastdimse import decode_capture, encode_capture
/// >>> captured = decode_capture(encode_capture({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1],
/// ... }))
/// >>> captured.actions
/// <CapturedActions: 0 actions>
#[pyclass(frozen, sequence, module = "fastdimse")]
pub struct CapturedActions(pub Pairs);

impl Pickle for CapturedActions {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.0.state(pickler)?.into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        Ok(Self(Pairs::from_state(state.extract()?, Service::Action)?))
    }
}

#[pymethods]
impl CapturedActions {
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
        self.0.rows.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'_, PyAny>) -> PyResult<Pair<'py>> {
        self.0.get(py, index)
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        let count = self.0.rows.len();
        format!("<CapturedActions: {count} action{}>", if count == 1 { "" } else { "s" })
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        self.0.arrow_schema(py)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        self.0.arrow_stream(py, requested_schema)
    }
}
