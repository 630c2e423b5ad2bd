//! The A-ASSOCIATE-RQ and -AC PDUs of captures (PS3.8 9.3.2 and 9.3.3), read and written.

use std::collections::BTreeMap;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, RequestorRoles, UserVariableItem, read_pdu, write_pdu,
};
use fastdimse_core::pdu::associate::{
    APPLICATION_CONTEXT_NAME, ITEM_HEADER, ITEMS_AT, significant,
};
use fastdimse_core::pdu::read::NAMES;
use fastdimse_core::pdu::write::PDU_HEADER;

use crate::fault::{FaultKind, INCOMPLETE_ASSOCIATE};

const FIXED: usize = ITEMS_AT - PDU_HEADER;
const APPLICATION_CONTEXT: u8 = 0x10;

/// The contents of an A-ASSOCIATE PDU that captures use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Associate {
    /// The calling AE title, if present.
    pub calling: Option<String>,
    /// The called AE title, if present.
    pub called: Option<String>,
    /// The accepted transfer syntaxes, by presentation context ID.
    pub accepted: BTreeMap<u8, String>,
}

/// Whether a stream begins with an A-ASSOCIATE-RQ or -AC. The PDU may be incomplete.
pub fn begins(stream: &[u8]) -> bool {
    let [1 | 2, _, l0, l1, l2, l3, _, version, _, _, ..] = *stream else { return false };
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let items = (FIXED + ITEM_HEADER..1 << 24).contains(&length);
    items
        && version & 1 == 1
        && stream.get(ITEMS_AT).is_none_or(|&item| item == APPLICATION_CONTEXT)
}

impl Associate {
    /// Reads the PDU at the beginning of a stream for which [`begins`] is true, as far as it is
    /// complete. Also returns the fault of the PDU.
    pub fn read(stream: &[u8]) -> (Self, Option<FaultKind>) {
        let name = NAMES[usize::from(stream[0]) - 1];
        let length = u32::from_be_bytes([stream[2], stream[3], stream[4], stream[5]]) as usize;
        let pdu = &stream[..stream.len().min(PDU_HEADER + length)];
        match parse(pdu) {
            Ok(found) => (found, None),
            Err(why) => (Self::read_by_item(pdu), Some(FaultKind::Associate(name, why))),
        }
    }

    /// One invalid item makes the whole PDU unreadable, so each item is read on its own.
    fn read_by_item(pdu: &[u8]) -> Self {
        let title = |at: usize| trimmed(&String::from_utf8_lossy(pdu.get(at..at + 16)?));
        let mut all = Self { called: title(10), calling: title(26), accepted: BTreeMap::new() };
        let mut at = ITEMS_AT;
        while let Some(&[_, _, l0, l1]) = pdu.get(at..).and_then(<[u8]>::first_chunk) {
            let end = at + ITEM_HEADER + usize::from(u16::from_be_bytes([l0, l1]));
            let Some(item) = pdu.get(at..end) else { break };
            all.accepted.extend(parse(&alone(pdu, item)).unwrap_or_default().accepted);
            at = end;
        }
        all
    }
}

/// A PDU with the application context and one other item.
fn alone(pdu: &[u8], item: &[u8]) -> Vec<u8> {
    let name = APPLICATION_CONTEXT_NAME.as_bytes();
    let length = FIXED + ITEM_HEADER + name.len() + item.len();
    let mut alone = pdu[..ITEMS_AT].to_vec();
    alone[2..PDU_HEADER].copy_from_slice(&(length as u32).to_be_bytes());
    alone.extend([APPLICATION_CONTEXT, 0, 0, name.len() as u8]);
    alone.extend(name);
    alone.extend(item);
    alone
}

