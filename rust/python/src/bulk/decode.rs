//! Bulk decoding: a stream in, columns and primitives out.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_buffer::ScalarBuffer;
use fastdimse_core::decode::decode_in_threads;
use fastdimse_core::decode::{Structure, StructuredEvents, decode_structured};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::buffer::bytes_like;
use crate::errors::Error;
use crate::input::data_sets::schema::structured_fields;
use crate::input::options::{framing, on_invalid, thread_count};
use crate::input::transfer_syntaxes::transfer_syntax;
use crate::output::arrow::{export_batch, export_schema};
use crate::output::offsets::Offsets;
use crate::output::rejections::Rejections;
use crate::output::sequence::{SequenceIterator, from_end};
use crate::primitive::from_columns::primitive;

/// Decode a stream of messages into columns.
///
/// Parameters
/// ----------
/// data : bytes-like
///     One direction of an association, or of several one after another. PDUs other than
///     P-DATA-TF and DIMSE messages other than N-EVENT-REPORT are counted and stepped over.
///     ``bytes`` and :class:`EncodedEvents`, and memoryviews of these, are read where they are; all
///     else is copied first, since it may change. Read a file rather than map it: a mapped file that
///     another process cuts short during the copy ends this process (SIGBUS).
/// framing : {"p-data", "command-set"}, optional
///     P-DATA-TF PDUs (PS3.8 9.3.5), or bare command sets one after another.
/// on_invalid : {"raise", "skip"}, optional
///     Raise at the first message that can't be decoded, or go on behind it where the stream
///     allows and list it in ``rejected``.
/// event_information, event_reply : {"binary", "structured"} or Arrow schema, optional
///     How data sets are given back: as their bytes; as structs whose fields are attributes by
///     keyword, all that the stream has; or as those of a schema or struct type, by their names.
///     What that leaves out is counted in ``omitted``.
/// transfer_syntax : str, optional
///     The UID of the transfer syntax that structured data sets are read in: Implicit or Explicit
///     VR Little Endian.
/// threads : int, optional
///     The most threads that decode at once, of which the calling one is the first; the outcome is
///     the same. Worth it from some thousand events on, and only for PDUs.
///
/// Returns
/// -------
/// DecodedEvents
///     The events as Arrow columns, and as a sequence of :class:`N_EVENT_REPORT`.
///
/// Raises
/// ------
/// DecodeError
///     With the byte where the stream broke, and the events before it as ``events``.
///
/// Examples
/// --------
/// >>> from fastdimse import N_EVENT_REPORT, decode_events
/// >>> event = N_EVENT_REPORT()
/// >>> event.MessageID = 7
/// >>> decoded = decode_events(event.encode_p_data())
/// >>> decoded[0].MessageID
/// 7
#[pyfunction]
#[pyo3(signature = (
    data, *, framing = "p-data", on_invalid = "raise", event_information = None,
    event_reply = None, transfer_syntax = "1.2.840.10008.1.2", threads = 1,
))]
#[allow(clippy::too_many_arguments)]
pub fn decode_events(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    framing: &str,
    on_invalid: &str,
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
    transfer_syntax: &str,
    threads: i64,
) -> PyResult<DecodedEvents> {
    let (framing, on_invalid) = (self::framing(framing)?, self::on_invalid(on_invalid)?);
    let threads = thread_count(threads)?;
    let stream = bytes_like(data)?;
    let syntax = self::transfer_syntax(transfer_syntax)?;
    let columns = structured_fields(event_information, event_reply)?;
    let structure = Structure { syntax, columns };
    let found = py.detach(|| {
        let decoded = decode_in_threads(&stream, framing, on_invalid, threads);
        decode_structured(decoded, &stream, &structure, on_invalid)
    });
    let StructuredEvents { decoded, structured, omitted } = found;
    let raised = match on_invalid {
        fastdimse_core::options::OnInvalid::Raise => decoded.rejected.first().cloned(),
        fastdimse_core::options::OnInvalid::Skip => None,
    };
    let events = DecodedEvents {
        events: decoded.events,
        structured,
        offsets: decoded.offsets,
        rejected: decoded.rejected.into(),
        skipped: decoded.skipped,
        omitted,
    };
    match raised {
        None => Ok(events),
        Some(rejection) => Err(Error::Decode(rejection).with_events(py, events)?),
    }
}

/// Decoded events: an Arrow stream of columns, and a sequence of :class:`N_EVENT_REPORT`.
///
/// ``pyarrow.table(decoded)`` and ``polars.DataFrame(decoded)`` take the columns; UIDs and data
/// sets are views into the stream that was decoded, which they keep alive.
#[pyclass(frozen, sequence, module = "fastdimse")]
pub struct DecodedEvents {
    events: RecordBatch,
    /// The same rows, with structured data sets where these were asked for.
    structured: RecordBatch,
    offsets: ScalarBuffer<i64>,
    rejected: Rejections,
    skipped: BTreeMap<&'static str, u64>,
    omitted: BTreeMap<String, u64>,
}

#[pymethods]
impl DecodedEvents {
    fn __len__(&self) -> usize {
        self.events.num_rows()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        primitive(py, &self.events, from_end(index, self.events.num_rows())?)
    }

    fn __iter__(slf: Bound<'_, Self>) -> SequenceIterator {
        SequenceIterator::new(slf.into_any())
    }

    fn __repr__(&self) -> String {
        let (events, rejected) = (self.events.num_rows(), self.rejected.count());
        format!("<DecodedEvents: {events} events, {rejected} rejected>")
    }

    /// Where the first PDU (or the command set) of each event begins: an Arrow int64 array.
    #[getter]
    fn offsets(&self) -> Offsets {
        Offsets(self.offsets.clone())
    }

    /// What could not be decoded.
    #[getter]
    fn rejected(&self) -> Rejections {
        self.rejected.clone()
    }

    /// Other PDUs and other DIMSE messages by name, and how many of each there were.
    #[getter]
    fn skipped(&self) -> BTreeMap<&'static str, u64> {
        self.skipped.clone()
    }

    /// Elements of structured data sets that a given schema does not have, by their paths, and how
    /// many of each there were.
    #[getter]
    fn omitted(&self) -> BTreeMap<String, u64> {
        self.omitted.clone()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export_schema(py, self.structured.schema().as_ref())
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        export_batch(py, self.structured.clone(), requested_schema)
    }
}
