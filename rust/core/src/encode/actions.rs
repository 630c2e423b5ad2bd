//! Encodes rows of actions as N-ACTION requests (PS3.7 10.3.5.1), one row after another: actions are
//! few, so there are no templates.

use arrow_buffer::Buffer;

use crate::action_columns::ActionColumns;
use crate::command_set::{CommandSet, Value};
use crate::encode::message::message_id_of_row;
use crate::encode::options::Options;
use crate::encode::stream::Encoded;
use crate::excerpt::excerpt;
use crate::field::{Field, Kind};
use crate::pdu::write::write_message;
use crate::rejection::{Reason, Rejection};
use crate::uid;

const KIND: Kind = Kind::ActionRequest;

/// Encodes the rows of `columns` into P-DATA-TF PDUs, each in the presentation context of the same
/// place in `contexts`. The first row has the number `first_row`. `known` holds the rejections that
/// are known already, one for a row, in row order; these rows are skipped.
pub fn encode_actions(
    columns: &ActionColumns,
    contexts: &[u8],
    options: &Options,
    first_row: u64,
    known: Vec<Rejection>,
) -> Encoded {
    let mut known = known.into_iter().peekable();
    let (mut bytes, mut offsets, mut rejected) = (Vec::new(), vec![0], Vec::new());
    for (row, &context_id) in contexts.iter().enumerate().take(columns.rows) {
        let number = first_row + row as u64;
        if let Some(rejection) = known.next_if(|rejection| rejection.row == Some(number)) {
            rejected.push(rejection);
            continue;
        }
        let own_id = Value::Us(message_id_of_row(number));
        match command_set(columns, row, own_id, options) {
            Ok((command_set, information)) => {
                let write = |out: &mut Vec<u8>| command_set.write(out);
                let length = options.max_pdu_length;
                write_message(&mut bytes, context_id, length, write, information);
                offsets.push(bytes.len() as i64);
            }
            Err(rejection) => rejected.push(rejection.row(number)),
        }
    }
    Encoded { bytes: Buffer::from_vec(bytes), offsets: offsets.into(), rejected }
}

/// The command set of a row, and its Action Information, which is empty if there is none.
fn command_set<'a>(
    columns: &'a ActionColumns,
    row: usize,
    own_id: Value<'a>,
    options: &Options,
) -> Result<(CommandSet<'a>, &'a [u8]), Rejection> {
    let information = columns.bytes(Field::ActionInformation, row).unwrap_or_default();
    let mut command_set = CommandSet::new(KIND, !information.is_empty());
    let message_id = match columns.has_message_ids() {
        true => number(columns, Field::MessageID, row)?,
        false => own_id,
    };
    command_set.set(Field::MessageID, message_id);
    for field in [Field::RequestedSOPClassUID, Field::RequestedSOPInstanceUID] {
        let text = columns.bytes(field, row).ok_or_else(|| missing(field))?;
        uid::check_as(options.conformant_uids, text)
            .map_err(|error| Rejection::new(Reason::Uid(excerpt(text), error)).field(field))?;
        command_set.set(field, Value::Text(text));
    }
    command_set.set(Field::ActionTypeID, number(columns, Field::ActionTypeID, row)?);
    let checked = options.max_pdu_length.check(information.len());
    checked.map_err(|rejection| rejection.field(Field::ActionInformation))?;
    Ok((command_set, information))
}

fn missing(field: Field) -> Rejection {
    Rejection::new(Reason::Missing(KIND)).field(field)
}

fn number<'a>(columns: &ActionColumns, field: Field, row: usize) -> Result<Value<'a>, Rejection> {
    let number = columns.integer(field, row).ok_or_else(|| missing(field))?;
    match u16::try_from(number) {
        Ok(number) => Ok(Value::Us(number)),
        Err(_) => Err(Rejection::new(Reason::OutOfRange(number)).field(field)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};

    use super::*;
    use crate::options::{Framing, OnInvalid};
    use crate::pdu::read::{Item, Pdus};
    use crate::pdu::write::MaxPduLength;

    fn encoded(classes: &[Option<&str>], types: &[Option<i64>]) -> Encoded {
        let instances = StringArray::from(vec!["1.2.840.10008.1.20.1.1"; classes.len()]);
        let information = BinaryArray::from_iter(classes.iter().map(|_| Some(b"data")));
        let batch = RecordBatch::try_from_iter([
            ("RequestedSOPClassUID", Arc::new(StringArray::from(classes.to_vec())) as ArrayRef),
            ("RequestedSOPInstanceUID", Arc::new(instances)),
            ("ActionTypeID", Arc::new(Int64Array::from(types.to_vec()))),
            ("ActionInformation", Arc::new(information)),
        ]);
        let columns = ActionColumns::new(&batch.unwrap()).unwrap();
        let options = Options {
            context_id: 1,
            max_pdu_length: MaxPduLength::new(16382).unwrap(),
            framing: Framing::PData,
            on_invalid: OnInvalid::Skip,
            conformant_uids: true,
        };
        encode_actions(&columns, &vec![3; classes.len()], &options, 65534, Vec::new())
    }

    #[test]
    fn good_rows_are_messages_and_others_are_rejected() {
        let class = Some("1.2.840.10008.1.20.1");
        let encoded = encoded(
            &[class, None, Some("1.02"), class, class],
            &[Some(1), Some(1), Some(1), Some(65536), Some(1)],
        );
        let rows: Vec<_> = encoded.rejected.iter().map(|one| (one.row, one.field)).collect();
        let class = Some(Field::RequestedSOPClassUID);
        let expected = [(65535, class), (65536, class), (65537, Some(Field::ActionTypeID))];
        assert_eq!(rows, expected.map(|(row, field)| (Some(row), field)));
        let mut ids = Vec::new();
        for item in Pdus::new(&encoded.bytes) {
            let Ok(Item::Pdv(pdv)) = item else { panic!() };
            assert_eq!(pdv.context_id, 3);
            if pdv.is_command() {
                let read = CommandSet::read(pdv.fragment).unwrap().action().unwrap();
                assert!(read.data_set);
                ids.extend(read.get(Field::MessageID).us());
            } else {
                assert_eq!(pdv.fragment, b"data");
            }
        }
        assert_eq!(ids, [65535, 4]);
        assert_eq!(encoded.offsets.len(), 3);
        assert_eq!(encoded.offsets[2] as usize, encoded.bytes.len());
    }
}
