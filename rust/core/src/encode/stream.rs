//! Encodes columns of events as a stream: every row is checked and written in one pass.

use std::iter;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_buffer::{Buffer, ScalarBuffer};

use crate::command_set::ELEMENTS;
use crate::encode::block::{self};
use crate::encode::check::check_rows;
use crate::encode::lengths::Lengths;
use crate::encode::options::Options;
use crate::encode::rows::appended;
use crate::encode::rows::{KnownRejections, Rows};
use crate::encode::run::Out;
use crate::encode::template::ROOM;
use crate::encode::write::Encoder;
use crate::event_columns::EventColumns;
use crate::field::Field;
use crate::memory::Memory;
use crate::options::Framing;
use crate::pdu::write::HEADERS;
use crate::rejection::Rejection;
use crate::threads::run_in_threads;

/// The encoded messages and the rejected rows.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The stream.
    pub bytes: Buffer,
    /// The offset of each message, and the length of the stream.
    pub offsets: ScalarBuffer<i64>,
    /// The rejected rows.
    pub rejected: Vec<Rejection>,
}

/// Encodes the rows of `batches`. The first row has the number `first_row`, which counts in
/// rejections and gives the Message IDs of a table without a MessageID column. `rejected` holds the
/// rejections that are known already, in row order.
///
/// # Errors
///
/// With [`OnInvalid::Raise`], the first rejected row.
pub fn encode(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    known: Vec<Rejection>,
) -> Result<Encoded, Rejection> {
    encode_in_threads(batches, options, first_row, known, 1)
}

/// Encodes as [`encode`] does, with the same result, in up to `threads` threads.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_in_threads(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    known: Vec<Rejection>,
    threads: usize,
) -> Result<Encoded, Rejection> {
    encode_in_parts(batches, options, first_row, known, threads, PART)
}

/// The minimum length of a part in bytes: enough work for a thread, and the length of a huge page,
/// so that two threads do not share one.
const PART: usize = 2 << 20;

fn encode_in_parts(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    known: Vec<Rejection>,
    threads: usize,
    least: usize,
) -> Result<Encoded, Rejection> {
    let rows = Rows::new(batches, first_row);
    let most: usize = batches.iter().map(|columns| most_bytes(columns, options)).sum();
    let (mut bytes, mut offsets) = (Memory::new(most + ROOM), Memory::new((rows.count + 1) * 8));
    let (ends, _) = offsets.bytes().as_chunks_mut();
    ends[0] = 0_i64.to_ne_bytes();
    let (out, known) = (bytes.bytes(), KnownRejections::new(known));
    let all = RowPart { rows, known, begin: 0, out, first: 1, ends: &mut ends[1..] };
    // The lengths of structured data sets are not known in advance.
    let are_lengths_known = batches.iter().all(|columns| columns.structured().is_empty());
    let threads = if are_lengths_known { threads.min(most / least) } else { 1 };
    let written = match threads {
        0 | 1 => vec![all.encode(options)?],
        _ => encode_parts(all, options, threads, least)?,
    };
    let (mut length, mut messages, mut rejected) = (0, 0, Vec::new());
    for part in written {
        part.close_gap(bytes.bytes(), ends, length, messages);
        length += part.length;
        messages += part.messages;
        rejected = appended(rejected, part.rejected);
    }
    Ok(Encoded {
        bytes: bytes.into_buffer(length),
        offsets: ScalarBuffer::new(offsets.into_buffer((messages + 1) * 8), 0, messages + 1),
        rejected,
    })
}

/// Encodes the parts of a table in threads. Each part begins at the offset it would have if all
/// rows before it were valid.
fn encode_parts(
    mut rest: RowPart<'_>,
    options: &Options,
    threads: usize,
    least: usize,
) -> Result<Vec<Written>, Rejection> {
    let mut lengths = Lengths::new();
    // Parts are taken in order: all parts before a failed one were taken.
    let failed = AtomicBool::new(false);
    let parts = iter::from_fn(|| {
        let continues = rest.rows.count > 0 && !failed.load(Ordering::Relaxed);
        continues.then(|| rest.take(&mut lengths, options, least))
    });
    let work = |part: RowPart<'_>| {
        part.encode(options).inspect_err(|_| failed.store(true, Ordering::Relaxed))
    };
    run_in_threads(threads, parts, work).into_iter().collect()
}

