//! A queue of received events with a maximum size in bytes. Receivers wait while it is full.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::receive::receiver::Chunk;

/// An upper bound of the memory of a chunk in addition to its bytes.
const OVERHEAD: usize = 256;

/// A bounded queue of chunks.
#[derive(Debug)]
pub struct EventQueue {
    state: Mutex<State>,
    /// Notified when enough events are queued.
    arrived: Condvar,
    /// Notified when there is room.
    room: Condvar,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    events: usize,
    /// The number of events that a consumer waits for. It is not woken for fewer: on a machine with
    /// few processors, a wake-up costs as much as the rest of an event.
    wanted: Option<usize>,
    /// Whether producers no longer wait for room.
    stopping: bool,
    /// Whether no more chunks will be queued.
    closed: bool,
}

impl State {
    /// Counts a chunk that is queued.
    fn count(&mut self, chunk: &Chunk) {
        self.bytes += chunk.bytes.len() + OVERHEAD;
        self.events += chunk.events;
    }
}

/// The result of [`EventQueue::pop`].
#[derive(Debug)]
pub enum Next {
    /// At least one chunk.
    Chunks(Vec<Chunk>),
    /// The timeout has passed.
    TimedOut,
    /// The queue is closed and empty.
    Closed,
}

impl EventQueue {
    /// A queue for about `max_bytes` bytes.
    pub fn new(max_bytes: usize) -> Self {
        let (state, arrived, room) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self { state, arrived, room, max_bytes }
    }

    /// Queues a chunk when there is room; immediately after [`EventQueue::stop`].
    pub fn push(&self, chunk: Chunk) {
        let full = |state: &mut State| state.bytes >= self.max_bytes && !state.stopping;
        let mut state =
            self.room.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        state.count(&chunk);
        state.chunks.push_back(chunk);
        if self.is_enough(&state) {
            self.arrived.notify_one();
        }
    }

    /// Whether a consumer must not wait any longer: there are enough events, or no room for more.
    fn is_enough(&self, state: &State) -> bool {
        state.closed
            || state.wanted.is_some_and(|wanted| state.events >= wanted)
            || 2 * state.bytes >= self.max_bytes && state.wanted.is_some()
    }

    /// Removes and returns chunks of about `events` events. Waits up to `timeout` for the first
    /// chunk, then up to `linger` for more.
    pub fn pop(&self, events: usize, timeout: Duration, linger: Duration) -> Next {
        let mut state = self.wait(self.lock(), 1, timeout);
        if state.chunks.is_empty() {
            return if state.closed { Next::Closed } else { Next::TimedOut };
        }
        if state.events < events {
            state = self.wait(state, events, linger);
        }
        if state.chunks.is_empty() {
            // Another consumer has popped them.
            return if state.closed { Next::Closed } else { Next::TimedOut };
        }
        let mut chunks = Vec::new();
        let mut remaining = events;
        while remaining > 0
            && let Some(chunk) = state.chunks.pop_front()
        {
            state.bytes -= chunk.bytes.len() + OVERHEAD;
            state.events -= chunk.events;
            remaining = remaining.saturating_sub(chunk.events);
            chunks.push(chunk);
        }
        self.room.notify_all();
        Next::Chunks(chunks)
    }

    /// Returns chunks that were popped, and that nobody has, to the front of the queue.
    pub fn put_back(&self, chunks: Vec<Chunk>) {
        let mut state = self.lock();
        for chunk in chunks.into_iter().rev() {
            state.count(&chunk);
            state.chunks.push_front(chunk);
        }
        self.arrived.notify_one();
    }

