//! Rows judged, in runs.
//!
//! Most rows are like one before: the same template serves, and all that is left to check of them is
//! seen for a block at once. The others go one by one, element by element, as do those that are
//! refused; this way alone knows all the rules.

use std::ops::Range;

use crate::columns::cell::Cell;
use crate::columns::cell::WINDOW;
use crate::command_set::Value;
use crate::encode::block::{self, Block};
use crate::encode::message::{Event, check_instance};
use crate::encode::options::Options;
use crate::encode::rows::{Broken, Rows};
use crate::encode::template::{Shape, Template};
use crate::event_columns::EventColumns;
use crate::field::Field;
use crate::options::Framing;
use crate::rejection::Rejection;

/// What is done with rows that were judged.
pub trait Judged {
    /// Some rows of a block are good, and have this template, but for their data sets if these are
    /// structured; `message_id` is that of the first if it is a request of a table without such a
    /// column. Returns how many rows are done with: the next one is judged alone.
    fn run(
        &mut self,
        block: &mut Block<'_>,
        rows: Range<usize>,
        template: &Template<'_>,
        message_id: u16,
    ) -> usize;

    /// A row is good.
    fn single(&mut self, event: &Event<'_>);

    /// A row is bad; whether that is the end.
    fn refused(&mut self, rejection: Rejection) -> Result<(), Rejection>;
}

/// Judges all rows.
///
/// # Errors
/// What [`Judged::refused`] returns.
pub fn judge(
    mut rows: Rows<'_>,
    broken: Broken,
    options: &Options,
    judged: &mut impl Judged,
) -> Result<(), Rejection> {
    let mut judge = Judge { options, number: rows.number, broken };
    while let Some((columns, rows)) = rows.next(usize::MAX) {
        judge.rows_of(columns, rows, judged)?;
    }
    Ok(())
}

struct Judge<'o> {
    options: &'o Options,
    /// The number of the next row.
    number: u64,
    broken: Broken,
}

impl Judge<'_> {
    fn rows_of(
        &mut self,
        columns: &EventColumns,
        rows: Range<usize>,
        judged: &mut impl Judged,
    ) -> Result<(), Rejection> {
        let mut block = Block::new(columns);
        let mut templates = Templates::default();
        for first in rows.clone().step_by(block::ROWS) {
            block.take(first, block::ROWS.min(rows.end - first));
            let mut row = 0;
            while row < block.rows {
                let class = block.cell(Field::AffectedSOPClassUID, row);
                let template = templates.find(block.shapes[row], class);
                let end = template.map_or(row, |template| self.end_of_run(&block, row, template));
                let mut done = match template {
                    Some(template) if end > row => {
                        judged.run(&mut block, row..end, template, self.message_id())
                    }
                    _ => 0,
                };
                if done == 0 {
                    match self.single(&mut block, row, &mut templates, judged) {
                        Ok(()) => {}
                        Err(rejection) => judged.refused(rejection.row(self.number))?,
                    }
                    done = 1;
                }
                self.number += done as u64;
                row += done;
            }
        }
        Ok(())
    }

    /// Where the rows from `first` on end for which a template serves.
    #[inline]
    fn end_of_run(&mut self, block: &Block<'_>, first: usize, template: &Template<'_>) -> usize {
        let Options { framing, max_pdu_length, .. } = *self.options;
        let most = match framing {
            Framing::PData => max_pdu_length.fragment(),
            Framing::CommandSet => usize::MAX,
        };
        // Without their data sets these are checked one by one.
        let are_left_out = framing == Framing::CommandSet && !block.structured.is_empty();
        if template.command_set_len(WINDOW) > most || are_left_out {
            return first;
        }
        let before_broken =
            self.broken.next_row().map_or(usize::MAX, |row| (row - self.number) as usize);
        let end = block.rows.min(first.saturating_add(before_broken));
        let classes = block.cells(Field::AffectedSOPClassUID);
        let in_cells = template.data_set.filter(|field| !block.is_structured(*field));
        let data_sets = in_cells.map(|field| block.cells(field));
        let mut row = first;
        while row < end
            && template.fits(block.shapes[row], classes[row])
            && block.conformant[row]
            && data_sets.is_none_or(|cells| cells[row].length() <= most)
            && !block.out_of_range(row)
        {
            row += 1;
        }
        row
    }

    /// Judges a row by the table of elements, and makes a template of it if it is the first good one
    /// of its like.
    fn single<'c>(
        &mut self,
        block: &mut Block<'c>,
        row: usize,
        templates: &mut Templates<'c>,
        judged: &mut impl Judged,
    ) -> Result<(), Rejection> {
        if let Some(rejection) = self.broken.take(self.number) {
            return Err(rejection);
        }
        block.encode_structured(row)?;
        let (shape, class) = (block.shapes[row], block.cell(Field::AffectedSOPClassUID, row));
        let known = templates.find(shape, class).is_some();
        if known && !block.out_of_range(row) {
            // The other rules of such a row come later in the order of its elements.
            check_instance(block, row, self.options)?;
        }
        let event = Event::of_row(block, row, self.message_id());
        event.check(block, row, self.options)?;
        if !known && event.command_set.get(Field::ErrorComment) == Value::Absent {
            let id = event.context_id(self.options);
            templates.add(Template::new(shape, class, &event.command_set, id, self.options));
        }
        judged.single(&event);
        Ok(())
    }

    /// Message IDs run from 1 to 65535 and round again.
    fn message_id(&self) -> u16 {
        (self.number % 65535 + 1) as u16
    }
}

/// The templates of a table: a few, of which most rows have the one of the row before.
#[derive(Default)]
struct Templates<'a> {
    all: Vec<Template<'a>>,
    last: usize,
}

/// Tables with more kinds of rows than this forget the oldest.
const MOST_TEMPLATES: usize = 16;

impl<'a> Templates<'a> {
    #[inline]
    fn find(&mut self, shape: Shape, class: Cell<'_>) -> Option<&Template<'a>> {
        let fits = |template: &Template<'_>| template.fits(shape, class);
        if !self.all.get(self.last).is_some_and(fits) {
            self.last = self.all.iter().position(fits)?;
        }
        self.all.get(self.last)
    }

    fn add(&mut self, template: Template<'a>) {
        if self.all.len() == MOST_TEMPLATES {
            self.all.remove(0);
        }
        self.last = self.all.len();
        self.all.push(template);
    }
}
