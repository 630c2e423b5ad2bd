//! The SOP Classes of PS3.4 that use N-EVENT-REPORT, the types of their events, and the attributes
//! of each event.
//!
//! Every row was found in two editions of PS3.4, and coded entries in PS3.4 and PS3.3. The SCP of
//! the SOP Class sends an event, and the SCU receives it.

/// A SOP Class that uses N-EVENT-REPORT.
#[derive(Debug, PartialEq, Eq)]
pub struct SopClass {
    /// The UID to negotiate.
    pub uid: &'static str,
    /// The Affected SOP Class UID of its events.
    pub affected_uid: &'static str,
    /// Other abstract syntaxes whose presentation contexts may carry its events, in order of
    /// preference.
    pub also_on: &'static [&'static str],
    /// The name in PS3.6 A.
    pub name: &'static str,
    /// The section of PS3.4 about its events.
    pub section: &'static str,
    /// The table of PS3.4 with its event information.
    pub table: &'static str,
    /// The well-known SOP Instance of all its events, if there is one.
    pub well_known_instance: Option<&'static str>,
    /// The types of its events, by ID.
    pub event_types: &'static [EventType],
}

/// A type of event of a SOP Class.
#[derive(Debug, PartialEq, Eq)]
pub struct EventType {
    /// The Event Type ID.
    pub id: u16,
    /// The Event Type Name.
    pub name: &'static str,
    /// The attributes of the event information. Without attributes an event has no data set.
    pub attributes: &'static [Attribute],
    /// Keywords that occur either at the top or in items (PS3.4 J.3.3.1.1).
    pub in_one_place: &'static [&'static str],
}

/// An attribute of the event information or of an item.
#[derive(Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The group and the element of the tag.
    pub tag: (u16, u16),
    /// The keyword.
    pub keyword: &'static str,
    /// The usage as SCU/SCP (PS3.4 5.4.2.2; in annex H the letters of H.2.4).
    pub usage: &'static str,
    /// The condition of a conditional attribute.
    pub condition: Option<&'static str>,
    /// The attributes of its items, if the standard lists them.
    pub items: &'static [Attribute],
}

impl SopClass {
    /// The type of event with this ID.
    pub fn event_type(&self, id: u16) -> Option<&'static EventType> {
        self.event_types.iter().find(|event_type| event_type.id == id)
    }
}

impl Attribute {
    /// The usage for the SCP, which sends the event.
    pub fn sender(&self) -> &'static str {
        self.usage.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the SCP must always send it.
    pub fn is_mandatory(&self) -> bool {
        matches!(self.sender(), "1" | "2" | "M")
    }

    /// Whether it must have a value if it is present.
    pub fn needs_value(&self) -> bool {
        matches!(self.sender(), "1" | "1C" | "M")
    }

    const fn when(mut self, condition: &'static str) -> Self {
        self.condition = Some(condition);
        self
    }

    const fn items(mut self, items: &'static [Attribute]) -> Self {
        self.items = items;
        self
    }
}

const fn attribute(
    group: u16,
    element: u16,
    keyword: &'static str,
    usage: &'static str,
) -> Attribute {
    Attribute { tag: (group, element), keyword, usage, condition: None, items: &[] }
}

const fn event_type(id: u16, name: &'static str, attributes: &'static [Attribute]) -> EventType {
    EventType { id, name, attributes, in_one_place: &[] }
}

/// The SOP Class with this UID: the one that is negotiated, or the Affected SOP Class UID of its
/// events.
///
/// ```
/// use fastdimse_core::standard::sop_classes::sop_class;
/// let class = sop_class(b"1.2.840.10008.1.20.1").unwrap();
/// assert_eq!(class.event_type(1).unwrap().name, "Storage Commitment Request Successful");
/// ```
pub fn sop_class(uid: &[u8]) -> Option<&'static SopClass> {
    SOP_CLASSES
        .iter()
        .find(|class| class.uid.as_bytes() == uid || class.affected_uid.as_bytes() == uid)
}

/// The keywords of all attributes of event information, of items too.
pub fn keywords() -> Vec<&'static str> {
    let tables = SOP_CLASSES.iter().flat_map(|class| class.event_types);
    let mut open: Vec<&Attribute> = tables.flat_map(|event_type| event_type.attributes).collect();
    let mut found = Vec::new();
    while let Some(attribute) = open.pop() {
        found.push(attribute.keyword);
        open.extend(attribute.items);
    }
    found
}

