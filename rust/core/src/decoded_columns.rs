//! Columns while they are decoded: views into the stream, and into what had to be joined.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{UInt8Builder, UInt16Builder, make_view};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryViewArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow_buffer::{Buffer, NullBufferBuilder};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};

use crate::command_set::{CommandSet, Field, Kind, Value};
use crate::pdu::Pdv;

/// The columns of decoded events.
pub fn schema() -> SchemaRef {
    let columns = Field::ALL.map(|field| {
        let data_type = match field {
            Field::AffectedSOPClassUID => {
                DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into())
            }
            Field::AffectedSOPInstanceUID | Field::ErrorComment => DataType::Utf8View,
            Field::EventInformation | Field::EventReply => DataType::BinaryView,
            Field::PresentationContextID => DataType::UInt8,
            _ => DataType::UInt16,
        };
        Column::new(field.keyword(), data_type, true)
    });
    Arc::new(Schema::new(columns.to_vec()))
}

/// A part of the stream, or of what was joined from fragments.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Of the joined bytes rather than of the stream.
    pub joined: bool,
    /// Where it begins.
    pub start: usize,
    /// How long it is.
    pub length: usize,
}

/// Text in a command set.
#[derive(Debug)]
enum Text {
    /// ASCII, viewed where it lies.
    Lies(Span),
    /// Anything else, read as Latin-1 as pydicom does.
    Converted(String),
}

impl Text {
    fn new(text: &[u8], command_set: &[u8], span: Span) -> Self {
        if !text.is_ascii() {
            return Self::Converted(text.iter().copied().map(char::from).collect());
        }
        // `text` is a part of `command_set`: the distance of the two is its place there.
        let start = span.start + (text.as_ptr() as usize - command_set.as_ptr() as usize);
        Self::Lies(Span { start, length: text.len(), ..span })
    }
}

/// An event whose command set is read and whose data set may be still to come.
#[derive(Debug)]
pub struct Row {
    kind: Kind,
    /// Where its first PDU begins.
    pub begin: usize,
    context_id: u8,
    numbers: [Option<u16>; Field::NUMBERS.len()],
    texts: [Option<Text>; Field::TEXTS.len()],
}

impl Row {
    /// Keeps what `command_set` says; it was read from `bytes`, which lie at `span`.
    pub fn new(
        command_set: &CommandSet<'_>,
        bytes: &[u8],
        span: Span,
        begin: usize,
        context_id: u8,
    ) -> Self {
        let text = |field| match command_set.get(field) {
            Value::Text(text) => Some(Text::new(text, bytes, span)),
            _ => None,
        };
        Self {
            kind: command_set.kind,
            begin,
            context_id,
            numbers: Field::NUMBERS.map(|field| command_set.get(field).us()),
            texts: Field::TEXTS.map(text),
        }
    }
}

/// The columns while they grow.
#[derive(Debug, Default)]
pub struct DecodedColumns {
    numbers: [UInt16Builder; Field::NUMBERS.len()],
    sop_class: SopClasses,
    sop_instance: Views,
    error_comment: Views,
    event_information: Views,
    event_reply: Views,
    context_id: UInt8Builder,
    offsets: Vec<i64>,
    joined: Vec<u8>,
}

impl DecodedColumns {
    /// The bytes of a span.
    pub fn bytes<'b>(&'b self, stream: &'b Buffer, span: Span) -> &'b [u8] {
        of(stream, &self.joined, span)
    }

    /// Adds a fragment: the first is left where it lies, with a second one both are copied.
    pub fn join(&mut self, stream: &Buffer, before: Option<Span>, pdv: &Pdv<'_>) -> Span {
        let length = pdv.fragment.len();
        let Some(before) = before else {
            return Span { joined: false, start: pdv.fragment_at, length };
        };
        let start = if before.joined { before.start } else { self.joined.len() };
        if !before.joined {
            self.joined.extend_from_slice(&stream[before.start..before.start + before.length]);
        }
        self.joined.extend_from_slice(pdv.fragment);
        Span { joined: true, start, length: before.length + length }
    }

    /// Adds a whole event.
    pub fn push(&mut self, stream: &Buffer, row: Row, data_set: Option<Span>) {
        for (builder, number) in self.numbers.iter_mut().zip(row.numbers) {
            builder.append_option(number);
        }
        let [sop_class, sop_instance, error_comment] =
            row.texts.map(|text| text.map(|text| self.place(text)));
        self.sop_class.push(sop_class.map(|span| of(stream, &self.joined, span)));
        let windows = Windows::of(stream);
        let joined = &self.joined;
        let view = |views: &mut Views, span: Option<Span>| {
            views.push(span.map(|span| windows.view(of(stream, joined, span), span)));
        };
        view(&mut self.sop_instance, sop_instance);
        view(&mut self.error_comment, error_comment);
        let of_kind = |kind| data_set.filter(|_| row.kind == kind);
        view(&mut self.event_information, of_kind(Kind::Request));
        view(&mut self.event_reply, of_kind(Kind::Response));
        self.context_id.append_value(row.context_id);
        self.offsets.push(row.begin as i64);
    }

