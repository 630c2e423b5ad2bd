//! Decoding chunk by chunk: a stream of any length in, batches of events out, in bounded memory.

use std::sync::Mutex;

use fastdimse_core::decode::ChunkDecoder;
use fastdimse_core::options::OnInvalid;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::bulk::decode::{DecodedEvents, to_python};
use crate::input::chunks::{Chunks, Rest};
use crate::input::options::{chunk_size, decode_options, structure, thread_count};

/// Decode a stream of messages in batches, in bounded memory.
///
/// Parameters
/// ----------
/// source : path, binary file, bytes-like, or iterable of bytes-like
///     The stream: a path as a ``str`` or ``pathlib.Path``, an object with a method ``read``,
///     memory such as a mapped file, or chunks of any length, for example of a socket. A message
///     may continue in the next chunk.
/// framing, on_invalid, event_information, event_reply, transfer_syntax, zero_copy, threads
///     As for :func:`decode_events`. With ``"structured"``, each batch has the attributes that occur in
///     it.
/// chunk_size : int, default 8388608
///     The number of bytes that are read at a time from a path, a file or memory.
///
/// Returns
/// -------
/// DecodedBatches
///     An iterator of :class:`DecodedEvents`, one for each chunk that has events, rejected messages or other
///     messages. Rows of rejections and offsets are those of the whole stream.
///
/// Raises
/// ------
/// DecodeError
///     While iterating, if a message cannot be decoded and *on_invalid* is ``"raise"``: ``events``
///     has the events of its chunk before it.
/// OSError
///     If the path cannot be opened or read.
/// TypeError
///     If *source* is none of these, or a file is not binary.
/// ValueError
///     If an option has an unsupported value.
///
/// Notes
/// -----
/// Memory is needed for one chunk, the message that continues after it, and the columns. A PDU is
/// decoded when it is complete, so a PDU with a very large length needs memory for as many bytes as
/// the stream has of it.
///
/// See Also
/// --------
/// decode_events : Decode a stream in memory.
///
/// Examples
/// --------
/// >>> from fastdimse import decode_batches, encode_batches
/// >>> chunks = encode_batches({
/// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...     "EventTypeID": [1, 2, 1, 2, 1],
/// ... }, batch_size=2)
/// >>> [len(batch) for batch in decode_batches(chunks)]
/// [2, 2, 1]
#[pyfunction]
#[pyo3(signature = (
    source, *, framing = "p-data", on_invalid = "raise", event_information = None,
    event_reply = None, transfer_syntax = "1.2.840.10008.1.2", zero_copy = false,
    chunk_size = 8388608, threads = 1,
))]
#[allow(clippy::too_many_arguments)]
pub fn decode_batches(
    source: &Bound<'_, PyAny>,
    framing: &str,
    on_invalid: &str,
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
    transfer_syntax: &str,
    zero_copy: bool,
    chunk_size: i64,
    threads: i64,
) -> PyResult<DecodedBatches> {
    let options = decode_options(framing, on_invalid, zero_copy)?;
    let threads = thread_count(threads)?;
    let chunk_size = self::chunk_size(chunk_size)?;
    let structure = structure(event_information, event_reply, transfer_syntax)?;
    let chunks = Chunks::new(source)?;
    let (rest, on_invalid) = (Rest::default(), options.on_invalid);
    let decoder = ChunkDecoder::new(options, structure, threads);
    Ok(DecodedBatches(Mutex::new(BatchDecoder { chunks, decoder, rest, chunk_size, on_invalid })))
}

struct BatchDecoder {
    chunks: Chunks,
    decoder: ChunkDecoder,
    rest: Rest,
    chunk_size: usize,
    on_invalid: OnInvalid,
}

impl BatchDecoder {
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<DecodedEvents>> {
        while !self.decoder.has_ended() {
            py.check_signals()?;
            let needed = self.decoder.needed(self.rest.bytes());
            let (chunk, is_last) = self.chunks.next(py, self.chunk_size, &mut self.rest, needed)?;
            let (found, length) = py.detach(|| self.decoder.decode(&chunk, is_last));
            self.rest.keep(&chunk[length..]);
            let decoded = &found.decoded;
            let is_empty = decoded.rows() == 0 && decoded.rejected.is_empty();
            if !is_empty || !decoded.skipped.is_empty() {
                return to_python(py, found, self.on_invalid).map(Some);
            }
        }
        Ok(None)
    }
}

/// An iterator of :class:`DecodedEvents`, as returned by :func:`decode_batches`.
#[pyclass(frozen, module = "fastdimse")]
pub struct DecodedBatches(Mutex<BatchDecoder>);

#[pymethods]
impl DecodedBatches {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<DecodedEvents>> {
        // Does not wait: the thread that holds the lock may wait for the GIL.
        match self.0.try_lock() {
            Ok(mut decoder) => decoder.next(py),
            Err(_) => Err(PyValueError::new_err("decode_batches already executing")),
        }
    }
}
