//! Columns to bytes: every row is checked and written in one pass.

use std::iter::Peekable;
use std::ops::Range;
use std::vec;

use arrow_buffer::{Buffer, ScalarBuffer};

use crate::block::{self, Block};
use crate::characters::WINDOW;
use crate::columns::{Cell, EventColumns};
use crate::command_set::{CommandSet, ELEMENTS, Field, Kind, Source, Usage, Value, Vr};
use crate::error::{Reason, Rejection, shown};
use crate::machine;
use crate::memory::Memory;
use crate::pdv::{HEADERS, MaxPduLength, write_message};
use crate::template::{ROOM, Shape, Template};
use crate::uid;

/// What stands around each command set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// P-DATA-TF PDUs (PS3.8 9.3.5), data sets included.
    PData,
    /// Nothing: command sets one after another, no data sets.
    CommandSet,
}

/// What to do with a row that can't be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// Stop at the first.
    Raise,
    /// Leave it out and go on.
    Skip,
}

/// How to encode.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The presentation context of rows that don't name their own.
    pub context_id: u8,
    /// The most that a PDU may hold.
    pub max_pdu_length: MaxPduLength,
    /// What stands around each command set.
    pub framing: Framing,
    /// What to do with bad rows.
    pub on_invalid: OnInvalid,
    /// Whether UIDs must be conformant to PS3.5 9.1, or only short ASCII.
    pub conformant_uids: bool,
}

/// Checks a presentation context ID: odd, 1 to 255 (PS3.8 9.3.2.2).
pub fn check_context_id(value: i128) -> Result<u8, Rejection> {
    match u8::try_from(value) {
        Ok(id) if id % 2 == 1 => Ok(id),
        _ => Err(Rejection::new(Reason::ContextId(value)).field(Field::PresentationContextID)),
    }
}

/// Encoded messages and the rows that were left out.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The stream.
    pub bytes: Buffer,
    /// Where each message begins, and last the length of the stream.
    pub offsets: ScalarBuffer<i64>,
    /// The rows that were left out.
    pub rejected: Vec<Rejection>,
}

/// Encodes the rows of `batches`; the first of them is row `first_row` in messages, and in the
/// numbering of requests where there is no MessageID column. `broken` holds what was already
/// found wrong with rows before they became columns, in the order of the rows.
///
/// # Errors
/// With [`OnInvalid::Raise`] the first row that breaks a rule.
pub fn encode(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    broken: Vec<Rejection>,
) -> Result<Encoded, Rejection> {
    let rows: usize = batches.iter().map(|columns| columns.rows).sum();
    let most: usize = batches.iter().map(|columns| most_bytes(columns, options)).sum();
    let (mut bytes, mut offsets) = (Memory::new(most + ROOM), Memory::new((rows + 1) * 8));
    let (ends, _) = offsets.bytes().as_chunks_mut();
    let mut encoder = Encoder::new(options, first_row, broken, bytes.bytes(), ends);
    for columns in batches {
        machine::widely(
            #[inline(always)]
            || encoder.encode(columns, 0..columns.rows),
        )?;
    }
    let Encoder { at, messages, rejected, .. } = encoder;
    Ok(Encoded {
        bytes: bytes.into_buffer(at),
        offsets: ScalarBuffer::new(offsets.into_buffer((messages + 1) * 8), 0, messages + 1),
        rejected,
    })
}

/// The most bytes that the rows can become. What is not used of it is never touched.
fn most_bytes(columns: &EventColumns, options: &Options) -> usize {
    // Elements with numbers, and the headers and the padding of the others.
    let fixed: usize = ELEMENTS.iter().map(|_| 12).sum();
    let of = |field| columns.cells(field).map_or(0, |cells| cells.most_bytes(columns.rows));
    let command_sets = columns.rows * fixed + Field::TEXTS.into_iter().map(of).sum::<usize>();
    match options.framing {
        Framing::CommandSet => command_sets,
        Framing::PData => {
            let all = command_sets + Field::DATA_SETS.into_iter().map(of).sum::<usize>();
            // Each part of a message may end in a fragment that is not full.
            all + (all / options.max_pdu_length.fragment() + 2 * columns.rows) * HEADERS
        }
    }
}

/// Rows on their way into memory.
///
/// There are two ways. Most rows are like one before: a template is copied and filled in. The others
/// go element by element, as do those that are refused, and this way alone knows all the rules.
struct Encoder<'o> {
    options: &'o Options,
    /// The number of the next row.
    number: u64,
    broken: Peekable<vec::IntoIter<Rejection>>,
    out: &'o mut [u8],
    at: usize,
    offsets: &'o mut [[u8; 8]],
    messages: usize,
    rejected: Vec<Rejection>,
    scratch: Vec<u8>,
}

