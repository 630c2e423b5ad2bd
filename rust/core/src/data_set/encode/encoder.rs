//! Encodes data sets from columns, in Implicit or Explicit VR Little Endian (PS3.5 7 and A).

use std::fmt::Write;
use std::ops::Range;

use dicom_core::{Tag, VR};

use crate::data_set::encode::columns::{DataSetColumns, ElementColumn, ElementValues, UidRun};
use crate::data_set::encode::options::DataSetOptions;
use crate::data_set::encode::uid_block::UidBlock;
use crate::data_set::error::{DataSetError, DataSetReason};
use crate::data_set::header::HeaderForm;
use crate::excerpt::excerpt;
use crate::standard::attribute::{Attribute, SPECIFIC_CHARACTER_SET, tag_of};
use crate::standard::character_set::CharacterSet;
use crate::standard::vr::{
    Content, VrError, check_bytes, check_text, content, has_long_length, padding,
};
use crate::uid;

const UNICODE: &[u8] = b"ISO_IR 192";

impl DataSetColumns {
    /// An upper bound of the length of all data sets together.
    pub fn most_bytes(&self) -> usize {
        // A character with its escape sequences may take this many times its UTF-8 bytes.
        const OTHER_CHARACTER_SET: usize = 4;
        let added = (8 + UNICODE.len()) * self.rows;
        let bytes = added + self.most_bytes_as_given();
        if self.has(SPECIFIC_CHARACTER_SET) { bytes * OTHER_CHARACTER_SET } else { bytes }
    }

    fn most_bytes_as_given(&self) -> usize {
        self.elements.iter().map(|element| element.most_bytes(self.rows)).sum()
    }

    /// Whether the data set of a row has Specific Character Set.
    fn gives_character_set(&self, row: usize) -> bool {
        let is_it = |of: &&ElementColumn| of.attribute.tag == SPECIFIC_CHARACTER_SET;
        self.elements.iter().find(is_it).is_some_and(|element| match &element.values {
            ElementValues::Text(cells) => cells.get(row).is_some(),
            ElementValues::Several(lists, _) => lists.range(row).is_some(),
            _ => false,
        })
    }

    /// Whether the data sets or their items have an attribute.
    fn has(&self, tag: Tag) -> bool {
        self.elements.iter().any(|element| {
            let in_items = |items: &Self| items.has(tag);
            element.attribute.tag == tag
                || matches!(&element.values, ElementValues::Items(_, items) if in_items(items))
        })
    }
}

/// Encodes the data sets of columns, row by row.
#[derive(Debug)]
pub struct DataSetEncoder<'c> {
    columns: &'c DataSetColumns,
    options: DataSetOptions,
    /// The blocks of UIDs, by run.
    uids: Vec<UidBlock<'c>>,
}

impl<'c> DataSetEncoder<'c> {
    /// An encoder of these columns.
    pub fn new(columns: &'c DataSetColumns, options: DataSetOptions) -> Self {
        let uids = UidBlock::all(columns, options.form());
        Self { columns, options, uids }
    }

    /// Writes the data set of a row, which must not be null, to the beginning of `out`, and returns
    /// its length.
    ///
    /// # Errors
    ///
    /// The first value that does not fit its VR.
    pub fn encode(&mut self, row: usize, out: &mut [u8]) -> Result<usize, Box<DataSetError>> {
        let mut writer = Writer::new(self.options, &mut self.uids, out);
        writer.row(self.columns, row)?;
        Ok(writer.at)
    }

    /// A writer of data sets between other bytes of `out`.
    pub fn writer<'o>(&'o mut self, out: &'o mut [u8]) -> DataSetWriter<'c, 'o> {
        let columns = self.columns;
        DataSetWriter { columns, writer: Writer::new(self.options, &mut self.uids, out) }
    }

    /// Writes the data sets of consecutive rows to `out`, and the end of each, as a 64-bit number,
    /// to `ends`. A null row takes no bytes, nor does a row with a value that does not fit its VR;
    /// these rows are returned with the error of their first such value. Rows in ascending order
    /// are fastest.
    pub fn encode_rows(
        &mut self,
        rows: Range<usize>,
        out: &mut [u8],
        ends: &mut [[u8; 8]],
    ) -> Vec<(usize, Box<DataSetError>)> {
        let columns = self.columns;
        let mut writer = Writer::new(self.options, &mut self.uids, out);
        let mut wrong = Vec::new();
        for (row, end) in rows.zip(ends) {
            if !columns.is_null(row) {
                let begin = writer.at;
                if let Err(error) = writer.row(columns, row) {
                    writer.at = begin;
                    wrong.push((row, error));
                }
            }
            *end = (writer.at as i64).to_ne_bytes();
        }
        wrong
    }
}

