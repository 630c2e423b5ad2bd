//! Reads a capture chunk by chunk as events and actions with their responses.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_select::concat::concat_batches;
use fastdimse_core::decode::{DecodeOptions, Decoded, Layout, decode, decode_actions};
use fastdimse_core::field::Field;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::read::NAMES;
use fastdimse_core::rejection::{Reason, Rejection};

use crate::fault::{Fault, FaultKind};
use crate::read::capture_input::{CaptureInput, Decompressed};
use crate::read::carried::CarriedRows;
use crate::read::events::{ExchangeRow, Exchanges, RowAssociation, exchanges};
use crate::read::limits::Limits;
use crate::read::packets::{NO_TIME, Packet, Packets, PacketsState};
use crate::read::pairing::{CapturedMessage, MessageIds, OutstandingRequest, differences};
use crate::read::pdus::{JoinedPdus, SEPARATOR};
use crate::read::reassembly::CaptureTime;
use crate::read::segments::{Content, content};
use crate::read::skipped::SkippedPackets;
use crate::read::streams::{Association, Streams};

/// The contents of a capture, or of a part of it.
#[derive(Debug)]
pub struct Capture {
    /// The N-EVENT-REPORT messages.
    pub events: Exchanges,
    /// The N-ACTION messages, with the columns of events of the same meaning.
    pub actions: Exchanges,
    /// The faults, in packet order.
    pub faults: Vec<Fault>,
    /// The numbers of other PDUs and other DIMSE messages, by name.
    pub skipped: BTreeMap<&'static str, u64>,
    /// The numbers of packets without a TCP segment that could be read, by reason.
    pub skipped_packets: SkippedPackets,
    /// The number of packets.
    pub packets: u64,
    /// The number of TCP streams.
    pub streams: u64,
    /// The number of associations.
    pub associations: u64,
}

/// Reads a .pcap or .pcapng file, which may be compressed.
///
/// # Errors
///
/// If the file is neither. All other problems are listed in [`Capture::faults`].
pub fn read(mut file: &[u8]) -> Result<Capture, FaultKind> {
    // A few bytes can decompress to any number of them.
    let decompressed = file.len().saturating_mul(EXPANSION).max(DECOMPRESSED);
    let mut reader = CaptureReader::new(Limits { decompressed, ..Limits::NONE });
    let found = reader.push(&mut file, true)?;
    found.filter(|_| !reader.has_more()).ok_or(FaultKind::CompressionLimit(decompressed))
}

/// How many times its own size a compressed file can have.
const EXPANSION: usize = 64;
/// The size that every compressed file can have: 256 MiB.
const DECOMPRESSED: usize = 1 << 28;

/// Reads a capture chunk by chunk, in memory that does not depend on its size.
pub struct CaptureReader {
    limits: Limits,
    input: CaptureInput,
    /// Why the rest of a compressed file cannot be read.
    damage: Option<FaultKind>,
    has_ended: bool,
    packets: PacketsState,
    /// The beginning of the next packet.
    rest: Vec<u8>,
    streams: Streams,
    /// All packets without a segment.
    all_skipped_packets: SkippedPackets,
    /// The outstanding requests of earlier chunks: events, then actions.
    carried: [CarriedRows; 2],
    /// The number of outstanding requests.
    outstanding: usize,
    /// What was found since the last part that was returned.
    faults: Vec<Fault>,
    skipped: BTreeMap<&'static str, u64>,
    skipped_packets: SkippedPackets,
    counts: Counts,
    /// The numbers of all packets, streams and associations.
    total: Counts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    packets: u64,
    streams: u64,
    associations: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.streams += other.streams;
        self.associations += other.associations;
    }
}

/// A row before its messages are in one batch.
#[derive(Debug, Clone, Copy)]
struct PairedRow {
    /// The index of the stream, and the side that sent the request, or a response without one.
    stream: usize,
    side: usize,
    request: Option<OutstandingRequest>,
    response: Option<CapturedMessage>,
}

