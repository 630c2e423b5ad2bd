//! Builds the columns of decoded data sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{LargeBinaryBuilder, PrimitiveBuilder};
use arrow_array::types::{Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, UInt64Type};
use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use dicom_core::VR;

use crate::data_set::decode::elements::{Element, Elements};
use crate::data_set::decode::texts::{Texts, plain, without_padding};
use crate::data_set::error::{DataSetError, DataSetReason};
use crate::data_set::header::HeaderForm;
use crate::data_set::schema::{DataSetSchema, KnownAttribute, value_type};
use crate::excerpt::excerpt;
use crate::standard::attribute::{Attribute, SPECIFIC_CHARACTER_SET};
use crate::standard::character_set::CharacterSet;
use crate::standard::vr::{Content, check_units, content, has_long_length};

/// Why a data set did not become a row.
#[derive(Debug)]
pub enum Stop {
    /// An attribute is not part of the schema.
    Unknown,
    /// The columns would have too many empty cells.
    TooWide,
    /// The data set is invalid.
    Wrong(Box<DataSetError>),
}

impl From<Box<DataSetError>> for Stop {
    fn from(error: Box<DataSetError>) -> Self {
        Self::Wrong(error)
    }
}

impl Stop {
    fn inside(self, part: &str) -> Self {
        match self {
            Self::Wrong(error) => Self::Wrong(error.inside(part)),
            other => other,
        }
    }
}

/// What to do with attributes outside the schema, and the number of cells that may be empty.
#[derive(Debug)]
pub struct Limits {
    /// Attributes outside the schema.
    pub unknown: Unknown,
    /// The number of further cells that may be empty. Reading stops at 0.
    pub absent: usize,
}

/// What to do with attributes outside the schema.
#[derive(Debug)]
pub enum Unknown {
    /// Stop: the schema must grow.
    Stop,
    /// Omit the attribute, and count it by path.
    Count(BTreeMap<String, u64>),
}

/// The columns of data sets, or of the items of a sequence, while rows are added.
#[derive(Debug)]
pub struct DataSetBuilder {
    attributes: Vec<AttributeBuilder>,
    rows: usize,
    valid: NullBufferBuilder,
}

#[derive(Debug)]
struct AttributeBuilder {
    attribute: Attribute,
    /// The header bits of an element whose plain text can be copied unchanged; `None` for tag
    /// attributes and for Specific Character Set.
    plain: Option<u64>,
    values: Values,
    /// The ends of the values of each row, for attributes with several values.
    lists: Option<(Vec<i32>, NullBufferBuilder)>,
}

/// The initial capacity of a column. There may be thousands of columns.
const FIRST: usize = 16;

macro_rules! numbers {
    ($($vr:ident $variant:ident: $number:ident => $of:ident),*) => {
        // Not optimized for size: its variant is tested for every element.
        #[derive(Debug)]
        #[repr(u8)]
        enum Values {
            Text(Texts),
            Bytes(LargeBinaryBuilder),
            Items(Box<DataSetBuilder>),
            $($variant(PrimitiveBuilder<$of>)),*
        }

        impl Values {
            fn new(vr: VR, items: Option<&DataSetSchema>) -> Self {
                if let Some(items) = items {
                    return Self::Items(DataSetBuilder::new(items).into());
                }
                match (vr, value_type(vr)) {
                    $((VR::$vr, _) => Self::$variant(PrimitiveBuilder::with_capacity(FIRST)),)*
                    (_, DataType::LargeBinary) => Self::Bytes(LargeBinaryBuilder::with_capacity(FIRST, FIRST)),
                    _ => Self::Text(Texts::default()),
                }
            }

            fn len(&self) -> usize {
                use arrow_array::builder::ArrayBuilder;
                match self {
                    Self::Text(texts) => texts.rows(),
                    Self::Bytes(builder) => builder.len(),
                    Self::Items(builder) => builder.rows,
                    $(Self::$variant(builder) => builder.len()),*
                }
            }

            fn push_null(&mut self) {
                match self {
                    Self::Text(texts) => texts.push_null(),
                    Self::Bytes(builder) => builder.append_null(),
                    Self::Items(builder) => builder.push_null(),
                    $(Self::$variant(builder) => builder.append_null()),*
                }
            }

            /// Appends binary numbers.
            fn push_numbers(&mut self, bytes: &[u8]) {
                match self {
                    $(Self::$variant(builder) => {
                        for number in bytes.as_chunks::<{ size_of::<$number>() }>().0 {
                            builder.append_value($number::from_le_bytes(*number).into());
                        }
                    })*
                    Self::Text(_) | Self::Bytes(_) | Self::Items(_) => {}
                }
            }

            /// The length of a number in bytes.
            fn size(&self) -> usize {
                match self {
                    $(Self::$variant(_) => size_of::<$number>(),)*
                    Self::Text(_) | Self::Bytes(_) | Self::Items(_) => 1,
                }
            }

            fn finish(self) -> ArrayRef {
                match self {
                    Self::Text(texts) => Arc::new(texts.finish()),
                    Self::Bytes(mut builder) => Arc::new(builder.finish()),
                    Self::Items(builder) => Arc::new(builder.finish()),
                    $(Self::$variant(mut builder) => Arc::new(builder.finish())),*
                }
            }
        }
    };
}