/// Encodes several tables, each on its own, in up to `threads` threads.
pub fn encode_each(
    tables: Vec<Table>,
    options: &Options,
    threads: usize,
) -> Vec<Result<Encoded, Rejection>> {
    let threads = threads.min(tables.len());
    run_in_threads(threads, tables.into_iter(), |table| {
        encode(&[table.columns], options, table.first_row, table.known)
    })
}

/// The arguments of [`encode`] for one batch.
#[derive(Debug)]
pub struct Table {
    /// The columns.
    pub columns: EventColumns,
    /// The number of the first row.
    pub first_row: u64,
    /// The rejections that are known already.
    pub known: Vec<Rejection>,
}

/// An upper bound of the length of the messages. Unused memory is never touched.
pub fn most_bytes(columns: &EventColumns, options: &Options) -> usize {
    // The numeric elements, and the headers and padding of the others.
    let fixed = 12 * ELEMENTS.len();
    let of = |field| columns.cells(field).map_or(0, |cells| cells.most_bytes(columns.rows));
    let command_sets = columns.rows * fixed + Field::TEXTS.into_iter().map(of).sum::<usize>();
    match options.framing {
        Framing::CommandSet => command_sets,
        Framing::PData => {
            let structured = columns.structured().iter().map(|of| of.columns.most_bytes());
            let data_sets = Field::DATA_SETS.into_iter().map(of).chain(structured).sum::<usize>();
            let all = command_sets + data_sets;
            // The last fragment of a command set and of a data set may be short.
            all + (all / options.max_pdu_length.fragment() + 2 * columns.rows) * HEADERS
        }
    }
}

/// A part of the rows, and the memory for its messages.
struct RowPart<'a> {
    rows: Rows<'a>,
    known: KnownRejections,
    /// The offset of the part in the stream.
    begin: usize,
    out: &'a mut [u8],
    /// The index of the end of the first message among the offsets.
    first: usize,
    ends: &'a mut [[u8; 8]],
}

impl<'a> RowPart<'a> {
    /// Takes rows whose messages have at least `least` bytes together, or all remaining rows.
    fn take(&mut self, lengths: &mut Lengths<'a>, options: &Options, least: usize) -> Self {
        let rows = self.rows.clone();
        let mut length = 0;
        while length < least
            && let Some((columns, rows)) = self.rows.next(block::ROWS)
        {
            length += lengths.total(columns, rows, options);
        }
        let rows = rows.before(&self.rows);
        let (out, out_behind) = take(&mut self.out).split_at_mut(length);
        let (ends, ends_behind) = take(&mut self.ends).split_at_mut(rows.count);
        let known = self.known.before(self.rows.number);
        let part = Self { rows, known, begin: self.begin, out, first: self.first, ends };
        (self.out, self.ends) = (out_behind, ends_behind);
        self.begin += length;
        self.first += part.rows.count;
        part
    }

    fn encode(self, options: &Options) -> Result<Written, Rejection> {
        let Self { rows, known, begin, out, first, ends } = self;
        let mut encoder = Encoder {
            options,
            out: Out { bytes: out, at: 0, begin },
            ends,
            messages: 0,
            rejected: Vec::new(),
            scratch: Vec::new(),
            assigned_ids: Vec::new(),
        };
        check_rows(rows, known, options, &mut encoder)?;
        let Encoder { out, messages, rejected, .. } = encoder;
        Ok(Written { begin, length: out.at, first, messages, rejected })
    }
}

/// An encoded part in the shared memory.
struct Written {
    begin: usize,
    length: usize,
    first: usize,
    messages: usize,
    rejected: Vec<Rejection>,
}

