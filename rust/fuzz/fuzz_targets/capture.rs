//! Hostile captures. Reading never panics, and takes memory proportional to the file; the events
//! that were read can be written, and are read again.
//!
//! Input that begins as a capture is used as it is. Compressed input is decompressed in pieces of two
//! sizes, with the same result. Any other input is a list of segments.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use fastdimse_capture::fault::FaultKind;
use fastdimse_capture::read::compression::{Compression, Decompressor};
use fastdimse_capture::read::packets::is_capture;
use fastdimse_capture::read::{Capture, CaptureReader, Limits, read};
use fastdimse_capture::write::Endpoint;
use fastdimse_capture::write::file::Format;
use fastdimse_capture::write::{Options, write};
use fastdimse_core::options::OnInvalid;
use libfuzzer_sys::fuzz_target;

/// Counts the allocated bytes, and their maximum.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The memory limit of reading, for each byte of a file and in addition.
const TIMES: usize = 64;
const CONSTANT: usize = 1 << 17;

const FILE_HEADER: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0];

/// A file of raw IP packets. A segment is the TCP flags (the highest bit is the sender), two bytes
/// with the difference of its sequence number from the expected one, a length, and the payload.
fn file_of_segments(mut rest: &[u8]) -> Vec<u8> {
    let mut file = FILE_HEADER.to_vec();
    let mut due = [0_u32; 2];
    let mut time = 0_u32;
    while let [flags, jump0, jump1, length, after @ ..] = rest {
        let (payload, after) = after.split_at(after.len().min(usize::from(*length)));
        let (side, flags) = (usize::from(flags >> 7), flags & 0x17);
        let jump = i32::from(i16::from_le_bytes([*jump0, *jump1]));
        let sequence = due[side].wrapping_add_signed(jump);
        time += 1;
        let total = 40 + payload.len() as u32;
        for number in [0, time, total, total] {
            file.extend(number.to_le_bytes());
        }
        file.extend([0x45, 0]);
        file.extend((total as u16).to_be_bytes());
        file.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        let ends = [[10, 0, 0, 1], [10, 0, 0, 2]];
        let ports = [[0xc0, 0], [0, 104]];
        file.extend([ends[side], ends[1 - side]].concat());
        file.extend([ports[side], ports[1 - side]].concat());
        file.extend(sequence.to_be_bytes());
        file.extend(due[1 - side].to_be_bytes());
        file.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        file.extend(payload);
        due[side] = sequence.wrapping_add(payload.len() as u32 + u32::from(flags & 2 != 0));
        rest = after;
    }
    file
}

fn options() -> Options {
    let end = |last, port| Endpoint { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port };
    Options {
        calling: "A".into(),
        called: "B".into(),
        source: end(1, None),
        destination: end(2, Some(104)),
        transfer_syntax: "1.2.840.10008.1.2".into(),
        max_pdu_length: 16382,
        format: Format::PcapNg,
        on_invalid: OnInvalid::Skip,
        conformant_uids: false,
    }
}

/// The number of bytes that a step of decompression may append to an empty vector.
const STEP: usize = 1 << 18;
/// Decompression stops after so many bytes.
const LONGEST: usize = 1 << 22;

/// Decompresses the file in pieces, up to [`LONGEST`] bytes.
fn decompress(compression: Compression, file: &[u8], size: usize) -> (Vec<u8>, Option<FaultKind>) {
    let mut decompressor = Decompressor::new(compression);
    let mut all = Vec::new();
    for mut piece in file.chunks(size) {
        loop {
            let mut output = Vec::new();
            let more = decompressor.push(&mut piece, &mut output);
            assert!(output.len() <= STEP);
            all.append(&mut output);
            match more {
                Ok(true) if all.len() > LONGEST => return (all, None),
                Ok(true) => {}
                Ok(false) => break assert!(piece.is_empty()),
                Err(fault) => return (all, Some(fault)),
            }
        }
    }
    (all, decompressor.finish().err())
}

fn check_compressed(compression: Compression, file: &[u8]) {
    let (one, end) = decompress(compression, file, file.len());
    let (other, other_end) = decompress(compression, file, 7);
    if one.len().max(other.len()) > LONGEST {
        return;
    }
    assert_eq!(end.is_some(), other_end.is_some(), "{end:?} {other_end:?}");
    // A fault may be found earlier or later in a block.
    if end.is_none() {
        assert!(one == other);
    }
}

/// What a capture has: its packets, streams, associations, events, actions and faults.
type Found = [usize; 6];

fn found(capture: &Capture) -> Found {
    [
        capture.packets as usize,
        capture.streams as usize,
        capture.associations as usize,
        capture.events.rows.len(),
        capture.actions.rows.len(),
        capture.faults.len(),
    ]
}

/// Reads a file in chunks of `size` bytes.
fn found_in_chunks(file: &[u8], size: usize) -> Found {
    let mut reader = CaptureReader::new(Limits::BOUNDED);
    let mut all = Found::default();
    let last = file.len().div_ceil(size).saturating_sub(1);
    for (number, mut chunk) in file.chunks(size).enumerate() {
        loop {
            let part = reader.push(&mut chunk, number == last).expect("it is a capture");
            let part = part.as_ref().map_or(Found::default(), found);
            all.iter_mut().zip(part).for_each(|(all, part)| *all += part);
            if reader.has_ended() || chunk.is_empty() && !reader.has_more() {
                break;
            }
        }
    }
    assert!(reader.has_ended());
    all
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(compression) = Compression::recognize(bytes) {
        check_compressed(compression, bytes);
        return;
    }
    let file = if is_capture(bytes) { bytes.to_vec() } else { file_of_segments(bytes) };
    MOST.store(NOW.load(Relaxed), Relaxed);
    let before = NOW.load(Relaxed);
    let Ok(capture) = read(&file) else { return };
    let used = MOST.load(Relaxed) - before;
    assert!(used <= TIMES * file.len() + CONSTANT, "{used} bytes for {}", file.len());
    assert_eq!(capture.events.rows.len(), capture.events.table.num_rows());
    assert!(capture.associations > 0 || !capture.faults.is_empty());
    let size = 1 + usize::from(file[file.len() / 2]);
    // Other numbers depend on the packets that are out of order in each chunk.
    assert_eq!(found_in_chunks(&file, size)[0], capture.packets as usize);
    for faults in &capture.faults {
        assert!(faults.frame.is_none_or(|frame| frame <= capture.packets + 1), "{faults}");
    }
    let rows = capture.events.table.num_rows();
    let has_times = capture.events.table["Time"].null_count() == 0;
    let written = write(&[capture.events.table.clone()], &options(), Vec::new())
        .expect("invalid rows are skipped");
    let again = read(&written.bytes).expect("it is a capture");
    assert_eq!((again.packets, again.associations), (written.packets, written.associations));
    assert_eq!(found_in_chunks(&written.bytes, size), found(&again));
    let rejected: Vec<usize> =
        written.rejected.iter().filter_map(|one| Some(one.row? as usize)).collect();
    let messages = |row: usize| {
        let (request, response) = capture.events.rows[row];
        usize::from(request.is_some()) + usize::from(response.is_some())
    };
    let sent = (0..rows).filter(|row| !rejected.contains(row)).map(messages).sum();
    assert_eq!(again.events.messages.num_rows(), sent);
    // A response without a request may respond to another request with its Message ID, if the one
    // between them is rejected or sent at another time.
    if rejected.is_empty() && has_times {
        assert_eq!(again.events.table.num_rows(), rows);
    }
});