/// Writes data sets between other bytes. A writer for each data set takes a tenth more instructions.
pub struct DataSetWriter<'c, 'o> {
    columns: &'c DataSetColumns,
    writer: Writer<'c, 'o>,
}

impl DataSetWriter<'_, '_> {
    /// The number of bytes written and skipped.
    #[inline(always)]
    pub fn at(&self) -> usize {
        self.writer.at
    }

    /// Continues at this number of bytes.
    #[inline(always)]
    pub fn continue_at(&mut self, at: usize) {
        self.writer.at = at;
    }

    /// All bytes.
    #[inline(always)]
    pub fn out(&mut self) -> &mut [u8] {
        self.writer.out
    }

    /// Writes the data set of a row, which must not be null.
    ///
    /// # Errors
    ///
    /// The first value that does not fit its VR.
    #[inline(always)]
    pub fn write(&mut self, row: usize) -> Result<(), Box<DataSetError>> {
        self.writer.row(self.columns, row)
    }
}

impl ElementColumn {
    fn most_bytes(&self, rows: usize) -> usize {
        // The longest header, and a padding byte.
        const HEADER: usize = 13;
        rows * HEADER + self.values.most_bytes(rows)
    }
}

impl ElementValues {
    fn most_bytes(&self, rows: usize) -> usize {
        /// The longest DS text, and a separator.
        const NUMBER: usize = 17;
        match self {
            Self::Null => 0,
            // A separator follows each value.
            Self::Text(cells) | Self::Uids(cells) | Self::Bytes(cells) => {
                cells.most_bytes(rows) + rows
            }
            Self::Integers(_) | Self::Floats(_) => rows * NUMBER,
            Self::Several(lists, values) => values.most_bytes(lists.values),
            Self::Items(_, items) => items.rows * 8 + items.most_bytes_as_given(),
        }
    }
}

/// The output while it is written.
struct Writer<'c, 'o> {
    explicit: bool,
    form: HeaderForm,
    conformant_uids: bool,
    uids: &'o mut [UidBlock<'c>],
    out: &'o mut [u8],
    at: usize,
    /// The character set of the current data set or item.
    character_set: CharacterSet,
    /// Whether the character set is given or was added. Text outside it is then an error.
    is_given: bool,
    /// Whether Specific Character Set must be added.
    add_unicode: bool,
    /// Whether a data set without Specific Character Set has text outside ASCII.
    lacks_unicode: bool,
}

/// An element without its length yet: the offsets of its header and its value.
struct OpenElement {
    tag: Tag,
    vr: VR,
    header: usize,
    value: usize,
}

