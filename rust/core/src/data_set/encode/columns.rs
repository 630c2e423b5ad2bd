//! Data sets as columns: an Arrow struct whose fields are attributes, in lists of structs the items
//! of sequences, in lists of values the values of an element.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use dicom_core::VR;

use crate::columns::bytes::ByteColumn;
use crate::columns::integers::IntegerColumn;
pub use crate::data_set::header::DEEPEST;
use crate::data_set::header::HeaderForm;
use crate::data_set::schema::{attribute, check_depth};
use crate::schema_error::SchemaError;
use crate::standard::attribute::{Attribute, SPECIFIC_CHARACTER_SET};
use crate::standard::vr::{Content, content};

/// The attributes of data sets, in the order of their tags.
#[derive(Debug)]
pub struct DataSetColumns {
    /// How many data sets there are, or items.
    pub rows: usize,
    nulls: Option<NullBuffer>,
    /// Their attributes.
    pub elements: Vec<ElementColumn>,
    /// Whether Specific Character Set is one of them.
    pub may_give_character_set: bool,
}

/// An attribute of all data sets.
#[derive(Debug)]
pub struct ElementColumn {
    /// The attribute.
    pub attribute: Attribute,
    /// Its values.
    pub values: Values,
    /// The beginning of its elements' headers, as [`HeaderForm`] has it.
    pub beginning: u64,
    /// Where UIDs begin that stand side by side: those from here on.
    pub uids: Option<UidRun>,
}

/// Attributes side by side whose values are UIDs.
#[derive(Debug, Clone, Copy)]
pub struct UidRun {
    /// Its number among all runs, those in items too.
    pub number: usize,
    /// How many attributes they are.
    pub length: usize,
}

/// The values of an attribute.
#[derive(Debug)]
pub enum Values {
    /// None in any row.
    Null,
    /// Text, one value in a row.
    Text(ByteColumn),
    /// The same of UIDs, the most frequent of all.
    Uids(ByteColumn),
    /// Bytes.
    Bytes(ByteColumn),
    /// A whole number in a row.
    Integers(IntegerColumn),
    /// A number in a row.
    Floats(Floats),
    /// Several values in a row.
    Several(Lists, Box<Values>),
    /// Items in a row.
    Items(Lists, Box<DataSetColumns>),
}

/// Floating point numbers of either width.
#[derive(Debug)]
pub enum Floats {
    /// Of 32 bits.
    Single(PrimitiveArray<Float32Type>),
    /// Of 64 bits.
    Double(PrimitiveArray<Float64Type>),
}

impl Floats {
    /// The number in a row, `None` for null.
    pub fn get(&self, row: usize) -> Option<f64> {
        match self {
            Self::Single(array) => array.is_valid(row).then(|| array.value(row).into()),
            Self::Double(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

/// Where the values of each row lie among those of all rows.
#[derive(Debug)]
pub struct Lists {
    /// How many values there are in all rows.
    pub values: usize,
    nulls: Option<NullBuffer>,
    /// Where the first begins in the array that the offsets count in.
    base: usize,
    offsets: Offsets,
}

#[derive(Debug)]
enum Offsets {
    Small(OffsetBuffer<i32>),
    Large(OffsetBuffer<i64>),
    /// Lists of one length.
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

    /// The values of a row, `None` for null.
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
    /// The attributes by the names of the fields; `path` is where they stand.
    pub fn new(array: &StructArray, path: &str) -> Result<Self, SchemaError> {
        Self::inside(array, path, 0)
    }

    /// Those in so many sequences, one in another.
    fn inside(array: &StructArray, path: &str, sequences: usize) -> Result<Self, SchemaError> {
        check_depth(path, sequences)?;
        let mut elements = Vec::with_capacity(array.num_columns());
        for (field, values) in array.fields().iter().zip(array.columns()) {
            let path = format!("{path}.{}", field.name());
            let attribute = attribute(field, &path)?;
            let values = Values::new(attribute.vr, values, &path, sequences + 1)?;
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

    /// Numbers the runs of UIDs from `next` on, and returns the number after theirs.
    fn number_uids(&mut self, next: usize) -> usize {
        let are_uids = |one: &ElementColumn| matches!(one.values, Values::Uids(_));
        let runs = self.elements.chunk_by_mut(|one, other| are_uids(one) && are_uids(other));
        runs.fold(next, |number, run| match &mut run[0].values {
            Values::Uids(_) => {
                run[0].uids = Some(UidRun { number, length: run.len() });
                number + 1
            }
            Values::Items(_, items) => items.number_uids(number),
            _ => number,
        })
    }

    /// The UIDs, where no row has anything else and none is null.
    #[inline]
    pub fn nothing_but_uids(&self) -> Option<UidRun> {
        let run = self.elements.first()?.uids?;
        (run.length == self.elements.len() && self.nulls.is_none()).then_some(run)
    }

    /// The rows in which there is none.
    pub fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    /// Whether there is no data set in a row.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

impl Values {
    /// Items are in so many `sequences`, one in another.
    fn new(vr: VR, array: &ArrayRef, path: &str, sequences: usize) -> Result<Self, SchemaError> {
        if let Some((lists, values)) = lists(array) {
            return match (content(vr), values.as_struct_opt()) {
                (Content::Sequence, Some(items)) => {
                    Ok(Self::Items(lists, DataSetColumns::inside(items, path, sequences)?.into()))
                }
                // A list that is empty in every row says nothing of its items.
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
            Content::Numbers if matches!(vr, VR::FL | VR::FD) => floats().or_else(integers),
            Content::Numbers => integers(),
            Content::Tags => text().or_else(integers),
            Content::Bytes(_) => bytes(),
            Content::Sequence => None,
        }
        .ok_or_else(|| wrong_type(vr, array, path))
    }
}

/// The lists of an array of lists, and the part of their values that they use.
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
        Content::Numbers if matches!(vr, VR::FL | VR::FD) => "numbers",
        Content::Numbers => "integers",
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
