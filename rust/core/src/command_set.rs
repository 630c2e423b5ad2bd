//! The command set of an N-EVENT-REPORT: one table, and what follows from it.
//!
//! A command set is Implicit VR Little Endian, in the order of its tags (PS3.7 6.3.1). The table
//! [`ELEMENTS`] is all that is known here about the message; a new message would be a new table.

use std::fmt;

use crate::error::{Reason, Rejection};

/// Command Field of the request (PS3.7 10.3.1.1).
pub const REQUEST: u16 = 0x0100;
/// Command Field of the response (PS3.7 10.3.1.2).
pub const RESPONSE: u16 = 0x8100;
/// Command Data Set Type: no data set (PS3.7 E.1). Any other value says that one follows.
pub const NO_DATA_SET: u16 = 0x0101;
/// What is written where a data set follows; pynetdicom's choice.
pub const DATA_SET: u16 = 0x0001;

/// Request or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// N-EVENT-REPORT-RQ.
    Request,
    /// N-EVENT-REPORT-RSP.
    Response,
}

impl Kind {
    /// The message's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "N-EVENT-REPORT-RQ",
            Self::Response => "N-EVENT-REPORT-RSP",
        }
    }

    /// The message with this Command Field, if it is one of the two.
    pub fn of_command_field(value: u16) -> Option<Self> {
        match value {
            REQUEST => Some(Self::Request),
            RESPONSE => Some(Self::Response),
            _ => None,
        }
    }

    fn command_field(self) -> u16 {
        match self {
            Self::Request => REQUEST,
            Self::Response => RESPONSE,
        }
    }

    /// The field that holds this message's data set.
    pub fn data_set(self) -> Field {
        match self {
            Self::Request => Field::EventInformation,
            Self::Response => Field::EventReply,
        }
    }

    /// Whether this message's command set carries a field.
    #[inline]
    pub fn carries(self, field: Field) -> bool {
        CARRIED[self as usize] >> field as u32 & 1 != 0
    }
}

/// The fields that the command sets of requests and of responses carry, a bit for each.
const CARRIED: [u16; 2] = {
    let mut carried = [0; 2];
    let mut row = 0;
    while row < ELEMENTS.len() {
        let element = &ELEMENTS[row];
        if let Source::Field(field) = element.source {
            carried[Kind::Request as usize] |=
                (!matches!(element.request, Usage::Absent) as u16) << field as u16;
            carried[Kind::Response as usize] |=
                (!matches!(element.response, Usage::Absent) as u16) << field as u16;
        }
        row += 1;
    }
    carried
};

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Value representations that occur in a command set (PS3.5 6.2).
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
    fn name(self) -> &'static str {
        match self {
            Self::Ul => "UL",
            Self::Us => "US",
            Self::Ui => "UI",
            Self::Lo => "LO",
        }
    }

    fn padding(self) -> u8 {
        if self == Self::Ui { 0 } else { b' ' }
    }
}

/// A field of an event, named by its DICOM keyword.
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
}

impl Field {
    /// Every field, in the order of the columns.
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

    /// The fields that are numbers, besides the presentation context.
    pub const NUMBERS: [Self; 5] = [
        Self::MessageID,
        Self::MessageIDBeingRespondedTo,
        Self::EventTypeID,
        Self::Status,
        Self::ErrorID,
    ];

    /// The fields that are text.
    pub const TEXTS: [Self; 3] =
        [Self::AffectedSOPClassUID, Self::AffectedSOPInstanceUID, Self::ErrorComment];

    /// The fields that are data sets.
    pub const DATA_SETS: [Self; 2] = [Self::EventInformation, Self::EventReply];

    /// DICOM's keyword.
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
        }
    }

    /// The field with this keyword.
    pub fn of_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.keyword() == keyword)
    }
}

/// How a message uses an element (PS3.7 10.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Must be there.
    Mandatory,
    /// May be there.
    Optional,
    /// Not in this message.
    Absent,
}

