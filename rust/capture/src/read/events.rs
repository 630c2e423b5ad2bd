//! Reads a capture as events and actions with their responses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DurationNanosecondArray, Int32Array, Int64Array, RecordBatch,
    TimestampNanosecondArray, UInt64Array,
};
use arrow_buffer::Buffer;
use arrow_select::take::take;
use fastdimse_core::decode::{DecodeOptions, Decoded, Layout, decode, decode_actions};
use fastdimse_core::excerpt::excerpt;
use fastdimse_core::field::Field;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::read::NAMES;
use fastdimse_core::rejection::{Reason, Rejection};

use crate::association::{self, Associate};
use crate::columns::{CaptureColumn, Captured, schema};
use crate::fault::{Direction, Fault, FaultKind};
use crate::read::compression::{Compression, decompress};
use crate::read::packets::{NO_TIME, Packet, Packets};
use crate::read::pdus::{Readable, SEPARATOR, next_message};
use crate::read::segments::{Content, content};
use crate::read::skipped::SkippedPackets;
use crate::read::tcp::{self, Connection, Connections, Stream};

/// The contents of a capture.
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

/// The requests of a service, with their responses.
#[derive(Debug)]
pub struct Exchanges {
    /// One row for each request, with the columns of [`schema`]. Text and data sets are views.
    pub table: RecordBatch,
    /// The decoded messages.
    pub messages: RecordBatch,
    /// For each row, the rows of its request and of its response in `messages`.
    pub rows: Vec<(Option<usize>, Option<usize>)>,
    /// Where each of `messages` was captured; `None` for a message without a row.
    pub places: Vec<Option<Place>>,
}

/// Where a message was captured.
#[derive(Debug, Clone)]
pub struct Place {
    /// The direction in which it was sent.
    pub direction: Arc<Direction>,
    /// Its offset in the direction.
    pub offset: u64,
    /// The number of the packet that completes it.
    pub frame: u64,
}

/// Reads a .pcap or .pcapng file, which may be compressed.
///
/// # Errors
///
/// If the file is neither. All other problems are listed in [`Capture::faults`].
pub fn read(file: &[u8]) -> Result<Capture, FaultKind> {
    let Some(compression) = Compression::recognize(file) else { return read_packets(file) };
    let (bytes, end) = decompress(compression, file);
    match (read_packets(&bytes), end) {
        (Ok(mut capture), Err(fault)) => {
            capture.faults.push(Fault::file(fault, None));
            Ok(capture)
        }
        (Err(_), Err(fault)) => Err(fault),
        (read, Ok(())) => read,
    }
}

fn read_packets(file: &[u8]) -> Result<Capture, FaultKind> {
    let mut faults = Vec::new();
    let (connections, skipped_packets, packets) = connections(Packets::new(file)?, &mut faults);
    let streams = connections.len() as u64;
    let mut associations = Associations::default();
    for connection in connections {
        associations.add(connection, &mut faults);
    }
    if associations.all.is_empty() {
        faults.push(Fault::file(FaultKind::NoAssociation { streams, packets }, None));
    }
    let count = associations.all.len() as u64;
    let (events, actions, skipped) = associations.join(&mut faults);
    faults.sort_by_key(|one| one.frame.unwrap_or(u64::MAX));
    Ok(Capture {
        events,
        actions,
        faults,
        skipped,
        skipped_packets,
        packets,
        streams,
        associations: count,
    })
}

/// The TCP connections of a file, its other packets, and its number of packets. Packets are processed in the order of
/// their times.
fn connections<'a>(
    mut packets: Packets<'a>,
    faults: &mut Vec<Fault>,
) -> (Vec<Connection<'a>>, SkippedPackets, u64) {
    let mut sorter = Sorter::default();
    if packets.clone().flatten().is_sorted_by_key(|packet| packet.time) {
        for packet in &mut packets {
            sorter.add(packet, faults);
        }
    } else {
        let mut all: Vec<_> = packets.by_ref().collect();
        all.sort_by_key(|packet| packet.as_ref().map_or(NO_TIME, |packet| packet.time));
        for packet in all {
            sorter.add(packet, faults);
        }
    }
    faults.extend(sorter.skipped.faults());
    (sorter.connections.finish(), sorter.skipped, packets.frames())
}

