//! The A-ASSOCIATE items that identify this implementation (PS3.8 9.3.2, PS3.7 D.3.3.2), and the
//! significant parts of a received A-ASSOCIATE PDU.

use crate::excerpt::excerpt;
use crate::pdu::write::PDU_HEADER;

/// The application context name of DICOM (PS3.7 A.2.1).
pub const APPLICATION_CONTEXT_NAME: &str = "1.2.840.10008.3.1.1.1";

/// Identifies the implementation in an association: a version 5 UUID of the name fastdimse (PS3.5
/// B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.195119945060174648222482115765906976218";

/// The version of the implementation.
pub const IMPLEMENTATION_VERSION_NAME: &str =
    concat!("FASTDIMSE_", env!("CARGO_PKG_VERSION_MAJOR"), "_", env!("CARGO_PKG_VERSION_MINOR"));

/// Checks an AE title: 1 to 16 characters of the default repertoire, not only spaces (PS3.8 9.3.2).
pub fn check_ae_title(title: &str) -> Result<(), String> {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\';
    let fits = (1..=16).contains(&title.len()) && title.bytes().all(allowed);
    if fits && !title.trim().is_empty() {
        return Ok(());
    }
    let shown = excerpt(title.as_bytes());
    Err(format!("'{shown}' is not an AE title: 1 to 16 characters of ASCII, without a backslash"))
}

/// The offset of the items of an A-ASSOCIATE PDU: after the protocol version, two reserved bytes,
/// two AE titles and 32 reserved bytes.
pub const ITEMS_AT: usize = PDU_HEADER + 2 + 2 + 16 + 16 + 32;
/// Length of item type, reserved byte and item length.
pub const ITEM_HEADER: usize = 4;

const ACCEPT: u8 = 0x02;
const APPLICATION_CONTEXT: u8 = 0x10;
const PROPOSED_CONTEXT: u8 = 0x20;
const CONTEXT_RESULT: u8 = 0x21;
const ABSTRACT_SYNTAX: u8 = 0x30;
const TRANSFER_SYNTAX: u8 = 0x40;
const USER_INFORMATION: u8 = 0x50;
const MAXIMUM_LENGTH: u8 = 0x51;
const OPERATIONS_WINDOW: u8 = 0x53;
const ROLE_SELECTION: u8 = 0x54;
const USER_IDENTITY: u8 = 0x58;
/// Length of ID, reserved byte, result and reserved byte.
const CONTEXT_FIXED: usize = 4;
/// The result of a rejected context without a reason.
const NO_REASON: u8 = 2;

/// An A-ASSOCIATE-RQ or -AC reduced to its significant parts: without items of unknown types (PS3.8
/// 9.3.1), and with an empty transfer syntax in rejected contexts, where it is not significant
/// (PS3.8 9.3.3.2). `None` if the PDU or one of its items is truncated.
pub fn significant(pdu: &[u8]) -> Option<Vec<u8>> {
    let mut kept = pdu.get(..ITEMS_AT)?.to_vec();
    let length = u32::from_be_bytes([pdu[2], pdu[3], pdu[4], pdu[5]]) as usize;
    let accepts = pdu[0] == ACCEPT;
    for item in items(pdu.get(ITEMS_AT..PDU_HEADER.checked_add(length)?)?) {
        let (kind, value) = item?;
        match kind {
            APPLICATION_CONTEXT => push(&mut kept, kind, value),
            PROPOSED_CONTEXT if !accepts => {
                let known = [ABSTRACT_SYNTAX, TRANSFER_SYNTAX];
                push(&mut kept, kind, &context(value, &known)?);
            }
            CONTEXT_RESULT if accepts => push(&mut kept, kind, &result(value)?),
            USER_INFORMATION => push(&mut kept, kind, &user_information(value)?),
            _ => {}
        }
    }
    let length = (kept.len() - PDU_HEADER) as u32;
    kept[2..PDU_HEADER].copy_from_slice(&length.to_be_bytes());
    Some(kept)
}

/// The items with their types and values. `None` for a truncated item, which is the last one.
fn items(bytes: &[u8]) -> impl Iterator<Item = Option<(u8, &[u8])>> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let item = rest.take().filter(|rest| !rest.is_empty())?;
        let Some((&[kind, _, l0, l1], value)) = item.split_first_chunk() else {
            return Some(None);
        };
        let split = value.split_at_checked(u16::from_be_bytes([l0, l1]).into());
        Some(split.map(|(value, after)| {
            rest = Some(after);
            (kind, value)
        }))
    })
}

fn push(items: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("it is no longer than the received PDU");
    items.extend([kind, 0]);
    items.extend(length.to_be_bytes());
    items.extend(value);
}

/// A presentation context with its sub-items of these types.
fn context(value: &[u8], known: &[u8]) -> Option<Vec<u8>> {
    let (fixed, sub_items) = value.split_at_checked(CONTEXT_FIXED)?;
    let mut kept = fixed.to_vec();
    for item in items(sub_items) {
        let (kind, value) = item?;
        if known.contains(&kind) {
            push(&mut kept, kind, value);
        }
    }
    Some(kept)
}

