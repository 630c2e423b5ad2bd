//! Iterates over the elements of a data set (PS3.5 7.1), and over the items of its sequences (PS3.5
//! 7.5). Accepts everything that is not clearly invalid.

use dicom_core::{Tag, VR};

use crate::columns::cell::WINDOW;
use crate::data_set::error::{DataSetError, DataSetReason};
use crate::data_set::header::{DEEPEST, HeaderForm};
use crate::standard::attribute::Attribute;
use crate::standard::vr::has_long_length;

const ITEM: Tag = Tag(0xFFFE, 0xE000);

const ITEM_ENDS: Tag = Tag(0xFFFE, 0xE00D);

const SEQUENCE_ENDS: Tag = Tag(0xFFFE, 0xE0DD);

/// The bytes that some writers put in place of an unknown VR in Explicit VR, followed by a 16-bit
/// length. The VR of the dictionary is used instead.
const UNKNOWN_VRS: [[u8; 2]; 2] = [*b"??", *b"  "];

const UNDEFINED: u32 = u32::MAX;

/// A value of at most 64 bytes.
#[derive(Debug, Clone, Copy)]
pub struct ShortValue<'a> {
    /// The bytes from its beginning on.
    pub window: &'a [u8; WINDOW],
    /// Its length.
    pub length: usize,
}

/// An element.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// The tag.
    pub tag: Tag,
    /// The VR of the element in Explicit VR; `None` if it is marked as unknown.
    pub vr: Option<VR>,
    /// The offset.
    pub at: usize,
    /// The value; `None` for an undefined length, with items up to a delimiter.
    pub value: Option<&'a [u8]>,
}

/// The elements of a data set or of an item.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    /// The bytes of the data set and the bytes after it.
    bytes: &'a [u8],
    /// The offset of the next element.
    at: usize,
    /// The offset at which the elements end at the latest.
    end: usize,
    /// Whether a delimiter ends the elements.
    delimited: bool,
    explicit: bool,
    /// The depth of nested sequences.
    depth: usize,
}

impl<'a> Elements<'a> {
    /// The elements of a data set, which is the first `length` of these bytes.
    pub fn new(bytes: &'a [u8], length: usize, explicit: bool) -> Self {
        Self { bytes, at: 0, end: length, delimited: false, explicit, depth: 0 }
    }

    /// Whether no element is left.
    #[inline(always)]
    pub fn are_at_end(&self) -> bool {
        self.at == self.end && !self.delimited
    }

