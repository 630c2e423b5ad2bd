//! Writes the rows of a run, which share a template: the hot loop of encoding.

use std::ops::Range;

use crate::columns::cell::{Cell, WINDOW};
use crate::columns::values::{Adjacent, Values};
use crate::encode::block::Block;
use crate::encode::structured_rows::StructuredRows;
use crate::encode::template::{Numbers, ROOM, Template, Text, set_data_set_length};
use crate::field::Field;
use crate::registers::{Vectorized, in_widest_registers};

/// The maximum length of a data set that is copied in registers.
const SHORT: usize = 128;

/// Consecutive rows of a block that share a template.
#[derive(Debug)]
pub struct Run<'r, 'a> {
    template: &'r Template<'a>,
    /// The rows of the block.
    rows: Range<usize>,
    message_ids: &'r [u32],
    event_types: &'r [u32],
    statuses: &'r [u32],
    error_ids: &'r [u32],
    uids: &'r Values<'a>,
    comments: &'r Values<'a>,
    data_sets: Option<&'r Values<'a>>,
}

/// The memory of the messages: the next message begins at `at`.
#[derive(Debug)]
pub struct Out<'o> {
    /// The memory.
    pub bytes: &'o mut [u8],
    /// The length of the messages in it.
    pub at: usize,
    /// The offset of the memory in the stream.
    pub begin: usize,
}

impl Out<'_> {
    /// The end of the last message in the stream, as an offset.
    #[inline(always)]
    pub fn end(&self) -> [u8; 8] {
        ((self.begin + self.at) as i64).to_ne_bytes()
    }
}

/// [`Run::write`].
struct WriteRun<'w, 'r, 'a, 'o> {
    run: &'w Run<'r, 'a>,
    out: &'w mut Out<'o>,
    ends: &'w mut [[u8; 8]],
}

impl Vectorized for WriteRun<'_, '_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.run.write_all(self.out, self.ends);
    }
}

/// [`Run::write_structured`].
struct WriteStructured<'w, 'r, 'a, 'd, 'o> {
    run: &'w Run<'r, 'a>,
    data_sets: &'w mut StructuredRows<'d>,
    first: usize,
    most: usize,
    out: &'w mut Out<'o>,
    ends: &'w mut [[u8; 8]],
}

impl Vectorized for WriteStructured<'_, '_, '_, '_, '_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Self { run, data_sets, first, most, out, ends } = self;
        run.write_structured_inlined(data_sets, first, most, out, ends)
    }
}

impl<'r, 'a> Run<'r, 'a> {
    /// The rows of a block that have the fields of `template` and no structured data sets.
    /// `message_ids` has the Message ID of each row of the run.
    #[inline]
    pub fn new(
        block: &'r Block<'a>,
        rows: Range<usize>,
        template: &'r Template<'a>,
        message_ids: &'r [u32],
    ) -> Self {
        let numbers = |field| &block.numbers_of(field)[rows.clone()];
        Self {
            template,
            message_ids: &message_ids[..rows.len()],
            event_types: numbers(Field::EventTypeID),
            statuses: numbers(Field::Status),
            error_ids: numbers(Field::ErrorID),
            uids: block.values(Field::AffectedSOPInstanceUID),
            comments: block.values(Field::ErrorComment),
            data_sets: template
                .data_set
                .filter(|field| !block.is_structured(*field))
                .map(|field| block.values(field)),
            rows,
        }
    }

    /// Writes the messages, and their ends to `ends`. The widest registers take a fifth fewer
    /// instructions.
    pub fn write(&self, out: &mut Out<'_>, ends: &mut [[u8; 8]]) {
        in_widest_registers(WriteRun { run: self, out, ends });
    }

