//! The rows of events and actions: requests with their responses, and where they were captured.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DurationNanosecondArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow_select::take::take;
use fastdimse_core::field::Field;

use crate::association::Associate;
use crate::columns::{CaptureColumn, Captured, schema};
use crate::fault::Direction;
use crate::read::packets::NO_TIME;
use crate::read::pairing::CapturedMessage;

/// The requests of a service, with their responses.
#[derive(Debug)]
pub struct Exchanges {
    /// One row for each request, with the columns of [`schema`]. Text and data sets are views.
    pub table: RecordBatch,
    /// The decoded messages.
    pub messages: RecordBatch,
    /// For each row, the rows of its request and of its response in `messages`.
    pub rows: Vec<(Option<usize>, Option<usize>)>,
    /// Where the request and the response of each row were captured.
    pub places: Vec<[Option<Place>; 2]>,
    /// The directions of `places`.
    pub directions: Vec<Arc<Direction>>,
}

/// Where a message was captured.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The index of the direction in which it was sent.
    pub direction: u32,
    /// Its offset in the direction.
    pub offset: u64,
    /// The number of the packet that completes it.
    pub frame: u64,
}

/// A row of the result. The rows of its messages are those of one batch.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeRow {
    /// The index of its association, among those of the batch.
    pub association: u32,
    /// The side that sent the request, or a response without one.
    pub side: usize,
    /// The request.
    pub request: Option<CapturedMessage>,
    /// The response.
    pub response: Option<CapturedMessage>,
}

impl ExchangeRow {
    /// The request, or the response without one.
    pub fn message(&self) -> &CapturedMessage {
        self.request.as_ref().or(self.response.as_ref()).expect("a request or a response")
    }

    fn latency(&self) -> Option<i64> {
        let (request, response) = (self.request?, self.response?);
        known(response.seen.time)?.checked_sub(known(request.seen.time)?)
    }

    fn direction(&self) -> u32 {
        2 * self.association + self.side as u32
    }
}

fn known(time: i64) -> Option<i64> {
    (time != NO_TIME).then_some(time)
}

/// An association with rows.
pub struct RowAssociation<'a> {
    /// The directions of both ends.
    pub directions: &'a [Arc<Direction>; 2],
    /// The A-ASSOCIATE PDUs.
    pub associate: &'a Associate,
}

