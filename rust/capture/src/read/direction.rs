//! Reads the runs of one direction of a stream as PDUs. Gives out complete messages, and keeps the
//! bytes of an incomplete one.

use std::collections::VecDeque;
use std::sync::Arc;

use fastdimse_core::pdu::read::{Item, NAMES, Pdus};
use fastdimse_core::pdu::write::{PDU_HEADER, PDV_HEADER};
use fastdimse_core::rejection::{Reason, Rejection};

use crate::association::{self, Associate};
use crate::fault::{Direction, Fault, FaultKind};
use crate::read::messages::{MessageBounds, Next};
use crate::read::pdus::{JoinedPdus, PduBytes, UNSEARCHED, next_message};
use crate::read::reassembly::{Mark, Run, mark_of};

/// The number of bytes by which an A-ASSOCIATE PDU is recognized for certain.
const ASSOCIATE_BEGINS: usize = 75;

/// The bytes of one direction of a stream that are not decoded yet.
#[derive(Debug, Default)]
pub struct DirectionReader {
    /// Contiguous parts. A part that is not the last one is complete.
    runs: VecDeque<PendingRun>,
    state: State,
    /// Whether the A-ASSOCIATE PDU was read.
    has_associate: bool,
    /// Whether the first run begins with the first byte of the direction.
    pub begins: bool,
}

/// A run whose first bytes may have been removed.
#[derive(Debug, Default)]
struct PendingRun {
    run: Run,
    /// The bytes before it were decoded or skipped.
    at: usize,
    /// The number of missing bytes before it, and its offset.
    missing: u64,
    first: u64,
    first_frame: Option<u64>,
    /// The bytes up to here do not contain the beginning of a message.
    searched: usize,
    has_message: bool,
}

/// The state of the first run.
#[derive(Debug, Default)]
enum State {
    /// At its first byte.
    #[default]
    Start,
    /// Before the first message. The number of skipped bytes, and whether a fault reports them.
    Searching { skipped: usize, is_fault: bool },
    /// Between or in messages.
    Reading(MessageBounds),
    /// In a data set that is not wanted.
    Skipping(Skipped),
}

/// A data set that is skipped.
#[derive(Debug, Clone, Copy)]
struct Skipped {
    /// The offset and the frame of the message, unless it was invalid.
    message: Option<(u64, Option<u64>)>,
    /// A PDU that is not complete yet.
    pdu: Option<SkippedPdu>,
}

/// A PDU with one fragment.
#[derive(Debug, Clone, Copy)]
struct SkippedPdu {
    offset: u64,
    frame: Option<u64>,
    length: u64,
    left: u64,
    is_last: bool,
}

impl PendingRun {
    fn frame(&self, at: usize) -> Option<u64> {
        mark_of(&self.run.marks, at).map(|mark| mark.frame)
    }

    fn offset(&self, at: usize) -> u64 {
        self.run.offset + at as u64
    }

    fn fault(&self, direction: &Arc<Direction>, rejection: Rejection) -> Fault {
        let at = rejection.offset.unwrap_or_default() as usize;
        let frame = self.frame(at);
        let field = rejection.field;
        Fault { field, ..Fault::stream(direction, rejection.reason, self.offset(at), frame) }
    }

    /// Removes the bytes before `at`.
    fn compact(&mut self) -> usize {
        let count = std::mem::take(&mut self.at);
        let run = &mut self.run;
        if count == run.bytes.len() {
            (run.bytes, run.marks) = (Vec::new(), Vec::new());
        } else if count > 0 {
            run.bytes.drain(..count);
            let first = run.marks.partition_point(|mark| mark.at <= count).saturating_sub(1);
            run.marks.drain(..first);
            run.marks.iter_mut().for_each(|mark| mark.at = mark.at.saturating_sub(count));
        }
        run.offset += count as u64;
        self.searched = self.searched.saturating_sub(count);
        count
    }

    /// Searches for the beginning of a message.
    fn has_message(&mut self, ends: bool) -> bool {
        if !self.has_message {
            let from = self.searched.max(self.at);
            self.has_message = next_message(&self.run.bytes, from, ends).is_some();
            self.searched = self.run.bytes.len().saturating_sub(UNSEARCHED).max(from);
        }
        self.has_message
    }
}

