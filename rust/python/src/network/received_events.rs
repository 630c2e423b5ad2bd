//! Received events, as columns.

use arrow_array::RecordBatch;
use fastdimse_delivery::receive::event_columns;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::output::arrow::{count_rows, export_batches, export_schema};
use crate::output::pickle::{self, Pickle, Pickler, Reduced, reduce};

/// Received events: an Arrow stream of columns.
///
/// ``pyarrow.table(received)`` and ``polars.DataFrame(received)`` read it. It has the columns of
/// :func:`decode_events` and these: *Time*, when the event was complete; *SourceAddress*,
/// *SourcePort*, *CallingAETitle*, *CalledAETitle* and *Association*, which identify the association
/// it was received on; and *TransferSyntaxUID*, the transfer syntax of its data set.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> from fastdimse import connect, listen
/// >>> with listen(0, host="localhost") as listener:
/// ...     with connect("localhost", listener.port) as association:
/// ...         outcomes = association.send({
/// ...             "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...             "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...             "EventTypeID": [1, 2],
/// ...         })
/// ...     print(listener.receive())
/// <ReceivedEvents: 2 events>
#[pyclass(frozen, module = "fastdimse")]
pub struct ReceivedEvents {
    events: Vec<RecordBatch>,
}

impl ReceivedEvents {
    /// The number of events.
    pub fn rows(&self) -> usize {
        count_rows(&self.events)
    }
}

impl From<Vec<RecordBatch>> for ReceivedEvents {
    fn from(events: Vec<RecordBatch>) -> Self {
        Self { events }
    }
}

impl Pickle for ReceivedEvents {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        (pickler.batches(&self.events)?,).into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (events,): (Bound<'_, PyAny>,) = state.extract()?;
        Ok(pickle::batches(&events, &[event_columns::schema()])?.into())
    }
}

#[pymethods]
impl ReceivedEvents {
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
        self.rows()
    }

    fn __repr__(&self) -> String {
        let count = self.rows();
        format!("<ReceivedEvents: {count} event{}>", if count == 1 { "" } else { "s" })
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, event_columns::schema().as_ref())
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batches(py, &self.events, &event_columns::schema(), requested_schema)
    }
}
