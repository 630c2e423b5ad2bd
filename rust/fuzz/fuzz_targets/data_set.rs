//! Any bytes as data sets: they are decoded or refused, and what was decoded comes back.
#![no_main]

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryViewArray, StructArray};
use fastdimse_core::data_set_columns::DataSetColumns;
use fastdimse_core::data_set_schema::DataSetSchema;
use fastdimse_core::decode_data_set::decode_data_sets;
use fastdimse_core::encode_data_set::{DataSetEncoder, DataSetOptions};
use fastdimse_core::transfer_syntax::TransferSyntax;
use libfuzzer_sys::fuzz_target;

/// The data set of each row that can be encoded; `None` where names say one attribute twice.
fn encoded(rows: &StructArray, syntax: TransferSyntax) -> Option<Vec<Option<Vec<u8>>>> {
    let columns = DataSetColumns::new(rows, "EventInformation").ok()?;
    let mut encoder =
        DataSetEncoder::new(&columns, DataSetOptions { syntax, conformant_uids: false });
    let mut out = vec![0; columns.most_bytes()];
    let mut one = |row| {
        let length = encoder.encode(row, &mut out).ok()?;
        Some(out[..length].to_vec())
    };
    Some((0..rows.len()).map(|row| rows.is_valid(row).then(|| one(row)).flatten()).collect())
}

/// Whether the numbers are alike but for the bits of one that is none.
fn are_not_numbers(back: &ArrayRef, column: &ArrayRef) -> bool {
    let of_floats = format!("{:?}", column.data_type()).contains("Float32");
    let shown = format!("{column:?}");
    of_floats && shown.contains("NaN") && format!("{back:?}") == shown
}

/// Whether bytes of an odd length came back with one more, of which nothing tells that it is padding.
fn is_padded(back: &ArrayRef, column: &ArrayRef) -> bool {
    let bytes =
        |array: &ArrayRef| array.as_binary_opt::<i64>().map(|array| array.value(0).to_vec());
    match (bytes(back), bytes(column)) {
        (Some(back), Some(bytes)) => back == [&bytes[..], &[0]].concat(),
        _ => false,
    }
}

fn check(data_sets: &[&[u8]], syntax: TransferSyntax) {
    let data_sets = BinaryViewArray::from_iter_values(data_sets);
    let found = decode_data_sets(&data_sets, syntax, None);
    assert_eq!(found.rows.len(), data_sets.len());
    let wrong: Vec<usize> = found.wrong.iter().map(|(row, _)| *row).collect();
    let null: Vec<usize> = (0..found.rows.len()).filter(|&row| found.rows.is_null(row)).collect();
    assert_eq!(wrong, null);
    let Ok(schema) = DataSetSchema::of_fields(found.rows.fields(), "EventInformation") else {
        return;
    };
    let Some(bytes) = encoded(&found.rows, syntax) else { return };
    for (row, bytes) in bytes.iter().enumerate() {
        let Some(bytes) = bytes else { continue };
        let one = BinaryViewArray::from_iter_values([bytes]);
        let again = decode_data_sets(&one, syntax, Some(&schema));
        assert!(again.wrong.is_empty(), "{:?} of {bytes:02x?}", again.wrong);
        let once = found.rows.slice(row, 1);
        for (name, column) in once.column_names().into_iter().zip(once.columns()) {
            let back = again.rows.column_by_name(name).expect("a column of the schema");
            // Unicode is said where nothing was.
            let alike = back == column
                || is_padded(back, column)
                || are_not_numbers(back, column)
                || name == "SpecificCharacterSet";
            assert!(alike, "{name} of {bytes:02x?}");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.first().map_or(0, |&cut| usize::from(cut).min(bytes.len()));
    let (one, other) = bytes.split_at(cut);
    for syntax in [TransferSyntax::ImplicitVrLittleEndian, TransferSyntax::ExplicitVrLittleEndian] {
        check(&[bytes.get(1..).unwrap_or_default()], syntax);
        check(&[one.get(1..).unwrap_or_default(), other], syntax);
    }
});