impl DirectionReader {
    /// Adds bytes that follow those added before.
    pub fn add(&mut self, run: Run) {
        if let Some(last) = self.runs.back_mut().filter(|_| run.missing == 0) {
            let last = &mut last.run;
            let base = last.bytes.len();
            if base == 0 {
                (last.bytes, last.marks) = (run.bytes, run.marks);
            } else {
                last.marks.extend(run.marks.iter().map(|one| Mark { at: base + one.at, ..*one }));
                last.bytes.extend_from_slice(&run.bytes);
            }
            return;
        }
        let first_frame = run.marks.first().map(|mark| mark.frame);
        let (missing, first) = (run.missing, run.offset);
        self.runs.push_back(PendingRun { run, missing, first, first_frame, ..Default::default() });
    }

    /// The memory of the bytes.
    pub fn memory(&self) -> usize {
        let of_run = |run: &PendingRun| {
            run.run.bytes.capacity() + run.run.marks.capacity() * size_of::<Mark>()
        };
        let of_state = match &self.state {
            State::Reading(bounds) => bounds.memory(),
            _ => 0,
        };
        self.runs.iter().map(of_run).sum::<usize>() + of_state
    }

    /// Whether no byte of the beginning is missing.
    pub fn has_first_run(&self) -> bool {
        self.runs.front().is_some_and(|run| run.missing == 0)
    }

    /// Whether the direction begins with an A-ASSOCIATE PDU; `None` if more bytes are needed.
    pub fn begins_association(&self, ends: bool) -> Option<bool> {
        let Some(front) = self.runs.front() else { return ends.then_some(false) };
        if front.missing > 0 || front.run.offset > 0 {
            return Some(false);
        }
        let bytes = &front.run.bytes;
        let is_certain = ends || self.runs.len() > 1 || bytes.len() >= ASSOCIATE_BEGINS;
        let begins = association::begins(bytes);
        (is_certain || !begins && bytes.len() >= 10).then_some(begins)
    }

    /// Whether there is the beginning of a message. Removes bytes without one if the direction has
    /// no beginning.
    pub fn has_message(&mut self, ends: bool) -> bool {
        let last = self.runs.len().saturating_sub(1);
        let mut found = false;
        for (index, run) in self.runs.iter_mut().enumerate() {
            found |= run.has_message(ends || index < last);
        }
        if !found && !ends && self.runs.len() == 1 && self.is_after_the_beginning() {
            self.search(ends);
            self.compact();
        }
        found
    }

    /// Whether the first run is searched for a message.
    fn is_after_the_beginning(&self) -> bool {
        match self.state {
            State::Searching { .. } => true,
            State::Start => {
                let is_missing = self.runs.front().is_some_and(|run| run.missing > 0);
                is_missing || !self.begins && self.begins_association(false) == Some(false)
            }
            _ => false,
        }
    }

    /// The contents of the A-ASSOCIATE PDU, once, as soon as it is complete.
    pub fn associate(
        &mut self,
        direction: &Arc<Direction>,
        ends: bool,
        faults: &mut Vec<Fault>,
    ) -> Option<Associate> {
        if self.has_associate || !self.begins_association(ends)? {
            return None;
        }
        let ends = ends || self.runs.len() > 1;
        let front = self.runs.front()?;
        let bytes = &front.run.bytes;
        let &[_, _, a, b, c, d, ..] = bytes.as_slice() else { return None };
        if !ends && bytes.len() < PDU_HEADER + u32::from_be_bytes([a, b, c, d]) as usize {
            return None;
        }
        self.has_associate = true;
        let (associate, fault) = Associate::read(bytes);
        faults.extend(fault.map(|fault| Fault::stream(direction, fault, 0, front.first_frame)));
        Some(associate)
    }

