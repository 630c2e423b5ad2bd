//! Decodes streams.
//!
//! Nearly all messages are complete and of the usual form: [`crate::decode::complete_message`] reads
//! these. This file reads all others, by all rules.

use std::collections::BTreeMap;
use std::iter;
use std::mem;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;

use crate::cache::load_messages_ahead;
use crate::command_set::{CommandSet, Message, Value};
use crate::decode::columns::DecodedColumns;
use crate::decode::complete_message::{self, COMMAND_SET_BEGINS, begins_command_set};
use crate::decode::layout::{CellLayout, Layout, Plain, Views};
use crate::decode::row::{Origin, Row, Span};
use crate::decode::sink::EventSink;
use crate::decode::template::Templates;
use crate::decode::views::LONGEST;
use crate::excerpt::excerpt;
use crate::field::{Field, Kind};
use crate::options::{Framing, OnInvalid};
use crate::pdu::read::{Item, NAMES, Pdus, Pdv};
use crate::registers::{Vectorized, in_widest_registers};
use crate::rejection::{Reason, Rejection};
use crate::threads::run_in_threads;
use crate::uid::{MAX_LENGTH, UidError};

/// The decoded events, and everything else that was in the stream.
#[derive(Debug)]
pub struct Decoded {
    /// One row for each event, with the columns of [`schema`](crate::decode::columns::schema), in at
    /// least one batch.
    pub events: Vec<RecordBatch>,
    /// The offset of the first PDU, or of the command set, of each event.
    pub offsets: ScalarBuffer<i64>,
    /// The messages that could not be decoded.
    pub rejected: Vec<Rejection>,
    /// The numbers of other PDUs and other DIMSE messages, by name.
    pub skipped: BTreeMap<&'static str, u64>,
}

impl Decoded {
    /// The number of events.
    pub fn rows(&self) -> usize {
        self.events.iter().map(RecordBatch::num_rows).sum()
    }

    /// All events in one batch.
    ///
    /// # Errors
    ///
    /// A plain column would have more than 2 GiB.
    pub fn batch(&self) -> Result<RecordBatch, ArrowError> {
        match &self.events[..] {
            [one] => Ok(one.clone()),
            several => concat_batches(&several[0].schema(), several),
        }
    }
}

/// How to decode a stream.
#[derive(Debug, Clone, Copy)]
pub struct DecodeOptions {
    /// The framing of command sets.
    pub framing: Framing,
    /// What to do with messages that cannot be decoded. With [`OnInvalid::Raise`] decoding stops at
    /// the first one, which is then the only entry of [`Decoded::rejected`]; the events before it
    /// are decoded.
    pub on_invalid: OnInvalid,
    /// The layout of the columns. Columns of views keep the stream alive.
    pub layout: Layout,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { framing: Framing::PData, on_invalid: OnInvalid::Raise, layout: Layout::Plain }
    }
}

/// Decodes one direction of an association, or of several one after another.
pub fn decode(stream: &Buffer, options: DecodeOptions) -> Decoded {
    decode_in_threads(stream, options, 1)
}

/// Decodes in up to `threads` threads. A stream of command sets is read by one thread: its
/// boundaries are only known by reading from the start.
pub fn decode_in_threads(stream: &Buffer, options: DecodeOptions, threads: usize) -> Decoded {
    decode_rest(stream, options, threads, Unfinished::default())
}

/// Decodes a part of a stream that ends with a complete PDU or command set, after `before`. Returns
/// the message that continues after it. Offsets of that message, which begins before the next part,
/// are negative, and wrap.
pub fn decode_unfinished(
    stream: &Buffer,
    options: DecodeOptions,
    threads: usize,
    before: Unfinished,
) -> (Decoded, Unfinished) {
    match options.layout {
        Layout::Plain => read::<Plain>(stream, options, threads, before).suspend(),
        Layout::Views => read::<Views>(stream, options, threads, before).suspend(),
    }
}

/// Decodes the last part of a stream, after `before`.
pub fn decode_rest(
    stream: &Buffer,
    options: DecodeOptions,
    threads: usize,
    before: Unfinished,
) -> Decoded {
    fn decode_to<L: CellLayout>(mut decoder: PartDecoder<'_, L>) -> Decoded {
        decoder.end_stream();
        decoder.finish()
    }
    match options.layout {
        Layout::Plain => decode_to(read::<Plain>(stream, options, threads, before)),
        Layout::Views => decode_to(read::<Views>(stream, options, threads, before)),
    }
}

