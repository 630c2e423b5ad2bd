//! The result of a function of rows: a table with as many rows as its input, computed when it is read.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Fields, Schema};
use arrow_select::concat::concat;
use fastdimse_core::threads::run_in_threads;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::arrow::error::{ImportError, arrow_error};
use crate::arrow::import::Arrays;
use crate::output::arrow::{export_array, export_schema, export_stream};

/// A function of the rows of an Arrow array, which returns as many rows.
pub trait RowFunction: Send + Sync {
    /// The columns of the result.
    fn columns(&self) -> &Fields;

    /// An upper bound of the number of bytes of the result, without the columns that are kept.
    fn most_bytes(&self, rows: &ArrayRef) -> usize;

    /// Applies the function. The first row has the number `first_row`. The result may be in several
    /// arrays.
    fn apply(&self, rows: &ArrayRef, first_row: u64) -> Result<Vec<StructArray>, ArrowError>;
}

/// The maximum number of rows that are processed at a time.
const ROWS: usize = 1 << 20;

/// The minimum number of rows for a thread.
const FEW_ROWS: usize = 1 << 14;

/// The number of bytes of a result from which rows are divided: a few bytes of a dictionary or of views
/// may be those of many rows.
const MANY_BYTES: usize = 1 << 28;

/// The maximum number of rows of one array: a column of nulls has rows without bytes.
const MOST_ROWS: usize = 1 << 27;

/// Columns with one row for each row of the input: the result of :func:`encode_messages` or
/// :func:`decode_messages`.
///
/// ``pyarrow.table(columns)``, ``polars.DataFrame(columns)`` and
/// ``pyarrow.RecordBatchReader.from_stream(columns)`` read it as a table, ``pyarrow.array(columns)`` and
/// ``polars.Series(columns)`` as one array of structs. The rows are computed when they are read, batch by
/// batch. Each reading reads the input again: if the input is a reader, which can be read only once, so can
/// the result.
///
/// Examples
/// --------
/// >>> import pyarrow
/// >>> from fastdimse import encode_messages
/// >>> events = pyarrow.table({
/// ...     "Site": ["north", "south"],
/// ...     "AffectedSOPClassUID": ["1.2.840.10008.1.20.1"] * 2,
/// ...     "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1", "1.02"],
/// ...     "EventTypeID": [1, 2],
/// ... })
/// >>> columns = encode_messages(events)
/// >>> columns
/// <MessageColumns: Site, Message, Rejection>
/// >>> pyarrow.table(columns)["Rejection"].to_pylist()[1]["field"]
/// 'AffectedSOPInstanceUID'
#[pyclass(frozen, module = "fastdimse")]
pub struct MessageColumns {
    input: Py<PyAny>,
    /// The arrays of the input for the first reading.
    opened: Mutex<Option<Arrays>>,
    function: Arc<dyn RowFunction>,
    first_row: u64,
    threads: usize,
}

impl MessageColumns {
    /// The result of `function` for the rows of `input`, whose arrays are opened.
    pub fn new(
        input: Bound<'_, PyAny>,
        opened: Arrays,
        function: Arc<dyn RowFunction>,
        first_row: u64,
        threads: usize,
    ) -> Self {
        let (input, opened) = (input.unbind(), Mutex::new(Some(opened)));
        Self { input, opened, function, first_row, threads }
    }

    fn arrays(&self, py: Python<'_>) -> PyResult<Arrays> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        opened.map_or_else(|| Arrays::new(self.input.bind(py)), Ok)
    }
}

#[pymethods]
impl MessageColumns {
    fn __repr__(&self) -> String {
        let names = self.function.columns().iter().map(|column| column.name().as_str());
        format!("<MessageColumns: {}>", names.collect::<Vec<_>>().join(", "))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, Schema::new(self.function.columns().clone()))
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let mut arrays = self.arrays(py)?;
        let array = py.detach(|| self.one_array(&mut arrays)).map_err(arrow_error)?;
        export_array(py, array, true, requested_schema)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let reader = MessageReader {
            arrays: self.arrays(py)?,
            function: self.function.clone(),
            next_row: self.first_row,
            threads: self.threads,
            rows: VecDeque::new(),
            ready: VecDeque::new(),
        };
        export_stream(py, reader, self.function.columns().clone(), requested_schema)
    }
}

