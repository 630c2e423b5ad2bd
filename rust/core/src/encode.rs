//! Columns to bytes: check every row, count every byte, write once.

use crate::columns::EventColumns;
use crate::command_set::{CommandSet, ELEMENTS, Field, Kind, Source, Usage, Value, Vr};
use crate::error::{Reason, Rejection, shown};
use crate::pdv::{MaxPduLength, write_message};
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
    pub bytes: Vec<u8>,
    /// Where each message begins, and last the length of the stream.
    pub offsets: Vec<i64>,
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
    let mut broken = broken.into_iter().peekable();
    let mut number = first_row;
    let mut checked = Vec::with_capacity(batches.len());
    for columns in batches {
        checked.push(check_rows(columns, options, &mut number, &mut broken)?);
    }
    let mut encoded = Encoded::with_room_for(&checked);
    for (columns, checked) in batches.iter().zip(checked) {
        for (row, message_id) in checked.rows {
            let event = Event::of_row(columns, row, message_id);
            event.write(&mut encoded.bytes, options);
            encoded.offsets.push(encoded.bytes.len() as i64);
        }
        encoded.rejected.extend(checked.rejected);
    }
    Ok(encoded)
}

impl Encoded {
    fn with_room_for(checked: &[Checked]) -> Self {
        let bytes = checked.iter().map(|checked| checked.bytes).sum();
        let rows: usize = checked.iter().map(|checked| checked.rows.len()).sum();
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(bytes), offsets, rejected: Vec::new() }
    }
}

/// Checks the rows of `batches` and gives all that is wrong, without encoding.
pub fn validate(
    batches: &[EventColumns],
    options: &Options,
    first_row: u64,
    broken: Vec<Rejection>,
) -> Vec<Rejection> {
    let options = Options { on_invalid: OnInvalid::Skip, ..*options };
    let mut broken = broken.into_iter().peekable();
    let mut number = first_row;
    let mut rejected = Vec::new();
    for columns in batches {
        if let Ok(checked) = check_rows(columns, &options, &mut number, &mut broken) {
            rejected.extend(checked.rejected);
        }
    }
    rejected
}

#[derive(Default)]
struct Checked {
    /// The good rows, each with the Message ID it gets where there is no column of them.
    rows: Vec<(usize, u16)>,
    /// How many bytes they take.
    bytes: usize,
    rejected: Vec<Rejection>,
}

fn check_rows(
    columns: &EventColumns,
    options: &Options,
    number: &mut u64,
    broken: &mut std::iter::Peekable<impl Iterator<Item = Rejection>>,
) -> Result<Checked, Rejection> {
    let mut checked = Checked { rows: Vec::with_capacity(columns.rows), ..Checked::default() };
    for row in 0..columns.rows {
        // Message IDs run from 1 to 65535 and round again.
        let message_id = (*number % 65535 + 1) as u16;
        let event = Event::of_row(columns, row, message_id);
        let found = match broken.next_if(|rejection| rejection.row == Some(*number)) {
            Some(rejection) => Err(rejection),
            None => event.check(columns, row, options),
        };
        match found {
            Ok(()) => {
                checked.bytes += event.encoded_len(options);
                checked.rows.push((row, message_id));
            }
            Err(rejection) if options.on_invalid == OnInvalid::Raise => {
                return Err(rejection.row(*number));
            }
            Err(rejection) => checked.rejected.push(rejection.row(*number)),
        }
        *number += 1;
    }
    Ok(checked)
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

    fn encoded_len(&self, options: &Options) -> usize {
        let command_set = self.command_set.encoded_len();
        match options.framing {
            Framing::CommandSet => command_set,
            Framing::PData => {
                let data_set = self.data_set.map_or(0, <[u8]>::len);
                options.max_pdu_length.message_len(command_set, data_set)
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>, options: &Options) {
        if options.framing == Framing::CommandSet {
            return self.command_set.write(out);
        }
        let context_id = self.context_id.map_or(options.context_id, |id| id as u8);
        let data_set = self.data_set.unwrap_or_default();
        let command_set = |out: &mut Vec<u8>| self.command_set.write(out);
        write_message(out, context_id, options.max_pdu_length, command_set, data_set);
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
        (_, Value::Text(text)) => {
            let check = if options.conformant_uids { uid::check } else { uid::check_lenient };
            check(text).map_err(|error| Reason::Uid(shown(text), error))
        }
        (_, Value::UsMany(_)) => Ok(()),
    }
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
        assert_eq!(encoded.bytes.capacity(), encoded.bytes.len());
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
