//! The function that creates a result from the class and the state in a pickle.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::bulk::data_sets::DecodedDataSets;
use crate::bulk::decode::DecodedEvents;
use crate::bulk::event_batches::EventBatch;
use crate::capture::actions::CapturedActions;
use crate::capture::decode::CapturedEvents;
use crate::capture::faults::{Fault, Faults};
use crate::network::outcomes::Outcomes;
use crate::network::received_events::ReceivedEvents;
use crate::output::encoded_capture::EncodedCapture;
use crate::output::encoded_events::EncodedEvents;
use crate::output::offsets::Offsets;
use crate::output::pickle::Pickle;
use crate::output::rejections::{Rejection, Rejections};

/// Create a result from its class and the state in a pickle.
#[pyfunction]
#[pyo3(name = "_unpickle", signature = (kind, state, /))]
pub fn unpickle<'py>(
    py: Python<'py>,
    kind: &Bound<'py, PyType>,
    state: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    macro_rules! restore {
        ($($class:ty),*) => {
            $(if kind.is(py.get_type::<$class>()) {
                return Ok(Bound::new(py, <$class>::from_state(state)?)?.into_any());
            })*
        };
    }
    restore!(
        EncodedEvents,
        DecodedEvents,
        DecodedDataSets,
        CapturedEvents,
        CapturedActions,
        EncodedCapture,
        Rejection,
        Rejections,
        Fault,
        Faults,
        Offsets,
        Outcomes,
        ReceivedEvents,
        EventBatch
    );
    Err(PyTypeError::new_err(format!("{} is not a class of results", kind.name()?)))
}
