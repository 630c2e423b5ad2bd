//! Rows of several batches, divided into parts for threads.

use std::iter::{self, Peekable};
use std::ops::Range;
use std::vec;

use crate::event_columns::EventColumns;
use crate::rejection::Rejection;

/// Consecutive rows of one or several batches.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    batches: &'a [EventColumns],
    /// The next row of the first batch.
    first: usize,
    /// The number of rows.
    pub count: usize,
    /// The number of the first row.
    pub number: u64,
}

impl<'a> Rows<'a> {
    /// All rows of `batches`.
    pub fn new(batches: &'a [EventColumns], number: u64) -> Self {
        let count = batches.iter().map(|columns| columns.rows).sum();
        Self { batches, first: 0, count, number }
    }

    /// Takes up to `most` rows of one batch.
    pub fn next(&mut self, most: usize) -> Option<(&'a EventColumns, Range<usize>)> {
        while self.batches.first().is_some_and(|columns| columns.rows == self.first) {
            (self.batches, self.first) = (&self.batches[1..], 0);
        }
        let columns = self.batches.first().filter(|_| self.count > 0)?;
        let count = most.min(self.count).min(columns.rows - self.first);
        let rows = self.first..self.first + count;
        self.first = rows.end;
        self.count -= count;
        self.number += count as u64;
        Some((columns, rows))
    }

    /// The rows that were taken, given the remaining ones.
    pub fn before(self, rest: &Self) -> Self {
        Self { count: self.count - rest.count, ..self }
    }
}

/// The rejections that were found before the rows became columns, in row order.
#[derive(Debug)]
pub struct KnownRejections(Peekable<vec::IntoIter<Rejection>>);

impl KnownRejections {
    /// Rejections in row order.
    pub fn new(rejections: Vec<Rejection>) -> Self {
        Self(rejections.into_iter().peekable())
    }

    /// The number of the next rejected row.
    pub fn next_row(&mut self) -> Option<u64> {
        self.0.peek().and_then(|rejection| rejection.row)
    }

    /// Takes the rejection of a row, the first if there are several. Rows must be taken in order.
    pub fn take(&mut self, row: u64) -> Option<Rejection> {
        let found = self.0.next_if(|rejection| rejection.row == Some(row));
        while self.0.next_if(|rejection| rejection.row == Some(row)).is_some() {}
        found
    }

    /// Takes the rejections of the rows before `end`.
    pub fn before(&mut self, end: u64) -> Self {
        let before = |rejection: &Rejection| rejection.row.is_some_and(|row| row < end);
        Self::new(iter::from_fn(|| self.0.next_if(before)).collect())
    }
}

/// Appends rejections to others. There are mostly none.
pub fn appended(mut before: Vec<Rejection>, later: Vec<Rejection>) -> Vec<Rejection> {
    if before.is_empty() {
        return later;
    }
    before.extend(later);
    before
}
