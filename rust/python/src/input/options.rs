//! Keyword options that several functions share.

use std::fmt::Display;

use fastdimse_core::data_set::encode::DataSetOptions;
use fastdimse_core::decode::{DecodeOptions, Layout, Structure};
use fastdimse_core::encode::{Options, check_context_id};
use fastdimse_core::event_columns::OtherColumns;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::write::MaxPduLength;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::Error;
use crate::input::data_sets::schema::structured_fields;
use crate::input::transfer_syntaxes::transfer_syntax;

/// Reads `framing`.
pub fn framing(name: &str) -> PyResult<Framing> {
    match name {
        "p-data" => Ok(Framing::PData),
        "command-set" => Ok(Framing::CommandSet),
        _ => Err(PyValueError::new_err(format!(
            "framing must be 'p-data' or 'command-set', not '{name}'"
        ))),
    }
}

/// Reads `on_invalid`.
pub fn on_invalid(name: &str) -> PyResult<OnInvalid> {
    match name {
        "raise" => Ok(OnInvalid::Raise),
        "skip" => Ok(OnInvalid::Skip),
        _ => Err(PyValueError::new_err(format!(
            "on_invalid must be 'raise' or 'skip', not '{name}'"
        ))),
    }
}

/// Reads the options of decoding.
pub fn decode_options(
    framing_name: &str,
    on_invalid_name: &str,
    zero_copy: bool,
) -> PyResult<DecodeOptions> {
    Ok(DecodeOptions {
        framing: framing(framing_name)?,
        on_invalid: on_invalid(on_invalid_name)?,
        layout: if zero_copy { Layout::Views } else { Layout::Plain },
    })
}

/// Reads `event_information`, `event_reply` and `transfer_syntax`.
pub fn structure(
    event_information: Option<&Bound<'_, PyAny>>,
    event_reply: Option<&Bound<'_, PyAny>>,
    transfer_syntax: &str,
) -> PyResult<Structure> {
    let syntax = self::transfer_syntax(transfer_syntax)?;
    Ok(Structure { syntax, columns: structured_fields(event_information, event_reply)? })
}

/// Reads `other_columns`.
pub fn other_columns(name: &str) -> PyResult<OtherColumns> {
    match name {
        "raise" => Ok(OtherColumns::Raise),
        "ignore" => Ok(OtherColumns::Ignore),
        _ => Err(PyValueError::new_err(format!(
            "other_columns must be 'raise' or 'ignore', not '{name}'"
        ))),
    }
}

/// Reads `first_row`.
pub fn first_row(number: i64) -> PyResult<u64> {
    number
        .try_into()
        .map_err(|_| PyValueError::new_err(format!("first_row must be at least 0, not {number}")))
}

/// Reads the options of encoding.
pub fn options(
    context_id: i64,
    max_pdu_length: i64,
    framing_name: &str,
    on_invalid_name: &str,
    conformant_uids: bool,
) -> PyResult<Options> {
    Ok(Options {
        context_id: check_context_id(context_id.into()).map_err(Error::Encode)?,
        max_pdu_length: MaxPduLength::new(max_pdu_length.into()).map_err(Error::Encode)?.even(),
        framing: framing(framing_name)?,
        on_invalid: on_invalid(on_invalid_name)?,
        conformant_uids,
    })
}

/// Reads `threads`.
pub fn thread_count(threads: i64) -> PyResult<usize> {
    at_least_one("threads", threads)
}

/// Reads `batch_size`.
pub fn batch_size(batch_size: impl TryInto<usize> + Display + Copy) -> PyResult<usize> {
    at_least_one("batch_size", batch_size)
}

/// Reads `chunk_size`.
pub fn chunk_size(chunk_size: i64) -> PyResult<usize> {
    at_least_one("chunk_size", chunk_size)
}

fn at_least_one(name: &str, given: impl TryInto<usize> + Display + Copy) -> PyResult<usize> {
    given
        .try_into()
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| PyValueError::new_err(format!("{name} must be at least 1, not {given}")))
}

/// Reads the options of structured data sets.
pub fn data_set_options(uid: &str, conformant_uids: bool) -> PyResult<DataSetOptions> {
    let syntax = transfer_syntax(uid)?;
    Ok(DataSetOptions { syntax, conformant_uids })
}
