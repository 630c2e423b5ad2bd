//! Decodes the data sets of captured events, each in the transfer syntax of its presentation
//! context.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use fastdimse_core::data_set::decode::decode_data_sets;
use fastdimse_core::data_set::error::DataSetError;
use fastdimse_core::data_set::schema::DataSetSchema;
use fastdimse_core::decode::plain;
use fastdimse_core::event_columns::replaced;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::Reason;
use fastdimse_core::standard::transfer_syntax::{
    TransferSyntax, TransferSyntaxColumn, TransferSyntaxes,
};

use crate::columns::CaptureColumn;
use crate::fault::Fault;
use crate::read::capture_reader::Capture;
use crate::read::events::Exchanges;

/// Decodes the data sets of these fields of events into the attributes of a schema, or into all their
/// attributes. Invalid data sets are null, and listed in [`Capture::faults`]. Returns the events in
/// plain columns, and the number of elements that are not part of a schema, by path.
pub fn decode_structured(
    capture: &mut Capture,
    fields: &[(Field, Option<DataSetSchema>)],
) -> (Vec<RecordBatch>, BTreeMap<String, u64>) {
    let events = &capture.events;
    let mut structured = events.table.clone();
    let mut omitted = BTreeMap::new();
    if fields.is_empty() {
        return (plain(structured), omitted);
    }
    let syntaxes = syntaxes(&events.table);
    for (field, schema) in fields {
        let data_sets = events.table[field.keyword()].as_binary_view();
        let found = decode_data_sets(data_sets, TransferSyntaxes::Each(&syntaxes), schema.as_ref());
        omitted.extend(found.omitted_of(*field));
        let wrong = found.wrong.into_iter();
        capture.faults.extend(wrong.map(|(row, error)| fault(events, *field, row, error)));
        structured = replaced(&structured, *field, Arc::new(found.rows));
    }
    capture.faults.sort_by_key(|one| one.frame.unwrap_or(u64::MAX));
    (plain(structured), omitted)
}

/// The default transfer syntax applies if the capture does not contain the negotiated one (PS3.5
/// 10.1).
fn syntaxes(events: &RecordBatch) -> TransferSyntaxColumn {
    let uids = events[CaptureColumn::TransferSyntaxUID.name()].as_string_view();
    TransferSyntaxColumn::from_uids(uids.iter(), TransferSyntax::default())
}

fn fault(events: &Exchanges, field: Field, row: usize, error: Box<DataSetError>) -> Fault {
    let [request, response] = events.places[row];
    let place = if field == Field::EventReply { response } else { request };
    let kind = Reason::DataSet(error).into();
    Fault {
        direction: place.map(|place| events.directions[place.direction as usize].clone()),
        frame: place.map(|place| place.frame),
        offset: place.map(|place| place.offset),
        field: Some(field),
        kind,
    }
}
