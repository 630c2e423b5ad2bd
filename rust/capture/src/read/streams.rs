//! The TCP streams of a capture: which of them are associations, and the messages of these.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::association::Associate;
use crate::fault::{Direction, Fault, FaultKind};
use crate::read::connections::{Connection, Connections};
use crate::read::direction::DirectionReader;
use crate::read::limits::Limits;
use crate::read::packets::NO_TIME;
use crate::read::pairing::Outstanding;
use crate::read::pdus::JoinedPdus;
use crate::read::reassembly::{CaptureTime, CutSegments, Half};
use crate::read::segments::Segment;

/// An association of the capture.
#[derive(Debug)]
pub struct Association {
    /// The directions of both ends.
    pub directions: [Arc<Direction>; 2],
    /// The A-ASSOCIATE PDUs.
    pub associate: Associate,
    of_sides: [Associate; 2],
    /// The outstanding requests: events, then actions.
    pub outstanding: [Outstanding; 2],
}

impl Association {
    fn new<T>(connection: &Connection<T>) -> Self {
        let direction = |side: usize| {
            let (source, destination) = (connection.ends[side], connection.ends[1 - side]);
            Arc::new(Direction { stream: connection.number, source, destination })
        };
        Self {
            directions: [direction(0), direction(1)],
            associate: Associate::default(),
            of_sides: Default::default(),
            outstanding: Default::default(),
        }
    }

    /// The values of the request count; the acceptor repeats them (PS3.8 9.3.3).
    fn set_associate(&mut self, side: usize, found: Associate) {
        self.of_sides[side] = found;
        let [first, second] = self.of_sides.clone();
        self.associate = Associate {
            calling: first.calling.or(second.calling),
            called: first.called.or(second.called),
            accepted: first.accepted.into_iter().chain(second.accepted).collect(),
        };
    }
}

/// What is read from a stream.
#[derive(Debug, Default)]
pub struct StreamContent {
    readers: Option<Box<[DirectionReader; 2]>>,
    /// `None` if it is not an association, or not known to be one.
    pub association: Option<Box<Association>>,
    /// Whether its outstanding requests have no response.
    pub is_closed: bool,
    /// Whether nothing more is read from it.
    is_ended: bool,
    /// Whether it is in [`Streams::waiting`].
    is_waiting: bool,
    /// The memory of its bytes.
    memory: usize,
}

/// All streams.
#[derive(Debug)]
pub struct Streams {
    limits: Limits,
    /// The connections.
    pub connections: Connections<StreamContent>,
    /// The number of associations since the last call of [`Streams::take_associations`].
    associations: u64,
    /// The latest time of a packet.
    now: i64,
    /// Streams that wait for late packets: since when, the index, and the number.
    waiting: VecDeque<(i64, usize, u32)>,
    /// The memory of all streams.
    memory: usize,
}

