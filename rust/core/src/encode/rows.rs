//! Rows cut in parts, which threads take one after another.

use std::iter::{self, Peekable};
use std::ops::Range;
use std::vec;

use crate::event_columns::EventColumns;
use crate::rejection::Rejection;

/// Rows one after another, of one batch or of several.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    batches: &'a [EventColumns],
    /// The next row of the first batch.
    first: usize,
    /// How many rows there are.
    pub count: usize,
    /// The number that messages give the first.
    pub number: u64,
}

impl<'a> Rows<'a> {
    /// All rows of `batches`.
    pub fn of(batches: &'a [EventColumns], number: u64) -> Self {
        let count = batches.iter().map(|columns| columns.rows).sum();
        Self { batches, first: 0, count, number }
    }

    /// Takes the next rows of one batch, `most` at most.
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

    /// The rows that were taken of these since `rest` is what is left.
    pub fn before(self, rest: &Self) -> Self {
        Self { count: self.count - rest.count, ..self }
    }
}

/// What was found wrong with rows before they became columns, in their order.
#[derive(Debug)]
pub struct Broken(Peekable<vec::IntoIter<Rejection>>);

impl Broken {
    /// Rows that are in order.
    pub fn new(rejections: Vec<Rejection>) -> Self {
        Self(rejections.into_iter().peekable())
    }

    /// The number of the next broken row.
    pub fn next_row(&mut self) -> Option<u64> {
        self.0.peek().and_then(|rejection| rejection.row)
    }

    /// Takes what is wrong with a row; all before it must have been asked for. Of several things
    /// the first counts, as of those that are found in columns.
    pub fn take(&mut self, row: u64) -> Option<Rejection> {
        let found = self.0.next_if(|rejection| rejection.row == Some(row));
        while self.0.next_if(|rejection| rejection.row == Some(row)).is_some() {}
        found
    }

    /// Takes the rows before `end`.
    pub fn before(&mut self, end: u64) -> Self {
        let before = |rejection: &Rejection| rejection.row.is_some_and(|row| row < end);
        Self::new(iter::from_fn(|| self.0.next_if(before)).collect())
    }
}

/// Puts rejections behind others, of which there are most often none.
pub fn joined(mut before: Vec<Rejection>, behind: Vec<Rejection>) -> Vec<Rejection> {
    if before.is_empty() {
        return behind;
    }
    before.extend(behind);
    before
}
