//! Encodes rows of events as requests: each on the presentation context of its SOP class, with its
//! data set in the accepted transfer syntax.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt8Array};
use arrow_schema::{DataType, Field as Column, Schema};
use arrow_select::concat::concat_batches;
use fastdimse_core::action_columns::ActionColumns;
use fastdimse_core::columns::bytes::ByteColumn;
use fastdimse_core::command_set::Message;
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::decode::message_id;
use fastdimse_core::encode::{self, Encoded, encode, encode_actions, encode_structured};
use fastdimse_core::event_columns::{EventColumns, TRANSFER_SYNTAX_UID, is_structured};
use fastdimse_core::field::Field;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::rejection::{Reason, Rejection, keep_first_of_row};
use fastdimse_core::schema_error::SchemaError;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;

use crate::association::negotiation::{Agreement, Context, max_pdu_length};
use crate::messages::Messages;

/// Encoded requests.
#[derive(Debug)]
pub struct EncodedRequests {
    /// Their PDUs, and the rejected rows.
    pub encoded: Encoded,
    /// Their Message IDs.
    pub message_ids: Vec<u16>,
}

/// Encodes rows. The first row has the number `first_row`, which gives the Message IDs of a table
/// without a MessageID column. Data sets given as bytes are encoded in the TransferSyntaxUID of
/// their row, or `encoded_in` a transfer syntax if it has none; structured ones are encoded in the
/// accepted one. `rejections` are those of earlier checks.
///
/// # Errors
///
/// If the columns are not those of events.
pub fn encode_requests(
    batch: &RecordBatch,
    mut rejections: Vec<Rejection>,
    encoded_in: TransferSyntax,
    agreement: &Agreement,
    first_row: u64,
    conformant_uids: bool,
) -> Result<EncodedRequests, SchemaError> {
    let contexts = contexts(batch, &EVENTS, encoded_in, agreement, first_row, &mut rejections)?;
    let batch = with_context_ids(batch, &contexts);
    let mut columns = Vec::new();
    for (part, row, syntax) in in_one_syntax(&batch, &contexts) {
        let options = DataSetOptions { syntax, conformant_uids };
        let (part, found) = encode_structured(&part, options, first_row + row as u64)?;
        columns.push(EventColumns::new(&part)?);
        rejections.extend(found);
    }
    keep_first_of_row(&mut rejections);
    let options = options(agreement, conformant_uids);
    let encoded =
        encode(&columns, &options, first_row, rejections).expect("invalid rows are skipped");
    let message_ids = message_ids(&encoded);
    Ok(EncodedRequests { encoded, message_ids })
}

/// Encodes rows of actions as [`encode_requests`] encodes events.
///
/// # Errors
///
/// If the columns are not those of actions.
pub fn encode_action_requests(
    batch: &RecordBatch,
    mut rejections: Vec<Rejection>,
    encoded_in: TransferSyntax,
    agreement: &Agreement,
    first_row: u64,
    conformant_uids: bool,
) -> Result<EncodedRequests, SchemaError> {
    let contexts = contexts(batch, &ACTIONS, encoded_in, agreement, first_row, &mut rejections)?;
    let mut parts = Vec::new();
    for (part, row, syntax) in in_one_syntax(batch, &contexts) {
        let options = DataSetOptions { syntax, conformant_uids };
        let (part, found) = encode_structured(&part, options, first_row + row as u64)?;
        rejections.extend(found);
        parts.push(part);
    }
    let batch = match parts.first() {
        Some(first) => &concat_batches(&first.schema(), &parts).expect("they have one schema"),
        None => batch,
    };
    keep_first_of_row(&mut rejections);
    let ids: Vec<u8> = contexts.iter().map(|one| one.map_or(1, |context| context.id)).collect();
    let options = options(agreement, conformant_uids);
    let columns = ActionColumns::new(batch)?;
    let encoded = encode_actions(&columns, &ids, &options, first_row, rejections);
    let message_ids = message_ids(&encoded);
    Ok(EncodedRequests { encoded, message_ids })
}

fn options(agreement: &Agreement, conformant_uids: bool) -> encode::Options {
    encode::Options {
        context_id: 1,
        max_pdu_length: max_pdu_length(agreement.max_pdu_length),
        framing: Framing::PData,
        on_invalid: OnInvalid::Skip,
        conformant_uids,
    }
}

/// The fields of a kind of request, and how to find its presentation context.
struct RequestFields {
    sop_class: Field,
    information: Field,
    context: for<'a> fn(&'a Agreement, &str) -> Result<&'a Context, &'static str>,
}

const EVENTS: RequestFields = RequestFields {
    sop_class: Field::AffectedSOPClassUID,
    information: Field::EventInformation,
    context: |agreement, class| agreement.context(class),
};

const ACTIONS: RequestFields = RequestFields {
    sop_class: Field::RequestedSOPClassUID,
    information: Field::ActionInformation,
    context: |agreement, class| agreement.context_of_action(class),
};

