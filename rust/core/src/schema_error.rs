//! Errors of a whole table of events.

use arrow_schema::DataType;
use thiserror::Error;

use crate::field::Field;
use crate::standard::attribute::AttributeError;
use crate::standard::nearest::{DidYouMean, nearest};

/// A table that cannot be read as events.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A column that is not a field of an event.
    #[error(
        "unknown column '{0}'{hint}; the columns of events are {all}; other_columns=\"ignore\" \
         ignores other columns",
        hint = DidYouMean(nearest(.0, Field::ALL.map(Field::keyword))),
        all = keywords()
    )]
    Unknown(String),
    /// Two columns with the same name.
    #[error("the table has two columns '{0}'")]
    Twice(String),
    /// A required column is missing.
    #[error(
        "no column '{0}': requests need AffectedSOPClassUID, AffectedSOPInstanceUID and \
         EventTypeID, responses MessageIDBeingRespondedTo and Status"
    )]
    Missing(&'static str),
    /// A column that is not a field of an action.
    #[error(
        "unknown column '{0}'{hint}; the columns of actions are {all}; other_columns=\"ignore\" \
         ignores other columns",
        hint = DidYouMean(nearest(.0, Field::OF_ACTIONS.map(Field::keyword))),
        all = Field::OF_ACTIONS.map(Field::keyword).join(", ")
    )]
    NotOfActions(String),
    /// A required column of actions is missing.
    #[error(
        "no column '{0}': actions need RequestedSOPClassUID, RequestedSOPInstanceUID and \
         ActionTypeID"
    )]
    MissingOfActions(&'static str),
    /// A struct field that is not an attribute.
    #[error("{path}: {why}")]
    Attribute {
        /// The path of the field.
        path: String,
        /// Why it is not an attribute.
        why: AttributeError,
    },
    /// A struct field whose type does not fit the VR of its attribute.
    #[error("{path}: an attribute of VR {vr} must be {accepted}, or lists of these, not {found}")]
    VrType {
        /// The path of the field.
        path: String,
        /// Its Arrow type.
        found: DataType,
        /// The VR.
        vr: &'static str,
        /// The accepted types.
        accepted: &'static str,
    },
    /// Sequences nested deeper than a data set can have them.
    #[error("{path} is nested too deep: a data set has at most {most} levels of sequences")]
    TooDeep {
        /// The path of the field.
        path: String,
        /// The maximum depth.
        most: usize,
    },
    /// A column with an unsupported type.
    #[error("the column '{column}' must be {accepted}, not {found}")]
    Type {
        /// The column.
        column: &'static str,
        /// Its Arrow type.
        found: DataType,
        /// The accepted types.
        accepted: &'static str,
    },
}

fn keywords() -> String {
    Field::ALL.map(Field::keyword).join(", ")
}
