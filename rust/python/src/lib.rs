//! `fastdimse._core`: between Python objects, `fastdimse-core` and `fastdimse-capture`.
//!
//! No DICOM rule is written here but those of pynetdicom's class that are about Python objects.

mod arrow_import;
mod association;
mod buffer;
mod capture;
mod codec;
mod data_set;
mod data_sets;
mod decoded;
mod encoded;
mod errors;
mod event_batches;
mod events;
mod faults;
mod given_data_sets;
mod handlers;
mod interrupts;
mod listener;
mod message;
mod outcomes;
mod pandas;
mod peer;
mod primitive;
mod primitives;
mod received_events;
mod rejections;
mod rows;
mod sending;
mod sequence;
mod standard_events;
mod structured;
mod tls;
mod transfer_syntaxes;
mod uid;
mod validate;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::association::{Association, OutcomeBatches};
    #[pymodule_export]
    use crate::capture::{CapturedEvents, EncodedCapture, decode_capture, encode_capture};
    #[pymodule_export]
    use crate::data_sets::{DecodedDataSets, decode_data_sets};
    #[pymodule_export]
    use crate::decoded::{DecodedEvents, decode_events};
    #[pymodule_export]
    use crate::encoded::{EncodedBatches, EncodedEvents, Offsets, encode_batches, encode_events};
    #[pymodule_export]
    use crate::errors::{AssociationError, ColumnError, DecodeError, EncodeError, EventError};
    #[pymodule_export]
    use crate::event_batches::{EventBatch, EventBatches, event_batches};
    #[pymodule_export]
    use crate::faults::{Fault, Faults};
    #[pymodule_export]
    use crate::listener::{Listener, listen};
    #[pymodule_export]
    use crate::message::{frame_message, read_message};
    #[pymodule_export]
    use crate::outcomes::Outcomes;
    #[pymodule_export]
    use crate::peer::{Peer, connect, echo};
    #[pymodule_export]
    use crate::primitive::{DIMSEPrimitive, register_primitive};
    #[pymodule_export]
    use crate::received_events::ReceivedEvents;
    #[pymodule_export]
    use crate::rejections::{Rejection, Rejections};
    #[pymodule_export]
    use crate::standard_events::{
        check_event, describe_status, standard_sop_classes, standard_statuses, status_category,
    };
    #[pymodule_export]
    use crate::tls::Tls;
    #[pymodule_export]
    use crate::validate::validate_events;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