    #[inline(always)]
    fn write_all(&self, out: &mut Out<'_>, ends: &mut [[u8; 8]]) {
        let data_sets = match self.data_sets {
            None => Some(Adjacent { bytes: &[], offsets: &[] }),
            Some(values) => values.adjacent(),
        };
        match (self.uids.adjacent(), data_sets) {
            (Some(uids), Some(data_sets)) if !self.template.has_comment => {
                match self.template.kind.is_response() {
                    false => self.write_adjacent::<false>(uids, data_sets, out, ends),
                    true => self.write_adjacent::<true>(uids, data_sets, out, ends),
                }
            }
            _ => {
                for (index, end) in ends[..self.rows.len()].iter_mut().enumerate() {
                    self.write_row(index, out);
                    *end = out.end();
                }
            }
        }
    }

    /// Writes rows whose UIDs and data sets are adjacent in their buffers. Their lengths come from
    /// the offsets directly, and every decision that is equal for all rows is made outside the loop:
    /// half the instructions of [`Run::write_row`].
    #[inline(always)]
    fn write_adjacent<const RESPONSES: bool>(
        &self,
        uids: Adjacent<'a, 'r>,
        data_sets: Adjacent<'a, 'r>,
        out: &mut Out<'_>,
        ends: &mut [[u8; 8]],
    ) {
        let rows = self.rows.clone();
        let count = rows.len();
        let uid_ends = &uids.offsets[rows.start + 1..=rows.end];
        let mut uid_start = uids.offsets[rows.start] as usize;
        let has_data_sets = !data_sets.offsets.is_empty();
        let data_set_ends =
            if has_data_sets { &data_sets.offsets[rows.start + 1..=rows.end] } else { uid_ends };
        let mut data_set_start =
            if has_data_sets { data_sets.offsets[rows.start] as usize } else { 0 };
        let (message_ids, event_types) = (&self.message_ids[..count], &self.event_types[..count]);
        let (statuses, error_ids) = (&self.statuses[..count], &self.error_ids[..count]);
        let ends = &mut ends[..count];
        for index in 0..count {
            let uid_end = uid_ends[index] as usize;
            let (data_set_end, data_set) = match has_data_sets {
                true => {
                    let end = data_set_ends[index] as usize;
                    (end, data_sets.bytes.get(data_set_start..data_set_start + SHORT))
                }
                false => (0, Some(&[0; SHORT][..])),
            };
            let length = data_set_end.wrapping_sub(data_set_start);
            let window = uids.bytes.get(uid_start..uid_start + WINDOW);
            let room = out.bytes.get_mut(out.at..out.at + ROOM);
            let window = window.and_then(|window| window.first_chunk());
            let data_set = data_set.and_then(|data_set| data_set.first_chunk::<SHORT>());
            let room = room.and_then(|room| room.first_chunk_mut());
            if let (Some(window), Some(data_set), Some(room)) = (window, data_set, room)
                && length <= SHORT
            {
                let numbers = Numbers {
                    message_id: message_ids[index] as u16,
                    event_type: event_types[index] as u16,
                    status: if RESPONSES { statuses[index] as u16 } else { 0 },
                    error_id: if RESPONSES { error_ids[index] as u16 } else { 0 },
                };
                let uid = Text { window, length: uid_end - uid_start };
                let begin = self.template.write(room, numbers, RESPONSES, uid, None, length);
                if has_data_sets {
                    room[begin..begin + SHORT].copy_from_slice(data_set);
                }
                out.at += begin + length;
            } else {
                self.write_other_row(index, out);
            }
            ends[index] = out.end();
            (uid_start, data_set_start) = (uid_end, data_set_end);
        }
    }

    /// Writes rows with structured data sets while these are valid, not empty and of at most `most`
    /// bytes. `first` is the row of the columns with which the block begins. Returns the number of
    /// rows written.
    pub fn write_structured(
        &self,
        data_sets: &mut StructuredRows<'_>,
        first: usize,
        most: usize,
        out: &mut Out<'_>,
        ends: &mut [[u8; 8]],
    ) -> usize {
        in_widest_registers(WriteStructured { run: self, data_sets, first, most, out, ends })
    }

