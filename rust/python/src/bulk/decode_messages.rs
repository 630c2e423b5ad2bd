//! Decoding row for row: a column of messages in, the columns of their events out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, LargeBinaryArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Fields};
use fastdimse_core::columns::bytes::{ByteColumn, is_binary};
use fastdimse_core::decode::{self, DecodedMessages, Structure, messages_schema};
use fastdimse_core::field::Field;
use fastdimse_core::message_columns::{MESSAGE, rejection_column, rejection_values};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::arrow::import::Arrays;
use crate::bulk::message_columns::{MessageColumns, RowFunction};
use crate::errors::Error;
use crate::input::message_tables::{arrow_table, other_columns, rejections_before};
use crate::input::options::{structure, thread_count};

/// Decode each message of a column.
///
/// Parameters
/// ----------
/// messages : Arrow array of binary, or Arrow table, stream or array of structs
///     The messages, one in each row, in P-DATA-TF PDUs: a binary column, or a table with the binary column
///     *Message*, as :func:`encode_messages` returns it.
/// event_information, event_reply : {"binary"} or Arrow schema, optional
///     The form of the data sets: ``"binary"`` (default), the encoded bytes; or structs with the
///     attributes of an Arrow schema or struct type. Attributes outside the schema are omitted.
///     ``"structured"`` is not accepted, since the type of the result must be known before there is
///     data.
/// transfer_syntax : str, default "1.2.840.10008.1.2"
///     The UID of the transfer syntax of structured data sets: Implicit or Explicit VR Little Endian.
/// threads : int, default 1
///     The maximum number of threads that decode, including the calling one.
///
/// Returns
/// -------
/// MessageColumns
///     A table with as many rows in the same order: the columns of *messages* other than *Message*,
///     unchanged; the eleven columns of :func:`decode_events`; and *Rejection*, a struct of
///     *field*, *code* and *reason*, null if the row has an event. Rows are decoded when the table
///     is read. A row whose message is null, or that was rejected before, is null in the columns of
///     events and keeps its *Rejection*.
///
/// Raises
/// ------
/// ColumnError
///     If a table has no column *Message*, or has a column of an event already.
/// TypeError
///     If *messages* is not Arrow data, or is not binary.
/// ValueError
///     If an option has an unsupported value.
///
/// See Also
/// --------
/// encode_messages : The way there.
/// decode_events : Decode a stream of messages.
///
/// Examples
/// --------
/// >>> import pyarrow
/// >>> from fastdimse import decode_messages, encode_events
/// >>> encoded = encode_events({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2],
/// ... })
/// >>> messages = pyarrow.table({
/// ...     "Key": [10, 11, 12],
/// ...     "Message": [encoded[0], encoded[1], encoded[1][:50]],
/// ... })
/// >>> events = pyarrow.table(decode_messages(messages))
/// >>> events["Key"].to_pylist(), events["EventTypeID"].to_pylist()
/// ([10, 11, 12], [1, 2, None])
/// >>> events["Rejection"][2]["code"].as_py()
/// 'truncated'
#[pyfunction]
#[pyo3(signature = (
    messages, *, event_information = None, event_reply = None,
    transfer_syntax = "1.2.840.10008.1.2", threads = 1,
))]
pub fn decode_messages(
    messages: &Bound<'_, PyAny>,
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
    transfer_syntax: &str,
    threads: i64,
) -> PyResult<MessageColumns> {
    let structure = known_structure(event_information, event_reply, transfer_syntax)?;
    let threads = thread_count(threads)?;
    let table = arrow_table(messages, "messages")?;
    let arrays = Arrays::new(&table)?;
    let function = DecodeRows::new(arrays.data_type(), structure)?;
    Ok(MessageColumns::new(table, arrays, Arc::new(function), 0, threads))
}

/// The data sets to decode, each with a schema.
pub fn known_structure(
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
    transfer_syntax: &str,
) -> PyResult<Structure> {
    let structure = structure(event_information, event_reply, transfer_syntax)?;
    if let Some((field, _)) = structure.columns.iter().find(|(_, attributes)| attributes.is_none())
    {
        return Err(PyValueError::new_err(format!(
            "the {} of messages must be 'binary' or an Arrow schema of its attributes, not 'structured': \
             the type of the result must be known before there is data",
            field.keyword()
        )));
    }
    Ok(structure)
}

/// Decodes messages as rows.
pub struct DecodeRows {
    output: Fields,
    /// The columns that are kept.
    others: Vec<usize>,
    structure: Structure,
}

