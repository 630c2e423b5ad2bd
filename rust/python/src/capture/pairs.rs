//! Requests of a capture with their responses: columns, and pairs of primitives.

use arrow_array::RecordBatch;
use fastdimse_core::decode::{Layout, columns};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::output::arrow::{count_rows, export_batches, export_schema};
use crate::output::pickle::{self, Pickler, invalid};
use crate::output::sequence::from_end;
use crate::primitive::from_columns::primitive;
use crate::primitive::slots::Service;

/// The requests of a service, each with its response.
pub struct Pairs {
    pub service: Service,
    pub columns: Vec<RecordBatch>,
    /// The decoded messages. Actions have the columns of events of the same meaning.
    pub messages: RecordBatch,
    /// For each row, the rows of its request and of its response in `messages`.
    pub rows: Vec<(Option<usize>, Option<usize>)>,
}

/// A request and its response as primitives.
pub type Pair<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// The state of [`Pairs`]: the columns, the messages and the rows.
pub type State<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

impl Pairs {
    pub fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<State<'py>> {
        let place = |row: Option<usize>| row.map_or(-1, |row| row as i64);
        let places = self.rows.iter().flat_map(|&(one, other)| [place(one), place(other)]);
        Ok((
            pickler.batches(&self.columns)?,
            pickler.columns(&self.messages)?,
            pickler.integers(&places.collect())?,
        ))
    }

    pub fn from_state((columns, messages, places): State<'_>, service: Service) -> PyResult<Self> {
        let columns = pickle::batches(&columns, &[])?;
        let messages = pickle::columns(&messages, Some(&columns::schema(Layout::Views)))?;
        let places = pickle::integers(&places)?;
        let (pairs, rest) = places.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != count_rows(&columns) {
            return Err(invalid("it has a pair of messages too many or too few"));
        }
        let place = |row: i64| match usize::try_from(row) {
            Ok(row) if row < messages.num_rows() => Ok(Some(row)),
            Err(_) if row == -1 => Ok(None),
            _ => Err(invalid(format!("it has no message {row}"))),
        };
        let rows = pairs.iter().map(|&[one, other]| Ok((place(one)?, place(other)?)));
        let rows = rows.collect::<PyResult<Vec<_>>>()?;
        Ok(Self { service, columns, messages, rows })
    }

    pub fn get<'py>(&self, py: Python<'py>, index: &Bound<'_, PyAny>) -> PyResult<Pair<'py>> {
        let (request, response) = self.rows[from_end(index, self.rows.len())?];
        let message = |row: Option<usize>| {
            row.map(|row| primitive(py, &self.messages, row, self.service)).transpose()
        };
        Ok((message(request)?, message(response)?))
    }

    pub fn arrow_schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, self.columns[0].schema().as_ref())
    }

    pub fn arrow_stream<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batches(py, &self.columns, &self.columns[0].schema(), requested_schema)
    }
}
