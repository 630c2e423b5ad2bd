//! Properties of every data set: it round trips in every encoding.

use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int64Builder, LargeStringBuilder, ListBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, Int32Array, LargeBinaryArray, LargeStringArray, ListArray,
    StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::Field;
use fastdimse_core::data_set::decode::decode_data_sets;
use fastdimse_core::data_set::encode::DataSetColumns;
use fastdimse_core::data_set::encode::{DataSetEncoder, DataSetOptions};
use fastdimse_core::data_set::schema::DataSetSchema;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use proptest::prelude::*;

const SYNTAXES: [TransferSyntax; 2] =
    [TransferSyntax::ImplicitVrLittleEndian, TransferSyntax::ExplicitVrLittleEndian];

#[derive(Debug, Clone)]
struct Code {
    value: Option<String>,
    meaning: Option<String>,
}

#[derive(Debug, Clone)]
struct Reference {
    class: Option<String>,
    instance: Option<String>,
    frames: Option<Vec<u32>>,
    purpose: Option<Vec<Code>>,
}

#[derive(Debug, Clone)]
struct Report {
    image_type: Option<Vec<String>>,
    transaction: Option<String>,
    references: Option<Vec<Reference>>,
    name: Option<String>,
    rows: Option<u16>,
    lut: Option<Vec<f64>>,
    document: Option<Vec<u8>>,
}

fn maybe<T: std::fmt::Debug + Clone>(
    of: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.8, of)
}

fn some<T: std::fmt::Debug + Clone>(
    of: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<Vec<T>>> {
    maybe(prop::collection::vec(of, 0..4))
}

fn uid() -> impl Strategy<Value = String> {
    prop_oneof!["1(\\.[1-9][0-9]{0,9}){1,5}", Just("1.2.840.10008.5.1.4.1.1.2".to_owned())]
}

fn code() -> impl Strategy<Value = Code> {
    let meaning = "([ -\\[a-zé山]{0,63}[a-z山])?";
    (maybe("[A-Z0-9.-]{0,16}"), maybe(meaning)).prop_map(|(value, meaning)| Code { value, meaning })
}

fn reference() -> impl Strategy<Value = Reference> {
    (maybe(uid()), maybe(uid()), some(any::<u32>()), some(code())).prop_map(
        |(class, instance, frames, purpose)| Reference { class, instance, frames, purpose },
    )
}

fn report() -> impl Strategy<Value = Report> {
    let lut = some(-1e300..1e300);
    let document = prop::collection::vec(any::<[u8; 2]>(), 0..5);
    (
        some("[A-Z]{1,8}"),
        maybe(uid()),
        some(reference()),
        maybe("[A-ZÜ]{1,20}(\\^[a-zü田]{1,20})?"),
        maybe(any::<u16>()),
        lut,
        maybe(document.prop_map(|pairs| pairs.concat())),
    )
        .prop_map(|(image_type, transaction, references, name, rows, lut, document)| Report {
            image_type,
            transaction,
            references,
            name,
            rows,
            lut,
            document,
        })
}

fn structs(columns: Vec<(&str, ArrayRef)>, rows: usize) -> StructArray {
    let (fields, arrays): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    StructArray::try_new_with_length(fields.into(), arrays, None, rows).unwrap()
}

fn texts<T>(of: &[T], get: fn(&T) -> &Option<String>) -> ArrayRef {
    Arc::new(of.iter().map(|one| get(one).clone()).collect::<LargeStringArray>())
}

fn items<T, I: Clone>(
    of: &[T],
    get: fn(&T) -> &Option<Vec<I>>,
    to_structs: fn(&[I]) -> StructArray,
) -> ArrayRef {
    let all: Vec<I> = of.iter().filter_map(|one| get(one).clone()).flatten().collect();
    let all = to_structs(&all);
    let field = Field::new_list_field(all.data_type().clone(), true);
    let lengths = of.iter().map(|one| get(one).as_ref().map_or(0, Vec::len));
    let nulls: NullBuffer = of.iter().map(|one| get(one).is_some()).collect();
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(Arc::new(field), offsets, Arc::new(all), Some(nulls)))
}

fn codes(codes: &[Code]) -> StructArray {
    let columns = vec![
        ("CodeValue", texts(codes, |code| &code.value)),
        ("CodeMeaning", texts(codes, |code| &code.meaning)),
    ];
    structs(columns, codes.len())
}

fn references(references: &[Reference]) -> StructArray {
    let mut frames = ListBuilder::new(Int64Builder::new());
    for reference in references {
        let numbers = reference.frames.as_ref();
        frames.append_option(numbers.map(|of| of.iter().map(|&frame| Some(i64::from(frame)))));
    }
    let purpose = items(references, |reference| &reference.purpose, codes);
    let columns = vec![
        ("ReferencedSOPClassUID", texts(references, |reference| &reference.class)),
        ("ReferencedSOPInstanceUID", texts(references, |reference| &reference.instance)),
        ("SimpleFrameList", Arc::new(frames.finish())),
        ("PurposeOfReferenceCodeSequence", purpose),
    ];
    structs(columns, references.len())
}