/// Decodes the N-ACTION messages of a stream of PDUs, and counts N-EVENT-REPORT messages as other
/// messages. Each field is in the column of the field of events with the same meaning:
/// [`columns_of_actions`](crate::decode::columns::columns_of_actions) gives the columns their names.
pub fn decode_actions(stream: &Buffer, on_invalid: OnInvalid, layout: Layout) -> Decoded {
    fn decode_to<L: CellLayout>(stream: &Buffer, on_invalid: OnInvalid) -> Decoded {
        let columns = DecodedColumns::<L>::new(stream, Vec::new());
        let mut decoder = Decoder::new(stream, on_invalid, 0..stream.len(), columns);
        decoder.actions = true;
        decoder.read_pdus();
        decoder.end_stream();
        decoder.finish()
    }
    match layout {
        Layout::Plain => decode_to::<Plain>(stream, on_invalid),
        Layout::Views => decode_to::<Views>(stream, on_invalid),
    }
}

fn read<L: CellLayout>(
    stream: &Buffer,
    options: DecodeOptions,
    threads: usize,
    before: Unfinished,
) -> PartDecoder<'_, L> {
    let DecodeOptions { framing, on_invalid, .. } = options;
    if framing == Framing::CommandSet {
        let columns = DecodedColumns::<L>::new(stream, Vec::new());
        let mut decoder = Decoder::new(stream, on_invalid, 0..stream.len(), columns);
        decoder.read_command_sets();
        return decoder;
    }
    read_parts::<L>(stream, on_invalid, &beginnings(stream, threads), threads, before)
}

fn read_parts<'a, L: CellLayout>(
    stream: &'a Buffer,
    on_invalid: OnInvalid,
    beginnings: &[usize],
    threads: usize,
    before: Unfinished,
) -> PartDecoder<'a, L> {
    let ends = beginnings[1..].iter().copied().chain([stream.len()]);
    let parts = beginnings.iter().copied().zip(ends).map(|(start, end)| start..end);
    let before = iter::once(before).chain(iter::repeat_with(Unfinished::default));
    let parts = parts.zip(before).enumerate();
    let joined = JoinedParts::<L>::default();
    run_in_threads(threads.min(beginnings.len()), parts, |(number, (part, before))| {
        let columns = DecodedColumns::new(stream, before.joined);
        let mut decoder = Decoder::new(stream, on_invalid, part, columns);
        decoder.state = before.state;
        decoder.read_pdus();
        joined.add(number, decoder);
    });
    joined.finish()
}

/// The decoder of a part of a stream.
type PartDecoder<'a, L> = Decoder<'a, DecodedColumns<'a, L>>;

/// Joins the parts in order. Each thread joins the parts that are ready after it has read its own,
/// so the threads share this work.
struct JoinedParts<'a, L: CellLayout> {
    ready: Mutex<BTreeMap<usize, PartDecoder<'a, L>>>,
    joined: Mutex<(usize, Option<PartDecoder<'a, L>>)>,
}

impl<L: CellLayout> Default for JoinedParts<'_, L> {
    fn default() -> Self {
        Self { ready: Mutex::default(), joined: Mutex::new((0, None)) }
    }
}

impl<'a, L: CellLayout> JoinedParts<'a, L> {
    fn add(&self, number: usize, part: PartDecoder<'a, L>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(number, part);
        // Do not wait: the thread that joins now looks again, or the last thread joins.
        if let Ok(mut joined) = self.joined.try_lock() {
            self.join(&mut joined);
        }
    }

    fn join(&self, (next, joined): &mut (usize, Option<PartDecoder<'a, L>>)) {
        let ready = |next| self.ready.lock().unwrap_or_else(PoisonError::into_inner).remove(&next);
        while let Some(part) = ready(*next) {
            match joined {
                Some(joined) => joined.append(part),
                None => *joined = Some(part),
            }
            *next += 1;
        }
    }

    fn finish(self) -> PartDecoder<'a, L> {
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        self.join(&mut joined);
        joined.1.take().expect("there is a first part")
    }
}

/// The minimum number of bytes for a thread.
const LEAST_PART: usize = 128 << 10;
/// The number of parts for each thread, so that all threads end at about the same time.
const PARTS: usize = 8;

/// Guesses where the parts of a stream begin: at the beginning of a command set.
fn beginnings(stream: &[u8], threads: usize) -> Vec<usize> {
    let parts = if threads > 1 { threads * PARTS } else { 1 };
    let parts = parts.min(stream.len() / LEAST_PART);
    let mut beginnings = vec![0];
    for part in 1..parts {
        let from = stream.len() / parts * part;
        let found = stream[from..].windows(COMMAND_SET_BEGINS).take(LEAST_PART / 2);
        if let Some(at) = found.into_iter().position(begins_command_set) {
            beginnings.push(from + at);
        }
    }
    beginnings
}

/// The part of a message that was read so far.
#[derive(Debug, Default)]
struct Partial {
    /// The offset of its first PDU.
    begin: usize,
    /// The fragments of its command set, then those of its data set.
    span: Option<Span>,
    /// The event that waits for its data set; `None` for another DIMSE message.
    row: Option<Row>,
}

