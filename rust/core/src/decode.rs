//! Bytes to columns: PDUs are stepped through once, and what lies whole in the stream is viewed
//! where it lies.
//!
//! There are two ways. Nearly all messages lie whole in the stream and hold nothing unusual:
//! [`crate::whole_message`] reads these. Here is the other way, which knows all the rules.

use std::collections::BTreeMap;
use std::mem;

use arrow_array::RecordBatch;
use arrow_buffer::{Buffer, ScalarBuffer};

use crate::command_set::{CommandSet, Field, Message, Value, message_name};
use crate::decoded_columns::{DecodedColumns, LONGEST, Row, Span};
use crate::encode::{Framing, OnInvalid};
use crate::error::{Reason, Rejection, shown};
use crate::pdu::{Item, NAMES, Pdus, Pdv};
use crate::uid::{MAX_LENGTH, UidError};
use crate::whole_message::{self, WholeMessage};

/// Decoded events as columns, and all else that was in the stream.
#[derive(Debug)]
pub struct Decoded {
    /// A row for each event; the columns of [`schema`].
    pub events: RecordBatch,
    /// Where the first PDU (or the command set) of each event begins.
    pub offsets: ScalarBuffer<i64>,
    /// What could not be decoded.
    pub rejected: Vec<Rejection>,
    /// Other PDUs and other DIMSE messages by name, and how many there were.
    pub stepped_over: BTreeMap<&'static str, u64>,
}

/// Decodes one direction of an association, or of several one after another. `stream` is kept
/// alive by the columns, which view into it.
///
/// With [`OnInvalid::Raise`] decoding stops at the first error, which is then the only entry of
/// `rejected`; the events before it are there.
pub fn decode(stream: &Buffer, framing: Framing, on_invalid: OnInvalid) -> Decoded {
    let mut decoder = Decoder::new(stream, on_invalid);
    match framing {
        Framing::PData => decoder.read_pdus(),
        Framing::CommandSet => decoder.read_command_sets(),
    }
    decoder.finish()
}

/// What has come of a message so far.
#[derive(Debug, Default)]
struct Partial {
    /// Where its first PDU begins.
    begin: usize,
    /// The fragments of its command set, later those of its data set.
    span: Option<Span>,
    /// The event whose data set is due, `None` for another DIMSE message.
    row: Option<Row>,
}

enum State {
    /// Between messages.
    Idle,
    /// In a command set.
    Command(Partial),
    /// In a data set.
    DataSet(Partial),
    /// After an error: data set fragments are passed over until a command comes.
    Lost,
}

struct Decoder<'a> {
    stream: &'a Buffer,
    on_invalid: OnInvalid,
    state: State,
    columns: DecodedColumns<'a>,
    rejected: Vec<Rejection>,
    stepped_over: BTreeMap<&'static str, u64>,
    /// Events so far, good and bad.
    events: u64,
}

impl<'a> Decoder<'a> {
    fn new(stream: &'a Buffer, on_invalid: OnInvalid) -> Self {
        Self {
            stream,
            on_invalid,
            state: State::Idle,
            columns: DecodedColumns::new(stream),
            rejected: Vec::new(),
            stepped_over: BTreeMap::new(),
            events: 0,
        }
    }

    fn stopped(&self) -> bool {
        self.on_invalid == OnInvalid::Raise && !self.rejected.is_empty()
    }

    fn read_pdus(&mut self) {
        let stream = self.stream.as_slice();
        let mut pdus = Pdus::new(stream);
        loop {
            if matches!(self.state, State::Idle | State::Lost)
                && let Some(at) = pdus.next_at()
            {
                pdus.go_on_at(self.read_whole_messages(stream, at));
            }
            let step = match pdus.next() {
                Some(Ok(Item::Pdv(pdv))) => self.read_pdv(&pdv),
                Some(Ok(Item::Other(pdu))) => self.step_over_pdu(pdu),
                Some(Err(rejection)) => Err(rejection),
                None => break,
            };
            if let Err(rejection) = step {
                self.reject(rejection);
            }
            if self.stopped() {
                return;
            }
        }
        if let State::Command(partial) | State::DataSet(partial) = &self.state {
            let rejection = Rejection::new(Reason::StreamEnds).at(partial.begin);
            self.reject(rejection);
        }
    }

    /// Reads messages as long as they lie whole in the stream; returns where the next one begins.
    fn read_whole_messages(&mut self, stream: &[u8], mut at: usize) -> usize {
        let events = self.events;
        while let Some(WholeMessage { row, data_set, end }) = whole_message::read(stream, at) {
            self.push(&row, data_set, end);
            at = end;
        }
        if self.events > events {
            self.state = State::Idle;
        }
        at
    }

    #[inline(always)]
    fn push(&mut self, row: &Row, data_set: Option<Span>, end: usize) {
        self.events += 1;
        if self.columns.push(row, data_set) {
            self.columns.flush(self.foretold_rows(end));
        }
    }

