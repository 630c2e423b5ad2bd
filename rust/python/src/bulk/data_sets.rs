//! Columns of encoded data sets, decoded into columns of their attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BinaryArray, BinaryViewArray, RecordBatch, StructArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field as Column, Schema};
use fastdimse_core::columns::bytes::is_binary;
use fastdimse_core::data_set::decode;
use fastdimse_core::data_set::error::DataSetError;
use fastdimse_core::options::OnInvalid;
use fastdimse_core::rejection::{Reason, Rejection};
use fastdimse_core::standard::transfer_syntax::{
    TransferSyntax, TransferSyntaxColumn, TransferSyntaxes,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyString, PyTuple};

use crate::errors::Error;
use crate::input::columns::arrow_array;
use crate::input::data_sets::schema::data_set_schema;
use crate::input::options::on_invalid;
use crate::input::transfer_syntaxes::{self, transfer_syntax};
use crate::input::values::data_set;
use crate::interrupts::interruptible;
use crate::output::arrow::{export_array, export_schema};
use crate::output::pickle::{self, Pickle, Pickler, Reduced, invalid, reduce};
use crate::output::rejections::Rejections;

/// Decode a column of data sets into their attributes.
///
/// Parameters
/// ----------
/// data_sets : Arrow array of binary, or iterable of bytes-like
///     Encoded data sets, for example the column *EventInformation* of :func:`decode_capture`. The
///     result of ``None`` is null.
/// schema : Arrow schema, optional
///     The attributes to return, by keyword. Without it, every attribute that occurs is returned.
/// transfer_syntax : str, or Arrow array or iterable of str, optional
///     The UID of the transfer syntax, of all data sets or of each: Implicit or Explicit VR Little
///     Endian. The default, also for a null, is Implicit VR Little Endian.
/// on_invalid : {"raise", "skip"}, default "raise"
///     ``"raise"`` raises an exception for the first data set that cannot be decoded. ``"skip"``
///     makes it null and lists it in ``rejected``.
///
/// Returns
/// -------
/// DecodedDataSets
///     An Arrow array of structs, one for each data set.
///
/// Raises
/// ------
/// DecodeError
///     If a data set cannot be decoded and *on_invalid* is ``"raise"``: the row, the path in the data
///     set and the byte of it.
/// ColumnError
///     If *schema* has a field that is not an attribute.
/// TypeError
///     If an argument, or a field of *schema*, has an unsupported type.
/// ValueError
///     If *transfer_syntax* has another number of rows than *data_sets*, or an option has an
///     unsupported value.
///
/// Examples
/// --------
/// >>> import pyarrow
/// >>> from fastdimse import decode_capture, decode_data_sets
/// >>> with open("examples/orthanc-storage-commitment.pcap", "rb") as file:
/// ...     captured = pyarrow.table(decode_capture(file.read()))
/// >>> decoded = decode_data_sets(
/// ...     captured["EventInformation"], transfer_syntax=captured["TransferSyntaxUID"]
/// ... )
/// >>> len(pyarrow.array(decoded)[0]["ReferencedSOPSequence"])
/// 7
#[pyfunction]
#[pyo3(signature = (
    data_sets, schema = None, *, transfer_syntax = None, on_invalid = "raise",
))]
pub fn decode_data_sets(
    py: Python<'_>,
    data_sets: &Bound<'_, PyAny>,
    schema: Option<&Bound<'_, PyAny>>,
    transfer_syntax: Option<&Bound<'_, PyAny>>,
    on_invalid: &str,
) -> PyResult<DecodedDataSets> {
    let on_invalid = self::on_invalid(on_invalid)?;
    let schema = schema.map(|schema| data_set_schema(schema, "schema")).transpose()?;
    let data_sets = binary_views(data_sets)?;
    let syntaxes = syntaxes(transfer_syntax, data_sets.len())?;
    let found = py.detach(|| {
        let syntaxes = match &syntaxes {
            Syntaxes::All(syntax) => TransferSyntaxes::All(*syntax),
            Syntaxes::Each(column) => TransferSyntaxes::Each(column),
        };
        decode::decode_data_sets(&data_sets, syntaxes, schema.as_ref())
    });
    let rejected: Vec<Rejection> = found.wrong.into_iter().map(rejection).collect();
    match rejected.first() {
        Some(first) if on_invalid == OnInvalid::Raise => Err(Error::Decode(first.clone()).into()),
        _ => Ok(DecodedDataSets {
            rows: found.rows,
            rejected: rejected.into(),
            omitted: found.omitted,
        }),
    }
}

