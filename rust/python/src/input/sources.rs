//! Objects that contain a table but are not Arrow data: Datasets and Scanners of pyarrow, and lazy frames
//! of polars. They are read lazily, in bounded memory.

use fastdimse_core::event_columns::{LATENCY, UNDECODED};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::input::columns::ColumnSet;

/// The number of rows of a batch of a lazy frame.
const ROWS: usize = 1 << 16;

/// The Arrow data, or the iterable of Arrow data, in an object; `None` if it is not of such a kind.
pub fn arrow_source<'py>(
    object: &Bound<'py, PyAny>,
    accepted: &dyn ColumnSet,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    if object.hasattr(intern!(py, "collect_schema"))? {
        return lazy_frame(object).map(Some);
    }
    // A Scanner.
    if object.hasattr(intern!(py, "to_reader"))?
        && object.hasattr(intern!(py, "projected_schema"))?
    {
        return object.call_method0(intern!(py, "to_reader")).map(Some);
    }
    if is_dataset(object)? {
        return dataset(object, accepted).map(Some);
    }
    Ok(None)
}

/// Whether the object is a Dataset.
pub fn is_dataset(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    Ok(object.hasattr(intern!(py, "scanner"))? && object.hasattr(intern!(py, "get_fragments"))?)
}

/// A Dataset, of which only the columns that events may have are read, and few batches in advance.
fn dataset<'py>(
    dataset: &Bound<'py, PyAny>,
    accepted: &dyn ColumnSet,
) -> PyResult<Bound<'py, PyAny>> {
    let py = dataset.py();
    let names: Vec<String> =
        dataset.getattr(intern!(py, "schema"))?.getattr(intern!(py, "names"))?.extract()?;
    let reads = |name: &str| {
        accepted.reads(name)
            || name == LATENCY
            || UNDECODED.iter().any(|(_, undecoded)| *undecoded == name)
    };
    let options = PyDict::new(py);
    // An unknown column is read, so that it is an error.
    if names.iter().all(|name| reads(name) || accepted.ignores(name)) {
        let read = names.iter().filter(|name| reads(name));
        options.set_item("columns", PyList::new(py, read)?)?;
    }
    options.set_item("batch_readahead", 2)?;
    options.set_item("fragment_readahead", 1)?;
    dataset
        .call_method(intern!(py, "scanner"), (), Some(&options))?
        .call_method0(intern!(py, "to_reader"))
}

/// A lazy frame, executed by the streaming engine where it has one.
fn lazy_frame<'py>(frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = frame.py();
    if frame.hasattr(intern!(py, "collect_batches"))? {
        let options = PyDict::new(py);
        options.set_item("chunk_size", ROWS)?;
        options.set_item("maintain_order", true)?;
        options.set_item("engine", "streaming")?;
        return frame.call_method(intern!(py, "collect_batches"), (), Some(&options));
    }
    frame.call_method0(intern!(py, "collect"))
}
