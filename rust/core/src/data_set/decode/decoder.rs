//! Decodes a column of data sets (PS3.5 7) into a given schema, or into a schema that grows with
//! the attributes found.

use std::collections::BTreeMap;

use arrow_array::{Array, BinaryViewArray, StructArray};
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};
use dicom_core::{Tag, VR};

use crate::data_set::decode::builder::{DataSetBuilder, Limits, Stop, Unknown};
use crate::data_set::decode::elements::{Element, Elements};
use crate::data_set::error::MOST_COLUMNS;
use crate::data_set::error::{DataSetError, DataSetReason};
use crate::data_set::schema::DataSetSchema;
use crate::data_set::width::{Item, Widths, most_absent};
use crate::field::Field;
use crate::standard::attribute::{Attribute, SPECIFIC_CHARACTER_SET};
use crate::standard::character_set::CharacterSet;
use crate::standard::transfer_syntax::{TransferSyntax, TransferSyntaxes};
use crate::standard::vr::{Content, content};

/// Decoded data sets.
#[derive(Debug)]
pub struct DecodedDataSets {
    /// One row for each data set; null if it is null or invalid.
    pub rows: StructArray,
    /// The invalid data sets by row.
    pub wrong: Vec<(usize, Box<DataSetError>)>,
    /// The number of elements that are not part of a given schema, by path.
    pub omitted: BTreeMap<String, u64>,
}

impl DecodedDataSets {
    /// The omitted elements by path, beginning with `field`.
    pub fn omitted_of(&self, field: Field) -> impl Iterator<Item = (String, u64)> {
        let path = move |name: &String| format!("{}.{name}", field.keyword());
        self.omitted.iter().map(move |(name, &count)| (path(name), count))
    }
}

/// Decodes data sets into the attributes of `schema`, or into all attributes that they have.
pub fn decode_data_sets<'a>(
    data_sets: &'a BinaryViewArray,
    syntaxes: impl Into<TransferSyntaxes<'a>>,
    schema: Option<&DataSetSchema>,
) -> DecodedDataSets {
    let decoder = Decoder { data_sets, syntaxes: syntaxes.into() };
    let mut decoded = decoder.decode_all(schema);
    let unknown = decoder.syntaxes.unknown().iter().filter(|(row, _)| data_sets.is_valid(*row));
    decoded.wrong.extend(unknown.map(|(row, error)| {
        (*row, DataSetError::new(DataSetReason::TransferSyntax(error.clone())))
    }));
    decoded.wrong.sort_by_key(|(row, _)| *row);
    decoded
}

/// The number of data sets from which the size of the columns is estimated.
const SAMPLE: usize = 16;

/// Advice for the caller, in the error of a data set that is too wide.
const INSTEAD: &str =
    "give a schema of the attributes that matter, or decode fewer data sets together";

struct Decoder<'a> {
    data_sets: &'a BinaryViewArray,
    syntaxes: TransferSyntaxes<'a>,
}

impl<'a> Decoder<'a> {
    fn decode_all(&self, schema: Option<&DataSetSchema>) -> DecodedDataSets {
        if let Some(schema) = schema {
            return self.decode_known(schema, self.all());
        }
        let most_absent = most_absent(self.data_sets.len(), self.lengths().sum());
        self.decode_found(most_absent).unwrap_or_else(|| self.decode_narrow(most_absent))
    }

    /// Decodes data sets into a schema that does not change.
    fn decode_known(
        &self,
        schema: &DataSetSchema,
        all: impl Iterator<Item = Option<Elements<'a>>>,
    ) -> DecodedDataSets {
        let limits = Limits { unknown: Unknown::Count(BTreeMap::new()), absent: usize::MAX };
        self.decode(schema, all, limits).expect("nothing stops it")
    }

    /// Decodes data sets into all their attributes, unless they are too wide.
    fn decode_found(&self, most_absent: usize) -> Option<DecodedDataSets> {
        // Most streams have data sets of one kind: the first one has all attributes.
        let mut found = Found { schema: DataSetSchema::default(), columns: 0 };
        found.find_all(self.all().flatten().take(1))?;
        let limits = Limits { unknown: Unknown::Stop, absent: most_absent };
        if let Some(decoded) = self.decode(&found.schema, self.all(), limits) {
            return Some(decoded);
        }
        found.find_all(self.all().flatten())?;
        // An attribute outside the found schema must not stop the other data sets.
        let limits = Limits { unknown: Unknown::Count(BTreeMap::new()), absent: most_absent };
        self.decode(&found.schema, self.all(), limits)
    }

