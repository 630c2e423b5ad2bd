//! The Status of a response: codes with categories and names (PS3.7 10.1.1.1.8 and Annex C, and for
//! Unified Procedure Steps PS3.4 CC.2).

use std::fmt;

/// The category of a Status (PS3.7 Annex C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// The operation succeeded.
    Success,
    /// The operation succeeded with a warning.
    Warning,
    /// The operation failed.
    Failure,
    /// The operation was cancelled.
    Cancel,
    /// The operation continues.
    Pending,
    /// The standard does not define the category.
    Unknown,
}

impl Category {
    /// The name of the category.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Warning => "Warning",
            Self::Failure => "Failure",
            Self::Cancel => "Cancel",
            Self::Pending => "Pending",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Status with a name in the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: u16,
    /// The category.
    pub category: Category,
    /// The name.
    pub name: &'static str,
    /// Whether PS3.7 10.1.1.1.8 lists it for N-EVENT-REPORT. Peers send other codes of Annex C,
    /// too.
    pub listed: bool,
}

const fn listed(code: u16, category: Category, name: &'static str) -> Status {
    Status { code, category, name, listed: true }
}

const fn other(code: u16, category: Category, name: &'static str) -> Status {
    Status { code, category, name, listed: false }
}

/// The Statuses of PS3.7 Annex C, and those of Unified Procedure Steps (PS3.4 CC.2), by code. No other
/// service with N-ACTION or N-EVENT-REPORT uses the codes of the latter.
pub const STATUSES: &[Status] = {
    use Category::{Cancel, Failure, Success, Warning};
    &[
        listed(0x0000, Success, "Success"),
        other(0x0105, Failure, "No such Attribute"),
        other(0x0106, Failure, "Invalid Attribute Value"),
        other(0x0107, Warning, "Attribute List warning"),
        listed(0x0110, Failure, "Processing Failure"),
        other(0x0111, Failure, "Duplicate SOP Instance"),
        listed(0x0112, Failure, "No such SOP Instance"),
        listed(0x0113, Failure, "No such Event Type"),
        listed(0x0114, Failure, "No such argument"),
        listed(0x0115, Failure, "Invalid argument value"),
        other(0x0116, Warning, "Attribute Value out of range"),
        listed(0x0117, Failure, "Invalid SOP Instance"),
        listed(0x0118, Failure, "No such SOP Class"),
        listed(0x0119, Failure, "Class-Instance conflict"),
        other(0x0120, Failure, "Missing Attribute"),
        other(0x0121, Failure, "Missing Attribute Value"),
        other(0x0122, Failure, "Refused: SOP Class not supported"),
        other(0x0123, Failure, "No such Action Type"),
        other(0x0124, Failure, "Refused: Not authorized"),
        listed(0x0210, Failure, "Duplicate invocation"),
        listed(0x0211, Failure, "Unrecognized operation"),
        listed(0x0212, Failure, "Mistyped argument"),
        listed(0x0213, Failure, "Resource limitation"),
        other(0xB300, Warning, "UPS created with modifications"),
        other(0xB301, Warning, "Deletion lock not granted"),
        other(0xB304, Warning, "UPS is CANCELED already"),
        other(0xB305, Warning, "Invalid values were coerced"),
        other(0xB306, Warning, "UPS is COMPLETED already"),
        other(0xC300, Failure, "UPS can no longer be updated"),
        other(0xC301, Failure, "Wrong Transaction UID"),
        other(0xC302, Failure, "UPS is IN PROGRESS already"),
        other(0xC303, Failure, "UPS can become SCHEDULED by N-CREATE only"),
        other(0xC304, Failure, "UPS lacks final state requirements"),
        other(0xC307, Failure, "No such UPS"),
        other(0xC308, Failure, "Unknown Receiving AE Title"),
        other(0xC309, Failure, "UPS State is not SCHEDULED"),
        other(0xC310, Failure, "UPS is not IN PROGRESS yet"),
        other(0xC311, Failure, "UPS is COMPLETED already"),
        other(0xC312, Failure, "Performer cannot be contacted"),
        other(0xC313, Failure, "Performer does not cancel"),
        other(0xC314, Failure, "Action not appropriate for the UPS"),
        other(0xC315, Failure, "No event reports supported"),
        other(0xFE00, Cancel, "Cancel"),
    ]
};

/// The Status with this code, if the standard names it.
pub fn status(code: u16) -> Option<&'static Status> {
    let place = STATUSES.binary_search_by_key(&code, |status| status.code).ok()?;
    Some(&STATUSES[place])
}

/// The category of any code, by the ranges of PS3.7 Annex C.
pub fn category(code: u16) -> Category {
    match code {
        0x0000 => Category::Success,
        0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => Category::Warning,
        0x0100..=0x02FF | 0xA000..=0xAFFF | 0xC000..=0xCFFF => Category::Failure,
        0xFE00 => Category::Cancel,
        0xFF00 | 0xFF01 => Category::Pending,
        _ => Category::Unknown,
    }
}

/// A code as people should see it: with its name, or else its category.
///
/// ```
/// use fastdimse_core::standard::status::describe;
/// assert_eq!(describe(0x0112), "0x0112 No such SOP Instance");
/// assert_eq!(describe(0xC001), "0xC001 Failure");
/// assert_eq!(describe(0x0003), "0x0003");
/// ```
pub fn describe(code: u16) -> String {
    match (status(code), category(code)) {
        (Some(status), _) => format!("0x{code:04X} {}", status.name),
        (None, Category::Unknown) => format!("0x{code:04X}"),
        (None, category) => format!("0x{code:04X} {category}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_its_categories_are_those_of_the_ranges() {
        assert!(STATUSES.windows(2).all(|pair| pair[0].code < pair[1].code));
        for one in STATUSES {
            assert_eq!(status(one.code), Some(one));
            assert_eq!(category(one.code), one.category, "{}", one.name);
        }
    }

    #[test]
    fn the_list_of_the_event_report_has_thirteen() {
        let codes: Vec<u16> =
            STATUSES.iter().filter(|status| status.listed).map(|status| status.code).collect();
        assert_eq!(
            codes,
            [
                0x0000, 0x0110, 0x0112, 0x0113, 0x0114, 0x0115, 0x0117, 0x0118, 0x0119, 0x0210,
                0x0211, 0x0212, 0x0213
            ]
        );
    }

    #[test]
    fn every_code_is_described() {
        for code in 0..=u16::MAX {
            let text = describe(code);
            assert_eq!(&text[..6], format!("0x{code:04X}"));
            assert_eq!(text.len() == 6, category(code) == Category::Unknown);
        }
    }
}
