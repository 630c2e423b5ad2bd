//! Encodes rows as a column of messages: as many values as there are rows.

use arrow_array::BinaryArray;
use arrow_buffer::{NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};

use crate::encode::options::Options;
use crate::encode::stream::{Encoded, encode};
use crate::event_columns::EventColumns;
use crate::options::OnInvalid;
use crate::rejection::{Reason, Rejection};

/// A message for each row.
#[derive(Debug)]
pub struct EncodedMessages {
    /// The messages; null for a rejected row.
    pub messages: BinaryArray,
    /// The rejected rows.
    pub rejected: Vec<Rejection>,
}

/// The maximum number of bytes of the messages of a column.
const MOST: usize = i32::MAX as usize;

/// Encodes rows as [`crate::encode::encode`] does. Rejected rows are null.
///
/// # Errors
///
/// The number of bytes, if one column cannot have them.
pub fn encode_messages(
    columns: EventColumns,
    options: &Options,
    first_row: u64,
    known: Vec<Rejection>,
) -> Result<EncodedMessages, usize> {
    let rows = columns.rows;
    let options = Options { on_invalid: OnInvalid::Skip, ..*options };
    let encoded =
        encode(&[columns], &options, first_row, known).expect("rejected rows are skipped");
    let Encoded { bytes, offsets, mut rejected } = encoded;
    if bytes.len() > MOST && rows == 1 {
        let reason = Reason::DataSetTooLong(bytes.len());
        rejected.push(Rejection::new(reason).row(first_row));
        let messages = BinaryArray::new_null(1);
        return Ok(EncodedMessages { messages, rejected });
    }
    if bytes.len() > MOST {
        return Err(bytes.len());
    }
    let (offsets, valid) = offsets_of_rows(rows, &offsets, first_row, &rejected);
    let messages = BinaryArray::new(offsets, bytes, valid);
    Ok(EncodedMessages { messages, rejected })
}

/// The offsets of all rows, given those of the messages: a rejected row has no bytes.
fn offsets_of_rows(
    rows: usize,
    offsets: &[i64],
    first_row: u64,
    rejected: &[Rejection],
) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
    if rejected.is_empty() {
        let all: ScalarBuffer<i32> = offsets.iter().map(|&offset| offset as i32).collect();
        return (OffsetBuffer::new(all), None);
    }
    let mut all = Vec::with_capacity(rows + 1);
    let mut valid = NullBufferBuilder::new(rows);
    let mut messages = offsets.iter().map(|&offset| offset as i32);
    let mut end = messages.next().unwrap_or_default();
    all.push(end);
    for rejection in rejected {
        let row = rejection.row.map_or(0, |row| (row - first_row) as usize);
        let good = row.saturating_sub(valid.len());
        all.extend(messages.by_ref().take(good));
        end = all.last().copied().unwrap_or(end);
        all.push(end);
        valid.append_n_non_nulls(good);
        valid.append_null();
    }
    all.extend(messages);
    valid.append_n_non_nulls(rows - valid.len());
    (OffsetBuffer::new(all.into()), valid.finish())
}
