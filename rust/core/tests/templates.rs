//! Rows of a table, which share templates and are checked in blocks, against the same rows alone,
//! which are checked and written element by element.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, DictionaryArray, Int64Array, LargeStringArray,
    RecordBatch, StringArray, StringViewArray,
};
use fastdimse_core::encode::{Options, encode, validate};
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::write::MaxPduLength;
use proptest::prelude::*;

/// A row of each column.
#[derive(Debug, Clone, Default)]
struct Row {
    message_id: Option<i64>,
    responds_to: Option<i64>,
    class: Option<String>,
    instance: Option<String>,
    event_type: Option<i64>,
    information: Option<Vec<u8>>,
    reply: Option<Vec<u8>>,
    status: Option<i64>,
    comment: Option<String>,
    error_id: Option<i64>,
    context_id: Option<i64>,
}

fn uid() -> impl Strategy<Value = String> {
    "[12]([.](0|[1-9][0-9]{0,11})){0,5}".prop_filter("a UID", |uid| uid.len() <= 64)
}

fn data_set() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..=130),
        1 => prop::collection::vec(any::<u8>(), 200..=700),
    ]
}

fn request() -> impl Strategy<Value = Row> {
    let class = prop_oneof![9 => Just("1.2.840.10008.1.20.1".to_owned()), 1 => uid()];
    let information = prop::option::weighted(0.8, data_set());
    (class, uid(), 0_i64..=65535, information).prop_map(|(class, instance, number, information)| {
        Row {
            message_id: Some(number),
            class: Some(class),
            instance: Some(instance),
            event_type: Some(number),
            information,
            ..Row::default()
        }
    })
}

fn response() -> impl Strategy<Value = Row> {
    let comment = prop::option::of("[ -~&&[^\\\\]]{0,64}");
    let instance = prop::option::weighted(0.8, uid());
    let number = || 0_i64..=65535;
    let error_id = prop::option::of(number());
    (instance, comment, error_id, number(), number(), prop::option::of(data_set())).prop_map(
        |(instance, comment, error_id, status, id, reply)| Row {
            responds_to: Some(id),
            class: instance.as_ref().map(|_| "1.2.840.10008.1.20.1".to_owned()),
            event_type: instance.as_ref().map(|_| 1),
            instance,
            status: Some(status),
            comment,
            error_id,
            reply,
            ..Row::default()
        },
    )
}

/// Makes one field of a row invalid.
fn spoiled(mut row: Row, way: usize) -> Row {
    match way {
        0 => row.instance = Some("1.02".to_owned()),
        1 => row.instance = Some("1".repeat(65)),
        2 => row.comment = Some("back\\slash".to_owned()),
        3 => row.comment = Some("x".repeat(65)),
        4 => row.comment = Some("é".to_owned()),
        5 => row.event_type = Some(65536),
        6 => row.status = Some(-1),
        7 => row.class = None,
        8 => row.context_id = Some(2),
        9 => row.context_id = Some(5),
        10 => (row.comment, row.instance) = (Some("\t".to_owned()), Some("1.".to_owned())),
        _ => row.reply = Some(vec![1, 2]),
    }
    row
}

fn table() -> impl Strategy<Value = Vec<Row>> {
    let kind = prop_oneof![
        request().boxed().prop_map(|row| vec![row]),
        prop::collection::vec(request(), 1..150),
        prop::collection::vec(response(), 1..150),
    ];
    let spoil = prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12), 0..6);
    (prop::collection::vec(kind, 1..4), spoil).prop_map(|(rows, spoil)| {
        let mut rows = rows.concat();
        for (at, way) in spoil {
            let at = at.index(rows.len());
            rows[at] = spoiled(rows[at].clone(), way);
        }
        rows
    })
}

fn texts(rows: &[Row], layout: u8, of: impl Fn(&Row) -> &Option<String>) -> ArrayRef {
    let texts = || rows.iter().map(|row| of(row).as_deref());
    match layout {
        0 => Arc::new(StringArray::from_iter(texts())),
        1 => Arc::new(LargeStringArray::from_iter(texts())),
        2 => Arc::new(StringViewArray::from_iter(texts())),
        _ => Arc::new(DictionaryArray::<Int32Type>::from_iter(texts())),
    }
}

fn batch(rows: &[Row], layout: u8, with_message_ids: bool) -> RecordBatch {
    let numbers = |of: fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(rows.iter().map(of)))
    };
    let data_sets = |of: fn(&Row) -> Option<&[u8]>| -> ArrayRef {
        match layout {
            2 => Arc::new(BinaryViewArray::from_iter(rows.iter().map(of))),
            _ => Arc::new(BinaryArray::from_iter(rows.iter().map(of))),
        }
    };
    let columns = [
        ("MessageID", numbers(|row| row.message_id)),
        ("MessageIDBeingRespondedTo", numbers(|row| row.responds_to)),
        ("AffectedSOPClassUID", texts(rows, layout, |row| &row.class)),
        ("AffectedSOPInstanceUID", texts(rows, layout, |row| &row.instance)),
        ("EventTypeID", numbers(|row| row.event_type)),
        ("EventInformation", data_sets(|row| row.information.as_deref())),
        ("EventReply", data_sets(|row| row.reply.as_deref())),
        ("Status", numbers(|row| row.status)),
        ("ErrorComment", texts(rows, layout, |row| &row.comment)),
        ("ErrorID", numbers(|row| row.error_id)),
        ("PresentationContextID", numbers(|row| row.context_id)),
    ];
    // Columns without nulls are only those that this table needs.
    let needed = columns.into_iter().filter(|(name, array)| match *name {
        "MessageID" => with_message_ids,
        "AffectedSOPClassUID" | "AffectedSOPInstanceUID" | "EventTypeID" => true,
        _ => array.logical_null_count() < rows.len(),
    });
    RecordBatch::try_from_iter(needed).unwrap()
}

proptest! {
    #[test]
    fn rows_of_a_table_are_encoded_as_alone(
        rows in table(),
        layout in 0_u8..4,
        with_message_ids: bool,
        conformant_uids: bool,
        framing in prop_oneof![4 => Just(Framing::PData), 1 => Just(Framing::CommandSet)],
        max_pdu_length in prop_oneof![4 => Just(16382), 1 => Just(0), 1 => 7_i128..400],
    ) {
        let batch = batch(&rows, layout, with_message_ids);
        let options = Options {
            context_id: 1,
            max_pdu_length: MaxPduLength::new(max_pdu_length).unwrap(),
            framing,
            on_invalid: OnInvalid::Skip,
            conformant_uids,
        };
        let encoded = |first: usize, rows: usize| {
            let columns = [EventColumns::new(&batch.slice(first, rows)).unwrap()];
            encode(&columns, &options, 65_500 + first as u64, vec![]).unwrap()
        };
        let whole = encoded(0, rows.len());
        let (mut bytes, mut offsets, mut rejected) = (vec![], vec![0], vec![]);
        for row in 0..rows.len() {
            let alone = encoded(row, 1);
            bytes.extend_from_slice(&alone.bytes);
            offsets.extend(alone.offsets.iter().skip(1).map(|_| bytes.len() as i64));
            rejected.extend(alone.rejected);
        }
        prop_assert_eq!(&whole.rejected, &rejected);
        prop_assert_eq!(&whole.offsets[..], &offsets[..]);
        prop_assert_eq!(&whole.bytes[..], &bytes[..]);
        let columns = [EventColumns::new(&batch).unwrap()];
        prop_assert_eq!(validate(&columns, &options, 65_500, vec![]), rejected);
    }
}