impl<'o> Encoder<'o> {
    fn new(
        options: &'o Options,
        first_row: u64,
        broken: Vec<Rejection>,
        out: &'o mut [u8],
        offsets: &'o mut [[u8; 8]],
    ) -> Self {
        offsets[0] = 0_i64.to_ne_bytes();
        Self {
            options,
            number: first_row,
            broken: broken.into_iter().peekable(),
            out,
            at: 0,
            offsets,
            messages: 0,
            rejected: Vec::new(),
            scratch: Vec::new(),
        }
    }

    #[inline(always)]
    fn encode(&mut self, columns: &EventColumns, rows: Range<usize>) -> Result<(), Rejection> {
        let mut block = Block::new(columns);
        let mut templates = Templates::default();
        for first in rows.clone().step_by(block::ROWS) {
            block.take(first, block::ROWS.min(rows.end - first));
            let mut row = 0;
            while row < block.rows {
                let class = block.cell(Field::AffectedSOPClassUID, row);
                let run = match templates.find(block.shapes[row], class) {
                    Some(template) => self.run(&block, row, template),
                    None => 0,
                };
                row += run.max(1);
                if run > 0 {
                    continue;
                }
                self.single(columns, &block, row - 1, &mut templates)?;
            }
        }
        Ok(())
    }

    /// Encodes the rows from `first` on for which a template serves, and returns how many these are.
    #[inline(always)]
    fn run(&mut self, block: &Block<'_>, first: usize, template: &Template<'_>) -> usize {
        let Options { framing, max_pdu_length, .. } = *self.options;
        let most = match framing {
            Framing::PData => max_pdu_length.fragment(),
            Framing::CommandSet => usize::MAX,
        };
        if template.command_set_len(WINDOW) > most {
            return 0;
        }
        let broken = self.broken.peek().and_then(|rejection| rejection.row);
        let before_broken = broken.map_or(usize::MAX, |row| (row - self.number) as usize);
        let end = block.rows.min(first.saturating_add(before_broken));
        let classes = block.cells(Field::AffectedSOPClassUID);
        let data_sets = block.data_sets(template.data_set);
        let mut row = first;
        while row < end
            && template.fits(block.shapes[row], classes[row])
            && block.conformant[row]
            && data_sets.is_none_or(|cells| cells[row].length() <= most)
            && !block.out_of_range(row)
        {
            row += 1;
        }
        let rows = first..row;
        match (template.kind, block.has(Field::MessageID)) {
            (Kind::Request, false) => {
                self.write_run(block, rows, template, Numbering::From(self.message_id()));
            }
            (Kind::Request, true) => {
                self.write_run(block, rows, template, Numbering::Column(Field::MessageID));
            }
            (Kind::Response, _) => {
                let field = Field::MessageIDBeingRespondedTo;
                self.write_run(block, rows, template, Numbering::Column(field));
            }
        }
        row - first
    }

    // In line, so that nothing is asked of each row that holds for all.
    #[inline(always)]
    fn write_run(
        &mut self,
        block: &Block<'_>,
        rows: Range<usize>,
        template: &Template<'_>,
        mut numbering: Numbering,
    ) {
        let data_sets = block.data_sets(template.data_set);
        let uids = block.cells(Field::AffectedSOPInstanceUID);
        let offsets = &mut self.offsets[self.messages + 1..][..rows.len()];
        let mut at = self.at;
        for (row, offset) in rows.clone().zip(offsets) {
            let numbers = block.numbers(row, numbering.next(block, row));
            let out = self.out[at..].first_chunk_mut().expect("there is room for any row");
            match data_sets.map(|cells| cells[row]) {
                Some(data_set) => {
                    at += template.write(out, numbers, uids[row], data_set.length());
                    at += data_set.write(&mut self.out[at..]);
                }
                None => at += template.write(out, numbers, uids[row], 0),
            }
            *offset = (at as i64).to_ne_bytes();
        }
        self.at = at;
        self.messages += rows.len();
        self.number += rows.len() as u64;
    }

