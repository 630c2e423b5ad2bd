//! Structured data sets: encoded before their events are, decoded after them.

use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::data_set::schema::DataSetSchema;
use fastdimse_core::encode::encode_each_structured;
use fastdimse_core::event_columns::is_structured;
use fastdimse_core::field::Field;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::schema_error;
use crate::input::arrow::check::fields;
use crate::input::events::Batch;

/// Which data sets are given back structured, and the schema of each where one is given.
pub type StructuredFields = Vec<(Field, Option<DataSetSchema>)>;

/// Reads `event_information` and `event_reply`: how data sets are given back.
pub fn structured_fields(
    py: Python<'_>,
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
) -> PyResult<StructuredFields> {
    let mut fields = Vec::new();
    let given = [(Field::EventInformation, event_information), (Field::EventReply, event_reply)];
    for (field, given) in given {
        let Some(given) = given else { continue };
        match given.cast::<PyString>() {
            Ok(name) if name == "binary" => {}
            Ok(name) if name == "structured" => fields.push((field, None)),
            _ => fields.push((field, Some(schema(py, field, given)?))),
        }
    }
    Ok(fields)
}

fn schema(py: Python<'_>, field: Field, given: &Bound<'_, PyAny>) -> PyResult<DataSetSchema> {
    if !given.hasattr(intern!(py, "__arrow_c_schema__"))? {
        return Err(PyValueError::new_err(format!(
            "the {} of decoded events is 'binary', 'structured' or an Arrow schema of its \
             attributes, not {}",
            field.keyword(),
            given.repr()?
        )));
    }
    of_schema(given, field.keyword())
}

/// The attributes that an Arrow schema names; `path` is where it stands.
pub fn of_schema(schema: &Bound<'_, PyAny>, path: &str) -> PyResult<DataSetSchema> {
    DataSetSchema::from_fields(&fields(schema, path)?, path)
        .map_err(|error| schema_error(schema.py(), &error))
}

/// The most rows whose data sets are encoded at a time in a thread.
const ROWS: usize = 1 << 14;

/// Cuts batches with structured data sets, so that threads can share them, and memory for the data set
/// of a row, which may be all that there are, stays small.
pub fn cut(batches: Vec<Batch>) -> Vec<Batch> {
    let cut = |(batch, broken): Batch| {
        if !is_structured(&batch.schema()) || batch.num_rows() <= ROWS {
            return vec![(batch, broken)];
        }
        let starts = (0..batch.num_rows()).step_by(ROWS);
        let slices = starts.map(|start| batch.slice(start, ROWS.min(batch.num_rows() - start)));
        let mut cut: Vec<Batch> = slices.map(|slice| (slice, Vec::new())).collect();
        // What is wrong with rows goes by their numbers, not by the batch that it stands beside.
        cut[0].1 = broken;
        cut
    };
    batches.into_iter().flat_map(cut).collect()
}

/// The batches with their structured data sets encoded; the first row of all is `first_row` in
/// messages.
pub fn encode_structured(
    py: Python<'_>,
    batches: Vec<Batch>,
    options: DataSetOptions,
    first_row: u64,
    threads: usize,
) -> Vec<PyResult<Batch>> {
    if !batches.iter().any(|(batch, _)| is_structured(&batch.schema())) {
        return batches.into_iter().map(Ok).collect();
    }
    let mut done = first_row;
    let (tables, known): (Vec<_>, Vec<_>) = batches
        .into_iter()
        .map(|(batch, broken)| {
            let first_row = done;
            done += batch.num_rows() as u64;
            ((batch, first_row), broken)
        })
        .unzip();
    let encoded = py.detach(|| encode_each_structured(tables, options, threads));
    let with_known = |(encoded, mut broken): (Result<Batch, _>, Vec<_>)| {
        let (batch, found) = encoded.map_err(|error| schema_error(py, &error))?;
        broken.extend(found);
        broken.sort_by_key(|rejection: &fastdimse_core::rejection::Rejection| rejection.row);
        Ok((batch, broken))
    };
    encoded.into_iter().zip(known).map(with_known).collect()
}
