//! The core against dicom-rs, the strongest rival outside Python.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt16Array};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::IMPLICIT_VR_LITTLE_ENDIAN;
use fastdimse_core::command_set::{CommandSet, Value};
use fastdimse_core::decode::{DecodeOptions, decode};
use fastdimse_core::encode::{Options, encode};
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::write::MaxPduLength;

const SOP_CLASS: &str = "1.2.840.10008.1.20.1";
const SOP_INSTANCE: &str = "1.2.840.10008.1.20.1.1";
const ROWS: usize = 100_000;

fn ours(out: &mut Vec<u8>) {
    let mut command_set = CommandSet::new(Kind::Request, true);
    command_set.set(Field::AffectedSOPClassUID, Value::Text(SOP_CLASS.as_bytes()));
    command_set.set(Field::MessageID, Value::Us(7));
    command_set.set(Field::AffectedSOPInstanceUID, Value::Text(SOP_INSTANCE.as_bytes()));
    command_set.set(Field::EventTypeID, Value::Us(1));
    command_set.write(out);
}

fn dicom_rs(out: &mut Vec<u8>) {
    let us = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let command_set = InMemDicomObject::command_from_element_iter([
        DataElement::new(tags::AFFECTED_SOP_CLASS_UID, VR::UI, SOP_CLASS),
        us(tags::COMMAND_FIELD, 0x0100),
        us(tags::MESSAGE_ID, 7),
        us(tags::COMMAND_DATA_SET_TYPE, 0x0001),
        DataElement::new(tags::AFFECTED_SOP_INSTANCE_UID, VR::UI, SOP_INSTANCE),
        us(tags::EVENT_TYPE_ID, 1),
    ]);
    let syntax = IMPLICIT_VR_LITTLE_ENDIAN.erased();
    command_set.write_dataset_with_ts(out, &syntax).expect("a command set can be written");
}

fn command_sets(criterion: &mut Criterion) {
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    ours(&mut own);
    dicom_rs(&mut theirs);
    assert_eq!(own, theirs, "both write the same bytes");

    let mut group = criterion.benchmark_group("encode a command set");
    for (name, write) in [("fastdimse-core", ours as fn(&mut Vec<u8>)), ("dicom-rs", dicom_rs)] {
        let mut out = Vec::with_capacity(256);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                write(black_box(&mut out));
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("decode a command set");
    group.bench_function("fastdimse-core", |bencher| {
        bencher.iter(|| CommandSet::read(black_box(&own)).expect("it was written above"));
    });
    let syntax = IMPLICIT_VR_LITTLE_ENDIAN.erased();
    group.bench_function("dicom-rs", |bencher| {
        bencher.iter(|| {
            InMemDicomObject::read_dataset_with_ts(black_box(&own[..]), &syntax)
                .expect("it was written above")
        });
    });
    group.finish();
}

fn bulk(criterion: &mut Criterion) {
    let instances = (0..ROWS).map(|row| format!("1.2.826.0.1.3680043.8.498.{}", 1 << 60 | row));
    let batch = RecordBatch::try_from_iter([
        ("AffectedSOPClassUID", Arc::new(StringArray::from(vec![SOP_CLASS; ROWS])) as ArrayRef),
        ("AffectedSOPInstanceUID", Arc::new(StringArray::from_iter_values(instances))),
        ("EventTypeID", Arc::new(UInt16Array::from(vec![1; ROWS]))),
        ("EventInformation", Arc::new(BinaryArray::from(vec![&[0x20; 100][..]; ROWS]))),
    ])
    .expect("columns of one length");
    let columns = [EventColumns::new(&batch).expect("columns of events")];
    let options = Options {
        context_id: 1,
        max_pdu_length: MaxPduLength::new(16382).expect("a usual length"),
        framing: Framing::PData,
        on_invalid: OnInvalid::Raise,
        conformant_uids: true,
    };
    let stream = encode(&columns, &options, 0, Vec::new()).expect("valid rows").bytes;

    let mut group = criterion.benchmark_group("a stream of 100,000 events");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.sample_size(20);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode(black_box(&columns), &options, 0, Vec::new()));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode(black_box(&stream), DecodeOptions::default()));
    });
    group.finish();
}

criterion_group!(benches, command_sets, bulk);
criterion_main!(benches);
