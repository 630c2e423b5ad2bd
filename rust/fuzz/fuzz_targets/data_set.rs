//! Any bytes as data sets: they are decoded or rejected, and decoded data sets round trip. Memory
//! is proportional to the input.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryViewArray, StructArray};
use fastdimse_core::data_set::decode::decode_data_sets;
use fastdimse_core::data_set::encode::DataSetColumns;
use fastdimse_core::data_set::encode::{DataSetEncoder, DataSetOptions};
use fastdimse_core::data_set::schema::DataSetSchema;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use libfuzzer_sys::fuzz_target;

/// The system's allocator with a count of the allocated bytes.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(in_use, Ordering::Relaxed);
        // SAFETY: the caller's layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the memory was allocated by the system's allocator with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` on `given` bytes. It may allocate a multiple of them, and the cells that any table
/// may have.
fn in_proportion(given: usize, work: impl FnOnce()) {
    const CELLS: usize = 48 << 20;
    const FOR_A_BYTE: usize = 128;
    let before = IN_USE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    work();
    let took = MOST.load(Ordering::Relaxed) - before;
    assert!(took <= CELLS + FOR_A_BYTE * given, "{took} bytes of memory for {given}");
}

/// Many data sets, or items of one data set, that differ only in the tag of their first element.
fn check_many(data_set: &[u8], syntax: TransferSyntax, as_items: bool) {
    const MANY: u16 = 4096;
    let mut data_sets: Vec<Vec<u8>> = (0..MANY).map(|_| data_set.to_vec()).collect();
    for (number, data_set) in (0..MANY).zip(&mut data_sets) {
        if let Some(tag) = data_set.get_mut(2..4) {
            tag.copy_from_slice(&number.to_le_bytes());
        }
    }
    if as_items {
        let items = data_sets.iter().flat_map(|content| {
            let length = (content.len() as u32).to_le_bytes();
            [&[0xfe, 0xff, 0, 0xe0], &length[..], content].concat()
        });
        let items: Vec<u8> = items.collect();
        let length = (items.len() as u32).to_le_bytes();
        let header: &[u8] = match syntax {
            TransferSyntax::ImplicitVrLittleEndian => b"\x08\0\x99\x11",
            TransferSyntax::ExplicitVrLittleEndian => b"\x08\0\x99\x11SQ\0\0",
        };
        data_sets = vec![[header, &length, &items].concat()];
    }
    let given = data_sets.iter().map(Vec::len).sum();
    in_proportion(given, || {
        let data_sets = BinaryViewArray::from_iter_values(&data_sets);
        let found = decode_data_sets(&data_sets, syntax, None);
        assert_eq!(found.rows.len(), data_sets.len());
        encoded(&found.rows, syntax);
    });
}

/// The data set of each row that can be encoded; `None` if two names are the same attribute.
fn encoded(rows: &StructArray, syntax: TransferSyntax) -> Option<Vec<Option<Vec<u8>>>> {
    let columns = DataSetColumns::new(rows, "EventInformation").ok()?;
    let mut encoder =
        DataSetEncoder::new(&columns, DataSetOptions { syntax, conformant_uids: false });
    let mut out = vec![0; columns.most_bytes()];
    let mut one = |row| {
        let length = encoder.encode(row, &mut out).ok()?;
        Some(out[..length].to_vec())
    };
    Some((0..rows.len()).map(|row| rows.is_valid(row).then(|| one(row)).flatten()).collect())
}

/// Whether the numbers are equal, except for the bits of a NaN.
fn are_not_numbers(back: &ArrayRef, column: &ArrayRef) -> bool {
    let of_floats = format!("{:?}", column.data_type()).contains("Float32");
    let shown = format!("{column:?}");
    of_floats && shown.contains("NaN") && format!("{back:?}") == shown
}

/// Whether bytes of odd length came back with a padding byte, which cannot be distinguished from data.
fn is_padded(back: &ArrayRef, column: &ArrayRef) -> bool {
    let bytes =
        |array: &ArrayRef| array.as_binary_opt::<i64>().map(|array| array.value(0).to_vec());
    match (bytes(back), bytes(column)) {
        (Some(back), Some(bytes)) => back == [&bytes[..], &[0]].concat(),
        _ => false,
    }
}

fn check(data_sets: &[&[u8]], syntax: TransferSyntax) {
    let given = data_sets.iter().map(|data_set| data_set.len()).sum();
    in_proportion(given, || check_rows(data_sets, syntax));
}

fn check_rows(data_sets: &[&[u8]], syntax: TransferSyntax) {
    let data_sets = BinaryViewArray::from_iter_values(data_sets);
    let found = decode_data_sets(&data_sets, syntax, None);
    assert_eq!(found.rows.len(), data_sets.len());
    let wrong: Vec<usize> = found.wrong.iter().map(|(row, _)| *row).collect();
    let null: Vec<usize> = (0..found.rows.len()).filter(|&row| found.rows.is_null(row)).collect();
    assert_eq!(wrong, null);
    let Ok(schema) = DataSetSchema::from_fields(found.rows.fields(), "EventInformation") else {
        return;
    };
    let Some(bytes) = encoded(&found.rows, syntax) else { return };
    for (row, bytes) in bytes.iter().enumerate() {
        let Some(bytes) = bytes else { continue };
        let one = BinaryViewArray::from_iter_values([bytes]);
        let again = decode_data_sets(&one, syntax, Some(&schema));
        assert!(again.wrong.is_empty(), "{:?} of {bytes:02x?}", again.wrong);
        let once = found.rows.slice(row, 1);
        for (name, column) in once.column_names().into_iter().zip(once.columns()) {
            let back = again.rows.column_by_name(name).expect("a column of the schema");
            // Unicode was added where no character set was given.
            let alike = back == column
                || is_padded(back, column)
                || are_not_numbers(back, column)
                || name == "SpecificCharacterSet";
            assert!(alike, "{name} of {bytes:02x?}");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.first().map_or(0, |&cut| usize::from(cut).min(bytes.len()));
    let (one, other) = bytes.split_at(cut);
    for syntax in [TransferSyntax::ImplicitVrLittleEndian, TransferSyntax::ExplicitVrLittleEndian] {
        check(&[bytes.get(1..).unwrap_or_default()], syntax);
        check(&[one.get(1..).unwrap_or_default(), other], syntax);
        // This takes a thousand times as long, so few inputs are used.
        if bytes.len() < 48 && bytes.len() % 16 == 0 {
            check_many(bytes, syntax, cut % 2 == 0);
        }
    }
});
