//! Hostile bytes: decoding never panics, and what it accepts survives another round.
#![no_main]

use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::decode::decode;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::encode::{Options, encode};
use fastdimse_core::pdu::write::MaxPduLength;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for framing in [Framing::PData, Framing::CommandSet] {
        let skipped = decode(&bytes.into(), framing, OnInvalid::Skip);
        let raised = decode(&bytes.into(), framing, OnInvalid::Raise);
        assert!(raised.rejected.len() <= 1);
        assert_eq!(raised.rejected.first(), skipped.rejected.first());
        assert_eq!(raised.events, skipped.events.slice(0, raised.events.num_rows()));
        for rejection in &skipped.rejected {
            assert!(rejection.offset.is_some_and(|offset| offset <= bytes.len() as u64));
        }
    }
    let first = decode(&bytes.into(), Framing::PData, OnInvalid::Skip);
    let options = Options {
        context_id: 1,
        max_pdu_length: MaxPduLength::new(0).expect("0 is no limit"),
        framing: Framing::PData,
        on_invalid: OnInvalid::Skip,
        conformant_uids: false,
    };
    let columns = [EventColumns::new(&first.events).expect("our own columns")];
    let encoded = encode(&columns, &options, 0, Vec::new()).expect("invalid rows are skipped");
    let again = decode(&encoded.bytes.into(), Framing::PData, OnInvalid::Raise);
    assert!(again.rejected.is_empty(), "{:?}", again.rejected);
    assert_eq!(again.events.num_rows() + encoded.rejected.len(), first.events.num_rows());
});