    /// Encodes or refuses a row for which no template serves.
    #[inline(never)]
    fn single<'c>(
        &mut self,
        columns: &'c EventColumns,
        block: &Block<'c>,
        row: usize,
        templates: &mut Templates<'c>,
    ) -> Result<(), Rejection> {
        let class = block.cell(Field::AffectedSOPClassUID, row);
        if templates.find(block.shapes[row], class).is_some()
            && let Some(rejection) = self.bad_uid(block, row)
        {
            return self.reject(rejection);
        }
        self.by_element(columns, block, row, templates)
    }

    /// What is wrong with a row that has a template, if it is its instance UID. The other rules of
    /// a message come later in the order of its elements.
    fn bad_uid(&mut self, block: &Block<'_>, row: usize) -> Option<Rejection> {
        if block.out_of_range(row) || self.is_broken() {
            return None;
        }
        let field = Field::AffectedSOPInstanceUID;
        let reason = check_uid(block.cell(field, row).bytes()?, self.options).err()?;
        Some(Rejection::new(reason).field(field))
    }

    fn reject(&mut self, rejection: Rejection) -> Result<(), Rejection> {
        let rejection = rejection.row(self.number);
        self.number += 1;
        match self.options.on_invalid {
            OnInvalid::Raise => Err(rejection),
            OnInvalid::Skip => {
                self.rejected.push(rejection);
                Ok(())
            }
        }
    }

    /// Message IDs run from 1 to 65535 and round again.
    fn message_id(&self) -> u16 {
        (self.number % 65535 + 1) as u16
    }

    fn is_broken(&mut self) -> bool {
        self.broken.peek().is_some_and(|rejection| rejection.row == Some(self.number))
    }

    /// Checks and encodes a row by the table of elements.
    fn by_element<'c>(
        &mut self,
        columns: &'c EventColumns,
        block: &Block<'c>,
        row: usize,
        templates: &mut Templates<'c>,
    ) -> Result<(), Rejection> {
        let in_columns = block.first + row;
        let event = Event::of_row(columns, in_columns, self.message_id());
        let found = match self.broken.next_if(|rejection| rejection.row == Some(self.number)) {
            Some(rejection) => Err(rejection),
            None => event.check(columns, in_columns, self.options),
        };
        if let Err(rejection) = found {
            return self.reject(rejection);
        }
        if event.command_set.get(Field::ErrorComment) == Value::Absent {
            let class = block.cell(Field::AffectedSOPClassUID, row);
            let id = event.context_id(self.options);
            let shape = block.shapes[row];
            templates.add(Template::new(shape, class, &event.command_set, id, self.options));
        }
        self.scratch.clear();
        event.write(&mut self.scratch, self.options);
        self.out[self.at..self.at + self.scratch.len()].copy_from_slice(&self.scratch);
        self.at += self.scratch.len();
        self.messages += 1;
        self.offsets[self.messages] = (self.at as i64).to_ne_bytes();
        self.number += 1;
        Ok(())
    }
}

/// Where the Message IDs of a run come from.
enum Numbering {
    Column(Field),
    /// The next one.
    From(u16),
}

impl Numbering {
    #[inline]
    fn next(&mut self, block: &Block<'_>, row: usize) -> u16 {
        match self {
            Self::Column(field) => block.number(*field, row) as u16,
            Self::From(next) => {
                let message_id = *next;
                *next = message_id.checked_add(1).unwrap_or(1);
                message_id
            }
        }
    }
}

/// The templates of a table: a few, of which most rows have the one of the row before.
#[derive(Default)]
struct Templates<'a> {
    all: Vec<Template<'a>>,
    last: usize,
}

/// Tables with more kinds of rows than this forget the oldest.
const MOST_TEMPLATES: usize = 16;

impl<'a> Templates<'a> {
    #[inline]
    fn find(&mut self, shape: Shape, class: Cell<'_>) -> Option<&Template<'a>> {
        let fits = |template: &Template<'_>| template.fits(shape, class);
        if !self.all.get(self.last).is_some_and(fits) {
            self.last = self.all.iter().position(fits)?;
        }
        self.all.get(self.last)
    }

    fn add(&mut self, template: Template<'a>) {
        if self.all.len() == MOST_TEMPLATES {
            self.all.remove(0);
        }
        self.last = self.all.len();
        self.all.push(template);
    }
}

/// Checks the rows of `batches` and gives all that is wrong, without encoding.
pub fn validate(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    broken: Vec<Rejection>,
) -> Vec<Rejection> {
    let mut broken = broken.into_iter().peekable();
    let mut number = first_row;
    let mut rejected = Vec::new();
    for columns in batches {
        for row in 0..columns.rows {
            let found = match broken.next_if(|rejection| rejection.row == Some(number)) {
                Some(rejection) => Err(rejection),
                None => Event::of_row(columns, row, 1).check(columns, row, options),
            };
            rejected.extend(found.err().map(|rejection| rejection.row(number)));
            number += 1;
        }
    }
    rejected
}

/// One row as a message.
struct Event<'a> {
    context_id: Option<i128>,
    command_set: CommandSet<'a>,
    data_set: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    fn of_row(columns: &'a EventColumns, row: usize, message_id: u16) -> Self {
        let kind = kind_of_row(columns, row);
        // A message that announced a data set of no bytes would leave its receiver waiting.
        let data_set = columns.bytes(kind.data_set(), row).filter(|bytes| !bytes.is_empty());
        let mut command_set = CommandSet::new(kind, data_set.is_some());
        for element in &ELEMENTS {
            if let Source::Field(field) = element.source {
                command_set.set(field, value_of_row(columns, row, field, element.vr));
            }
        }
        if !columns.has(Field::MessageID) {
            command_set.set(Field::MessageID, Value::Us(message_id));
        }
        let context_id = columns.integer(Field::PresentationContextID, row);
        Self { context_id, command_set, data_set }
    }