impl<'c, 'o> Writer<'c, 'o> {
    fn new(options: DataSetOptions, uids: &'o mut [UidBlock<'c>], out: &'o mut [u8]) -> Self {
        Self {
            explicit: options.is_explicit(),
            form: options.form(),
            conformant_uids: options.conformant_uids,
            uids,
            out,
            at: 0,
            character_set: CharacterSet::Default,
            is_given: false,
            add_unicode: false,
            lacks_unicode: false,
        }
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline(always)]
    fn row(&mut self, columns: &'c DataSetColumns, row: usize) -> Result<(), Box<DataSetError>> {
        let begin = self.at;
        self.character_set = CharacterSet::Default;
        (self.is_given, self.add_unicode, self.lacks_unicode) = (false, false, false);
        self.data_set(columns, row)?;
        match self.lacks_unicode {
            false => Ok(()),
            true => self.row_in_unicode(columns, row, begin),
        }
    }

    /// Writes a row again, with Specific Character Set for Unicode added. The attribute precedes
    /// all text, and few data sets need it.
    #[cold]
    #[inline(never)]
    fn row_in_unicode(
        &mut self,
        columns: &'c DataSetColumns,
        row: usize,
        begin: usize,
    ) -> Result<(), Box<DataSetError>> {
        self.at = begin;
        self.character_set = CharacterSet::Default;
        self.is_given = true;
        self.add_unicode = !columns.gives_character_set(row);
        self.data_set(columns, row)
    }

    #[inline(always)]
    fn data_set(
        &mut self,
        columns: &'c DataSetColumns,
        row: usize,
    ) -> Result<(), Box<DataSetError>> {
        let mut left = &columns.elements[..];
        while let Some(element) = left.first() {
            if self.add_unicode && element.attribute.tag >= SPECIFIC_CHARACTER_SET {
                self.add_unicode()?;
            }
            if let Some(run) = element.uids
                && !self.add_unicode
                && self.uids(run, row).is_some()
            {
                left = &left[run.length..];
                continue;
            }
            self.element(element, row)
                .map_err(|error| error.inside(&element.attribute.name).inside("."))?;
            left = &left[1..];
        }
        if self.add_unicode { self.add_unicode() } else { Ok(()) }
    }

    /// Writes a run of UIDs if all of them are conformant.
    #[inline(always)]
    fn uids(&mut self, run: UidRun, row: usize) -> Option<()> {
        let room = self.uids[run.number].write(row, &mut self.out[self.at..])?.len();
        self.at = self.out.len() - room;
        Some(())
    }

    fn add_unicode(&mut self) -> Result<(), Box<DataSetError>> {
        self.add_unicode = false;
        self.character_set = CharacterSet::parse(UNICODE);
        let element = self.begin(SPECIFIC_CHARACTER_SET, VR::CS);
        self.write(UNICODE);
        self.end(&element)
    }

    #[inline(always)]
    fn element(&mut self, element: &'c ElementColumn, row: usize) -> Result<(), Box<DataSetError>> {
        match &element.values {
            ElementValues::Items(lists, items) => match lists.range(row) {
                Some(rows) if self.sequence_of_uids(element, items, rows.clone()).is_some() => {
                    Ok(())
                }
                Some(rows) => self.sequence(&element.attribute, items, rows),
                None => Ok(()),
            },
            values => self.values(&element.attribute, values, row),
        }
    }

    // A separate function, as for sequences, so that the loop over UIDs has all registers.
    #[inline(never)]
    fn values(
        &mut self,
        attribute: &Attribute,
        values: &ElementValues,
        row: usize,
    ) -> Result<(), Box<DataSetError>> {
        let element = self.begin(attribute.tag, attribute.vr);
        let is_there = match values {
            ElementValues::Several(lists, values) => match lists.range(row) {
                Some(rows) => self.several(attribute.vr, values, rows).map(|()| true)?,
                None => false,
            },
            one => self.value(attribute.vr, one, row)?,
        };
        if !is_there {
            self.at = element.header;
            return Ok(());
        }
        self.end(&element)
    }

    /// Writes a sequence whose items have only UIDs, if all of them are conformant.
    #[inline(never)]
    fn sequence_of_uids(
        &mut self,
        element: &ElementColumn,
        items: &DataSetColumns,
        rows: Range<usize>,
    ) -> Option<()> {
        let run = items.nothing_but_uids()?;
        if self.add_unicode || element.attribute.tag == SPECIFIC_CHARACTER_SET {
            return None;
        }
        let uids = &mut self.uids[run.number];
        let out = &mut self.out[self.at..];
        let (header, value) = out.split_at_mut_checked(if self.explicit { 12 } else { 8 })?;
        let room = value.len();
        let mut rest = value;
        for row in rows {
            let (item, inside) = rest.split_first_chunk_mut()?;
            let room = inside.len();
            rest = uids.write(row, inside)?;
            *item = item_header((room - rest.len()) as u32);
        }
        let length = room - rest.len();
        header[..8].copy_from_slice(&self.form.header(element.beginning, 0));
        *header.last_chunk_mut()? = length_of_value(length)?.to_le_bytes();
        self.at += header.len() + length;
        Some(())
    }

    #[inline(never)]
    fn sequence(
        &mut self,
        attribute: &Attribute,
        items: &'c DataSetColumns,
        rows: Range<usize>,
    ) -> Result<(), Box<DataSetError>> {
        let element = self.begin(attribute.tag, VR::SQ);
        self.items(items, rows)?;
        self.end(&element)
    }

    #[cold]
    fn check_uid(&self, uid: &[u8]) -> Result<(), Box<DataSetError>> {
        match uid {
            [] => Ok(()),
            _ => uid::check_as(self.conformant_uids, uid)
                .map_err(|error| DataSetError::value(uid, VrError::Uid(error))),
        }
    }

    /// Writes a header without its length.
    fn begin(&mut self, tag: Tag, vr: VR) -> OpenElement {
        let header = self.at;
        let [g0, g1] = tag.0.to_le_bytes();
        let [e0, e1] = tag.1.to_le_bytes();
        let [a, b] = vr.to_bytes();
        match (self.explicit, has_long_length(vr)) {
            (false, _) => self.write(&[g0, g1, e0, e1, 0, 0, 0, 0]),
            (true, false) => self.write(&[g0, g1, e0, e1, a, b, 0, 0]),
            (true, true) => self.write(&[g0, g1, e0, e1, a, b, 0, 0, 0, 0, 0, 0]),
        }
        OpenElement { tag, vr, header, value: self.at }
    }

    /// Pads the value, and writes its length into the header.
    fn end(&mut self, element: &OpenElement) -> Result<(), Box<DataSetError>> {
        let vr = element.vr;
        if element.tag == SPECIFIC_CHARACTER_SET {
            self.character_set = CharacterSet::parse(&self.out[element.value..self.at]);
        }
        if (self.at - element.value) % 2 == 1 {
            self.write(&[padding(vr)]);
        }
        let length = self.at - element.value;
        let length32 = length_of_value(length)
            .ok_or_else(|| DataSetError::new(DataSetReason::TooLong(length)))?;
        if !self.explicit || has_long_length(vr) {
            self.out[element.value - 4..element.value].copy_from_slice(&length32.to_le_bytes());
        } else if let Ok(length) = u16::try_from(length) {
            self.out[element.value - 2..element.value].copy_from_slice(&length.to_le_bytes());
        } else {
            // A value that is too long for the length field of its VR is written as UN (PS3.5
            // 6.2.2).
            self.out.copy_within(element.value..self.at, element.value + 4);
            self.at += 4;
            let [a, b] = VR::UN.to_bytes();
            let [c, d, e, f] = length32.to_le_bytes();
            self.out[element.value - 4..element.value + 4]
                .copy_from_slice(&[a, b, 0, 0, c, d, e, f]);
        }
        Ok(())
    }

    #[inline(always)]
    fn items(
        &mut self,
        items: &'c DataSetColumns,
        rows: Range<usize>,
    ) -> Result<(), Box<DataSetError>> {
        // An item has the character set of the data set around it, or its own (PS3.3 C.12.1.1.2).
        let around = items.may_give_character_set.then(|| self.character_set.clone());
        for (number, row) in rows.enumerate() {
            let inside = |error: Box<DataSetError>| error.inside(&format!("[{number}]"));
            if items.is_null(row) {
                return Err(inside(DataSetError::new(DataSetReason::NullAmong("items"))));
            }
            let begin = self.at;
            // The header is written when the length is known.
            self.at += 8;
            self.data_set(items, row).map_err(inside)?;
            if let Some(around) = &around {
                self.character_set = around.clone();
            }
            let length = self.at - begin - 8;
            let length = u32::try_from(length)
                .map_err(|_| inside(DataSetError::new(DataSetReason::TooLong(length))))?;
            self.out[begin..][..8].copy_from_slice(&item_header(length));
        }
        Ok(())
    }

    fn several(
        &mut self,
        vr: VR,
        values: &ElementValues,
        rows: Range<usize>,
    ) -> Result<(), Box<DataSetError>> {
        let is_text = matches!(content(vr), Content::Text { .. });
        let one_only =
            matches!(content(vr), Content::Text { several: false, .. } | Content::Bytes(_));
        if one_only && rows.len() > 1 {
            let reason = DataSetReason::Several(rows.len(), vr.to_string());
            return Err(DataSetError::new(reason));
        }
        for (number, row) in rows.enumerate() {
            let inside = |error: Box<DataSetError>| error.inside(&format!("[{number}]"));
            if is_text && number > 0 {
                self.write(b"\\");
            }
            // One of several texts may be null: it is empty then (PS3.5 6.4).
            if !self.value(vr, values, row).map_err(inside)? && !is_text {
                return Err(inside(DataSetError::new(DataSetReason::NullAmong("values"))));
            }
        }
        Ok(())
    }

    /// Writes a value. Returns whether the row has one.
    fn value(
        &mut self,
        vr: VR,
        values: &ElementValues,
        row: usize,
    ) -> Result<bool, Box<DataSetError>> {
        match values {
            ElementValues::Text(cells) | ElementValues::Uids(cells) => match cells.get(row) {
                Some(text) => self.text(vr, text).map(|()| true),
                None => Ok(false),
            },
            ElementValues::Bytes(cells) => match cells.get(row) {
                Some(bytes) => self.bytes(vr, bytes).map(|()| true),
                None => Ok(false),
            },
            ElementValues::Integers(numbers) => match numbers.get(row) {
                Some(number) => self.integer(vr, number).map(|()| true),
                None => Ok(false),
            },
            ElementValues::Floats(numbers) => match numbers.get(row) {
                Some(number) => self.float(vr, number).map(|()| true),
                None => Ok(false),
            },
            ElementValues::Null | ElementValues::Several(..) | ElementValues::Items(..) => {
                Ok(false)
            }
        }
    }

    fn text(&mut self, vr: VR, text: &[u8]) -> Result<(), Box<DataSetError>> {
        let value = |error| DataSetError::value(text, error);
        if vr == VR::UI {
            self.check_uid(text)?;
            self.write(text);
            return Ok(());
        }
        if content(vr) == Content::Tags {
            let Tag(group, element) = std::str::from_utf8(text)
                .ok()
                .and_then(tag_of)
                .ok_or_else(|| value(VrError::Form { vr: "AT", expected: "a tag as ggggeeee" }))?;
            self.write(&group.to_le_bytes());
            self.write(&element.to_le_bytes());
            return Ok(());
        }
        // A column promises UTF-8, but its producer may be wrong.
        let characters = std::str::from_utf8(text)
            .map_err(|_| DataSetError::new(DataSetReason::NotUtf8(excerpt(text))))?;
        check_text(vr, characters).map_err(value)?;
        if text.is_ascii() {
            self.write(text);
            return Ok(());
        }
        let lacks_unicode = self.character_set == CharacterSet::Default && !self.is_given;
        self.lacks_unicode |= lacks_unicode;
        if lacks_unicode || self.character_set == CharacterSet::parse(UNICODE) {
            self.write(text);
            return Ok(());
        }
        let encoded = self.character_set.encode(vr, characters).ok_or_else(|| {
            let name = self.character_set.name().into();
            DataSetError::new(DataSetReason::CharacterSet(excerpt(text), name))
        })?;
        self.write(&encoded);
        Ok(())
    }

    fn bytes(&mut self, vr: VR, bytes: &[u8]) -> Result<(), Box<DataSetError>> {
        check_bytes(vr, bytes).map_err(|error| DataSetError::value(bytes, error))?;
        self.write(bytes);
        Ok(())
    }

    fn integer(&mut self, vr: VR, number: i128) -> Result<(), Box<DataSetError>> {
        match vr {
            VR::US => self.put_if(vr, number, u16::try_from(number).map(u16::to_le_bytes)),
            VR::SS => self.put_if(vr, number, i16::try_from(number).map(i16::to_le_bytes)),
            VR::UL => self.put_if(vr, number, u32::try_from(number).map(u32::to_le_bytes)),
            VR::SL => self.put_if(vr, number, i32::try_from(number).map(i32::to_le_bytes)),
            VR::UV => self.put_if(vr, number, u64::try_from(number).map(u64::to_le_bytes)),
            VR::SV => self.put_if(vr, number, i64::try_from(number).map(i64::to_le_bytes)),
            VR::AT => {
                let tag = u32::try_from(number).map(|tag| tag.rotate_left(16).to_le_bytes());
                self.put_if(vr, number, tag)
            }
            VR::FL | VR::FD => {
                let float = number as f64;
                let exact = vr == VR::FD || f64::from(float as f32) == float;
                if exact && float as i128 == number {
                    return self.float(vr, float);
                }
                Err(does_not_fit(vr, number, "an integer that the VR represents exactly"))
            }
            _ => self.text(vr, number.to_string().as_bytes()),
        }
    }

    fn put_if<const N: usize, E>(
        &mut self,
        vr: VR,
        number: i128,
        bytes: Result<[u8; N], E>,
    ) -> Result<(), Box<DataSetError>> {
        let bytes = bytes.map_err(|_| {
            let expected = match vr {
                VR::US => "0 to 65535",
                VR::SS => "-32768 to 32767",
                VR::UL | VR::AT => "0 to 4294967295",
                VR::SL => "-2147483648 to 2147483647",
                VR::UV => "0 to 18446744073709551615",
                _ => "-9223372036854775808 to 9223372036854775807",
            };
            does_not_fit(vr, number, expected)
        })?;
        self.write(&bytes);
        Ok(())
    }

    fn float(&mut self, vr: VR, number: f64) -> Result<(), Box<DataSetError>> {
        match vr {
            VR::FL if number.is_finite() && (number as f32).is_infinite() => {
                Err(does_not_fit(vr, number, "at most 3.4028235e38"))
            }
            VR::FL => {
                self.write(&(number as f32).to_le_bytes());
                Ok(())
            }
            VR::FD => {
                self.write(&number.to_le_bytes());
                Ok(())
            }
            _ => self.text(vr, decimal(number).as_bytes()),
        }
    }
}