    /// How many events there will be if the rest of the stream is like that before `end`: a little
    /// more, so that columns do not have to move at their very end.
    fn foretold_rows(&self, end: usize) -> usize {
        /// The headers of a PDU and its PDV, Command Field, and Command Data Set Type.
        const SHORTEST_EVENT: usize = 32;
        let (rows, whole) = (self.columns.rows(), self.stream.len());
        let foretold = rows as f64 / end as f64 * whole as f64 * 1.01;
        (foretold as usize + 128).min(whole / SHORTEST_EVENT)
    }

    /// Whatever had come of the message is lost with it.
    fn reject(&mut self, rejection: Rejection) {
        self.rejected.push(rejection.row(self.events));
        self.events += 1;
        self.state = State::Lost;
    }

    fn step_over_pdu(&mut self, pdu: usize) -> Result<(), Rejection> {
        *self.stepped_over.entry(NAMES[pdu]).or_default() += 1;
        match mem::replace(&mut self.state, State::Idle) {
            State::Command(partial) | State::DataSet(partial) => {
                Err(Rejection::new(Reason::AssociationEnds(NAMES[pdu])).at(partial.begin))
            }
            State::Idle | State::Lost => Ok(()),
        }
    }

    fn read_pdv(&mut self, pdv: &Pdv<'_>) -> Result<(), Rejection> {
        match (mem::replace(&mut self.state, State::Lost), pdv.is_command()) {
            (State::Idle | State::Lost, true) => {
                self.read_command(Partial { begin: pdv.pdu_at, ..Partial::default() }, pdv)
            }
            (State::Command(partial), true) => self.read_command(partial, pdv),
            (State::DataSet(partial), false) => {
                self.read_data_set(partial, pdv);
                Ok(())
            }
            (State::Lost, false) => Ok(()),
            (State::Idle | State::Command(_), false) => {
                Err(Rejection::new(Reason::OrphanDataSet).at(pdv.at))
            }
            (State::DataSet(_), true) => {
                // The announced data set never came; the new command may be whole.
                self.reject(Rejection::new(Reason::MissingDataSet).at(pdv.at));
                if self.stopped() { Ok(()) } else { self.read_pdv(pdv) }
            }
        }
    }

    fn read_command(&mut self, partial: Partial, pdv: &Pdv<'_>) -> Result<(), Rejection> {
        let span = self.columns.join(partial.span, pdv);
        if pdv.is_last() {
            return self.end_command(partial.begin, span, pdv.context_id);
        }
        self.state = State::Command(Partial { span: Some(span), ..partial });
        Ok(())
    }

    fn end_command(&mut self, begin: usize, span: Span, context_id: u8) -> Result<(), Rejection> {
        let bytes = self.columns.bytes(span);
        // A joined command set has no one place in the stream: its message's beginning serves.
        let base = if span.joined { begin } else { span.start };
        let place = |rejection: Rejection| match (span.joined, rejection.offset) {
            (false, Some(_)) => rejection.shifted(base),
            _ => rejection.at(base),
        };
        let message = CommandSet::read(bytes).map_err(place)?;
        let data_set = message.data_set();
        let row = match &message {
            Message::Event { command_set, .. } => {
                check_uids(command_set).map_err(place)?;
                let mut row = Row::new(command_set.kind, begin, context_id);
                let texts = set_fields(&mut row, command_set, bytes, span);
                for (field, text) in texts {
                    let text = self.columns.text(text);
                    row.set_text(field, text);
                }
                Some(row)
            }
            Message::Other { command_field, .. } => {
                *self.stepped_over.entry(message_name(*command_field)).or_default() += 1;
                None
            }
        };
        if data_set {
            self.state = State::DataSet(Partial { begin, span: None, row });
        } else {
            self.end_message(row, None);
        }
        Ok(())
    }

    fn read_data_set(&mut self, mut partial: Partial, pdv: &Pdv<'_>) {
        // The data set of another message is not put together.
        if partial.row.is_some() {
            partial.span = Some(self.columns.join(partial.span, pdv));
        }
        if pdv.is_last() {
            self.end_message(partial.row, partial.span);
        } else {
            self.state = State::DataSet(partial);
        }
    }

    fn end_message(&mut self, row: Option<Row>, data_set: Option<Span>) {
        self.state = State::Idle;
        if let (Some(row), Some(span)) = (&row, data_set.filter(|span| span.length > LONGEST)) {
            return self.reject(Rejection::new(Reason::DataSetTooLong(span.length)).at(row.begin));
        }
        if let Some(row) = row {
            self.push(&row, data_set, row.begin);
        }
    }