/// Where an element's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Command Group Length: counted.
    GroupLength,
    /// Command Field: follows from the kind.
    CommandField,
    /// Command Data Set Type: follows from the data set.
    DataSetType,
    /// A field of the event.
    Field(Field),
}

/// A row of the table of elements (PS3.7 E.1; the group is 0000).
#[derive(Debug, Clone, Copy)]
pub struct Element {
    /// The element number.
    pub number: u16,
    /// Its VR.
    pub vr: Vr,
    /// Its value's source.
    pub source: Source,
    /// Its usage in the request.
    pub request: Usage,
    /// Its usage in the response.
    pub response: Usage,
}

impl Element {
    /// Its usage in a message of this kind.
    pub fn usage(&self, kind: Kind) -> Usage {
        match kind {
            Kind::Request => self.request,
            Kind::Response => self.response,
        }
    }
}

const fn element(number: u16, vr: Vr, source: Source, request: Usage, response: Usage) -> Element {
    Element { number, vr, source, request, response }
}

/// The table: every element of the two messages, in tag order (PS3.7 10.3.1 and E.1).
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

/// Tag, and the length of the value (PS3.5 7.1.3).
const HEADER: usize = 8;

/// The value of an element, before padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Value<'a> {
    /// The element is left out.
    #[default]
    Absent,
    /// One US.
    Us(u16),
    /// Several US, or none: an element without a value.
    UsMany(&'a [u16]),
    /// UI or LO, as its bytes.
    Text(&'a [u8]),
}

impl<'a> Value<'a> {
    fn encoded_len(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Us(_) => HEADER + 2,
            Self::UsMany(values) => HEADER + 2 * values.len(),
            Self::Text(text) => HEADER + text.len().next_multiple_of(2),
        }
    }

    /// The number, where there is one.
    pub fn us(self) -> Option<u16> {
        match self {
            Self::Us(value) => Some(value),
            Self::UsMany(values) => values.first().copied(),
            _ => None,
        }
    }

    /// The text, where there is one.
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The command set of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandSet<'a> {
    /// Request or response.
    pub kind: Kind,
    /// Whether Command Data Set Type says that a data set follows.
    pub data_set: bool,
    values: [Value<'a>; Field::ALL.len()],
}

impl<'a> CommandSet<'a> {
    /// A command set with no values yet.
    pub fn new(kind: Kind, data_set: bool) -> Self {
        Self { kind, data_set, values: [Value::Absent; Field::ALL.len()] }
    }

    /// The value of a field.
    pub fn get(&self, field: Field) -> Value<'a> {
        self.values[field as usize]
    }

    /// Sets the value of a field.
    pub fn set(&mut self, field: Field, value: Value<'a>) {
        self.values[field as usize] = value;
    }

    /// The length of what [`CommandSet::write`] writes.
    pub fn encoded_len(&self) -> usize {
        ELEMENTS.iter().map(|element| self.element_len(element)).sum()
    }

    /// The length of one of its elements, 0 for one that it does not have.
    pub fn element_len(&self, element: &Element) -> usize {
        match element.source {
            Source::GroupLength => HEADER + 4,
            Source::CommandField | Source::DataSetType => HEADER + 2,
            Source::Field(_) if element.usage(self.kind) == Usage::Absent => 0,
            Source::Field(field) => self.get(field).encoded_len(),
        }
    }

    /// Appends the command set, Implicit VR Little Endian.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_as(self.kind.command_field(), out);
    }

    /// Appends its elements as those of another message, with that one's Command Field.
    pub fn write_as(&self, command_field: u16, out: &mut Vec<u8>) {
        let length = self.encoded_len();
        out.reserve(length);
        for element in &ELEMENTS {
            match element.source {
                // Counts what comes after it (PS3.7 E.1).
                Source::GroupLength => {
                    let group_length = (length - self.element_len(element)) as u32;
                    write_element(out, element, &group_length.to_le_bytes());
                }
                Source::CommandField => write_us(out, element, &[command_field]),
                Source::DataSetType => {
                    let value = if self.data_set { DATA_SET } else { NO_DATA_SET };
                    write_us(out, element, &[value]);
                }
                Source::Field(_) if element.usage(self.kind) == Usage::Absent => {}
                Source::Field(field) => write_value(out, element, self.get(field)),
            }
        }
    }

    /// Reads a command set as pynetdicom does: unknown elements are passed over, the last of a
    /// repeated one counts, the order and the group length don't matter, fewer than eight bytes at
    /// the end are left alone, Explicit VR is understood.
    ///
    /// ```
    /// use fastdimse_core::command_set::{CommandSet, Field, Kind, Value};
    /// let mut sent = CommandSet::new(Kind::Request, false);
    /// sent.set(Field::MessageID, Value::Us(7));
    /// let mut bytes = Vec::new();
    /// sent.write(&mut bytes);
    /// assert_eq!(CommandSet::read(&bytes).unwrap().event().unwrap(), sent);
    /// ```
    pub fn read(bytes: &'a [u8]) -> Result<Message<'a>, Rejection> {
        // What is missing is missing at the end.
        Message::of(RawElements::read(bytes)?).map_err(|rejection| match rejection.offset {
            Some(_) => rejection,
            None => rejection.at(bytes.len()),
        })
    }
}