/// The length of a value, except the length that means undefined (PS3.5 7.1.1).
fn length_of_value(length: usize) -> Option<u32> {
    u32::try_from(length).ok().filter(|&length| length < u32::MAX)
}

/// The header of an item with its length (PS3.5 7.5.1).
#[inline(always)]
fn item_header(length: u32) -> [u8; 8] {
    let [a, b, c, d] = length.to_le_bytes();
    [0xfe, 0xff, 0x00, 0xe0, a, b, c, d]
}

/// A number as a decimal string, in the shorter of its two notations.
fn decimal(number: f64) -> String {
    let mut plain = number.to_string();
    let mut exponent = String::new();
    let _ = write!(exponent, "{number:e}");
    if exponent.len() < plain.len() {
        plain = exponent;
    }
    plain
}

fn does_not_fit(
    vr: VR,
    number: impl std::fmt::Display,
    expected: &'static str,
) -> Box<DataSetError> {
    let number = number.to_string();
    let error = VrError::Number { vr: vr.to_string(), expected };
    DataSetError::value(number.as_bytes(), error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::{
        Array, ArrayRef, BinaryArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    };
    use arrow_buffer::{NullBuffer, OffsetBuffer};
    use arrow_schema::Field as ArrowField;
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue};
    use dicom_dictionary_std::tags;
    use dicom_object::InMemDicomObject;
    use dicom_transfer_syntax_registry::entries;

    use super::*;
    use crate::standard::transfer_syntax::TransferSyntax;

    fn structs(columns: Vec<(&str, ArrayRef)>) -> StructArray {
        let fields = columns.into_iter().map(|(name, array)| {
            (Arc::new(ArrowField::new(name, array.data_type().clone(), true)), array)
        });
        StructArray::from(fields.collect::<Vec<_>>())
    }

    fn items(of: StructArray, lengths: &[usize], nulls: Option<NullBuffer>) -> ArrayRef {
        let field = ArrowField::new("item", of.data_type().clone(), true);
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        Arc::new(ListArray::new(Arc::new(field), offsets, Arc::new(of), nulls))
    }

    fn options(syntax: TransferSyntax) -> DataSetOptions {
        DataSetOptions { syntax, conformant_uids: true }
    }

    fn encoded(array: &StructArray, row: usize, syntax: TransferSyntax) -> Vec<u8> {
        let columns = DataSetColumns::new(array, "EventInformation").unwrap();
        let mut out = vec![0xaa; columns.most_bytes()];
        let length = DataSetEncoder::new(&columns, options(syntax)).encode(row, &mut out).unwrap();
        out.truncate(length);
        out
    }

    fn error(columns: Vec<(&str, ArrayRef)>) -> Box<DataSetError> {
        let columns = DataSetColumns::new(&structs(columns), "EventInformation").unwrap();
        let mut out = vec![0; columns.most_bytes()];
        let options = options(TransferSyntax::ImplicitVrLittleEndian);
        DataSetEncoder::new(&columns, options).encode(0, &mut out).unwrap_err()
    }

    fn report() -> StructArray {
        let instances: ArrayRef = Arc::new(StringArray::from(vec!["1.2.3", "1.2.34"]));
        let classes: ArrayRef = Arc::new(StringArray::from(vec!["1.2.840.10008.5.1.4.1.1.2"; 2]));
        let references = structs(vec![
            ("ReferencedSOPInstanceUID", instances),
            ("ReferencedSOPClassUID", classes),
        ]);
        let nulls = NullBuffer::from(vec![true, true, false]);
        structs(vec![
            ("ReferencedSOPSequence", items(references, &[2, 0, 0], Some(nulls))),
            ("TransactionUID", Arc::new(StringArray::from(vec!["1.2.3.4"; 3]))),
        ])
    }

    /// The same data set written by dicom-rs.
    fn by_dicom_rs(object: &InMemDicomObject, syntax: TransferSyntax) -> Vec<u8> {
        let mut out = Vec::new();
        let syntax = match syntax {
            TransferSyntax::ImplicitVrLittleEndian => entries::IMPLICIT_VR_LITTLE_ENDIAN.erased(),
            TransferSyntax::ExplicitVrLittleEndian => entries::EXPLICIT_VR_LITTLE_ENDIAN.erased(),
        };
        object.write_dataset_with_ts(&mut out, &syntax).unwrap();
        out
    }

    #[test]
    fn a_report_is_read_by_dicom_rs() {
        for syntax in
            [TransferSyntax::ImplicitVrLittleEndian, TransferSyntax::ExplicitVrLittleEndian]
        {
            let bytes = encoded(&report(), 0, syntax);
            let read = match syntax {
                TransferSyntax::ImplicitVrLittleEndian => InMemDicomObject::read_dataset_with_ts(
                    &bytes[..],
                    &entries::IMPLICIT_VR_LITTLE_ENDIAN.erased(),
                ),
                TransferSyntax::ExplicitVrLittleEndian => InMemDicomObject::read_dataset_with_ts(
                    &bytes[..],
                    &entries::EXPLICIT_VR_LITTLE_ENDIAN.erased(),
                ),
            };
            let read = read.unwrap();
            assert_eq!(read.element(tags::TRANSACTION_UID).unwrap().to_str().unwrap(), "1.2.3.4");
            let sequence = read.element(tags::REFERENCED_SOP_SEQUENCE).unwrap().items().unwrap();
            let uids: Vec<_> = sequence
                .iter()
                .map(|item| {
                    let uid = item.element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap();
                    uid.to_str().unwrap().into_owned()
                })
                .collect();
            assert_eq!(uids, ["1.2.3", "1.2.34"]);
        }
    }

    #[test]
    fn an_empty_list_is_an_empty_sequence() {
        let syntax = TransferSyntax::ImplicitVrLittleEndian;
        assert_eq!(&encoded(&report(), 1, syntax)[16..], b"\x08\0\x99\x11\0\0\0\0");
        assert_eq!(encoded(&report(), 2, syntax).len(), 16);
    }

    #[test]
    fn numbers_text_and_bytes_are_written_as_by_dicom_rs() {
        let mut codes = ListBuilder::new(StringBuilder::new());
        codes.append_value([Some("ORIGINAL"), Some("PRIMARY")]);
        let array = structs(vec![
            ("ImageType", Arc::new(codes.finish())),
            ("Rows", Arc::new(Int64Array::from(vec![512]))),
            ("InstanceNumber", Arc::new(Int64Array::from(vec![-7]))),
            ("SliceThickness", Arc::new(Float64Array::from(vec![1.25]))),
            ("PatientName", Arc::new(StringArray::from(vec!["A^B"]))),
            ("PixelData", Arc::new(BinaryArray::from_vec(vec![b"abcd"]))),
            ("AcquisitionDuration", Arc::new(Float64Array::from(vec![0.1]))),
        ]);
        let strings = |texts: &[&str]| {
            PrimitiveValue::Strs(texts.iter().map(|text| (*text).to_owned()).collect())
        };
        let object = InMemDicomObject::from_element_iter([
            DataElement::new(tags::IMAGE_TYPE, VR::CS, strings(&["ORIGINAL", "PRIMARY"])),
            DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(512_u16)),
            DataElement::new(tags::INSTANCE_NUMBER, VR::IS, strings(&["-7"])),
            DataElement::new(tags::SLICE_THICKNESS, VR::DS, strings(&["1.25"])),
            DataElement::new(tags::PATIENT_NAME, VR::PN, strings(&["A^B"])),
            DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::from(b"abcd".to_vec())),
            DataElement::new(tags::ACQUISITION_DURATION, VR::FD, PrimitiveValue::from(0.1_f64)),
        ]);
        for syntax in
            [TransferSyntax::ImplicitVrLittleEndian, TransferSyntax::ExplicitVrLittleEndian]
        {
            assert_eq!(encoded(&array, 0, syntax), by_dicom_rs(&object, syntax), "{syntax:?}");
        }
    }

    #[test]
    fn text_outside_ascii_adds_its_character_set() {
        let name: ArrayRef = Arc::new(StringArray::from(vec!["Müller"]));
        let array = structs(vec![("PatientName", name.clone())]);
        let bytes = encoded(&array, 0, TransferSyntax::ImplicitVrLittleEndian);
        let added = b"\x08\0\x05\0\x0a\0\0\0ISO_IR 192\x10\0\x10\0\x08\0\0\0M\xc3\xbcller ";
        assert_eq!(bytes, added);
        let latin: ArrayRef = Arc::new(StringArray::from(vec!["ISO_IR 100"]));
        let array = structs(vec![("PatientName", name.clone()), ("SpecificCharacterSet", latin)]);
        let bytes = encoded(&array, 0, TransferSyntax::ImplicitVrLittleEndian);
        assert!(bytes.ends_with(b"M\xfcller"));
        let cyrillic: ArrayRef = Arc::new(StringArray::from(vec!["ISO_IR 144"]));
        let found = error(vec![("PatientName", name), ("SpecificCharacterSet", cyrillic)]);
        assert_eq!(found.path, ".PatientName");
    }

    #[test]
    fn a_given_character_set_is_not_added() {
        let name: ArrayRef = Arc::new(StringArray::from(vec!["Müller"]));
        let ascii: ArrayRef = Arc::new(StringArray::from(vec!["ISO_IR 6"]));
        let latin: ArrayRef = Arc::new(StringArray::from(vec!["ISO_IR 100"]));
        let found =
            error(vec![("PatientName", name.clone()), ("SpecificCharacterSet", ascii.clone())]);
        assert_eq!((&*found.path, found.reason.code()), (".PatientName", "character-set"));
        // Text before Specific Character Set is not affected by it.
        let found = error(vec![("00070010", name.clone()), ("SpecificCharacterSet", latin)]);
        assert_eq!((&*found.path, found.reason.code()), (".00070010", "character-set"));
        let found = error(vec![("00070010", name.clone())]);
        assert_eq!(found.path, ".00070010");
        let item = structs(vec![("PatientName", name.clone()), ("SpecificCharacterSet", ascii)]);
        let sequence = items(item, &[1], None);
        let found = error(vec![("PatientName", name), ("ReferencedPatientSequence", sequence)]);
        let path = ".ReferencedPatientSequence[0].PatientName";
        assert_eq!((&*found.path, found.reason.code()), (path, "character-set"));
    }

    #[test]
    fn a_row_does_not_depend_on_earlier_rows() {
        let texts =
            |texts: &[&'static str]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
        let item = structs(vec![
            ("SpecificCharacterSet", texts(&["ISO_IR 144", "ISO_IR 100"])),
            ("PatientName", texts(&["Müller", "Müller"])),
        ]);
        let array = structs(vec![
            ("ReferencedPatientSequence", items(item, &[1, 0, 0, 1, 0], None)),
            ("PatientName", texts(&["A", "Müller", "A", "Müller", "A"])),
            ("PatientID", texts(&["1", "2", "a\\b", "4", "5"])),
        ]);
        let syntax = TransferSyntax::ImplicitVrLittleEndian;
        let columns = DataSetColumns::new(&array, "EventInformation").unwrap();
        let (mut out, mut ends) = (vec![0xaa; columns.most_bytes()], [[0; 8]; 5]);
        let mut encoder = DataSetEncoder::new(&columns, options(syntax));
        let wrong = encoder.encode_rows(0..5, &mut out, &mut ends);
        assert_eq!(wrong.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 2]);
        let mut begin = 0;
        for (row, end) in ends.into_iter().enumerate() {
            let end = i64::from_ne_bytes(end) as usize;
            let expected = match row {
                0 | 2 => vec![],
                row => encoded(&array, row, syntax),
            };
            assert_eq!(out[begin..end], expected, "{row}");
            begin = end;
        }
    }

    #[test]
    fn an_invalid_value_is_reported_with_its_path() {
        let instances: ArrayRef = Arc::new(StringArray::from(vec!["1.2", "1.02"]));
        let references = structs(vec![("ReferencedSOPInstanceUID", instances)]);
        let found = error(vec![("ReferencedSOPSequence", items(references, &[2], None))]);
        assert_eq!(found.path, ".ReferencedSOPSequence[1].ReferencedSOPInstanceUID");
        let found = error(vec![("Rows", Arc::new(Int64Array::from(vec![65536])))]);
        assert_eq!(found.reason.to_string(), "'65536': outside the range of VR US: 0 to 65535");
    }

    #[test]
    fn values_too_long_for_a_short_length_are_written_as_un() {
        let mut numbers = ListBuilder::new(arrow_array::builder::UInt16Builder::new());
        numbers.append_value((0..40_000).map(|number| Some(number as u16)));
        let array = structs(vec![("00191001:US", Arc::new(numbers.finish()))]);
        let bytes = encoded(&array, 0, TransferSyntax::ExplicitVrLittleEndian);
        assert_eq!(&bytes[..12], b"\x19\0\x01\x10UN\0\0\x80\x38\x01\0");
        assert_eq!(&bytes[12..16], b"\0\0\x01\0");
        assert_eq!(bytes.len(), 12 + 80_000);
    }

    #[test]
    fn sequences_are_written_as_by_dicom_rs_with_defined_length() {
        let inner = InMemDicomObject::from_element_iter([DataElement::new(
            tags::REFERENCED_SOP_INSTANCE_UID,
            VR::UI,
            PrimitiveValue::from("1.2.3"),
        )]);
        let sequence = DataSetSequence::from(vec![inner]);
        let object = InMemDicomObject::from_element_iter([DataElement::new(
            tags::REFERENCED_SOP_SEQUENCE,
            VR::SQ,
            sequence,
        )]);
        let syntax = TransferSyntax::ExplicitVrLittleEndian;
        let theirs = by_dicom_rs(&object, syntax);
        let instances: ArrayRef = Arc::new(StringArray::from(vec!["1.2.3"]));
        let references = structs(vec![("ReferencedSOPInstanceUID", instances)]);
        let array = structs(vec![("ReferencedSOPSequence", items(references, &[1], None))]);
        let ours = encoded(&array, 0, syntax);
        // dicom-rs ends items and sequences with delimiters; the rest is equal.
        assert_eq!(ours[..8], theirs[..8]);
        let element = &ours[20..];
        assert!(theirs.windows(element.len()).any(|window| window == element));
    }
}