impl Streams {
    /// No streams.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            connections: Connections::default(),
            associations: 0,
            now: NO_TIME,
            waiting: VecDeque::new(),
            memory: 0,
        }
    }

    /// Adds a segment.
    pub fn add(&mut self, seen: CaptureTime, segment: &Segment<'_>) {
        self.now = self.now.max(seen.time);
        self.connections.add(seen, segment);
    }

    /// The number of associations since the last call.
    pub fn take_associations(&mut self) -> u64 {
        std::mem::take(&mut self.associations)
    }

    /// Adds the complete messages of the streams that have changed to `joined`. Returns the indexes of
    /// these streams.
    pub fn read(
        &mut self,
        is_last: bool,
        joined: &mut JoinedPdus,
        faults: &mut Vec<Fault>,
    ) -> Vec<usize> {
        if is_last {
            let all = self.connections.indexes();
            all.iter().for_each(|&index| self.read_stream(index, true, false, joined, faults));
            return all;
        }
        let mut changed = self.connections.take_changed();
        for &index in &changed {
            self.read_stream(index, false, false, joined, faults);
        }
        for index in self.due() {
            self.read_stream(index, false, true, joined, faults);
            changed.push(index);
        }
        changed.extend(self.give_up_idle_streams(joined, faults));
        self.give_up_pending_bytes(faults);
        changed
    }

    /// The streams that have waited long enough.
    fn due(&mut self) -> Vec<usize> {
        let mut due = Vec::new();
        let latest = self.now.saturating_sub(self.limits.wait);
        while let Some(&(since, index, number)) = self.waiting.front()
            && since <= latest
        {
            self.waiting.pop_front();

            if self.connections.contains(index) && self.connections.get(index).number == number {
                self.connections.get_mut(index).content.is_waiting = false;
                due.push(index);
            }
        }
        due
    }

    /// Reads a stream. `is_due` if it has waited for late packets.
    fn read_stream(
        &mut self,
        index: usize,
        ends: bool,
        is_due: bool,
        joined: &mut JoinedPdus,
        faults: &mut Vec<Fault>,
    ) {
        let limits = self.limits;
        let connection = self.connections.get_mut(index);
        if connection.content.is_ended {
            return;
        }
        let (is_closed, has_fins) = (connection.is_closed(), connection.has_fins());
        // Data can follow a reset, which its receiver has ignored.
        let ends = ends
            || connection.is_replaced
            || is_closed && is_due
            || has_fins && connection.halves.iter().all(Half::is_complete);
        if !connection.is_ignored {
            take_runs(connection, ends, is_due, limits);
            if connection.content.association.is_none() {
                match is_association(connection, ends, limits) {
                    Some(true) => {
                        self.associations += 1;
                        let association = Association::new(connection);
                        connection.content.association = Some(Box::new(association));
                        connection.is_association = true;
                    }
                    Some(false) => connection.is_ignored = true,
                    None => {}
                }
            }
            read_association(index, connection, ends, is_due, limits, joined, faults);
        }
        let has_gap = connection.halves.iter().any(Half::has_gap);
        let content = &mut connection.content;
        content.is_closed = ends || has_fins && !has_gap;
        if ends || connection.is_ignored {
            content.is_ended = true;
            content.readers = None;
            connection.is_ignored = true;
            connection.halves.iter_mut().for_each(Half::clear);
        }
        let memory = content.readers.iter().flat_map(|readers| readers.iter());
        let memory = memory.map(DirectionReader::memory).sum::<usize>()
            + connection.halves.iter().map(Half::memory).sum::<usize>();
        self.memory = self.memory + memory - content.memory;
        content.memory = memory;
        let waits = is_closed || connection.halves.iter().any(Half::waits_in_vain);
        if !content.is_ended && !content.is_waiting && waits && self.now != NO_TIME {
            content.is_waiting = true;
            self.waiting.push_back((self.now, index, connection.number));
        }
    }

    /// Ends the idlest streams if there are too many.
    fn give_up_idle_streams(
        &mut self,
        joined: &mut JoinedPdus,
        faults: &mut Vec<Fault>,
    ) -> Vec<usize> {
        if self.connections.len() <= self.limits.streams {
            return Vec::new();
        }
        let mut idle = self.connections.indexes();
        let kept = self.limits.streams - self.limits.streams / 4;
        let given_up = idle.len() - kept;
        // Streams that have ended are only kept for late packets.
        idle.sort_by_key(|&index| {
            let connection = self.connections.get(index);
            (!connection.content.is_ended, connection.last_frame)
        });
        idle.truncate(given_up);
        let mut open = 0;
        for &index in &idle {
            let content = &self.connections.get(index).content;
            open += u64::from(!content.is_ended && !content.is_closed);
            self.read_stream(index, true, false, joined, faults);
            self.connections.get_mut(index).is_replaced = true;
        }
        if open > 0 {
            let kind = FaultKind::TooManyStreams { streams: open, limit: self.limits.streams };
            faults.push(Fault::file(kind, None));
        }
        idle
    }

    /// Drops the bytes of the idlest streams if there are too many.
    fn give_up_pending_bytes(&mut self, faults: &mut Vec<Fault>) {
        if self.memory <= self.limits.pending {
            return;
        }
        let mut idle = self.connections.indexes();
        idle.retain(|&index| self.connections.get(index).content.memory > 0);
        idle.sort_by_key(|&index| self.connections.get(index).last_frame);
        for index in idle {
            if self.memory <= self.limits.pending / 2 {
                break;
            }
            let connection = self.connections.get_mut(index);
            let content = &mut connection.content;
            if let (Some(association), Some(readers)) = (&content.association, &mut content.readers)
            {
                for (reader, direction) in readers.iter_mut().zip(&association.directions) {
                    reader.give_up(direction, self.limits.pending, faults);
                }
            } else {
                connection.is_ignored = true;
                content.is_ended = true;
                content.readers = None;
            }
            connection.halves.iter_mut().for_each(Half::clear);
            let memory = content.readers.iter().flat_map(|readers| readers.iter());
            let memory = memory.map(DirectionReader::memory).sum::<usize>();
            self.memory = self.memory + memory - content.memory;
            content.memory = memory;
        }
    }

    /// Forgets those of these streams that have ended, if they cannot have late packets.
    pub fn release(&mut self, indexes: &[usize]) {
        for &index in indexes {
            if !self.connections.contains(index) {
                continue;
            }
            let connection = self.connections.get_mut(index);
            if connection.content.is_ended {
                connection.content.association = None;
                if connection.is_replaced {
                    self.connections.remove(index);
                }
            }
        }
    }
}

