//! Properties of events with structured data sets: the result does not depend on whether data sets
//! are encoded before their events or together with them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray, UInt16Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::Field;
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::encode_structured;
use fastdimse_core::encode::{Encoded, Options, encode, validate};
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::write::MaxPduLength;
use fastdimse_core::rejection::{Reason, Rejection};
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use proptest::prelude::*;

/// The special property of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Special {
    Nothing,
    Response,
    ResponseWithReply,
    ReplyOfRequest,
    EmptyReplyOfRequest,
    NoInformation,
    EmptyInformation,
    BadReference,
    LenientReference,
    ItemWithoutUid,
    BadInstance,
    Umlaut,
    ManyReferences(usize),
    KnownRejection,
}
use Special::*;

impl Special {
    fn has_information(self) -> bool {
        !matches!(self, NoInformation | Response | ResponseWithReply)
    }

    fn is_response(self) -> bool {
        matches!(self, Response | ResponseWithReply)
    }

    fn references(self) -> usize {
        match self {
            EmptyInformation | NoInformation | Response | ResponseWithReply => 0,
            ManyReferences(count) => count,
            _ => 2,
        }
    }
}

fn rows() -> impl Strategy<Value = Vec<Special>> {
    let special = prop_oneof![
        Just(Response),
        Just(ResponseWithReply),
        Just(ReplyOfRequest),
        Just(EmptyReplyOfRequest),
        Just(NoInformation),
        Just(EmptyInformation),
        Just(BadReference),
        Just(LenientReference),
        Just(ItemWithoutUid),
        Just(BadInstance),
        Just(Umlaut),
        (0_usize..40).prop_map(ManyReferences),
        Just(KnownRejection),
    ];
    let few = prop::collection::vec((any::<prop::sample::Index>(), special), 0..12);
    (1_usize..400, few).prop_map(|(count, few)| {
        let mut rows = vec![Nothing; count];
        for (at, special) in few {
            rows[at.index(count)] = special;
        }
        rows
    })
}

fn structs(columns: Vec<(&str, ArrayRef)>, nulls: Option<Vec<bool>>) -> ArrayRef {
    let field =
        |name, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let (fields, arrays): (Vec<_>, Vec<_>) =
        columns.into_iter().map(|(name, array)| (field(name, &array), array)).unzip();
    Arc::new(StructArray::new(fields.into(), arrays, nulls.map(NullBuffer::from)))
}

fn texts(of: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(of.collect::<StringArray>())
}

fn references(rows: &[Special]) -> ArrayRef {
    let numbered: Vec<_> =
        rows.iter().flat_map(|row| (0..row.references()).map(|number| (*row, number))).collect();
    let class = |_: &(Special, usize)| Some("1.2.840.10008.5.1.4.1.1.2".to_owned());
    let instance = |&(row, number): &(Special, usize)| match (row, number) {
        (BadReference, 1) => Some("1.2.03 ".to_owned()),
        (LenientReference, 1) => Some("1.2.03".to_owned()),
        (ItemWithoutUid, 0) => None,
        _ => Some(format!("1.2.{}", 10_u64.pow(number as u32 % 17))),
    };
    let items = structs(
        vec![
            ("ReferencedSOPClassUID", texts(numbered.iter().map(class))),
            ("ReferencedSOPInstanceUID", texts(numbered.iter().map(instance))),
        ],
        None,
    );
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(|row| row.references()));
    let nulls = rows.iter().map(|row| row.has_information() && *row != EmptyInformation);
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    Arc::new(ListArray::new(field, lengths, items, Some(nulls.collect())))
}

fn table(rows: &[Special]) -> RecordBatch {
    let numbers = |of: fn(Special) -> Option<u16>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(*row)).collect::<UInt16Array>())
    };
    let per_row = |of: fn(Special) -> Option<&'static str>| {
        texts(rows.iter().map(|row| of(*row).map(str::to_owned)))
    };
    let information = structs(
        vec![
            ("TransactionUID", per_row(|row| (row != EmptyInformation).then_some("1.2.3.4"))),
            ("PatientName", per_row(|row| (row == Umlaut).then_some("Müller"))),
            ("ReferencedSOPSequence", references(rows)),
        ],
        Some(rows.iter().map(|row| row.has_information()).collect()),
    );
    let has_reply =
        |row: &Special| matches!(row, ResponseWithReply | ReplyOfRequest | EmptyReplyOfRequest);
    let uid = per_row(|row| (row != EmptyReplyOfRequest).then_some("1.2.3"));
    let reply = structs(vec![("TransactionUID", uid)], Some(rows.iter().map(has_reply).collect()));
    let instance = per_row(|row| Some(if row == BadInstance { "1.02" } else { "1.2.840.10008" }));
    RecordBatch::try_from_iter_with_nullable([
        ("MessageIDBeingRespondedTo", numbers(|row| row.is_response().then_some(7)), true),
        ("Status", numbers(|row| row.is_response().then_some(0)), true),
        ("AffectedSOPClassUID", per_row(|_| Some("1.2.840.10008.1.20.1")), true),
        ("AffectedSOPInstanceUID", instance, true),
        ("EventTypeID", numbers(|_| Some(1)), true),
        ("EventInformation", information, true),
        ("EventReply", reply, true),
    ])
    .unwrap()
}

const FIRST_ROW: u64 = 65_000;

/// The rejections that are known already.
fn known_rejections(rows: &[Special]) -> Vec<Rejection> {
    let numbers = (FIRST_ROW..).zip(rows).filter(|(_, row)| **row == KnownRejection);
    numbers.map(|(number, _)| Rejection::new(Reason::ContextId(2)).row(number)).collect()
}

type Outcome = Result<(Vec<u8>, Vec<i64>, Vec<Rejection>), Rejection>;

fn outcome(encoded: Result<Encoded, Rejection>) -> Outcome {
    encoded.map(|of| (of.bytes.to_vec(), of.offsets.to_vec(), of.rejected))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn events_do_not_depend_on_when_data_sets_are_encoded(
        rows in rows(),
        p_data in prop::bool::weighted(0.8),
        skip: bool,
        explicit: bool,
        conformant_uids: bool,
        max_pdu_length in prop_oneof![Just(0_i128), Just(16382), 100_i128..400],
    ) {
        let syntax = match explicit {
            true => TransferSyntax::ExplicitVrLittleEndian,
            false => TransferSyntax::ImplicitVrLittleEndian,
        };
        let options = Options {
            context_id: 1,
            max_pdu_length: MaxPduLength::new(max_pdu_length).unwrap(),
            framing: if p_data { Framing::PData } else { Framing::CommandSet },
            on_invalid: if skip { OnInvalid::Skip } else { OnInvalid::Raise },
            conformant_uids,
        };
        let of_data_sets = DataSetOptions { syntax, conformant_uids };
        let table = table(&rows);
        let with = [EventColumns::with_structured(&table, of_data_sets).unwrap()];
        let (encoded, found) = encode_structured(&table, of_data_sets, FIRST_ROW).unwrap();
        let before = [EventColumns::new(&encoded).unwrap()];
        let mut all_rejections = [known_rejections(&rows), found].concat();
        all_rejections.sort_by_key(|rejection| rejection.row);

        let expected = encode(&before, &options, FIRST_ROW, all_rejections.clone());
        let encoded = encode(&with, &options, FIRST_ROW, known_rejections(&rows));
        prop_assert_eq!(outcome(encoded), outcome(expected));
        let expected = validate(&before, &options, FIRST_ROW, all_rejections);
        let found = validate(&with, &options, FIRST_ROW, known_rejections(&rows));
        prop_assert_eq!(found, expected);
    }
}