    fn check(
        &self,
        columns: &EventColumns,
        row: usize,
        options: &Options,
    ) -> Result<(), Rejection> {
        let kind = self.command_set.kind;
        for element in &ELEMENTS {
            if let Source::Field(field) = element.source {
                let usage = element.usage(kind);
                check_field(columns, row, field, usage, kind, self.command_set.get(field), options)
                    .map_err(|reason| Rejection::new(reason).field(field))?;
            }
        }
        self.check_data_set(columns, row, options)?;
        self.context_id.map_or(Ok(0), check_context_id).map(|_| ())
    }

    fn check_data_set(
        &self,
        columns: &EventColumns,
        row: usize,
        options: &Options,
    ) -> Result<(), Rejection> {
        let kind = self.command_set.kind;
        let other = match kind {
            Kind::Request => Field::EventReply,
            Kind::Response => Field::EventInformation,
        };
        if columns.bytes(other, row).is_some_and(|bytes| !bytes.is_empty()) {
            return Err(Rejection::new(Reason::NotCarried(kind)).field(other));
        }
        let length = self.data_set.map_or(0, <[u8]>::len);
        options.max_pdu_length.check(length).map_err(|rejection| rejection.field(kind.data_set()))
    }

    fn context_id(&self, options: &Options) -> u8 {
        self.context_id.map_or(options.context_id, |id| id as u8)
    }

    fn write(&self, out: &mut Vec<u8>, options: &Options) {
        if options.framing == Framing::CommandSet {
            return self.command_set.write(out);
        }
        let data_set = self.data_set.unwrap_or_default();
        let command_set = |out: &mut Vec<u8>| self.command_set.write(out);
        write_message(out, self.context_id(options), options.max_pdu_length, command_set, data_set);
    }
}

/// A row that responds to a message is a response.
fn kind_of_row(columns: &EventColumns, row: usize) -> Kind {
    match columns.integer(Field::MessageIDBeingRespondedTo, row) {
        Some(_) => Kind::Response,
        None => Kind::Request,
    }
}

/// The value as it will be written; a number that doesn't fit is found by [`check_field`].
fn value_of_row(columns: &EventColumns, row: usize, field: Field, vr: Vr) -> Value<'_> {
    match vr {
        Vr::Us | Vr::Ul => columns
            .integer(field, row)
            .map_or(Value::Absent, |number| Value::Us(u16::try_from(number).unwrap_or_default())),
        Vr::Ui | Vr::Lo => columns.bytes(field, row).map_or(Value::Absent, Value::Text),
    }
}

fn check_field(
    columns: &EventColumns,
    row: usize,
    field: Field,
    usage: Usage,
    kind: Kind,
    value: Value<'_>,
    options: &Options,
) -> Result<(), Reason> {
    match (usage, value) {
        // A numbered row has a Message ID that nobody set: a response just leaves it out.
        (Usage::Absent, Value::Us(_)) if !columns.has(field) => Ok(()),
        (Usage::Absent, Value::Absent) | (Usage::Optional, Value::Absent) => Ok(()),
        (Usage::Absent, _) => Err(Reason::NotCarried(kind)),
        (Usage::Mandatory, Value::Absent) => Err(Reason::Missing(kind)),
        (_, Value::Us(_)) => match columns.integer(field, row) {
            Some(number @ ..0 | number @ 65536..) => Err(Reason::OutOfRange(number)),
            _ => Ok(()),
        },
        (_, Value::Text(text)) if field == Field::ErrorComment => check_error_comment(text),
        (_, Value::Text(text)) => check_uid(text, options),
        (_, Value::UsMany(_)) => Ok(()),
    }
}

