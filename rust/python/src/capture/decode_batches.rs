//! Decoding captures chunk by chunk: packets of any number in, batches of events out, in bounded
//! memory.

use std::sync::Mutex;

use arrow_buffer::Buffer;
use fastdimse_capture::fault::{Fault, FaultKind};
use fastdimse_capture::read::{CaptureReader, Limits, decode_structured};
use fastdimse_core::data_set::schema::DataSetSchema;
use fastdimse_core::field::Field;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::capture::decode::{CapturedEvents, to_python};
use crate::errors::Error;
use crate::input::chunks::{Chunks, Rest};
use crate::input::data_sets::schema::structured_fields;
use crate::input::options::chunk_size;

/// Decode a capture in batches, in bounded memory.
///
/// Parameters
/// ----------
/// source : path, binary file, bytes-like, or iterable of bytes-like
///     The ``.pcap`` or ``.pcapng`` file, which may be compressed with gzip or Zstandard: a path as
///     a ``str`` or ``pathlib.Path``, an object with a method ``read``, memory such as a mapped
///     file, or chunks of any length. A file that is still being written, such as a pipe, is read
///     with its method ``read1``, if it has one: each event is returned as soon as its response was
///     captured.
/// event_information, event_reply : {"binary", "structured"} or Arrow schema, optional
///     As for :func:`decode_capture`. With ``"structured"``, each batch has the attributes that occur in
///     it.
/// chunk_size : int, default 8388608
///     The maximum number of bytes that are read at a time.
///
/// Returns
/// -------
/// CaptureBatches
///     An iterator of :class:`CapturedEvents`. Each has the events and actions that were completed since
///     the one before: by their responses, by the end of their associations, or by the end of the
///     capture. Counts and faults are also those since the one before. The last one may have no rows.
///
/// Raises
/// ------
/// DecodeError
///     While iterating, if *source* is not a capture.
/// OSError
///     If the path cannot be opened or read.
/// TypeError
///     If *source* is none of these, or a file is not binary.
/// ValueError
///     If an option has an unsupported value.
///
/// Notes
/// -----
/// Packets are ordered by their times within each chunk. If packets are further out of order, the result can
/// differ from that of :func:`decode_capture`: a response that precedes its request is a row of its own.
///
/// After an exception of the source, the next call of ``next`` continues where it was raised.
///
/// Memory is needed for one chunk, its columns, incomplete messages, and requests without a response. Each
/// of these has a limit: 64 MiB for an incomplete message, 8 MiB for the bytes after a missing packet,
/// 256 MiB in all, 65536 TCP streams and 65536 requests. Faults report what is given up beyond a limit. Data
/// sets of other messages, such as the images of C-STORE, are not kept.
///
/// See Also
/// --------
/// decode_capture : Decode a capture in memory.
///
/// Examples
/// --------
/// >>> from fastdimse import decode_capture_batches, encode_capture
/// >>> capture = encode_capture({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2, 1, 2],
/// ...     "Status": [0x0000, 0x0110, 0x0000, None],
/// ... })
/// >>> batches = list(decode_capture_batches(capture, chunk_size=1000))
/// >>> sum(len(batch) for batch in batches)
/// 4
/// >>> request, response = batches[-1][-1]
/// >>> request.EventTypeID, response
/// (2, None)
#[pyfunction]
#[pyo3(signature = (
    source, *, event_information = None, event_reply = None, chunk_size = 8388608,
))]
pub fn decode_capture_batches(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
    chunk_size: i64,
) -> PyResult<CaptureBatches> {
    let fields = structured_fields(event_information, event_reply)?;
    let chunk_size = self::chunk_size(chunk_size)?;
    let chunks = Chunks::new(source)?.without_waiting(py)?;
    let reader = Some(CaptureReader::new(Limits::BOUNDED));
    let (chunk, is_last) = (Buffer::default(), false);
    let reader = BatchReader { chunks, chunk, is_last, reader, fields, chunk_size };
    Ok(CaptureBatches(Mutex::new(reader)))
}

struct BatchReader {
    chunks: Chunks,
    /// The bytes that were read from the source and not decoded.
    chunk: Buffer,
    /// Whether `chunk` ends the source.
    is_last: bool,
    /// `None` at the end.
    reader: Option<CaptureReader>,
    fields: Vec<(Field, Option<DataSetSchema>)>,
    chunk_size: usize,
}

impl BatchReader {
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<CapturedEvents>> {
        while let Some(reader) = &mut self.reader {
            py.check_signals()?;
            if self.chunk.is_empty() && !self.is_last && !reader.has_more() {
                let mut no_rest = Rest::default();
                (self.chunk, self.is_last) =
                    self.chunks.next(py, self.chunk_size, &mut no_rest, 0)?;
            }
            // The chunks of an iterable may be long.
            let length = self.chunk.len().min(self.chunk_size);
            let is_last = self.is_last && length == self.chunk.len();
            let mut part = &self.chunk[..length];
            let fields = &self.fields;
            let found = py.detach(|| {
                let mut capture = reader.push(&mut part, is_last)?;
                let columns = capture.as_mut().map(|one| decode_structured(one, fields));
                Ok::<_, FaultKind>(capture.zip(columns))
            });
            let read = length - part.len();
            self.chunk = self.chunk.slice(read);
            if reader.has_ended() || found.is_err() {
                self.reader = None;
            }
            let found = found.map_err(|fault| Error::Capture(Fault::file(fault, None)))?;
            if let Some((capture, (columns, omitted))) = found {
                return to_python(py, capture, columns, omitted).map(Some);
            }
        }
        Ok(None)
    }
}

/// An iterator of :class:`CapturedEvents`, as returned by :func:`decode_capture_batches`.
#[pyclass(frozen, module = "fastdimse")]
pub struct CaptureBatches(Mutex<BatchReader>);

#[pymethods]
impl CaptureBatches {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<CapturedEvents>> {
        // Does not wait: the thread that holds the lock may wait for the GIL.
        match self.0.try_lock() {
            Ok(mut reader) => reader.next(py),
            Err(_) => Err(PyValueError::new_err("decode_capture_batches already executing")),
        }
    }
}