fn write_header(out: &mut Vec<u8>, element: &Element, length: usize) {
    // Group 0000, element, value length, all little endian.
    let tag_and_length = u64::from(element.number) << 16 | (length as u64) << 32;
    out.extend_from_slice(&tag_and_length.to_le_bytes());
}

fn write_element(out: &mut Vec<u8>, element: &Element, value: &[u8]) {
    write_header(out, element, value.len());
    out.extend_from_slice(value);
}

fn write_us(out: &mut Vec<u8>, element: &Element, values: &[u16]) {
    write_header(out, element, 2 * values.len());
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn write_value(out: &mut Vec<u8>, element: &Element, value: Value<'_>) {
    match value {
        Value::Absent => {}
        Value::Us(value) => write_us(out, element, &[value]),
        Value::UsMany(values) => write_us(out, element, values),
        Value::Text(text) => {
            write_header(out, element, text.len().next_multiple_of(2));
            out.extend_from_slice(text);
            if text.len() % 2 == 1 {
                out.push(element.vr.padding());
            }
        }
    }
}

/// What a command set turned out to be.
// It lives on the stack for the time of one message: a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// An N-EVENT-REPORT.
    Event {
        /// Its command set.
        command_set: CommandSet<'a>,
        /// Fields that had several values, and how many; the first was taken.
        several: Vec<(Field, usize)>,
    },
    /// Another DIMSE message.
    Other {
        /// Its Command Field.
        command_field: u16,
        /// Its Message ID, if it has one.
        message_id: Option<u16>,
        /// The Message ID that it answers, if it answers one.
        answered: Option<u16>,
        /// Its Status, if it has one.
        status: Option<u16>,
        /// Whether a data set follows.
        data_set: bool,
    },
}

