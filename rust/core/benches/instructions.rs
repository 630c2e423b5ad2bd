//! The operations whose instructions are counted. The count does not depend on the load of the
//! machine.
//!
//! `./dev instructions` runs each operation, `instructions OPERATION`, in a process of its own under
//! callgrind, which counts only inside [`counted`]. Without an argument, all operations run. Prints
//! the number of events, and the registers in which UIDs were checked.

use std::env;
use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, ListArray, RecordBatch, StringArray,
    StructArray, UInt16Array,
};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_schema::Field;
use fastdimse_core::command_set::{CommandSet, Value};
use fastdimse_core::data_set::decode::decode_data_sets;
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::decode::{
    DecodeOptions, Layout, Structure, decode, decode_messages, read_usual_command_set,
};
use fastdimse_core::encode::encode_structured;
use fastdimse_core::encode::{Options, encode, encode_messages, validate};
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::field::{Field as Keyword, Kind};
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::write::{COMMAND, MaxPduLength, write_fragments};
use fastdimse_core::standard::transfer_syntax::TransferSyntax;

const BATCH: usize = 4096;
const EVENTS: usize = 5 * BATCH;
const SOP_CLASS: &str = "1.2.840.10008.1.20.1";
const SOP_INSTANCE: &str = "1.2.840.10008.1.20.1.1";
const IMAGE_CLASS: &str = "1.2.840.10008.5.1.4.1.1.2";

/// callgrind counts only inside this function.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Runs `work` once to warm the memory, and once counted.
fn count<T>(work: impl Fn() -> T) {
    drop(black_box(work()));
    drop(counted(work));
}

fn events() -> RecordBatch {
    // Distinct UIDs of 47 characters.
    let instances = (0..EVENTS)
        .map(|row| format!("1.2.826.0.1.3680043.8.498.{}", 10_u128.pow(20) + row as u128));
    RecordBatch::try_from_iter([
        ("AffectedSOPClassUID", Arc::new(StringArray::from(vec![SOP_CLASS; EVENTS])) as ArrayRef),
        ("AffectedSOPInstanceUID", Arc::new(StringArray::from_iter_values(instances))),
        ("EventTypeID", Arc::new(UInt16Array::from(vec![1; EVENTS]))),
        ("EventInformation", Arc::new(BinaryArray::from(vec![&[0x20; 100][..]; EVENTS]))),
    ])
    .expect("columns of one length")
}

/// Distinct UIDs of 47 characters.
fn uids(first: usize, count: usize) -> ArrayRef {
    let uid =
        |row| format!("1.2.826.0.1.3680043.8.498.{}", 10_u128.pow(20) + (first + row) as u128);
    Arc::new(StringArray::from_iter_values((0..count).map(uid)))
}

fn structs(columns: [(&str, ArrayRef); 2]) -> StructArray {
    let field = |name, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
    let columns = columns.map(|(name, array)| (Arc::new(field(name, &array)), array));
    StructArray::from(columns.to_vec())
}

/// Structured storage-commitment reports (PS3.4 J.3.3) with this number of references.
fn reports(references: usize) -> RecordBatch {
    let count = EVENTS * references;
    let items = structs([
        ("ReferencedSOPClassUID", Arc::new(StringArray::from(vec![IMAGE_CLASS; count]))),
        ("ReferencedSOPInstanceUID", uids(EVENTS, count)),
    ]);
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let lengths = OffsetBuffer::from_repeated_length(references, EVENTS);
    let sequences = ListArray::new(field, lengths, Arc::new(items), None);
    let information = structs([
        ("TransactionUID", uids(0, EVENTS)),
        ("ReferencedSOPSequence", Arc::new(sequences)),
    ]);
    RecordBatch::try_from_iter([
        ("AffectedSOPClassUID", Arc::new(StringArray::from(vec![SOP_CLASS; EVENTS])) as ArrayRef),
        ("AffectedSOPInstanceUID", Arc::new(StringArray::from(vec![SOP_INSTANCE; EVENTS]))),
        ("EventTypeID", Arc::new(UInt16Array::from(vec![1; EVENTS]))),
        ("EventInformation", Arc::new(information)),
    ])
    .expect("columns of one length")
}

fn columns(batch: &RecordBatch) -> [EventColumns; 1] {
    [EventColumns::new(batch).expect("columns of events")]
}

/// A request, as `N_EVENT_REPORT` encodes it.
fn one_message(message_id: u16) -> CommandSet<'static> {
    let mut command_set = CommandSet::new(Kind::Request, true);
    command_set.set(Keyword::AffectedSOPClassUID, Value::Text(SOP_CLASS.as_bytes()));
    command_set.set(Keyword::MessageID, Value::Us(message_id));
    command_set.set(Keyword::AffectedSOPInstanceUID, Value::Text(SOP_INSTANCE.as_bytes()));
    command_set.set(Keyword::EventTypeID, Value::Us(1));
    command_set
}

