//! Rejections: rows and messages that fail a check, as a table.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use fastdimse_core::conformance::Deviation;
use fastdimse_core::rejection;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::output::arrow::{export_batch, export_schema};
use crate::output::pickle::{Pickle, Pickler, Reduced, reduce};
use crate::output::sequence::{SequenceIterator, from_end};
use crate::output::table::{ColumnType, Records, table_of_problems};

/// A rejected row.
pub enum RejectedRow {
    /// It violates a rule of the message, or cannot be read.
    Rejection(rejection::Rejection),
    /// Its event deviates from the standard.
    Deviation {
        /// The row of the input, from 0.
        row: u64,
        /// The deviation.
        deviation: Deviation,
    },
}

impl RejectedRow {
    /// The row of the input, from 0.
    pub fn row(&self) -> Option<u64> {
        match self {
            Self::Rejection(rejection) => rejection.row,
            Self::Deviation { row, .. } => Some(*row),
        }
    }

    fn field(&self) -> Option<String> {
        match self {
            Self::Rejection(rejection) => rejection.path(),
            Self::Deviation { deviation, .. } => Some(deviation.path().to_owned()),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Rejection(rejection) => rejection.reason.code(),
            Self::Deviation { deviation, .. } => deviation.code(),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Rejection(rejection) => rejection.reason.to_string(),
            Self::Deviation { deviation, .. } => deviation.to_string(),
        }
    }

    fn offset(&self) -> Option<u64> {
        match self {
            Self::Rejection(rejection) => rejection.offset,
            Self::Deviation { .. } => None,
        }
    }
}

impl fmt::Display for RejectedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejection(rejection) => write!(f, "{rejection}"),
            Self::Deviation { row, deviation } => {
                write!(f, "row {row}, {}: {deviation}", deviation.path())
            }
        }
    }
}

table_of_problems! {
    /// An event that cannot be encoded or decoded.
    ///
    /// Attributes
    /// ----------
    /// row : int or None
    ///     The row of the input, or the number of the event in the stream, from 0.
    /// field : str or None
    ///     The field's DICOM keyword. In a structured data set it includes the path, for example
    ///     ``EventInformation.ReferencedSOPSequence[3].ReferencedSOPInstanceUID``.
    /// code : str
    ///     The violated rule as a short name, for programs.
    /// reason : str
    ///     What is wrong, for people.
    /// offset : int or None
    ///     The byte of the stream, when decoding.
    ///
    /// Notes
    /// -----
    /// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
    /// object itself, since it cannot change.
    row Rejection;

    /// A table of rejected rows: a sequence of :class:`Rejection`, and an Arrow stream with the
    /// columns ``row``, ``field``, ``code``, ``reason`` and ``offset``.
    ///
    /// Notes
    /// -----
    /// It can be pickled, with every protocol from 2 on. ``copy.copy`` and ``copy.deepcopy`` return the
    /// object itself, since it cannot change.
    ///
    /// Examples
    /// --------
    /// >>> from fastdimse import validate_events
    /// >>> rejected = validate_events({
    /// ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    /// ...     "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1", "1.02"],
    /// ...     "EventTypeID": 1,
    /// ... })
    /// >>> [(rejection.row, rejection.field, rejection.code) for rejection in rejected]
    /// [(1, 'AffectedSOPInstanceUID', 'uid')]
    table Rejections;

    record: RejectedRow {
        row: Option<u64> = record.row(),
        field: Option<String> = record.field(),
        code: String = record.code().to_owned(),
        reason: String = record.reason(),
        offset: Option<u64> = record.offset(),
    }
}

impl From<Vec<rejection::Rejection>> for Rejections {
    fn from(rejections: Vec<rejection::Rejection>) -> Self {
        rejections.into_iter().map(RejectedRow::Rejection).collect::<Vec<_>>().into()
    }
}