    /// Decodes the data sets that are not too wide.
    fn decode_narrow(&self, most_absent: usize) -> DecodedDataSets {
        let mut widths = Widths::default();
        // Decoding finds these errors again.
        let wrong: Vec<_> = self.all().map(|one| measure_all(&mut widths, one).err()).collect();
        let too_wide = widths.too_wide(most_absent);
        let mut refused = too_wide.iter().map(|(row, _)| *row).peekable();
        let narrow: Vec<_> = self
            .all()
            .enumerate()
            .map(|(row, one)| one.filter(|_| refused.next_if_eq(&row).is_none()))
            .collect();
        let mut found = Found { schema: DataSetSchema::default(), columns: 0 };
        found.find_all(narrow.iter().flatten().cloned()).expect("they are not too wide");
        let mut decoded = self.decode_known(&found.schema, narrow.into_iter());
        let too_wide = too_wide.into_iter().map(|(row, columns)| {
            let reason = DataSetReason::TooWide { columns, instead: INSTEAD };
            (row, wrong[row].clone().unwrap_or_else(|| DataSetError::new(reason)))
        });
        decoded.wrong.extend(too_wide);
        decoded
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.data_sets.views().iter().map(|&view| view as u32 as usize)
    }

    /// The elements of each data set; none of one that is null or in an unknown transfer syntax.
    fn all(&self) -> impl Iterator<Item = Option<Elements<'a>>> {
        (0..self.data_sets.len()).map(|row| {
            let syntax = self.syntaxes.get(row).filter(|_| self.data_sets.is_valid(row))?;
            Some(self.elements(row, syntax))
        })
    }

    /// The slice includes the bytes after the data set, so that its last values are read on the
    /// fast path.
    fn elements(&self, row: usize, syntax: TransferSyntax) -> Elements<'a> {
        let view = ByteView::from(self.data_sets.views()[row]);
        let length = view.length as usize;
        let bytes = match view.length <= MAX_INLINE_VIEW_LEN {
            true => self.data_sets.value(row),
            false => {
                let buffer = &self.data_sets.data_buffers()[view.buffer_index as usize];
                &buffer[view.offset as usize..]
            }
        };
        let explicit = syntax == TransferSyntax::ExplicitVrLittleEndian;
        Elements::new(bytes, length, explicit)
    }

    /// Reserves memory for all data sets, after the first ones were read.
    fn reserve(&self, builder: &mut DataSetBuilder) {
        let (all, first): (usize, usize) =
            (self.lengths().sum(), self.lengths().take(SAMPLE).sum());
        // The first ones may be the largest, or have columns that the others do not have.
        let by_length = all as f64 / first.max(1) as f64;
        builder.reserve((self.data_sets.len() as f64 / SAMPLE as f64).min(by_length), all);
    }

    /// Decodes the rows. `None` if an attribute outside the schema, or too many empty cells,
    /// stopped it.
    fn decode(
        &self,
        schema: &DataSetSchema,
        all: impl Iterator<Item = Option<Elements<'a>>>,
        mut limits: Limits,
    ) -> Option<DecodedDataSets> {
        let mut builder = DataSetBuilder::new(schema);
        let mut wrong = Vec::new();
        for (row, elements) in all.enumerate() {
            if row == SAMPLE {
                self.reserve(&mut builder);
            }
            let pushed = match elements {
                None => builder.push_absent(&mut limits),
                Some(elements) => {
                    builder.push(elements, &CharacterSet::Default, &mut limits).map(drop)
                }
            };
            match pushed {
                Ok(()) => {}
                Err(Stop::Wrong(error)) => wrong.push((row, error)),
                Err(Stop::Unknown | Stop::TooWide) => return None,
            }
        }
        let omitted = match limits.unknown {
            Unknown::Count(omitted) => omitted,
            Unknown::Stop => BTreeMap::new(),
        };
        Some(DecodedDataSets { rows: builder.finish(), wrong, omitted })
    }
}

/// The attributes that were found.
struct Found {
    schema: DataSetSchema,
    columns: usize,
}

impl Found {
    /// Adds the attributes of data sets; `None` if there are too many. An invalid data set counts
    /// up to its error.
    fn find_all<'a>(&mut self, data_sets: impl Iterator<Item = Elements<'a>>) -> Option<()> {
        for mut elements in data_sets {
            let _ =
                find(&mut self.schema, &mut elements, &CharacterSet::Default, &mut self.columns);
            if self.columns > MOST_COLUMNS {
                return None;
            }
        }
        Some(())
    }
}