#[derive(Debug, Default)]
enum DecoderState {
    /// Between messages.
    #[default]
    Idle,
    /// In a command set.
    Command(Partial),
    /// In a data set.
    DataSet(Partial),
    /// After an error: data set fragments are skipped up to the next command.
    Lost,
}

/// A message that continues after a part of a stream.
#[derive(Debug, Default)]
pub struct Unfinished {
    state: DecoderState,
    /// The bytes of its spans.
    joined: Vec<u8>,
}

/// Reads a stream, or a part of it.
pub struct Decoder<'a, S> {
    stream: &'a [u8],
    /// The part of the stream to read. A message belongs to the part in which it begins.
    part: Range<usize>,
    /// The offset of the next PDU.
    at: usize,
    on_invalid: OnInvalid,
    /// Whether the rows are N-ACTION messages.
    actions: bool,
    state: DecoderState,
    templates: Templates,
    sink: S,
    rejected: Vec<Rejection>,
    skipped: BTreeMap<&'static str, u64>,
    /// The number of messages so far, valid or rejected.
    events: u64,
}

impl<'a, S: EventSink> Decoder<'a, S> {
    /// A decoder of the messages that begin in `part` of `stream`.
    pub fn new(stream: &'a [u8], on_invalid: OnInvalid, part: Range<usize>, sink: S) -> Self {
        Self {
            stream,
            at: part.start,
            part,
            on_invalid,
            actions: false,
            state: DecoderState::Idle,
            templates: Templates::default(),
            sink,
            rejected: Vec::new(),
            skipped: BTreeMap::new(),
            events: 0,
        }
    }

    fn stopped(&self) -> bool {
        self.on_invalid == OnInvalid::Raise && !self.rejected.is_empty()
    }

    /// Reads the part.
    pub fn read_pdus(&mut self) {
        let stream = self.stream;
        let mut pdus = Pdus::new(stream);
        pdus.continue_at(self.at);
        while !self.stopped() {
            if let Some(at) = pdus.next_at() {
                self.at = at;
                if self.is_between_messages() && !self.actions {
                    in_widest_registers(CompleteMessages { decoder: self, stream });
                    pdus.continue_at(self.at);
                    if self.at >= self.part.end {
                        break;
                    }
                }
            }
            let step = match pdus.next() {
                Some(Ok(Item::Pdv(pdv))) => self.read_pdv(&pdv),
                Some(Ok(Item::Other(pdu))) => self.skip_pdu(pdu),
                Some(Err(rejection)) => Err(rejection),
                None => break,
            };
            if let Err(rejection) = step {
                self.reject(rejection);
            }
        }
    }

    fn is_between_messages(&self) -> bool {
        matches!(self.state, DecoderState::Idle | DecoderState::Lost)
    }

    /// The sink, the rejected messages, and the numbers of other PDUs and messages.
    pub fn into_parts(self) -> (S, Vec<Rejection>, BTreeMap<&'static str, u64>) {
        (self.sink, self.rejected, self.skipped)
    }

    /// Rejects a message that is incomplete at the end of the stream.
    pub fn end_stream(&mut self) {
        if let DecoderState::Command(partial) | DecoderState::DataSet(partial) = &self.state
            && !self.stopped()
        {
            let rejection = Rejection::new(Reason::StreamEnds).at(partial.begin);
            self.reject(rejection);
        }
    }

    /// Reads messages while they are complete in the stream.
    #[inline(always)]
    fn read_complete_messages(&mut self, stream: &[u8]) {
        let begin = self.at;
        while self.at < self.part.end {
            let message_at = self.at;
            let is_full = if let Some(message) = self.templates.find(stream, self.at) {
                self.at = message.end();
                self.sink.push_similar(&message)
            } else if let Some(message) = self.templates.read(stream, self.at) {
                self.at = message.end;
                self.sink.push(&message.row, message.data_set)
            } else {
                break;
            };
            load_messages_ahead(stream, self.at, self.at - message_at);
            self.events += 1;
            if is_full {
                self.sink.flush(self.estimated_rows());
            }
        }
        if self.at > begin {
            self.state = DecoderState::Idle;
        }
    }

    #[inline(always)]
    fn push(&mut self, row: &Row, data_set: Option<Span>) {
        self.events += 1;
        if self.sink.push(row, data_set) {
            self.sink.flush(self.estimated_rows());
        }
    }

    /// Estimates the number of events of the part from those read so far, with a margin, so that
    /// columns are not reallocated near their end.
    fn estimated_rows(&self) -> usize {
        /// The headers of a PDU and a PDV, Command Field and Command Data Set Type.
        const SHORTEST_EVENT: usize = 32;
        let (read, total) = (self.at - self.part.start, self.part.len());
        let estimate = self.sink.rows() as f64 * (total as f64 / read.max(1) as f64) * 1.01;
        (estimate as usize + 128).min(total / SHORTEST_EVENT)
    }

