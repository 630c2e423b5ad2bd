//! Runs parts of one call in several threads.

use std::iter;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Calls `work` for each part in up to `threads` threads, including the caller's, and returns the
/// results in the order of the parts.
///
/// The threads end with the call. A thread pool would hang in a forked process.
pub fn run_in_threads<P, T: Send>(
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
        // If the system refuses a thread, the others do its share.
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

/// The time for which the caller polls for the other threads before it sleeps: about the time of a
/// wake-up. The threads started almost together.
const SOON: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_parts() {
        for threads in [1, 2, 7] {
            for count in [0, 1, 5, 1000] {
                let found = run_in_threads(threads, 0..count, |part| part * 2);
                assert_eq!(found, (0..count).map(|part| part * 2).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn a_panic_is_passed_to_the_caller() {
        let this = thread::current().id();
        run_in_threads(2, 0..2, |_| {
            // The other thread takes the remaining part.
            thread::sleep(Duration::from_millis(100));
            assert_eq!(thread::current().id(), this);
        });
    }
}
