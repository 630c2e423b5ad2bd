//! Tables of rejections and of faults: sequences of Python objects that are Arrow streams too.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::{DataType, Field};

/// The type of an attribute of a row, and of the column of this attribute.
pub trait ColumnType: Sized {
    /// The field of the column in a schema.
    fn field(name: &str) -> Field;

    /// The array of the column's values.
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;
}

macro_rules! column_type {
    ($kind:ty, $data_type:ident, $nullable:literal, $array:ty, |$value:ident| $item:expr) => {
        impl ColumnType for $kind {
            fn field(name: &str) -> Field {
                Field::new(name, DataType::$data_type, $nullable)
            }

            fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                Arc::new(values.map(|$value| $item).collect::<$array>())
            }
        }
    };
}

column_type!(Option<u32>, Int64, true, Int64Array, |value| value.map(i64::from));
column_type!(Option<u64>, Int64, true, Int64Array, |value| value.map(|value| value as i64));
column_type!(Option<String>, Utf8, true, StringArray, |value| value.as_deref());
column_type!(String, Utf8, false, StringArray, |value| Some(value));

/// The records of a table: those of Rust, or rows from a pickle.
pub enum Records<Record, Row> {
    Records(Vec<Record>),
    Rows(Vec<Row>),
}

impl<Record, Row> Default for Records<Record, Row> {
    fn default() -> Self {
        Self::Rows(Vec::new())
    }
}

impl<Record, Row: Clone + for<'a> From<&'a Record>> Records<Record, Row> {
    pub fn count(&self) -> usize {
        match self {
            Self::Records(records) => records.len(),
            Self::Rows(rows) => rows.len(),
        }
    }

    pub fn row(&self, index: usize) -> Row {
        match self {
            Self::Records(records) => (&records[index]).into(),
            Self::Rows(rows) => rows[index].clone(),
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = Row> {
        (0..self.count()).map(|index| self.row(index))
    }
}

/// Defines the class of a row and the class of a table of such rows.
///
/// A table stores records of Rust and converts one to a row when Python reads it, since a table may have
/// many records of which few are read. Each column is an attribute of the row, and its value an expression
/// of the record.
macro_rules! table_of_problems {
    (
        $(#[$row_doc:meta])*
        row $row:ident;
        $(#[$table_doc:meta])*
        table $table:ident;
        $record_name:ident: $record:ty {
            $($column:ident: $kind:ty = $value:expr,)*
        }
    ) => {
        $(#[$row_doc])*
        #[pyclass(frozen, eq, module = "fastdimse")]
        #[derive(Clone, PartialEq, Eq)]
        pub struct $row {
            $(#[pyo3(get)] $column: $kind,)*
            text: String,
        }

        impl From<&$record> for $row {
            fn from($record_name: &$record) -> Self {
                Self { $($column: $value,)* text: $record_name.to_string() }
            }
        }

        impl Pickle for $row {
            fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
                ($(self.$column.clone(),)* self.text.clone()).into_pyobject(pickler.py)
            }

            fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
                let ($($column,)* text): ($($kind,)* String) = state.extract()?;
                Ok(Self { $($column,)* text })
            }
        }

        #[pymethods]
        impl $row {
            #[pyo3(signature = (protocol, /))]
            fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, protocol: i64) -> PyResult<Reduced<'py>> {
                reduce(slf.as_any(), slf.get(), protocol)
            }

            fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
                slf
            }

            #[pyo3(signature = (memo, /))]
            fn __deepcopy__<'py>(slf: Bound<'py, Self>, memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
                let _ = memo;
                slf
            }

            fn __str__(&self) -> &str {
                &self.text
            }

            fn __repr__(&self) -> String {
                format!(concat!("<", stringify!($row), ": {}>"), self.text)
            }
        }

        $(#[$table_doc])*
        #[pyclass(frozen, sequence, from_py_object, module = "fastdimse")]
        #[derive(Clone, Default)]
        pub struct $table {
            records: Arc<Records<$record, $row>>,
        }

        impl $table {
            pub fn count(&self) -> usize {
                self.records.count()
            }

            fn batch(&self) -> RecordBatch {
                let rows: Vec<$row> = self.records.rows().collect();
                let columns =
                    vec![$(<$kind as ColumnType>::array(rows.iter().map(|row| &row.$column)),)*];
                RecordBatch::try_new(Self::schema(), columns).expect("the columns match the schema")
            }

            fn schema() -> SchemaRef {
                Arc::new(Schema::new(vec![
                    $(<$kind as ColumnType>::field(stringify!($column)),)*
                ]))
            }
        }

        impl From<Vec<$record>> for $table {
            fn from(records: Vec<$record>) -> Self {
                Self { records: Arc::new(Records::Records(records)) }
            }
        }

        impl Pickle for $table {
            fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
                let rows = self.records.rows().map(|row| row.state(pickler));
                PyTuple::new(pickler.py, rows.collect::<PyResult<Vec<_>>>()?)
            }

            fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
                let rows = state.iter().map(|row| $row::from_state(row.cast::<PyTuple>()?));
                let rows = rows.collect::<PyResult<Vec<_>>>()?;
                Ok(Self { records: Arc::new(Records::Rows(rows)) })
            }
        }

        #[pymethods]
        impl $table {
            #[pyo3(signature = (protocol, /))]
            fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, protocol: i64) -> PyResult<Reduced<'py>> {
                reduce(slf.as_any(), slf.get(), protocol)
            }

            fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
                slf
            }

            #[pyo3(signature = (memo, /))]
            fn __deepcopy__<'py>(slf: Bound<'py, Self>, memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
                let _ = memo;
                slf
            }

            fn __len__(&self) -> usize {
                self.count()
            }

            fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<$row> {
                let index = from_end(index, self.count())?;
                Ok(self.records.row(index))
            }

            fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
                SequenceIterator::new(slf.into_any())
            }

            fn __repr__(&self) -> String {
                format!(concat!("<", stringify!($table), ": {}>"), self.count())
            }

            fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
                export_schema(py, Self::schema().as_ref())
            }

            #[pyo3(signature = (requested_schema = None))]
            fn __arrow_c_stream__<'py>(
                &self,
                py: Python<'py>,
                requested_schema: Option<Bound<'py, PyCapsule>>,
            ) -> PyResult<Bound<'py, PyCapsule>> {
                export_batch(py, &self.batch(), requested_schema)
            }
        }
    };
}

pub(crate) use table_of_problems;
