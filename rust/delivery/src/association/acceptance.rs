//! Accepts or rejects the proposal of a peer that sends events (PS3.7 D.3, PS3.8 9.3.3).

use std::collections::{BTreeMap, BTreeSet};

use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason,
    AssociationRJSource, AssociationRQ, Pdu, PresentationContextProposed,
    PresentationContextResult, PresentationContextResultReason, RequestorRoles, UserIdentity,
    UserVariableItem,
};
use fastdimse_core::pdu::associate::{
    APPLICATION_CONTEXT_NAME, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME,
};
use fastdimse_core::standard::transfer_syntax::TransferSyntax;

use crate::association::negotiation::VERIFICATION;
use crate::association::negotiation::{
    Agreement, Context, OPERATIONS_WINDOW, longest_pdu, uid, unlimited,
};

/// The sub-item that responds to a user identity, without a server response (PS3.7 D.3.3.7.2).
const USER_IDENTITY_RESPONSE: u8 = 0x59;

/// Which proposals the local side accepts.
#[derive(Debug, Clone)]
pub struct AcceptorOptions {
    /// The SOP classes of events.
    pub sop_classes: BTreeSet<String>,
    /// The required called AE title, if there is one.
    pub called: Option<String>,
    /// The accepted calling AE titles; `None` for all.
    pub calling: Option<BTreeSet<String>>,
    /// The maximum PDU length that the local side accepts.
    pub max_pdu_length: u32,
    /// The maximum number of outstanding requests; 0 for any number.
    pub window: u16,
    /// Whether the local side is also an SCP: it performs actions and reports events.
    pub actions: bool,
    /// The accepted transfer syntaxes.
    pub transfer_syntaxes: Vec<TransferSyntax>,
}

/// An accepted association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The calling AE title.
    pub calling: String,
    /// The called AE title.
    pub called: String,
    /// The accepted presentation contexts, by ID.
    pub contexts: BTreeMap<u8, AcceptedContext>,
    /// The maximum PDU length that the peer accepts; 0 for no limit.
    pub max_pdu_length: u32,
    /// The maximum number of outstanding requests of the local side.
    pub window: u16,
}

/// An accepted presentation context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedContext {
    /// The abstract syntax.
    pub abstract_syntax: String,
    /// The transfer syntax.
    pub transfer_syntax: TransferSyntax,
    /// Whether the requestor is an SCU of the SOP class: it requests actions, and receives events.
    pub requestor_is_scu: bool,
}

impl Accepted {
    /// The transfer syntax of a presentation context; the default one if there is no such context.
    pub fn transfer_syntax(&self, context_id: u8) -> TransferSyntax {
        self.contexts.get(&context_id).map(|context| context.transfer_syntax).unwrap_or_default()
    }

    /// The association of this agreement, from the view of the acceptor.
    pub fn new(calling: &str, called: &str, agreement: &Agreement) -> Self {
        let contexts = agreement.contexts.iter().map(|(sop_class, context)| {
            let accepted = AcceptedContext {
                abstract_syntax: sop_class.clone(),
                transfer_syntax: context.transfer_syntax,
                requestor_is_scu: context.is_scu,
            };
            (context.id, accepted)
        });
        Self {
            calling: calling.to_owned(),
            called: called.to_owned(),
            contexts: contexts.collect(),
            max_pdu_length: agreement.max_pdu_length,
            window: agreement.window,
        }
    }

    /// What the acceptor may send to the requestor.
    pub fn of_acceptor(&self) -> Agreement {
        let contexts = self.contexts.iter().map(|(&id, context)| {
            let (transfer_syntax, is_scp) = (context.transfer_syntax, context.requestor_is_scu);
            let of_class = Context { id, transfer_syntax, is_scu: false, is_scp };
            (context.abstract_syntax.clone(), of_class)
        });
        Agreement {
            contexts: contexts.collect(),
            refused: BTreeMap::new(),
            max_pdu_length: self.max_pdu_length,
            window: self.window,
        }
    }
}

