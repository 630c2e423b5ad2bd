//! Columns of attributes: an Arrow struct with attributes as fields, lists of structs for
//! sequences, and lists of values for several values.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use dicom_core::VR;

use crate::columns::bytes::ByteColumn;
use crate::columns::integers::IntegerColumn;
use crate::data_set::header::HeaderForm;
use crate::data_set::schema::{attribute, check_depth};
use crate::schema_error::SchemaError;
use crate::standard::attribute::{Attribute, SPECIFIC_CHARACTER_SET};
use crate::standard::vr::{Content, content};

/// The attributes of data sets, in tag order.
#[derive(Debug)]
pub struct DataSetColumns {
    /// The number of data sets or items.
    pub rows: usize,
    nulls: Option<NullBuffer>,
    /// The attributes.
    pub elements: Vec<ElementColumn>,
    /// Whether Specific Character Set is one of the attributes.
    pub may_give_character_set: bool,
}

/// One attribute of all data sets.
#[derive(Debug)]
pub struct ElementColumn {
    /// The attribute.
    pub attribute: Attribute,
    /// The values.
    pub values: ElementValues,
    /// The header bits of the elements; see [`HeaderForm`].
    pub beginning: u64,
    /// The run of UID attributes that begins here.
    pub uids: Option<UidRun>,
}

/// Consecutive attributes with UID values.
#[derive(Debug, Clone, Copy)]
pub struct UidRun {
    /// The index of the run, counting those in items.
    pub number: usize,
    /// The number of attributes.
    pub length: usize,
}

/// The values of an attribute.
#[derive(Debug)]
pub enum ElementValues {
    /// Every row is null.
    Null,
    /// Text, one value per row.
    Text(ByteColumn),
    /// UIDs, one per row: the most frequent values.
    Uids(ByteColumn),
    /// Bytes.
    Bytes(ByteColumn),
    /// An integer per row.
    Integers(IntegerColumn),
    /// A floating-point number per row.
    Floats(Floats),
    /// Several values per row.
    Several(Lists, Box<ElementValues>),
    /// Items per row.
    Items(Lists, Box<DataSetColumns>),
}

/// Floating-point numbers of either width.
#[derive(Debug)]
pub enum Floats {
    /// 32 bits.
    Single(PrimitiveArray<Float32Type>),
    /// 64 bits.
    Double(PrimitiveArray<Float64Type>),
}