/// The abstract syntaxes whose presentation contexts may carry events with this Affected SOP Class
/// UID, in order of preference.
pub fn abstract_syntaxes(affected: &str) -> impl Iterator<Item = &str> + Clone {
    let others = sop_class(affected.as_bytes()).into_iter().flat_map(|class| {
        [class.affected_uid, class.uid].into_iter().chain(class.also_on.iter().copied())
    });
    std::iter::once(affected).chain(others.filter(move |&uid| uid != affected))
}

/// The abstract syntaxes whose presentation contexts may carry actions with this Requested SOP Class
/// UID, in order of preference. Requests for Unified Procedure Steps have the UID of the Push SOP
/// Class, also those that subscribe, which are of the Watch SOP Class (PS3.4 CC.2.3 and CC.3.1).
///
/// ```
/// use fastdimse_core::standard::sop_classes::abstract_syntaxes_of_action;
/// let step = |last: &str| format!("1.2.840.10008.5.1.4.34.6.{last}");
/// let syntaxes: Vec<String> =
///     abstract_syntaxes_of_action(&step("1")).map(str::to_owned).collect();
/// assert_eq!(syntaxes, ["2", "1", "3", "5"].map(step));
/// ```
pub fn abstract_syntaxes_of_action(requested: &str) -> impl Iterator<Item = &str> + Clone {
    let class = sop_class(requested.as_bytes());
    let is_step = class.is_some_and(|class| class.also_on == UNIFIED_PROCEDURE_STEP_CLASSES);
    // No action is sent on a presentation context of UPS Event.
    let is_allowed = move |uid: &&str| !is_step || class.is_none_or(|class| class.uid != *uid);
    let watch = is_step.then_some(WATCH);
    let others = abstract_syntaxes(requested).filter(is_allowed);
    watch.into_iter().chain(others.filter(move |uid| watch != Some(*uid)))
}

/// Whether events with this Affected SOP Class UID may be sent on a presentation context with this
/// abstract syntax.
///
/// ```
/// use fastdimse_core::standard::sop_classes::can_be_sent_on;
/// let (printer, grayscale_print) = ("1.2.840.10008.5.1.1.16", "1.2.840.10008.5.1.1.9");
/// assert!(can_be_sent_on(printer, printer) && can_be_sent_on(printer, grayscale_print));
/// assert!(!can_be_sent_on(grayscale_print, printer));
/// ```
pub fn can_be_sent_on(affected: &str, abstract_syntax: &str) -> bool {
    // The usual case, which is a cheap comparison.
    affected == abstract_syntax || abstract_syntaxes(affected).any(|uid| uid == abstract_syntax)
}

/// The abstract syntaxes to propose for the events of all SOP Classes.
pub fn negotiated() -> impl Iterator<Item = &'static str> {
    SOP_CLASSES.iter().map(|class| class.uid).chain(PRINT_META.iter().copied())
}

/// The Basic Grayscale and the Basic Color Print Management Meta SOP Class (PS3.4 H.3.2.2).
const PRINT_META: &[&str] = &["1.2.840.10008.5.1.1.9", "1.2.840.10008.5.1.1.18"];

/// Unified Procedure Step - Pull, Watch and Query: their instances are of the Push SOP Class (PS3.4
/// CC.3.1).
const UNIFIED_PROCEDURE_STEP_CLASSES: &[&str] =
    &["1.2.840.10008.5.1.4.34.6.3", WATCH, "1.2.840.10008.5.1.4.34.6.5"];

/// Unified Procedure Step - Watch.
const WATCH: &str = "1.2.840.10008.5.1.4.34.6.2";