impl Written {
    /// Moves the part to the end of the parts before it, of `length` bytes and `messages` messages,
    /// if rows before it were rejected.
    fn close_gap(&self, out: &mut [u8], ends: &mut [[u8; 8]], length: usize, messages: usize) {
        let gap = self.begin - length;
        if gap > 0 {
            out.copy_within(self.begin..self.begin + self.length, length);
        }
        if self.first > messages + 1 {
            ends.copy_within(self.first..self.first + self.messages, messages + 1);
        }
        if gap > 0 {
            for end in &mut ends[messages + 1..][..self.messages] {
                *end = (i64::from_ne_bytes(*end) - gap as i64).to_ne_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt16Array,
    };

    use super::*;
    use crate::encode::validate;
    use crate::encode::validate::validate_in_parts;
    use crate::field::Kind;
    use crate::options::OnInvalid;
    use crate::pdu::write::MaxPduLength;
    use crate::rejection::Reason;

    fn options(on_invalid: OnInvalid) -> Options {
        Options {
            context_id: 1,
            max_pdu_length: MaxPduLength::new(16382).unwrap(),
            framing: Framing::PData,
            on_invalid,
            conformant_uids: true,
        }
    }

    fn columns(uids: [&str; 3]) -> EventColumns {
        let batch = RecordBatch::try_from_iter([
            ("AffectedSOPClassUID", Arc::new(StringArray::from(vec!["1.2"; 3])) as ArrayRef),
            ("AffectedSOPInstanceUID", Arc::new(StringArray::from(uids.to_vec()))),
            ("EventTypeID", Arc::new(Int32Array::from(vec![1, 2, 3]))),
            ("EventInformation", Arc::new(BinaryArray::from(vec![None, Some(&b"ab"[..]), None]))),
        ]);
        EventColumns::new(&batch.unwrap()).unwrap()
    }

    #[test]
    fn the_length_is_known_and_offsets_separate_messages() {
        let encoded =
            encode(&[columns(["1", "1.2", "1.3"])], &options(OnInvalid::Raise), 0, vec![]).unwrap();
        assert_eq!(*encoded.offsets.last().unwrap() as usize, encoded.bytes.len());
        for offset in &encoded.offsets[..3] {
            assert_eq!(encoded.bytes[*offset as usize], 0x04);
        }
    }

    #[test]
    fn an_invalid_row_is_reported_or_skipped() {
        let bad = [columns(["1", "1.x", "1.3"])];
        let rejection = encode(&bad, &options(OnInvalid::Raise), 10, vec![]).unwrap_err();
        assert_eq!(
            (rejection.row, rejection.field),
            (Some(11), Some(Field::AffectedSOPInstanceUID))
        );
        let encoded = encode(&bad, &options(OnInvalid::Skip), 10, vec![]).unwrap();
        assert_eq!((encoded.offsets.len(), encoded.rejected), (3, vec![rejection]));
    }

    #[test]
    fn rows_with_known_rejections_are_skipped() {
        let known = vec![Rejection::new(Reason::Value("no".into())).row(1)];
        let encoded =
            encode(&[columns(["1", "1", "1"])], &options(OnInvalid::Skip), 0, known).unwrap();
        assert_eq!((encoded.offsets.len(), encoded.rejected.len()), (3, 1));
    }

    #[test]
    fn a_request_does_not_carry_a_status() {
        let batch = RecordBatch::try_from_iter([
            ("AffectedSOPClassUID", Arc::new(StringArray::from(vec!["1.2"])) as ArrayRef),
            ("AffectedSOPInstanceUID", Arc::new(StringArray::from(vec!["1.2"]))),
            ("EventTypeID", Arc::new(UInt16Array::from(vec![1]))),
            ("Status", Arc::new(UInt16Array::from(vec![0]))),
        ]);
        let columns = [EventColumns::new(&batch.unwrap()).unwrap()];
        let rejected = validate(&columns, &options(OnInvalid::Raise), 0, vec![]);
        assert_eq!(rejected[0].reason, Reason::NotCarried(Kind::Request));
        assert_eq!(rejected[0].field, Some(Field::Status));
    }

    #[test]
    fn invalid_context_ids_are_rejected() {
        for id in [None, Some(3)] {
            for bad in [-1, 0, 2, 255 + 1, 65533, 65534, 65535, 65536, i64::from(u32::MAX)] {
                let columns = |ids: [Option<i64>; 3]| {
                    let batch = RecordBatch::try_from_iter([
                        (
                            "AffectedSOPClassUID",
                            Arc::new(StringArray::from(vec!["1.2"; 3])) as ArrayRef,
                        ),
                        ("AffectedSOPInstanceUID", Arc::new(StringArray::from(vec!["1.2"; 3]))),
                        ("EventTypeID", Arc::new(UInt16Array::from(vec![1; 3]))),
                        ("PresentationContextID", Arc::new(Int64Array::from(ids.to_vec()))),
                    ]);
                    EventColumns::new(&batch.unwrap()).unwrap()
                };
                let rows = [columns([id, Some(bad), id])];
                let encoded = encode(&rows, &options(OnInvalid::Skip), 0, vec![]).unwrap();
                assert_eq!(encoded.rejected.len(), 1, "{bad}");
                assert_eq!(encoded.rejected[0].reason, Reason::ContextId(bad.into()));
            }
        }
    }

    #[test]
    fn message_ids_wrap_around() {
        let columns = [columns(["1", "1", "1"])];
        let encoded = encode(&columns, &options(OnInvalid::Raise), 65534, vec![]).unwrap();
        let ids: Vec<u8> = encoded.offsets[..3]
            .iter()
            .map(|&at| encoded.bytes[at as usize + 12 + 12 + 12 + 10 + 8])
            .collect();
        assert_eq!(ids, [0xff, 1, 2]);
    }

    /// Requests and responses of all lengths. `bad` rows have one of several errors.
    fn mixed(rows: usize, bad: impl Fn(usize) -> bool + Copy) -> EventColumns {
        let of = |good: fn(usize) -> Option<i64>, wrong: i64, way: usize| {
            let one = move |row| if bad(row) && row % 4 == way { Some(wrong) } else { good(row) };
            Int64Array::from_iter((0..rows).map(one))
        };
        let response = |row: usize| row % 7 > 4;
        let uid = |row: usize| match row % 4 {
            2 if bad(row) => format!("1.02.{row}"),
            3 if bad(row) => "1".repeat(row % 300),
            _ => format!("1.{}{row}", "2".repeat(row % 40)),
        };
        let data_set = |row: usize| match row % 5 {
            0 => None,
            _ => Some(vec![row as u8; row * row % 400]),
        };
        let information = |row: usize| data_set(row).filter(|_| !response(row));
        let reply = |row: usize| data_set(row).filter(|_| response(row));
        let comment = |row: usize| (row % 14 == 13).then(|| "x".repeat(row % 65));
        let batch = RecordBatch::try_from_iter([
            ("AffectedSOPClassUID", Arc::new(StringArray::from(vec!["1.2"; rows])) as ArrayRef),
            ("AffectedSOPInstanceUID", Arc::new(StringArray::from_iter_values((0..rows).map(uid)))),
            ("EventTypeID", Arc::new(of(|row| Some(row as i64), 65536, 0))),
            ("EventInformation", Arc::new(BinaryArray::from_iter((0..rows).map(information)))),
            ("EventReply", Arc::new(BinaryArray::from_iter((0..rows).map(reply)))),
            (
                "MessageIDBeingRespondedTo",
                Arc::new(of(|row| (row % 7 > 4).then_some(row as i64), -1, 1)),
            ),
            (
                "Status",
                Arc::new(Int64Array::from_iter((0..rows).map(|row| response(row).then_some(0)))),
            ),
            ("ErrorComment", Arc::new(StringArray::from_iter((0..rows).map(comment)))),
        ]);
        EventColumns::new(&batch.unwrap()).unwrap()
    }

    fn with(framing: Framing, max_pdu_length: i128, on_invalid: OnInvalid) -> Options {
        let max_pdu_length = MaxPduLength::new(max_pdu_length).unwrap();
        Options { framing, max_pdu_length, ..options(on_invalid) }
    }

    /// Whether the last offset is the length of the stream.
    fn ends_at_its_length(encoded: &Encoded) -> bool {
        *encoded.offsets.last().unwrap() as usize == encoded.bytes.len()
    }

    #[test]
    fn parts_join_to_the_same_stream() {
        let ways: [&dyn Fn(usize) -> bool; 5] =
            [&|_| false, &|row| row % 2 == 0, &|row| row < 400, &|row| row > 100, &|row| {
                row % 50 == 3 || row == 899
            }];
        for bad in ways {
            let all = [mixed(300, bad), mixed(0, bad), mixed(1, bad), mixed(900, bad)];
            for (framing, max_pdu_length) in [
                (Framing::PData, 16382),
                (Framing::PData, 0),
                (Framing::PData, 7),
                (Framing::PData, 60),
                (Framing::CommandSet, 16382),
            ] {
                let options = with(framing, max_pdu_length, OnInvalid::Skip);
                let one = encode(&all, &options, 65000, vec![]).unwrap();
                assert!(ends_at_its_length(&one));
                for (threads, least) in [(2, 1), (3, 1000), (7, 20_000), (2, 100_000)] {
                    let more = encode_in_parts(&all, &options, 65000, vec![], threads, least);
                    let more = more.unwrap();
                    assert_eq!(one.bytes, more.bytes);
                    assert_eq!(one.offsets, more.offsets);
                    assert_eq!(one.rejected, more.rejected);
                }
            }
        }
    }

    #[test]
    fn the_lengths_of_valid_rows_are_exact() {
        let columns = mixed(128, |_| false);
        for (framing, max_pdu_length) in
            [(Framing::PData, 0), (Framing::PData, 50), (Framing::CommandSet, 0)]
        {
            let options = with(framing, max_pdu_length, OnInvalid::Raise);
            let encoded = encode(std::slice::from_ref(&columns), &options, 0, vec![]).unwrap();
            for row in 0..128 {
                let found = Lengths::new().total(&columns, row..row + 1, &options);
                assert_eq!(found as i64, encoded.offsets[row + 1] - encoded.offsets[row]);
            }
            assert_eq!(Lengths::new().total(&columns, 0..128, &options), encoded.bytes.len());
        }
    }

    #[test]
    fn the_first_invalid_row_is_reported_with_any_threads() {
        for first in [0, 127, 128, 300, 301, 500, 899] {
            let all = [mixed(300, |row| row >= first), mixed(900, |row| row >= first)];
            for on_invalid in [OnInvalid::Raise, OnInvalid::Skip] {
                let options = with(Framing::PData, 16382, on_invalid);
                let one = encode(&all, &options, 5, vec![]).map(|encoded| encoded.rejected);
                let more = encode_in_parts(&all, &options, 5, vec![], 4, 3000);
                assert_eq!(one, more.map(|encoded| encoded.rejected));
            }
        }
    }

    #[test]
    fn known_rejections_belong_to_their_part() {
        let all = [mixed(600, |row| row % 9 == 0), mixed(600, |_| false)];
        let known: Vec<_> = (0..1200)
            .filter(|row| row % 40 < 2)
            // Several fields of a row may be rejected.
            .flat_map(|row| [row; 2])
            .map(|row| Rejection::new(Reason::Value("no".into())).row(row + 3))
            .collect();
        let options = options(OnInvalid::Skip);
        let one = encode(&all, &options, 3, known.clone()).unwrap();
        let values = one.rejected.iter().filter(|one| one.reason.code() == "value");
        assert_eq!(values.count(), 60);
        let more = encode_in_parts(&all, &options, 3, known.clone(), 3, 2000).unwrap();
        assert_eq!((one.bytes, &one.rejected), (more.bytes, &more.rejected));
        for (threads, least) in [(1, 100), (3, 100), (2, 1)] {
            let found = validate_in_parts(&all, &options, 3, known.clone(), threads, least);
            assert_eq!(found, one.rejected);
        }
    }

    #[test]
    fn several_tables_are_encoded_separately() {
        let tables = || {
            [(mixed(10, |_| false), 7), (mixed(10, |row| row == 4), 17), (mixed(0, |_| false), 27)]
                .map(|(columns, first_row)| Table { columns, first_row, known: vec![] })
        };
        let options = options(OnInvalid::Raise);
        let found = encode_each(tables().into(), &options, 2);
        for (table, found) in tables().into_iter().zip(found) {
            match (encode(&[table.columns], &options, table.first_row, vec![]), found) {
                (Ok(one), Ok(found)) => assert_eq!(one.bytes, found.bytes),
                (one, found) => assert_eq!(one.unwrap_err(), found.unwrap_err()),
            }
        }
    }
}