impl<'a> Message<'a> {
    /// The command set, if it is that of an event.
    pub fn event(self) -> Result<CommandSet<'a>, Rejection> {
        match self {
            Self::Event { command_set, .. } => Ok(command_set),
            Self::Other { command_field, .. } => {
                Err(Rejection::new(Reason::CommandField(command_field)))
            }
        }
    }

    /// Whether a data set follows.
    pub fn data_set(&self) -> bool {
        match self {
            Self::Event { command_set, .. } => command_set.data_set,
            Self::Other { data_set, .. } => *data_set,
        }
    }

    fn of(raw: RawElements<'a>) -> Result<Self, Rejection> {
        raw.value(GROUP_LENGTH)?;
        let (command_field, count) = raw.value(COMMAND_FIELD)?;
        if count > 1 {
            return Err(Rejection::new(Reason::SeveralCommandFields(count)));
        }
        let command_field =
            command_field.us().ok_or_else(|| missing("Command Field (0000,0100)"))?;
        if raw.found[DATA_SET_TYPE].is_none() {
            return Err(missing("Command Data Set Type (0000,0800)"));
        }
        let data_set_type = raw.value(DATA_SET_TYPE)?;
        let data_set = data_set_type != (Value::Us(NO_DATA_SET), 1);
        let Some(kind) = Kind::of_command_field(command_field) else {
            let number = |field| {
                let is_it = |element: &Element| element.source == Source::Field(field);
                raw.value(ELEMENTS.iter().position(is_it)?).ok()?.0.us()
            };
            return Ok(Self::Other {
                command_field,
                message_id: number(Field::MessageID),
                answered: number(Field::MessageIDBeingRespondedTo),
                status: number(Field::Status),
                data_set,
            });
        };
        let mut command_set = CommandSet::new(kind, data_set);
        let mut several = Vec::new();
        for (row, element) in ELEMENTS.iter().enumerate() {
            if let Source::Field(field) = element.source {
                let (value, count) = raw.value(row).map_err(|err| err.field(field))?;
                command_set.set(field, value);
                if count > 1 {
                    several.push((field, count));
                }
            }
        }
        Ok(Self::Event { command_set, several })
    }
}

fn missing(what: &'static str) -> Rejection {
    Rejection::new(Reason::MissingElement(what))
}

const GROUP_LENGTH: usize = 0;
const COMMAND_FIELD: usize = 2;
const DATA_SET_TYPE: usize = 5;

/// The elements of the table as they stand in the bytes: the last of each.
struct RawElements<'a> {
    found: [Option<Raw<'a>>; ELEMENTS.len()],
}

#[derive(Clone, Copy)]
struct Raw<'a> {
    offset: usize,
    vr: Option<[u8; 2]>,
    value: &'a [u8],
}

impl<'a> RawElements<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let mut found = [None; ELEMENTS.len()];
        // The first element tells the encoding: where a length should be, an Explicit VR data set
        // has two capital letters, and an implicit one would have a value of over 16 kB.
        let explicit = bytes.get(4..6).is_some_and(|vr| vr.iter().all(u8::is_ascii_uppercase));
        let mut at = 0;
        while let Some(header) = Header::read(bytes, at, explicit)? {
            // Item Delimitation Item: pydicom ends a data set there.
            if (header.group, header.element) == (0xFFFE, 0xE00D) {
                break;
            }
            let value = header.value(bytes)?;
            if let Some(row) = header.table_row() {
                found[row] = Some(Raw { offset: at, vr: header.vr, value });
            }
            at = header.value_at + value.len();
        }
        Ok(Self { found })
    }

    /// The first value of the element in a row of the table, and how many it has (its VM).
    fn value(&self, row: usize) -> Result<(Value<'a>, usize), Rejection> {
        let Some(raw) = &self.found[row] else { return Ok((Value::Absent, 0)) };
        let vr = ELEMENTS[row].vr;
        raw.check_vr(vr)?;
        match vr {
            Vr::Us => raw.us(),
            Vr::Ui => Ok(raw.uid()),
            Vr::Lo => Ok(raw.text()),
            Vr::Ul => raw.ul(),
        }
    }
}

impl<'a> Raw<'a> {
    fn check_vr(&self, vr: Vr) -> Result<(), Rejection> {
        match self.vr {
            Some(found) if found != *vr.name().as_bytes() => {
                let found = crate::error::shown(&found);
                Err(Rejection::new(Reason::ValueVr { vr: vr.name(), found }).at(self.offset))
            }
            _ => Ok(()),
        }
    }