    fn place(&mut self, text: Text) -> Span {
        match text {
            Text::Lies(span) => span,
            Text::Converted(text) => {
                let start = self.joined.len();
                self.joined.extend_from_slice(text.as_bytes());
                Span { joined: true, start, length: text.len() }
            }
        }
    }

    /// The finished columns, and where each event begins.
    pub fn finish(mut self, stream: &Buffer) -> (RecordBatch, Vec<i64>) {
        let buffers = Windows::of(stream).buffers(stream, self.joined.into());
        let strings = |views: Views| -> ArrayRef {
            let (views, buffers, valid) = views.finish(&buffers);
            // Only ASCII and what was converted to UTF-8 is viewed as text; this checks it again.
            Arc::new(StringViewArray::new(views, buffers, valid))
        };
        let binaries = |views: Views| -> ArrayRef {
            let (views, buffers, valid) = views.finish(&buffers);
            Arc::new(BinaryViewArray::new(views, buffers, valid))
        };
        let [message_id, responded_to, event_type, status, error_id] =
            self.numbers.map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
        let columns = vec![
            message_id,
            responded_to,
            self.sop_class.finish(),
            strings(self.sop_instance),
            event_type,
            binaries(self.event_information),
            binaries(self.event_reply),
            status,
            strings(self.error_comment),
            error_id,
            Arc::new(self.context_id.finish()),
        ];
        let batch = RecordBatch::try_new(schema(), columns).expect("the columns fit the schema");
        (batch, self.offsets)
    }
}

fn of<'b>(stream: &'b Buffer, joined: &'b [u8], span: Span) -> &'b [u8] {
    let bytes = if span.joined { joined } else { stream.as_slice() };
    &bytes[span.start..span.start + span.length]
}

/// How streams of more than 2 GiB are cut for Arrow's views, whose offsets are 31 bits long:
/// buffers that overlap, so that any value of up to 1 GiB lies whole in the one it begins in.
#[derive(Clone, Copy)]
struct Windows {
    of_stream: usize,
}

const STRIDE: usize = 1 << 30;
const WINDOW: usize = i32::MAX as usize;

impl Windows {
    fn of(stream: &Buffer) -> Self {
        Self { of_stream: stream.len().div_ceil(STRIDE) }
    }

    fn view(self, bytes: &[u8], span: Span) -> u128 {
        let first = if span.joined { self.of_stream } else { 0 };
        make_view(bytes, (first + span.start / STRIDE) as u32, (span.start % STRIDE) as u32)
    }

    fn buffers(self, stream: &Buffer, joined: Buffer) -> Vec<Buffer> {
        let windows = |buffer: &Buffer| -> Vec<Buffer> {
            let window = |range: Range<usize>| buffer.slice_with_length(range.start, range.len());
            (0..buffer.len())
                .step_by(STRIDE)
                .map(|start| window(start..buffer.len().min(start + WINDOW)))
                .collect()
        };
        [windows(stream), windows(&joined)].concat()
    }
}

/// The longest data set that a view can show.
pub const LONGEST: usize = WINDOW - STRIDE;

#[derive(Debug)]
struct Views {
    views: Vec<u128>,
    valid: NullBufferBuilder,
}

impl Default for Views {
    fn default() -> Self {
        Self { views: Vec::new(), valid: NullBufferBuilder::new(0) }
    }
}

impl Views {
    fn push(&mut self, view: Option<u128>) {
        self.views.push(view.unwrap_or_default());
        self.valid.append(view.is_some());
    }

    fn finish(
        mut self,
        buffers: &[Buffer],
    ) -> (arrow_buffer::ScalarBuffer<u128>, Vec<Buffer>, Option<arrow_buffer::NullBuffer>) {
        (self.views.into(), buffers.to_vec(), self.valid.finish())
    }
}

/// SOP classes repeat: a dictionary of those that occur.
#[derive(Debug, Default)]
struct SopClasses {
    keys: Vec<Option<i32>>,
    values: Vec<String>,
    known: HashMap<String, i32>,
}

impl SopClasses {
    fn push(&mut self, uid: Option<&[u8]>) {
        let key = uid.map(|uid| {
            let uid = String::from_utf8_lossy(uid);
            self.last_if(&uid).unwrap_or_else(|| self.key(&uid))
        });
        self.keys.push(key);
    }

    /// Most streams have one SOP class: a comparison with the last one saves the hash.
    fn last_if(&self, uid: &str) -> Option<i32> {
        let key = self.keys.last().copied().flatten()?;
        (self.values[key as usize] == uid).then_some(key)
    }

    fn key(&mut self, uid: &str) -> i32 {
        if let Some(&key) = self.known.get(uid) {
            return key;
        }
        let key = self.values.len() as i32;
        self.values.push(uid.to_owned());
        self.known.insert(uid.to_owned(), key);
        key
    }

    fn finish(self) -> ArrayRef {
        let keys = PrimitiveArray::<Int32Type>::from(self.keys);
        let values = Arc::new(StringArray::from(self.values));
        Arc::new(DictionaryArray::new(keys, values))
    }
}
