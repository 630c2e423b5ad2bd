//! Encoding row for row: a table in, the same table with a column of messages out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use arrow_schema::{ArrowError, DataType, FieldRef, Fields, Schema};
use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::encode::{self, EncodedMessages, Options, most_bytes};
use fastdimse_core::event_columns::{EventColumns, OtherColumns};
use fastdimse_core::field::Field;
use fastdimse_core::message_columns::{
    MESSAGE, message_column, rejection_column, rejection_values,
};
use fastdimse_core::rejection::{Reason, Rejection, keep_first_of_row};
use fastdimse_core::schema_error::SchemaError;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::arrow::import::Arrays;
use crate::bulk::message_columns::{MessageColumns, RowFunction};
use crate::errors::Error;
use crate::input::event_columns::encoded;
use crate::input::message_tables::{arrow_table, other_columns, rejections_before};
use crate::input::options::{data_set_options, first_row, options, thread_count};
use crate::input::selection::Selection;

/// Encode each row of a table as a message of its own.
///
/// Parameters
/// ----------
/// events : Arrow table, stream or array of structs
///     The events, one row each, with the columns of :func:`encode_events` and any others: a pyarrow Table,
///     RecordBatch, RecordBatchReader, StructArray, Dataset or Scanner, a polars DataFrame or Series of
///     structs, a pandas DataFrame, or any other object with the Arrow PyCapsule interface.
/// context_id, max_pdu_length, framing, enforce_uid_conformance, transfer_syntax
///     As for :func:`encode_events`.
/// first_row : int, default 0
///     The number of the first row, for a table that is a part of a larger one. Without a column
///     *MessageID*, the Message ID of row *i* is ``(first_row + i) % 65535 + 1``.
/// threads : int, default 1
///     The maximum number of threads that encode, including the calling one.
///
/// Returns
/// -------
/// MessageColumns
///     A table with as many rows in the same order: the columns that are not fields of an event, unchanged;
///     *Message* (``binary``), null if the row is rejected; and *Rejection*, a struct of *field*, *code* and
///     *reason*, null if the row has a message. Rows are encoded when the table is read. A null row stays
///     null. If *events* has a column *Rejection*, rows with a value in it have no message, and keep it.
///
/// Raises
/// ------
/// ColumnError
///     If a column is missing, or a column *Message* is there already.
/// TypeError
///     If *events* is not Arrow data, or a column has an unsupported type.
/// ValueError
///     If an option has an unsupported value, or, while the table is read as one array, the messages have
///     more than 2 GiB.
///
/// See Also
/// --------
/// decode_messages : The way back.
/// message_schema : The types of the result before there is data.
///
/// Examples
/// --------
/// >>> import pyarrow
/// >>> from fastdimse import encode_messages
/// >>> table = pyarrow.table(encode_messages(pyarrow.table({
/// ...     "Site": ["north", "south"],
/// ...     "AffectedSOPClassUID": ["1.2.840.10008.1.20.1"] * 2,
/// ...     "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1"] * 2,
/// ...     "EventTypeID": [1, 65536],
/// ... })))
/// >>> table.column_names
/// ['Site', 'Message', 'Rejection']
/// >>> [message and len(message) for message in table["Message"].to_pylist()]
/// [122, None]
/// >>> table["Rejection"][1]["code"].as_py()
/// 'out-of-range'
#[pyfunction]
#[pyo3(signature = (
    events, *, context_id = 1, max_pdu_length = 16382, framing = "p-data",
    enforce_uid_conformance = true, transfer_syntax = "1.2.840.10008.1.2", first_row = 0, threads = 1,
))]
#[allow(clippy::too_many_arguments)]
pub fn encode_messages(
    events: &Bound<'_, PyAny>,
    context_id: i64,
    max_pdu_length: i64,
    framing: &str,
    enforce_uid_conformance: bool,
    transfer_syntax: &str,
    first_row: i64,
    threads: i64,
) -> PyResult<MessageColumns> {
    let options = options(context_id, max_pdu_length, framing, "skip", enforce_uid_conformance)?;
    let data_sets = data_set_options(transfer_syntax, enforce_uid_conformance)?;
    let (first_row, threads) = (self::first_row(first_row)?, thread_count(threads)?);
    let table = arrow_table(events, "events")?;
    let arrays = Arrays::new(&table)?;
    let DataType::Struct(columns) = arrays.data_type() else {
        return Err(PyTypeError::new_err(format!(
            "events must be an Arrow table or an array of structs, not an array of {}",
            arrays.data_type()
        )));
    };
    let function = EncodeRows::new(columns, options, data_sets)?;
    Ok(MessageColumns::new(table, arrays, Arc::new(function), first_row, threads))
}