fn check_uid(text: &[u8], options: &Options) -> Result<(), Reason> {
    let check = if options.conformant_uids { uid::check } else { uid::check_lenient };
    check(text).map_err(|error| Reason::Uid(shown(text), error))
}

/// LO: at most 64 characters of the default repertoire, no backslash and no control character
/// (PS3.5 6.1.2.1, 6.2); a command set has no Specific Character Set that could allow more.
fn check_error_comment(text: &[u8]) -> Result<(), Reason> {
    if let Some(character) = String::from_utf8_lossy(text)
        .chars()
        .find(|character| !matches!(character, ' '..='~') || *character == '\\')
    {
        return Err(Reason::TextCharacter(shown(text), character));
    }
    if text.len() > 64 {
        return Err(Reason::TextTooLong(shown(text), text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BinaryArray, Int32Array, RecordBatch, StringArray, UInt16Array};

    use super::*;

    fn options(on_invalid: OnInvalid) -> Options {
        Options {
            context_id: 1,
            max_pdu_length: MaxPduLength::new(16382).unwrap(),
            framing: Framing::PData,
            on_invalid,
            conformant_uids: true,
        }
    }

    fn columns(uids: [&str; 3]) -> EventColumns {
        let batch = RecordBatch::try_from_iter([
            ("AffectedSOPClassUID", Arc::new(StringArray::from(vec!["1.2"; 3])) as ArrayRef),
            ("AffectedSOPInstanceUID", Arc::new(StringArray::from(uids.to_vec()))),
            ("EventTypeID", Arc::new(Int32Array::from(vec![1, 2, 3]))),
            ("EventInformation", Arc::new(BinaryArray::from(vec![None, Some(&b"ab"[..]), None]))),
        ]);
        EventColumns::new(&batch.unwrap()).unwrap()
    }

    #[test]
    fn the_length_is_foretold_and_the_offsets_part_the_messages() {
        let encoded =
            encode(&[columns(["1", "1.2", "1.3"])], &options(OnInvalid::Raise), 0, vec![]).unwrap();
        assert_eq!(*encoded.offsets.last().unwrap() as usize, encoded.bytes.len());
        for offset in &encoded.offsets[..3] {
            assert_eq!(encoded.bytes[*offset as usize], 0x04);
        }
    }

    #[test]
    fn a_bad_row_is_named_or_left_out() {
        let bad = [columns(["1", "1.x", "1.3"])];
        let rejection = encode(&bad, &options(OnInvalid::Raise), 10, vec![]).unwrap_err();
        assert_eq!(
            (rejection.row, rejection.field),
            (Some(11), Some(Field::AffectedSOPInstanceUID))
        );
        let encoded = encode(&bad, &options(OnInvalid::Skip), 10, vec![]).unwrap();
        assert_eq!((encoded.offsets.len(), encoded.rejected), (3, vec![rejection]));
    }

    #[test]
    fn what_was_broken_before_is_left_out_too() {
        let broken = vec![Rejection::new(Reason::Value("no".into())).row(1)];
        let encoded =
            encode(&[columns(["1", "1", "1"])], &options(OnInvalid::Skip), 0, broken).unwrap();
        assert_eq!((encoded.offsets.len(), encoded.rejected.len()), (3, 1));
    }

    #[test]
    fn a_request_does_not_carry_a_status() {
        let batch = RecordBatch::try_from_iter([
            ("AffectedSOPClassUID", Arc::new(StringArray::from(vec!["1.2"])) as ArrayRef),
            ("AffectedSOPInstanceUID", Arc::new(StringArray::from(vec!["1.2"]))),
            ("EventTypeID", Arc::new(UInt16Array::from(vec![1]))),
            ("Status", Arc::new(UInt16Array::from(vec![0]))),
        ]);
        let columns = [EventColumns::new(&batch.unwrap()).unwrap()];
        let rejected = validate(&columns, &options(OnInvalid::Raise), 0, vec![]);
        assert_eq!(rejected[0].reason, Reason::NotCarried(Kind::Request));
        assert_eq!(rejected[0].field, Some(Field::Status));
    }

    #[test]
    fn message_ids_go_round() {
        let columns = [columns(["1", "1", "1"])];
        let encoded = encode(&columns, &options(OnInvalid::Raise), 65534, vec![]).unwrap();
        let ids: Vec<u8> = encoded.offsets[..3]
            .iter()
            .map(|&at| encoded.bytes[at as usize + 12 + 12 + 12 + 10 + 8])
            .collect();
        assert_eq!(ids, [0xff, 1, 2]);
    }
}
