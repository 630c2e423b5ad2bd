//! Proposes an association, and evaluates the response (PS3.7 D.3, PS3.8 9.3.2 and 9.3.3):
//! presentation contexts, roles, PDU length and operations window.

use std::collections::BTreeMap;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, RequestorRoles, UserIdentity, UserIdentityType,
    UserVariableItem,
};

use fastdimse_core::pdu::associate::{
    APPLICATION_CONTEXT_NAME, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME,
};
use fastdimse_core::pdu::write::{MaxPduLength, PDV_HEADER};
use fastdimse_core::standard::sop_classes::{abstract_syntaxes, abstract_syntaxes_of_action};
use fastdimse_core::standard::transfer_syntax::TransferSyntax;

use crate::failure::Failure;

/// The Verification SOP Class (PS3.4 A.4).
pub const VERIFICATION: &str = "1.2.840.10008.1.1";

/// The type of the asynchronous operations window sub-item (PS3.7 D.3.3.3.1).
pub(crate) const OPERATIONS_WINDOW: u8 = 0x53;
/// The maximum number of presentation contexts: IDs are the odd numbers up to 255 (PS3.8 9.3.2.2).
pub const MAX_CONTEXTS: usize = 128;

/// The proposal of an SCU or SCP of events.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The calling AE title.
    pub calling: String,
    /// The called AE title.
    pub called: String,
    /// The SOP classes of the events.
    pub sop_classes: Vec<String>,
    /// The role of the local side.
    pub role: Role,
    /// The transfer syntaxes, in order of preference.
    pub transfer_syntaxes: Vec<TransferSyntax>,
    /// The maximum PDU length that the local side accepts.
    pub max_pdu_length: u32,
    /// The maximum number of outstanding events; 0 for any number.
    pub window: u16,
    /// The user identity, if the peer is to receive one.
    pub user: Option<User>,
}

/// The role of the local side, which requests the association (PS3.7 D.3.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It requests actions and receives events. This is the default role of a requestor.
    Scu,
    /// It sends events.
    Scp,
    /// Both.
    Both,
}

impl Role {
    fn is_scu(self) -> bool {
        self != Self::Scp
    }

    fn is_scp(self) -> bool {
        self != Self::Scu
    }
}

/// A user (PS3.7 D.3.3.7.1).
#[derive(Clone)]
pub struct User {
    /// The user name.
    pub name: String,
    /// The passcode.
    pub passcode: Option<String>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Logs must not contain passcodes.
        out.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl User {
    fn item(&self) -> UserVariableItem {
        let (kind, passcode) = match &self.passcode {
            Some(passcode) => (UserIdentityType::UsernamePassword, passcode.as_bytes()),
            None => (UserIdentityType::Username, &[][..]),
        };
        let name = self.name.as_bytes().to_vec();
        // No positive response is requested: a peer without user identities would not send one, and
        // the association would have to be aborted.
        let item = UserIdentity::new(false, kind, name, passcode.to_vec());
        UserVariableItem::UserIdentityItem(item)
    }
}

/// An accepted presentation context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The ID.
    pub id: u8,
    /// The transfer syntax.
    pub transfer_syntax: TransferSyntax,
    /// Whether the local side may request actions.
    pub is_scu: bool,
    /// Whether the local side may send events.
    pub is_scp: bool,
}

/// The result of the negotiation.
#[derive(Debug, Clone)]
pub struct Agreement {
    /// The accepted presentation contexts, by SOP class.
    pub contexts: BTreeMap<String, Context>,
    /// The reasons of rejected presentation contexts, by SOP class.
    pub refused: BTreeMap<String, &'static str>,
    /// The maximum PDU length that the peer accepts; 0 for no limit.
    pub max_pdu_length: u32,
    /// The maximum number of outstanding events.
    pub window: u16,
}

impl Agreement {
    /// The presentation context for events with this Affected SOP Class UID, which may differ from
    /// the abstract syntax; or the reason why there is none.
    pub fn context(&self, affected: &str) -> Result<&Context, &'static str> {
        self.find(abstract_syntaxes(affected), |context| context.is_scp, NOT_SCP)
    }

    /// The presentation context for actions with this Requested SOP Class UID, or the reason why there
    /// is none.
    pub fn context_of_action(&self, requested: &str) -> Result<&Context, &'static str> {
        self.find(abstract_syntaxes_of_action(requested), |context| context.is_scu, NOT_SCU)
    }

    fn find<'a>(
        &self,
        syntaxes: impl Iterator<Item = &'a str> + Clone,
        has_role: impl Fn(&Context) -> bool,
        without_role: &'static str,
    ) -> Result<&Context, &'static str> {
        let mut found = syntaxes.clone().filter_map(|uid| self.contexts.get(uid)).peekable();
        let is_accepted = found.peek().is_some();
        found.find(|context| has_role(context)).ok_or_else(|| {
            let refused = || syntaxes.clone().find_map(|uid| self.refused.get(uid)).copied();
            match is_accepted {
                true => without_role,
                false => refused().unwrap_or("it was not proposed"),
            }
        })
    }
}

