//! Rows cut in parts, which threads take one after another.

use std::iter::{self, Peekable};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{thread, vec};

use crate::columns::EventColumns;
use crate::error::Rejection;

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

/// Does `work` for each of `parts` in so many threads, this one among them, and returns what came
/// out in the order of the parts.
///
/// The threads end with the call: those of a pool would be missing in a process that was forked.
pub fn side_by_side<P, T: Send>(
    threads: usize,
    parts: impl Iterator<Item = P> + Send,
    work: impl Fn(P) -> T + Sync,
) -> Vec<T> {
    let (parts, done) = (Mutex::new(parts.enumerate()), Mutex::new(Vec::new()));
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let share = || {
        for (place, part) in iter::from_fn(next) {
            let one = work(part);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((place, one));
        }
    };
    thread::scope(|scope| {
        // Where the system gives no more threads those that there are do all.
        let start = |_| thread::Builder::new().spawn_scoped(scope, share).ok();
        let others: Vec<_> = (1..threads).map_while(start).collect();
        share();
        let begin = Instant::now();
        while !others.iter().all(|other| other.is_finished()) && begin.elapsed() < SOON {
            thread::yield_now();
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, one)| one).collect()
}

/// How long a thread looks whether the others are done before it sleeps: they began about as late,
/// and to be woken takes as long.
const SOON: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_in_the_order_of_the_parts() {
        for threads in [1, 2, 7] {
            for count in [0, 1, 5, 1000] {
                let found = side_by_side(threads, 0..count, |part| part * 2);
                assert_eq!(found, (0..count).map(|part| part * 2).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn a_panic_is_that_of_the_caller_too() {
        let this = thread::current().id();
        side_by_side(2, 0..2, |_| {
            // The other one takes what this one leaves.
            thread::sleep(Duration::from_millis(100));
            assert_eq!(thread::current().id(), this);
        });
    }
}