/// Adds packets to connections, and counts those that cannot be used.
#[derive(Default)]
struct Sorter<'a> {
    connections: Connections<'a>,
    skipped: SkippedPackets,
}

impl<'a> Sorter<'a> {
    fn add(&mut self, packet: Result<Packet<'a>, Fault>, faults: &mut Vec<Fault>) {
        let packet = match packet {
            Ok(packet) => packet,
            Err(found) => return faults.push(found),
        };
        match content(&packet) {
            Content::Tcp(segment) => self.connections.add(&packet, &segment),
            Content::Skipped(reason) => self.skipped.add(reason, packet.frame),
        }
    }
}

/// An association of the capture.
#[derive(Debug)]
struct Association {
    /// The directions of both ends.
    directions: [Arc<Direction>; 2],
    associate: Associate,
}

impl Association {
    fn new(number: u32, ends: [SocketAddr; 2]) -> Self {
        let direction = |side: usize| {
            let (source, destination) = (ends[side], ends[1 - side]);
            Arc::new(Direction { stream: number, source, destination })
        };
        Self { directions: [direction(0), direction(1)], associate: Associate::default() }
    }
}

/// The associations of a capture, and all their PDUs. Directions are numbered, two for each
/// association.
#[derive(Debug, Default)]
struct Associations {
    all: Vec<Association>,
    readable: Readable,
}

impl Associations {
    /// Adds a connection if it is an association.
    fn add(&mut self, mut connection: Connection<'_>, faults: &mut Vec<Fault>) {
        if connection.begins_without_pdu() {
            return;
        }
        let streams = [connection.stream(0), connection.stream(1)];
        if !is_association(&streams) {
            return;
        }
        let mut association = Association::new(connection.number, connection.ends);
        for (side, stream) in streams.iter().enumerate() {
            if let Some(run) = first_run(stream).filter(|run| association::begins(&run.bytes)) {
                let (associate, fault) = Associate::read(&run.bytes);
                association.associate.merge(associate);
                let frame = run.marks.first().map(|mark| mark.frame);
                let direction = &association.directions[side];
                faults.extend(fault.map(|fault| Fault::stream(direction, fault, 0, frame)));
            }
        }
        for (side, stream) in streams.iter().enumerate() {
            let direction = 2 * self.all.len() + side;
            self.add_stream(direction, &association.directions[side], stream, faults);
        }
        self.all.push(association);
    }

    fn add_stream(
        &mut self,
        number: usize,
        direction: &Arc<Direction>,
        stream: &Stream,
        faults: &mut Vec<Fault>,
    ) {
        let mut end = 0;
        for run in &stream.runs {
            let first = run.marks.first().map(|mark| mark.frame);
            let known = run.missing == 0 && (stream.begins || association::begins(&run.bytes));
            let from = if known { Some(0) } else { next_message(&run.bytes, 0) };
            let skipped = from.unwrap_or(run.bytes.len());
            if run.missing > 0 {
                let fault = FaultKind::MissingBytes { missing: run.missing, skipped };
                faults.push(Fault::stream(direction, fault, run.offset - run.missing, first));
            } else if !known {
                faults.push(Fault::stream(
                    direction,
                    FaultKind::BeginsInside(skipped),
                    run.offset,
                    first,
                ));
            }
            for rejection in
                from.map(|from| self.readable.add(number, run, from)).into_iter().flatten()
            {
                let at = rejection.offset.unwrap_or_default();
                let frame = tcp::mark_of(&run.marks, at as usize).map(|mark| mark.frame);
                faults.push(Fault {
                    field: rejection.field,
                    ..Fault::stream(direction, rejection.reason, run.offset + at, frame)
                });
            }
            end = run.offset + run.bytes.len() as u64;
        }
        if stream.missing > 0 {
            let fault = FaultKind::MissingBytes { missing: stream.missing, skipped: 0 };
            faults.push(Fault::stream(direction, fault, end, None));
        }
    }

    fn direction(&self, number: usize) -> &Arc<Direction> {
        &self.all[number / 2].directions[number % 2]
    }