    #[inline(always)]
    fn write_structured_inlined(
        &self,
        data_sets: &mut StructuredRows<'_>,
        first: usize,
        most: usize,
        out: &mut Out<'_>,
        ends: &mut [[u8; 8]],
    ) -> usize {
        let is_response = self.template.kind.is_response();
        let adjacent = self.uids.adjacent().filter(|_| !is_response);
        let begin = out.begin + out.at;
        let mut writer = data_sets.writer(&mut out.bytes[out.at..]);
        let (mut at, mut written) = (0, 0);
        for (index, end) in ends[..self.rows.len()].iter_mut().enumerate() {
            let row = self.rows.start + index;
            let Some(room) = writer.out()[at..].first_chunk_mut() else { break };
            let front = match adjacent.and_then(|uids| uids.window(row)) {
                // The usual case: two thirds of the instructions.
                Some((window, length)) => {
                    let numbers = self.numbers(index, false);
                    self.template.write(room, numbers, false, Text { window, length }, None, 0)
                }
                None => self.write_front(index, row, is_response, room, 0),
            };
            let data_set = at + front;
            writer.continue_at(data_set);
            if writer.write(first + row).is_err() {
                break;
            }
            let length = writer.at() - data_set;
            if length == 0 || length > most {
                break;
            }
            set_data_set_length(writer.out(), data_set, length);
            at = writer.at();
            *end = ((begin + at) as i64).to_ne_bytes();
            written = index + 1;
        }
        out.at += at;
        written
    }

    /// Writes a row with a longer data set, or a row whose values or message end near the end of
    /// their memory.
    #[inline(never)]
    fn write_other_row(&self, index: usize, out: &mut Out<'_>) {
        self.write_row(index, out);
    }

    /// Writes a row of any layout.
    #[inline(always)]
    fn write_row(&self, index: usize, out: &mut Out<'_>) {
        let row = self.rows.start + index;
        let data_set = self.data_sets.map(|values| values.cell(row));
        let length = data_set.map_or(0, Cell::length);
        let bytes = &mut out.bytes[out.at..];
        out.at += match bytes.first_chunk_mut() {
            Some(room) => self.write_front(index, row, true, room, length),
            None => self.write_front_at_end(index, row, bytes, length),
        };
        if let Some(data_set) = data_set {
            out.at += data_set.write(&mut out.bytes[out.at..]);
        }
    }

    /// The numbers of a row; without those of responses if it is a request.
    #[inline(always)]
    fn numbers(&self, index: usize, is_response: bool) -> Numbers {
        Numbers {
            message_id: self.message_ids[index] as u16,
            event_type: self.event_types[index] as u16,
            status: if is_response { self.statuses[index] as u16 } else { 0 },
            error_id: if is_response { self.error_ids[index] as u16 } else { 0 },
        }
    }

    /// Writes the message of a row up to its data set, and returns the length.
    #[inline(always)]
    fn write_front(
        &self,
        index: usize,
        row: usize,
        is_response: bool,
        out: &mut [u8; ROOM],
        data_set: usize,
    ) -> usize {
        let numbers = self.numbers(index, is_response);
        let (mut uid_copy, mut comment_copy) = ([0; WINDOW], [0; WINDOW]);
        let uid = text(self.uids.cell(row), &mut uid_copy);
        let comment = match self.template.has_comment {
            true => Some(text(self.comments.cell(row), &mut comment_copy)),
            false => None,
        };
        self.template.write(out, numbers, is_response, uid, comment, data_set)
    }

    /// The same if `out` ends early because another part follows.
    #[cold]
    fn write_front_at_end(
        &self,
        index: usize,
        row: usize,
        out: &mut [u8],
        data_set: usize,
    ) -> usize {
        let mut room = [0; ROOM];
        let length = self.write_front(index, row, true, &mut room, data_set);
        out[..length].copy_from_slice(&room[..length]);
        length
    }
}

