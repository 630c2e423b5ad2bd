//! Properties of every input.

use fastdimse_core::command_set::{CommandSet, Value};
use fastdimse_core::decode::{DecodeOptions, Layout, decode};
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::uid;
use proptest::prelude::*;

/// UIDs of PS3.5 9.1, and strings that almost are.
fn uid_like() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(0_u32..=120, 1..20).prop_map(|parts| parts
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(".")),
        "[0-2.]{0,70}",
        "[0-9.x ]{0,12}",
    ]
}

/// The rule in an independent form.
fn is_conformant(uid: &str) -> bool {
    uid.len() <= 64
        && uid.split('.').all(|part| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'))
        })
}

proptest! {
    #[test]
    fn uids_are_checked_as_the_standard_says(uid in uid_like()) {
        prop_assert_eq!(uid::is_conformant(uid.as_bytes()), is_conformant(&uid));
    }

    #[test]
    fn command_sets_round_trip(
        response: bool,
        data_set: bool,
        number: u16,
        status: u16,
        event_type in proptest::option::of(any::<u16>()),
        sop_class in "[0-9.]{1,64}",
        comment in "[ -Z]{0,63}[!-Z]",
    ) {
        let kind = if response { Kind::Response } else { Kind::Request };
        let mut sent = CommandSet::new(kind, data_set);
        sent.set(Field::AffectedSOPClassUID, Value::Text(sop_class.as_bytes()));
        sent.set(Field::EventTypeID, event_type.map_or(Value::Absent, Value::Us));
        if response {
            sent.set(Field::MessageIDBeingRespondedTo, Value::Us(number));
            sent.set(Field::Status, Value::Us(status));
            sent.set(Field::ErrorComment, Value::Text(comment.as_bytes()));
        } else {
            sent.set(Field::MessageID, Value::Us(number));
        }
        let mut bytes = Vec::new();
        sent.write(&mut bytes);
        prop_assert_eq!(bytes.len(), sent.encoded_len());
        prop_assert_eq!(CommandSet::read(&bytes).unwrap().event().unwrap(), sent);
    }

    #[test]
    fn any_bytes_are_decoded_or_rejected(
        bytes in prop::collection::vec(prop_oneof![0_u8..=8, any::<u8>()], 0..300),
    ) {
        for framing in [Framing::PData, Framing::CommandSet] {
            let on_invalid = OnInvalid::Skip;
            let options = DecodeOptions { framing, on_invalid, layout: Layout::Plain };
            let decoded = decode(&bytes.clone().into(), options);
            prop_assert_eq!(decoded.rows(), decoded.offsets.len());
        }
    }
}