numbers!(
    US UnsignedShort: u16 => Int32Type, SS SignedShort: i16 => Int16Type,
    UL UnsignedLong: u32 => Int64Type, SL SignedLong: i32 => Int32Type,
    UV UnsignedVeryLong: u64 => UInt64Type, SV SignedVeryLong: i64 => Int64Type,
    FL Single: f32 => Float32Type, FD Double: f64 => Float64Type
);

impl DataSetBuilder {
    /// Columns without rows.
    pub fn new(schema: &DataSetSchema) -> Self {
        let attributes = schema.attributes.values().map(AttributeBuilder::new).collect();
        Self { attributes, rows: 0, valid: NullBufferBuilder::new(0) }
    }

    /// Appends a null row, because the column around it has a null.
    fn push_null(&mut self) {
        self.rows += 1;
        self.fill();
        self.valid.append_null();
    }

    /// Appends a null data set.
    pub fn push_absent(&mut self, limits: &mut Limits) -> Result<(), Stop> {
        let absent = self.attributes.len();
        self.push_null();
        limits.count_absent(absent)
    }

    /// Appends a data set or an item, and returns its end. After an error the row is null.
    /// `elements` is passed by value, so that it stays in registers on the fast path.
    #[inline(always)]
    pub fn push<'a>(
        &mut self,
        mut elements: Elements<'a>,
        character_set: &CharacterSet,
        limits: &mut Limits,
    ) -> Result<Elements<'a>, Stop> {
        self.rows += 1;
        // The fast path: most data sets have all attributes in order, with plain text. It takes
        // half the instructions.
        let next = self.push_plain(0, &mut elements);
        if next == self.attributes.len() && elements.are_at_end() {
            self.valid.append_non_null();
            return Ok(elements);
        }
        let mut rest = elements.clone();
        self.read_on(next, &mut rest, character_set, limits).map(|()| rest)
    }

    /// Appends elements, beginning with attribute `next`, while they are in the order of the
    /// attributes and have plain text. Returns the next attribute. Neither `next` nor a later
    /// attribute may have a value in this row yet.
    #[inline(always)]
    fn push_plain(&mut self, next: usize, elements: &mut Elements<'_>) -> usize {
        let mut added = 0;
        for attribute in &mut self.attributes[next..] {
            if !attribute.push_plain(elements) {
                break;
            }
            added += 1;
        }
        next + added
    }

    /// Fills the empty cells of the last row, and returns their number.
    fn fill(&mut self) -> usize {
        let mut absent = 0;
        for attribute in &mut self.attributes {
            if attribute.rows() < self.rows {
                attribute.push_absent();
                absent += 1;
            }
        }
        absent
    }

    /// Appends the rest of a row, beginning with attribute `next`.
    #[inline(never)]
    fn read_on(
        &mut self,
        next: usize,
        elements: &mut Elements<'_>,
        character_set: &CharacterSet,
        limits: &mut Limits,
    ) -> Result<(), Stop> {
        let read = self.read(next, elements, character_set, limits);
        let absent = self.fill();
        self.valid.append(read.is_ok());
        limits.count_absent(absent).and(read)
    }

    /// Attribute `unfilled` and all later ones have no value in this row yet.
    fn read(
        &mut self,
        mut unfilled: usize,
        elements: &mut Elements<'_>,
        character_set: &CharacterSet,
        limits: &mut Limits,
    ) -> Result<(), Stop> {
        let mut own = None;
        let mut next = unfilled;
        loop {
            let Some(element) = elements.next()? else { return Ok(()) };
            // The character set applies to the following text even if the schema omits it.
            if element.tag == SPECIFIC_CHARACTER_SET {
                own = Some(CharacterSet::parse(element.value.unwrap_or_default()));
            }
            let Some(place) = self.find(next, &element) else {
                skip(elements, &element, limits)?;
                continue;
            };
            let attribute = &mut self.attributes[place];
            let character_set = own.as_ref().unwrap_or(character_set);
            attribute
                .push(self.rows, elements, &element, character_set, limits)
                .map_err(|stop| stop.inside(&attribute.attribute.name).inside("."))?;
            next = place + 1;
            if place >= unfilled {
                next = self.push_plain(next, elements);
                unfilled = next;
            }
        }
    }

    /// Finds the attribute of an element: nearly always the next one.
    fn find(&self, next: usize, element: &Element<'_>) -> Option<usize> {
        let is_it = |of: &AttributeBuilder| of.attribute.tag == element.tag && of.takes(element.vr);
        if self.attributes.get(next).is_some_and(is_it) {
            return Some(next);
        }
        let first = self.attributes.partition_point(|of| of.attribute.tag < element.tag);
        let of_tag = self.attributes[first..].iter();
        let of_tag = of_tag.take_while(|of| of.attribute.tag == element.tag);
        of_tag.enumerate().find(|(_, of)| is_it(of)).map(|(place, _)| first + place)
    }

    /// Reserves memory for `times` the current number of rows.
    pub fn reserve(&mut self, times: f64, most_bytes: usize) {
        for attribute in &mut self.attributes {
            match &mut attribute.values {
                Values::Text(texts) => texts.reserve(times, most_bytes),
                Values::Items(items) => items.reserve(times, most_bytes),
                _ => {}
            }
        }
    }

    /// The finished struct column.
    pub fn finish(mut self) -> StructArray {
        let columns = self.attributes.into_iter().map(AttributeBuilder::finish);
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.unzip();
        let valid = self.valid.finish();
        StructArray::try_new_with_length(fields.into(), arrays, valid, self.rows)
            .expect("every column has all rows")
    }
}

