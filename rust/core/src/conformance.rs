//! Checks events against the standard ([`sop_classes`](crate::standard::sop_classes)): the event
//! type, the well-known instance, and the attributes that the SCP must send.
//!
//! Events of other SOP Classes and data sets given as bytes are not checked.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_schema::DataType;
use dicom_core::Tag;

use crate::columns::bytes::ByteColumn;
use crate::event_columns::EventColumns;
use crate::excerpt::excerpt;
use crate::field::{Field, Kind};
use crate::standard::attribute::tag_of;
use crate::standard::sop_classes::{Attribute, EventType, SopClass, sop_class};

/// A deviation from the standard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Deviation {
    /// An Event Type ID that the SOP Class does not define.
    #[error(
        "{} has no event type {found} (PS3.4 Table {}): {}",
        class.name, class.table, event_types(class)
    )]
    EventType {
        /// The SOP Class.
        class: &'static SopClass,
        /// The Event Type ID.
        found: u16,
    },
    /// A SOP Instance other than the well-known one.
    #[error(
        "'{found}' is not the well-known SOP Instance of {} (PS3.4 {}): {}",
        class.name, class.section, class.well_known_instance.unwrap_or_default()
    )]
    SopInstance {
        /// The SOP Class.
        class: &'static SopClass,
        /// The Affected SOP Instance UID.
        found: Box<str>,
    },
    /// A required attribute that is missing or empty.
    #[error(
        "of type {} in an event '{}' (PS3.4 Table {}), but it {}",
        attribute.usage, event.name(), event.class.table,
        if *empty { "has no value" } else { "is missing" }
    )]
    Attribute {
        /// The event.
        event: EventDefinition,
        /// The attribute.
        attribute: &'static Attribute,
        /// Its path.
        path: Box<str>,
        /// Whether it is present without a value.
        empty: bool,
    },
    /// An attribute that is present both at the top and in an item.
    #[error("it is also at the top of the data set, for all items (PS3.4 {})", class.section)]
    InTwoPlaces {
        /// The SOP Class.
        class: &'static SopClass,
        /// Its other path.
        path: Box<str>,
    },
}

fn event_types(class: &SopClass) -> String {
    let event_types = class.event_types.iter();
    let named = event_types.map(|event_type| format!("{} {}", event_type.id, event_type.name));
    named.collect::<Vec<_>>().join(", ")
}

impl Deviation {
    /// A stable short name of the deviation.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EventType { .. } => "event-type",
            Self::SopInstance { .. } => "sop-instance",
            Self::Attribute { .. } | Self::InTwoPlaces { .. } => "attribute",
        }
    }

    /// The path: a field, or a path inside a data set.
    pub fn path(&self) -> &str {
        match self {
            Self::EventType { .. } => Field::EventTypeID.keyword(),
            Self::SopInstance { .. } => Field::AffectedSOPInstanceUID.keyword(),
            Self::Attribute { path, .. } | Self::InTwoPlaces { path, .. } => path,
        }
    }
}

/// A type of event of a SOP Class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventDefinition {
    /// The SOP Class.
    pub class: &'static SopClass,
    /// The type of the event.
    pub event_type: &'static EventType,
}

impl EventDefinition {
    /// Finds the type of an event; `None` for a SOP Class outside the table.
    pub fn find(class: &[u8], event_type_id: u16) -> Option<Result<Self, Deviation>> {
        let class = sop_class(class)?;
        Some(match class.event_type(event_type_id) {
            Some(event_type) => Ok(Self { class, event_type }),
            None => Err(Deviation::EventType { class, found: event_type_id }),
        })
    }

