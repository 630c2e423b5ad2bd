//! What every A-ASSOCIATE of this program says of itself (PS3.8 9.3.2, PS3.7 D.3.3.2).

use crate::error::shown;

/// The application context name of DICOM (PS3.7 A.2.1).
pub const APPLICATION_CONTEXT_NAME: &str = "1.2.840.10008.3.1.1.1";

/// Names the program in an association, as its version does in a file: the UUID, of version 5, of the
/// name fastdimse (PS3.5 B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.195119945060174648222482115765906976218";

/// Its version.
pub const IMPLEMENTATION_VERSION_NAME: &str =
    concat!("FASTDIMSE_", env!("CARGO_PKG_VERSION_MAJOR"), "_", env!("CARGO_PKG_VERSION_MINOR"));

/// Checks an AE title: 1 to 16 characters of the default repertoire, not only spaces (PS3.8 9.3.2).
pub fn check_ae_title(title: &str) -> Result<(), String> {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\';
    let fits = (1..=16).contains(&title.len()) && title.bytes().all(allowed);
    if fits && !title.trim().is_empty() {
        return Ok(());
    }
    let shown = shown(title.as_bytes());
    Err(format!("'{shown}' is not an AE title: 1 to 16 characters of ASCII, without a backslash"))
}