    fn join(
        mut self,
        faults: &mut Vec<Fault>,
    ) -> (Exchanges, Exchanges, BTreeMap<&'static str, u64>) {
        let bytes: Buffer = std::mem::take(&mut self.readable.bytes).into();
        let options = DecodeOptions {
            framing: Framing::PData,
            on_invalid: OnInvalid::Skip,
            layout: Layout::Views,
        };
        let mut decoded = decode(&bytes, options);
        let mut skipped = std::mem::take(&mut decoded.skipped);
        let separator = NAMES[usize::from(SEPARATOR[0]) - 1];
        if let Some(count) = skipped.get_mut(separator) {
            *count -= self.readable.parts();
        }
        // Most captures have no actions, and need one pass.
        let has_actions = ACTIONS.into_iter().filter_map(|name| skipped.remove(name)).count() > 0;
        let bytes = if has_actions { bytes } else { Buffer::default() };
        let mut actions = decode_actions(&bytes, OnInvalid::Skip, Layout::Views);
        // Both passes find the faults of other messages.
        let found: HashSet<_> = decoded.rejected.iter().map(|one| one.offset).collect();
        actions.rejected.retain(|one| !found.contains(&one.offset));
        skipped.retain(|_, count| *count > 0);
        let events = self.exchanges(decoded, false, faults);
        let actions = self.exchanges(actions, true, faults);
        (events, actions, skipped)
    }

    /// The requests among decoded messages, with their responses.
    fn exchanges(&self, decoded: Decoded, actions: bool, faults: &mut Vec<Fault>) -> Exchanges {
        let messages = decoded.batch().expect("columns of views have no maximum length");
        let Decoded { offsets, rejected, .. } = decoded;
        let separator = NAMES[usize::from(SEPARATOR[0]) - 1];
        faults.reserve_exact(rejected.len());
        faults.extend(rejected.into_iter().filter_map(|one| self.fault(one, separator)));
        let seen = self.readable.last_bytes(&offsets);
        let columns = MessageColumns { messages: &messages, actions };
        let all = (0..messages.num_rows()).filter_map(|row| {
            let begin = self.readable.place(offsets[row] as usize)?;
            let complete = self.readable.place(seen[row])?.mark.complete;
            Some(Message { row, direction: begin.direction, offset: begin.offset, seen: complete })
        });
        let mut all: Vec<Message> = all.collect();
        let mut places = vec![None; messages.num_rows()];
        all.iter().for_each(|message| places[message.row] = Some(self.place(message)));
        all.sort_by_key(|message| (message.direction / 2, message.seen, message.row));
        let mut pairs = self.pair(&all, &columns, faults);
        pairs.sort_by_key(|pair| (pair.message.seen, pair.message.row));
        let rows = pairs.iter().map(PairedEvent::rows).collect();
        let table = self.events(&pairs, &messages);
        Exchanges { table, messages, rows, places }
    }

    fn place(&self, message: &Message) -> Place {
        let direction = self.direction(message.direction).clone();
        Place { direction, offset: message.offset, frame: message.seen.frame }
    }

    /// `None` if the message ends because of a fault that was already reported.
    fn fault(&self, rejection: Rejection, separator: &str) -> Option<Fault> {
        let place = self.readable.place(rejection.offset? as usize)?;
        let reason = match rejection.reason {
            Reason::AssociationEnds(name) if name == separator => {
                if place.truncated {
                    return None;
                }
                Reason::StreamEnds
            }
            reason => reason,
        };
        let (direction, frame) = (self.direction(place.direction), Some(place.mark.frame));
        let field = rejection.field;
        Some(Fault { field, ..Fault::stream(direction, reason, place.offset, frame) })
    }