    /// The incomplete message is dropped.
    fn reject(&mut self, rejection: Rejection) {
        self.rejected.push(rejection.row(self.events));
        self.events += 1;
        self.state = DecoderState::Lost;
    }

    fn skip_pdu(&mut self, pdu: usize) -> Result<(), Rejection> {
        *self.skipped.entry(NAMES[pdu]).or_default() += 1;
        match mem::replace(&mut self.state, DecoderState::Idle) {
            DecoderState::Command(partial) | DecoderState::DataSet(partial) => {
                Err(Rejection::new(Reason::AssociationEnds(NAMES[pdu])).at(partial.begin))
            }
            DecoderState::Idle | DecoderState::Lost => Ok(()),
        }
    }

    fn read_pdv(&mut self, pdv: &Pdv<'_>) -> Result<(), Rejection> {
        match (mem::replace(&mut self.state, DecoderState::Lost), pdv.is_command()) {
            (DecoderState::Idle | DecoderState::Lost, true) => {
                self.read_command(Partial { begin: pdv.pdu_at, ..Partial::default() }, pdv)
            }
            (DecoderState::Command(partial), true) => self.read_command(partial, pdv),
            (DecoderState::DataSet(partial), false) => {
                self.read_data_set(partial, pdv);
                Ok(())
            }
            (DecoderState::Lost, false) => Ok(()),
            (DecoderState::Idle | DecoderState::Command(_), false) => {
                Err(Rejection::new(Reason::OrphanDataSet).at(pdv.at))
            }
            (DecoderState::DataSet(_), true) => {
                // The announced data set is missing; the new command may be complete.
                self.reject(Rejection::new(Reason::MissingDataSet).at(pdv.at));
                if self.stopped() { Ok(()) } else { self.read_pdv(pdv) }
            }
        }
    }

    fn read_command(&mut self, partial: Partial, pdv: &Pdv<'_>) -> Result<(), Rejection> {
        let span = self.sink.join(partial.span, pdv);
        if pdv.is_last() {
            return self.end_command(partial.begin, span, pdv.context_id);
        }
        self.state = DecoderState::Command(Partial { span: Some(span), ..partial });
        Ok(())
    }

    fn end_command(&mut self, begin: usize, span: Span, context_id: u8) -> Result<(), Rejection> {
        let usual = if span.is_joined() || self.actions {
            None
        } else {
            complete_message::read_command_set(self.stream, span, begin, context_id)
        };
        let (row, data_set) = match usual {
            Some((row, data_set)) => (Some(row), data_set),
            None => self.read_command_set(begin, span, context_id)?,
        };
        if data_set {
            self.state = DecoderState::DataSet(Partial { begin, span: None, row });
        } else {
            self.end_message(row, None);
        }
        Ok(())
    }

    /// Returns the event, if the message is one, and whether a data set follows.
    fn read_command_set(
        &mut self,
        begin: usize,
        span: Span,
        context_id: u8,
    ) -> Result<(Option<Row>, bool), Rejection> {
        let bytes = self.sink.bytes(span);
        // A joined command set has no offset in the stream: its message has one.
        let base = if span.is_joined() { begin } else { span.start };
        let place = |rejection: Rejection| match (span.is_joined(), rejection.offset) {
            (false, Some(_)) => rejection.shifted(base),
            _ => rejection.at(base),
        };
        let message = CommandSet::read(bytes).map_err(place)?;
        let data_set = message.data_set();
        let command_set = match &message {
            Message::Event { command_set, .. } if !self.actions => *command_set,
            Message::Action { command_set, .. } if self.actions => *command_set,
            other => {
                *self.skipped.entry(other.name()).or_default() += 1;
                return Ok((None, data_set));
            }
        };
        check_uids(&command_set).map_err(place)?;
        let command_set = if self.actions { as_event(&command_set) } else { command_set };
        let mut row = Row::new(command_set.kind, begin, context_id);
        let texts = set_fields(&mut row, &command_set, bytes, span);
        for (field, text) in texts {
            let text = self.sink.text(text);
            row.set_text(field, text);
        }
        Ok((Some(row), data_set))
    }

    fn read_data_set(&mut self, mut partial: Partial, pdv: &Pdv<'_>) {
        // Data sets of other messages are not joined.
        if partial.row.is_some() {
            partial.span = Some(self.sink.join(partial.span, pdv));
        }
        if pdv.is_last() {
            self.end_message(partial.row, partial.span);
        } else {
            self.state = DecoderState::DataSet(partial);
        }
    }