/// The presentation context of each row. Adds a rejection to `rejections` if a row has none, or is
/// not a request; a row without a SOP class is rejected by the encoder.
fn contexts<'a>(
    batch: &RecordBatch,
    fields: &RequestFields,
    encoded_in: TransferSyntax,
    agreement: &'a Agreement,
    first_row: u64,
    rejections: &mut Vec<Rejection>,
) -> Result<Vec<Option<&'a Context>>, SchemaError> {
    let syntaxes = transfer_syntaxes(batch)?;
    // A column of another type is an error of the encoder.
    let classes = batch.column_by_name(fields.sop_class.keyword());
    let classes = classes.and_then(|column| ByteColumn::text(column).ok());
    let encoded = batch.column_by_name(fields.information.keyword());
    let encoded = encoded.filter(|column| !matches!(column.data_type(), DataType::Struct(_)));
    let answered = batch.column_by_name(Field::MessageIDBeingRespondedTo.keyword());
    let is_there = |column: Option<&ArrayRef>, row| column.is_some_and(|one| one.is_valid(row));
    let mut last = None;
    let mut context = |row: usize| {
        let mut refuse = |field, reason| {
            rejections.push(Rejection::new(reason).field(field).row(first_row + row as u64));
            None
        };
        if is_there(answered, row) {
            return refuse(Field::MessageIDBeingRespondedTo, Reason::NotARequest);
        }
        let class = classes.as_ref()?.get(row)?;
        // Most rows have the SOP class of the row before.
        let found = match last {
            Some((last, found)) if last == class => found,
            _ => (fields.context)(agreement, &String::from_utf8_lossy(class)),
        };
        last = Some((class, found));
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                let sop_class = String::from_utf8_lossy(class).into();
                return refuse(fields.sop_class, Reason::NoContext { sop_class, why });
            }
        };
        let uid = syntaxes.as_ref().and_then(|syntaxes| syntaxes.get(row));
        let uid = uid.unwrap_or(encoded_in.uid().as_bytes());
        if found.transfer_syntax.uid().as_bytes() != uid && is_there(encoded, row) {
            let encoded = String::from_utf8_lossy(uid).into();
            let accepted = found.transfer_syntax.uid().into();
            return refuse(fields.information, Reason::OtherSyntax { encoded, accepted });
        }
        Some(found)
    };
    Ok((0..batch.num_rows()).map(&mut context).collect())
}

/// The transfer syntax of the encoded data sets of each row, if the table has it.
fn transfer_syntaxes(batch: &RecordBatch) -> Result<Option<ByteColumn>, SchemaError> {
    let column = batch.column_by_name(TRANSFER_SYNTAX_UID);
    let accepted = "a string type";
    column.map(ByteColumn::text).transpose().map_err(|found| SchemaError::Type {
        column: TRANSFER_SYNTAX_UID,
        found,
        accepted,
    })
}

/// The batch with the presentation context ID of each row.
fn with_context_ids(batch: &RecordBatch, contexts: &[Option<&Context>]) -> RecordBatch {
    let ids = contexts.iter().map(|context| context.map_or(1, |context| context.id));
    let ids: ArrayRef = Arc::new(UInt8Array::from_iter_values(ids));
    let name = Field::PresentationContextID.keyword();
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let others = columns.filter(|(column, _)| column.name() != name);
    let (mut fields, mut arrays): (Vec<_>, Vec<_>) =
        others.map(|(column, array)| (column.clone(), array.clone())).unzip();
    fields.push(Arc::new(Column::new(name, DataType::UInt8, false)));
    arrays.push(ids);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("as many rows as before")
}

/// Splits the batch where the transfer syntax of structured data sets changes. Returns each part
/// with its first row and its transfer syntax.
fn in_one_syntax(
    batch: &RecordBatch,
    contexts: &[Option<&Context>],
) -> Vec<(RecordBatch, usize, TransferSyntax)> {
    if !is_structured(&batch.schema()) {
        return vec![(batch.clone(), 0, TransferSyntax::default())];
    }
    let syntaxes: Vec<TransferSyntax> = contexts
        .iter()
        .map(|context| context.map_or(TransferSyntax::default(), |one| one.transfer_syntax))
        .collect();
    let mut start = 0;
    let part = |run: &[TransferSyntax]| {
        let from = start;
        start += run.len();
        (batch.slice(from, run.len()), from, run[0])
    };
    syntaxes.chunk_by(PartialEq::eq).map(part).collect()
}

/// The Message IDs of encoded requests.
fn message_ids(requests: &Encoded) -> Vec<u16> {
    let messages = requests.offsets.windows(2);
    let messages = messages.map(|ends| &requests.bytes[ends[0] as usize..ends[1] as usize]);
    messages.map(|pdus| message_id(pdus).unwrap_or_else(|| id_by_all_rules(pdus))).collect()
}

/// The Message ID of an encoded request, which may have several fragments.
fn id_by_all_rules(pdus: &[u8]) -> u16 {
    let mut id = None;
    let found = Messages::new(usize::MAX).add(pdus, |arrived| {
        if let Message::Event { command_set, .. } | Message::Action { command_set, .. } =
            arrived.message
        {
            id = command_set.get(Field::MessageID).us();
        }
        Ok(())
    });
    found.expect("it was encoded here");
    id.expect("a request has a Message ID")
}
