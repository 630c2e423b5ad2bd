//! The chunks of a stream of bytes: of a file, of memory, or of an iterable.

use arrow_buffer::Buffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyMemoryView, PySlice, PyString};

use crate::buffer::{bytes_like, check_bytes};

/// A stream of bytes that is read in chunks.
pub enum Chunks {
    /// A file, the name of the method that reads it, and whether this object opened it.
    File { file: Py<PyAny>, method: &'static str, is_own: bool },
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
            return Ok(Self::File { file: file.unbind(), method: "read", is_own: true });
        }
        if PyMemoryView::from(source).is_ok() {
            let view = match check_bytes(source)?.len_bytes() {
                // No bytes in several dimensions cannot be cast.
                0 => PyMemoryView::from(&PyBytes::new(py, b""))?,
                _ => PyMemoryView::from(source)?
                    .call_method1(intern!(py, "cast"), ("B",))?
                    .cast_into()?,
            };
            let length = view.len()?;
            return Ok(Self::Memory { view: view.unbind(), at: 0, length });
        }
        if source.hasattr(intern!(py, "read"))? {
            let file = source.clone().unbind();
            return Ok(Self::File { file, method: "read", is_own: false });
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

    /// Reads a file with `read1`, if it has that method: a pipe is then read as soon as it has data.
    pub fn without_waiting(mut self, py: Python<'_>) -> PyResult<Self> {
        if let Self::File { file, method, .. } = &mut self
            && file.bind(py).hasattr(intern!(py, "read1"))?
        {
            *method = "read1";
        }
        Ok(self)
    }

    /// Reads about `size` bytes, of which the first are `rest`, and at least `needed` bytes if there are so
    /// many. Returns them, and whether they are the last ones. After an error, `rest` is unchanged.
    pub fn next(
        &mut self,
        py: Python<'_>,
        size: usize,
        rest: &mut Rest,
        needed: usize,
    ) -> PyResult<(Buffer, bool)> {
        match self {
            Self::Memory { view, at, length } => {
                // The rest is read again, so that memory that cannot change is not copied.
                let begin = *at - rest.0.len();
                let end = begin.saturating_add(size.max(needed)).min(*length);
                let slice = PySlice::new(py, begin as isize, end as isize, 1);
                let bytes = bytes_like(&view.bind(py).as_any().get_item(slice)?)?;
                rest.0.clear();
                *at = end;
                Ok((bytes, end == *length))
            }
            Self::File { file, method, .. } => loop {
                py.check_signals()?;
                let read = file.bind(py).call_method1(*method, (size,))?;
                if read.is_none() {
                    return Err(PyValueError::new_err(
                        "the file is not ready: it must be blocking",
                    ));
                }
                if read.is_instance_of::<PyString>() {
                    return Err(PyTypeError::new_err("the file must be opened in binary mode"));
                }
                let read = bytes_like(&read)?;
                if let Some(all) = rest.and(read.clone(), needed) {
                    return Ok((all, read.is_empty()));
                }
            },
            Self::Iterator(iterator) => loop {
                py.check_signals()?;
                let Some(chunk) = iterator.bind(py).clone().next() else {
                    return Ok((rest.take(), true));
                };
                if let Some(all) = rest.and(bytes_like(&chunk?)?, needed) {
                    return Ok((all, false));
                }
            },
        }
    }
}

/// The bytes that were read and not decoded.
#[derive(Default)]
pub struct Rest(Vec<u8>);

impl Rest {
    /// Keeps the bytes after those that were decoded.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn take(&mut self) -> Buffer {
        Buffer::from_vec(std::mem::take(&mut self.0))
    }

    /// All bytes, if they are at least `needed` or the chunk is empty; otherwise the chunk is kept.
    fn and(&mut self, chunk: Buffer, needed: usize) -> Option<Buffer> {
        if self.0.is_empty() && chunk.len() >= needed {
            return Some(chunk);
        }
        // Grows by doubling: a long PDU may come in many chunks.
        self.0.extend_from_slice(&chunk);
        (chunk.is_empty() || self.0.len() >= needed).then(|| self.take())
    }
}

impl Drop for Chunks {
    /// Closes a file that this object opened.
    fn drop(&mut self) {
        if let Self::File { file, is_own: true, .. } = self {
            // While the interpreter exits, the system closes it.
            Python::try_attach(|py| {
                // An exception may be raised at the moment, and the call would clear it.
                let raised = PyErr::take(py);
                let _ = file.bind(py).call_method0(intern!(py, "close"));
                if let Some(raised) = raised {
                    raised.restore(py);
                }
            });
        }
    }
}