/// Adds the attributes of a data set to the widths.
fn measure_all(
    widths: &mut Widths<(Tag, VR)>,
    data_set: Option<Elements<'_>>,
) -> Result<(), Box<DataSetError>> {
    let row = widths.data_set();
    data_set.map_or(Ok(()), |mut elements| measure(widths, row, &mut elements))
}

fn measure(
    widths: &mut Widths<(Tag, VR)>,
    of: Item,
    elements: &mut Elements<'_>,
) -> Result<(), Box<DataSetError>> {
    while let Some(element) = elements.next()? {
        let vr = attribute(&element).vr;
        let column = widths.attribute(of, (element.tag, vr));
        if vr != VR::SQ {
            elements.skip(&element)?;
            continue;
        }
        let all = widths.items_of(column);
        let mut items = elements.items(&element)?;
        while let Some(mut item) = items.next()? {
            let row = widths.item(all);
            measure(widths, row, &mut item)?;
            items.continue_after(&item);
        }
        if element.value.is_none() {
            elements.continue_after(&items);
        }
    }
    Ok(())
}

/// Fails if there are too many columns.
fn find(
    schema: &mut DataSetSchema,
    elements: &mut Elements<'_>,
    character_set: &CharacterSet,
    columns: &mut usize,
) -> Result<(), Box<DataSetError>> {
    let mut own = None;
    while let Some(element) = elements.next()? {
        if element.tag == SPECIFIC_CHARACTER_SET {
            own = Some(CharacterSet::parse(element.value.unwrap_or_default()));
        }
        let character_set = own.as_ref().unwrap_or(character_set);
        let (known, was_known) = schema.add(attribute(&element));
        if !was_known {
            *columns += 1;
            if *columns > MOST_COLUMNS {
                let reason = DataSetReason::TooWide { columns: *columns, instead: INSTEAD };
                return Err(DataSetError::at(element.at, reason));
            }
        }
        match &mut known.items {
            Some(inner) => {
                let mut items = elements.items(&element)?;
                while let Some(mut item) = items.next()? {
                    find(inner, &mut item, character_set, columns)?;
                    items.continue_after(&item);
                }
                if element.value.is_none() {
                    elements.continue_after(&items);
                }
            }
            None => {
                let value = element.value.unwrap_or_default();
                known.several |= !is_one(known.attribute.vr, value, character_set);
                elements.skip(&element)?;
            }
        }
    }
    Ok(())
}

/// The attribute of an element. An element of unknown VR has the VR of the dictionary; an element
/// with items is a sequence.
fn attribute(element: &Element<'_>) -> Attribute {
    let vr = element.vr.filter(|&vr| vr != VR::UN);
    let attribute = Attribute::new(element.tag, vr);
    match (element.value, attribute.vr) {
        (None, VR::UN) => Attribute::new(element.tag, Some(VR::SQ)),
        _ => attribute,
    }
}

