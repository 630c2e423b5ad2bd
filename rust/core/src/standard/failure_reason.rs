//! The Failure Reason (0008,1197) of an instance that is not committed (PS3.3 C.14.1.1).

/// The Failure Reasons with a name in the standard, by code.
pub const FAILURE_REASONS: &[(u16, &str)] = &[
    (0x0110, "Processing failure"),
    (0x0112, "No such object instance"),
    (0x0119, "Class-instance conflict"),
    (0x0122, "Referenced SOP Class not supported"),
    (0x0131, "Duplicate Transaction UID"),
    (0x0213, "Resource limitation"),
];

/// A Failure Reason as people should see it: its code, and its name if it has one.
///
/// ```
/// use fastdimse_core::standard::failure_reason::describe;
/// assert_eq!(describe(0x0112), "0x0112 No such object instance");
/// assert_eq!(describe(0xA700), "0xA700 Unknown Failure Reason");
/// ```
pub fn describe(code: u16) -> String {
    let found = FAILURE_REASONS.iter().find(|(known, _)| *known == code);
    format!("0x{code:04X} {}", found.map_or("Unknown Failure Reason", |(_, name)| name))
}