impl DecodeRows {
    /// The function of rows of this type: binary, or a struct with a binary column of messages.
    pub fn new(data_type: &DataType, structure: Structure) -> PyResult<Self> {
        let events = messages_schema(&structure);
        let (columns, message) = match data_type {
            DataType::Struct(columns) => {
                let Some((_, message)) = columns.find(MESSAGE) else {
                    let column = MESSAGE.to_owned();
                    let text = format!("the column '{MESSAGE}' is missing");
                    return Err(Error::Column { column, text }.into());
                };
                (columns.clone(), message.data_type())
            }
            other => (Fields::empty(), other),
        };
        if !is_binary(message) {
            let name = if columns.is_empty() { "messages" } else { MESSAGE };
            return Err(PyTypeError::new_err(format!(
                "{name} must be binary (binary, large_binary, binary_view, fixed_size_binary, or a \
                 dictionary of one), not {message}"
            )));
        }
        let keywords = Field::ALL.map(Field::keyword);
        let others = other_columns(&columns, &keywords, "decode_messages", |name| name == MESSAGE)?;
        let kept = others.iter().map(|&at| columns[at].clone());
        let output = kept.chain(events.fields().iter().cloned()).chain([rejection_column()]);
        Ok(Self { output: output.collect(), others, structure })
    }

    fn decode(&self, rows: &ArrayRef) -> Result<Vec<StructArray>, ArrowError> {
        let table = rows.as_struct_opt();
        let nulls = rows.nulls().filter(|_| table.is_some()).cloned();
        let before = table.map(rejections_before).transpose()?.flatten();
        let messages = left_out(messages(rows), nulls.as_ref(), before.as_ref())?;
        let DecodedMessages { events, rejected } = match messages.as_binary_opt::<i32>() {
            Some(messages) => decode::decode_messages(messages, &self.structure),
            None => decode::decode_messages(messages.as_binary::<i64>(), &self.structure),
        };
        let places = rejected.iter().map(|(row, rejection)| (*row, rejection));
        let rejections = rejection_values(rows.len(), places, before.as_ref());
        let mut first = 0;
        let batches = events.into_iter().map(|events| {
            let (start, count) = (first, events.num_rows());
            first += count;
            let others = self
                .others
                .iter()
                .map(|&at| table.expect("it has other columns").column(at).slice(start, count));
            let arrays = others.chain(events.columns().iter().cloned());
            let rejections: ArrayRef = Arc::new(rejections.slice(start, count));
            StructArray::try_new_with_length(
                self.output.clone(),
                arrays.chain([rejections]).collect(),
                nulls.as_ref().map(|nulls| nulls.slice(start, count)),
                count,
            )
        });
        batches.collect()
    }
}

impl RowFunction for DecodeRows {
    fn columns(&self) -> &Fields {
        &self.output
    }

    fn most_bytes(&self, rows: &ArrayRef) -> usize {
        ByteColumn::binary(messages(rows)).map_or(0, |column| column.most_bytes(rows.len()))
    }

    fn apply(&self, rows: &ArrayRef, _: u64) -> Result<Vec<StructArray>, ArrowError> {
        self.decode(rows)
    }
}

/// The column of messages.
fn messages(rows: &ArrayRef) -> &ArrayRef {
    match rows.as_struct_opt() {
        Some(table) => table.column_by_name(MESSAGE).expect("it was checked"),
        None => rows,
    }
}

/// The messages as plain binary; null where the row is null or was rejected before.
fn left_out(
    messages: &ArrayRef,
    nulls: Option<&NullBuffer>,
    before: Option<&StructArray>,
) -> Result<ArrayRef, ArrowError> {
    let messages = match messages.data_type() {
        DataType::Binary | DataType::LargeBinary => messages.clone(),
        DataType::Null => Arc::new(LargeBinaryArray::new_null(messages.len())),
        _ => cast(messages, &DataType::LargeBinary)?,
    };
    let good = before.filter(|before| before.null_count() < before.len()).map(|before| {
        let rejected = (0..before.len()).map(|row| before.is_null(row));
        NullBuffer::from_iter(rejected)
    });
    if nulls.is_none() && good.is_none() {
        return Ok(messages);
    }
    let valid = NullBuffer::union_many([messages.nulls(), nulls, good.as_ref()]);
    let data = messages.to_data().into_builder().nulls(valid).build()?;
    Ok(arrow_array::make_array(data))
}
