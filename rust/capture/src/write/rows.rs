//! The messages of the rows of a table: one for each row, and a response for a request with a
//! Status.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, UInt8Array, UInt16Array, UInt64Array,
};
use arrow_schema::{DataType, Field as Column, Schema};
use arrow_select::nullif::nullif;
use arrow_select::take::{take, take_record_batch};
use fastdimse_core::encode::{Encoded, Options, encode, validate};
use fastdimse_core::event_columns::EventColumns;
use fastdimse_core::field::Field;
use fastdimse_core::rejection::Rejection;
use fastdimse_core::schema_error::SchemaError;

/// The first rejection of each row.
#[derive(Debug, Default)]
pub struct Rejected(BTreeMap<u64, Rejection>);

impl Rejected {
    /// Adds a rejection, unless its row has one.
    pub fn add(&mut self, rejection: Rejection) {
        if let Some(row) = rejection.row {
            self.0.entry(row).or_insert(rejection);
        }
    }

    /// Whether a row is rejected.
    pub fn has(&self, row: usize) -> bool {
        self.0.contains_key(&(row as u64))
    }

    /// The rejection of the first rejected row.
    pub fn first(&self) -> Option<&Rejection> {
        self.0.first_key_value().map(|(_, rejection)| rejection)
    }

    /// All rejections, in row order.
    pub fn into_all(self) -> Vec<Rejection> {
        self.0.into_values().collect()
    }
}

/// A message of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOfRow {
    /// Its own message: a request, or a response without a request.
    Own,
    /// The response to its request.
    Response,
}

/// A message to encode.
#[derive(Debug, Clone, Copy)]
pub struct ChosenMessage {
    /// The row.
    pub row: usize,
    /// Which message of the row.
    pub which: MessageOfRow,
    /// The presentation context ID.
    pub context_id: u8,
}

/// The content of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// A request without a response.
    Request,
    /// A request with its response.
    RequestWithResponse,
    /// A response without a request.
    Response,
}

/// The rows and their messages.
#[derive(Debug)]
pub struct MessageRows {
    /// The columns of all rows.
    pub columns: EventColumns,
    /// The content of each row.
    pub kinds: Vec<RowKind>,
    /// The own message of each row.
    own: RecordBatch,
    /// The response of each row that has one.
    responses: RecordBatch,
    /// The rows with a response.
    with_response: Vec<usize>,
}

impl MessageRows {
    /// Finds the messages of the rows.
    pub fn new(events: &RecordBatch) -> Result<Self, SchemaError> {
        let events = numbered(events)?;
        let columns = EventColumns::new(&events)?;
        let kinds: Vec<RowKind> = (0..columns.rows).map(|row| kind_of_row(&columns, row)).collect();
        let with_response: Vec<usize> =
            (0..kinds.len()).filter(|&row| kinds[row] == RowKind::RequestWithResponse).collect();
        let own = without_responses(&events, &kinds);
        let responses = response_rows(&events, &with_response);
        Ok(Self { columns, kinds, own, responses, with_response })
    }

    /// Checks all messages.
    pub fn check(
        &self,
        options: &Options,
        faults: Vec<Rejection>,
        rejected: &mut Rejected,
    ) -> Result<(), SchemaError> {
        for rejection in validate(&[EventColumns::new(&self.own)?], options, 0, faults) {
            rejected.add(rejection);
        }
        if self.with_response.is_empty() {
            return Ok(());
        }
        for rejection in validate(&[EventColumns::new(&self.responses)?], options, 0, Vec::new()) {
            let row = rejection.row.map_or(0, |row| self.with_response[row as usize]);
            rejected.add(rejection.row(row as u64));
        }
        Ok(())
    }

