//! Checks rows without writing them.

use std::iter;
use std::ops::Range;

use crate::encode::block::Block;
use crate::encode::check::{RowSink, check_rows};
use crate::encode::message::EventMessage;
use crate::encode::options::Options;
use crate::encode::rows::{KnownRejections, Rows, appended};
use crate::encode::template::Template;
use crate::event_columns::EventColumns;
use crate::rejection::Rejection;
use crate::threads::run_in_threads;

/// Checks the rows of `batches` without encoding them, and returns all rejections.
pub fn validate(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    known: Vec<Rejection>,
) -> Vec<Rejection> {
    validate_in_threads(batches, options, first_row, known, 1)
}

/// Checks as [`validate`] does, with the same result, in up to `threads` threads.
pub fn validate_in_threads(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    known: Vec<Rejection>,
    threads: usize,
) -> Vec<Rejection> {
    validate_in_parts(batches, options, first_row, known, threads, PART_ROWS)
}

/// The number of rows of a part.
const PART_ROWS: usize = 1 << 15;

pub fn validate_in_parts(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    known: Vec<Rejection>,
    threads: usize,
    least: usize,
) -> Vec<Rejection> {
    let (mut rest, mut known) = (Rows::new(batches, first_row), KnownRejections::new(known));
    let check = |(rows, known)| {
        let mut rejected = RejectedRows(Vec::new());
        // This sink never ends the check.
        let _ = check_rows(rows, known, options, &mut rejected);
        rejected.0
    };
    let threads = threads.min(rest.count / least);
    if threads <= 1 {
        return check((rest, known));
    }
    let parts = iter::from_fn(|| {
        let rows = rest.clone();
        while rows.count - rest.count < least && rest.next(least).is_some() {}
        let rows = rows.before(&rest);
        (rows.count > 0).then(|| (rows, known.before(rest.number)))
    });
    run_in_threads(threads, parts, check).into_iter().fold(Vec::new(), appended)
}

/// Keeps rejections and ignores valid rows.
struct RejectedRows(Vec<Rejection>);

impl RowSink for RejectedRows {
    #[inline]
    fn accept_run(
        &mut self,
        block: &mut Block<'_>,
        rows: Range<usize>,
        _: &Template<'_>,
        _: u16,
    ) -> usize {
        // Structured data sets must still be checked, row by row.
        if block.structured.is_empty() { rows.len() } else { 0 }
    }

    fn accept(&mut self, _: &EventMessage<'_>) {}

    fn reject(&mut self, rejection: Rejection) -> Result<(), Rejection> {
        self.0.push(rejection);
        Ok(())
    }
}
