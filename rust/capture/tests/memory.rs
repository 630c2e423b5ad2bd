//! Hostile captures take memory proportional to their size. A separate program, because it counts
//! allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use etherparse::PacketBuilder;
use fastdimse_capture::read::read;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The memory limit of reading for each byte of a file.
const TIMES: usize = 40;

/// A file of raw IP packets, with a snapshot length.
fn file() -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    for number in [0_u32, 0, 262_144, 101] {
        file.extend(number.to_le_bytes());
    }
    file
}

fn add(file: &mut Vec<u8>, client: u16, sequence: u32, syn: bool, payload: &[u8]) {
    let mut packet = Vec::new();
    let tcp = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(client, 104, sequence, 1);
    let tcp = if syn { tcp.syn() } else { tcp };
    tcp.write_to_vec(&mut packet, payload).unwrap();
    for number in [1, 2, packet.len() as u32, packet.len() as u32] {
        file.extend(number.to_le_bytes());
    }
    file.extend(packet);
}

/// The beginning of an A-ASSOCIATE-RQ, by which an association is recognized.
fn request() -> Vec<u8> {
    let mut request = vec![1, 0, 0, 0, 0, 72, 0, 1, 0, 0];
    request.resize(74, b' ');
    request.extend([0x10, 0, 0, 0]);
    request
}

/// One association that continues with `stream`, in segments of `size` bytes.
fn association(stream: &[u8], size: usize) -> Vec<u8> {
    let mut file = file();
    add(&mut file, 1024, 0, true, b"");
    let stream = [&request()[..], stream].concat();
    for (number, part) in stream.chunks(size).enumerate() {
        add(&mut file, 1024, 1 + (number * size) as u32, false, part);
    }
    file
}

fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let mut connections = file();
    for number in 0..10_000 {
        add(&mut connections, (number % 60_000) as u16, number, true, b"\x01");
    }
    let mut holes = association(b"", 1000);
    for number in 0..20_000 {
        add(&mut holes, 1024, 200 + 2 * number, false, b"\x04");
    }
    let mut fragments = association(b"", 1000);
    for number in (0..20_000).rev() {
        add(&mut fragments, 1024, 79 + number, false, b"\x04\0");
    }
    let begins = b"\x04\0\0\0\xff\xff\0\0\0\x20\x01\x03\0\0\0\0\x04\0\0\0";
    let mut blocks = b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0".to_vec();
    blocks.extend([0xff; 8]);
    blocks.extend(b"\x1c\0\0\0");
    for _ in 0..50_000 {
        // An interface without options, and a packet of an undescribed interface.
        blocks.extend(b"\x01\0\0\0\x14\0\0\0\x65\0\0\0\0\0\0\0\x14\0\0\0");
    }
    for _ in 0..20_000 {
        blocks.extend(
            b"\x06\0\0\0\x20\0\0\0\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0",
        );
    }
    vec![
        ("many connections", connections),
        ("many holes", holes),
        ("many fragments", fragments),
        (
            "PDUs without room for a PDV",
            association(&b"\x04\0\0\0\0\x01\0".repeat(200_000), 60_000),
        ),
        ("beginnings of messages", association(&begins.repeat(50_000), 60_000)),
        ("releases", association(&b"\x05\0\0\0\0\0".repeat(200_000), 60_000)),
        ("blocks", blocks),
    ]
}

#[test]
fn memory_is_proportional() {
    for (name, file) in hostile() {
        let before = NOW.load(Relaxed);
        MOST.store(before, Relaxed);
        let capture = read(&file).expect("it is a capture");
        let used = MOST.load(Relaxed) - before;
        let times = used as f64 / file.len() as f64;
        println!("{name}: {times:.1} times {} bytes, {} faults", file.len(), capture.faults.len());
        assert!(used <= TIMES * file.len(), "{name}: {times:.1} times {} bytes", file.len());
    }
}
