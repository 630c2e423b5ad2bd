//! The elements of the command sets as one table for each DIMSE service: N-EVENT-REPORT (PS3.7
//! 10.3.1) and N-ACTION (PS3.7 10.3.5).
//!
//! Reading, writing, templates and row checks use these tables.

use dicom_core::VR;

use crate::field::{Field, Kind};
use crate::standard::vr::padding;

/// Command Field of N-EVENT-REPORT-RQ (PS3.7 10.3.1.1).
pub const REQUEST: u16 = 0x0100;

/// Command Field of N-EVENT-REPORT-RSP (PS3.7 10.3.1.2).
pub const RESPONSE: u16 = 0x8100;

/// Command Field of N-ACTION-RQ (PS3.7 10.3.5.1).
pub const ACTION_REQUEST: u16 = 0x0130;

/// Command Field of N-ACTION-RSP (PS3.7 10.3.5.2).
pub const ACTION_RESPONSE: u16 = 0x8130;

/// Command Data Set Type without a data set (PS3.7 E.1). Any other value announces a data set.
pub const NO_DATA_SET: u16 = 0x0101;

/// Command Data Set Type with a data set; the value that pynetdicom writes.
pub const DATA_SET: u16 = 0x0001;

impl Kind {
    /// The N-EVENT-REPORT message with this Command Field; `None` for another DIMSE message.
    pub fn of_event(command_field: u16) -> Option<Self> {
        match command_field {
            REQUEST => Some(Self::Request),
            RESPONSE => Some(Self::Response),
            _ => None,
        }
    }

    /// The message with this Command Field; `None` for a message without a table.
    pub fn from_command_field(value: u16) -> Option<Self> {
        match value {
            ACTION_REQUEST => Some(Self::ActionRequest),
            ACTION_RESPONSE => Some(Self::ActionResponse),
            _ => Self::of_event(value),
        }
    }

    /// The table of its elements.
    #[inline]
    pub fn elements(self) -> &'static [Element] {
        match self {
            Self::Request | Self::Response => &ELEMENTS,
            Self::ActionRequest | Self::ActionResponse => &ACTION_ELEMENTS,
        }
    }

    /// The Command Field of this message.
    #[inline]
    pub fn command_field(self) -> u16 {
        match self {
            Self::Request => REQUEST,
            Self::Response => RESPONSE,
            Self::ActionRequest => ACTION_REQUEST,
            Self::ActionResponse => ACTION_RESPONSE,
        }
    }

    /// Whether the command set of this message carries a field.
    #[inline]
    pub fn carries(self, field: Field) -> bool {
        CARRIED[self as usize] >> field as u32 & 1 != 0
    }
}

/// The fields that the command set of each kind of message carries, one bit per field.
const CARRIED: [u16; 4] = [
    carried(&ELEMENTS, false),
    carried(&ELEMENTS, true),
    carried(&ACTION_ELEMENTS, false),
    carried(&ACTION_ELEMENTS, true),
];

const fn carried(table: &[Element], in_response: bool) -> u16 {
    let mut carried = 0;
    let mut row = 0;
    while row < table.len() {
        let element = &table[row];
        let usage = if in_response { element.response } else { element.request };
        if let Source::Field(field) = element.source {
            carried |= (!matches!(usage, Usage::Absent) as u16) << field as u16;
        }
        row += 1;
    }
    carried
}

/// The value representations of a command set (PS3.5 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vr {
    /// Unsigned Long.
    Ul,
    /// Unsigned Short.
    Us,
    /// Unique Identifier, padded with NUL.
    Ui,
    /// Long String, padded with a space.
    Lo,
}

impl Vr {
    fn dicom(self) -> VR {
        match self {
            Self::Ul => VR::UL,
            Self::Us => VR::US,
            Self::Ui => VR::UI,
            Self::Lo => VR::LO,
        }
    }

    /// The two letters of the VR.
    pub fn name(self) -> &'static str {
        self.dicom().to_string()
    }

    /// The byte that pads a value to an even length (PS3.5 6.2).
    #[inline]
    pub fn padding(self) -> u8 {
        padding(self.dicom())
    }
}

/// The usage of an element in a message (PS3.7 10.1.1.1 and 10.1.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Required.
    Mandatory,
    /// Allowed.
    Optional,
    /// Not part of the message.
    Absent,
}

/// The source of an element's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Command Group Length, counted from the other elements.
    GroupLength,
    /// Command Field, given by the kind of message.
    CommandField,
    /// Command Data Set Type, given by the presence of a data set.
    DataSetType,
    /// A field of the event or action.
    Field(Field),
}

/// A row of the table of elements (PS3.7 E.1; the group is 0000).
#[derive(Debug, Clone, Copy)]
pub struct Element {
    /// The element number.
    pub number: u16,
    /// The VR.
    pub vr: Vr,
    /// The source of the value.
    pub source: Source,
    /// The usage in the request.
    pub request: Usage,
    /// The usage in the response.
    pub response: Usage,
}

