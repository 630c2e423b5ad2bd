//! The fields of events and actions by DICOM keyword, and the messages that carry them (PS3.7 10.1.1
//! and 10.1.4).

use std::fmt;

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// N-EVENT-REPORT-RQ.
    Request,
    /// N-EVENT-REPORT-RSP.
    Response,
    /// N-ACTION-RQ.
    ActionRequest,
    /// N-ACTION-RSP.
    ActionResponse,
}

impl Kind {
    /// The name of the message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "N-EVENT-REPORT-RQ",
            Self::Response => "N-EVENT-REPORT-RSP",
            Self::ActionRequest => "N-ACTION-RQ",
            Self::ActionResponse => "N-ACTION-RSP",
        }
    }

    /// Whether the message is a response.
    #[inline]
    pub fn is_response(self) -> bool {
        matches!(self, Self::Response | Self::ActionResponse)
    }

    /// The field with the data set of this message.
    pub fn data_set(self) -> Field {
        match self {
            Self::Request => Field::EventInformation,
            Self::Response => Field::EventReply,
            Self::ActionRequest => Field::ActionInformation,
            Self::ActionResponse => Field::ActionReply,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A field of an event or of an action, named by its DICOM keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Field {
    MessageID,
    MessageIDBeingRespondedTo,
    AffectedSOPClassUID,
    AffectedSOPInstanceUID,
    EventTypeID,
    EventInformation,
    EventReply,
    Status,
    ErrorComment,
    ErrorID,
    PresentationContextID,
    RequestedSOPClassUID,
    RequestedSOPInstanceUID,
    ActionTypeID,
    ActionInformation,
    ActionReply,
}

impl Field {
    /// Every field of events, in column order.
    pub const ALL: [Self; 11] = [
        Self::MessageID,
        Self::MessageIDBeingRespondedTo,
        Self::AffectedSOPClassUID,
        Self::AffectedSOPInstanceUID,
        Self::EventTypeID,
        Self::EventInformation,
        Self::EventReply,
        Self::Status,
        Self::ErrorComment,
        Self::ErrorID,
        Self::PresentationContextID,
    ];

    /// The number of fields of events and actions.
    pub const COUNT: usize = 16;

    /// The fields of requests of actions, in column order.
    pub const OF_ACTIONS: [Self; 6] = [
        Self::MessageID,
        Self::RequestedSOPClassUID,
        Self::RequestedSOPInstanceUID,
        Self::ActionTypeID,
        Self::ActionInformation,
        Self::PresentationContextID,
    ];

    /// The fields that are mandatory in requests of events (PS3.7 10.1.1.1), apart from the Message ID,
    /// which is assigned.
    pub const REQUIRED_OF_EVENTS: [Self; 3] =
        [Self::AffectedSOPClassUID, Self::AffectedSOPInstanceUID, Self::EventTypeID];

    /// The same of actions (PS3.7 10.1.4.1).
    pub const REQUIRED_OF_ACTIONS: [Self; 3] =
        [Self::RequestedSOPClassUID, Self::RequestedSOPInstanceUID, Self::ActionTypeID];

    /// The numeric fields of events, except the presentation context ID.
    pub const NUMBERS: [Self; 5] = [
        Self::MessageID,
        Self::MessageIDBeingRespondedTo,
        Self::EventTypeID,
        Self::Status,
        Self::ErrorID,
    ];

    /// The text fields of events.
    pub const TEXTS: [Self; 3] =
        [Self::AffectedSOPClassUID, Self::AffectedSOPInstanceUID, Self::ErrorComment];

    /// The data set fields of events.
    pub const DATA_SETS: [Self; 2] = [Self::EventInformation, Self::EventReply];

    /// The data set fields of events and of actions.
    pub const ALL_DATA_SETS: [Self; 4] =
        [Self::EventInformation, Self::EventReply, Self::ActionInformation, Self::ActionReply];

    /// The fields that only a response carries, apart from the Message ID of its request.
    pub const OF_RESPONSES: [Self; 4] =
        [Self::Status, Self::ErrorComment, Self::ErrorID, Self::EventReply];

    /// The number of numeric fields of events, and the number of their text and data set fields.
    pub const COUNTS: (usize, usize) = (6, 5);

    /// The index of a field of events among the numeric fields, or among the text and data set
    /// fields. A field of actions has the index of the field of events with the same meaning.
    #[inline(always)]
    pub const fn place(self) -> usize {
        match self {
            Self::MessageID | Self::AffectedSOPClassUID | Self::RequestedSOPClassUID => 0,
            Self::MessageIDBeingRespondedTo
            | Self::AffectedSOPInstanceUID
            | Self::RequestedSOPInstanceUID => 1,
            Self::EventTypeID | Self::ErrorComment | Self::ActionTypeID => 2,
            Self::Status | Self::EventInformation | Self::ActionInformation => 3,
            Self::ErrorID | Self::EventReply | Self::ActionReply => 4,
            Self::PresentationContextID => 5,
        }
    }

    /// The field of actions with the meaning of this field of events.
    pub fn with_meaning_in_actions(self) -> Self {
        match self {
            Self::AffectedSOPClassUID => Self::RequestedSOPClassUID,
            Self::AffectedSOPInstanceUID => Self::RequestedSOPInstanceUID,
            Self::EventTypeID => Self::ActionTypeID,
            Self::EventInformation => Self::ActionInformation,
            Self::EventReply => Self::ActionReply,
            other => other,
        }
    }

    /// Whether the field has text.
    pub fn is_text(self) -> bool {
        matches!(
            self,
            Self::AffectedSOPClassUID
                | Self::AffectedSOPInstanceUID
                | Self::RequestedSOPClassUID
                | Self::RequestedSOPInstanceUID
                | Self::ErrorComment
        )
    }

    /// Whether the field has data sets.
    pub fn is_data_set(self) -> bool {
        matches!(
            self,
            Self::EventInformation | Self::EventReply | Self::ActionInformation | Self::ActionReply
        )
    }

    /// Whether the field has numbers.
    pub fn is_number(self) -> bool {
        !self.is_text() && !self.is_data_set()
    }

    /// The DICOM keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::MessageID => "MessageID",
            Self::MessageIDBeingRespondedTo => "MessageIDBeingRespondedTo",
            Self::AffectedSOPClassUID => "AffectedSOPClassUID",
            Self::AffectedSOPInstanceUID => "AffectedSOPInstanceUID",
            Self::EventTypeID => "EventTypeID",
            Self::EventInformation => "EventInformation",
            Self::EventReply => "EventReply",
            Self::Status => "Status",
            Self::ErrorComment => "ErrorComment",
            Self::ErrorID => "ErrorID",
            Self::PresentationContextID => "PresentationContextID",
            Self::RequestedSOPClassUID => "RequestedSOPClassUID",
            Self::RequestedSOPInstanceUID => "RequestedSOPInstanceUID",
            Self::ActionTypeID => "ActionTypeID",
            Self::ActionInformation => "ActionInformation",
            Self::ActionReply => "ActionReply",
        }
    }

    /// The field of requests of actions with this keyword.
    pub fn of_action(keyword: &str) -> Option<Self> {
        Self::OF_ACTIONS.into_iter().find(|field| field.keyword() == keyword)
    }

    /// The field of events with this keyword.
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        // Every keyword has another length, so one comparison decides.
        let field = match keyword.len() {
            6 => Self::Status,
            7 => Self::ErrorID,
            9 => Self::MessageID,
            10 => Self::EventReply,
            11 => Self::EventTypeID,
            12 => Self::ErrorComment,
            16 => Self::EventInformation,
            19 => Self::AffectedSOPClassUID,
            21 => Self::PresentationContextID,
            22 => Self::AffectedSOPInstanceUID,
            25 => Self::MessageIDBeingRespondedTo,
            _ => return None,
        };
        (field.keyword() == keyword).then_some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_found_by_its_keyword_only() {
        for field in Field::ALL {
            let keyword = field.keyword();
            assert_eq!(Field::from_keyword(keyword), Some(field));
            assert_eq!(Field::from_keyword(&keyword.to_lowercase()), None);
            assert_eq!(Field::from_keyword(&keyword[1..]), None);
        }
        assert_eq!(Field::from_keyword(""), None);
    }

    #[test]
    fn fields_of_actions_are_found_among_actions_only() {
        let other = [Field::RequestedSOPClassUID, Field::ActionTypeID, Field::ActionReply];
        for field in other {
            assert_eq!(Field::from_keyword(field.keyword()), None);
            assert!((field as usize) < Field::COUNT);
        }
        for field in Field::OF_ACTIONS {
            assert_eq!(Field::of_action(field.keyword()), Some(field));
        }
        assert_eq!(Field::of_action("EventTypeID"), None);
    }

    #[test]
    fn places_are_distinct_and_have_no_gaps() {
        let (numbers, others): (Vec<Field>, Vec<Field>) =
            Field::ALL.into_iter().partition(|field| field.is_number());
        for (fields, count) in [(numbers, Field::COUNTS.0), (others, Field::COUNTS.1)] {
            let mut places: Vec<usize> = fields.into_iter().map(Field::place).collect();
            places.sort_unstable();
            assert_eq!(places, Vec::from_iter(0..count));
        }
    }
}