/// The SOP Classes, in the order of PS3.4.
pub const SOP_CLASSES: &[SopClass] = &[
    SopClass {
        uid: "1.2.840.10008.3.1.2.3.5",
        affected_uid: "1.2.840.10008.3.1.2.3.5",
        also_on: &[],
        name: "Modality Performed Procedure Step Notification SOP Class",
        section: "F.9.2",
        table: "F.9.2-1",
        well_known_instance: None,
        event_types: PERFORMED_PROCEDURE_STEP,
    },
    SopClass {
        uid: "1.2.840.10008.5.1.1.14",
        affected_uid: "1.2.840.10008.5.1.1.14",
        // Used together with the Meta SOP Classes (PS3.4 H.3.3.2).
        also_on: PRINT_META,
        name: "Print Job SOP Class",
        section: "H.4.5.2.1",
        table: "H.4-14",
        well_known_instance: None,
        event_types: PRINT_JOB,
    },
    SopClass {
        uid: "1.2.840.10008.5.1.1.16",
        affected_uid: "1.2.840.10008.5.1.1.16",
        // Part of the Meta SOP Classes (PS3.4 H.3.2.2).
        also_on: PRINT_META,
        name: "Printer SOP Class",
        section: "H.4.6.2.1",
        table: "H.4-16",
        well_known_instance: Some("1.2.840.10008.5.1.1.17"),
        event_types: PRINTER,
    },
    SopClass {
        uid: "1.2.840.10008.1.20.1",
        affected_uid: "1.2.840.10008.1.20.1",
        also_on: &[],
        name: "Storage Commitment Push Model SOP Class",
        section: "J.3.3",
        table: "J.3-2",
        well_known_instance: Some("1.2.840.10008.1.20.1.1"),
        event_types: STORAGE_COMMITMENT,
    },
    SopClass {
        uid: "1.2.840.10008.5.1.4.34.6.4",
        // The instances are of UPS Push, whatever the SOP Class of the association (PS3.4
        // CC.2.4.3).
        affected_uid: "1.2.840.10008.5.1.4.34.6.1",
        also_on: UNIFIED_PROCEDURE_STEP_CLASSES,
        name: "Unified Procedure Step - Event SOP Class",
        section: "CC.2.4",
        table: "CC.2.4-1",
        well_known_instance: None,
        event_types: UNIFIED_PROCEDURE_STEP,
    },
    SopClass {
        uid: "1.2.840.10008.5.1.4.34.8",
        affected_uid: "1.2.840.10008.5.1.4.34.8",
        also_on: &[],
        name: "RT Conventional Machine Verification",
        section: "DD.3.2.5",
        table: "DD.3.2.5-1",
        well_known_instance: None,
        event_types: MACHINE_VERIFICATION,
    },
    SopClass {
        uid: "1.2.840.10008.5.1.4.34.9",
        affected_uid: "1.2.840.10008.5.1.4.34.9",
        also_on: &[],
        name: "RT Ion Machine Verification",
        section: "DD.3.2.5",
        table: "DD.3.2.5-1",
        well_known_instance: None,
        event_types: MACHINE_VERIFICATION,
    },
];

const PERFORMED_PROCEDURE_STEP: &[EventType] = &[
    event_type(1, "Performed Procedure Step In Progress", &[]),
    event_type(2, "Performed Procedure Step Completed", &[]),
    event_type(3, "Performed Procedure Step Discontinued", &[]),
    event_type(4, "Performed Procedure Step Updated", &[]),
    event_type(5, "Performed Procedure Step Deleted", &[]),
];

const PRINT_JOB: &[EventType] = &[
    event_type(1, "Pending", PRINT_JOB_ATTRIBUTES),
    event_type(2, "Printing", PRINT_JOB_ATTRIBUTES),
    event_type(3, "Done", PRINT_JOB_ATTRIBUTES),
    event_type(4, "Failure", PRINT_JOB_ATTRIBUTES),
];

const PRINT_JOB_ATTRIBUTES: &[Attribute] = &[
    attribute(0x2100, 0x0030, "ExecutionStatusInfo", "U/M"),
    attribute(0x2000, 0x0050, "FilmSessionLabel", "U/U"),
    attribute(0x2110, 0x0030, "PrinterName", "U/U"),
];

const PRINTER: &[EventType] = &[
    event_type(1, "Normal", &[]),
    event_type(2, "Warning", PRINTER_ATTRIBUTES),
    event_type(3, "Failure", PRINTER_ATTRIBUTES),
];

const PRINTER_ATTRIBUTES: &[Attribute] = &[
    attribute(0x2110, 0x0020, "PrinterStatusInfo", "U/M"),
    attribute(0x2000, 0x0040, "FilmDestination", "U/U"),
    attribute(0x2110, 0x0030, "PrinterName", "U/U"),
];

const STORAGE_COMMITMENT: &[EventType] = &[
    EventType {
        id: 1,
        name: "Storage Commitment Request Successful",
        attributes: &[
            TRANSACTION_UID,
            RETRIEVE_AE_TITLE,
            FILE_SET_ID,
            FILE_SET_UID,
            attribute(0x0008, 0x1199, "ReferencedSOPSequence", "-/1").items(COMMITTED),
        ],
        in_one_place: IN_ONE_PLACE,
    },
    EventType {
        id: 2,
        name: "Storage Commitment Request Complete - Failures Exist",
        attributes: &[
            TRANSACTION_UID,
            RETRIEVE_AE_TITLE,
            FILE_SET_ID,
            FILE_SET_UID,
            attribute(0x0008, 0x1199, "ReferencedSOPSequence", "-/1C")
                .when("an instance was committed")
                .items(COMMITTED),
            attribute(0x0008, 0x1198, "FailedSOPSequence", "-/1").items(FAILED),
        ],
        in_one_place: IN_ONE_PLACE,
    },
];

