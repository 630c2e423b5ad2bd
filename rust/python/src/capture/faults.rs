//! Faults: problems found in a capture, as a table.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use fastdimse_capture::fault;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::output::arrow::{export_batch, export_schema};
use crate::output::pickle::{Pickle, Pickler, Reduced, reduce};
use crate::output::sequence::{SequenceIterator, from_end};
use crate::output::table::{ColumnType, Records, table_of_problems};

table_of_problems! {
    /// A problem found in a capture, and its place.
    ///
    /// Attributes
    /// ----------
    /// stream : int or None
    ///     The TCP stream, as ``tcp.stream`` in Wireshark; ``None`` for a fault of the file itself.
    /// source, destination : str or None
    ///     The address and port of the sender, and those of the receiver.
    /// frame : int or None
    ///     The packet, as ``frame.number`` in Wireshark.
    /// offset : int or None
    ///     The byte among those that ``source`` sent in this stream.
    /// field : str or None
    ///     The field's DICOM keyword, with the path inside a structured data set.
    /// code : str
    ///     The kind of fault as a short name, for programs.
    /// reason : str
    ///     What is wrong, for people.
    ///
    /// Notes
    /// -----
    /// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
    /// object itself, since it cannot change.
    row Fault;

    /// A table of the faults in a capture: a sequence of :class:`Fault`, and an Arrow stream with the
    /// columns ``stream``, ``source``, ``destination``, ``frame``, ``offset``, ``field``, ``code`` and
    /// ``reason``.
    ///
    /// Notes
    /// -----
    /// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
    /// object itself, since it cannot change.
    ///
    /// Examples
    /// --------
    /// >>> from fastdimse import decode_capture, encode_capture
    /// >>> capture = encode_capture({
    /// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    /// ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    /// ...     "EventTypeID": [1],
    /// ... })
    /// >>> decoded = decode_capture(bytes(capture)[:-1])
    /// >>> [fault.code for fault in decoded.faults]
    /// ['file-ends']
    table Faults;

    fault: fault::Fault {
        stream: Option<u32> = fault.direction.as_ref().map(|direction| direction.stream),
        source: Option<String> =
            fault.direction.as_ref().map(|direction| direction.source.to_string()),
        destination: Option<String> =
            fault.direction.as_ref().map(|direction| direction.destination.to_string()),
        frame: Option<u64> = fault.frame,
        offset: Option<u64> = fault.offset,
        field: Option<String> = fault.path(),
        code: String = fault.kind.code().to_owned(),
        reason: String = fault.kind.to_string(),
    }
}