/// Encodes rows as messages.
pub struct EncodeRows {
    input: Arc<Schema>,
    output: Fields,
    /// The columns that are kept.
    others: Vec<usize>,
    /// The columns that are read, if there are others.
    selection: Option<Selection>,
    options: Options,
    data_sets: DataSetOptions,
}

impl EncodeRows {
    /// The function of rows with these columns.
    pub fn new(columns: &Fields, options: Options, data_sets: DataSetOptions) -> PyResult<Self> {
        let nullable = |column: &FieldRef| column.as_ref().clone().with_nullable(true);
        let input = Arc::new(Schema::new(columns.iter().map(nullable).collect::<Vec<_>>()));
        let accepted = encoded(OtherColumns::Ignore);
        accepted.check_names(&input)?;
        let selection = Selection::new(&input, accepted);
        let others = other_columns(columns, &[MESSAGE], "encode_messages", |name| {
            Field::from_keyword(name).is_some()
        })?;
        let kept = others.iter().map(|&at| columns[at].clone());
        let output = kept.chain([message_column(), rejection_column()]).collect();
        let function = Self { input, output, others, selection, options, data_sets };
        // Columns of wrong types are errors before there is data.
        let no_rows = RecordBatch::new_empty(function.input.clone());
        function.event_columns(&no_rows, 0).map_err(Error::Schema)?;
        Ok(function)
    }

    /// The columns of the rows. Null rows may have nulls in columns that otherwise have none.
    fn batch(&self, rows: &StructArray) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = rows.columns().to_vec();
        RecordBatch::try_new_with_options(self.input.clone(), columns, &options)
    }

    fn event_columns(
        &self,
        rows: &RecordBatch,
        first_row: u64,
    ) -> Result<(EventColumns, Vec<Rejection>), SchemaError> {
        let (read, known) = match &self.selection {
            Some(selection) => selection.apply(rows, first_row),
            None => (rows.clone(), Vec::new()),
        };
        Ok((EventColumns::with_structured(&read, self.data_sets)?, known))
    }

    fn encode(&self, rows: &StructArray, first_row: u64) -> Result<Vec<StructArray>, ArrowError> {
        let batch = self.batch(rows)?;
        let (columns, mut known) = self
            .event_columns(&batch, first_row)
            .map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))?;
        let before = rejections_before(rows)?;
        let is_left_out = |row: usize| {
            rows.is_null(row) || before.as_ref().is_some_and(|before| before.is_valid(row))
        };
        if before.is_some() || rows.null_count() > 0 {
            // The reason is not shown: these rows keep what they have.
            let left_out = (0..rows.len()).filter(|&row| is_left_out(row));
            known.extend(left_out.map(|row| {
                Rejection::new(Reason::Value(Box::default())).row(first_row + row as u64)
            }));
            keep_first_of_row(&mut known);
        }
        let encoded = encode::encode_messages(columns, &self.options, first_row, known);
        let EncodedMessages { messages, rejected } = encoded.map_err(|bytes| {
            let text = format!(
                "the messages have {bytes} bytes, but one array can have 2147483647: read the result as a \
                 stream, or divide the rows"
            );
            ArrowError::InvalidArgumentError(text)
        })?;
        let places = rejected.iter().filter_map(|rejection| {
            let row = (rejection.row? - first_row) as usize;
            (!is_left_out(row)).then_some((row, rejection))
        });
        let rejections = rejection_values(rows.len(), places, before.as_ref());
        let mut arrays: Vec<ArrayRef> =
            self.others.iter().map(|&at| rows.column(at).clone()).collect();
        arrays.push(Arc::new(messages));
        arrays.push(Arc::new(rejections));
        let nulls = rows.nulls().cloned();
        Ok(vec![StructArray::try_new_with_length(self.output.clone(), arrays, nulls, rows.len())?])
    }
}

impl RowFunction for EncodeRows {
    fn columns(&self) -> &Fields {
        &self.output
    }

    fn most_bytes(&self, rows: &ArrayRef) -> usize {
        let batch = self.batch(rows.as_struct()).ok();
        let columns = batch.and_then(|batch| self.event_columns(&batch, 0).ok());
        columns.map_or(0, |(columns, _)| most_bytes(&columns, &self.options))
    }

    fn apply(&self, rows: &ArrayRef, first_row: u64) -> Result<Vec<StructArray>, ArrowError> {
        self.encode(rows.as_struct(), first_row)
    }
}