/// The text of a checked cell. At the end of its buffer it is copied.
#[inline(always)]
fn text<'t>(cell: Cell<'t>, copy: &'t mut [u8; WINDOW]) -> Text<'t> {
    if cell.is_null() {
        return Text::NONE;
    }
    match cell.window() {
        Some(window) => Text { window, length: cell.length() },
        None => {
            *copy = cell.widened();
            Text { window: copy, length: cell.length() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt16Array};
    use proptest::prelude::*;

    use super::*;
    use crate::encode::message::EventMessage;
    use crate::encode::options::Options;
    use crate::event_columns::EventColumns;
    use crate::options::{Framing, OnInvalid};
    use crate::pdu::write::MaxPduLength;

    const OPTIONS: Options = Options {
        context_id: 1,
        max_pdu_length: MaxPduLength::UNLIMITED,
        framing: Framing::PData,
        on_invalid: OnInvalid::Raise,
        conformant_uids: true,
    };

    /// Responses with an Error Comment, and with data sets of these lengths, or requests.
    fn events(lengths: &[usize], responses: bool) -> EventColumns {
        let rows = lengths.len();
        let uids = (0..rows).map(|row| format!("1.2.{row}"));
        let data_sets = lengths.iter().enumerate().map(|(row, &length)| vec![row as u8; length]);
        let numbers = || -> ArrayRef { Arc::new(UInt16Array::from_iter_values(0..rows as u16)) };
        let texts = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
        let data_sets: ArrayRef = Arc::new(BinaryArray::from_iter_values(data_sets));
        let mut columns = vec![
            ("AffectedSOPClassUID", texts("1.2.840.10008.1.20.1")),
            ("AffectedSOPInstanceUID", Arc::new(StringArray::from_iter_values(uids)) as ArrayRef),
            ("EventTypeID", numbers()),
        ];
        columns.extend(match responses {
            false => vec![("EventInformation", data_sets)],
            true => vec![
                ("MessageIDBeingRespondedTo", numbers()),
                ("EventReply", data_sets),
                ("Status", numbers()),
                ("ErrorComment", texts("no such instance")),
            ],
        });
        EventColumns::new(&RecordBatch::try_from_iter(columns).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn every_register_width_writes_the_same(
            lengths in prop::collection::vec(1_usize..300, 1..=128),
            responses: bool,
            from in 0_usize..128,
        ) {
            let columns = events(&lengths, responses);
            let rows = from % lengths.len()..lengths.len();
            let mut block = Block::new(&columns, lengths.len());
            block.take(0, lengths.len());
            let event = EventMessage::from_row(&block, 0, 1);
            let class = block.cell(Field::AffectedSOPClassUID, 0);
            let template =
                Template::new(block.shapes[0], class, &event.command_set, 1, &OPTIONS);
            let ids: Vec<u32> = rows.clone().map(|row| row as u32 + 1).collect();
            let run = Run::new(&block, rows.clone(), &template, &ids);
            type Write<'w> = &'w dyn Fn(&mut Out<'_>, &mut [[u8; 8]]);
            let ways: [Write<'_>; 3] = [
                &|out, ends| run.write(out, ends),
                &|out, ends| run.write_all(out, ends),
                // The safe twin: row by row.
                &|out, ends| {
                    for (index, end) in ends.iter_mut().enumerate() {
                        run.write_row(index, out);
                        *end = out.end();
                    }
                },
            ];
            let written = ways.map(|write| {
                let mut bytes = vec![0; rows.len() * 1024 + ROOM];
                let mut ends = vec![[0; 8]; rows.len()];
                let mut out = Out { bytes: &mut bytes, at: 0, begin: 5 };
                write(&mut out, &mut ends);
                let length = out.at;
                bytes.truncate(length);
                (bytes, ends)
            });
            prop_assert_eq!(&written[0], &written[1]);
            prop_assert_eq!(&written[0], &written[2]);
        }
    }
}