const NOT_SCP: &str = "role selection: the local side is not an SCP of the SOP class, which sends \
     events. Propose the role with role=\"scp\" or role=\"both\". If the peer rejected the SCP role of \
     the local side: in pynetdicom, add the SOP class with add_supported_context(uid, scu_role=True, \
     scp_role=True); in Orthanc, set AllowNEventReport for the local AE title";
/// pynetdicom rejects a presentation context if it rejects the proposed role.
const REJECTED_WITH_ROLE: &str = "the peer's user rejected it, or the SCP role of the local side (role \
     selection). If the peer is pynetdicom: add the SOP class with add_supported_context(uid, \
     scu_role=True, scp_role=True)";
const NOT_SCU: &str = "role selection: the local side is not an SCU, which requests actions: connect with \
     role=\"scu\" or role=\"both\". If the peer rejected the role: in pynetdicom, add the SOP class with \
     add_supported_context(uid, scu_role=True, scp_role=True)";

impl Proposal {
    /// The A-ASSOCIATE-RQ.
    pub fn request(&self) -> Pdu {
        let uids = self.transfer_syntaxes.iter().map(|syntax| syntax.uid().to_owned());
        let transfer_syntaxes: Vec<String> = uids.collect();
        let contexts = self.ids().map(|(id, sop_class)| PresentationContextProposed {
            id,
            abstract_syntax: sop_class.to_owned(),
            transfer_syntaxes: transfer_syntaxes.clone(),
        });
        Pdu::AssociationRQ(AssociationRQ {
            protocol_version: 1,
            calling_ae_title: self.calling.clone(),
            called_ae_title: self.called.clone(),
            application_context_name: APPLICATION_CONTEXT_NAME.to_owned(),
            presentation_contexts: contexts.collect(),
            user_variables: self.user_variables(),
        })
    }

    fn ids(&self) -> impl Iterator<Item = (u8, &str)> {
        (1..=255).step_by(2).zip(self.sop_classes.iter().map(String::as_str))
    }

    fn user_variables(&self) -> Vec<UserVariableItem> {
        let mut variables = vec![
            UserVariableItem::MaxLength(self.max_pdu_length),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
        ];
        if self.window != 1 {
            // Operations invoked and performed by the local side.
            let performed = if self.role.is_scu() { self.window } else { 1 };
            let [invoked, performed] = [self.window, performed].map(u16::to_be_bytes);
            let both = [invoked, performed].concat();
            variables.push(UserVariableItem::Unknown(OPERATIONS_WINDOW, both));
        }
        // The SCP sends events (PS3.7 10.1.1). Without role selection the requestor is the SCU
        // (PS3.7 D.3.3.4).
        let roles = RequestorRoles { scu: self.role.is_scu(), scp: true };
        if self.role.is_scp() {
            variables.extend(self.sop_classes.iter().map(|sop_class| {
                UserVariableItem::ScuScpRoleSelectionSubItem(sop_class.clone(), roles)
            }));
        }
        variables.extend(self.user.iter().map(User::item));
        variables
    }

    /// Evaluates the response of the peer.
    pub fn agreement(&self, accepted: &AssociationAC) -> Result<Agreement, Failure> {
        let mut contexts = BTreeMap::new();
        let mut refused = BTreeMap::new();
        for (id, sop_class) in self.ids() {
            let of_id = accepted.presentation_contexts.iter().find(|result| result.id == id);
            match self.accepted(sop_class, of_id, &accepted.user_variables) {
                Ok(transfer_syntax) => {
                    let (is_scu, is_scp) = self.roles(sop_class, &accepted.user_variables);
                    let context = Context { id, transfer_syntax, is_scu, is_scp };
                    contexts.insert(sop_class.to_owned(), context);
                }
                Err(why) => {
                    refused.insert(sop_class.to_owned(), why);
                }
            }
        }
        if contexts.is_empty() {
            let why: Vec<_> = refused.iter().map(|(uid, why)| format!("{uid}: {why}")).collect();
            return Err(Failure::NoContext(why.join("; ").into()));
        }
        let max_pdu_length = longest_pdu(&accepted.user_variables);
        let window = self.window_of(&accepted.user_variables);
        Ok(Agreement { contexts, refused, max_pdu_length, window })
    }

