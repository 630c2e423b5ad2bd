//! Options of associations that peers and listeners share.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastdimse_core::pdu::associate::check_ae_title;
use fastdimse_core::standard::sop_classes::negotiated;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use fastdimse_core::uid::{self, UidError};
use fastdimse_delivery::association::negotiation::{MAX_CONTEXTS, Role, User};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::input::transfer_syntaxes::transfer_syntax;

pub fn user(name: Option<String>, passcode: Option<String>) -> PyResult<Option<User>> {
    // Both lengths are 16-bit fields (PS3.7 Table D.3-14).
    let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > 0x7FFF);
    match (name, passcode) {
        (name, passcode) if is_long(&name) || is_long(&passcode) => {
            Err(PyValueError::new_err("username and passcode must each have at most 32767 bytes"))
        }
        (Some(name), passcode) => Ok(Some(User { name, passcode })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(PyValueError::new_err("a passcode needs a username")),
    }
}

pub fn title(name: &str, title: &str) -> PyResult<String> {
    match check_ae_title(title) {
        Ok(()) => Ok(title.to_owned()),
        Err(why) => Err(PyValueError::new_err(format!("{name}: {why}"))),
    }
}

pub fn role(given: &str) -> PyResult<Role> {
    match given {
        "scp" => Ok(Role::Scp),
        "scu" => Ok(Role::Scu),
        "both" => Ok(Role::Both),
        other => Err(PyValueError::new_err(format!(
            "role must be 'scp', 'scu' or 'both', not '{other}'"
        ))),
    }
}

pub fn seconds(name: &str, given: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(given)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| PyValueError::new_err(format!("{name} must be more than 0 s, not {given}")))
}

/// A `str`, or an iterable of `str`.
pub fn texts(given: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if let Ok(text) = given.extract() {
        return Ok(vec![text]);
    }
    given.try_iter()?.map(|one| one?.extract()).collect()
}

pub fn sop_classes(given: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    let Some(given) = given else {
        return Ok(negotiated().map(str::to_owned).collect());
    };
    let uids = texts(given)?;
    if !(1..=MAX_CONTEXTS).contains(&uids.len()) {
        return Err(PyValueError::new_err(format!(
            "sop_classes must be 1 to {MAX_CONTEXTS} UIDs, not {}",
            uids.len()
        )));
    }
    for (at, uid) in uids.iter().enumerate() {
        match uid::check(uid.as_bytes()) {
            // Some peers have such SOP classes.
            Ok(()) | Err(UidError::LeadingZero(_)) => {}
            Err(why) => {
                let text = format!("sop_classes[{at}], '{uid}': {why}");
                return Err(PyValueError::new_err(text));
            }
        }
    }
    Ok(uids)
}

pub fn syntaxes(given: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<TransferSyntax>> {
    let Some(given) = given else { return Ok(TransferSyntax::ALL.to_vec()) };
    let syntaxes: Vec<TransferSyntax> =
        texts(given)?.iter().map(|uid| transfer_syntax(uid)).collect::<PyResult<_>>()?;
    match syntaxes.is_empty() {
        true => Err(PyValueError::new_err("transfer_syntaxes must not be empty")),
        false => Ok(syntaxes),
    }
}

/// The maximum length of the PDUs that a peer may send; 0 is no maximum (PS3.8 D.1).
pub fn max_pdu_length(given: i128) -> PyResult<u32> {
    u32::try_from(given).ok().filter(|length| !(1..4096).contains(length)).ok_or_else(|| {
        let text = format!("max_pdu_length must be 0, or 4096 to {}, not {given}", u32::MAX);
        PyValueError::new_err(text)
    })
}

/// A whole number of one of the `accepted` values.
pub fn number<T>(name: &str, given: i128, accepted: RangeInclusive<T>) -> PyResult<T>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    T::try_from(given).ok().filter(|number| accepted.contains(number)).ok_or_else(|| {
        let (least, most) = accepted.into_inner();
        PyValueError::new_err(format!("{name} must be {least} to {most}, not {given}"))
    })
}
