//! Indices and iterators of the sequence classes.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyIndexError, PyOverflowError};
use pyo3::prelude::*;

/// Reads an index of Python; a negative one counts from the end.
pub fn from_end(index: &Bound<'_, PyAny>, length: usize) -> PyResult<usize> {
    let outside = || PyIndexError::new_err(format!("index {index} of {length}"));
    let place = match index.extract::<isize>() {
        Ok(place) if place < 0 => place + length as isize,
        Ok(place) => place,
        Err(error) if error.is_instance_of::<PyOverflowError>(index.py()) => return Err(outside()),
        Err(error) => return Err(error),
    };
    usize::try_from(place).ok().filter(|&place| place < length).ok_or_else(outside)
}

/// Iterates over a sequence; each item is created when it is read.
#[pyclass(frozen, module = "fastdimse")]
pub struct SequenceIterator {
    sequence: Py<PyAny>,
    next: AtomicUsize,
}

impl SequenceIterator {
    pub fn new(sequence: Bound<'_, PyAny>) -> Self {
        Self { sequence: sequence.unbind(), next: AtomicUsize::new(0) }
    }
}

#[pymethods]
impl SequenceIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let sequence = self.sequence.bind(py);
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        if next < sequence.len()? { sequence.get_item(next).map(Some) } else { Ok(None) }
    }
}