const COMMITTED: &[Attribute] = &[
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    RETRIEVE_AE_TITLE,
    FILE_SET_ID,
    FILE_SET_UID,
];

const FAILED: &[Attribute] = &[
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    attribute(0x0008, 0x1197, "FailureReason", "-/1"),
];

const TRANSACTION_UID: Attribute = attribute(0x0008, 0x1195, "TransactionUID", "-/1");
const RETRIEVE_AE_TITLE: Attribute = attribute(0x0008, 0x0054, "RetrieveAETitle", "-/3");
const FILE_SET_ID: Attribute = attribute(0x0088, 0x0130, "StorageMediaFileSetID", "-/3");
const FILE_SET_UID: Attribute = attribute(0x0088, 0x0140, "StorageMediaFileSetUID", "-/3");
const REFERENCED_SOP_CLASS_UID: Attribute =
    attribute(0x0008, 0x1150, "ReferencedSOPClassUID", "-/1");
const REFERENCED_SOP_INSTANCE_UID: Attribute =
    attribute(0x0008, 0x1155, "ReferencedSOPInstanceUID", "-/1");

const IN_ONE_PLACE: &[&str] =
    &["RetrieveAETitle", "StorageMediaFileSetID", "StorageMediaFileSetUID"];

const UNIFIED_PROCEDURE_STEP: &[EventType] = &[
    event_type(
        1,
        "UPS State Report",
        &[
            attribute(0x0074, 0x1000, "ProcedureStepState", "-/1"),
            attribute(0x0040, 0x4041, "InputReadinessState", "-/1"),
            attribute(0x0074, 0x1238, "ReasonForCancellation", "-/3"),
            attribute(0x0074, 0x100E, "ProcedureStepDiscontinuationReasonCodeSequence", "-/3")
                .items(CODE),
        ],
    ),
    event_type(
        2,
        "UPS Cancel Requested",
        &[
            attribute(0x0074, 0x1236, "RequestingAE", "-/1"),
            attribute(0x0074, 0x1238, "ReasonForCancellation", "-/1C").when(IN_REQUEST),
            attribute(0x0074, 0x100E, "ProcedureStepDiscontinuationReasonCodeSequence", "-/1C")
                .when(IN_REQUEST)
                .items(CODE),
            attribute(0x0074, 0x100A, "ContactURI", "-/1C").when(IN_REQUEST),
            attribute(0x0074, 0x100C, "ContactDisplayName", "-/1C").when(IN_REQUEST),
        ],
    ),
    event_type(
        3,
        "UPS Progress Report",
        &[attribute(0x0074, 0x1002, "ProcedureStepProgressInformationSequence", "-/1")
            .items(PROGRESS)],
    ),
    event_type(
        4,
        "SCP Status Change",
        &[
            attribute(0x0074, 0x1242, "SCPStatus", "-/1"),
            attribute(0x0074, 0x1244, "SubscriptionListStatus", "-/1"),
            attribute(0x0074, 0x1246, "UnifiedProcedureStepListStatus", "-/1"),
        ],
    ),
    event_type(
        5,
        "UPS Assigned",
        &[
            attribute(0x0040, 0x4025, "ScheduledStationNameCodeSequence", "-/1C")
                .when(IN_STEP)
                .items(CODE),
            attribute(0x0040, 0x4009, "HumanPerformerCodeSequence", "-/1C")
                .when(IN_STEP)
                .items(CODE),
            attribute(0x0040, 0x4036, "HumanPerformerOrganization", "-/1C").when(IN_STEP),
        ],
    ),
];

const IN_REQUEST: &str = "present in the N-ACTION that requested the cancellation";
const IN_STEP: &str = "the procedure step has a value for it";

const PROGRESS: &[Attribute] = &[
    attribute(0x0074, 0x1004, "ProcedureStepProgress", "-/3"),
    attribute(0x0074, 0x1006, "ProcedureStepProgressDescription", "-/3"),
    attribute(0x0074, 0x1007, "ProcedureStepProgressParametersSequence", "-/3"),
    attribute(0x0074, 0x1008, "ProcedureStepCommunicationsURISequence", "-/3")
        .items(COMMUNICATIONS),
];