    /// The name.
    pub fn name(self) -> &'static str {
        self.event_type.name
    }

    /// Checks that the event information has all attributes that the SCP must send.
    ///
    /// # Errors
    ///
    /// The first attribute that is missing, empty or in two places.
    pub fn check<A: Attributes>(self, information: &A) -> Result<(), Deviation> {
        let path = Path { above: None, keyword: Field::EventInformation.keyword(), item: None };
        self.check_attributes(self.event_type.attributes, information, path)?;
        let mut twice = self.event_type.in_one_place.iter().filter(|keyword| {
            self.event_type.attributes.iter().any(|attribute| {
                attribute.keyword == **keyword && information.values(attribute).is_some()
            })
        });
        twice.try_for_each(|keyword| self.check_items_have_no(keyword, information, path))
    }

    fn check_attributes<A: Attributes>(
        self,
        attributes: &'static [Attribute],
        found: &A,
        path: Path<'_>,
    ) -> Result<(), Deviation> {
        let mut with_rules = attributes.iter().filter(|attribute| {
            attribute.is_mandatory() || attribute.needs_value() || !attribute.items.is_empty()
        });
        with_rules.try_for_each(|attribute| {
            let path = path.then(attribute.keyword);
            let missing = |empty| Deviation::Attribute {
                event: self,
                attribute,
                path: path.to_string().into(),
                empty,
            };
            match found.values(attribute) {
                None if attribute.is_mandatory() => Err(missing(false)),
                Some(0) if attribute.needs_value() => Err(missing(true)),
                Some(items) if !attribute.items.is_empty() => (0..items).try_for_each(|item| {
                    let of_item = found.item(attribute, item);
                    self.check_attributes(attribute.items, &of_item, path.item(item))
                }),
                _ => Ok(()),
            }
        })
    }

    fn check_items_have_no<A: Attributes>(
        self,
        keyword: &str,
        information: &A,
        path: Path<'_>,
    ) -> Result<(), Deviation> {
        for sequence in self.event_type.attributes {
            let Some(attribute) = sequence.items.iter().find(|one| one.keyword == keyword) else {
                continue;
            };
            for item in 0..information.values(sequence).unwrap_or(0) {
                if information.item(sequence, item).values(attribute).is_some() {
                    let path = path.then(sequence.keyword);
                    let path = path.item(item).then(attribute.keyword).to_string().into();
                    return Err(Deviation::InTwoPlaces { class: self.class, path });
                }
            }
        }
        Ok(())
    }
}

/// The path of an attribute.
#[derive(Clone, Copy)]
struct Path<'a> {
    above: Option<&'a Path<'a>>,
    keyword: &'static str,
    item: Option<usize>,
}

impl<'a> Path<'a> {
    fn then<'b>(&'b self, keyword: &'static str) -> Path<'b>
    where
        'a: 'b,
    {
        Path { above: Some(self), keyword, item: None }
    }

    fn item(self, item: usize) -> Self {
        Self { item: Some(item), ..self }
    }
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}.")?;
        }
        f.write_str(self.keyword)?;
        match self.item {
            Some(item) => write!(f, "[{item}]"),
            None => Ok(()),
        }
    }
}

/// Access to the attributes of a data set or of an item.
pub trait Attributes {
    /// The number of values or items of an attribute: `None` if it is missing, 0 if it is empty.
    fn values(&self, attribute: &Attribute) -> Option<usize>;

    /// An item of a sequence, counted from 0.
    fn item(&self, sequence: &Attribute, item: usize) -> Self;
}

/// A row of a struct with attributes as fields, by keyword or tag; or no data set.
#[derive(Debug, Clone, Copy)]
pub struct StructRow<'a>(Option<(&'a StructArray, usize)>);

impl<'a> StructRow<'a> {
    /// The data set of a row.
    pub fn new(array: &'a StructArray, row: usize) -> Self {
        Self(array.is_valid(row).then_some((array, row)))
    }

    /// No data set.
    pub const NONE: Self = Self(None);