    /// Adds the complete messages to `joined`. `number` is the number of the direction there.
    pub fn read(
        &mut self,
        number: usize,
        direction: &Arc<Direction>,
        ends: bool,
        joined: &mut JoinedPdus,
        faults: &mut Vec<Fault>,
    ) {
        while !self.runs.is_empty() {
            let ends = ends || self.runs.len() > 1;
            let front = &mut self.runs[0];
            let front_ends = match &mut self.state {
                State::Start => match self.start(ends) {
                    true => false,
                    false => break,
                },
                State::Searching { .. } => {
                    let found = self.search(ends);
                    if found || ends {
                        self.report_skipped(direction, faults);
                    }
                    if !found && !ends {
                        break;
                    }
                    !found
                }
                State::Reading(bounds) => {
                    let outcome = bounds.read(&front.run.bytes);
                    let is_wrong = match &outcome {
                        Ok(()) => false,
                        Err(rejection) => {
                            ends || !matches!(rejection.reason, Reason::Truncated { .. })
                        }
                    };
                    let next = match is_wrong || ends {
                        true => {
                            bounds.end = bounds.at;
                            Next::Message
                        }
                        false => bounds.settle(&front.run.bytes),
                    };
                    let begin = bounds.incomplete();
                    let truncated = is_wrong || next == Next::OtherDataSet;
                    if bounds.end > front.at {
                        joined.add(PduBytes {
                            direction: number,
                            offset: front.run.offset,
                            bytes: &front.run.bytes,
                            marks: &front.run.marks,
                            begin: front.at,
                            end: bounds.end,
                            messages: &bounds.messages,
                            truncated,
                        });
                        front.at = bounds.end;
                    }
                    match outcome {
                        Err(rejection) if is_wrong => {
                            front.at = bounds.at + 1;
                            faults.push(front.fault(direction, rejection));
                            self.state = State::Searching { skipped: 0, is_fault: false };
                            continue;
                        }
                        _ if ends => true,
                        _ => {
                            let message = match next {
                                Next::OtherDataSet => {
                                    begin.map(|at| (front.offset(at), front.frame(at)))
                                }
                                _ => None,
                            };
                            if next != Next::Message {
                                self.state = State::Skipping(Skipped { message, pdu: None });
                            }
                            break;
                        }
                    }
                }
                State::Skipping(_) => match self.skip(direction, ends, faults) {
                    true => false,
                    false if ends => true,
                    false => break,
                },
            };
            if front_ends {
                self.runs.pop_front();
                self.state = State::Start;
            }
        }
        self.compact();
    }

    /// Whether the first run has enough bytes to start.
    fn start(&mut self, ends: bool) -> bool {
        let front = &self.runs[0];
        if front.missing > 0 {
            self.state = State::Searching { skipped: 0, is_fault: true };
            return true;
        }
        let Some(is_association) = self.begins_association(ends) else { return false };
        if is_association && !self.has_associate && !ends {
            return false;
        }
        self.state = match self.begins || is_association {
            true => State::Reading(MessageBounds::new(0)),
            false => State::Searching { skipped: 0, is_fault: true },
        };
        true
    }

    /// Searches for the next message, and skips the bytes before it.
    fn search(&mut self, ends: bool) -> bool {
        if let State::Start = self.state {
            self.state = State::Searching { skipped: 0, is_fault: true };
        }
        let State::Searching { skipped, .. } = &mut self.state else { return false };
        let front = &mut self.runs[0];
        let length = front.run.bytes.len();
        let from = next_message(&front.run.bytes, front.at, ends);
        let to = from.unwrap_or(match ends {
            true => length,
            false => length.saturating_sub(UNSEARCHED),
        });
        *skipped += to.saturating_sub(front.at);
        front.at = front.at.max(to);
        from.is_some()
    }

    fn report_skipped(&mut self, direction: &Arc<Direction>, faults: &mut Vec<Fault>) {
        let State::Searching { skipped, is_fault } = self.state else { return };
        let front = &self.runs[0];
        if is_fault {
            let (kind, offset) = match front.missing {
                0 => (FaultKind::BeginsInside(skipped), front.first),
                missing => (FaultKind::MissingBytes { missing, skipped }, front.first - missing),
            };
            faults.push(Fault::stream(direction, kind, offset, front.first_frame));
        }
        self.state = State::Reading(MessageBounds::new(front.at));
    }

    fn compact(&mut self) {
        if let Some(front) = self.runs.front_mut() {
            let count = front.compact();
            if let State::Reading(bounds) = &mut self.state {
                bounds.shift(count);
            }
        }
    }

    /// Gives up the incomplete message, and continues with the next one.
    pub fn give_up(&mut self, direction: &Arc<Direction>, limit: usize, faults: &mut Vec<Fault>) {
        let Some(front) = self.runs.front_mut() else { return };
        let kind = FaultKind::LongMessage { limit };
        let frame = front.frame(front.at);
        faults.push(Fault::stream(direction, kind, front.offset(front.at), frame));
        front.at = (front.at + 1).min(front.run.bytes.len());
        self.state = State::Searching { skipped: 0, is_fault: false };
        if self.search(false) {
            self.report_skipped(direction, faults);
        }
        self.compact();
    }

