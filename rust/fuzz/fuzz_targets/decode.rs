//! Hostile bytes: decoding never panics, and what it accepts survives another round.
#![no_main]

use fastdimse_core::decode::{DecodeOptions, Layout, decode, plain};
use fastdimse_core::encode::{Options, encode};
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::write::MaxPduLength;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for framing in [Framing::PData, Framing::CommandSet] {
        let decode_to = |layout, on_invalid| {
            decode(&bytes.into(), DecodeOptions { framing, on_invalid, layout })
        };
        let skipped = decode_to(Layout::Plain, OnInvalid::Skip);
        let raised = decode_to(Layout::Plain, OnInvalid::Raise);
        let views = decode_to(Layout::Views, OnInvalid::Skip);
        assert_eq!(plain(views.batch().expect("views are short")), skipped.events);
        assert!(raised.rejected.len() <= 1);
        assert_eq!(raised.rejected.first(), skipped.rejected.first());
        assert_eq!(raised.events[0], skipped.events[0].slice(0, raised.rows()));
        for rejection in &skipped.rejected {
            assert!(rejection.offset.is_some_and(|offset| offset <= bytes.len() as u64));
        }
    }
    let first = decode(
        &bytes.into(),
        DecodeOptions { on_invalid: OnInvalid::Skip, ..DecodeOptions::default() },
    );
    let options = Options {
        context_id: 1,
        max_pdu_length: MaxPduLength::new(0).expect("0 is no limit"),
        framing: Framing::PData,
        on_invalid: OnInvalid::Skip,
        conformant_uids: false,
    };
    let columns = [EventColumns::new(&first.events[0]).expect("our own columns")];
    let encoded = encode(&columns, &options, 0, Vec::new()).expect("invalid rows are skipped");
    let again = decode(&encoded.bytes.into(), DecodeOptions::default());
    assert!(again.rejected.is_empty(), "{:?}", again.rejected);
    assert_eq!(again.rows() + encoded.rejected.len(), first.rows());
});
