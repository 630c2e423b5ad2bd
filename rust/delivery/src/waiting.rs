//! Events that wait until somebody takes them: so many bytes of them, then those who send wait too.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::receive::Chunk;

/// What a chunk takes beside its bytes, or more.
const OVERHEAD: usize = 256;

/// Chunks that wait.
#[derive(Debug)]
pub struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    closed: bool,
}

/// What came of waiting for a chunk.
#[derive(Debug)]
pub enum Taken {
    /// A chunk.
    Chunk(Chunk),
    /// None came in time.
    Nothing,
    /// None will come.
    Closed,
}

impl Waiting {
    /// Room for about so many bytes.
    pub fn new(most: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), most }
    }

    /// Puts a chunk in as soon as there is room; at once when nobody waits for chunks any more, since
    /// what is there can still be taken.
    pub fn put(&self, chunk: Chunk) {
        let full = |state: &mut State| state.bytes >= self.most && !state.closed;
        let mut state =
            self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        state.bytes += chunk.bytes.len() + OVERHEAD;
        state.chunks.push_back(chunk);
        self.changed.notify_all();
    }

    /// Takes a chunk, waiting for at most so long.
    pub fn take(&self, patience: Duration) -> Taken {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                state.bytes -= chunk.bytes.len() + OVERHEAD;
                self.changed.notify_all();
                return Taken::Chunk(chunk);
            }
            if state.closed {
                return Taken::Closed;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Nothing;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets everybody go on who waits.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::SystemTime;

    use super::*;
    use crate::acceptance::Accepted;
    use crate::receive::Origin;

    fn chunk(number: u64, length: usize) -> Chunk {
        let accepted = Accepted {
            calling: "SCP".to_owned(),
            called: "SCU".to_owned(),
            transfer_syntaxes: [].into(),
        };
        let peer = ([127, 0, 0, 1], 104).into();
        Chunk {
            origin: Arc::new(Origin { number, peer, accepted }),
            bytes: vec![0; length],
            events: 1,
            time: SystemTime::now(),
        }
    }

    fn number(waiting: &Waiting) -> Option<u64> {
        match waiting.take(Duration::from_secs(10)) {
            Taken::Chunk(chunk) => Some(chunk.origin.number),
            Taken::Nothing | Taken::Closed => None,
        }
    }

    #[test]
    fn who_puts_waits_for_room_and_nothing_is_lost() {
        let waiting = Arc::new(Waiting::new(10_000));
        let of_thread = waiting.clone();
        let putting = thread::spawn(move || {
            (0..100).for_each(|number| of_thread.put(chunk(number, 4_000)));
        });
        thread::sleep(Duration::from_millis(100));
        // Two are fewer bytes than there is room for, so there is a third.
        assert_eq!(waiting.lock().chunks.len(), 3);
        let all: Vec<_> = (0..100).map(|_| number(&waiting)).collect();
        assert_eq!(all, (0..100).map(Some).collect::<Vec<_>>());
        putting.join().unwrap();
        assert!(matches!(waiting.take(Duration::ZERO), Taken::Nothing));
        assert_eq!(waiting.lock().bytes, 0);
    }

    #[test]
    fn what_is_there_when_it_is_closed_can_be_taken() {
        let waiting = Arc::new(Waiting::new(1));
        waiting.put(chunk(1, 10));
        let of_thread = waiting.clone();
        let putting = thread::spawn(move || of_thread.put(chunk(2, 10)));
        thread::sleep(Duration::from_millis(20));
        waiting.close();
        putting.join().unwrap();
        assert_eq!([number(&waiting), number(&waiting)], [Some(1), Some(2)]);
        assert!(matches!(waiting.take(Duration::from_secs(10)), Taken::Closed));
    }
}
