//! The columns of captures: when and where an event was captured.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_cast::parse::string_to_timestamp_nanos;
use arrow_schema::SchemaRef;
use fastdimse_capture::columns::{CaptureColumn, check_names};
use fastdimse_core::event_columns::{OtherColumns, is_ignored};
use fastdimse_core::field::Field;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use crate::errors::Error;
use crate::input::columns::{ColumnSet, MappedColumn, arrow_array, ignored};
use crate::interrupts::interruptible;

/// The columns of captures, and what to do with others.
struct CaptureColumnSet(OtherColumns);

/// The columns of events to encode as a capture.
pub fn captured(other: OtherColumns) -> &'static dyn ColumnSet {
    match other {
        OtherColumns::Raise => &CaptureColumnSet(OtherColumns::Raise),
        OtherColumns::Ignore => &CaptureColumnSet(OtherColumns::Ignore),
    }
}

impl ColumnSet for CaptureColumnSet {
    fn check_names(&self, schema: &SchemaRef) -> PyResult<()> {
        Ok(check_names(schema, self.0).map_err(Error::Table)?)
    }

    fn column(&self, name: &str, values: &Bound<'_, PyAny>) -> PyResult<Option<MappedColumn>> {
        match CaptureColumn::from_name(name) {
            Some(column) => from_values(column, values).map(Some),
            None => Ok(is_ignored(name, self.0).then(|| ignored(values))),
        }
    }

    fn reads(&self, name: &str) -> bool {
        Field::from_keyword(name).is_some() || CaptureColumn::from_name(name).is_some()
    }

    fn ignores(&self, name: &str) -> bool {
        !self.reads(name) && is_ignored(name, self.0)
    }

    fn has_responses(&self) -> bool {
        true
    }
}

/// Converts the values of a column of a mapping.
pub fn from_values(column: CaptureColumn, values: &Bound<'_, PyAny>) -> PyResult<MappedColumn> {
    if let Some(array) = arrow_array(values, column.name())? {
        return Ok(MappedColumn::Array(array));
    }
    let py = values.py();
    if values.is_none()
        || values.is_instance_of::<PyString>()
        || values.is_instance_of::<PyInt>()
        || is_datetime(values, "datetime")?
        || is_datetime(values, "timedelta")?
    {
        return from_iterator(column, [Ok(values.clone())].into_iter()).map(MappedColumn::Repeated);
    }
    let unit = match column {
        CaptureColumn::Time => Some("datetime64[ns]"),
        CaptureColumn::Latency => Some("timedelta64[ns]"),
        _ => None,
    };
    let values = match unit {
        // `tolist` returns times in nanoseconds as numbers.
        Some(unit) if values.hasattr(intern!(py, "dtype"))? => &values
            .call_method1(intern!(py, "astype"), (unit,))?
            .call_method0(intern!(py, "tolist"))?,
        _ => values,
    };
    from_iterator(column, interruptible(py, values.try_iter()?)).map(MappedColumn::Array)
}

fn from_iterator<'py>(
    column: CaptureColumn,
    values: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
) -> PyResult<ArrayRef> {
    use CaptureColumn::*;
    match column {
        SourceAddress | DestinationAddress | CallingAETitle | CalledAETitle | TransferSyntaxUID => {
            let texts = values.enumerate().map(|(row, value)| text(column, row, &value?));
            Ok(Arc::new(texts.collect::<PyResult<StringArray>>()?))
        }
        _ => {
            let numbers = values.enumerate().map(|(row, value)| number(column, row, &value?));
            Ok(Arc::new(numbers.collect::<PyResult<Int64Array>>()?))
        }
    }
}

fn text(column: CaptureColumn, row: usize, value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    match value.extract() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(wrong_value(column, row, value, "a str or None")),
    }
}

fn number(column: CaptureColumn, row: usize, value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if value.is_none() {
        return Ok(None);
    }
    let accepted = match column {
        CaptureColumn::Time if is_datetime(value, "datetime")? => {
            return nanoseconds_of_time(value);
        }
        CaptureColumn::Time if value.is_instance_of::<PyString>() => {
            return string_to_timestamp_nanos(value.extract()?).map(Some).map_err(|why| {
                let reason = format!("a time in ISO 8601 format ({why})");
                wrong_value(column, row, value, &reason)
            });
        }
        CaptureColumn::Latency if is_datetime(value, "timedelta")? => {
            return nanoseconds(value).map(Some);
        }
        CaptureColumn::Time => {
            "a datetime, a str in ISO 8601 format, an int of nanoseconds since 1970, or None"
        }
        CaptureColumn::Latency => "a timedelta, an int of nanoseconds, or None",
        _ => "an int or None",
    };
    match value.extract() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(wrong_value(column, row, value, accepted)),
    }
}

fn wrong_value(
    column: CaptureColumn,
    row: usize,
    value: &Bound<'_, PyAny>,
    accepted: &str,
) -> PyErr {
    let found = value.repr().map_or_else(|_| "something".to_owned(), |repr| repr.to_string());
    PyTypeError::new_err(format!(
        "row {row} of the column '{}' must be {accepted}, not {found}",
        column.name()
    ))
}

fn is_datetime(value: &Bound<'_, PyAny>, class: &str) -> PyResult<bool> {
    value.is_instance(&value.py().import("datetime")?.getattr(class)?)
}

/// Nanoseconds since 1970 of a datetime; without a time zone it is UTC.
fn nanoseconds_of_time(time: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    let py = time.py();
    let datetime = py.import("datetime")?;
    let utc = datetime.getattr("timezone")?.getattr("utc")?;
    let zone = pyo3::types::PyDict::new(py);
    zone.set_item("tzinfo", &utc)?;
    let time = match time.call_method0("utcoffset")?.is_none() {
        true => time.call_method("replace", (), Some(&zone))?,
        false => time.clone(),
    };
    let epoch = datetime.getattr("datetime")?.call((1970, 1, 1), Some(&zone))?;
    nanoseconds(&time.sub(epoch)?).map(Some)
}

fn nanoseconds(span: &Bound<'_, PyAny>) -> PyResult<i64> {
    let part = |name: &str| span.getattr(name)?.extract::<i128>();
    let seconds = part("days")? * 86_400 + part("seconds")?;
    let nanoseconds = (seconds * 1_000_000 + part("microseconds")?) * 1_000;
    i64::try_from(nanoseconds)
        .map_err(|_| PyValueError::new_err(format!("{span} is outside the years 1677 to 2262")))
}
