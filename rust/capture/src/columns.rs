//! The columns of captured events: the fields of the event and of its response, and where both were
//! captured.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use fastdimse_core::decode::{self, Layout};
use fastdimse_core::event_columns::{self, OtherColumns};
use fastdimse_core::field::Field;
use fastdimse_core::schema_error::SchemaError;
use fastdimse_core::standard::nearest::{DidYouMean, nearest};
use thiserror::Error;

/// A column with a property of the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CaptureColumn {
    Time,
    Latency,
    SourceAddress,
    SourcePort,
    DestinationAddress,
    DestinationPort,
    CallingAETitle,
    CalledAETitle,
    Association,
    Frame,
    TransferSyntaxUID,
}

impl CaptureColumn {
    /// All columns.
    pub const ALL: [Self; 11] = [
        Self::Time,
        Self::Latency,
        Self::SourceAddress,
        Self::SourcePort,
        Self::DestinationAddress,
        Self::DestinationPort,
        Self::CallingAETitle,
        Self::CalledAETitle,
        Self::Association,
        Self::Frame,
        Self::TransferSyntaxUID,
    ];

    /// The name of the column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "Time",
            Self::Latency => "Latency",
            Self::SourceAddress => "SourceAddress",
            Self::SourcePort => "SourcePort",
            Self::DestinationAddress => "DestinationAddress",
            Self::DestinationPort => "DestinationPort",
            Self::CallingAETitle => "CallingAETitle",
            Self::CalledAETitle => "CalledAETitle",
            Self::Association => "Association",
            Self::Frame => "Frame",
            Self::TransferSyntaxUID => "TransferSyntaxUID",
        }
    }

    /// The column with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }

    /// The type of the column in captured events.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            Self::Latency => DataType::Duration(TimeUnit::Nanosecond),
            Self::SourcePort | Self::DestinationPort => DataType::Int32,
            Self::Association | Self::Frame => DataType::Int64,
            _ => DataType::Utf8View,
        }
    }

    /// The types to which a column of a table is cast, and their description.
    fn read_as(self) -> (Vec<DataType>, &'static str) {
        match self {
            // Without a time zone, which Arrow would have to know by its name. A time with one is in UTC.
            Self::Time => {
                let utc = DataType::Timestamp(TimeUnit::Nanosecond, None);
                (vec![utc, DataType::Int64], "timestamps")
            }
            Self::Latency => (vec![self.data_type(), DataType::Int64], "durations"),
            Self::SourcePort | Self::DestinationPort | Self::Association | Self::Frame => {
                (vec![DataType::Int64], "integers")
            }
            _ => (vec![DataType::LargeUtf8], "text"),
        }
    }
}

/// A table that cannot be written as a capture.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// An invalid column of an event.
    #[error(transparent)]
    Events(#[from] SchemaError),
    /// An unknown column.
    #[error(
        "unknown column '{0}'{hint}; the columns of captured events are {all}; \
         other_columns=\"ignore\" ignores other columns",
        hint = DidYouMean(nearest(.0, Captured::ALL.map(Captured::name))),
        all = Names
    )]
    Unknown(String),
    /// A column whose values cannot be converted.
    #[error("the column '{column}' must be {wanted}, not {found}: {why}")]
    Type {
        /// The column.
        column: &'static str,
        /// Its Arrow type.
        found: DataType,
        /// The accepted types.
        wanted: &'static str,
        /// The error of the conversion.
        why: Box<str>,
    },
}

/// The names of all columns, separated by commas. Written one by one: for a text joined from
/// constants, the compiler takes minutes.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, column) in Captured::ALL.into_iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            f.write_str(column.name())?;
        }
        Ok(())
    }
}

/// Checks that every column is known or ignored, that no name of a known one occurs twice, and that
/// the required columns of a request or of a response are present.
pub fn check_names(schema: &SchemaRef, other: OtherColumns) -> Result<(), TableError> {
    let mut events = Vec::new();
    for (at, column) in schema.fields().iter().enumerate() {
        let name = column.name();
        if Field::from_keyword(name).is_some() {
            events.push(column.clone());
        } else if CaptureColumn::from_name(name).is_none() {
            if !event_columns::is_ignored(name, other) {
                return Err(TableError::Unknown(name.clone()));
            }
        } else if schema.fields()[..at].iter().any(|other| other.name() == name) {
            return Err(SchemaError::Twice(name.clone()).into());
        }
    }
    Ok(event_columns::check_names(&Arc::new(Schema::new(events)), other)?)
}