    /// Skips fragments of a data set. Returns whether another PDU follows.
    fn skip(&mut self, direction: &Arc<Direction>, ends: bool, faults: &mut Vec<Fault>) -> bool {
        let State::Skipping(skipped) = &mut self.state else { return false };
        let front = &mut self.runs[0];
        if let Some(pdu) = &mut skipped.pdu {
            let available = (front.run.bytes.len() - front.at) as u64;
            let passed = pdu.left.min(available);
            pdu.left -= passed;
            front.at += passed as usize;
            if pdu.left > 0 {
                if ends {
                    let (needed, found) = (pdu.length, pdu.length - pdu.left);
                    let reason = Reason::Truncated { what: NAMES[3], needed, found };
                    faults.push(Fault::stream(direction, reason, pdu.offset, pdu.frame));
                }
                return false;
            }
            let is_last = pdu.is_last;
            skipped.pdu = None;
            if is_last && skipped.message.is_some() {
                self.state = State::Reading(MessageBounds::new(front.at));
                return true;
            }
        }
        let mut pdus = Pdus::new(&front.run.bytes);
        pdus.continue_at(front.at);
        let mut resume = None;
        while resume.is_none() {
            if let Some(at) = pdus.next_at() {
                front.at = at;
            }
            match pdus.next() {
                None => break,
                Some(Ok(Item::Pdv(pdv))) if pdv.is_command() => {
                    if skipped.message.is_some() {
                        let rejection = Rejection::new(Reason::MissingDataSet).at(pdv.at);
                        faults.push(front.fault(direction, rejection));
                    }
                    resume = Some(pdv.at);
                }
                Some(Ok(Item::Pdv(pdv))) => {
                    if pdv.is_last() && skipped.message.is_some() {
                        resume = Some(pdv.fragment_at + pdv.fragment.len());
                    }
                }
                Some(Ok(Item::Other(other))) => {
                    if let Some((offset, frame)) = skipped.message {
                        let reason = Reason::AssociationEnds(NAMES[other]);
                        faults.push(Fault::stream(direction, reason, offset, frame));
                    }
                    self.state = State::Reading(MessageBounds::new(front.at));
                    return true;
                }
                Some(Err(rejection)) => match rejection.reason {
                    Reason::PdvLength { .. } => {
                        faults.push(front.fault(direction, rejection));
                        skipped.message = None;
                    }
                    Reason::Truncated { .. } if !ends => {
                        skipped.pdu = skipped_pdu(front);
                        if let Some(pdu) = &mut skipped.pdu {
                            let available = front.run.bytes.len() - front.at;
                            pdu.left -= available as u64;
                            front.at += available;
                        }
                        return false;
                    }
                    _ => {
                        faults.push(front.fault(direction, rejection));
                        front.at += 1;
                        self.state = State::Searching { skipped: 0, is_fault: false };
                        return true;
                    }
                },
            }
        }
        let Some(at) = resume else {
            if let Some((offset, frame)) = skipped.message.filter(|_| ends) {
                faults.push(Fault::stream(direction, Reason::StreamEnds, offset, frame));
            }
            return false;
        };
        match pdus.next_at() {
            // The fragment was the last one of its PDU, and is not a command.
            Some(end) if end == at => front.at = at,
            _ if at == front.at + PDU_HEADER => {}
            _ => {
                // The fragments that follow in the same PDU become a PDU.
                let end = pdu_end(&front.run.bytes, front.at);
                let header = at - PDU_HEADER;
                let length = (end - at) as u32;
                front.run.bytes[header..at]
                    .copy_from_slice(&[&[4, 0][..], &length.to_be_bytes()].concat());
                front.at = header;
            }
        }
        self.state = State::Reading(MessageBounds::new(front.at));
        true
    }
}

/// The end of the complete PDU at `at`.
fn pdu_end(bytes: &[u8], at: usize) -> usize {
    let length = bytes[at + 2..at + PDU_HEADER].try_into().expect("four bytes");
    at + PDU_HEADER + u32::from_be_bytes(length) as usize
}

/// The incomplete PDU at the end of a run, if it has only one fragment of a data set.
fn skipped_pdu(front: &PendingRun) -> Option<SkippedPdu> {
    let bytes = &front.run.bytes[front.at..];
    let &[4, _, a, b, c, d, e, f, g, h, _, control] =
        bytes.first_chunk::<{ PDU_HEADER + PDV_HEADER }>()?
    else {
        return None;
    };
    let pdu = u64::from(u32::from_be_bytes([a, b, c, d]));
    let pdv = u64::from(u32::from_be_bytes([e, f, g, h]));
    let is_only_one = pdv + 4 == pdu && control & 1 == 0;
    let length = PDU_HEADER as u64 + pdu;
    is_only_one.then(|| SkippedPdu {
        offset: front.offset(front.at),
        frame: front.frame(front.at),
        length,
        left: length,
        is_last: control & 2 != 0,
    })
}