impl MessageColumns {
    fn one_array(&self, arrays: &mut Arrays) -> Result<ArrayRef, ArrowError> {
        let too_long = |what: String| {
            let text =
                format!("the result has {what}, too many for one array: read it as a stream");
            Err(ArrowError::InvalidArgumentError(text))
        };
        let (mut chunks, mut count) = (Vec::new(), 0);
        while let Some(chunk) = arrays.next().map_err(external)? {
            count += chunk.len();
            if count > MOST_ROWS {
                return too_long(format!("more than {MOST_ROWS} rows"));
            }
            chunks.push(chunk);
        }
        let rows = match &chunks[..] {
            [one] => one.clone(),
            [] => arrow_array::new_empty_array(arrays.data_type()),
            several => concat(&several.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
        };
        let bytes = self.function.most_bytes(&rows);
        if bytes > 2 * i32::MAX as usize {
            return too_long(format!("up to {bytes} bytes"));
        }
        let found = apply(self.function.as_ref(), &rows, self.first_row)?;
        match &found[..] {
            [one] => Ok(Arc::new(one.clone())),
            several => concat(&several.iter().map(|one| one as &dyn Array).collect::<Vec<_>>()),
        }
    }
}

/// Reads the rows of the result.
struct MessageReader {
    arrays: Arrays,
    function: Arc<dyn RowFunction>,
    /// The number of the next row.
    next_row: u64,
    threads: usize,
    /// The parts of the input that were read.
    rows: VecDeque<ArrayRef>,
    /// The results that are ready.
    ready: VecDeque<StructArray>,
}

impl MessageReader {
    fn read(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while self.ready.is_empty() {
            while self.rows.is_empty() {
                let Some(array) = self.arrays.next().map_err(external)? else { return Ok(None) };
                let rows = array.len().div_ceil(self.threads).clamp(FEW_ROWS, ROWS);
                let starts = (0..array.len()).step_by(rows);
                let parts = starts.map(|start| array.slice(start, rows.min(array.len() - start)));
                self.rows.extend(parts);
            }
            self.divide();
            let parts: Vec<(ArrayRef, u64)> = self
                .rows
                .drain(..self.threads.min(self.rows.len()))
                .map(|rows| {
                    let first_row = self.next_row;
                    self.next_row += rows.len() as u64;
                    (rows, first_row)
                })
                .collect();
            let function = self.function.as_ref();
            let done = run_in_threads(self.threads, parts.into_iter(), |(rows, first_row)| {
                apply(function, &rows, first_row).map(|found| {
                    found.into_iter().map(without_null_rows).collect::<Result<Vec<_>, _>>()
                })
            });
            for found in done {
                self.ready.extend(found??);
            }
        }
        Ok(self.ready.pop_front().map(RecordBatch::from))
    }
}

impl MessageReader {
    /// Divides the next rows until their results are short.
    fn divide(&mut self) {
        for place in 0..self.threads {
            while let Some(rows) = self.rows.get(place)
                && rows.len() > 1
                && self.function.most_bytes(rows) > MANY_BYTES
            {
                let (middle, end) = (rows.len() / 2, rows.len());
                let (front, back) = (rows.slice(0, middle), rows.slice(middle, end - middle));
                self.rows[place] = front;
                self.rows.insert(place + 1, back);
            }
        }
    }
}

impl Iterator for MessageReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The rows of a table: a null row is null in all columns.
fn without_null_rows(rows: StructArray) -> Result<StructArray, ArrowError> {
    if rows.null_count() == 0 {
        return Ok(rows);
    }
    let (columns, arrays, valid) = rows.into_parts();
    let arrays = arrays.into_iter().map(|array| {
        if array.data_type() == &DataType::Null {
            return Ok(array);
        }
        let valid = NullBuffer::union(array.nulls(), valid.as_ref());
        Ok(make_array(array.to_data().into_builder().nulls(valid).build()?))
    });
    StructArray::try_new(columns, arrays.collect::<Result<_, ArrowError>>()?, None)
}

/// A panic must not cross the boundary of the Arrow C interface.
fn apply(
    function: &dyn RowFunction,
    rows: &ArrayRef,
    first_row: u64,
) -> Result<Vec<StructArray>, ArrowError> {
    let found = catch_unwind(AssertUnwindSafe(|| function.apply(rows, first_row)));
    found.unwrap_or_else(|_| {
        let text = format!("rows {first_row} to {}", first_row + rows.len() as u64);
        Err(ArrowError::ComputeError(format!("an internal error in {text}")))
    })
}

fn external(error: ImportError) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}
