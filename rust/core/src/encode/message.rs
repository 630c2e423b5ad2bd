//! A row as a message, and the rules of its fields (PS3.7 10.1.1.1).

use crate::columns::integers::{NO_NUMBER, OUT_OF_RANGE};
use crate::command_set::{CommandSet, ELEMENTS, Source, Usage, Value, Vr};
use crate::encode::block::Block;
use crate::encode::options::{Options, check_context_id};
use crate::excerpt::excerpt;
use crate::field::{Field, Kind};
use crate::options::Framing;
use crate::pdu::write::write_message;
use crate::rejection::{Reason, Rejection};
use crate::uid;

/// A row as a message.
pub struct EventMessage<'a> {
    context_id: Option<u16>,
    /// The command set.
    pub command_set: CommandSet<'a>,
    data_set: Option<&'a [u8]>,
}

/// The Message ID of a row without one: from 1 to 65535, and then from 1 again.
#[inline]
pub fn message_id_of_row(row: u64) -> u16 {
    (row % 65535 + 1) as u16
}

impl<'a> EventMessage<'a> {
    /// Reads a row of a block. `message_id` is the Message ID of a request if the table has no such
    /// column.
    pub fn from_row(block: &'a Block<'_>, row: usize, message_id: u16) -> Self {
        // A row with Message ID Being Responded To is a response.
        let kind = match block.number(Field::MessageIDBeingRespondedTo, row) {
            NO_NUMBER => Kind::Request,
            _ => Kind::Response,
        };
        // After an announced data set without bytes the receiver would wait forever.
        let data_set = block.data_set(kind.data_set(), row).filter(|bytes| !bytes.is_empty());
        let mut command_set = CommandSet::new(kind, data_set.is_some());
        for element in &ELEMENTS {
            if let Source::Field(field) = element.source {
                command_set.set(field, value_of_row(block, row, field, element.vr));
            }
        }
        if !block.has(Field::MessageID) {
            command_set.set(Field::MessageID, Value::Us(message_id));
        }
        let context_id = us(block.number(Field::PresentationContextID, row));
        Self { context_id, command_set, data_set }
    }

    /// Checks all fields in the order of the elements, up to the first violation.
    pub fn check(&self, block: &Block<'_>, row: usize, options: &Options) -> Result<(), Rejection> {
        let kind = self.command_set.kind;
        for element in &ELEMENTS {
            if let Source::Field(field) = element.source {
                let usage = element.usage(kind);
                check_field(block, row, field, usage, kind, self.command_set.get(field), options)
                    .map_err(|reason| Rejection::new(reason).field(field))?;
            }
        }
        self.check_data_set(block, row, options)?;
        let context_id = block.integer(Field::PresentationContextID, row);
        context_id.map_or(Ok(0), check_context_id).map(|_| ())
    }

    fn check_data_set(
        &self,
        block: &Block<'_>,
        row: usize,
        options: &Options,
    ) -> Result<(), Rejection> {
        let kind = self.command_set.kind;
        let other = match kind.is_response() {
            false => Field::EventReply,
            true => Field::EventInformation,
        };
        if block.data_set(other, row).is_some_and(|bytes| !bytes.is_empty()) {
            return Err(Rejection::new(Reason::NotCarried(kind)).field(other));
        }
        let length = self.data_set.map_or(0, <[u8]>::len);
        options.max_pdu_length.check(length).map_err(|rejection| rejection.field(kind.data_set()))
    }

    /// The presentation context ID of a checked row.
    pub fn context_id(&self, options: &Options) -> u8 {
        self.context_id.map_or(options.context_id, |id| id as u8)
    }

    /// Appends the message of a checked row.
    pub fn write(&self, out: &mut Vec<u8>, options: &Options) {
        if options.framing == Framing::CommandSet {
            return self.command_set.write(out);
        }
        let data_set = self.data_set.unwrap_or_default();
        let command_set = |out: &mut Vec<u8>| self.command_set.write(out);
        write_message(out, self.context_id(options), options.max_pdu_length, command_set, data_set);
    }
}

/// A number of a block; `None` for null. [`check_field`] reports numbers out of range.
fn us(number: u32) -> Option<u16> {
    (number != NO_NUMBER).then(|| u16::try_from(number).unwrap_or_default())
}

fn value_of_row<'a>(block: &'a Block<'_>, row: usize, field: Field, vr: Vr) -> Value<'a> {
    match vr {
        Vr::Us | Vr::Ul => us(block.number(field, row)).map_or(Value::Absent, Value::Us),
        Vr::Ui | Vr::Lo => block.cell(field, row).bytes().map_or(Value::Absent, Value::Text),
    }
}

fn check_field(
    block: &Block<'_>,
    row: usize,
    field: Field,
    usage: Usage,
    kind: Kind,
    value: Value<'_>,
    options: &Options,
) -> Result<(), Reason> {
    match (usage, value) {
        // A response of a table without a MessageID column has no Message ID.
        (Usage::Absent, Value::Us(_)) if !block.has(field) => Ok(()),
        (Usage::Absent, Value::Absent) | (Usage::Optional, Value::Absent) => Ok(()),
        (Usage::Absent, _) => Err(Reason::NotCarried(kind)),
        (Usage::Mandatory, Value::Absent) => Err(Reason::Missing(kind)),
        (_, Value::Us(_)) => check_number(block, row, field),
        (_, Value::Text(text)) if field == Field::ErrorComment => check_error_comment(text),
        (_, Value::Text(text)) => check_uid(text, options),
        (_, Value::UsMany(_)) => Ok(()),
    }
}

fn check_number(block: &Block<'_>, row: usize, field: Field) -> Result<(), Reason> {
    match block.number(field, row) {
        OUT_OF_RANGE => Err(Reason::OutOfRange(block.integer(field, row).unwrap_or_default())),
        _ => Ok(()),
    }
}

/// Checks the instance UID.
pub fn check_instance(block: &Block<'_>, row: usize, options: &Options) -> Result<(), Rejection> {
    let field = Field::AffectedSOPInstanceUID;
    let text = block.cell(field, row).bytes();
    text.map_or(Ok(()), |text| check_uid(text, options))
        .map_err(|reason| Rejection::new(reason).field(field))
}

fn check_uid(text: &[u8], options: &Options) -> Result<(), Reason> {
    uid::check_as(options.conformant_uids, text).map_err(|error| Reason::Uid(excerpt(text), error))
}

/// Whether a row has an Error Comment that [`EventMessage::check`] accepts.
pub fn has_valid_comment(block: &Block<'_>, row: usize) -> bool {
    let text = block.cell(Field::ErrorComment, row).bytes();
    text.is_some_and(|text| check_error_comment(text).is_ok())
}

/// LO: at most 64 characters of the default repertoire, without backslash and control characters
/// (PS3.5 6.1.2.1 and 6.2). A command set has no Specific Character Set that would allow more.
fn check_error_comment(text: &[u8]) -> Result<(), Reason> {
    let allowed = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
    if !text.iter().all(allowed) {
        let text_shown = String::from_utf8_lossy(text);
        let found = text_shown.chars().find(|one| !matches!(one, ' '..='~') || *one == '\\');
        return Err(Reason::TextCharacter(
            excerpt(text),
            found.unwrap_or(char::REPLACEMENT_CHARACTER),
        ));
    }
    if text.len() > 64 {
        return Err(Reason::TextTooLong(excerpt(text), text.len()));
    }
    Ok(())
}