/// Encodes a request with a data set of 100 bytes in two PDUs.
fn encode_one(message_id: u16, options: &Options) {
    let (mut room, mut out) = ([0; 256], [0; 512]);
    let length = black_box(one_message(message_id)).write_to(&mut room).expect("it has room");
    let (context_id, max) = (options.context_id, options.max_pdu_length);
    let at = write_fragments(&mut out, context_id, max, COMMAND, &room[..length]);
    write_fragments(&mut out[at..], context_id, max, 0, &[0x20; 100]);
    black_box(&out);
}

fn registers() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "AVX2";
    }
    env::consts::ARCH
}

fn main() {
    let table = events();
    let whole = columns(&table);
    let options = Options {
        context_id: 1,
        max_pdu_length: MaxPduLength::new(16382).expect("a usual length"),
        framing: Framing::PData,
        on_invalid: OnInvalid::Raise,
        conformant_uids: true,
    };
    let encode_table = || encode(black_box(&whole), &options, 0, Vec::new()).expect("valid rows");
    let encode_batches = || {
        for first in (0..EVENTS).step_by(BATCH) {
            let batch = columns(&black_box(&table).slice(first, BATCH));
            black_box(encode(&batch, &options, first as u64, Vec::new()).expect("valid rows"));
        }
    };
    let stream: Buffer = encode_table().bytes;
    let decode_stream = || decode(black_box(&stream), DecodeOptions::default());
    assert_eq!(decode_stream().rows(), EVENTS);
    let views = DecodeOptions { layout: Layout::Views, ..DecodeOptions::default() };
    let decode_views = || decode(black_box(&stream), views);
    let encode_rows = || {
        let columns = EventColumns::new(black_box(&table)).expect("columns of events");
        encode_messages(columns, &options, 0, Vec::new()).expect("they fit into a column")
    };
    let messages = encode_rows().messages;
    let decode_rows = || decode_messages(black_box(&messages), &Structure::default());
    assert!(decode_rows().rejected.is_empty());
    let validate_table = || validate(black_box(&whole), &options, 0, Vec::new());
    assert!(validate_table().is_empty());

    let syntax = TransferSyntax::ImplicitVrLittleEndian;
    let of_data_sets = DataSetOptions { syntax, conformant_uids: true };
    let [two, ten] = [2, 10].map(reports);
    let encode_reports = |reports: &RecordBatch| {
        let (encoded, faults) =
            encode_structured(black_box(reports), of_data_sets, 0).expect("attributes");
        assert!(faults.is_empty());
        encoded
    };
    let data_sets = encode_reports(&ten);
    let data_sets = BinaryViewArray::from(data_sets["EventInformation"].as_binary::<i64>());
    let decode_reports = || decode_data_sets(black_box(&data_sets), syntax, None);
    assert!(decode_reports().wrong.is_empty());

    let encode_whole = || {
        for first in (0..EVENTS).step_by(BATCH) {
            let batch = black_box(&two).slice(first, BATCH);
            let columns = EventColumns::with_structured(&batch, of_data_sets).expect("columns");
            black_box(encode(&[columns], &options, first as u64, Vec::new()).expect("valid rows"));
        }
    };

    let encode_each = || (0..EVENTS).for_each(|event| encode_one(event as u16, &options));
    let one = one_message(7);
    let mut command_set = [0; 256];
    let length = one.write_to(&mut command_set).expect("it has room");
    let command_set = &command_set[..length];
    assert_eq!(read_usual_command_set(command_set), Some(one));
    let decode_each = || {
        for _ in 0..EVENTS {
            black_box(read_usual_command_set(black_box(command_set)));
        }
    };

    // Cargo adds `--bench`.
    let asked: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let operations: [(&str, &dyn Fn()); 13] = [
        ("encode a table", &|| count(encode_table)),
        ("encode batches of 4096", &|| count(encode_batches)),
        ("decode", &|| count(decode_stream)),
        ("decode to views", &|| count(decode_views)),
        ("encode messages", &|| count(encode_rows)),
        ("decode messages", &|| count(decode_rows)),
        ("validate", &|| count(validate_table)),
        ("encode data sets, 2 references", &|| count(|| encode_reports(&two))),
        ("encode data sets, 10 references", &|| count(|| encode_reports(&ten))),
        ("encode whole events, 2 references", &|| count(encode_whole)),
        ("decode data sets, 10 references", &|| count(decode_reports)),
        ("encode one message", &|| count(encode_each)),
        ("decode one command set", &|| count(decode_each)),
    ];
    for (name, operation) in operations {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            operation();
            println!("{EVENTS}\t{}\t{name}", registers());
        }
    }
}