    fn column(self, attribute: &Attribute) -> Option<(&'a ArrayRef, usize)> {
        let (array, row) = self.0?;
        let (group, element) = attribute.tag;
        let is_it = |name: &str| {
            // A colon and a VR may follow the tag.
            let tag = || tag_of(name.split(':').next().unwrap_or_default());
            name == attribute.keyword || tag() == Some(Tag(group, element))
        };
        let place = array.fields().iter().position(|field| is_it(field.name()))?;
        let column = array.column(place);
        (!column.is_null(row) && column.data_type() != &DataType::Null).then_some((column, row))
    }
}

impl Attributes for StructRow<'_> {
    fn values(&self, attribute: &Attribute) -> Option<usize> {
        let (column, row) = self.column(attribute)?;
        Some(match list(column, row) {
            Some((_, _, length)) => length,
            None => usize::from(!is_empty_text(column, row)),
        })
    }

    fn item(&self, sequence: &Attribute, item: usize) -> Self {
        let found = self.column(sequence).and_then(|(column, row)| {
            let (values, first, _) = list(column, row)?;
            Some(Self::new(values.as_struct_opt()?, first + item))
        });
        found.unwrap_or(Self::NONE)
    }
}

/// The values of a row of a list array: the array, the first value and the number of values.
fn list(array: &ArrayRef, row: usize) -> Option<(&ArrayRef, usize, usize)> {
    if let Some(lists) = array.as_list_opt::<i32>() {
        let offsets = lists.value_offsets();
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        return Some((lists.values(), start, end - start));
    }
    if let Some(lists) = array.as_list_opt::<i64>() {
        let offsets = lists.value_offsets();
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        return Some((lists.values(), start, end - start));
    }
    let lists = array.as_fixed_size_list_opt()?;
    let length = lists.value_length() as usize;
    Some((lists.values(), lists.value_offset(row) as usize, length))
}

fn is_empty_text(array: &ArrayRef, row: usize) -> bool {
    // As bytes: the text of a table need not be UTF-8.
    ByteColumn::text(array).is_ok_and(|texts| texts.get(row).is_some_and(<[u8]>::is_empty))
}

/// The event information of a table.
#[derive(Debug, Clone, Copy)]
pub enum Information<'a> {
    /// Structs of attributes.
    Structured(&'a StructArray),
    /// Bytes, of which only the presence is checked; or no column.
    Encoded,
}

impl<'a> Information<'a> {
    /// The event information of a column.
    pub fn new(column: Option<&'a ArrayRef>) -> Self {
        column.and_then(|column| column.as_struct_opt()).map_or(Self::Encoded, Self::Structured)
    }
}

/// Checks a valid row against the standard.
///
/// # Errors
///
/// The first deviation.
pub fn check_row(
    columns: &EventColumns,
    row: usize,
    information: Information<'_>,
) -> Result<(), Deviation> {
    let kind = match columns.integer(Field::MessageIDBeingRespondedTo, row) {
        Some(_) => Kind::Response,
        None => Kind::Request,
    };
    let Some(class) = columns.bytes(Field::AffectedSOPClassUID, row) else { return Ok(()) };
    if let Some(instance) = columns.bytes(Field::AffectedSOPInstanceUID, row) {
        check_instance(class, instance)?;
    }
    let Some(id) = columns.integer(Field::EventTypeID, row) else { return Ok(()) };
    let found = u16::try_from(id).ok().and_then(|id| EventDefinition::find(class, id));
    let Some(event) = found.transpose()? else { return Ok(()) };
    let row_of_struct = match information {
        _ if kind == Kind::Response => return Ok(()),
        Information::Structured(array) => StructRow::new(array, row),
        Information::Encoded => {
            let bytes = columns.bytes(Field::EventInformation, row);
            if bytes.is_some_and(|bytes| !bytes.is_empty()) {
                return Ok(());
            }
            StructRow::NONE
        }
    };
    event.check(&row_of_struct)
}

