//! The capture of an Orthanc server's storage-commitment reports, complete and damaged.

use std::net::{IpAddr, Ipv4Addr};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use fastdimse_capture::columns::CaptureColumn;
use fastdimse_capture::read::{Capture, read};
use fastdimse_capture::write::Endpoint;
use fastdimse_capture::write::file::Format;
use fastdimse_capture::write::{Options, write};
use fastdimse_core::options::OnInvalid;

const FILE: &[u8] = include_bytes!("../../../examples/orthanc-storage-commitment.pcap");
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

fn reading(file: &[u8]) -> Capture {
    read(file).expect("it is a capture")
}

/// The offsets of the packets, and the end of the file.
fn records() -> Vec<usize> {
    let mut places = vec![FILE_HEADER];
    while let Some(header) = FILE.get(places[places.len() - 1]..).filter(|rest| !rest.is_empty()) {
        let captured = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        places.push(places[places.len() - 1] + RECORD_HEADER + captured);
    }
    places
}

fn options(format: Format) -> Options {
    let end = |last, port| Endpoint { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port };
    Options {
        calling: "A".into(),
        called: "B".into(),
        source: end(1, None),
        destination: end(2, Some(104)),
        transfer_syntax: "1.2.840.10008.1.2".into(),
        max_pdu_length: 16382,
        format,
        on_invalid: OnInvalid::Raise,
        conformant_uids: true,
    }
}

fn without(batch: &RecordBatch, names: &[CaptureColumn]) -> RecordBatch {
    let schema = batch.schema();
    let kept = (0..schema.fields().len())
        .filter(|&index| !names.iter().any(|name| name.name() == schema.field(index).name()));
    batch.project(&kept.collect::<Vec<_>>()).unwrap()
}

#[test]
fn every_event_and_response() {
    let capture = reading(FILE);
    assert_eq!((capture.packets, capture.streams, capture.associations), (614, 25, 25));
    assert_eq!(capture.events.table.num_rows(), 24);
    assert!(
        capture
            .events
            .rows
            .iter()
            .all(|(request, response)| request.is_some() && response.is_some())
    );
    assert_eq!(capture.faults, []);
}

#[test]
fn events_round_trip_through_a_capture() {
    let first = reading(FILE).events.table;
    for format in [Format::Pcap, Format::PcapNg] {
        let written = write(std::slice::from_ref(&first), &options(format), vec![])
            .expect("all rows are valid");
        let again = reading(&written.bytes);
        assert_eq!((again.packets, again.associations), (written.packets, written.associations));
        assert_eq!(again.faults, []);
        // The first capture has other connections, too.
        let elsewhere = [CaptureColumn::Association, CaptureColumn::Frame];
        assert_eq!(without(&again.events.table, &elsewhere), without(&first, &elsewhere));
    }
}

#[test]
fn a_truncated_file_yields_its_beginning() {
    let frames = |capture: &Capture| -> Vec<i64> {
        capture.events.table[CaptureColumn::Frame.name()]
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    };
    let all = frames(&reading(FILE));
    let records = records();
    let ends = (FILE_HEADER..FILE.len()).step_by(991).chain(records.iter().copied().step_by(7));
    for end in ends {
        let capture = reading(&FILE[..end]);
        let expected: Vec<i64> =
            all.iter().copied().filter(|&frame| frame <= capture.packets as i64).collect();
        assert_eq!(frames(&capture), expected);
        let reported = capture.faults.iter().any(|faults| faults.kind.code() == "file-ends");
        assert_eq!(reported, !records.contains(&end), "{end}");
    }
}

#[test]
fn packets_are_ordered_by_time() {
    let records = records();
    let mut parts: Vec<&[u8]> = records.windows(2).map(|ends| &FILE[ends[0]..ends[1]]).collect();
    parts.reverse();
    let file = [&[&FILE[..FILE_HEADER]], &parts[..]].concat().concat();
    let capture = reading(&file);
    assert_eq!(capture.faults, []);
    let elsewhere = [CaptureColumn::Association, CaptureColumn::Frame];
    assert_eq!(
        without(&capture.events.table, &elsewhere),
        without(&reading(FILE).events.table, &elsewhere)
    );
}