const COMMUNICATIONS: &[Attribute] = &[
    attribute(0x0074, 0x100A, "ContactURI", "-/1"),
    attribute(0x0074, 0x100C, "ContactDisplayName", "-/3"),
];

/// A coded entry: the attributes that both PS3.4 Table 8-3b and PS3.3 8.8 have.
const CODE: &[Attribute] = &[
    attribute(0x0008, 0x0100, "CodeValue", "-/1C")
        .when("the code has at most 16 characters and is not a URN or URL"),
    attribute(0x0008, 0x0102, "CodingSchemeDesignator", "-/1C")
        .when("Code Value or Long Code Value is present"),
    attribute(0x0008, 0x0103, "CodingSchemeVersion", "-/1C")
        .when("the designator alone does not identify the code"),
    attribute(0x0008, 0x0104, "CodeMeaning", "-/1"),
    attribute(0x0008, 0x0119, "LongCodeValue", "-/1C")
        .when("Code Value is absent, and the code is not a URN or URL"),
];

const MACHINE_VERIFICATION: &[EventType] = &[
    event_type(1, "Pending", &[]),
    event_type(2, "Done", &[attribute(0x3008, 0x002C, "TreatmentVerificationStatus", "-/1")]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uid::is_conformant;

    fn all_attributes(attributes: &'static [Attribute]) -> Vec<&'static Attribute> {
        let nested = attributes.iter().flat_map(|attribute| all_attributes(attribute.items));
        attributes.iter().chain(nested).collect()
    }

    #[test]
    fn a_sop_class_is_found_by_both_uids() {
        for class in SOP_CLASSES {
            assert_eq!(sop_class(class.uid.as_bytes()), Some(class));
            assert_eq!(sop_class(class.affected_uid.as_bytes()), Some(class));
        }
        assert_eq!(sop_class(b"1.2.840.10008.1.1"), None);
        assert_eq!(sop_class(b""), None);
    }

    #[test]
    fn events_prefer_their_own_abstract_syntax() {
        let all = |affected| abstract_syntaxes(affected).collect::<Vec<_>>();
        assert_eq!(all("1.2.3"), ["1.2.3"]);
        let printer = "1.2.840.10008.5.1.1.16";
        assert_eq!(all(printer), [printer, "1.2.840.10008.5.1.1.9", "1.2.840.10008.5.1.1.18"]);
        let step = |last: &str| format!("1.2.840.10008.5.1.4.34.6.{last}");
        assert_eq!(all(&step("1")), ["1", "4", "3", "2", "5"].map(step));
        assert!(!can_be_sent_on(printer, &step("4")));
    }

    #[test]
    fn uids_and_ids_are_unique() {
        for (place, class) in SOP_CLASSES.iter().enumerate() {
            for uid in [class.uid, class.affected_uid] {
                assert!(is_conformant(uid.as_bytes()), "{uid}");
                let others = SOP_CLASSES.iter().skip(place + 1);
                assert!(others.clone().all(|other| other.uid != uid && other.affected_uid != uid));
            }
            assert!(class.event_types.windows(2).all(|pair| pair[0].id < pair[1].id));
            assert!(class.well_known_instance.is_none_or(|uid| is_conformant(uid.as_bytes())));
        }
    }

    #[test]
    fn every_usage_is_one_of_the_standards_and_conditions_go_with_1c() {
        for class in SOP_CLASSES {
            for event_type in class.event_types {
                for attribute in all_attributes(event_type.attributes) {
                    let of_scu = attribute.usage.split('/').next().unwrap();
                    assert!(["-", "U"].contains(&of_scu), "{}", attribute.keyword);
                    assert!(["1", "1C", "3", "M", "U"].contains(&attribute.sender()));
                    let conditional = attribute.sender() == "1C";
                    assert_eq!(attribute.condition.is_some(), conditional, "{}", attribute.keyword);
                }
            }
        }
    }

    #[test]
    fn the_usage_of_the_scp_follows_the_slash() {
        let must = |class: &[u8], id: u16| -> Vec<&str> {
            let event_type = sop_class(class).unwrap().event_type(id).unwrap();
            let mandatory = event_type.attributes.iter().filter(|one| one.is_mandatory());
            mandatory.map(|attribute| attribute.keyword).collect()
        };
        assert_eq!(must(b"1.2.840.10008.1.20.1", 2), ["TransactionUID", "FailedSOPSequence"]);
        assert_eq!(must(b"1.2.840.10008.5.1.1.16", 3), ["PrinterStatusInfo"]);
        assert!(must(b"1.2.840.10008.5.1.4.34.6.1", 5).is_empty());
    }
}