/// Checks the well-known SOP Instance, if the SOP Class has one.
pub fn check_instance(class: &[u8], instance: &[u8]) -> Result<(), Deviation> {
    match sop_class(class) {
        Some(class) if class.well_known_instance.is_some_and(|uid| uid.as_bytes() != instance) => {
            Err(Deviation::SopInstance { class, found: excerpt(instance) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BinaryArray, Int64Array, ListArray, RecordBatch, StringArray, UInt16Array};
    use arrow_buffer::{NullBuffer, OffsetBuffer};
    use arrow_schema::{Field as Column, Fields};

    use super::*;

    const CLASS: &str = "1.2.840.10008.1.20.1";
    const INSTANCE: &str = "1.2.840.10008.1.20.1.1";

    fn structs(columns: Vec<(&str, ArrayRef)>) -> StructArray {
        let fields: Fields = columns
            .iter()
            .map(|(name, array)| Column::new(*name, array.data_type().clone(), true))
            .collect();
        StructArray::new(fields, columns.into_iter().map(|(_, array)| array).collect(), None)
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    /// Lists with these numbers of items; `None` for null.
    fn lists(lengths: &[Option<usize>], items: StructArray) -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(lengths.iter().map(|length| length.unwrap_or(0)));
        let nulls: NullBuffer = lengths.iter().map(Option::is_some).collect::<Vec<_>>().into();
        let item = Arc::new(Column::new("item", items.data_type().clone(), true));
        Arc::new(ListArray::new(item, offsets, Arc::new(items), Some(nulls)))
    }

    fn failed(reasons: Vec<Option<u16>>) -> StructArray {
        let uids = vec![Some("1.2"); reasons.len()];
        structs(vec![
            ("ReferencedSOPClassUID", texts(&uids)),
            // A name may be a tag.
            ("00081155", texts(&uids)),
            ("FailureReason", Arc::new(UInt16Array::from(reasons))),
        ])
    }

    fn event(id: u16) -> EventDefinition {
        EventDefinition::find(CLASS.as_bytes(), id).unwrap().unwrap()
    }

    #[test]
    fn required_attributes_are_checked() {
        let information = structs(vec![
            ("TransactionUID", texts(&[Some("1.2"), None, Some(""), Some("1.2"), Some("1.2")])),
            (
                "FailedSOPSequence",
                lists(
                    &[Some(2), Some(1), Some(1), Some(0), None],
                    failed(vec![Some(0x0112), Some(0x0110), Some(0), Some(0)]),
                ),
            ),
        ]);
        let check = |row| event(2).check(&StructRow::new(&information, row));
        assert_eq!(check(0), Ok(()));
        for (row, path, text) in [
            (1, "EventInformation.TransactionUID", "is missing"),
            (2, "EventInformation.TransactionUID", "has no value"),
            (3, "EventInformation.FailedSOPSequence", "has no value"),
            (4, "EventInformation.FailedSOPSequence", "is missing"),
        ] {
            let deviation = check(row).unwrap_err();
            assert_eq!((deviation.path(), deviation.code()), (path, "attribute"));
            assert!(deviation.to_string().ends_with(text), "{deviation}");
            assert!(deviation.to_string().contains("type -/1 "), "{deviation}");
        }
    }

    #[test]
    fn an_item_is_reported_by_index() {
        let items = failed(vec![Some(0x0112), Some(0x0110), None]);
        let information = structs(vec![
            ("TransactionUID", texts(&[Some("1.2"), Some("1.3")])),
            ("FailedSOPSequence", lists(&[Some(1), Some(2)], items)),
        ]);
        let deviation = event(2).check(&StructRow::new(&information, 1)).unwrap_err();
        assert_eq!(deviation.path(), "EventInformation.FailedSOPSequence[1].FailureReason");
        // A slice has another offset.
        let slice = information.slice(1, 1);
        assert_eq!(event(2).check(&StructRow::new(&slice, 0)), Err(deviation));
    }

    #[test]
    fn an_attribute_is_at_the_top_or_in_an_item() {
        let uids = [Some("1.2"), Some("1.3")];
        let references = structs(vec![
            ("ReferencedSOPClassUID", texts(&uids)),
            ("ReferencedSOPInstanceUID", texts(&uids)),
            ("RetrieveAETitle", texts(&[None, Some("PACS")])),
        ]);
        let information = |at_top| {
            structs(vec![
                ("TransactionUID", texts(&[Some("1.2")])),
                ("RetrieveAETitle", texts(&[at_top])),
                ("ReferencedSOPSequence", lists(&[Some(2)], references.clone())),
            ])
        };
        assert_eq!(event(1).check(&StructRow::new(&information(None), 0)), Ok(()));
        let deviation = event(1).check(&StructRow::new(&information(Some("PACS")), 0)).unwrap_err();
        assert_eq!(deviation.path(), "EventInformation.ReferencedSOPSequence[1].RetrieveAETitle");
    }

    fn check(columns: Vec<(&str, ArrayRef)>) -> Vec<Option<(&'static str, String)>> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let columns = EventColumns::new(&batch).unwrap();
        let information = Information::new(batch.column_by_name("EventInformation"));
        (0..columns.rows)
            .map(|row| check_row(&columns, row, information).err())
            .map(|found| found.map(|one| (one.code(), one.path().to_owned())))
            .collect()
    }

    #[test]
    fn rows_are_checked_against_the_table() {
        let found = check(vec![
            ("AffectedSOPClassUID", texts(&[Some(CLASS), Some(CLASS), Some(CLASS), Some("1.2.3")])),
            (
                "AffectedSOPInstanceUID",
                texts(&[Some(INSTANCE), Some(INSTANCE), Some("1.2.3"), Some("1.2.3")]),
            ),
            ("EventTypeID", Arc::new(Int64Array::from(vec![1, 3, 1, 9]))),
            ("EventInformation", Arc::new(BinaryArray::from(vec![Some(&b"?"[..]); 4]))),
        ]);
        let named = |code, path: &str| Some((code, path.to_owned()));
        assert_eq!(
            found,
            [
                None,
                named("event-type", "EventTypeID"),
                named("sop-instance", "AffectedSOPInstanceUID"),
                None
            ]
        );
    }

    #[test]
    fn no_data_set_has_no_attribute() {
        let found = check(vec![
            ("AffectedSOPClassUID", texts(&[Some(CLASS); 3])),
            ("AffectedSOPInstanceUID", texts(&[Some(INSTANCE); 3])),
            ("EventTypeID", Arc::new(Int64Array::from(vec![1; 3]))),
            (
                "EventInformation",
                Arc::new(BinaryArray::from(vec![None, Some(&b""[..]), Some(b"?")])),
            ),
        ]);
        let missing = Some(("attribute", "EventInformation.TransactionUID".to_owned()));
        assert_eq!(found, [missing.clone(), missing, None]);
    }

    #[test]
    fn a_response_needs_no_event_information() {
        let found = check(vec![
            ("MessageIDBeingRespondedTo", Arc::new(Int64Array::from(vec![1, 1]))),
            ("AffectedSOPClassUID", texts(&[Some(CLASS); 2])),
            ("EventTypeID", Arc::new(Int64Array::from(vec![1, 7]))),
            ("Status", Arc::new(Int64Array::from(vec![0, 0]))),
        ]);
        assert_eq!(found, [None, Some(("event-type", "EventTypeID".to_owned()))]);
    }

    #[test]
    fn an_empty_column_is_missing() {
        let nothing: ArrayRef = arrow_array::new_null_array(&DataType::Null, 1);
        let information = structs(vec![("TransactionUID", nothing)]);
        let deviation = event(1).check(&StructRow::new(&information, 0)).unwrap_err();
        assert_eq!(deviation.path(), "EventInformation.TransactionUID");
    }
}