impl PairedRow {
    fn order(&self) -> (CaptureTime, bool, usize) {
        match (self.request, self.response) {
            (Some(OutstandingRequest { message, is_carried }), _) => {
                (message.seen, !is_carried, message.row)
            }
            (None, Some(response)) => (response.seen, true, response.row),
            (None, None) => unreachable!("a row has a message"),
        }
    }
}

impl CaptureReader {
    /// A reader at the beginning of a file.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            input: CaptureInput::default(),
            damage: None,
            has_ended: false,
            packets: PacketsState::new(limits.block),
            rest: Vec::new(),
            streams: Streams::new(limits),
            all_skipped_packets: SkippedPackets::default(),
            carried: Default::default(),
            outstanding: 0,
            faults: Vec::new(),
            skipped: BTreeMap::new(),
            skipped_packets: SkippedPackets::default(),
            counts: Counts::default(),
            total: Counts::default(),
        }
    }

    /// Whether the last part was returned.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether [`Self::push`] must be called again before there is another chunk.
    pub fn has_more(&self) -> bool {
        self.input.has_more()
    }

    /// Reads a part of a chunk, and removes it from the chunk. Returns what was found since the last
    /// part, if there is an event, an action or a fault, or if the file ends. Packets are processed in
    /// the order of their times, within each chunk.
    ///
    /// # Errors
    ///
    /// If the file is not a capture.
    pub fn push(&mut self, chunk: &mut &[u8], is_last: bool) -> Result<Option<Capture>, FaultKind> {
        let mut input = std::mem::take(&mut self.input);
        let Decompressed { bytes, is_last, fault } =
            input.next(chunk, is_last, self.limits.decompressed);
        if let Some(fault) = fault {
            self.damage = Some(fault.clone());
            self.faults.push(Fault::file(fault, None));
        }
        self.has_ended = is_last;
        let found = self.read(bytes, is_last);
        self.input = input;
        match found {
            // The reason why nothing could be read.
            Err(FaultKind::NotACapture) => {
                Err(self.damage.take().unwrap_or(FaultKind::NotACapture))
            }
            found => found,
        }
    }

    fn read(&mut self, chunk: &[u8], is_last: bool) -> Result<Option<Capture>, FaultKind> {
        if self.rest.is_empty() {
            let rest = self.read_packets(chunk, is_last)?;
            self.rest.extend_from_slice(&chunk[chunk.len() - rest..]);
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(chunk);
            let rest = self.read_packets(&bytes, is_last)?;
            bytes.drain(..bytes.len() - rest);
            self.rest = bytes;
        }
        self.counts.streams += self.streams.connections.number_new();
        if is_last {
            self.faults.extend(self.all_skipped_packets.faults());
        }
        let mut joined = JoinedPdus::default();
        let changed = self.streams.read(is_last, &mut joined, &mut self.faults);
        self.counts.associations += self.streams.take_associations();
        if is_last && self.total.associations + self.counts.associations == 0 {
            let mut total = self.total;
            total.add(self.counts);
            let Counts { streams, packets, .. } = total;
            let fault = FaultKind::NoAssociation { streams, packets };
            self.faults.push(Fault::file(fault, None));
        }
        if changed.is_empty() && self.faults.is_empty() && !is_last {
            // A pipe can return a part of a packet.
            return Ok(None);
        }
        let [events, actions] = self.decode(joined, &changed, is_last);
        self.streams.release(&changed);
        let is_empty = events.rows.is_empty() && actions.rows.is_empty() && self.faults.is_empty();
        if is_empty && !is_last {
            return Ok(None);
        }
        let mut faults = std::mem::take(&mut self.faults);
        faults.sort_by_key(|one| one.frame.unwrap_or(u64::MAX));
        let skipped = std::mem::take(&mut self.skipped);
        let counts = std::mem::take(&mut self.counts);
        self.total.add(counts);
        let Counts { packets, streams, associations } = counts;
        Ok(Some(Capture {
            events,
            actions,
            faults,
            skipped,
            skipped_packets: std::mem::take(&mut self.skipped_packets),
            packets,
            streams,
            associations,
        }))
    }

    /// Adds the packets of a chunk to the streams, in the order of their times. Returns the number of
    /// bytes that are left.
    fn read_packets(&mut self, chunk: &[u8], is_last: bool) -> Result<usize, FaultKind> {
        let state = self.packets.clone();
        let before = state.frames();
        let mut packets = Packets::new(state, chunk, is_last)?;
        if packets.clone().flatten().is_sorted_by_key(|packet| packet.time) {
            for packet in &mut packets {
                self.add(packet);
            }
        } else {
            let mut all: Vec<_> = packets.by_ref().collect();
            all.sort_by_key(|packet| packet.as_ref().map_or(NO_TIME, |packet| packet.time));
            all.into_iter().for_each(|packet| self.add(packet));
        }
        let (rest, state) = packets.finish();
        self.counts.packets += state.frames() - before;
        self.packets = state;
        Ok(rest)
    }

    fn add(&mut self, packet: Result<Packet<'_>, Fault>) {
        let packet = match packet {
            Ok(packet) => packet,
            Err(found) => return self.faults.push(found),
        };
        match content(&packet) {
            Content::Tcp(segment) => {
                let seen = CaptureTime { time: packet.time, frame: packet.frame };
                self.streams.add(seen, &segment);
            }
            Content::Skipped(reason) => {
                self.skipped_packets.add(reason, packet.frame);
                self.all_skipped_packets.add(reason, packet.frame);
            }
        }
    }

    /// Decodes messages, and pairs them. Requests of closed streams have no response.
    fn decode(
        &mut self,
        mut joined: JoinedPdus,
        changed: &[usize],
        is_last: bool,
    ) -> [Exchanges; 2] {
        let bytes: Buffer = std::mem::take(&mut joined.bytes).into();
        let options = DecodeOptions {
            framing: Framing::PData,
            on_invalid: OnInvalid::Skip,
            layout: Layout::Views,
        };
        let mut decoded = decode(&bytes, options);
        let mut skipped = std::mem::take(&mut decoded.skipped);
        if let Some(count) = skipped.get_mut(separator()) {
            *count -= joined.separators();
        }
        // Most captures have no actions, and need one pass.
        let has_actions = ACTIONS.into_iter().filter_map(|name| skipped.remove(name)).count() > 0;
        let bytes = if has_actions { bytes } else { Buffer::default() };
        let mut actions = decode_actions(&bytes, OnInvalid::Skip, Layout::Views);
        // Both passes find the faults of other messages.
        let found: HashSet<_> = decoded.rejected.iter().map(|one| one.offset).collect();
        actions.rejected.retain(|one| !found.contains(&one.offset));
        for (name, count) in skipped.into_iter().filter(|&(_, count)| count > 0) {
            *self.skipped.entry(name).or_default() += count;
        }
        let events = self.exchanges(decoded, &joined, false, changed, is_last);
        let actions = self.exchanges(actions, &joined, true, changed, is_last);
        [events, actions]
    }

    /// The requests among decoded messages, with their responses.
    fn exchanges(
        &mut self,
        decoded: Decoded,
        joined: &JoinedPdus,
        is_action: bool,
        changed: &[usize],
        is_last: bool,
    ) -> Exchanges {
        let messages = decoded.batch().expect("columns of views have no maximum length");
        let Decoded { offsets, rejected, .. } = decoded;
        self.faults.reserve_exact(rejected.len());
        for rejection in rejected {
            let fault = self.fault(rejection, joined);
            self.faults.extend(fault);
        }
        let last_bytes = joined.last_bytes(&offsets);
        let (mut begins, mut ends) = (joined.origins(), joined.origins());
        let all = (0..messages.num_rows()).filter_map(|row| {
            let begin = begins.origin(offsets[row] as usize)?;
            let seen = ends.origin(last_bytes[row])?.mark.complete;
            Some((begin.direction, CapturedMessage { row, offset: begin.offset, seen }))
        });
        let mut all: Vec<(usize, CapturedMessage)> = all.collect();
        all.sort_by_key(|(direction, message)| (direction / 2, message.seen, message.row));
        let kind = usize::from(is_action);
        let mut rows = self.pair(&all, &messages, kind);
        self.take_unanswered(changed, kind, &mut rows);
        if !is_last {
            self.limit_requests(kind, &mut rows);
        }
        rows.sort_by_key(PairedRow::order);
        self.carry(&all, &messages, kind);
        let exchanges = self.rows(&rows, messages, kind);
        let paired = exchanges.rows.iter().enumerate();
        let paired = paired.filter_map(|(index, row)| Some((index, row.0?, row.1?)));
        let (indexes, pairs): (Vec<usize>, Vec<_>) =
            paired.map(|(index, request, response)| (index, (request, response))).unzip();
        for (index, field, fault) in differences(&exchanges.messages, is_action, &pairs) {
            let place = exchanges.places[indexes[index]][1].expect("it has a response");
            let direction = &exchanges.directions[place.direction as usize];
            let fault = Fault::stream(direction, fault, place.offset, Some(place.frame));
            self.faults.push(Fault { field: Some(field), ..fault });
        }
        exchanges
    }

    fn association(&mut self, stream: usize) -> &mut Association {
        let content = &mut self.streams.connections.get_mut(stream).content;
        content.association.as_mut().expect("the stream is an association")
    }

    /// `None` if the message ends because of a fault that was already reported.
    fn fault(&mut self, rejection: Rejection, joined: &JoinedPdus) -> Option<Fault> {
        let origin = joined.origin(rejection.offset? as usize)?;
        let reason = match rejection.reason {
            Reason::AssociationEnds(name) if name == separator() => {
                if origin.truncated {
                    return None;
                }
                Reason::StreamEnds
            }
            reason => reason,
        };
        let direction = &self.association(origin.direction / 2).directions[origin.direction % 2];
        let fault = Fault::stream(direction, reason, origin.offset, Some(origin.mark.frame));
        Some(Fault { field: rejection.field, ..fault })
    }

    /// Pairs each request with its response: the first one after it, in the other direction of its
    /// association, with its Message ID. An ID may be reused (PS3.7 E.1): the last request counts.
    fn pair(
        &mut self,
        all: &[(usize, CapturedMessage)],
        messages: &RecordBatch,
        kind: usize,
    ) -> Vec<PairedRow> {
        let ids = MessageIds::new(messages);
        let mut rows = Vec::with_capacity(all.len() / 2 + 1);
        for &(direction, message) in all {
            let (stream, side) = (direction / 2, direction % 2);
            let association = self.association(stream);
            let outstanding = &mut association.outstanding[kind];
            let Some(id) = ids.responds_to(message.row) else {
                let request = OutstandingRequest { message, is_carried: false };
                let unanswered = match ids.message_id(message.row) {
                    Some(id) => outstanding.insert((side, id), request),
                    None => Some(request),
                };
                match unanswered {
                    Some(_) => {
                        rows.push(PairedRow { stream, side, request: unanswered, response: None });
                    }
                    None => self.outstanding += 1,
                }
                continue;
            };
            let request = outstanding.remove(&(side ^ 1, id));
            let side = if request.is_some() { side ^ 1 } else { side };
            if request.is_none() {
                let direction = &association.directions[side];
                let frame = Some(message.seen.frame);
                let fault =
                    Fault::stream(direction, FaultKind::NoRequest(id), message.offset, frame);
                let field = Some(Field::MessageIDBeingRespondedTo);
                self.faults.push(Fault { field, ..fault });
            } else {
                self.outstanding -= 1;
            }
            rows.push(PairedRow { stream, side, request, response: Some(message) });
        }
        rows
    }

    /// Adds the outstanding requests of streams that are closed.
    fn take_unanswered(&mut self, changed: &[usize], kind: usize, rows: &mut Vec<PairedRow>) {
        for &stream in changed {
            let content = &mut self.streams.connections.get_mut(stream).content;
            let Some(association) = content.association.as_mut().filter(|_| content.is_closed)
            else {
                continue;
            };
            for ((side, _), request) in std::mem::take(&mut association.outstanding[kind]) {
                rows.push(PairedRow { stream, side, request: Some(request), response: None });
                self.outstanding -= 1;
            }
        }
    }

    /// Gives up the oldest requests if there are too many.
    fn limit_requests(&mut self, kind: usize, rows: &mut Vec<PairedRow>) {
        if self.outstanding <= self.limits.requests {
            return;
        }
        let mut all = Vec::new();
        for stream in self.streams.connections.indexes() {
            let content = &self.streams.connections.get(stream).content;
            let Some(association) = &content.association else { continue };
            let requests = association.outstanding[kind].iter();
            all.extend(requests.map(|(&key, request)| (request.message.seen, stream, key)));
        }
        all.sort_unstable();
        let kept = self.limits.requests - self.limits.requests / 4;
        all.truncate(self.outstanding.saturating_sub(kept));
        for (_, stream, key) in all {
            let association = self.association(stream);
            let request = association.outstanding[kind].remove(&key).expect("the request");
            let message = request.message;
            let (direction, side) = (association.directions[key.0].clone(), key.0);
            let fault = FaultKind::TooManyRequests { limit: self.limits.requests };
            let frame = Some(message.seen.frame);
            self.faults.push(Fault::stream(&direction, fault, message.offset, frame));
            self.outstanding -= 1;
            rows.push(PairedRow { stream, side, request: Some(request), response: None });
        }
    }

    /// Keeps the messages of the requests among `all` that are still outstanding.
    fn carry(&mut self, all: &[(usize, CapturedMessage)], messages: &RecordBatch, kind: usize) {
        let ids = MessageIds::new(messages);
        let mut kept = Vec::new();
        for &(direction, message) in all {
            let Some(id) = ids.message_id(message.row) else { continue };
            let key = (direction % 2, id);
            let outstanding = &self.association(direction / 2).outstanding[kind];
            let is_this =
                |one: &&OutstandingRequest| !one.is_carried && one.message.row == message.row;
            if outstanding.get(&key).filter(is_this).is_some() {
                kept.push((direction / 2, key, message.row));
            }
        }
        let rows: Vec<usize> = kept.iter().map(|one| one.2).collect();
        let keys = self.carried[kind].add(messages, &rows);
        for ((stream, key, _), row) in kept.into_iter().zip(keys) {
            let outstanding = &mut self.association(stream).outstanding[kind];
            let request = outstanding.get_mut(&key).expect("the request");
            request.is_carried = true;
            request.message.row = row;
        }
    }

    /// The rows, with all their messages in one batch.
    fn rows(&mut self, rows: &[PairedRow], messages: RecordBatch, kind: usize) -> Exchanges {
        let carried = rows.iter().filter_map(|row| row.request.filter(|one| one.is_carried));
        let carried: Vec<usize> = carried.map(|one| one.message.row).collect();
        let mut next_carried = messages.num_rows();
        let messages = match self.carried[kind].take(&carried) {
            Some(carried) => {
                concat_batches(&messages.schema(), [&messages, &carried]).expect("equal columns")
            }
            None => messages,
        };
        let mut indexes: HashMap<usize, u32, ahash::RandomState> = HashMap::default();
        let mut streams = Vec::new();
        let exchange_rows: Vec<ExchangeRow> = rows
            .iter()
            .map(|row| {
                let association = *indexes.entry(row.stream).or_insert_with(|| {
                    streams.push(row.stream);
                    streams.len() as u32 - 1
                });
                let request = row.request.map(|OutstandingRequest { mut message, is_carried }| {
                    if is_carried {
                        message.row = next_carried;
                        next_carried += 1;
                    }
                    message
                });
                ExchangeRow { association, side: row.side, request, response: row.response }
            })
            .collect();
        let associations = streams.iter().map(|&stream| {
            let content = &self.streams.connections.get(stream).content;
            let association = content.association.as_ref().expect("the stream has rows");
            RowAssociation {
                directions: &association.directions,
                associate: &association.associate,
            }
        });
        exchanges(&exchange_rows, &associations.collect::<Vec<_>>(), messages)
    }
}

fn separator() -> &'static str {
    NAMES[usize::from(SEPARATOR[0]) - 1]
}

/// The names of the messages of actions.
const ACTIONS: [&str; 2] = ["N-ACTION-RQ", "N-ACTION-RSP"];
