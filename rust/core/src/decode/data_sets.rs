//! Decodes the data sets of decoded events into columns of attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_select::filter::filter_record_batch;

use crate::data_set::decode::decode_data_sets;
use crate::data_set::error::DataSetError;
use crate::data_set::schema::DataSetSchema;
use crate::decode::layout::Layout;
use crate::decode::stream::{DecodeOptions, Decoded, decode_in_threads};
use crate::decode::views::plain;
use crate::event_columns::replaced;
use crate::field::Field;
use crate::options::OnInvalid;
use crate::rejection::{Reason, Rejection};
use crate::standard::transfer_syntax::TransferSyntax;

/// The data sets to decode, and how.
#[derive(Debug, Default)]
pub struct Structure {
    /// Their transfer syntax.
    pub syntax: TransferSyntax,
    /// The columns, each with its schema if one is given.
    pub columns: Vec<(Field, Option<DataSetSchema>)>,
}

/// Decoded events with structured data sets.
#[derive(Debug)]
pub struct StructuredEvents {
    /// The events. Events with invalid data sets are rejected.
    pub decoded: Decoded,
    /// The same rows with structured data sets.
    pub structured: Vec<RecordBatch>,
    /// The number of elements that are not part of a given schema, by path.
    pub omitted: BTreeMap<String, u64>,
}

/// Decodes a stream, and the data sets of its events.
pub fn decode_structured(
    stream: &Buffer,
    options: DecodeOptions,
    structure: &Structure,
    threads: usize,
) -> StructuredEvents {
    let decoded = decode_in_threads(stream, structure.options(options), threads);
    structured(decoded, stream, options, structure)
}

impl Structure {
    /// The options for decoding the stream. Views are not copied: most bytes of the events are those
    /// of the data sets.
    pub fn options(&self, options: DecodeOptions) -> DecodeOptions {
        match self.columns.is_empty() {
            true => options,
            false => DecodeOptions { layout: Layout::Views, ..options },
        }
    }

    /// Decodes the data sets of events in columns of views. Returns the events with the structured
    /// columns, the invalid data sets, and the number of elements that are not part of a given schema,
    /// by path.
    pub fn decode(
        &self,
        events: &RecordBatch,
    ) -> (RecordBatch, WrongDataSets, BTreeMap<String, u64>) {
        let mut structured = events.clone();
        let mut wrong = WrongDataSets::new();
        let mut omitted = BTreeMap::new();
        for (field, schema) in &self.columns {
            let data_sets = events[field.keyword()].as_binary_view();
            let found = decode_data_sets(data_sets, self.syntax, schema.as_ref());
            omitted.extend(found.omitted_of(*field));
            for (row, error) in found.wrong {
                wrong.entry(row).or_insert((*field, error));
            }
            structured = replaced(&structured, *field, Arc::new(found.rows));
        }
        (structured, wrong, omitted)
    }
}

/// The first invalid data set of each row that has one.
pub type WrongDataSets = BTreeMap<usize, (Field, Box<DataSetError>)>;

/// Decodes the data sets of events that were decoded from `stream` with [`Structure::options`].
pub fn structured(
    mut decoded: Decoded,
    stream: &Buffer,
    options: DecodeOptions,
    structure: &Structure,
) -> StructuredEvents {
    if structure.columns.is_empty() {
        let structured = decoded.events.clone();
        return StructuredEvents { decoded, structured, omitted: BTreeMap::new() };
    }
    let mut events = decoded.batch().expect("columns of views have no maximum length");
    let (mut structured, wrong, omitted) = structure.decode(&events);
    let placed = |(row, (field, error)): (usize, (Field, Box<DataSetError>))| {
        let data_set = events[field.keyword()].as_binary_view().value(row);
        let begin = decoded.offsets[row] as usize;
        (row, placed(error, data_set, stream, begin).field(field))
    };
    let wrong: BTreeMap<usize, Rejection> = wrong.into_iter().map(placed).collect();
    if !wrong.is_empty() {
        let kept = reject(&mut decoded, wrong, options.on_invalid);
        events = filter_record_batch(&events, &kept).expect("as many rows as before");
        structured = filter_record_batch(&structured, &kept).expect("as many rows as before");
    }
    decoded.events = vec![events];
    let structured = match options.layout {
        Layout::Plain => plain(structured),
        Layout::Views => vec![structured],
    };
    StructuredEvents { decoded, structured, omitted }
}

/// The rejection of a data set with its offset in `stream`. A data set that was joined from
/// fragments, or that Arrow stores inside its view, has the offset of its message.
fn placed(error: Box<DataSetError>, data_set: &[u8], stream: &Buffer, begin: usize) -> Rejection {
    let start = (data_set.as_ptr() as usize).wrapping_sub(stream.as_ptr() as usize);
    let lies = start.checked_add(data_set.len()).is_some_and(|end| end <= stream.len());
    let at = if lies { start + error.offset.unwrap_or(0) } else { begin };
    Rejection::new(Reason::DataSet(error)).at(at)
}

/// Removes rows, and returns a mask of the remaining rows of the events.
fn reject(
    decoded: &mut Decoded,
    wrong: BTreeMap<usize, Rejection>,
    on_invalid: OnInvalid,
) -> BooleanArray {
    let rows = decoded.rows();
    let first = *wrong.keys().next().expect("a row is wrong");
    let keep = |row: usize| match on_invalid {
        OnInvalid::Raise => row < first,
        OnInvalid::Skip => !wrong.contains_key(&row),
    };
    let kept: BooleanArray = (0..rows).map(|row| Some(keep(row))).collect();
    let numbers = numbers(rows, &decoded.rejected);
    let offsets = decoded.offsets.iter().enumerate();
    decoded.offsets = offsets.filter(|(row, _)| kept.value(*row)).map(|(_, at)| *at).collect();
    let found = wrong.into_iter().map(|(row, rejection)| rejection.row(numbers[row]));
    match on_invalid {
        OnInvalid::Raise => decoded.rejected = found.take(1).collect(),
        OnInvalid::Skip => {
            decoded.rejected.extend(found);
            decoded.rejected.sort_by_key(|rejection| rejection.row);
        }
    }
    kept
}

/// The message number of each event, counting the rejected messages.
fn numbers(rows: usize, rejected: &[Rejection]) -> Vec<u64> {
    let mut rejected = rejected.iter().filter_map(|rejection| rejection.row).peekable();
    let mut next = 0;
    let mut number = || {
        while rejected.next_if_eq(&next).is_some() {
            next += 1;
        }
        next += 1;
        next - 1
    };
    (0..rows).map(|_| number()).collect()
}