enum Syntaxes {
    All(TransferSyntax),
    Each(TransferSyntaxColumn),
}

fn syntaxes(given: Option<&Bound<'_, PyAny>>, rows: usize) -> PyResult<Syntaxes> {
    let default = TransferSyntax::default();
    let Some(given) = given else { return Ok(Syntaxes::All(default)) };
    if let Ok(uid) = given.cast::<PyString>() {
        return transfer_syntax(uid.to_str()?).map(Syntaxes::All);
    }
    let column = transfer_syntaxes::from_values(given, default)?;
    match column.rows() == rows {
        true => Ok(Syntaxes::Each(column)),
        false => Err(PyValueError::new_err(format!(
            "transfer_syntax has {} rows, but data_sets has {rows}",
            column.rows()
        ))),
    }
}

fn rejection((row, error): (usize, Box<DataSetError>)) -> Rejection {
    let offset = error.offset;
    let rejection = Rejection::new(Reason::DataSet(error)).row(row as u64);
    match offset {
        Some(offset) => rejection.at(offset),
        None => rejection,
    }
}

fn binary_views(data_sets: &Bound<'_, PyAny>) -> PyResult<BinaryViewArray> {
    let array = match arrow_array(data_sets, "data_sets")? {
        Some(array) => array,
        None if is_one(data_sets) => {
            let found = data_sets.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "data_sets must be an Arrow array of binary or an iterable of bytes-like, not {found}"
            )));
        }
        None => {
            let values = (0..).zip(interruptible(data_sets.py(), data_sets.try_iter()?));
            let values = values.map(|(row, value)| data_set("data_sets", row, &value?));
            Arc::new(values.collect::<PyResult<Vec<_>>>()?.into_iter().collect::<BinaryArray>())
        }
    };
    match cast(&array, &DataType::BinaryView) {
        Ok(views) if is_binary(array.data_type()) => Ok(views.as_binary_view().clone()),
        _ => Err(PyTypeError::new_err(format!(
            "data_sets must be binary, not {}",
            array.data_type()
        ))),
    }
}

fn is_one(data_sets: &Bound<'_, PyAny>) -> bool {
    data_sets.is_instance_of::<PyBytes>() || data_sets.is_instance_of::<PyString>()
}

/// Attributes of data sets: an Arrow array of structs.
///
/// ``pyarrow.array(decoded)`` and ``polars.Series(decoded)`` read it.
///
/// Attributes
/// ----------
/// rejected : Rejections
///     The data sets that could not be decoded: ``field`` is the path in the data set and ``offset``
///     the byte of it.
/// omitted : dict of str to int
///     The number of data elements that a schema does not contain, by their paths.
///
/// Notes
/// -----
/// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
/// object itself, since it cannot change.
///
/// Examples
/// --------
/// >>> from fastdimse import decode_data_sets
/// >>> decode_data_sets([bytes.fromhex("0800 9511 0600 0000 3132 2e31 2e33"), None])
/// <DecodedDataSets: 2 rows, 0 rejected>
#[pyclass(frozen, module = "fastdimse")]
pub struct DecodedDataSets {
    rows: StructArray,
    #[pyo3(get)]
    rejected: Rejections,
    #[pyo3(get)]
    omitted: BTreeMap<String, u64>,
}

impl Pickle for DecodedDataSets {
    fn state<'py>(&self, pickler: Pickler<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let column = Column::new("", self.rows.data_type().clone(), true);
        let schema = Arc::new(Schema::new(vec![column]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(self.rows.clone())]);
        let rows = pickler.columns(&rows.map_err(invalid)?)?;
        (rows, self.rejected.clone(), self.omitted.clone()).into_pyobject(pickler.py)
    }

    fn from_state(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (rows, rejected, omitted): (Bound<'_, PyAny>, _, _) = state.extract()?;
        let rows = pickle::columns(&rows, None)?;
        let column = rows.columns().first().and_then(|column| column.as_struct_opt());
        let rows = column.ok_or_else(|| invalid("its column is not a struct"))?.clone();
        Ok(Self { rows, rejected, omitted })
    }
}

#[pymethods]
impl DecodedDataSets {
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
        self.rows.len()
    }

    fn __repr__(&self) -> String {
        let (rows, rejected) = (self.rows.len(), self.rejected.count());
        format!("<DecodedDataSets: {rows} rows, {rejected} rejected>")
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, Column::new("", self.rows.data_type().clone(), true))
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        export_array(py, Arc::new(self.rows.clone()), true, requested_schema)
    }
}
