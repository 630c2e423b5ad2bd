//! Random events: those that can be encoded decode to the same values.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use fastdimse_core::decode::{DecodeOptions, decode};
use fastdimse_core::encode::{Options, encode};
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::write::MaxPduLength;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Event {
    response: bool,
    number: u16,
    sop_instance: Uid,
    event_type: i32,
    status: i32,
    comment: Option<String>,
    data_set: Option<Vec<u8>>,
}

#[derive(Arbitrary, Debug)]
enum Uid {
    Of(Vec<u16>),
    Anything(String),
}

impl Uid {
    fn text(&self) -> String {
        match self {
            Self::Of(components) => {
                components.iter().map(u16::to_string).collect::<Vec<_>>().join(".")
            }
            Self::Anything(text) => text.clone(),
        }
    }
}

fn table(events: &[Event]) -> RecordBatch {
    fn when<T>(condition: bool, value: T) -> Option<T> {
        condition.then_some(value)
    }
    let numbers = |of: fn(&Event) -> Option<i64>| -> ArrayRef {
        Arc::new(events.iter().map(of).collect::<Int64Array>())
    };
    let texts = |of: &dyn Fn(&Event) -> Option<String>| -> ArrayRef {
        Arc::new(events.iter().map(of).collect::<StringArray>())
    };
    let data_sets = |response: bool| -> ArrayRef {
        let of = |event: &Event| when(event.response == response, event.data_set.clone()).flatten();
        Arc::new(events.iter().map(of).collect::<BinaryArray>())
    };
    RecordBatch::try_from_iter([
        ("MessageID", numbers(|event| when(!event.response, event.number.into()))),
        ("MessageIDBeingRespondedTo", numbers(|event| when(event.response, event.number.into()))),
        ("AffectedSOPClassUID", texts(&|_| Some("1.2.840.10008.1.20.1".into()))),
        ("AffectedSOPInstanceUID", texts(&|event| Some(event.sop_instance.text()))),
        ("EventTypeID", numbers(|event| Some(event.event_type.into()))),
        ("Status", numbers(|event| when(event.response, event.status.into()))),
        ("ErrorComment", texts(&|event| when(event.response, event.comment.clone()).flatten())),
        ("EventInformation", data_sets(false)),
        ("EventReply", data_sets(true)),
    ])
    .expect("columns of one length")
}

fuzz_target!(|input: (Vec<Event>, u16)| {
    let (events, max_pdu_length) = input;
    let Ok(max_pdu_length) = MaxPduLength::new(max_pdu_length.into()) else { return };
    let options = Options {
        context_id: 1,
        max_pdu_length,
        framing: Framing::PData,
        on_invalid: OnInvalid::Skip,
        conformant_uids: true,
    };
    let columns = [EventColumns::new(&table(&events)).expect("our own columns")];
    let encoded = encode(&columns, &options, 0, Vec::new()).expect("invalid rows are skipped");
    let stream = encoded.bytes.into();
    let decoded = decode(&stream, DecodeOptions::default());
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    assert_eq!(decoded.offsets, encoded.offsets[..encoded.offsets.len() - 1]);

    let rejected: Vec<u64> = encoded.rejected.iter().filter_map(|one| one.row).collect();
    let good = (0..).zip(&events).filter(|(row, _)| !rejected.contains(row)).map(|(_, one)| one);
    let events = &decoded.events[0];
    let instances = events["AffectedSOPInstanceUID"].as_string::<i32>();
    let types = events["EventTypeID"].as_primitive::<Int32Type>();
    let information = events["EventInformation"].as_binary::<i32>();
    let reply = events["EventReply"].as_binary::<i32>();
    for (row, event) in good.enumerate() {
        assert_eq!(instances.value(row), event.sop_instance.text());
        assert_eq!(i32::from(types.value(row)), event.event_type);
        let data_set = if event.response { reply } else { information };
        let found = data_set.is_valid(row).then(|| data_set.value(row));
        // A data set of zero bytes counts as absent.
        assert_eq!(found, event.data_set.as_deref().filter(|bytes| !bytes.is_empty()));
    }
});
