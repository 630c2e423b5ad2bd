//! Checks rows without writing them.

use std::iter;
use std::ops::Range;

use crate::encode::block::Block;
use crate::encode::check::{Judged, judge};
use crate::encode::message::Event;
use crate::encode::options::Options;
use crate::encode::rows::{Broken, Rows, joined};
use crate::encode::template::Template;
use crate::event_columns::EventColumns;
use crate::rejection::Rejection;
use crate::threads::side_by_side;

/// Checks the rows of `batches` without encoding them, and returns all rejections.
pub fn validate(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    broken: Vec<Rejection>,
) -> Vec<Rejection> {
    validate_in_threads(batches, options, first_row, broken, 1)
}

/// Checks as [`validate`] does, with the same result, in up to `threads` threads.
pub fn validate_in_threads(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    broken: Vec<Rejection>,
    threads: usize,
) -> Vec<Rejection> {
    validate_in_parts(batches, options, first_row, broken, threads, PART_ROWS)
}

/// The number of rows of a part.
const PART_ROWS: usize = 1 << 15;

pub fn validate_in_parts(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    broken: Vec<Rejection>,
    threads: usize,
    least: usize,
) -> Vec<Rejection> {
    let (mut rest, mut broken) = (Rows::of(batches, first_row), Broken::new(broken));
    let check = |(rows, broken)| {
        let mut refused = Refused(Vec::new());
        // This sink never ends the check.
        let _ = judge(rows, broken, options, &mut refused);
        refused.0
    };
    let threads = threads.min(rest.count / least);
    if threads <= 1 {
        return check((rest, broken));
    }
    let parts = iter::from_fn(|| {
        let rows = rest.clone();
        while rows.count - rest.count < least && rest.next(least).is_some() {}
        let rows = rows.before(&rest);
        (rows.count > 0).then(|| (rows, broken.before(rest.number)))
    });
    side_by_side(threads, parts, check).into_iter().fold(Vec::new(), joined)
}

/// Keeps rejections and ignores valid rows.
struct Refused(Vec<Rejection>);

impl Judged for Refused {
    #[inline]
    fn run(
        &mut self,
        block: &mut Block<'_>,
        rows: Range<usize>,
        _: &Template<'_>,
        _: u16,
    ) -> usize {
        // Structured data sets must still be checked, row by row.
        if block.structured.is_empty() { rows.len() } else { 0 }
    }

    fn single(&mut self, _: &Event<'_>) {}

    fn refused(&mut self, rejection: Rejection) -> Result<(), Rejection> {
        self.0.push(rejection);
        Ok(())
    }
}