    /// Pairs each request with its response: the first one after it, in the other direction of its
    /// association, with its Message ID. An ID may be reused (PS3.7 E.1): the last request counts.
    fn pair(
        &self,
        messages: &[Message],
        columns: &MessageColumns<'_>,
        faults: &mut Vec<Fault>,
    ) -> Vec<PairedEvent> {
        let mut events: Vec<PairedEvent> = Vec::with_capacity(messages.len());
        let mut outstanding: HashMap<(usize, u16), usize> = HashMap::new();
        let mut association = None;
        for &message in messages {
            if association.replace(message.direction / 2) != Some(message.direction / 2) {
                outstanding.clear();
            }
            let fault_at = |fault: FaultKind, field| Fault {
                field,
                ..Fault::stream(
                    self.direction(message.direction),
                    fault,
                    message.offset,
                    Some(message.seen.frame),
                )
            };
            let Some(id) = columns.number(Field::MessageIDBeingRespondedTo, message.row) else {
                if let Some(id) = columns.number(Field::MessageID, message.row) {
                    outstanding.insert((message.direction, id), events.len());
                }
                events.push(PairedEvent { message, is_request: true, response: None });
                continue;
            };
            match outstanding.remove(&(message.direction ^ 1, id)) {
                Some(event) => {
                    let request = &mut events[event];
                    request.response = Some(message);
                    for (field, fault) in columns.differences(request.message.row, message.row) {
                        faults.push(fault_at(fault, Some(field)));
                    }
                }
                None => {
                    faults.push(fault_at(
                        FaultKind::NoRequest(id),
                        Some(Field::MessageIDBeingRespondedTo),
                    ));
                    events.push(PairedEvent {
                        message,
                        is_request: false,
                        response: Some(message),
                    });
                }
            }
        }
        events
    }

    fn events(&self, events: &[PairedEvent], messages: &RecordBatch) -> RecordBatch {
        let of_message: UInt64Array = events.iter().map(|event| event.message.row as u64).collect();
        let of_response: UInt64Array =
            events.iter().map(|event| event.response.map(|one| one.row as u64)).collect();
        let taken = |field: Field, rows: &UInt64Array| {
            take(&messages[field.keyword()], rows, None).expect("the rows are there")
        };
        let columns = Captured::ALL.map(|column| match column {
            Captured::CaptureColumn(seen) => self.seen(seen, events, messages),
            Captured::Message(field) => taken(field, &of_message),
            Captured::Response(field) => taken(field, &of_response),
        });
        RecordBatch::try_new(schema(), columns.to_vec()).expect("the columns fit the schema")
    }

    fn seen(
        &self,
        column: CaptureColumn,
        events: &[PairedEvent],
        messages: &RecordBatch,
    ) -> ArrayRef {
        let direction = |event: &PairedEvent| self.direction(event.message.direction);
        let associate = |event: &PairedEvent| &self.all[event.message.direction / 2].associate;
        let texts = |of: &dyn Fn(&PairedEvent) -> Option<String>| {
            let mut texts = StringViewBuilder::new().with_deduplicate_strings();
            events.iter().for_each(|event| texts.append_option(of(event)));
            Arc::new(texts.finish()) as ArrayRef
        };
        match column {
            CaptureColumn::Time => {
                let times = events.iter().map(|event| known(event.message.seen.time));
                Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
            }
            CaptureColumn::Latency => Arc::new(
                events.iter().map(PairedEvent::latency).collect::<DurationNanosecondArray>(),
            ),
            CaptureColumn::SourceAddress => {
                texts(&|event| Some(direction(event).source.ip().to_string()))
            }
            CaptureColumn::SourcePort => {
                let ports = events.iter().map(|event| direction(event).source.port().into());
                Arc::new(Int32Array::from_iter_values(ports))
            }
            CaptureColumn::DestinationAddress => {
                texts(&|event| Some(direction(event).destination.ip().to_string()))
            }
            CaptureColumn::DestinationPort => {
                let ports = events.iter().map(|event| direction(event).destination.port().into());
                Arc::new(Int32Array::from_iter_values(ports))
            }
            CaptureColumn::CallingAETitle => texts(&|event| associate(event).calling.clone()),
            CaptureColumn::CalledAETitle => texts(&|event| associate(event).called.clone()),
            CaptureColumn::Association => {
                let numbers = events.iter().map(|event| direction(event).stream.into());
                Arc::new(Int64Array::from_iter_values(numbers))
            }
            CaptureColumn::Frame => {
                let frames = events.iter().map(|event| event.message.seen.frame as i64);
                Arc::new(Int64Array::from_iter_values(frames))
            }
            CaptureColumn::TransferSyntaxUID => {
                let contexts =
                    messages[Field::PresentationContextID.keyword()].as_primitive::<Int32Type>();
                texts(&|event| {
                    let context = contexts.value(event.message.row) as u8;
                    associate(event).accepted.get(&context).cloned()
                })
            }
        }
    }
}