impl Limits {
    fn count_absent(&mut self, absent: usize) -> Result<(), Stop> {
        self.absent = self.absent.checked_sub(absent).ok_or(Stop::TooWide)?;
        Ok(())
    }
}

fn skip(
    elements: &mut Elements<'_>,
    element: &Element<'_>,
    limits: &mut Limits,
) -> Result<(), Stop> {
    let Unknown::Count(omitted) = &mut limits.unknown else { return Err(Stop::Unknown) };
    let attribute = Attribute::new(element.tag, element.vr);
    elements.skip(element).map_err(|error| error.inside(&attribute.name).inside("."))?;
    *omitted.entry(attribute.name.into()).or_default() += 1;
    Ok(())
}

impl AttributeBuilder {
    fn new(known: &KnownAttribute) -> Self {
        let Attribute { tag, vr, .. } = known.attribute;
        let is_plain = !known.several
            && matches!(content(vr), Content::Text { .. })
            && !has_long_length(vr)
            && tag != SPECIFIC_CHARACTER_SET;
        Self {
            plain: is_plain.then(|| HeaderForm::beginning(tag, vr)),
            values: Values::new(vr, known.items.as_ref()),
            lists: known.several.then(|| (vec![0], NullBufferBuilder::new(0))),
            attribute: known.attribute.clone(),
        }
    }

    /// Whether an element of this VR belongs to the attribute: the same VR, no VR, or an unknown
    /// VR.
    fn takes(&self, vr: Option<VR>) -> bool {
        vr.is_none_or(|vr| vr == self.attribute.vr || vr == VR::UN)
    }

    fn rows(&self) -> usize {
        match &self.lists {
            Some((ends, _)) => ends.len() - 1,
            None => self.values.len(),
        }
    }

    fn push_absent(&mut self) {
        match &mut self.lists {
            Some((ends, valid)) => {
                ends.push(self.values.len() as i32);
                valid.append_null();
            }
            None => self.values.push_null(),
        }
    }

    /// Appends the next element if it is an element of this attribute with plain text, and the
    /// column has one value per row.
    #[inline(always)]
    fn push_plain(&mut self, elements: &mut Elements<'_>) -> bool {
        let (Values::Text(texts), Some(beginning)) = (&mut self.values, self.plain) else {
            return false;
        };
        let Some(value) = elements.short_value(beginning) else { return false };
        let Some(text) = plain(value) else { return false };
        texts.push_short(text);
        elements.skip_short_value(value);
        true
    }

