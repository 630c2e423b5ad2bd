//! Checks rows in runs.
//!
//! Most rows are like an earlier row: they share its template, and their remaining checks are made
//! for a block at once. Other rows, and all rejected ones, are checked element by element; only this
//! path implements all rules.

use std::ops::Range;

use crate::columns::cell::Cell;
use crate::encode::block::{self, Block};
use crate::encode::message::{EventMessage, check_instance, has_valid_comment, message_id_of_row};
use crate::encode::options::Options;
use crate::encode::rows::{KnownRejections, Rows};
use crate::encode::template::{Shape, Template};
use crate::event_columns::EventColumns;
use crate::field::Field;
use crate::options::Framing;
use crate::rejection::Rejection;

/// Receives the rows after their check.
pub trait RowSink {
    /// Receives valid rows of a block that share a template. Structured data sets are not yet
    /// checked. `message_id` is the Message ID of the first row if the rows are requests of a table
    /// without that column. Returns how many rows it accepted; the next row is then checked alone.
    fn accept_run(
        &mut self,
        block: &mut Block<'_>,
        rows: Range<usize>,
        template: &Template<'_>,
        message_id: u16,
    ) -> usize;

    /// Receives a valid row that was checked alone.
    fn accept(&mut self, event: &EventMessage<'_>);

    /// Receives a rejected row. An error ends the check.
    fn reject(&mut self, rejection: Rejection) -> Result<(), Rejection>;
}

/// Checks all rows.
///
/// # Errors
///
/// The error that the sink returned for a rejected row.
pub fn check_rows(
    mut rows: Rows<'_>,
    known: KnownRejections,
    options: &Options,
    sink: &mut impl RowSink,
) -> Result<(), Rejection> {
    let mut checker = Checker { options, number: rows.number, known };
    while let Some((columns, rows)) = rows.next(usize::MAX) {
        checker.check_batch(columns, rows, sink)?;
    }
    Ok(())
}

struct Checker<'o> {
    options: &'o Options,
    /// The number of the next row.
    number: u64,
    known: KnownRejections,
}

impl Checker<'_> {
    fn check_batch(
        &mut self,
        columns: &EventColumns,
        rows: Range<usize>,
        sink: &mut impl RowSink,
    ) -> Result<(), Rejection> {
        let mut block = Block::new(columns, block::ROWS.min(rows.len()));
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
                        sink.accept_run(&mut block, row..end, template, self.message_id())
                    }
                    _ => 0,
                };
                if done == 0 {
                    let is_last = first + row + 1 == rows.end;
                    match self.check_row(&mut block, row, is_last, &mut templates, sink) {
                        Ok(()) => {}
                        Err(rejection) => sink.reject(rejection.row(self.number))?,
                    }
                    done = 1;
                }
                self.number += done as u64;
                row += done;
            }
        }
        Ok(())
    }

    /// The end of the run of rows, from `first` on, that share the template.
    #[inline]
    fn end_of_run(&mut self, block: &Block<'_>, first: usize, template: &Template<'_>) -> usize {
        let Options { framing, max_pdu_length, .. } = *self.options;
        let most = match framing {
            Framing::PData => max_pdu_length.fragment(),
            Framing::CommandSet => usize::MAX,
        };
        // Structured data sets do not appear in this framing, so these rows are checked one by one.
        let are_checked_alone = framing == Framing::CommandSet && !block.structured.is_empty();
        if template.longest_command_set() > most || are_checked_alone {
            return first;
        }
        let before_broken =
            self.known.next_row().map_or(usize::MAX, |row| (row - self.number) as usize);
        let end = block.rows.min(first.saturating_add(before_broken));
        let in_cells = template.data_set.filter(|field| !block.is_structured(*field));
        let data_sets = in_cells.map(|field| block.values(field));
        let class = block.cell(Field::AffectedSOPClassUID, first);
        if block.is_uniform
            && !template.has_comment
            && template.fits(block.shapes[first], class)
            && data_sets.is_none_or(|values| values.longest() <= most)
        {
            return end;
        }
        let mut row = first;
        while row < end
            && template.fits(block.shapes[row], block.cell(Field::AffectedSOPClassUID, row))
            && block.conformant[row]
            && data_sets.is_none_or(|values| values.cell(row).length() <= most)
            && (!template.has_comment || has_valid_comment(block, row))
            && !block.out_of_range(row)
        {
            row += 1;
        }
        row
    }

    /// Checks one row by the table of elements. The first valid row of its kind becomes a template,
    /// unless it is the last row.
    fn check_row<'c>(
        &mut self,
        block: &mut Block<'c>,
        row: usize,
        is_last: bool,
        templates: &mut Templates<'c>,
        sink: &mut impl RowSink,
    ) -> Result<(), Rejection> {
        if let Some(rejection) = self.known.take(self.number) {
            return Err(rejection);
        }
        block.encode_structured(row)?;
        let (shape, class) = (block.shapes[row], block.cell(Field::AffectedSOPClassUID, row));
        let known = templates.find(shape, class).is_some();
        if known && !block.out_of_range(row) && !shape.has(Field::ErrorComment) {
            // The first element that may violate a rule; the data set follows.
            check_instance(block, row, self.options)?;
        }
        let event = EventMessage::from_row(block, row, self.message_id());
        event.check(block, row, self.options)?;
        if !known && !is_last {
            let id = event.context_id(self.options);
            templates.add(Template::new(shape, class, &event.command_set, id, self.options));
        }
        sink.accept(&event);
        Ok(())
    }

    fn message_id(&self) -> u16 {
        message_id_of_row(self.number)
    }
}

/// The templates of a table. There are few, and most rows have the template of the row before.
#[derive(Default)]
struct Templates<'a> {
    all: Vec<Template<'a>>,
    last: usize,
}

/// A table with more kinds of rows drops its oldest template.
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