/// Splits a table into the columns of events and the columns of the capture.
pub fn split(table: &RecordBatch) -> Result<(RecordBatch, CaptureColumns), TableError> {
    let schema = table.schema();
    check_names(&schema, OtherColumns::Ignore)?;
    let mut events = Vec::new();
    let mut seen = CaptureColumns::default();
    for (index, column) in schema.fields().iter().enumerate() {
        match CaptureColumn::from_name(column.name()) {
            Some(column) => seen.set(column, table.column(index))?,
            None if Field::from_keyword(column.name()).is_some() => events.push(index),
            None => {}
        }
    }
    Ok((table.project(&events).expect("the columns are there"), seen))
}

/// The columns of the capture in a table.
#[derive(Debug, Default)]
pub struct CaptureColumns([Option<ArrayRef>; CaptureColumn::ALL.len()]);

impl CaptureColumns {
    fn set(&mut self, column: CaptureColumn, array: &ArrayRef) -> Result<(), TableError> {
        let (to, wanted) = column.read_as();
        // Arrow text becomes `str` here, also when it is converted to a time. Check it first.
        array.to_data().validate_full().map_err(|error| TableError::Type {
            column: column.name(),
            found: array.data_type().clone(),
            wanted,
            why: error.to_string().into(),
        })?;
        // A value that cannot be converted is an error, not a null.
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let read = to.iter().try_fold(array.clone(), |array, to| {
            cast_with_options(&array, to, &options).map_err(|error| TableError::Type {
                column: column.name(),
                found: array.data_type().clone(),
                wanted,
                why: error.to_string().into(),
            })
        });
        self.0[column as usize] = Some(read?);
        Ok(())
    }

    /// The number of a row; `None` if it is null or the column is missing.
    pub fn number(&self, column: CaptureColumn, row: usize) -> Option<i64> {
        let array = self.0[column as usize].as_ref()?.as_primitive::<Int64Type>();
        array.is_valid(row).then(|| array.value(row))
    }

    /// The text of a row; `None` if it is null or the column is missing.
    pub fn text(&self, column: CaptureColumn, row: usize) -> Option<&str> {
        let array = self.0[column as usize].as_ref()?.as_string::<i64>();
        array.is_valid(row).then(|| array.value(row))
    }
}

/// A column of captured events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captured {
    /// A property of the capture.
    CaptureColumn(CaptureColumn),
    /// A field of the request, or of a response without a request.
    Message(Field),
    /// A field of the response.
    Response(Field),
}

impl Captured {
    /// All columns, in order.
    pub const ALL: [Self; 22] = {
        use Captured::{CaptureColumn as S, Message, Response};
        [
            S(CaptureColumn::Time),
            S(CaptureColumn::SourceAddress),
            S(CaptureColumn::SourcePort),
            S(CaptureColumn::DestinationAddress),
            S(CaptureColumn::DestinationPort),
            S(CaptureColumn::CallingAETitle),
            S(CaptureColumn::CalledAETitle),
            S(CaptureColumn::Association),
            S(CaptureColumn::Frame),
            Message(Field::PresentationContextID),
            S(CaptureColumn::TransferSyntaxUID),
            Message(Field::MessageID),
            Message(Field::MessageIDBeingRespondedTo),
            Message(Field::AffectedSOPClassUID),
            Message(Field::AffectedSOPInstanceUID),
            Message(Field::EventTypeID),
            Message(Field::EventInformation),
            Response(Field::Status),
            Response(Field::ErrorComment),
            Response(Field::ErrorID),
            Response(Field::EventReply),
            S(CaptureColumn::Latency),
        ]
    };

    fn name(self) -> &'static str {
        match self {
            Self::CaptureColumn(seen) => seen.name(),
            Self::Message(field) | Self::Response(field) => field.keyword(),
        }
    }

    fn column(self) -> Column {
        match self {
            Self::CaptureColumn(seen) => Column::new(seen.name(), seen.data_type(), true),
            Self::Message(field) | Self::Response(field) => decode::columns::schema(Layout::Views)
                .field_with_name(field.keyword())
                .expect("every field is a column")
                .clone(),
        }
    }
}

/// The schema of captured events before their columns become plain.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(Captured::ALL.map(Captured::column).to_vec()))
}