    /// Waits up to `timeout` for `events` events without removing them. Returns whether there are
    /// enough, or no more will come.
    pub fn wait_for(&self, events: usize, timeout: Duration) -> bool {
        let state = self.wait(self.lock(), events, timeout);
        state.closed || state.events >= events || 2 * state.bytes >= self.max_bytes
    }

    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        wanted: usize,
        timeout: Duration,
    ) -> MutexGuard<'a, State> {
        state.wanted = Some(wanted);
        let too_few = |state: &mut State| !self.is_enough(state);
        let waited = self.arrived.wait_timeout_while(state, timeout, too_few);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.wanted = None;
        state
    }

    /// Ends the waits for room. Queued chunks can still be popped.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.room.notify_all();
    }

    /// Ends the waits for chunks: no more will be queued.
    pub fn close(&self) {
        self.stop();
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// The number of queued events.
    pub fn events(&self) -> usize {
        self.lock().events
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::association::acceptance::Accepted;
    use crate::receive::receiver::Origin;
    use crate::receive::reports::Reports;

    fn chunk(number: u64, length: usize) -> Chunk {
        let accepted = Accepted {
            calling: "SCP".to_owned(),
            called: "SCU".to_owned(),
            contexts: [].into(),
            max_pdu_length: 0,
            window: 1,
        };
        let reports = Reports::closed("not needed");
        let peer = ([127, 0, 0, 1], 104).into();
        Chunk {
            origin: Arc::new(Origin { number, peer, accepted, reports }),
            bytes: vec![0; length],
            events: 1,
            time: SystemTime::now(),
        }
    }

    /// Pops one chunk.
    fn number(queue: &EventQueue) -> Option<u64> {
        match queue.pop(1, Duration::from_secs(10), Duration::ZERO) {
            Next::Chunks(chunks) => chunks.first().map(|chunk| chunk.origin.number),
            Next::TimedOut | Next::Closed => None,
        }
    }

    #[test]
    fn producers_wait_for_room_and_lose_nothing() {
        let queue = Arc::new(EventQueue::new(10_000));
        let shared = queue.clone();
        let producer = thread::spawn(move || {
            (0..100).for_each(|number| shared.push(chunk(number, 4_000)));
        });
        thread::sleep(Duration::from_millis(100));
        // Two chunks need less room than there is, so a third one fits.
        assert_eq!(queue.lock().chunks.len(), 3);
        let all: Vec<_> = (0..100).map(|_| number(&queue)).collect();
        assert_eq!(all, (0..100).map(Some).collect::<Vec<_>>());
        producer.join().unwrap();
        assert!(matches!(queue.pop(1, Duration::ZERO, Duration::ZERO), Next::TimedOut));
        assert_eq!(queue.lock().bytes, 0);
    }

    #[test]
    fn chunks_that_were_put_back_are_popped_first() {
        let queue = EventQueue::new(1 << 20);
        (0..3).for_each(|number| queue.push(chunk(number, 100)));
        let Next::Chunks(two) = queue.pop(2, Duration::ZERO, Duration::ZERO) else { panic!() };
        queue.put_back(two);
        assert_eq!(queue.events(), 3);
        let all: Vec<_> = (0..3).map(|_| number(&queue)).collect();
        assert_eq!(all, [Some(0), Some(1), Some(2)]);
        assert_eq!(queue.lock().bytes, 0);
    }

    #[test]
    fn consumers_wake_only_for_enough_events() {
        let queue = Arc::new(EventQueue::new(1 << 20));
        let shared = queue.clone();
        let producer = thread::spawn(move || {
            for number in 0..10 {
                thread::sleep(Duration::from_millis(20));
                shared.push(chunk(number, 100));
            }
        });
        // Five events are there long before ten seconds have passed.
        let ten_seconds = Duration::from_secs(10);
        let Next::Chunks(five) = queue.pop(5, ten_seconds, ten_seconds) else { panic!() };
        assert_eq!(five.len(), 5);
        // Later events are popped if they arrive in time.
        producer.join().unwrap();
        let begin = Instant::now();
        let Next::Chunks(five) = queue.pop(9, ten_seconds, Duration::from_millis(50)) else {
            panic!()
        };
        assert_eq!(five.len(), 5);
        assert!(begin.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn consumers_do_not_wait_for_more_than_fits() {
        let queue = Arc::new(EventQueue::new(10_000));
        let shared = queue.clone();
        let producer = thread::spawn(move || (0..9).for_each(|one| shared.push(chunk(one, 2_000))));
        let ten_seconds = Duration::from_secs(10);
        let (begin, mut popped) = (Instant::now(), 0);
        while popped < 8 {
            let Next::Chunks(some) = queue.pop(1_000, ten_seconds, ten_seconds) else { panic!() };
            popped += some.len();
        }
        assert!(begin.elapsed() < ten_seconds);
        producer.join().unwrap();
    }

    #[test]
    fn queued_chunks_can_be_popped_after_close() {
        let queue = Arc::new(EventQueue::new(1));
        queue.push(chunk(1, 10));
        let shared = queue.clone();
        let producer = thread::spawn(move || shared.push(chunk(2, 10)));
        thread::sleep(Duration::from_millis(20));
        queue.close();
        producer.join().unwrap();
        assert_eq!([number(&queue), number(&queue)], [Some(1), Some(2)]);
        let ten_seconds = Duration::from_secs(10);
        assert!(matches!(queue.pop(1, ten_seconds, ten_seconds), Next::Closed));
    }
}