impl AcceptorOptions {
    /// The response to a request, and the association if it is accepted.
    pub fn respond(&self, request: &AssociationRQ) -> (Pdu, Option<Accepted>) {
        let (calling, called) = (uid(&request.calling_ae_title), uid(&request.called_ae_title));
        if uid(&request.application_context_name) != APPLICATION_CONTEXT_NAME {
            return rejected(AssociationRJServiceUserReason::ApplicationContextNameNotSupported);
        }
        if self.called.as_ref().is_some_and(|title| title.trim() != called) {
            return rejected(AssociationRJServiceUserReason::CalledAETitleNotRecognized);
        }
        if self.calling.as_ref().is_some_and(|titles| !titles.contains(&calling)) {
            return rejected(AssociationRJServiceUserReason::CallingAETitleNotRecognized);
        }
        let mut contexts = BTreeMap::new();
        let results = request.presentation_contexts.iter().map(|proposed| {
            let (mut reason, transfer_syntax) = self.context(proposed);
            // IDs are odd and unique (PS3.8 9.3.2.2).
            if proposed.id % 2 == 0 || contexts.contains_key(&proposed.id) {
                reason = PresentationContextResultReason::NoReason;
            }
            if reason == PresentationContextResultReason::Acceptance {
                let abstract_syntax = uid(&proposed.abstract_syntax);
                let requestor_is_scu =
                    self.requestor_is_scu(&abstract_syntax, &request.user_variables);
                let context =
                    AcceptedContext { abstract_syntax, transfer_syntax, requestor_is_scu };
                contexts.insert(proposed.id, context);
            }
            let transfer_syntax = transfer_syntax.uid().to_owned();
            PresentationContextResult { id: proposed.id, reason, transfer_syntax }
        });
        let accept = Pdu::AssociationAC(AssociationAC {
            protocol_version: 1,
            calling_ae_title: request.calling_ae_title.clone(),
            called_ae_title: request.called_ae_title.clone(),
            application_context_name: APPLICATION_CONTEXT_NAME.to_owned(),
            presentation_contexts: results.collect(),
            user_variables: self.user_variables(&request.user_variables),
        });
        let max_pdu_length = longest_pdu(&request.user_variables);
        let window = unlimited(operations_performed(&request.user_variables));
        (accept, Some(Accepted { calling, called, contexts, max_pdu_length, window }))
    }

    /// Whether the requestor is an SCU: without role selection it is (PS3.7 D.3.3.4).
    fn requestor_is_scu(&self, sop_class: &str, proposed: &[UserVariableItem]) -> bool {
        let roles = proposed.iter().find_map(|item| match item {
            UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles)
                if self::uid(uid) == sop_class =>
            {
                Some(roles)
            }
            _ => None,
        });
        roles.is_none_or(|roles| roles.scu && self.actions)
    }

    fn context(
        &self,
        proposed: &PresentationContextProposed,
    ) -> (PresentationContextResultReason, TransferSyntax) {
        let sop_class = uid(&proposed.abstract_syntax);
        if sop_class != VERIFICATION && !self.sop_classes.contains(&sop_class) {
            let reason = PresentationContextResultReason::AbstractSyntaxNotSupported;
            return (reason, TransferSyntax::default());
        }
        let mut syntaxes = proposed.transfer_syntaxes.iter();
        let accepted = |syntax: &TransferSyntax| self.transfer_syntaxes.contains(syntax);
        let known = |uid: &String| TransferSyntax::from_uid(&self::uid(uid)).ok().filter(accepted);
        match syntaxes.find_map(known) {
            Some(syntax) => (PresentationContextResultReason::Acceptance, syntax),
            None => (
                PresentationContextResultReason::TransferSyntaxesNotSupported,
                TransferSyntax::default(),
            ),
        }
    }

    fn user_variables(&self, proposed: &[UserVariableItem]) -> Vec<UserVariableItem> {
        let mut variables = vec![
            UserVariableItem::MaxLength(self.max_pdu_length),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
        ];
        for item in proposed {
            match item {
                // Without actions the local side is the SCU of events, so the peer may only be the
                // SCP.
                UserVariableItem::ScuScpRoleSelectionSubItem(sop_class, roles)
                    if self.sop_classes.contains(&uid(sop_class)) =>
                {
                    let scu = roles.scu && self.actions;
                    let roles = RequestorRoles { scu, scp: roles.scp };
                    variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(
                        sop_class.clone(),
                        roles,
                    ));
                }
                UserVariableItem::Unknown(OPERATIONS_WINDOW, numbers) => {
                    let invoked = numbers.first_chunk().map_or(1, |&one| u16::from_be_bytes(one));
                    let agreed = unlimited(invoked).min(unlimited(self.window));
                    let performed = operations_performed(proposed);
                    let response = [agreed, performed].map(u16::to_be_bytes).concat();
                    variables.push(UserVariableItem::Unknown(OPERATIONS_WINDOW, response));
                }
                // The user was authenticated before (PS3.7 D.3.3.7.2).
                UserVariableItem::UserIdentityItem(user) if user.positive_response_requested() => {
                    variables.push(UserVariableItem::Unknown(USER_IDENTITY_RESPONSE, vec![0, 0]));
                }
                _ => {}
            }
        }
        variables
    }
}