    /// Command sets one after another: each says its length in its first element.
    fn read_command_sets(&mut self) {
        let stream = self.stream.as_slice();
        let mut at = 0;
        while at < stream.len() && !self.stopped() {
            let length = match command_set_len(&stream[at..]) {
                Ok(length) => length,
                Err(rejection) => return self.reject(rejection.at(at)),
            };
            let step = self.end_command(at, Span { joined: false, start: at, length }, 0);
            // No data sets come in this framing, even where one is announced.
            if let State::DataSet(partial) = mem::replace(&mut self.state, State::Idle) {
                self.end_message(partial.row, None);
            }
            if let Err(rejection) = step {
                self.reject(rejection);
            }
            at += length;
        }
    }

    fn finish(self) -> Decoded {
        let (events, offsets) = self.columns.finish();
        let Self { rejected, stepped_over, .. } = self;
        Decoded { events, offsets, rejected, stepped_over }
    }
}

/// Sets what `command_set` has, and returns the texts; it was read from `bytes`, which lie at `span`.
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
            // `text` is a part of `bytes`: the distance of the two is its place there.
            let start = span.start + (text.as_ptr() as usize - bytes.as_ptr() as usize);
            Some((field, Span { start, length: text.len(), ..span }))
        }
        _ => None,
    });
    texts.into_iter().flatten()
}

/// UIDs as lax as pynetdicom reads them: only the length counts.
fn check_uids(command_set: &CommandSet<'_>) -> Result<(), Rejection> {
    for field in [Field::AffectedSOPClassUID, Field::AffectedSOPInstanceUID] {
        let uid = command_set.get(field).text().unwrap_or_default();
        if uid.len() > MAX_LENGTH {
            let reason = Reason::Uid(shown(uid), UidError::TooLong(uid.len()));
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

    use super::*;
    use crate::columns::EventColumns;
    use crate::command_set::{Kind, Value};
    use crate::encode::{Options, encode};
    use crate::pdv::{MaxPduLength, write_message};

    fn message(kind: Kind, id: u16, data_set: &[u8], max: i128) -> Vec<u8> {
        let mut command_set = CommandSet::new(kind, !data_set.is_empty());
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.840.10008.1.20.1"));
        command_set.set(Field::AffectedSOPInstanceUID, Value::Text(b"1.2.840.10008.1.20.1.1"));
        command_set.set(Field::EventTypeID, Value::Us(1));
        let number = match kind {
            Kind::Request => Field::MessageID,
            Kind::Response => Field::MessageIDBeingRespondedTo,
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

    #[test]
    fn decoding_is_undone_by_encoding() {
        for max in [0, 7, 30, 16382] {
            let mut stream = message(Kind::Request, 7, b"some data set", max);
            stream.extend(message(Kind::Response, 9, b"", max));
            stream.extend(message(Kind::Request, 8, b"", max));
            let decoded = decode(&stream.clone().into(), Framing::PData, OnInvalid::Raise);
            assert_eq!(decoded.rejected, []);
            let columns = [EventColumns::new(&decoded.events).unwrap()];
            let encoded = encode(&columns, &options(max), 0, vec![]).unwrap();
            assert_eq!(encoded.bytes.as_slice(), stream);
            assert_eq!(encoded.offsets[..3], decoded.offsets);
        }
    }

    #[test]
    fn a_stream_cut_anywhere_keeps_the_events_before() {
        let first = message(Kind::Request, 7, b"data", 40);
        let stream = [first.clone(), message(Kind::Request, 8, b"data", 40)].concat();
        for end in first.len()..stream.len() {
            let decoded = decode(&stream[..end].into(), Framing::PData, OnInvalid::Raise);
            assert_eq!(decoded.events.num_rows(), 1, "{end}");
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
        let decoded = decode(&stream.into(), Framing::PData, OnInvalid::Raise);
        assert_eq!(decoded.events.num_rows(), 1);
        let counts: Vec<_> = decoded.stepped_over.into_iter().collect();
        assert_eq!(counts, [("A-RELEASE-RQ", 1), ("C-STORE-RQ", 1)]);
    }

    #[test]
    fn a_missing_data_set_does_not_hide_the_next_message() {
        let whole = message(Kind::Request, 7, b"data", 0);
        let stream = [&whole[..whole.len() - 16], &whole[..]].concat();
        let decoded = decode(&stream.into(), Framing::PData, OnInvalid::Skip);
        assert_eq!(decoded.events.num_rows(), 1);
        assert_eq!(decoded.rejected[0].reason, Reason::MissingDataSet);
    }

    #[test]
    fn text_of_latin_1_becomes_utf_8() {
        let mut command_set = CommandSet::new(Kind::Response, false);
        command_set.set(Field::ErrorComment, Value::Text(b"caf\xe9"));
        let mut stream = Vec::new();
        command_set.write(&mut stream);
        let decoded = decode(&stream.into(), Framing::CommandSet, OnInvalid::Raise);
        let comments = decoded.events[Field::ErrorComment.keyword()].as_string_view().clone();
        assert_eq!(comments.value(0), "café");
        assert!(decoded.events[Field::Status.keyword()].is_null(0));
    }
}