    fn us(&self) -> Result<(Value<'a>, usize), Rejection> {
        match self.value {
            [] => Ok((Value::Absent, 0)),
            [low, high, rest @ ..] if rest.len() % 2 == 0 => {
                Ok((Value::Us(u16::from_le_bytes([*low, *high])), 1 + rest.len() / 2))
            }
            value => {
                let reason = Reason::ValueLength { length: value.len(), vr: "US" };
                Err(Rejection::new(reason).at(self.offset))
            }
        }
    }

    /// The group length: its value doesn't matter, only that it could be one.
    fn ul(&self) -> Result<(Value<'a>, usize), Rejection> {
        match self.value.len() {
            length if length % 4 == 0 => Ok((Value::Absent, length / 4)),
            length => {
                let reason = Reason::ValueLength { length, vr: "UL" };
                Err(Rejection::new(reason).at(self.offset))
            }
        }
    }

    /// Text up to the first backslash, without the padding at its end (PS3.5 6.2).
    fn text(&self) -> (Value<'a>, usize) {
        let text = trim_end(self.value);
        let mut values = text.split(|&byte| byte == b'\\');
        let first = values.next().map_or(text, trim_end);
        (Value::Text(first), 1 + values.count())
    }

    /// A UID; pydicom strips white space at both ends of each, NUL only at the end of all, and
    /// an empty one is none.
    fn uid(&self) -> (Value<'a>, usize) {
        let mut values = trim_end(self.value).split(|&byte| byte == b'\\');
        let first = values.next().map_or(&[][..], strip);
        let value = if first.is_empty() { Value::Absent } else { Value::Text(first) };
        (value, 1 + values.count())
    }
}

fn trim_end(text: &[u8]) -> &[u8] {
    let length = text.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |at| at + 1);
    &text[..length]
}

/// Without the white space of Latin-1 at both ends, as Python's `str.strip`.
fn strip(text: &[u8]) -> &[u8] {
    let white = |byte: &u8| matches!(byte, 0x09..=0x0d | 0x1c..=0x20 | 0x85 | 0xa0);
    let end = text.iter().rposition(|byte| !white(byte)).map_or(0, |at| at + 1);
    let start = text[..end].iter().position(|byte| !white(byte)).unwrap_or(end);
    &text[start..end]
}

struct Header {
    group: u16,
    element: u16,
    vr: Option<[u8; 2]>,
    length: u32,
    at: usize,
    value_at: usize,
}

impl Header {
    /// The header at `at`, or `None` where fewer than eight bytes are left.
    fn read(bytes: &[u8], at: usize, explicit: bool) -> Result<Option<Self>, Rejection> {
        let Some(&[g0, g1, e0, e1, a, b, c, d]) = bytes.get(at..).and_then(<[u8]>::first_chunk)
        else {
            return Ok(None);
        };
        let group = u16::from_le_bytes([g0, g1]);
        let element = u16::from_le_bytes([e0, e1]);
        let explicit = explicit && a.is_ascii_uppercase() && b.is_ascii_uppercase();
        let (vr, length, value_at) = match [a, b] {
            vr if explicit && has_long_length(vr) => {
                let Some(&length) = bytes.get(at + HEADER..).and_then(<[u8]>::first_chunk) else {
                    let left = bytes.len() - at - HEADER;
                    let reason = Reason::ElementLength { group, element, length: 0, left };
                    return Err(Rejection::new(reason).at(at));
                };
                (Some(vr), u32::from_le_bytes(length), at + HEADER + 4)
            }
            vr if explicit => (Some(vr), u32::from(u16::from_le_bytes([c, d])), at + HEADER),
            _ => (None, u32::from_le_bytes([a, b, c, d]), at + HEADER),
        };
        Ok(Some(Self { group, element, vr, length, at, value_at }))
    }

