//! `fastdimse._core`: Python bindings of the core, of captures and of associations.
//!
//! No rule of DICOM is written here, except those of pynetdicom's class about Python objects.

mod arrow;
mod buffer;
mod bulk;
mod capture;
mod errors;
mod input;
mod interrupts;
mod network;
mod output;
mod primitive;
mod standard;
mod unpickle;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::bulk::data_sets::{DecodedDataSets, decode_data_sets};
    #[pymodule_export]
    use crate::bulk::decode::{DecodedEvents, decode_events};
    #[pymodule_export]
    use crate::bulk::decode_batches::{DecodedBatches, decode_batches};
    #[pymodule_export]
    use crate::bulk::decode_messages::decode_messages;
    #[pymodule_export]
    use crate::bulk::encode::encode_events;
    #[pymodule_export]
    use crate::bulk::encode_batches::{EncodedBatches, encode_batches};
    #[pymodule_export]
    use crate::bulk::encode_messages::encode_messages;
    #[pymodule_export]
    use crate::bulk::event_batches::{EventBatch, EventBatches, event_batches};
    #[pymodule_export]
    use crate::bulk::message_columns::MessageColumns;
    #[pymodule_export]
    use crate::bulk::message_schema::{MessageSchema, message_schema};
    #[pymodule_export]
    use crate::bulk::validate::validate_events;
    #[pymodule_export]
    use crate::capture::actions::CapturedActions;
    #[pymodule_export]
    use crate::capture::decode::{CapturedEvents, decode_capture};
    #[pymodule_export]
    use crate::capture::decode_batches::{CaptureBatches, decode_capture_batches};
    #[pymodule_export]
    use crate::capture::encode::encode_capture;
    #[pymodule_export]
    use crate::capture::faults::{Fault, Faults};
    #[pymodule_export]
    use crate::errors::{AssociationError, ColumnError, DecodeError, EncodeError, EventError};
    #[pymodule_export]
    use crate::network::accepted_association::AcceptedAssociation;
    #[pymodule_export]
    use crate::network::association::{Association, AssociationEvents, OutcomeBatches};
    #[pymodule_export]
    use crate::network::listen::listen;
    #[pymodule_export]
    use crate::network::listener::Listener;
    #[pymodule_export]
    use crate::network::listener_counters::ListenerCounters;
    #[pymodule_export]
    use crate::network::outcomes::Outcomes;
    #[pymodule_export]
    use crate::network::peer::{Peer, connect, echo};
    #[pymodule_export]
    use crate::network::received_events::ReceivedEvents;
    #[pymodule_export]
    use crate::network::received_request::ReceivedRequest;
    #[pymodule_export]
    use crate::network::tls::Tls;
    #[pymodule_export]
    use crate::output::encoded_capture::EncodedCapture;
    #[pymodule_export]
    use crate::output::encoded_events::EncodedEvents;
    #[pymodule_export]
    use crate::output::offsets::Offsets;
    #[pymodule_export]
    use crate::output::rejections::{Rejection, Rejections};
    #[pymodule_export]
    use crate::primitive::message::{frame_message, read_message, read_p_data};
    #[pymodule_export]
    use crate::primitive::slots::{
        ActionPrimitive, DIMSEPrimitive, EventReportPrimitive, register_primitive,
    };
    #[pymodule_export]
    use crate::standard::{
        check_event, describe_failure_reason, describe_status, standard_failure_reasons,
        standard_sop_classes, standard_statuses, status_category,
    };
    #[pymodule_export]
    use crate::unpickle::unpickle;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