fn first_run(stream: &Stream) -> Option<&tcp::Run> {
    stream.runs.first().filter(|run| run.missing == 0)
}

/// A connection with an A-ASSOCIATE PDU, or, if the beginning was not captured, with any message.
fn is_association(streams: &[Stream; 2]) -> bool {
    let begins =
        |stream: &Stream| first_run(stream).is_some_and(|run| association::begins(&run.bytes));
    let lacks = |stream: &Stream| !stream.begins || first_run(stream).is_none();
    let messages =
        |stream: &Stream| stream.runs.iter().any(|run| next_message(&run.bytes, 0).is_some());
    streams.iter().any(begins) || streams.iter().any(lacks) && streams.iter().any(messages)
}

impl Associate {
    /// The values of the request count; the acceptor repeats them (PS3.8 9.3.3).
    fn merge(&mut self, other: Self) {
        self.calling = self.calling.take().or(other.calling);
        self.called = self.called.take().or(other.called);
        self.accepted.extend(other.accepted);
    }
}

fn known(time: i64) -> Option<i64> {
    (time != NO_TIME).then_some(time)
}

/// The names of the messages of actions.
const ACTIONS: [&str; 2] = ["N-ACTION-RQ", "N-ACTION-RSP"];

/// A request or a response.
#[derive(Debug, Clone, Copy)]
struct Message {
    row: usize,
    direction: usize,
    offset: u64,
    seen: tcp::CaptureTime,
}

/// A row of the result.
#[derive(Debug)]
struct PairedEvent {
    /// The request, or a response without one.
    message: Message,
    is_request: bool,
    response: Option<Message>,
}

impl PairedEvent {
    fn rows(&self) -> (Option<usize>, Option<usize>) {
        let request = self.is_request.then_some(self.message.row);
        (request, self.response.map(|response| response.row))
    }

    fn latency(&self) -> Option<i64> {
        let response = self.response.filter(|_| self.is_request)?;
        known(response.seen.time)?.checked_sub(known(self.message.seen.time)?)
    }
}

/// The columns by which messages are paired.
struct MessageColumns<'a> {
    messages: &'a RecordBatch,
    /// Whether they are actions, in the columns of events.
    actions: bool,
}

impl MessageColumns<'_> {
    fn number(&self, field: Field, row: usize) -> Option<u16> {
        let numbers = self.messages[field.keyword()].as_primitive::<Int32Type>();
        numbers.is_valid(row).then(|| numbers.value(row) as u16)
    }

    fn text(&self, field: Field, row: usize) -> Option<Box<str>> {
        let column = &self.messages[field.keyword()];
        let text = match column.as_string_view_opt() {
            _ if column.is_null(row) => return None,
            Some(texts) => texts.value(row),
            None => return self.number(field, row).map(|number| number.to_string().into()),
        };
        Some(excerpt(text.as_bytes()))
    }

    /// The fields in which a response differs from its request (PS3.7 10.1.1.1 and 10.1.4.1).
    fn differences(&self, request: usize, response: usize) -> Vec<(Field, FaultKind)> {
        const SAME: [Field; 4] = [
            Field::AffectedSOPClassUID,
            Field::AffectedSOPInstanceUID,
            Field::EventTypeID,
            Field::PresentationContextID,
        ];
        let differing = |field: Field| {
            let (request, response) = (self.text(field, request), self.text(field, response)?);
            let request = request.unwrap_or_default();
            let field = match (self.actions, field) {
                (true, Field::EventTypeID) => Field::ActionTypeID,
                _ => field,
            };
            (request != response).then_some((field, FaultKind::Differs { response, request }))
        };
        SAME.into_iter().filter_map(differing).collect()
    }
}
