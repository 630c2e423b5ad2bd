//! Writes checked rows as messages into memory.

use std::mem::take;
use std::ops::Range;

use crate::columns::cell::Cell;
use crate::encode::block::Block;
use crate::encode::check::RowSink;
use crate::encode::message::EventMessage;
use crate::encode::options::Options;
use crate::encode::template::{Numbers, ROOM, Template, set_data_set_length};
use crate::field::Field;
use crate::options::OnInvalid;
use crate::rejection::Rejection;

/// The sink that writes checked rows.
pub struct Encoder<'o> {
    pub options: &'o Options,
    /// The offset of the memory in the stream.
    pub begin: usize,
    pub out: &'o mut [u8],
    pub at: usize,
    pub ends: &'o mut [[u8; 8]],
    pub messages: usize,
    pub rejected: Vec<Rejection>,
    pub scratch: Vec<u8>,
}

impl RowSink for Encoder<'_> {
    #[inline]
    fn accept_run(
        &mut self,
        block: &mut Block<'_>,
        rows: Range<usize>,
        template: &Template<'_>,
        message_id: u16,
    ) -> usize {
        let ids = match (template.kind.is_response(), block.has(Field::MessageID)) {
            (false, false) => None,
            (false, true) => Some(Field::MessageID),
            (true, _) => Some(Field::MessageIDBeingRespondedTo),
        };
        if template.data_set.is_some_and(|field| block.is_structured(field)) {
            return self.write_structured_run(block, rows, template, ids, message_id);
        }
        let numbering = match ids {
            None => Numbering::From(message_id),
            Some(field) => Numbering::Column(&block.numbers_of(field)[rows.clone()]),
        };
        self.write_run(block, rows.clone(), template, numbering);
        rows.len()
    }

    fn accept(&mut self, event: &EventMessage<'_>) {
        self.scratch.clear();
        self.scratch.reserve(ROOM);
        event.write(&mut self.scratch, self.options);
        self.out[self.at..][..self.scratch.len()].copy_from_slice(&self.scratch);
        self.at += self.scratch.len();
        self.ends[self.messages] = ((self.begin + self.at) as i64).to_ne_bytes();
        self.messages += 1;
    }

    fn reject(&mut self, rejection: Rejection) -> Result<(), Rejection> {
        match self.options.on_invalid {
            OnInvalid::Raise => Err(rejection),
            OnInvalid::Skip => {
                self.rejected.push(rejection);
                Ok(())
            }
        }
    }
}

impl Encoder<'_> {
    // Inlined, so that the decisions that are equal for all rows are made outside the loop.
    #[inline(always)]
    fn write_run(
        &mut self,
        block: &Block<'_>,
        rows: Range<usize>,
        template: &Template<'_>,
        mut numbering: Numbering<'_>,
    ) {
        let data_sets = template.data_set.map(|field| &block.cells(field)[rows.clone()]);
        let uids = &block.cells(Field::AffectedSOPInstanceUID)[rows.clone()];
        let [event_types, statuses, error_ids] =
            [Field::EventTypeID, Field::Status, Field::ErrorID]
                .map(|field| &block.numbers_of(field)[rows.clone()]);
        let ends = &mut self.ends[self.messages..][..rows.len()];
        let mut at = self.at;
        let values = ends.iter_mut().zip(uids).zip(event_types).zip(statuses).zip(error_ids);
        for (index, ((((end, &uid), event_type), status), error_id)) in values.enumerate() {
            let numbers = Numbers {
                message_id: numbering.next(index),
                event_type: *event_type as u16,
                status: *status as u16,
                error_id: *error_id as u16,
            };
            let data_set = data_sets.map(|cells| cells[index]);
            let length = data_set.map_or(0, Cell::length);
            let out = &mut self.out[at..];
            at += match out.first_chunk_mut() {
                Some(out) => template.write(out, numbers, uid, length),
                None => write_at_end(out, template, numbers, uid, length),
            };
            if let Some(data_set) = data_set {
                at += data_set.write(&mut self.out[at..]);
            }
            *end = ((self.begin + at) as i64).to_ne_bytes();
        }
        self.at = at;
        self.messages += rows.len();
    }

    /// Writes rows with structured data sets while these are valid, not empty and fit one PDU.
    /// Returns the number of rows written.
    #[inline(never)]
    fn write_structured_run(
        &mut self,
        block: &mut Block<'_>,
        rows: Range<usize>,
        template: &Template<'_>,
        ids: Option<Field>,
        message_id: u16,
    ) -> usize {
        let most = self.options.max_pdu_length.fragment();
        let mut structured = take(&mut block.structured);
        let of_template = structured.iter_mut().find(|of| Some(of.field) == template.data_set);
        let mut done = 0;
        // After a data set that is too long, most are too long.
        if let Some(data_sets) = of_template.filter(|of| of.encoded().len() <= most) {
            let uids = block.cells(Field::AffectedSOPInstanceUID);
            let mut numbering = match ids {
                Some(field) => Numbering::Column(&block.numbers_of(field)[rows.clone()]),
                None => Numbering::From(message_id),
            };
            for (index, row) in rows.enumerate() {
                let numbers = block.numbers(row, numbering.next(index));
                let out = &mut self.out[self.at..];
                let Some(room) = out.first_chunk_mut() else { break };
                let begin = template.write(room, numbers, uids[row], 0);
                let written = data_sets.write(block.first + row, &mut out[begin..]);
                let Some(length) = written.filter(|length| (1..=most).contains(length)) else {
                    break;
                };
                set_data_set_length(out, begin, length);
                self.at += begin + length;
                self.ends[self.messages] = ((self.begin + self.at) as i64).to_ne_bytes();
                self.messages += 1;
                done += 1;
            }
        }
        block.structured = structured;
        done
    }
}

/// Writes a message up to its data set, if `out` ends early because another part follows.
#[cold]
fn write_at_end(
    out: &mut [u8],
    template: &Template<'_>,
    numbers: Numbers,
    uid: Cell<'_>,
    data_set: usize,
) -> usize {
    let mut room = [0; ROOM];
    let length = template.write(&mut room, numbers, uid, data_set);
    out[..length].copy_from_slice(&room[..length]);
    length
}

/// The source of the Message IDs of a run.
enum Numbering<'b> {
    /// The column of the rows of the run.
    Column(&'b [u32]),
    /// The next Message ID.
    From(u16),
}

impl Numbering<'_> {
    #[inline]
    fn next(&mut self, index: usize) -> u16 {
        match self {
            Self::Column(ids) => ids[index] as u16,
            Self::From(next) => {
                let message_id = *next;
                *next = message_id.checked_add(1).unwrap_or(1);
                message_id
            }
        }
    }
}
