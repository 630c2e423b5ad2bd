//! The known name that was probably meant by an unknown one.

use std::fmt;

/// The maximum length of a name for which one is searched.
const LONGEST: usize = 64;

/// The one of `known` that differs from `name` in case only, or in at most a quarter of its
/// characters.
///
/// ```
/// use fastdimse_core::standard::nearest::nearest;
/// let known = ["EventTypeID", "EventInformation"];
/// assert_eq!(nearest("EventTypeId", known), Some("EventTypeID"));
/// assert_eq!(nearest("EventInfromation", known), Some("EventInformation"));
/// assert_eq!(nearest("Time", known), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for one in known {
        if one.eq_ignore_ascii_case(name) {
            return Some(one);
        }
        let most = one.len() / 4;
        if one.len().abs_diff(name.len()) <= most {
            let distance = strsim::osa_distance(name, one);
            if distance <= most && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, one));
            }
        }
    }
    best.map(|(_, name)| name)
}

/// A question to print after an unknown name: ` (did you mean 'EventTypeID'?)`, or nothing.
#[derive(Debug)]
pub struct DidYouMean<'a>(pub Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " (did you mean '{name}'?)"),
            None => Ok(()),
        }
    }
}
