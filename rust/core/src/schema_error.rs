//! Why a table of events is refused as a whole.

use arrow_schema::DataType;
use thiserror::Error;

use crate::field::Field;
use crate::standard::attribute::AttributeError;

/// Why a table can't be read as events at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A column that no event has.
    #[error("unknown column '{0}'; the columns of events are {all}", all = keywords())]
    Unknown(String),
    /// Two columns of one name.
    #[error("the column '{0}' is there twice")]
    Twice(String),
    /// A column that no event can do without.
    #[error(
        "no column '{0}': requests need AffectedSOPClassUID, AffectedSOPInstanceUID and \
         EventTypeID, responses MessageIDBeingRespondedTo and Status"
    )]
    Missing(&'static str),
    /// A field of a struct that is no attribute.
    #[error("{path}: {why}")]
    Attribute {
        /// The field.
        path: String,
        /// What is wrong with it.
        why: AttributeError,
    },
    /// A field of a struct whose type does not fit the attribute's VR.
    #[error("{path} is {found}: an attribute of the VR {vr} must be {accepted}, or lists of these")]
    VrType {
        /// The field.
        path: String,
        /// Its Arrow type.
        found: DataType,
        /// The VR.
        vr: &'static str,
        /// What would be right.
        accepted: &'static str,
    },
    /// A type with more sequences in one another than a data set can have.
    #[error("{path} has more than {most} sequences, one in another: no data set is nested deeper")]
    TooDeep {
        /// The field that is nested too deep.
        path: String,
        /// How many sequences may be in one another.
        most: usize,
    },
    /// A column whose type does not fit.
    #[error("the column '{column}' is {found}, it must be {accepted}")]
    Type {
        /// The column.
        column: &'static str,
        /// Its Arrow type.
        found: DataType,
        /// What would be right.
        accepted: &'static str,
    },
}

fn keywords() -> String {
    Field::ALL.map(Field::keyword).join(", ")
}