/// The columns in tag order.
fn reports(reports: &[Report]) -> StructArray {
    let mut image_type = ListBuilder::new(LargeStringBuilder::new());
    let mut lut = ListBuilder::new(Float64Builder::new());
    for report in reports {
        image_type.append_option(report.image_type.as_ref().map(|of| of.iter().map(Some)));
        lut.append_option(report.lut.as_ref().map(|of| of.iter().copied().map(Some)));
    }
    let unicode = LargeStringArray::from(vec!["ISO_IR 192"; reports.len()]);
    let rows: Int32Array = reports.iter().map(|report| report.rows.map(i32::from)).collect();
    let documents = reports.iter().map(|report| report.document.as_deref());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("SpecificCharacterSet", Arc::new(unicode)),
        ("ImageType", Arc::new(image_type.finish())),
        ("TransactionUID", texts(reports, |report| &report.transaction)),
        ("ReferencedSOPSequence", items(reports, |report| &report.references, references)),
        ("PatientName", texts(reports, |report| &report.name)),
        ("Rows", Arc::new(rows)),
        ("RealWorldValueLUTData", Arc::new(lut.finish())),
        ("EncapsulatedDocument", Arc::new(documents.collect::<LargeBinaryArray>())),
    ];
    structs(columns, reports.len())
}

fn encoded(rows: &StructArray, syntax: TransferSyntax) -> Vec<Vec<u8>> {
    let columns = DataSetColumns::new(rows, "EventInformation").unwrap();
    let options = DataSetOptions { syntax, conformant_uids: true };
    let mut encoder = DataSetEncoder::new(&columns, options);
    let mut out = vec![0xaa; columns.most_bytes()];
    let mut one = |row| {
        let length = encoder.encode(row, &mut out).unwrap();
        out[..length].to_vec()
    };
    (0..rows.len()).map(&mut one).collect()
}

fn decoded(
    data_sets: &[Vec<u8>],
    syntax: TransferSyntax,
    schema: Option<&DataSetSchema>,
) -> StructArray {
    let found = decode_data_sets(&BinaryViewArray::from_iter_values(data_sets), syntax, schema);
    assert!(found.wrong.is_empty() && found.omitted.is_empty(), "{found:?}");
    found.rows
}

/// Writes a data set in another encoding: other order of elements, and sequences and items of
/// undefined length, as the bits of `ways` select.
struct Rewriter {
    explicit: bool,
    ways: u64,
}

const UNDEFINED: [u8; 4] = [0xff; 4];

impl Rewriter {
    fn choose(&mut self) -> bool {
        self.ways = self.ways.rotate_left(1);
        self.ways & 1 == 1
    }

    fn data_set(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut elements = Vec::new();
        while !bytes.is_empty() {
            let is_long = self.explicit && matches!(&bytes[4..6], b"SQ" | b"OB");
            let (header, length) = match (self.explicit, is_long) {
                (_, true) => (12, u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize),
                (true, _) => (8, u16::from_le_bytes(bytes[6..8].try_into().unwrap()) as usize),
                (false, _) => (8, u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize),
            };
            let (element, rest) = bytes.split_at(header + length);
            elements.push(match element[..4] {
                [0x08, 0, 0x99, 0x11] | [0x40, 0, 0x70, 0xa1] => self.sequence(element, header),
                _ => element.to_vec(),
            });
            bytes = rest;
        }
        // Specific Character Set must come first.
        let first = usize::from(elements.first().is_some_and(|of| of[..4] == *b"\x08\0\x05\0"));
        for at in first + 1..elements.len() {
            if self.choose() {
                elements.swap(at - 1, at);
            }
        }
        elements.concat()
    }

    fn sequence(&mut self, element: &[u8], header: usize) -> Vec<u8> {
        let mut items = Vec::new();
        let mut rest = &element[header..];
        while let Some((head, after)) = rest.split_at_checked(8) {
            let length = u32::from_le_bytes(head[4..].try_into().unwrap());
            let (item, after) = after.split_at(length as usize);
            let item = self.data_set(item);
            items.extend(self.wrapped(&head[..4], item, b"\xfe\xff\x0d\xe0\0\0\0\0"));
            rest = after;
        }
        self.wrapped(&element[..header - 4], items, b"\xfe\xff\xdd\xe0\0\0\0\0")
    }

    fn wrapped(&mut self, head: &[u8], inner: Vec<u8>, delimiter: &[u8]) -> Vec<u8> {
        match self.choose() {
            true => [head, &UNDEFINED, &inner, delimiter].concat(),
            false => [head, &(inner.len() as u32).to_le_bytes(), &inner].concat(),
        }
    }
}

proptest! {
    #[test]
    fn data_sets_round_trip(all in prop::collection::vec(report(), 1..40)) {
        let rows = reports(&all);
        let schema = DataSetSchema::from_fields(rows.fields(), "EventInformation").unwrap();
        for syntax in SYNTAXES {
            let bytes = encoded(&rows, syntax);
            prop_assert_eq!(&decoded(&bytes, syntax, Some(&schema)), &rows);
        }
    }

    #[test]
    fn all_encodings_of_a_data_set_decode_alike(
        all in prop::collection::vec(report(), 1..8),
        ways: u64,
    ) {
        let rows = reports(&all);
        for syntax in SYNTAXES {
            let explicit = syntax == TransferSyntax::ExplicitVrLittleEndian;
            let mut rewriter = Rewriter { explicit, ways };
            let bytes = encoded(&rows, syntax);
            let others: Vec<_> = bytes.iter().map(|of| rewriter.data_set(of)).collect();
            let found = decoded(&bytes, syntax, None);
            prop_assert_eq!(&decoded(&others, syntax, None), &found);
            // Without bytes after it, a data set is read on the slow path.
            let schema = DataSetSchema::from_fields(found.fields(), "EventInformation").unwrap();
            for (row, one) in bytes.iter().enumerate() {
                let alone = decoded(std::slice::from_ref(one), syntax, Some(&schema));
                prop_assert_eq!(&alone, &found.slice(row, 1));
            }
        }
    }
}