impl Element {
    /// The usage in a message of this kind.
    pub fn usage(&self, kind: Kind) -> Usage {
        if kind.is_response() { self.response } else { self.request }
    }
}

/// The number of the element of a field of N-EVENT-REPORT.
pub const fn number_of(field: Field) -> u16 {
    let mut at = 0;
    loop {
        if let Source::Field(found) = ELEMENTS[at].source
            && found as u8 == field as u8
        {
            return ELEMENTS[at].number;
        }
        at += 1;
    }
}

const fn element(number: u16, vr: Vr, source: Source, request: Usage, response: Usage) -> Element {
    Element { number, vr, source, request, response }
}

/// The table of N-EVENT-REPORT: every element of both messages, in tag order (PS3.7 10.3.1 and E.1).
pub const ELEMENTS: [Element; 11] = {
    use Field::*;
    use Source::{CommandField, DataSetType, Field as F, GroupLength};
    use Usage::{Absent, Mandatory, Optional};
    use Vr::*;
    [
        element(0x0000, Ul, GroupLength, Mandatory, Mandatory),
        element(0x0002, Ui, F(AffectedSOPClassUID), Mandatory, Optional),
        element(0x0100, Us, CommandField, Mandatory, Mandatory),
        element(0x0110, Us, F(MessageID), Mandatory, Absent),
        element(0x0120, Us, F(MessageIDBeingRespondedTo), Absent, Mandatory),
        element(0x0800, Us, DataSetType, Mandatory, Mandatory),
        element(0x0900, Us, F(Status), Absent, Mandatory),
        element(0x0902, Lo, F(ErrorComment), Absent, Optional),
        element(0x0903, Us, F(ErrorID), Absent, Optional),
        element(0x1000, Ui, F(AffectedSOPInstanceUID), Mandatory, Optional),
        element(0x1002, Us, F(EventTypeID), Mandatory, Optional),
    ]
};

/// The table of N-ACTION: every element of both messages, in tag order (PS3.7 10.3.5 and E.1).
pub const ACTION_ELEMENTS: [Element; 13] = {
    use Field::*;
    use Source::{CommandField, DataSetType, Field as F, GroupLength};
    use Usage::{Absent, Mandatory, Optional};
    use Vr::*;
    [
        element(0x0000, Ul, GroupLength, Mandatory, Mandatory),
        element(0x0002, Ui, F(AffectedSOPClassUID), Absent, Optional),
        element(0x0003, Ui, F(RequestedSOPClassUID), Mandatory, Absent),
        element(0x0100, Us, CommandField, Mandatory, Mandatory),
        element(0x0110, Us, F(MessageID), Mandatory, Absent),
        element(0x0120, Us, F(MessageIDBeingRespondedTo), Absent, Mandatory),
        element(0x0800, Us, DataSetType, Mandatory, Mandatory),
        element(0x0900, Us, F(Status), Absent, Mandatory),
        element(0x0902, Lo, F(ErrorComment), Absent, Optional),
        element(0x0903, Us, F(ErrorID), Absent, Optional),
        element(0x1000, Ui, F(AffectedSOPInstanceUID), Absent, Optional),
        element(0x1001, Ui, F(RequestedSOPInstanceUID), Mandatory, Absent),
        element(0x1008, Us, F(ActionTypeID), Mandatory, Optional),
    ]
};

/// The name of the DIMSE message with this Command Field (PS3.7 E.1).
pub fn message_name(command_field: u16) -> &'static str {
    match command_field {
        0x0001 => "C-STORE-RQ",
        0x8001 => "C-STORE-RSP",
        0x0010 => "C-GET-RQ",
        0x8010 => "C-GET-RSP",
        0x0020 => "C-FIND-RQ",
        0x8020 => "C-FIND-RSP",
        0x0021 => "C-MOVE-RQ",
        0x8021 => "C-MOVE-RSP",
        0x0030 => "C-ECHO-RQ",
        0x8030 => "C-ECHO-RSP",
        0x0FFF => "C-CANCEL-RQ",
        0x0100 => "N-EVENT-REPORT-RQ",
        0x8100 => "N-EVENT-REPORT-RSP",
        0x0110 => "N-GET-RQ",
        0x8110 => "N-GET-RSP",
        0x0120 => "N-SET-RQ",
        0x8120 => "N-SET-RSP",
        0x0130 => "N-ACTION-RQ",
        0x8130 => "N-ACTION-RSP",
        0x0140 => "N-CREATE-RQ",
        0x8140 => "N-CREATE-RSP",
        0x0150 => "N-DELETE-RQ",
        0x8150 => "N-DELETE-RSP",
        _ => "unknown DIMSE message",
    }
}