    /// Encodes the selected messages of one kind, in order.
    pub fn encode(
        &self,
        which: MessageOfRow,
        chosen: &[ChosenMessage],
        options: &Options,
    ) -> Result<Encoded, Rejection> {
        let chosen: Vec<&ChosenMessage> = chosen.iter().filter(|one| one.which == which).collect();
        if chosen.is_empty() {
            return Ok(Encoded::default());
        }
        let place = |row: usize| match which {
            MessageOfRow::Own => row,
            // Every selected row is in the list.
            MessageOfRow::Response => {
                self.with_response.partition_point(|&with_response| with_response < row)
            }
        };
        let batch = if which == MessageOfRow::Own { &self.own } else { &self.responses };
        let rows = UInt64Array::from_iter_values(chosen.iter().map(|one| place(one.row) as u64));
        let batch = take_record_batch(batch, &rows).expect("the rows are there");
        let contexts = UInt8Array::from_iter_values(chosen.iter().map(|one| one.context_id));
        let batch = with(&batch, Field::PresentationContextID, contexts);
        let columns = EventColumns::new(&batch).expect("the columns were read before");
        encode(&[columns], options, 0, Vec::new())
    }
}

fn kind_of_row(columns: &EventColumns, row: usize) -> RowKind {
    match (
        columns.integer(Field::MessageIDBeingRespondedTo, row),
        columns.integer(Field::Status, row),
    ) {
        (Some(_), _) => RowKind::Response,
        (None, Some(_)) => RowKind::RequestWithResponse,
        (None, None) => RowKind::Request,
    }
}

/// Adds a column of Message IDs, from 1 to 65535 and then from 1 again, if there is none.
fn numbered(events: &RecordBatch) -> Result<RecordBatch, SchemaError> {
    let columns = EventColumns::new(events)?;
    if columns.has(Field::MessageID) {
        return Ok(events.clone());
    }
    let number = |row: usize| match columns.integer(Field::MessageIDBeingRespondedTo, row) {
        Some(_) => None,
        None => Some((row % 65535 + 1) as u16),
    };
    let numbers: UInt16Array = (0..columns.rows).map(number).collect();
    Ok(with(events, Field::MessageID, numbers))
}

/// Adds or replaces a column.
fn with(batch: &RecordBatch, field: Field, array: impl Array + 'static) -> RecordBatch {
    let array: ArrayRef = Arc::new(array);
    let others = batch.schema();
    let others = others.fields().iter().zip(batch.columns());
    let mut columns: Vec<_> = others
        .filter(|(column, _)| column.name() != field.keyword())
        .map(|(column, array)| (column.name().clone(), array.clone(), true))
        .collect();
    columns.push((field.keyword().to_owned(), array, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("the columns are of one length")
}

fn without_responses(events: &RecordBatch, kinds: &[RowKind]) -> RecordBatch {
    let with_response: BooleanArray =
        kinds.iter().map(|kind| Some(*kind == RowKind::RequestWithResponse)).collect();
    let schema = events.schema();
    let columns = schema.fields().iter().zip(events.columns()).map(|(column, array)| {
        let field = Field::from_keyword(column.name());
        let responds = field.is_some_and(|field| Field::OF_RESPONSES.contains(&field));
        if responds && array.data_type() != &DataType::Null {
            nullif(array, &with_response).expect("the columns are of one length")
        } else {
            array.clone()
        }
    });
    let columns = columns.collect();
    let fields: Vec<Column> =
        schema.fields().iter().map(|column| column.as_ref().clone().with_nullable(true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the schema is the same")
}

/// The response of each row that has one, with the Message ID of its request.
fn response_rows(events: &RecordBatch, with_response: &[usize]) -> RecordBatch {
    let rows: UInt64Array = with_response.iter().map(|&row| row as u64).collect();
    let schema = events.schema();
    let columns = schema.fields().iter().zip(events.columns()).filter_map(|(column, array)| {
        let name = match Field::from_keyword(column.name())? {
            Field::MessageIDBeingRespondedTo | Field::EventInformation => return None,
            Field::MessageID => Field::MessageIDBeingRespondedTo,
            field => field,
        };
        let values = take(array, &rows, None).expect("the rows are there");
        Some((name.keyword(), values, true))
    });
    RecordBatch::try_from_iter_with_nullable(columns).expect("the columns are of one length")
}