fn is_one(vr: VR, value: &[u8], character_set: &CharacterSet) -> bool {
    match content(vr) {
        Content::Text { several: true, extended } => {
            let separator = value.contains(&b'\\');
            // A backslash may be the second byte of a character (PS3.5 6.1.2.3).
            let text = (separator && extended).then(|| character_set.decode(vr, value)).flatten();
            !text.map_or(separator, |text| text.contains('\\'))
        }
        Content::Numbers(length) => value.len() == length,
        Content::Tags => value.len() == 4,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{Array, ArrayRef};
    use arrow_schema::{DataType, Field};
    use proptest::prelude::*;

    use super::*;
    use crate::data_set::encode::DataSetColumns;
    use crate::data_set::encode::{DataSetEncoder, DataSetOptions};

    const IMPLICIT: TransferSyntax = TransferSyntax::ImplicitVrLittleEndian;
    const EXPLICIT: TransferSyntax = TransferSyntax::ExplicitVrLittleEndian;

    fn decoded(data_sets: &[&[u8]], syntax: TransferSyntax) -> DecodedDataSets {
        decode_data_sets(&BinaryViewArray::from_iter_values(data_sets), syntax, None)
    }

    fn encoded(rows: &StructArray, syntax: TransferSyntax) -> Vec<Vec<u8>> {
        let columns = DataSetColumns::new(rows, "EventInformation").unwrap();
        let mut out = vec![0; columns.most_bytes()];
        let options = DataSetOptions { syntax, conformant_uids: true };
        let mut encoder = DataSetEncoder::new(&columns, options);
        let rows = (0..rows.len()).filter(|&row| !columns.is_null(row));
        rows.map(|row| {
            let length = encoder.encode(row, &mut out).unwrap();
            out[..length].to_vec()
        })
        .collect()
    }

    fn text(array: &ArrayRef) -> &str {
        array.as_string::<i64>().value(0)
    }

    /// Two references in items of undefined length, in a sequence of undefined length, followed by
    /// a UID.
    const DELIMITED: &[u8] = b"\x08\0\x99\x11\xff\xff\xff\xff\
        \xfe\xff\0\xe0\xff\xff\xff\xff\x08\0\x55\x11\x04\0\0\x001.2\0\xfe\xff\x0d\xe0\0\0\0\0\
        \xfe\xff\0\xe0\x0c\0\0\0\x08\0\x55\x11\x04\0\0\x001.34\
        \xfe\xff\xdd\xe0\0\0\0\0\x08\0\x95\x12\x02\0\0\x009\0";

    #[test]
    fn undefined_lengths_end_at_their_delimiters() {
        let found = decoded(&[DELIMITED], IMPLICIT);
        assert!(found.wrong.is_empty(), "{:?}", found.wrong);
        let references = found.rows.column_by_name("ReferencedSOPSequence").unwrap();
        let items = references.as_list::<i32>().value(0);
        let uids = items.as_struct().column_by_name("ReferencedSOPInstanceUID").unwrap();
        let uids: Vec<_> = uids.as_string::<i64>().iter().flatten().collect();
        assert_eq!(uids, ["1.2", "1.34"]);
        // The dictionary of dicom-rs does not have the tag; the bytes are kept under the tag.
        assert!(found.rows.columns().len() == 2);
    }

    #[test]
    fn a_truncated_data_set_is_an_error_or_shorter() {
        for end in 0..DELIMITED.len() {
            let found = decoded(&[&DELIMITED[..end]], IMPLICIT);
            let complete = end == 0 || end == DELIMITED.len() - 10;
            assert_eq!(found.wrong.is_empty(), complete, "{end}");
        }
    }

    #[test]
    fn the_schema_grows_with_the_attributes_found() {
        let one = b"\x08\0\x95\x11\x04\0\0\x001.2\0";
        let other = b"\x08\0\x95\x11\x06\0\0\x001.2\\3\0\x28\0\x10\0\x02\0\0\0\x07\0";
        let found = decoded(&[one, other, b""], IMPLICIT);
        assert!(found.wrong.is_empty());
        let names: Vec<_> = found.rows.column_names();
        assert_eq!(names, ["TransactionUID", "Rows"]);
        let uids = found.rows.column(0).as_list::<i32>();
        assert_eq!((uids.value_length(0), uids.value_length(1)), (1, 2));
        let rows = found.rows.column(1).as_primitive::<Int32Type>();
        assert_eq!(rows.iter().collect::<Vec<_>>(), [None, Some(7), None]);
    }

    #[test]
    fn unknown_elements_are_kept_under_their_tags() {
        let implicit = b"\x09\0\x01\x10\x04\0\0\0abc ";
        let found = decoded(&[implicit], IMPLICIT);
        assert_eq!(found.rows.column_names(), ["00091001"]);
        assert_eq!(found.rows.column(0).as_binary::<i64>().value(0), b"abc ");
        let explicit = b"\x09\0\x01\x10LO\x04\0abc ";
        let found = decoded(&[explicit], EXPLICIT);
        assert_eq!(found.rows.column_names(), ["00091001:LO"]);
        assert_eq!(text(found.rows.column(0)), "abc");
        assert_eq!(encoded(&found.rows, EXPLICIT), [explicit]);
    }

    #[test]
    fn a_given_schema_counts_omitted_elements() {
        let schema = decoded(&[b"\x08\0\x95\x11\x04\0\0\x001.2\0"], IMPLICIT);
        let fields = schema.rows.fields().clone();
        let schema = DataSetSchema::from_fields(&fields, "EventInformation").unwrap();
        let array = BinaryViewArray::from_iter_values([DELIMITED]);
        let found = decode_data_sets(&array, IMPLICIT, Some(&schema));
        assert!(found.wrong.is_empty());
        let counts: Vec<_> = found.omitted.values().copied().collect();
        assert_eq!(counts, [1, 1]);
        assert!(found.omitted.contains_key("ReferencedSOPSequence"));
    }

    #[test]
    fn nested_sequences_have_a_maximum_depth() {
        let mut deep = Vec::new();
        for _ in 0..100_000 {
            deep.extend(b"\x08\0\x99\x11\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff");
        }
        let found = decoded(&[&deep], IMPLICIT);
        assert_eq!(found.wrong.len(), 1);
    }

    #[test]
    fn text_is_read_in_its_character_set() {
        let latin = b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100\x10\0\x10\0\x04\0\0\0M\xfcl ";
        let found = decoded(&[latin], IMPLICIT);
        assert_eq!(text(found.rows.column_by_name("PatientName").unwrap()), "Mül");
        assert_eq!(encoded(&found.rows, IMPLICIT), [latin]);
    }

    #[test]
    fn the_second_byte_of_a_character_is_not_a_separator() {
        // This value turned the column into a list column.
        let one = b"\x08\0\x05\0\x08\0\0\0GB18030 \x10\0\x20\0\x02\0\0\0\x81\\";
        let item = [b"\x08\0\x99\x11\x12\0\0\0\xfe\xff\0\xe0\x0a\0\0\0", &one[16..]].concat();
        let inside = [&one[..16], &item].concat();
        let plain = b"\x10\0\x20\0\x04\0\0\0abc ";
        for data_sets in [&[&one[..], &plain[..]][..], &[&plain[..], &one[..]]] {
            let found = decoded(data_sets, IMPLICIT);
            assert!(found.wrong.is_empty(), "{:?}", found.wrong);
            let ids = found.rows.column_by_name("PatientID").unwrap().as_string::<i64>();
            assert!(ids.iter().flatten().any(|id| id == "\u{4e57}"), "{ids:?}");
        }
        let found = decoded(&[&inside], IMPLICIT);
        let items = found.rows.column_by_name("ReferencedSOPSequence").unwrap();
        let items = items.as_list::<i32>().value(0);
        assert_eq!(text(items.as_struct().column_by_name("PatientID").unwrap()), "\u{4e57}");
        let several = b"\x08\0\x05\0\x08\0\0\0GB18030 \x10\0\x20\0\x04\0\0\0\x81\\\\a";
        let found = decoded(&[several], IMPLICIT);
        let ids = found.rows.column_by_name("PatientID").unwrap().as_list::<i32>().value(0);
        let ids: Vec<_> = ids.as_string::<i64>().iter().flatten().collect();
        assert_eq!(ids, ["\u{4e57}", "a"]);
    }

    #[test]
    fn invalid_text_is_reported() {
        let wrong = b"\x08\0\x05\0\x0a\0\0\0ISO_IR 149\x10\0\x10\0\x04\0\0\0M\xfcl ";
        let right = b"\x10\0\x10\0\x04\0\0\0Mul ";
        let found = decoded(&[wrong, right], IMPLICIT);
        let rows: Vec<_> = found.wrong.iter().map(|(row, _)| *row).collect();
        assert_eq!((rows, found.rows.len()), (vec![0], 2));
    }

    #[test]
    fn a_character_set_outside_the_schema_applies() {
        let name = Field::new("PatientName", DataType::LargeUtf8, true);
        let schema = DataSetSchema::from_fields(&vec![name].into(), "EventInformation").unwrap();
        let unicode = b"\x08\0\x05\0\x0a\0\0\0ISO_IR 192\x10\0\x10\0\x04\0\0\0M\xc3\xbcl";
        let array = BinaryViewArray::from_iter_values([unicode]);
        let found = decode_data_sets(&array, IMPLICIT, Some(&schema));
        assert_eq!(text(found.rows.column(0)), "Mül");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_rejected(
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(8), any::<u8>()], 0..80),
            at in any::<prop::sample::Index>(),
            explicit: bool,
        ) {
            let syntax = if explicit { EXPLICIT } else { IMPLICIT };
            let found = decoded(&[&bytes], syntax);
            prop_assert_eq!(found.rows.len(), 1);
            prop_assert_eq!(found.rows.is_null(0), !found.wrong.is_empty());
            let mut changed = DELIMITED.to_vec();
            let at = at.index(changed.len());
            changed.splice(at..at, bytes);
            let found = decoded(&[&changed, DELIMITED], syntax);
            prop_assert_eq!(found.rows.len(), 2);
        }
    }
}