fn take_runs(connection: &mut Connection<StreamContent>, ends: bool, is_due: bool, limits: Limits) {
    for (side, half) in connection.halves.iter_mut().enumerate() {
        loop {
            let is_lost =
                ends || half.memory() > limits.out_of_order || is_due && half.waits_in_vain();
            let Some(run) = half.take(is_lost) else { break };
            let readers = connection.content.readers.get_or_insert_default();
            readers[side].begins = half.begins();
            readers[side].add(run);
        }
    }
}

/// A connection with an A-ASSOCIATE PDU, or, if the beginning was not captured, with any message.
/// `None` if more bytes are needed.
fn is_association(
    connection: &mut Connection<StreamContent>,
    ends: bool,
    limits: Limits,
) -> Option<bool> {
    let Some(readers) = &mut connection.content.readers else { return ends.then_some(false) };
    let begins = readers.each_ref().map(|reader| reader.begins_association(ends));
    let is_long = readers.iter().any(|reader| reader.memory() > limits.undecided);
    let halves = &connection.halves;
    if begins.contains(&Some(true)) {
        // The other side may have another protocol.
        let has_begun = halves.iter().all(|half| half.first_byte().is_some());
        let is_one =
            ends || is_long || has_begun || readers.iter_mut().any(|one| one.has_message(ends));
        return is_one.then_some(true);
    }
    let lacks = halves.iter().zip(readers.iter());
    let lacks = lacks.map(|(half, reader)| !half.begins() || !reader.has_first_run());
    let lacks = lacks.fold(false, |any, lacks| any | lacks);
    if !lacks {
        let is_certain = ends || is_long || begins == [Some(false); 2];
        return is_certain.then_some(false);
    }
    if readers.iter_mut().fold(false, |any, reader| any | reader.has_message(ends)) {
        return Some(true);
    }
    let is_long = readers.iter().any(|reader| reader.memory() > limits.undecided);
    (ends || is_long).then_some(false)
}

fn read_association(
    index: usize,
    connection: &mut Connection<StreamContent>,
    ends: bool,
    is_due: bool,
    limits: Limits,
    joined: &mut JoinedPdus,
    faults: &mut Vec<Fault>,
) {
    let content = &mut connection.content;
    let Some(association) = &mut content.association else { return };
    let before = faults.len();
    let readers = content.readers.get_or_insert_default();
    for (side, reader) in readers.iter_mut().enumerate() {
        let direction = association.directions[side].clone();
        if let Some(found) = reader.associate(&direction, ends, faults) {
            association.set_associate(side, found);
        }
    }
    // A response must not be read before its request, which may be after the gap.
    let has_gap = connection.halves.iter().any(Half::has_gap);
    let is_long = readers.iter().any(|reader| reader.memory() > limits.out_of_order);
    if has_gap && !ends && !is_due && !is_long {
        return;
    }
    for (side, reader) in readers.iter_mut().enumerate() {
        let direction = &association.directions[side];
        reader.read(2 * index + side, direction, ends, joined, faults);
        if !ends && reader.memory() > limits.message {
            reader.give_up(direction, limits.message, faults);
        }
        let (end, missing) = connection.halves[side].missing_at_the_end();
        if ends && missing > 0 {
            let kind = FaultKind::MissingBytes { missing, skipped: 0 };
            faults.push(Fault::stream(direction, kind, end, None));
        }
    }
    for (half, direction) in connection.halves.iter_mut().zip(&association.directions) {
        merge_cut_segments(&mut half.cut, direction, ends, before, faults);
    }
}

/// Replaces the faults of a direction since `before` that a snapshot length can have caused by one at
/// the end. A short snapshot length causes several for each packet.
fn merge_cut_segments(
    cut: &mut CutSegments,
    direction: &Arc<Direction>,
    ends: bool,
    before: usize,
    faults: &mut Vec<Fault>,
) {
    if cut.segments == 0 {
        return;
    }
    let mut since = faults.split_off(before);
    since.retain(|fault| {
        if fault.direction.as_ref() != Some(direction) {
            return true;
        }
        if let FaultKind::MissingBytes { missing, .. } = fault.kind {
            cut.missing += missing;
            cut.gaps += 1;
            return false;
        }
        !fault.kind.is_incomplete_pdu()
    });
    faults.append(&mut since);
    if ends && cut.gaps > 0 {
        let CutSegments { segments, first_frame, missing, gaps } = *cut;
        let kind = FaultKind::SnapshotLength { segments, missing, gaps };
        let fault = Fault::stream(direction, kind, 0, Some(first_frame));
        faults.push(Fault { offset: None, ..fault });
    }
}