    fn end_message(&mut self, row: Option<Row>, data_set: Option<Span>) {
        self.state = DecoderState::Idle;
        if let (Some(row), Some(span)) = (&row, data_set.filter(|span| span.length > LONGEST)) {
            return self.reject(Rejection::new(Reason::DataSetTooLong(span.length)).at(row.begin));
        }
        if let Some(row) = row {
            self.push(&row, data_set);
        }
    }

    /// Reads command sets one after another. Each begins with its length.
    fn read_command_sets(&mut self) {
        let stream = self.stream;
        while self.at < stream.len() && !self.stopped() {
            let at = self.at;
            let length = match command_set_len(&stream[at..]) {
                Ok(length) => length,
                Err(rejection) => return self.reject(rejection.at(at)),
            };
            let step = self.end_command(at, Span { origin: Origin::Stream, start: at, length }, 0);
            // This framing has no data sets, even if a command set announces one.
            if let DecoderState::DataSet(partial) =
                mem::replace(&mut self.state, DecoderState::Idle)
            {
                self.end_message(partial.row, None);
            }
            if let Err(rejection) = step {
                self.reject(rejection);
            }
            self.at += length;
        }
    }
}

impl<L: CellLayout> PartDecoder<'_, L> {
    /// Continues after the part that was read. If the next part, read by `later`, begins exactly
    /// where this one ended between two messages, the guess was right; otherwise this decoder reads
    /// on.
    fn append(&mut self, later: Self) {
        if self.stopped() {
            return;
        }
        if self.at != later.part.start || !self.is_between_messages() {
            self.part.end = later.part.end;
            return self.read_pdus();
        }
        let before = self.events;
        let rejected = later.rejected.into_iter();
        self.rejected.extend(rejected.map(|rejection| rejection.after_rows(before)));
        for (name, count) in later.skipped {
            *self.skipped.entry(name).or_default() += count;
        }
        self.sink.append(later.sink);
        self.events += later.events;
        (self.part.end, self.at, self.state) = (later.part.end, later.at, later.state);
    }

    /// The events, and the message that continues after the part.
    fn suspend(mut self) -> (Decoded, Unfinished) {
        let end = self.stream.len();
        let began_before = match &self.state {
            // The offset of a message that began before the stream is negative, and wraps.
            DecoderState::Command(partial) | DecoderState::DataSet(partial) => partial.begin > end,
            DecoderState::Idle | DecoderState::Lost => false,
        };
        // The bytes of a long message must not be copied for each of its parts.
        let mut joined = if began_before { self.sink.take_joined() } else { Vec::new() };
        let mut copied = |span: Span| {
            if began_before && span.is_joined() {
                return span;
            }
            let start = joined.len();
            joined.extend_from_slice(self.sink.bytes(span));
            Span { origin: Origin::Joined, start, length: span.length }
        };
        let mut moved = |partial: &Partial| Partial {
            begin: partial.begin.wrapping_sub(end),
            // The next fragment is appended to the span, so that its bytes are the last ones.
            row: partial.row.map(|row| row.moved(end, &mut copied)),
            span: partial.span.map(&mut copied),
        };
        let state = match &self.state {
            DecoderState::Command(partial) => DecoderState::Command(moved(partial)),
            DecoderState::DataSet(partial) => DecoderState::DataSet(moved(partial)),
            DecoderState::Idle => DecoderState::Idle,
            DecoderState::Lost => DecoderState::Lost,
        };
        (self.finish(), Unfinished { state, joined })
    }

    fn finish(self) -> Decoded {
        let (events, offsets) = self.sink.finish();
        let Self { rejected, skipped, .. } = self;
        Decoded { events, offsets, rejected, skipped }
    }
}

/// Reads messages while they are complete in the stream.
struct CompleteMessages<'d, 'a, S> {
    decoder: &'d mut Decoder<'a, S>,
    stream: &'a [u8],
}

impl<S: EventSink> Vectorized for CompleteMessages<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.decoder.read_complete_messages(self.stream);
    }
}

/// The fields of an action as the fields of events with the same meaning. A response identifies the
/// SOP instance by *Affected SOP Class UID* and *Affected SOP Instance UID* (PS3.7 10.1.4.1).
fn as_event<'a>(action: &CommandSet<'a>) -> CommandSet<'a> {
    let is_response = action.kind.is_response();
    let kind = if is_response { Kind::Response } else { Kind::Request };
    let mut event = CommandSet::new(kind, action.data_set);
    for field in [Field::MessageID, Field::MessageIDBeingRespondedTo, Field::Status] {
        event.set(field, action.get(field));
    }
    for field in [Field::ErrorComment, Field::ErrorID] {
        event.set(field, action.get(field));
    }
    event.set(Field::EventTypeID, action.get(Field::ActionTypeID));
    let uids = match is_response {
        true => [Field::AffectedSOPClassUID, Field::AffectedSOPInstanceUID],
        false => [Field::RequestedSOPClassUID, Field::RequestedSOPInstanceUID],
    };
    event.set(Field::AffectedSOPClassUID, action.get(uids[0]));
    event.set(Field::AffectedSOPInstanceUID, action.get(uids[1]));
    event
}