    /// The transfer syntax of an accepted presentation context, or the reason of its rejection.
    fn accepted(
        &self,
        sop_class: &str,
        result: Option<&PresentationContextResult>,
        variables: &[UserVariableItem],
    ) -> Result<TransferSyntax, &'static str> {
        let result = result.ok_or("the response of the peer does not contain it")?;
        if let Some(why) = reason_of(&result.reason) {
            let is_user = result.reason == PresentationContextResultReason::UserRejection;
            return Err(if is_user && self.role.is_scp() { REJECTED_WITH_ROLE } else { why });
        }
        if self.roles(sop_class, variables) == (false, false) {
            return Err(NOT_SCP);
        }
        let syntax = TransferSyntax::from_uid(&uid(&result.transfer_syntax));
        syntax
            .ok()
            .filter(|syntax| self.transfer_syntaxes.contains(syntax))
            .ok_or("the peer accepted it with a transfer syntax that was not proposed")
    }

    /// Whether the local side is SCU, and SCP. A missing sub-item does not reject the role: many peers
    /// that accept events do not support role selection.
    fn roles(&self, sop_class: &str, variables: &[UserVariableItem]) -> (bool, bool) {
        let accepted = variables.iter().find_map(|item| match item {
            UserVariableItem::ScuScpRoleSelectionSubItem(role_class, roles)
                if uid(role_class) == sop_class =>
            {
                Some(roles)
            }
            _ => None,
        });
        let (scu, scp) = (self.role.is_scu(), self.role.is_scp());
        match accepted {
            Some(roles) if scp => (scu && roles.scu, roles.scp),
            _ => (scu, scp),
        }
    }

    /// Without a response, one operation is outstanding at a time (PS3.7 D.3.3.3). The response may
    /// lower the proposed number, and 0 means any number.
    fn window_of(&self, variables: &[UserVariableItem]) -> u16 {
        let answered = variables.iter().find_map(|item| match item {
            UserVariableItem::Unknown(OPERATIONS_WINDOW, numbers) => {
                numbers.first_chunk().map(|&invoked| u16::from_be_bytes(invoked))
            }
            _ => None,
        });
        match answered {
            Some(invoked) if self.window != 1 => unlimited(invoked).min(unlimited(self.window)),
            _ => 1,
        }
    }
}

/// The maximum PDU length of an A-ASSOCIATE PDU (PS3.8 D.1); 0 for no limit.
pub(crate) fn longest_pdu(variables: &[UserVariableItem]) -> u32 {
    let length = variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    length.unwrap_or(0)
}

/// Replaces 0, no limit, by the maximum message length. The peer must be given a limit, because a PDU
/// is kept in memory until it is complete.
pub fn finite_pdu_length(max_pdu_length: u32, max_message_length: usize) -> u32 {
    match max_pdu_length {
        0 => u32::try_from(max_message_length.saturating_add(PDV_HEADER)).unwrap_or(u32::MAX),
        length => length,
    }
}

/// The maximum PDU length for writing. A maximum with less than one byte of a fragment is treated
/// as the smallest possible one.
pub(crate) fn max_pdu_length(longest: u32) -> MaxPduLength {
    let length = if longest == 0 { 0 } else { longest.max(7) };
    MaxPduLength::new(length.into()).expect("it is 0, or 7 and more").even()
}

/// 0 operations mean any number.
pub(crate) fn unlimited(operations: u16) -> u16 {
    if operations == 0 { u16::MAX } else { operations }
}

pub(crate) fn uid(padded: &str) -> String {
    padded.trim_matches(['\0', ' ']).to_owned()
}

fn reason_of(reason: &PresentationContextResultReason) -> Option<&'static str> {
    match reason {
        PresentationContextResultReason::Acceptance => None,
        PresentationContextResultReason::UserRejection => Some("the peer's user rejected it"),
        PresentationContextResultReason::NoReason => Some("the peer rejected it without a reason"),
        PresentationContextResultReason::AbstractSyntaxNotSupported => {
            Some("the peer does not support the SOP class")
        }
        PresentationContextResultReason::TransferSyntaxesNotSupported => {
            Some("the peer supports none of the transfer syntaxes that were proposed")
        }
    }
}