impl Floats {
    /// The number of a row; `None` for null.
    pub fn get(&self, row: usize) -> Option<f64> {
        match self {
            Self::Single(array) => array.is_valid(row).then(|| array.value(row).into()),
            Self::Double(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

/// The ranges of values that belong to each row.
#[derive(Debug)]
pub struct Lists {
    /// The number of values of all rows.
    pub values: usize,
    nulls: Option<NullBuffer>,
    /// The offset of the first value.
    base: usize,
    offsets: Offsets,
}

#[derive(Debug)]
enum Offsets {
    Small(OffsetBuffer<i32>),
    Large(OffsetBuffer<i64>),
    /// Lists of fixed length.
    Fixed(usize),
}

impl Lists {
    fn new(nulls: Option<&NullBuffer>, offsets: Offsets, rows: usize) -> Self {
        let (base, end) = match &offsets {
            Offsets::Small(offsets) => (offsets[0] as usize, offsets[rows] as usize),
            Offsets::Large(offsets) => (offsets[0] as usize, offsets[rows] as usize),
            Offsets::Fixed(length) => (0, rows * length),
        };
        Self { values: end - base, nulls: nulls.cloned(), base, offsets }
    }

    /// The values of a row; `None` for null.
    #[inline(always)]
    pub fn range(&self, row: usize) -> Option<Range<usize>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let (start, end) = match &self.offsets {
            Offsets::Small(offsets) => (offsets[row] as usize, offsets[row + 1] as usize),
            Offsets::Large(offsets) => (offsets[row] as usize, offsets[row + 1] as usize),
            Offsets::Fixed(length) => (row * length, (row + 1) * length),
        };
        Some(start - self.base..end - self.base)
    }
}

impl DataSetColumns {
    /// The attributes by field name; `path` is the path of the struct.
    pub fn new(array: &StructArray, path: &str) -> Result<Self, SchemaError> {
        Self::inside(array, path, 0)
    }

    /// The attributes at a depth of `sequences` nested sequences.
    fn inside(array: &StructArray, path: &str, sequences: usize) -> Result<Self, SchemaError> {
        check_depth(path, sequences)?;
        let mut elements = Vec::with_capacity(array.num_columns());
        for (field, values) in array.fields().iter().zip(array.columns()) {
            let path = format!("{path}.{}", field.name());
            let attribute = attribute(field, &path)?;
            let values = ElementValues::new(attribute.vr, values, &path, sequences + 1)?;
            let beginning = HeaderForm::beginning(attribute.tag, attribute.vr);
            elements.push(ElementColumn { attribute, values, beginning, uids: None });
        }
        elements.sort_by_key(|element| element.attribute.tag);
        let twice = elements.windows(2).find(|pair| pair[0].attribute.tag == pair[1].attribute.tag);
        match twice {
            Some(pair) => {
                let name = format!("{path}.{}", pair[1].attribute.name);
                Err(SchemaError::Twice(name))
            }
            None => {
                let is_it = |of: &ElementColumn| of.attribute.tag == SPECIFIC_CHARACTER_SET;
                let may_give_character_set = elements.iter().any(is_it);
                let (rows, nulls) = (array.len(), array.nulls().cloned());
                let mut all = Self { rows, nulls, elements, may_give_character_set };
                all.number_uids(0);
                Ok(all)
            }
        }
    }

    /// Numbers the runs of UIDs, beginning with `next`, and returns the next number.
    fn number_uids(&mut self, next: usize) -> usize {
        let are_uids = |one: &ElementColumn| matches!(one.values, ElementValues::Uids(_));
        let runs = self.elements.chunk_by_mut(|one, other| are_uids(one) && are_uids(other));
        runs.fold(next, |number, run| match &mut run[0].values {
            ElementValues::Uids(_) => {
                run[0].uids = Some(UidRun { number, length: run.len() });
                number + 1
            }
            ElementValues::Items(_, items) => items.number_uids(number),
            _ => number,
        })
    }

    /// The UID column, if every row has exactly one UID and nothing else.
    #[inline]
    pub fn nothing_but_uids(&self) -> Option<UidRun> {
        let run = self.elements.first()?.uids?;
        (run.length == self.elements.len() && self.nulls.is_none()).then_some(run)
    }

    /// The null buffer of the data sets.
    pub fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    /// Whether a row has no data set.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

impl ElementValues {
    /// `sequences` is the depth of nested sequences.
    fn new(vr: VR, array: &ArrayRef, path: &str, sequences: usize) -> Result<Self, SchemaError> {
        if let Some((lists, values)) = lists(array) {
            return match (content(vr), values.as_struct_opt()) {
                (Content::Sequence, Some(items)) => {
                    Ok(Self::Items(lists, DataSetColumns::inside(items, path, sequences)?.into()))
                }
                // Lists that are empty in every row do not show the type of their items.
                (Content::Sequence, None) if values.data_type() == &DataType::Null => {
                    let items = StructArray::new_empty_fields(values.len(), None);
                    Ok(Self::Items(lists, DataSetColumns::inside(&items, path, sequences)?.into()))
                }
                (Content::Sequence, None) => Err(wrong_type(vr, array, path)),
                _ => Ok(Self::Several(lists, Self::of_one(vr, &values, path)?.into())),
            };
        }
        Self::of_one(vr, array, path)
    }

    fn of_one(vr: VR, array: &ArrayRef, path: &str) -> Result<Self, SchemaError> {
        let text = || ByteColumn::text(array).ok().map(Self::Text);
        let uids = || ByteColumn::text(array).ok().map(Self::Uids);
        let bytes = || ByteColumn::binary(array).ok().map(Self::Bytes);
        let integers = || IntegerColumn::new(array).ok().map(Self::Integers);
        let floats = || {
            let single = || array.as_primitive_opt().cloned().map(Floats::Single);
            let double = || array.as_primitive_opt().cloned().map(Floats::Double);
            single().or_else(double).map(Self::Floats)
        };
        match content(vr) {
            _ if array.data_type() == &DataType::Null => Some(Self::Null),
            Content::Text { .. } if vr == VR::IS => text().or_else(integers),
            Content::Text { .. } if vr == VR::DS => text().or_else(integers).or_else(floats),
            Content::Text { .. } if vr == VR::UI => uids(),
            Content::Text { .. } => text(),
            Content::Numbers(_) if matches!(vr, VR::FL | VR::FD) => floats().or_else(integers),
            Content::Numbers(_) => integers(),
            Content::Tags => text().or_else(integers),
            Content::Bytes(_) => bytes(),
            Content::Sequence => None,
        }
        .ok_or_else(|| wrong_type(vr, array, path))
    }
}

/// The lists of a list array, and the values they use.
fn lists(array: &ArrayRef) -> Option<(Lists, ArrayRef)> {
    let (offsets, values) = if let Some(array) = array.as_list_opt::<i32>() {
        (Offsets::Small(array.offsets().clone()), array.values())
    } else if let Some(array) = array.as_list_opt::<i64>() {
        (Offsets::Large(array.offsets().clone()), array.values())
    } else {
        let array = array.as_fixed_size_list_opt()?;
        (Offsets::Fixed(array.value_length() as usize), array.values())
    };
    let lists = Lists::new(array.nulls(), offsets, array.len());
    let values = values.slice(lists.base, lists.values);
    Some((lists, values))
}

fn wrong_type(vr: VR, array: &ArrayRef, path: &str) -> SchemaError {
    let accepted = match content(vr) {
        Content::Text { .. } if vr == VR::IS => "strings or integers",
        Content::Text { .. } if vr == VR::DS => "strings or numbers",
        Content::Text { .. } => "strings",
        Content::Numbers(_) if matches!(vr, VR::FL | VR::FD) => "numbers",
        Content::Numbers(_) => "integers",
        Content::Tags => "strings \"ggggeeee\" or integers",
        Content::Bytes(_) => "a binary type",
        Content::Sequence => "a list of structs",
    };
    SchemaError::VrType {
        path: path.to_owned(),
        found: array.data_type().clone(),
        vr: vr.to_string(),
        accepted,
    }
}