/// Sets the numbers of `command_set`, and returns its texts. It was read from `bytes` at `span`.
fn set_fields(
    row: &mut Row,
    command_set: &CommandSet<'_>,
    bytes: &[u8],
    span: Span,
) -> impl Iterator<Item = (Field, Span)> + use<> {
    for field in Field::NUMBERS {
        if let Some(number) = command_set.get(field).us() {
            row.set_number(field, number);
        }
    }
    let texts = Field::TEXTS.map(|field| match command_set.get(field) {
        Value::Text(text) => {
            // `text` is a slice of `bytes`: the difference of their addresses is its offset.
            let start = span.start + (text.as_ptr() as usize - bytes.as_ptr() as usize);
            Some((field, Span { start, length: text.len(), ..span }))
        }
        _ => None,
    });
    texts.into_iter().flatten()
}

/// Checks that the UIDs of a command set have at most 64 characters, as columns require. pynetdicom
/// reads longer ones.
///
/// # Errors
///
/// The UID that is too long.
pub fn check_uids(command_set: &CommandSet<'_>) -> Result<(), Rejection> {
    let uids = [
        Field::AffectedSOPClassUID,
        Field::AffectedSOPInstanceUID,
        Field::RequestedSOPClassUID,
        Field::RequestedSOPInstanceUID,
    ];
    for field in uids {
        let uid = command_set.get(field).text().unwrap_or_default();
        if uid.len() > MAX_LENGTH {
            let reason = Reason::Uid(excerpt(uid), UidError::TooLong(uid.len()));
            return Err(Rejection::new(reason).field(field));
        }
    }
    Ok(())
}