    fn push(
        &mut self,
        rows: usize,
        elements: &mut Elements<'_>,
        element: &Element<'_>,
        character_set: &CharacterSet,
        limits: &mut Limits,
    ) -> Result<(), Stop> {
        if self.rows() == rows {
            return Err(DataSetError::at(element.at, DataSetReason::Repeated).into());
        }
        let before = self.values.len();
        let read = self.push_values(elements, element, character_set, limits);
        let found = self.values.len() - before;
        if read.is_ok() && self.lists.is_none() && found != 1 {
            return Err(match limits.unknown {
                Unknown::Stop => Stop::Unknown,
                Unknown::Count(_) => DataSetError::at(element.at, DataSetReason::NotOne).into(),
            });
        }
        if let Some((ends, valid)) = &mut self.lists {
            ends.push(self.values.len() as i32);
            valid.append_non_null();
        }
        read
    }

    fn push_values(
        &mut self,
        elements: &mut Elements<'_>,
        element: &Element<'_>,
        character_set: &CharacterSet,
        limits: &mut Limits,
    ) -> Result<(), Stop> {
        if let Values::Items(items) = &mut self.values {
            return push_items(items, elements, element, character_set, limits);
        }
        let vr = self.attribute.vr;
        let Some(value) = element.value else {
            let reason = DataSetReason::UndefinedLength(vr.to_string());
            return Err(DataSetError::at(element.at, reason).into());
        };
        match &mut self.values {
            Values::Bytes(builder) => builder.append_value(value),
            Values::Text(texts) if content(vr) == Content::Tags => {
                check_unit(element.at, vr, 4, value)?;
                for tag in value.as_chunks::<4>().0 {
                    let [a, b, c, d] = *tag;
                    texts.push(format!("{b:02X}{a:02X}{d:02X}{c:02X}").as_bytes());
                }
            }
            Values::Text(texts) => {
                let several = self.lists.is_some();
                return push_text(texts, vr, several, value, character_set, element.at);
            }
            numbers => {
                check_unit(element.at, vr, numbers.size(), value)?;
                // A column of single values accepts one number.
                if self.lists.is_some() || value.len() == numbers.size() {
                    numbers.push_numbers(value);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> (Field, ArrayRef) {
        let name = &*self.attribute.name;
        let values = self.values.finish();
        let array: ArrayRef = match self.lists {
            None => values,
            Some((ends, mut valid)) => {
                let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(ListArray::new(field, ends, values, valid.finish()))
            }
        };
        (Field::new(name, array.data_type().clone(), true), array)
    }
}

// A separate function, so that the loop has all registers.
#[inline(never)]
fn push_items(
    items: &mut DataSetBuilder,
    elements: &mut Elements<'_>,
    element: &Element<'_>,
    character_set: &CharacterSet,
    limits: &mut Limits,
) -> Result<(), Stop> {
    let mut inner = elements.items(element)?;
    let mut number = 0;
    while let Some(item) = inner.next().map_err(|error| error.inside(&format!("[{number}]")))? {
        let item = items
            .push(item, character_set, limits)
            .map_err(|stop| stop.inside(&format!("[{number}]")))?;
        inner.continue_after(&item);
        number += 1;
    }
    if element.value.is_none() {
        elements.continue_after(&inner);
    }
    Ok(())
}

fn check_unit(at: usize, vr: VR, unit: usize, value: &[u8]) -> Result<(), Box<DataSetError>> {
    check_units(vr, unit, value)
        .map_err(|error| DataSetError::at(at, DataSetReason::Value(excerpt(value), error)))
}

fn push_text(
    texts: &mut Texts,
    vr: VR,
    several: bool,
    value: &[u8],
    character_set: &CharacterSet,
    at: usize,
) -> Result<(), Stop> {
    let Content::Text { extended, several: may_be } = content(vr) else { return Ok(()) };
    let default = CharacterSet::Default;
    let character_set = if extended { character_set } else { &default };
    let text = character_set.decode(vr, value).ok_or_else(|| {
        let name = character_set.name().into();
        DataSetError::at(at, DataSetReason::Undecodable(excerpt(value), name))
    })?;
    let text = without_padding(text.as_bytes());
    match (several, may_be && text.contains(&b'\\')) {
        (false, false) => texts.push(text),
        // Not a single value: nothing is appended.
        (false, true) => {}
        (true, _) if text.is_empty() => {}
        (true, false) => texts.push(text),
        (true, true) => {
            text.split(|&byte| byte == b'\\').for_each(|value| texts.push(without_padding(value)));
        }
    }
    Ok(())
}
