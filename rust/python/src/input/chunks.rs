//! The chunks of a stream of bytes: of a file, of memory, or of an iterable.

use arrow_buffer::{Buffer, MutableBuffer};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyMemoryView, PySlice, PyString};

use crate::buffer::bytes_like;

/// A stream of bytes that is read in chunks.
pub enum Chunks {
    /// A file, and whether this object opened it.
    File { file: Py<PyAny>, is_own: bool },
    /// Memory, and the number of bytes that were read.
    Memory { view: Py<PyMemoryView>, at: usize, length: usize },
    /// An iterator of bytes-like objects.
    Iterator(Py<PyIterator>),
}

impl Chunks {
    /// The chunks of a path, a file, a bytes-like object, or an iterable of bytes-like objects.
    pub fn new(source: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = source.py();
        let is_path =
            source.is_instance_of::<PyString>() || source.hasattr(intern!(py, "__fspath__"))?;
        if is_path {
            let open = py.import(intern!(py, "io"))?.getattr(intern!(py, "open"))?;
            // Unbuffered: the chunks are large.
            let file = open.call1((source, "rb", 0))?;
            return Ok(Self::File { file: file.unbind(), is_own: true });
        }
        if let Ok(view) = PyMemoryView::from(source) {
            let view =
                view.call_method1(intern!(py, "cast"), ("B",))?.cast_into::<PyMemoryView>()?;
            let length = view.len()?;
            return Ok(Self::Memory { view: view.unbind(), at: 0, length });
        }
        if source.hasattr(intern!(py, "read"))? {
            return Ok(Self::File { file: source.clone().unbind(), is_own: false });
        }
        match source.try_iter() {
            Ok(iterator) => Ok(Self::Iterator(iterator.unbind())),
            Err(_) => Err(PyTypeError::new_err(format!(
                "source must be a path, a binary file, a bytes-like object, or an iterable of bytes-like \
                 objects, not {}",
                source.get_type().name()?
            ))),
        }
    }

    /// The next chunk, of about `size` bytes, beginning with `rest`; and whether it is the last one.
    pub fn next(&mut self, py: Python<'_>, size: usize, rest: Buffer) -> PyResult<(Buffer, bool)> {
        match self {
            Self::Memory { view, at, length } => {
                // The rest is read again, so that memory that cannot change is not copied.
                let begin = *at - rest.len();
                // Longer chunks for PDUs that are longer than one.
                let end = (begin + size.max(2 * rest.len())).min(*length);
                *at = end;
                let slice = PySlice::new(py, begin as isize, end as isize, 1);
                Ok((bytes_like(&view.bind(py).as_any().get_item(slice)?)?, end == *length))
            }
            Self::File { file, .. } => {
                let wanted = size.max(rest.len());
                let read = file.bind(py).call_method1(intern!(py, "read"), (wanted,))?;
                if read.is_none() {
                    return Err(PyValueError::new_err(
                        "the file is not ready: it must be blocking",
                    ));
                }
                if read.is_instance_of::<PyString>() {
                    return Err(PyTypeError::new_err("the file must be opened in binary mode"));
                }
                let read = bytes_like(&read)?;
                let is_last = read.is_empty();
                Ok((joined(rest, read), is_last))
            }
            Self::Iterator(iterator) => match iterator.bind(py).clone().next() {
                Some(chunk) => Ok((joined(rest, bytes_like(&chunk?)?), false)),
                None => Ok((rest, true)),
            },
        }
    }
}

impl Drop for Chunks {
    /// Closes a file that this object opened.
    fn drop(&mut self) {
        if let Self::File { file, is_own: true } = self {
            // While the interpreter exits, the system closes it.
            Python::try_attach(|py| file.bind(py).call_method0(intern!(py, "close")).is_ok());
        }
    }
}

fn joined(rest: Buffer, chunk: Buffer) -> Buffer {
    if rest.is_empty() {
        return chunk;
    }
    let mut all = MutableBuffer::with_capacity(rest.len() + chunk.len());
    all.extend_from_slice(&rest);
    all.extend_from_slice(&chunk);
    all.into()
}