fn command_set_len(rest: &[u8]) -> Result<usize, Rejection> {
    let Some([0, 0, 0, 0, 4, 0, 0, 0, length @ ..]) = rest.first_chunk::<12>() else {
        return Err(Rejection::new(Reason::NoGroupLength));
    };
    let needed = 12 + u64::from(u32::from_le_bytes(*length));
    let found = rest.len() as u64;
    if needed > found {
        return Err(Rejection::new(Reason::Truncated { what: "command set", needed, found }));
    }
    Ok(needed as usize)
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use proptest::prelude::*;

    use super::*;
    use crate::command_set::Value;
    use crate::decode::columns::columns_of_actions;
    use crate::decode::views::plain;
    use crate::encode::{Options, encode};
    use crate::event_columns::EventColumns;
    use crate::pdu::write::{MaxPduLength, write_message};

    fn message(kind: Kind, id: u16, data_set: &[u8], max: i128) -> Vec<u8> {
        let mut command_set = CommandSet::new(kind, !data_set.is_empty());
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.840.10008.1.20.1"));
        command_set.set(Field::AffectedSOPInstanceUID, Value::Text(b"1.2.840.10008.1.20.1.1"));
        command_set.set(Field::EventTypeID, Value::Us(1));
        let number = match kind.is_response() {
            false => Field::MessageID,
            true => Field::MessageIDBeingRespondedTo,
        };
        command_set.set(number, Value::Us(id));
        if kind == Kind::Response {
            command_set.set(Field::Status, Value::Us(0));
        }
        let mut out = Vec::new();
        let max = MaxPduLength::new(max).unwrap();
        write_message(&mut out, 1, max, |out| command_set.write(out), data_set);
        out
    }

    fn options(max: i128) -> Options {
        Options {
            context_id: 1,
            max_pdu_length: MaxPduLength::new(max).unwrap(),
            framing: Framing::PData,
            on_invalid: OnInvalid::Raise,
            conformant_uids: true,
        }
    }

    /// Blocks of requests, of responses, and of both: a row without a value has nothing of the row
    /// that had its place in the block before.
    #[test]
    fn absent_values_are_empty_in_every_block() {
        let messages: Vec<_> = (0..1000_u16)
            .map(|row| match row / 256 {
                0 => message(Kind::Request, row + 1, b"information", 0),
                1 => message(Kind::Response, row + 1, b"", 0),
                _ if row % 3 == 0 => message(Kind::Response, row + 1, b"reply", 0),
                _ => message(Kind::Request, row + 1, b"", 0),
            })
            .collect();
        let decoded = decode(&Buffer::from_vec(messages.concat()), DecodeOptions::default());
        let [events] = &decoded.events[..] else { panic!("one batch") };
        assert_eq!(events.num_rows(), 1000);
        for column in events.columns() {
            for row in (0..1000).filter(|&row| column.is_null(row)) {
                if let Some(numbers) = column.as_primitive_opt::<Int32Type>() {
                    assert_eq!(numbers.values()[row], 0);
                } else if let Some(texts) = column.as_string_opt::<i32>() {
                    assert_eq!(texts.value_length(row), 0);
                } else {
                    assert_eq!(column.as_binary::<i32>().value_length(row), 0);
                }
            }
        }
        let ids = events[Field::MessageID.keyword()].as_primitive::<Int32Type>();
        let answered =
            events[Field::MessageIDBeingRespondedTo.keyword()].as_primitive::<Int32Type>();
        let replies = events[Field::EventReply.keyword()].as_binary::<i32>();
        for (row, answered) in answered.iter().enumerate() {
            let is_response = row / 256 == 1 || row / 256 > 1 && row % 3 == 0;
            assert_eq!((ids.is_null(row), answered.is_some()), (is_response, is_response), "{row}");
            assert_eq!(replies.is_valid(row), is_response && row >= 512, "{row}");
            assert_eq!(answered.unwrap_or_else(|| ids.value(row)), row as i32 + 1);
        }
    }

    #[test]
    fn decoding_then_encoding_round_trips() {
        for max in [0, 7, 30, 16382] {
            let mut stream = message(Kind::Request, 7, b"some data set", max);
            stream.extend(message(Kind::Response, 9, b"", max));
            stream.extend(message(Kind::Request, 8, b"", max));
            let decoded = decode(&stream.clone().into(), DecodeOptions::default());
            assert_eq!(decoded.rejected, []);
            let columns = [EventColumns::new(&decoded.batch().unwrap()).unwrap()];
            let encoded = encode(&columns, &options(max), 0, vec![]).unwrap();
            assert_eq!(encoded.bytes.as_slice(), stream);
            assert_eq!(encoded.offsets[..3], decoded.offsets);
        }
    }

    #[test]
    fn a_truncated_stream_keeps_its_complete_events() {
        let first = message(Kind::Request, 7, b"data", 40);
        let stream = [first.clone(), message(Kind::Request, 8, b"data", 40)].concat();
        for end in first.len()..stream.len() {
            let decoded = decode(&stream[..end].into(), DecodeOptions::default());
            assert_eq!(decoded.rows(), 1, "{end}");
            assert_eq!(decoded.rejected.len(), usize::from(end > first.len()), "{end}");
        }
    }

    #[test]
    fn other_messages_and_pdus_are_counted() {
        let mut echo = CommandSet::new(Kind::Request, true);
        echo.set(Field::MessageID, Value::Us(1));
        let mut bytes = Vec::new();
        echo.write(&mut bytes);
        bytes[12 + 8..12 + 10].copy_from_slice(&0x0001_u16.to_le_bytes());
        let mut stream = vec![0x05, 0, 0, 0, 0, 0];
        let max = MaxPduLength::new(20).unwrap();
        write_message(&mut stream, 1, max, |out| out.extend(&bytes), &[1; 50]);
        stream.extend(message(Kind::Request, 7, b"", 0));
        let decoded = decode(&stream.into(), DecodeOptions::default());
        assert_eq!(decoded.rows(), 1);
        let counts: Vec<_> = decoded.skipped.into_iter().collect();
        assert_eq!(counts, [("A-RELEASE-RQ", 1), ("C-STORE-RQ", 1)]);
    }

    /// Messages of all kinds, and other PDUs between them.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let data_set = prop::collection::vec(any::<u8>(), 0..40);
        let complete = (any::<bool>(), any::<u16>(), data_set, 7..80_i128);
        let complete = complete.prop_map(|(response, id, data_set, max)| {
            let kind = if response { Kind::Response } else { Kind::Request };
            message(kind, id, &data_set, if max > 60 { 0 } else { max })
        });
        prop_oneof![
            8 => complete.clone(),
            // A message inside a data set looks like a message.
            2 => complete.clone().prop_map(|inner| message(Kind::Request, 1, &inner, 0)),
            1 => complete.prop_map(|mut message| {
                let middle = message.len() / 2;
                message[middle] ^= 0x55;
                message
            }),
            1 => Just(b"\x05\0\0\0\0\x04\0\0\0\0".to_vec()),
            1 => Just(b"\x04\0\0\0\0\x08\0\0\0\x04\x01\x02ab".to_vec()),
            1 => Just(b"\x04\0\0\0\0\x06\0\0\0\xff\x01\x03".to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_the_parts(
            pieces in prop::collection::vec(piece(), 1..30),
            chosen in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            skip: bool,
            threads in 1..4_usize,
        ) {
            let stream: Buffer = pieces.concat().into();
            let on_invalid = if skip { OnInvalid::Skip } else { OnInvalid::Raise };
            let windows = stream.windows(COMMAND_SET_BEGINS).enumerate();
            let places = windows.filter(|(_, window)| begins_command_set(window));
            let places: Vec<usize> = places.map(|(at, _)| at).filter(|&at| at > 0).collect();
            let mut beginnings = vec![0];
            if !places.is_empty() {
                beginnings.extend(chosen.iter().map(|index| *index.get(&places)));
            }
            beginnings.sort_unstable();
            beginnings.dedup();
            let options = DecodeOptions { on_invalid, ..DecodeOptions::default() };
            let one = decode(&stream, options);
            let mut several =
                read_parts::<Plain>(&stream, on_invalid, &beginnings, threads, Unfinished::default());
            several.end_stream();
            let several = several.finish();
            prop_assert_eq!(one.batch().unwrap(), several.batch().unwrap());
            let views = decode(&stream, DecodeOptions { layout: Layout::Views, ..options });
            prop_assert_eq!(&plain(views.batch().unwrap())[0], &one.batch().unwrap());
            prop_assert_eq!(one.offsets, several.offsets);
            prop_assert_eq!(one.rejected, several.rejected);
            prop_assert_eq!(one.skipped, several.skipped);
        }
    }

    #[test]
    fn actions_are_decoded_into_the_columns_of_the_same_meaning() {
        let mut stream = message(Kind::Request, 7, b"event", 0);
        let max = MaxPduLength::new(30).unwrap();
        let mut request = CommandSet::new(Kind::ActionRequest, true);
        request.set(Field::MessageID, Value::Us(8));
        request.set(Field::RequestedSOPClassUID, Value::Text(b"1.2.3"));
        request.set(Field::RequestedSOPInstanceUID, Value::Text(b"1.2.3.4"));
        request.set(Field::ActionTypeID, Value::Us(5));
        write_message(&mut stream, 1, max, |out| request.write(out), b"information");
        let mut response = CommandSet::new(Kind::ActionResponse, true);
        response.set(Field::MessageIDBeingRespondedTo, Value::Us(8));
        response.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.3"));
        response.set(Field::Status, Value::Us(0x0123));
        write_message(&mut stream, 1, max, |out| response.write(out), b"reply");
        for layout in [Layout::Plain, Layout::Views] {
            let stream = Buffer::from(stream.clone());
            let decoded = decode_actions(&stream, OnInvalid::Raise, layout);
            assert_eq!(decoded.rejected, []);
            assert_eq!(decoded.skipped.into_iter().collect::<Vec<_>>(), [("N-EVENT-REPORT-RQ", 1)]);
            let [actions] = &plain(decoded.events[0].clone())[..] else { panic!("one batch") };
            let actions = columns_of_actions(actions);
            let text = |name: &str, row| actions[name].as_string::<i32>().value(row).to_owned();
            let number = |name: &str, row| actions[name].as_primitive::<Int32Type>().value(row);
            let bytes = |name: &str, row| actions[name].as_binary::<i32>().value(row).to_owned();
            assert_eq!(text("RequestedSOPClassUID", 0), "1.2.3");
            assert_eq!(text("RequestedSOPInstanceUID", 0), "1.2.3.4");
            assert_eq!((number("MessageID", 0), number("ActionTypeID", 0)), (8, 5));
            assert_eq!(bytes("ActionInformation", 0), b"information");
            assert_eq!(text("RequestedSOPClassUID", 1), "1.2.3");
            assert_eq!(number("MessageIDBeingRespondedTo", 1), 8);
            assert_eq!(number("Status", 1), 0x0123);
            assert_eq!(bytes("ActionReply", 1), b"reply");
            assert!(actions["ActionReply"].is_null(0));
        }
    }

    #[test]
    fn a_missing_data_set_does_not_hide_the_next_message() {
        let complete = message(Kind::Request, 7, b"data", 0);
        let stream = [&complete[..complete.len() - 16], &complete[..]].concat();
        let decoded = decode(
            &stream.into(),
            DecodeOptions { on_invalid: OnInvalid::Skip, ..DecodeOptions::default() },
        );
        assert_eq!(decoded.rows(), 1);
        assert_eq!(decoded.rejected[0].reason, Reason::MissingDataSet);
    }

    #[test]
    fn latin_1_text_is_converted_to_utf_8() {
        let mut command_set = CommandSet::new(Kind::Response, false);
        command_set.set(Field::ErrorComment, Value::Text(b"caf\xe9"));
        let mut stream = Vec::new();
        command_set.write(&mut stream);
        let decoded = decode(
            &stream.into(),
            DecodeOptions { framing: Framing::CommandSet, ..DecodeOptions::default() },
        );
        let events = decoded.batch().unwrap();
        let comments = events[Field::ErrorComment.keyword()].as_string::<i32>();
        assert_eq!(comments.value(0), "café");
        assert!(events[Field::Status.keyword()].is_null(0));
    }
}
