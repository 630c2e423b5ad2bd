//! Messages that lie whole in the stream, as nearly all do, and hold nothing unusual. What this does
//! not take is not wrong: [`crate::decode`] reads it the other way.

use crate::characters::WINDOW;
use crate::command_set::{ELEMENTS, Element, Kind, NO_DATA_SET, Source, Vr};
use crate::decoded_columns::{LONGEST, Row, Span};
use crate::pdv::{COMMAND, LAST};
use crate::uid::MAX_LENGTH;

/// A message.
pub struct WholeMessage {
    /// Its command set.
    pub row: Row,
    /// Its data set.
    pub data_set: Option<Span>,
    /// Where the next PDU begins.
    pub end: usize,
}

/// Reads the message whose first PDU begins at `at`: a command set in one PDV, and a data set, if
/// one is announced, in another, in the same PDU or in the next.
#[inline(always)]
pub fn read(stream: &[u8], at: usize) -> Option<WholeMessage> {
    let pdu_end = end_of_pdu(stream, at)?;
    let (command_set, context_id) = pdv(stream, at + 6, pdu_end, COMMAND | LAST)?;
    let end = command_set.start + command_set.length;
    let (row, data_set) = read_command_set(stream, command_set, at, context_id)?;
    if !data_set {
        return (end == pdu_end).then_some(WholeMessage { row, data_set: None, end });
    }
    let (at, pdu_end) =
        if end < pdu_end { (end, pdu_end) } else { (end + 6, end_of_pdu(stream, end)?) };
    let (data_set, _) = pdv(stream, at, pdu_end, LAST)?;
    let end = data_set.start + data_set.length;
    let taken = end == pdu_end && data_set.length <= LONGEST;
    taken.then_some(WholeMessage { row, data_set: Some(data_set), end })
}

/// Where the P-DATA-TF PDU at `at` ends.
#[inline(always)]
fn end_of_pdu(stream: &[u8], at: usize) -> Option<usize> {
    let &[4, _, a, b, c, d] = stream.get(at..)?.first_chunk()? else { return None };
    let end = (at + 6).saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
    (end <= stream.len()).then_some(end)
}

/// The fragment of the PDV at `at`, with its presentation context, if it is of this kind.
#[inline(always)]
fn pdv(stream: &[u8], at: usize, pdu_end: usize, kind: u8) -> Option<(Span, u8)> {
    let &[a, b, c, d, context_id, control] = stream.get(at..pdu_end)?.first_chunk()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let fits = length >= 2 && at + 4 + length <= pdu_end;
    let span = Span { joined: false, start: at + 6, length: length.wrapping_sub(2) };
    (fits && control & (COMMAND | LAST) == kind).then_some((span, context_id))
}

/// Reads a command set of which every element stands in the table, in the table's order, with one
/// value; returns the event, and whether a data set follows.
// The table is walked once with the elements. It is known to the compiler, which makes a few
// instructions of each step: a tenth of the time of reading elements in any order.
#[inline(always)]
pub fn read_command_set(
    stream: &[u8],
    command_set: Span,
    begin: usize,
    context_id: u8,
) -> Option<(Row, bool)> {
    let end = command_set.start + command_set.length;
    let mut row = Row::new(Kind::Request, begin, context_id);
    let mut found = Found { kind: None, data_set_type: None };
    let mut at = command_set.start;
    for element in &ELEMENTS {
        let Some(&header) = stream.get(at..end)?.first_chunk() else { break };
        let header = u64::from_le_bytes(header);
        if header as u32 == u32::from(element.number) << 16 {
            let value = Span { joined: false, start: at + 8, length: (header >> 32) as usize };
            at = value.start + value.length;
            if at > end {
                return None;
            }
            read_element(stream, element, value, &mut row, &mut found)?;
        }
    }
    row.kind = found.kind?;
    (at == end).then_some((row, found.data_set_type? != NO_DATA_SET))
}

struct Found {
    kind: Option<Kind>,
    data_set_type: Option<u16>,
}

#[inline(always)]
fn read_element(
    stream: &[u8],
    element: &Element,
    value: Span,
    row: &mut Row,
    found: &mut Found,
) -> Option<()> {
    match (element.source, element.vr) {
        (Source::GroupLength, _) => return (value.length == 4).then_some(()),
        (Source::CommandField, _) => found.kind = Kind::of_command_field(us(stream, value)?),
        (Source::DataSetType, _) => found.data_set_type = Some(us(stream, value)?),
        (Source::Field(field), Vr::Us) => row.set_number(field, us(stream, value)?),
        (Source::Field(field), Vr::Ui) => row.set_text(field, uid(stream, value)?),
        // Free text is rare.
        (Source::Field(_), _) => return None,
    }
    Some(())
}

#[inline(always)]
fn us(stream: &[u8], value: Span) -> Option<u16> {
    let number = stream.get(value.start..)?.first_chunk()?;
    (value.length == 2).then_some(u16::from_le_bytes(*number))
}

/// A UID of digits and full stops, without its padding (PS3.5 6.2).
#[inline(always)]
fn uid(stream: &[u8], value: Span) -> Option<Span> {
    let window: &[u8; WINDOW] = stream.get(value.start..)?.first_chunk()?;
    let last = value.length.checked_sub(1).filter(|&last| last < MAX_LENGTH)?;
    let length = last + usize::from(window[last] != 0);
    (length > 0 && is_plain(window, length)).then_some(Span { length, ..value })
}

/// Whether the first `length` characters are nothing but `0` to `9`, `.` and `/`: nothing that would
/// be stripped, cut or converted.
// Without a branch in it this becomes a few wide registers' arithmetic.
#[inline(always)]
fn is_plain(window: &[u8; WINDOW], length: usize) -> bool {
    let mut plain = true;
    for (at, character) in (0_u8..).zip(window) {
        plain &= character.wrapping_sub(b'.') <= b'9' - b'.' || at >= length as u8;
    }
    plain
}