/// The number of operations that the peer performs at a time (PS3.7 D.3.3.3); 0 for any number.
fn operations_performed(proposed: &[UserVariableItem]) -> u16 {
    let performed = proposed.iter().find_map(|item| match item {
        UserVariableItem::Unknown(OPERATIONS_WINDOW, numbers) => {
            numbers.last_chunk().filter(|_| numbers.len() == 4).copied()
        }
        _ => None,
    });
    performed.map_or(1, u16::from_be_bytes)
}

/// The user identity of the request (PS3.7 D.3.3.7).
pub fn user(request: &AssociationRQ) -> Option<&UserIdentity> {
    request.user_variables.iter().find_map(|item| match item {
        UserVariableItem::UserIdentityItem(user) => Some(user),
        _ => None,
    })
}

/// The code and the text of a rejection because of the user.
pub const UNKNOWN_USER: (&str, &str) = ("user", "user identity not accepted");

/// The code and the text of a rejection because the maximum number of connections is open.
pub const TOO_MANY: (&str, &str) = ("limit", "the maximum number of connections is open");

/// The code and the text of the reason of an A-ASSOCIATE-RJ.
pub fn rejection_reason(response: &Pdu) -> (&'static str, &'static str) {
    let Pdu::AssociationRJ(AssociationRJ {
        source: AssociationRJSource::ServiceUser(reason), ..
    }) = response
    else {
        return ("other", "for another reason");
    };
    match reason {
        AssociationRJServiceUserReason::ApplicationContextNameNotSupported => {
            ("application-context", "application context name not supported")
        }
        AssociationRJServiceUserReason::CalledAETitleNotRecognized => {
            ("called-ae", "called AE title not recognized")
        }
        AssociationRJServiceUserReason::CallingAETitleNotRecognized => {
            ("calling-ae", "calling AE title not recognized")
        }
        _ => ("other", "for another reason"),
    }
}

/// The A-ASSOCIATE-RJ for a user that is not authenticated.
pub fn unknown_user() -> Pdu {
    rejected(AssociationRJServiceUserReason::NoReasonGiven).0
}

fn rejected(reason: AssociationRJServiceUserReason) -> (Pdu, Option<Accepted>) {
    let source = AssociationRJSource::ServiceUser(reason);
    let result = AssociationRJResult::Permanent;
    (Pdu::AssociationRJ(AssociationRJ { result, source }), None)
}

/// The response if the maximum number of associations is reached.
pub fn too_many() -> Pdu {
    let reason = AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
    let source = AssociationRJSource::ServiceProviderPresentation(reason);
    Pdu::AssociationRJ(AssociationRJ { result: AssociationRJResult::Transient, source })
}
