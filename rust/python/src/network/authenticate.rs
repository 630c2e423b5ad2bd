//! The function that accepts or rejects the users of associations.

use dicom_ul::pdu::{UserIdentity, UserIdentityType};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::network::calls::{Callable, attach, coroutine_hint, log, repr_of};

const AUTHENTICATE_FAILED: &str = "authenticate failed: the association is rejected";

/// Calls the function that accepts or rejects the user of an association request.
pub fn accepts_user(authenticate: &Callable, user: Option<&UserIdentity>) -> bool {
    let (name, passcode) = match user.map(|user| (user.identity_type(), user)) {
        None => (None, None),
        Some((UserIdentityType::Username, user)) => (Some(user.primary_field()), None),
        Some((UserIdentityType::UsernamePassword, user)) => {
            (Some(user.primary_field()), Some(user.secondary_field()))
        }
        Some(_) => return false,
    };
    attach(|py| {
        let text = |bytes: Option<Vec<u8>>| bytes.map(String::from_utf8).transpose();
        // Both are UTF-8 (PS3.7 Table D.3-14).
        let (Ok(name), Ok(passcode)) = (text(name), text(passcode)) else { return false };
        let admitted = authenticate.call1(py, (name, passcode)).and_then(|one| is_true(&one));
        admitted.unwrap_or_else(|error| {
            log(py, error, AUTHENTICATE_FAILED);
            false
        })
    })
    .unwrap_or(false)
}

/// Whether the object is `True`. Only a bool decides: other objects, a coroutine among them, are true too.
fn is_true(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    given.cast::<PyBool>().map(|given| given.is_true()).map_err(|_| {
        let shown = repr_of(given);
        let hint = coroutine_hint(given);
        PyTypeError::new_err(format!("authenticate returned {shown}, not True or False{hint}"))
    })
}
