//! Writes checked rows as messages into memory.

use std::mem::take;
use std::ops::Range;

use crate::encode::block::Block;
use crate::encode::check::RowSink;
use crate::encode::message::EventMessage;
use crate::encode::options::Options;
use crate::encode::run::{Out, Run};
use crate::encode::template::{ROOM, Template};
use crate::field::Field;
use crate::options::OnInvalid;
use crate::rejection::Rejection;

/// The sink that writes checked rows.
pub struct Encoder<'o> {
    pub options: &'o Options,
    pub out: Out<'o>,
    pub ends: &'o mut [[u8; 8]],
    pub messages: usize,
    pub rejected: Vec<Rejection>,
    pub scratch: Vec<u8>,
    /// The Message IDs of a run of a table without such a column.
    pub assigned_ids: Vec<u32>,
}

/// Consecutive Message IDs, beginning with `first`: after 65535 follows 1.
fn message_ids(first: u16, count: usize) -> impl ExactSizeIterator<Item = u32> {
    // Without a branch for each row: a block has fewer rows than there are Message IDs.
    (0..count as u32).map(move |index| {
        let id = u32::from(first) + index;
        if id > 65535 { id - 65535 } else { id }
    })
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
        let mut assigned = take(&mut self.assigned_ids);
        if ids.is_none() {
            assigned.clear();
            assigned.extend(message_ids(message_id, rows.len()));
        }
        let written = if template.data_set.is_some_and(|field| block.is_structured(field)) {
            self.write_structured_run(block, rows, template, ids, &assigned)
        } else {
            let ids = ids.map_or(&assigned[..], |field| &block.numbers_of(field)[rows.clone()]);
            let run = Run::new(block, rows.clone(), template, ids);
            run.write(&mut self.out, &mut self.ends[self.messages..]);
            rows.len()
        };
        self.messages += written;
        self.assigned_ids = assigned;
        written
    }

    fn accept(&mut self, event: &EventMessage<'_>) {
        self.scratch.clear();
        self.scratch.reserve(ROOM);
        event.write(&mut self.scratch, self.options);
        let Out { bytes, at, .. } = &mut self.out;
        bytes[*at..][..self.scratch.len()].copy_from_slice(&self.scratch);
        *at += self.scratch.len();
        self.ends[self.messages] = self.out.end();
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
    /// Writes rows with structured data sets, and returns their number; see
    /// [`Run::write_structured`].
    #[inline(never)]
    fn write_structured_run(
        &mut self,
        block: &mut Block<'_>,
        rows: Range<usize>,
        template: &Template<'_>,
        ids: Option<Field>,
        assigned: &[u32],
    ) -> usize {
        let most = self.options.max_pdu_length.fragment();
        let mut structured = take(&mut block.structured);
        let of_template = structured.iter_mut().find(|of| Some(of.field) == template.data_set);
        let mut done = 0;
        // After a data set that is too long, most are too long.
        if let Some(data_sets) = of_template.filter(|of| of.encoded().len() <= most) {
            let ids = ids.map_or(assigned, |field| &block.numbers_of(field)[rows.clone()]);
            let run = Run::new(block, rows, template, ids);
            let ends = &mut self.ends[self.messages..];
            done = run.write_structured(data_sets, block.first, most, &mut self.out, ends);
        }
        block.structured = structured;
        done
    }
}