/// The rows of a batch, in order.
pub fn exchanges(
    rows: &[ExchangeRow],
    associations: &[RowAssociation<'_>],
    messages: RecordBatch,
) -> Exchanges {
    let of_message: UInt64Array = rows.iter().map(|row| row.message().row as u64).collect();
    let of_response: UInt64Array =
        rows.iter().map(|row| row.response.map(|one| one.row as u64)).collect();
    let taken = |field: Field, rows: &UInt64Array| {
        take(&messages[field.keyword()], rows, None).expect("the rows are there")
    };
    let columns = Captured::ALL.map(|column| match column {
        Captured::CaptureColumn(column) => capture_column(column, rows, associations, &messages),
        Captured::Message(field) => taken(field, &of_message),
        Captured::Response(field) => taken(field, &of_response),
    });
    let table =
        RecordBatch::try_new(schema(), columns.to_vec()).expect("the columns fit the schema");
    let place = |row: &ExchangeRow, message: Option<CapturedMessage>, response: bool| {
        let direction =
            if response && row.request.is_some() { row.direction() ^ 1 } else { row.direction() };
        message.map(|one| Place { direction, offset: one.offset, frame: one.seen.frame })
    };
    let places =
        rows.iter().map(|row| [place(row, row.request, false), place(row, row.response, true)]);
    let places = places.collect();
    let directions = associations.iter().flat_map(|one| one.directions).cloned().collect();
    let rows =
        rows.iter().map(|row| (row.request.map(|one| one.row), row.response.map(|one| one.row)));
    Exchanges { table, rows: rows.collect(), messages, places, directions }
}

fn capture_column(
    column: CaptureColumn,
    rows: &[ExchangeRow],
    associations: &[RowAssociation<'_>],
    messages: &RecordBatch,
) -> ArrayRef {
    let of_direction = |of: &dyn Fn(&Direction) -> SocketAddr| {
        associations
            .iter()
            .flat_map(move |one| one.directions)
            .map(|one| of(one))
            .collect::<Vec<_>>()
    };
    let source = |direction: &Direction| direction.source;
    let destination = |direction: &Direction| direction.destination;
    let addresses = |of: &dyn Fn(&Direction) -> SocketAddr| {
        let texts = of_direction(of).into_iter().map(|one| Some(one.ip().to_string()));
        texts_of(texts.collect(), rows.iter().map(|row| Some(row.direction())))
    };
    let ports = |of: &dyn Fn(&Direction) -> SocketAddr| {
        let ports: Vec<i32> = of_direction(of).into_iter().map(|one| one.port().into()).collect();
        let ports = rows.iter().map(|row| ports[row.direction() as usize]);
        Arc::new(Int32Array::from_iter_values(ports)) as ArrayRef
    };
    let titles = |of: &dyn Fn(&Associate) -> Option<String>| {
        let texts = associations.iter().map(|one| of(one.associate)).collect();
        texts_of(texts, rows.iter().map(|row| Some(row.association)))
    };
    match column {
        CaptureColumn::Time => {
            let times = rows.iter().map(|row| known(row.message().seen.time));
            Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
        }
        CaptureColumn::Latency => {
            let latencies = rows.iter().map(ExchangeRow::latency);
            Arc::new(latencies.collect::<DurationNanosecondArray>())
        }
        CaptureColumn::SourceAddress => addresses(&source),
        CaptureColumn::SourcePort => ports(&source),
        CaptureColumn::DestinationAddress => addresses(&destination),
        CaptureColumn::DestinationPort => ports(&destination),
        CaptureColumn::CallingAETitle => titles(&|associate| associate.calling.clone()),
        CaptureColumn::CalledAETitle => titles(&|associate| associate.called.clone()),
        CaptureColumn::Association => {
            let number = |row: &ExchangeRow| {
                associations[row.association as usize].directions[0].stream.into()
            };
            Arc::new(Int64Array::from_iter_values(rows.iter().map(number)))
        }
        CaptureColumn::Frame => {
            let frames = rows.iter().map(|row| row.message().seen.frame as i64);
            Arc::new(Int64Array::from_iter_values(frames))
        }
        CaptureColumn::TransferSyntaxUID => transfer_syntaxes(rows, associations, messages),
    }
}

fn transfer_syntaxes(
    rows: &[ExchangeRow],
    associations: &[RowAssociation<'_>],
    messages: &RecordBatch,
) -> ArrayRef {
    let contexts = messages[Field::PresentationContextID.keyword()].as_primitive::<Int32Type>();
    let mut texts = Vec::new();
    let mut known: HashMap<(u32, u8), u32> = HashMap::new();
    let mut last = None;
    let indexes = rows.iter().map(|row| {
        let key = (row.association, contexts.value(row.message().row) as u8);
        let index = match last {
            Some((other, index)) if other == key => index,
            _ => *known.entry(key).or_insert_with(|| {
                let associate = associations[key.0 as usize].associate;
                texts.push(associate.accepted.get(&key.1).cloned());
                texts.len() as u32 - 1
            }),
        };
        last = Some((key, index));
        Some(index)
    });
    let indexes = indexes.collect::<Vec<_>>();
    texts_of(texts, indexes.into_iter())
}

/// The texts with these indexes.
fn texts_of(texts: Vec<Option<String>>, indexes: impl Iterator<Item = Option<u32>>) -> ArrayRef {
    let texts = StringViewArray::from_iter(texts);
    take(&texts, &UInt32Array::from_iter(indexes), None).expect("the indexes are valid")
}