    /// The value of the next element if its header has these bits and the value is short. Call
    /// [`Elements::skip_short_value`] to continue after it.
    #[inline(always)]
    pub fn short_value(&self, beginning: u64) -> Option<ShortValue<'a>> {
        const HEADER: usize = 8;
        let both = self.bytes.get(self.at..)?.first_chunk::<{ HEADER + WINDOW }>()?;
        let header = both.first_chunk()?;
        let window = both.last_chunk()?;
        let length = HeaderForm::new(self.explicit).length(beginning, *header)?;
        let fits = length <= WINDOW && self.at + HEADER + length <= self.end;
        fits.then_some(ShortValue { window, length })
    }

    /// Continues after an element that [`Elements::short_value`] returned.
    #[inline(always)]
    pub fn skip_short_value(&mut self, value: ShortValue<'a>) {
        self.at += 8 + value.length;
    }

    /// The next element.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Element<'a>>, Box<DataSetError>> {
        let at = self.at;
        let rest = &self.bytes[at..self.end];
        let Some((tag, [a, b, c, d])) = tag_and_rest(rest) else {
            return match (self.delimited, rest.len()) {
                (false, 0) => Ok(None),
                (true, left) => Err(truncated(at, "an item of undefined length", 8, left)),
                (false, left) => Err(truncated(at, "the header of an element", 8, left)),
            };
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        if tag.0 == ITEM.0 {
            return self.end_of_item(tag).map(|()| None);
        }
        let (vr, length, value_at) = match self.explicit {
            false => (None, length, at + 8),
            true => {
                let vr = match VR::from_binary([a, b]) {
                    None if UNKNOWN_VRS.contains(&[a, b]) => None,
                    None => return Err(not_a_vr(at, [a, b])),
                    vr => vr,
                };
                match vr.is_some_and(has_long_length) {
                    true => (vr, self.long_length(at)?, at + 12),
                    false => (vr, u32::from(u16::from_le_bytes([c, d])), at + 8),
                }
            }
        };
        if length == UNDEFINED {
            self.at = value_at;
            return Ok(Some(Element { tag, vr, at, value: None }));
        }
        let value = rest[value_at - at..].get(..length as usize).ok_or_else(|| {
            let left = self.end - value_at;
            let name = Attribute::new(tag, vr).name;
            let error = truncated(at, "the value of an element", length as usize, left);
            error.inside(&name).inside(".")
        })?;
        self.at = value_at + value.len();
        Ok(Some(Element { tag, vr, at, value: Some(value) }))
    }

    fn long_length(&self, at: usize) -> Result<u32, Box<DataSetError>> {
        match self.bytes[at + 8..self.end].first_chunk() {
            Some(&length) => Ok(u32::from_le_bytes(length)),
            None => {
                let left = self.end - at;
                Err(truncated(at, "the header of an element", 12, left))
            }
        }
    }

    fn end_of_item(&mut self, tag: Tag) -> Result<(), Box<DataSetError>> {
        // Some writers end an item of defined length with a delimiter, too.
        let is_last = self.depth > 0 && self.at + 8 == self.end;
        if tag == ITEM_ENDS && (self.delimited || is_last) {
            self.at += 8;
            return Ok(());
        }
        Err(misplaced(self.at, tag))
    }

    /// The items of the element that was read last.
    pub fn items(&self, element: &Element<'_>) -> Result<Items<'a>, Box<DataSetError>> {
        let depth = self.depth + 1;
        if depth > DEEPEST {
            return Err(DataSetError::at(element.at, DataSetReason::TooDeep(DEEPEST)));
        }
        // An element of VR UN with items has them in Implicit VR (PS3.5 6.2.2).
        let explicit = self.explicit && element.vr != Some(VR::UN);
        let (at, end) = match element.value {
            Some(value) => (self.at - value.len(), self.at),
            None => (self.at, self.end),
        };
        let (bytes, delimited) = (self.bytes, element.value.is_none());
        Ok(Items { bytes, at, end, delimited, explicit, depth })
    }

    /// Continues after items of undefined length, which must have been read completely.
    pub fn continue_after(&mut self, items: &Items<'_>) {
        self.at = items.at;
    }

    /// Skips the items of the element that was read last.
    pub fn skip(&mut self, element: &Element<'_>) -> Result<(), Box<DataSetError>> {
        if element.value.is_some() {
            return Ok(());
        }
        let mut items = self.items(element)?;
        while let Some(mut inner) = items.next()? {
            while let Some(element) = inner.next()? {
                inner.skip(&element)?;
            }
            items.continue_after(&inner);
        }
        self.continue_after(&items);
        Ok(())
    }
}

/// The items of a sequence.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    delimited: bool,
    explicit: bool,
    depth: usize,
}

impl<'a> Items<'a> {
    /// The elements of the next item, which must be read completely.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Elements<'a>>, Box<DataSetError>> {
        let at = self.at;
        if at == self.end && !self.delimited {
            return Ok(None);
        }
        let Some((tag, length)) = tag_and_rest(&self.bytes[at..self.end]) else {
            return Err(truncated(at, "the header of an item", 8, self.end - at));
        };
        let length = u32::from_le_bytes(length);
        self.at += 8;
        // Some writers end a sequence of defined length with a delimiter, too.
        if tag == SEQUENCE_ENDS && (self.delimited || self.at == self.end) {
            return Ok(None);
        }
        if tag != ITEM {
            return Err(misplaced(at, tag));
        }
        let left = self.end - self.at;
        let (delimited, end) = match length {
            UNDEFINED => (true, self.end),
            length if length as usize <= left => (false, self.at + length as usize),
            length => return Err(truncated(at, "an item", length as usize, left)),
        };
        let Self { bytes, at, explicit, depth, .. } = *self;
        Ok(Some(Elements { bytes, at, end, delimited, explicit, depth }))
    }

    /// Continues after the item that was read last.
    pub fn continue_after(&mut self, elements: &Elements<'_>) {
        self.at = elements.at;
    }
}

/// The tag at the beginning of these bytes, and the following four bytes.
#[inline(always)]
fn tag_and_rest(bytes: &[u8]) -> Option<(Tag, [u8; 4])> {
    let &[g0, g1, e0, e1, a, b, c, d] = bytes.first_chunk()?;
    Some((Tag(u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1])), [a, b, c, d]))
}

fn truncated(at: usize, what: &'static str, needed: usize, found: usize) -> Box<DataSetError> {
    DataSetError::at(at, DataSetReason::Truncated { what, needed, found })
}

fn misplaced(at: usize, tag: Tag) -> Box<DataSetError> {
    DataSetError::at(at, DataSetReason::Misplaced(tag.0, tag.1))
}

fn not_a_vr(at: usize, found: [u8; 2]) -> Box<DataSetError> {
    DataSetError::at(at, DataSetReason::NotAVr(crate::excerpt::excerpt(&found)))
}