/// A presentation context with its result.
fn result(value: &[u8]) -> Option<Vec<u8>> {
    let [id, _, result, _] = *value.first_chunk::<CONTEXT_FIXED>()?;
    let result = match result {
        0 => return context(value, &[TRANSFER_SYNTAX]),
        1..=4 => result,
        // A result outside PS3.8 9.3.3.2 counts as a rejection without a reason.
        _ => NO_REASON,
    };
    Some(vec![id, 0, result, 0, TRANSFER_SYNTAX, 0, 0, 0])
}

/// The sub-items of the user information that events depend on, each with the length of its
/// content.
fn user_information(value: &[u8]) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    for item in items(value) {
        let (kind, value) = item?;
        let length = match kind {
            MAXIMUM_LENGTH => 4,
            OPERATIONS_WINDOW => value.len(),
            // The length of the UID, the UID, the roles (PS3.7 D.3.3.4).
            ROLE_SELECTION => 2 + length_at(value, 0)? + 2,
            // Type and request, two fields with their lengths (PS3.7 D.3.3.7).
            USER_IDENTITY => {
                let primary = length_at(value, 2)?;
                4 + primary + 2 + length_at(value, 4 + primary)?
            }
            _ => continue,
        };
        push(&mut kept, kind, value.get(..length)?);
    }
    Some(kept)
}

fn length_at(value: &[u8], at: usize) -> Option<usize> {
    let length: [u8; 2] = *value.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(length).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: u8, value: &[u8]) -> Vec<u8> {
        let mut item = Vec::new();
        push(&mut item, kind, value);
        item
    }

    fn pdu(kind: u8, items: &[Vec<u8>]) -> Vec<u8> {
        let items = items.concat();
        let mut pdu = vec![kind, 0];
        pdu.extend(((ITEMS_AT - PDU_HEADER + items.len()) as u32).to_be_bytes());
        pdu.resize(ITEMS_AT, 7);
        pdu.extend(items);
        pdu
    }

    #[test]
    fn insignificant_items_are_removed() {
        let name = item(0x10, APPLICATION_CONTEXT_NAME.as_bytes());
        let syntax = item(0x40, b"1.2");
        let accepted = item(0x21, &[b"\x01\0\0\0", &syntax[..]].concat());
        let rejected = |rest: &[u8]| item(0x21, &[b"\x03\x05\x03\x06", rest].concat());
        let empty = item(0x21, b"\x03\0\x03\0\x40\0\0\0");
        let length = item(0x50, &item(0x51, &[0, 0, 0x40, 0]));
        let expected = pdu(2, &[name.clone(), accepted.clone(), empty, length.clone()]);
        for rest in [&[][..], b"\x40\0\0\0", &syntax, &syntax.repeat(2), b"\x99", b"\x40\0\0\x09x"]
        {
            let odd = item(0x61, b"unknown");
            let items = [name.clone(), accepted.clone(), odd, rejected(rest), length.clone()];
            assert_eq!(significant(&pdu(2, &items)), Some(expected.clone()));
        }
        assert_eq!(significant(&expected), Some(expected));
    }

    #[test]
    fn user_information_has_its_length() {
        let role = [&b"\0\x031.2"[..], &[0, 1]].concat();
        let user = b"\x02\0\0\x01n\0\x01p";
        let kept = [item(0x54, &role), item(0x58, user), item(0x51, &[0; 4])].concat();
        let longer = |value: &[u8]| [value, b"more"].concat();
        let received = [
            item(0x54, &longer(&role)),
            item(0x55, b""),
            item(0x58, &longer(user)),
            item(0x77, b"x"),
            item(0x51, &longer(&[0; 4])),
        ];
        let of = |value: &[u8]| significant(&pdu(1, &[item(0x50, value)]));
        assert_eq!(of(&received.concat()), Some(pdu(1, &[item(0x50, &kept)])));
        for short in [item(0x51, &[0; 3]), item(0x54, &role[..6]), item(0x58, &user[..7])] {
            assert_eq!(of(&short), None);
        }
    }

    #[test]
    fn a_truncated_pdu_is_not_reduced() {
        let complete = pdu(1, &[item(0x20, b"\x01\0\0\0\x30\0\0\x031.2"), item(0x50, b"")]);
        assert_eq!(significant(&complete), Some(complete.clone()));
        for length in 0..complete.len() {
            assert_eq!(significant(&complete[..length]), None);
        }
        for length in ITEMS_AT + 1..complete.len() - ITEM_HEADER {
            let mut truncated = complete[..length].to_vec();
            truncated[2..PDU_HEADER].copy_from_slice(&((length - PDU_HEADER) as u32).to_be_bytes());
            assert_eq!(significant(&truncated), None);
        }
    }
}