fn parse(pdu: &[u8]) -> Result<Associate, Box<str>> {
    let significant = significant(pdu);
    let pdu = significant.as_deref().unwrap_or(pdu);
    let found = read_pdu(pdu, dicom_ul::pdu::MAXIMUM_PDU_SIZE, false)
        .map_err(|error| error.to_string().into_boxed_str())?;
    match found {
        Some(Pdu::AssociationRQ(request)) => Ok(Associate {
            calling: trimmed(&request.calling_ae_title),
            called: trimmed(&request.called_ae_title),
            accepted: BTreeMap::new(),
        }),
        Some(Pdu::AssociationAC(accept)) => Ok(Associate {
            calling: trimmed(&accept.calling_ae_title),
            called: trimmed(&accept.called_ae_title),
            accepted: accept.presentation_contexts.into_iter().filter_map(accepted).collect(),
        }),
        _ => Err(INCOMPLETE_ASSOCIATE.into()),
    }
}

fn trimmed(title: &str) -> Option<String> {
    let title = title.trim_matches(['\0', ' ']);
    (!title.is_empty()).then(|| title.to_owned())
}

fn accepted(context: PresentationContextResult) -> Option<(u8, String)> {
    let transfer_syntax = context.transfer_syntax.trim_matches(['\0', ' ']);
    let accepted = context.reason == PresentationContextResultReason::Acceptance;
    (accepted && !transfer_syntax.is_empty()).then(|| (context.id, transfer_syntax.to_owned()))
}

/// A presentation context to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The SOP class.
    pub abstract_syntax: String,
    /// The proposed and accepted transfer syntax.
    pub transfer_syntax: String,
    /// Whether the requestor sends events of the SOP class.
    pub requestor_is_scp: bool,
    /// Whether the acceptor sends events of the SOP class.
    pub acceptor_is_scp: bool,
}

/// An association to write.
#[derive(Debug, Clone)]
pub struct Association<'a> {
    /// The calling AE title.
    pub calling: &'a str,
    /// The called AE title.
    pub called: &'a str,
    /// The presentation contexts, by ID.
    pub contexts: &'a BTreeMap<u8, Context>,
    /// The maximum PDU length of both sides.
    pub max_pdu_length: u32,
    /// The implementation class UID.
    pub implementation_class: &'a str,
    /// The implementation version name.
    pub implementation_version: &'a str,
}

impl Association<'_> {
    /// The A-ASSOCIATE-RQ.
    pub fn request(&self) -> Vec<u8> {
        let proposed = |(&id, context): (&u8, &Context)| PresentationContextProposed {
            id,
            abstract_syntax: context.abstract_syntax.clone(),
            transfer_syntaxes: vec![context.transfer_syntax.clone()],
        };
        written(&Pdu::AssociationRQ(AssociationRQ {
            protocol_version: 1,
            calling_ae_title: self.calling.to_owned(),
            called_ae_title: self.called.to_owned(),
            application_context_name: APPLICATION_CONTEXT_NAME.to_owned(),
            presentation_contexts: self.contexts.iter().map(proposed).collect(),
            user_variables: self.user_variables(),
        }))
    }

    /// The A-ASSOCIATE-AC that accepts everything.
    pub fn accept(&self) -> Vec<u8> {
        let result = |(&id, context): (&u8, &Context)| PresentationContextResult {
            id,
            reason: PresentationContextResultReason::Acceptance,
            transfer_syntax: context.transfer_syntax.clone(),
        };
        written(&Pdu::AssociationAC(AssociationAC {
            protocol_version: 1,
            calling_ae_title: self.calling.to_owned(),
            called_ae_title: self.called.to_owned(),
            application_context_name: APPLICATION_CONTEXT_NAME.to_owned(),
            presentation_contexts: self.contexts.iter().map(result).collect(),
            user_variables: self.user_variables(),
        }))
    }

    fn user_variables(&self) -> Vec<UserVariableItem> {
        let mut variables = vec![
            UserVariableItem::MaxLength(self.max_pdu_length),
            UserVariableItem::ImplementationClassUID(self.implementation_class.to_owned()),
            UserVariableItem::ImplementationVersionName(self.implementation_version.to_owned()),
        ];
        // The SCP of a SOP class sends its events (PS3.7 10.1.1). By default the acceptor is the
        // SCP.
        let mut roles: BTreeMap<&str, RequestorRoles> = BTreeMap::new();
        for context in self.contexts.values().filter(|context| context.requestor_is_scp) {
            let no_roles = RequestorRoles { scu: false, scp: false };
            let roles = roles.entry(&context.abstract_syntax).or_insert(no_roles);
            roles.scp = true;
            roles.scu |= context.acceptor_is_scp;
        }
        variables.extend(roles.into_iter().map(|(sop_class, roles)| {
            UserVariableItem::ScuScpRoleSelectionSubItem(sop_class.to_owned(), roles)
        }));
        variables
    }
}