    /// The row of [`ELEMENTS`] that this is the header of.
    fn table_row(&self) -> Option<usize> {
        ELEMENTS.iter().position(|row| self.group == 0 && row.number == self.element)
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Rejection> {
        let rest = &bytes[self.value_at..];
        rest.get(..self.length as usize).ok_or_else(|| {
            let Self { group, element, length, .. } = *self;
            let reason = Reason::ElementLength { group, element, length, left: rest.len() };
            Rejection::new(reason).at(self.at)
        })
    }
}

/// Whether an Explicit VR element has two reserved bytes and a length of four (PS3.5 7.1.2).
fn has_long_length(vr: [u8; 2]) -> bool {
    const LONG: [&[u8; 2]; 13] =
        [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];
    LONG.contains(&&vr)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CommandSet<'static> {
        let mut command_set = CommandSet::new(Kind::Request, true);
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.3"));
        command_set.set(Field::MessageID, Value::Us(7));
        command_set.set(Field::AffectedSOPInstanceUID, Value::Text(b"1.2.3.4"));
        command_set.set(Field::EventTypeID, Value::Us(2));
        command_set
    }

    fn written(command_set: &CommandSet<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        command_set.write(&mut out);
        out
    }

    #[test]
    fn table_is_in_tag_order_and_its_positions_hold() {
        assert!(ELEMENTS.is_sorted_by_key(|element| element.number));
        assert_eq!(ELEMENTS[GROUP_LENGTH].source, Source::GroupLength);
        assert_eq!(ELEMENTS[COMMAND_FIELD].source, Source::CommandField);
        assert_eq!(ELEMENTS[DATA_SET_TYPE].source, Source::DataSetType);
    }

    #[test]
    fn group_length_counts_the_rest() {
        let bytes = written(&request());
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
        assert_eq!(length, bytes.len() - 12);
        assert_eq!(bytes.len(), request().encoded_len());
    }

    #[test]
    fn a_request_leaves_out_what_only_responses_carry() {
        let mut with_status = request();
        with_status.set(Field::Status, Value::Us(1));
        assert_eq!(written(&with_status), written(&request()));
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(CommandSet::read(&written(&request())).unwrap().event().unwrap(), request());
    }

    #[test]
    fn the_last_of_a_repeated_element_counts_in_any_order() {
        let mut bytes = written(&request());
        let mut again = CommandSet::new(Kind::Request, false);
        again.set(Field::MessageID, Value::Us(8));
        bytes.extend_from_slice(&written(&again)[12..]);
        let read = CommandSet::read(&bytes).unwrap().event().unwrap();
        assert_eq!(read.get(Field::MessageID), Value::Us(8));
        assert!(!read.data_set);
    }

    #[test]
    fn every_cut_is_an_error_or_leaves_something_missing() {
        let bytes = written(&request());
        for end in 0..bytes.len() {
            if let Ok(message) = CommandSet::read(&bytes[..end]) {
                assert_ne!(message.event().unwrap(), request());
            }
        }
    }

    #[test]
    fn several_values_are_told() {
        let mut bytes = written(&request());
        bytes.extend_from_slice(b"\0\0\x02\0\x08\0\0\x001.2\\1.3 ");
        let Message::Event { command_set, several } = CommandSet::read(&bytes).unwrap() else {
            panic!("it is an event")
        };
        assert_eq!(command_set.get(Field::AffectedSOPClassUID), Value::Text(b"1.2"));
        assert_eq!(several, [(Field::AffectedSOPClassUID, 2)]);
    }

    #[test]
    fn explicit_vr_is_understood() {
        let bytes = b"\0\0\0\x01US\x02\0\0\x01\0\0\0\x08US\x02\0\x01\x01\0\0\x10\x01US\x02\0\x07\0";
        let read = CommandSet::read(bytes).unwrap().event().unwrap();
        assert_eq!(read.get(Field::MessageID), Value::Us(7));
    }
}
