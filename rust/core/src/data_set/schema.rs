//! The attributes of data sets, given by an Arrow type or found in the data sets.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use dicom_core::{Tag, VR};

use crate::data_set::header::DEEPEST;
use crate::schema_error::SchemaError;
use crate::standard::attribute::Attribute;
use crate::standard::vr::{Content, content};

/// The attributes of data sets, or of the items of a sequence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataSetSchema {
    /// The attributes by tag, and by VR if data sets have different ones.
    pub attributes: BTreeMap<(Tag, &'static str), KnownAttribute>,
}

/// An attribute of a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownAttribute {
    /// The attribute.
    pub attribute: Attribute,
    /// Whether it has a list of values.
    pub several: bool,
    /// The attributes of its items.
    pub items: Option<DataSetSchema>,
}

impl DataSetSchema {
    /// The schema of a struct with these fields at `path`.
    pub fn from_fields(fields: &Fields, path: &str) -> Result<Self, SchemaError> {
        Self::inside(fields, path, 0)
    }

    /// The schema at a depth of `sequences` nested sequences.
    fn inside(fields: &Fields, path: &str, sequences: usize) -> Result<Self, SchemaError> {
        check_depth(path, sequences)?;
        let mut schema = Self::default();
        for field in fields {
            let path = format!("{path}.{}", field.name());
            let attribute = attribute(field, &path)?;
            let (known, _) = schema.add(attribute);
            known.several = false;
            if let Some(values) = list_of(field.data_type()) {
                known.several = true;
                if let DataType::Struct(fields) = values.data_type() {
                    known.items = Some(Self::inside(fields, &path, sequences + 1)?);
                }
            }
            let is_sequence = content(known.attribute.vr) == Content::Sequence;
            if is_sequence != known.items.is_some() {
                let accepted = if is_sequence { "a list of structs" } else { "a value" };
                return Err(SchemaError::VrType {
                    path,
                    found: field.data_type().clone(),
                    vr: known.attribute.vr.to_string(),
                    accepted,
                });
            }
        }
        Ok(schema)
    }

    /// Finds or adds an attribute. Returns it, and whether it was there.
    pub fn add(&mut self, attribute: Attribute) -> (&mut KnownAttribute, bool) {
        match self.attributes.entry((attribute.tag, attribute.vr.to_string())) {
            Entry::Occupied(known) => (known.into_mut(), true),
            Entry::Vacant(place) => {
                let is_sequence = attribute.vr == VR::SQ;
                let items = is_sequence.then(Self::default);
                (place.insert(KnownAttribute { items, several: is_sequence, attribute }), false)
            }
        }
    }

    /// The Arrow fields of the struct.
    pub fn fields(&self) -> Fields {
        self.attributes.values().map(KnownAttribute::field).collect()
    }
}

impl KnownAttribute {
    fn field(&self) -> Field {
        let value = match &self.items {
            Some(items) => DataType::Struct(items.fields()),
            None => value_type(self.attribute.vr),
        };
        let data_type = match self.several {
            true => DataType::List(Arc::new(Field::new_list_field(value, true))),
            false => value,
        };
        Field::new(&*self.attribute.name, data_type, true)
    }
}

fn list_of(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(values)
        | DataType::LargeList(values)
        | DataType::ListView(values)
        | DataType::LargeListView(values)
        | DataType::FixedSizeList(values, _) => Some(values),
        _ => None,
    }
}

/// The Arrow type of a value of a VR. Some engines do not have unsigned integers: US and UL are the
/// next larger signed type. UV has none.
pub fn value_type(vr: VR) -> DataType {
    match vr {
        VR::US => DataType::Int32,
        VR::SS => DataType::Int16,
        VR::UL => DataType::Int64,
        VR::SL => DataType::Int32,
        VR::UV => DataType::UInt64,
        VR::SV => DataType::Int64,
        VR::FL => DataType::Float32,
        VR::FD => DataType::Float64,
        vr => match content(vr) {
            Content::Bytes(_) => DataType::LargeBinary,
            _ => DataType::LargeUtf8,
        },
    }
}

/// Checks the depth of nested sequences.
pub fn check_depth(path: &str, sequences: usize) -> Result<(), SchemaError> {
    match sequences > DEEPEST {
        true => Err(SchemaError::TooDeep { path: path.to_owned(), most: DEEPEST }),
        false => Ok(()),
    }
}

/// The attribute that an Arrow field names.
pub fn attribute(field: &arrow_schema::Field, path: &str) -> Result<Attribute, SchemaError> {
    // A field may have its VR in its metadata, so that its name stays plain.
    let name = match field.metadata().get("vr") {
        Some(vr) if !field.name().contains(':') => format!("{}:{vr}", field.name()),
        _ => field.name().clone(),
    };
    Attribute::from_name(&name).map_err(|why| SchemaError::Attribute { path: path.to_owned(), why })
}