fn written(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).expect("the titles and UIDs were checked before");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> BTreeMap<u8, Context> {
        let context = |sop_class: &str, requestor_is_scp| Context {
            abstract_syntax: sop_class.to_owned(),
            transfer_syntax: "1.2.840.10008.1.2".to_owned(),
            requestor_is_scp,
            acceptor_is_scp: !requestor_is_scp,
        };
        [(1, context("1.2.840.10008.1.20.1", true)), (3, context("1.2.840.10008.5.1.1.14", false))]
            .into()
    }

    fn association(contexts: &BTreeMap<u8, Context>) -> Association<'_> {
        Association {
            calling: "CALLING",
            called: "CALLED",
            contexts,
            max_pdu_length: 16382,
            implementation_class: "1.2.3",
            implementation_version: "V",
        }
    }

    #[test]
    fn encoded_text_decodes() {
        let contexts = contexts();
        let association = association(&contexts);
        for (pdu, accepted) in [(association.request(), 0), (association.accept(), 2)] {
            assert!(begins(&pdu));
            let (read, fault) = Associate::read(&pdu);
            assert_eq!(fault, None);
            assert_eq!(read.calling.as_deref(), Some("CALLING"));
            assert_eq!(read.called.as_deref(), Some("CALLED"));
            assert_eq!(read.accepted.len(), accepted);
        }
    }

    #[test]
    fn an_invalid_item_leaves_the_others_readable() {
        let contexts = contexts();
        let mut pdu = association(&contexts).accept();
        // Accepted without a transfer syntax: the sub-item has another type.
        let first_context = ITEMS_AT + ITEM_HEADER + APPLICATION_CONTEXT_NAME.len();
        pdu[first_context + ITEM_HEADER + 4] = 0x41;
        let (read, fault) = Associate::read(&pdu);
        assert_eq!(fault.map(|fault| fault.code()), Some("associate"));
        assert_eq!(read.calling.as_deref(), Some("CALLING"));
        assert_eq!(read.accepted.keys().collect::<Vec<_>>(), [&3]);
    }

    #[test]
    fn insignificant_items_are_no_fault() {
        let contexts = contexts();
        let mut pdu = association(&contexts).accept();
        let first_context = ITEMS_AT + ITEM_HEADER + APPLICATION_CONTEXT_NAME.len();
        let result = first_context + ITEM_HEADER + 2;
        for (reason, sub_item) in [(3, 0x40), (4, 0x99), (9, 0x40)] {
            // Reserved bytes, a rejected context, and its sub-item.
            (pdu[1], pdu[8], pdu[9]) = (1, 2, 3);
            (pdu[result], pdu[result + 2]) = (reason, sub_item);
            assert!(begins(&pdu));
            let (read, fault) = Associate::read(&pdu);
            assert_eq!(fault, None);
            assert_eq!(read.accepted.keys().collect::<Vec<_>>(), [&3]);
        }
    }

    #[test]
    fn a_truncated_pdu_keeps_the_titles() {
        let contexts = contexts();
        let pdu = association(&contexts).request();
        for length in [10, 30, 42, 74, 90, pdu.len() - 1] {
            let (read, fault) = Associate::read(&pdu[..length]);
            assert!(fault.is_some());
            assert_eq!(read.calling.is_some(), length >= 42);
        }
    }

    #[test]
    fn other_streams_do_not_begin_with_associate() {
        for stream in
            [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03", b"\x01", b""]
        {
            assert!(!begins(stream));
        }
    }
}
